"""`sekisho probe`: what each method reads of real servers, what the facts would be by it, and what the ledger keeps."""

import hashlib
import json
import ssl

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from journeys.installation import Installation, sekisho
from journeys.provider_upstream import KEY, PARTS, ProviderUpstream
from journeys.published_log import require_log_holds
from journeys.scripted_azure import ACCOUNT, SECRET, TENANT, ScriptedAzure
from sekisho.app.ledger import make_publisher
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import IdSource
from sekisho.settings import DataDirectory, load_settings

REGISTRY = """2|apnic|20261124|2|19830613|20261124|+1000
apnic|JP|ipv4|1.0.16.0|4096|20110412|allocated|A92D9378
apnic|US|ipv4|1.0.64.0|4096|20110412|allocated|A92D9379
"""
TOKYO = 'title = "Tokyo"\njurisdiction = "JP"\nlatitude = 35.68\nlongitude = 139.76\n'
OREGON = 'title = "Oregon"\njurisdiction = "US"\nlatitude = 45.60\nlongitude = -121.18\n'
SERVICE = 'model = "m"\nprovider = "local"\ntype = "openai-compatible"\nurl = "{url}"\n'
ENGINE = 'model = "m"\nprovider = "local"\ntype = "engine"\nsite = "{site}"\nurl = "{url}"\n'


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def plain():
    with ProviderUpstream(PARTS) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def secure(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate = authority.issue_cert("127.0.0.1")
    certificate.configure_cert(context)
    with ProviderUpstream(PARTS, context) as upstream:
        upstream.certificate = certificate
        yield upstream


@pytest.fixture(scope="module")
def azure():
    with ScriptedAzure({"osaka": "Standard", "tokyo": "GlobalStandard"}) as azure:
        yield azure


@pytest.fixture(scope="module")
def site(tmp_path_factory, authority, plain, secure, azure):
    """Not running: the command needs nobody."""
    site = Installation(tmp_path_factory.mktemp("probe") / "site")
    root = site.root
    (root / "registry").mkdir()
    (root / "registry" / "delegated-apnic-extended-latest").write_text(REGISTRY)
    authority.cert_pem.write_to_path(str(root / "keys" / "ca.pem"))
    (root / "keys" / "azure-secret").write_text(SECRET)
    (root / "keys" / "azure-secret").chmod(0o600)
    (root / "keys" / "key").write_text(KEY)
    (root / "keys" / "key").chmod(0o600)
    site.declare("sites", "local", TOKYO)
    site.declare("sites", "oregon", OREGON)
    site.declare("models", "m", 'title = "M"\n')
    base = f"https://127.0.0.1:{secure.port}/good/v1"
    leaf = x509.load_pem_x509_certificate(secure.certificate.cert_chain_pems[0].bytes())
    pin = hashlib.sha256(leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    tls = '[tls]\nca_file = "keys/ca.pem"\npins = ["{}"]\n'
    credential = 'credential = {{ file = "keys/key" }}\n'.format()
    here = f"http://127.0.0.1:{plain.port}/good/v1"
    site.declare("deployments", "pinned", SERVICE.format(url=base) + tls.format(pin))
    site.declare(
        "deployments", "changed", SERVICE.format(url=base) + tls.format("ab" * 32) + '[facts]\nstorage = "JP"\n'
    )
    site.declare("deployments", "in-japan", SERVICE.format(url="https://1.0.16.1/v1") + '[facts]\nnetwork = ["JP"]\n')
    site.declare("deployments", "in-us", SERVICE.format(url="https://1.0.64.1/v1") + '[facts]\nnetwork = ["JP"]\n')
    site.declare("deployments", "near", ENGINE.format(site="local", url=here) + credential)
    site.declare("deployments", "far", ENGINE.format(site="oregon", url=here) + credential)
    site.declare("deployments", "gone", ENGINE.format(site="local", url="http://127.0.0.1:1/v1"))
    declared = AZURE.format(azure=azure.url, account=ACCOUNT, tenant=TENANT)
    site.declare("deployments", "azure-tokyo", declared)
    site.declare("deployments", "azure-osaka", declared.replace('"tokyo"', '"osaka"'))
    return site


AZURE = """
model = "m"
provider = "local"
type = "Standard"
region = "japaneast"
url = "{azure}"
dialect = "azure"
api_version = "2024-10-21"
upstream_model = "tokyo"

[management]
kind = "azure"
resource = "{account}"
url = "{azure}"

[sign_in]
kind = "entra"
tenant = "{tenant}"
client_id = "22222222-3333-4444-5555-666666666666"
secret = {{ file = "keys/azure-secret" }}
authority = "{azure}"
"""


def probe(site, *options, code=0):
    done = sekisho("probe", site.root, "--json", *options, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    said = json.loads(done.stdout)
    return {one["name"]: one for one in said["deployments"]}, said


def methods(one):
    return {row["method"]: row for row in one["methods"]}


def facts(one):
    return {row["fact"]: row for row in one["facts"]}


def test_it_says_of_every_deployment_what_each_method_reads(site):
    # Those with public addresses are left out: tests connect to nobody else's machine.
    names = ("azure-tokyo", "changed", "far", "gone", "manual-local", "near", "pinned")
    looked, said = probe(site, *(word for name in names for word in ("--deployment", name)), code=3)
    assert tuple(looked) == names
    assert [(one["registry"], one["date"]) for one in said["registry"]] == [("apnic", "2026-11-24")]
    assert "light-answer" not in {name for one in looked.values() for name in methods(one)}
    assert methods(looked["gone"])["light-connect"]["failed"] == "unreachable"
    # Loopback is everywhere: it says nothing of a country, and nothing of a distance.
    assert methods(looked["near"])["networks"]["evidence"] == {"addresses": 1, "not global": 1}
    assert methods(looked["near"])["light-connect"]["evidence"] == {"loopback": 1}
    assert looked["near"]["facts"] == []


def test_a_chain_is_read_and_a_pin_that_does_not_match_takes_every_fact(site):
    looked, _ = probe(site, "--deployment", "pinned", "--deployment", "changed", code=3)
    chain = methods(looked["pinned"])["tls-chain"]["evidence"]
    assert chain["certificates"] == 2
    assert all(len(digest) == 64 for digest in chain["chain_sha256"])
    assert methods(looked["pinned"])["tls-pin"]["evidence"]["pinned"] == 1
    assert looked["pinned"]["facts"] == []
    assert methods(looked["changed"])["tls-pin"]["contradicts"]
    assert facts(looked["changed"])["storage"]["value"] == ["unknown"]


def test_the_gateways_client_sends_nothing_to_who_has_no_pinned_key(site, secure):
    before = len(secure.seen)
    trial = ("providers", "test", "local", "--dir", site.root, "--json")
    refused = sekisho(*trial, "--deployment", "changed", check=False)
    assert "has a pinned key: somebody else answers" in refused.stdout
    assert len(secure.seen) == before
    taken = sekisho(*trial, "--deployment", "pinned", check=False)
    assert "credential_refused" in taken.stdout  # it got there
    assert len(secure.seen) > before


def test_networks_raise_and_lower_their_own_fact_alone(site):
    looked, _ = probe(site, "--method", "networks", "--deployment", "in-japan", "--deployment", "in-us", code=3)
    assert methods(looked["in-japan"])["networks"]["evidence"]["blocks"] == ["1.0.16.0/20"]
    assert [(row["fact"], row["grade"], row["lowered"]) for row in looked["in-japan"]["facts"]] == [
        ("network", "observed", False)
    ]
    lowered = facts(looked["in-us"])["network"]
    assert (lowered["value"], lowered["grade"], lowered["lowered"]) == (["JP", "US"], "declared", True)


def test_azure_is_asked_with_the_deployments_own_identity(site):
    looked, _ = probe(site, "--deployment", "azure-tokyo", "--method", "management-api", code=3)
    said = methods(looked["azure-tokyo"])["management-api"]
    assert said["evidence"] == {"region": "japaneast", "sku": "GlobalStandard"}
    assert facts(looked["azure-tokyo"])["processing"]["value"] == ["anywhere"]


def test_an_account_is_asked_once_for_all_of_its_deployments_and_may_ask_for_patience(site, azure):
    names = ("--deployment", "azure-tokyo", "--deployment", "azure-osaka", "--method", "management-api")
    before = azure.lists
    looked, _ = probe(site, *names, code=3)
    assert azure.lists == before + 1
    assert facts(looked["azure-osaka"])["processing"]["grade"] == "observed"
    for status in (429, 503, 302):
        azure.status = status
        looked, _ = probe(site, *names)
        said = methods(looked["azure-osaka"])["management-api"]
        assert said["failed"] == "management"
        assert str(status) in said["detail"]
        assert ("asks again" in said["detail"]) is (status != 302)
    azure.status = 200


def test_a_token_endpoint_that_limits_us_is_told_of_without_our_secret(site, azure):
    azure.token_status = 429
    done = sekisho("probe", site.root, "--deployment", "azure-tokyo", "--method", "management-api", check=False)
    azure.token_status = 200
    assert done.returncode == 0
    assert "the token endpoint answered 429 temporarily_unavailable (AADSTS50196)" in done.stdout
    assert SECRET not in done.stdout + done.stderr


def test_light_contradicts_a_far_claim_and_proves_no_near_one(site, plain):
    before = len(plain.of("good"))
    looked, _ = probe(site, "--deployment", "far", "--deployment", "near", "--method", "light-answer", code=3)
    far, near = (methods(looked[name])["light-answer"] for name in ("far", "near"))
    assert far["contradicts"]
    assert far["evidence"]["km at most"] < far["evidence"]["km to the claim"]
    assert facts(looked["far"])["processing"]["value"] == ["unknown"]
    assert not near["contradicts"]
    assert looked["near"]["facts"] == []  # near is no proof
    sent = plain.of("good")[before:]
    assert len(sent) == 6
    assert all(document["max_tokens"] == 1 for _, _, document, _ in sent)


def test_what_leaves_is_in_the_ledger_before_and_readings_name_no_host(site):
    publish(site)
    entries = require_log_holds(site.root)
    tests = [one for one in entries if one["body"].get("act") == "provider.test"]
    assert {one["body"]["deployment"] for one in tests} >= {"far", "near"}
    rows = [one["body"] for one in entries if one["body"].get("observed") == "deployment.probe"]
    assert rows
    assert {one["actor"] for one in entries if one["kind"] == "observation"} == {"operator"}
    for word in ("127.0.0.1", "1.0.16.1", "bank-openai", "openai.azure.com", KEY, SECRET):
        assert word not in json.dumps(rows)


def test_what_is_stopped_is_not_looked_at(site, plain):
    sekisho("stop", "deployment", "near", "--dir", site.root, "--reason", "test")
    before = len(plain.seen)
    looked, _ = probe(site, "--deployment", "near", "--method", "light-answer", "--method", "networks")
    assert looked["near"]["stopped"]
    assert looked["near"]["methods"] == []
    assert len(plain.seen) == before


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (("--deployment", "nera"), 2, "near"),
        (("--method", "guessing"), 2, "invalid choice"),
    ],
)
def test_wrong_usage_says_what_would_be_right(site, options, code, says):
    done = sekisho("probe", site.root, *options, check=False)
    assert done.returncode == code
    assert says in done.stderr


def test_people_read_grades_bounds_and_ages(site):
    done = sekisho("probe", site.root, "--deployment", "far", "--method", "light-answer", check=False)
    assert done.returncode == 3
    assert "CONTRADICTS what is declared" in done.stdout
    assert " ms; km in fibre " in done.stdout
    assert "→ LOWERED: processing: unknown (unknown); declared: US (declared)" in done.stdout
    assert "Networks by apnic of 2026-11-24" in done.stdout


def test_a_file_that_is_no_registrys_is_named(site):
    path = site.root / "registry" / "blocklist.txt"
    path.write_text("1.0.16.0/20\n")
    done = sekisho("probe", site.root, check=False)
    doctor = sekisho("doctor", site.root, "--language", "en", check=False)
    path.unlink()
    assert done.returncode == 1
    assert "registry/blocklist.txt: line 1 is not the head" in done.stderr
    assert "registry/blocklist.txt: line 1 is not the head" in doctor.stdout


def publish(site):
    """Merge what the commands left, as control does."""
    directory = DataDirectory(site.root)
    clock, ids = SystemClock(), IdSource()
    publisher = make_publisher(directory, load_settings(site.root), clock, ids)
    publisher.start()
    while publisher.merge_once() or publisher.backlog:
        pass
    publisher.close()
