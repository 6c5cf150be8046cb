"""`sekisho probe` where names are looked up for real: a name server that lies, is silent, or names many addresses."""

import datetime
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from journeys.installation import ENVIRONMENT, SEKISHO, Installation
from journeys.own_names import PORT

OWN = ["unshare", "--map-root-user", "--mount", "--net"]
REGISTRY = """2|apnic|20261124|3|19830613|20261124|+1000
apnic|JP|ipv4|1.0.16.0|4096|20110412|allocated|A92D9378
apnic|US|ipv4|1.0.64.0|4096|20110412|allocated|A92D9379
apnic|JP|ipv6|2001:200::|35|19990813|allocated|A9173591
"""
NAMES = {
    "home.example": ["1.0.16.1", "2001:200::1"],
    "rebound.example": ["1.0.16.1", "1.0.64.1"],
    "hidden.example": ["1.0.64.1", "8.8.8.8"],  # one abroad, beside one that no registry knows
    "inside.example": ["10.0.0.1"],
    "many.example": [f"1.0.16.{number}" for number in range(1, 100)],
    "silent.example": None,
    "two.example": ["127.0.0.2", "127.0.0.3"],
    "away.example": ["2001:db8::1", "127.0.0.2"],  # the first takes no connection
    "expired.example": ["127.0.0.4"],
    "stranger.example": ["127.0.0.5"],
}
DEPLOYMENT = """
model = "m"
provider = "local"
type = "openai-compatible"
url = "https://{host}:{port}/v1"

[facts]
network = {{ value = ["JP"], grade = "contractual", source = "contract" }}
"""


@pytest.fixture(scope="module")
def looked(tmp_path_factory):
    """What one `sekisho probe` over all of them says, by deployment."""
    can = shutil.which("unshare") and subprocess.run([*OWN, "true"], capture_output=True, check=False).returncode == 0
    if not can:
        pytest.skip("this machine lets nobody have a network of his own: no name server can be put in place")
    site = Installation(tmp_path_factory.mktemp("names") / "site")
    servers = tmp_path_factory.mktemp("servers")
    authority, pins = trustme.CA(), {}
    for address in NAMES["two.example"]:
        certificate = authority.issue_cert("two.example", "away.example")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(servers / f"{address}.pem"))
        leaf = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes()).public_key()
        pins[address] = hashlib.sha256(leaf.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    for address, issuer, name, ends in (
        ("127.0.0.4", authority, "expired.example", yesterday),
        ("127.0.0.5", trustme.CA(), "stranger.example", None),
    ):
        made = issuer.issue_cert(name, not_after=ends).private_key_and_cert_chain_pem
        made.write_to_path(str(servers / f"{address}.pem"))
    (servers / "names.json").write_text(json.dumps(NAMES))
    (site.root / "registry").mkdir()
    (site.root / "registry" / "apnic").write_text(REGISTRY)
    authority.cert_pem.write_to_path(str(site.root / "keys" / "ca.pem"))
    site.declare("models", "m", 'title = "M"\n')
    (site.root / "declarations" / "deployments" / "manual-local.toml").unlink()
    for host in (*NAMES, "nobody.example"):
        text = DEPLOYMENT.format(host=host, port=PORT)
        site.declare("deployments", host.removesuffix(".example"), text)
    tls = '\n[tls]\nca_file = "keys/ca.pem"\npins = {}\n'
    two = DEPLOYMENT.format(host="two.example", port=PORT)
    site.declare("deployments", "two", two + tls.format(json.dumps([pins["127.0.0.2"]])))
    site.declare("deployments", "two-both", two + tls.format(json.dumps(list(pins.values()))))
    for name in ("away", "expired", "stranger"):
        one = DEPLOYMENT.format(host=f"{name}.example", port=PORT)
        site.declare("deployments", name, one + tls.format(json.dumps(list(pins.values()))))
    words = [
        *SEKISHO,
        "probe",
        str(site.root),
        "--json",
        "--method",
        "networks",
        "--method",
        "tls-pin",
        "--method",
        "tls-chain",
    ]
    program = Path(__file__).with_name("own_names.py")
    command = [*OWN, sys.executable, str(program), str(servers), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False)
    assert done.returncode == 3, done.stdout + done.stderr
    return {one["name"]: one for one in json.loads(done.stdout)["deployments"]}


def reading(one, method="networks"):
    return next(row for row in one["methods"] if row["method"] == method)


def network(one):
    return [(row["value"], row["grade"], row["lowered"]) for row in one["facts"] if row["fact"] == "network"]


def test_a_name_that_leads_home_by_both_families_is_observed(looked):
    assert reading(looked["home"])["evidence"]["blocks"] == ["1.0.16.0/20", "2001:200::/35"]
    assert network(looked["home"]) == [(["JP"], "observed", False)]
    assert reading(looked["many"])["evidence"]["addresses"] == 99
    assert network(looked["many"]) == [(["JP"], "observed", False)]


@pytest.mark.parametrize("name", ["rebound", "hidden"])
def test_one_address_abroad_lowers_whatever_stands_beside_it(looked, name):
    assert network(looked[name]) == [(["JP", "US"], "declared", True)]


@pytest.mark.parametrize(("name", "problem"), [("silent", "does not resolve"), ("nobody", "does not resolve")])
def test_a_name_that_nobody_knows_or_answers_for_is_no_reading_and_hinders_nobody(looked, name, problem):
    assert reading(looked[name])["failed"] == "unreachable"
    assert problem in reading(looked[name])["detail"]
    assert looked[name]["facts"] == []


def test_an_address_of_a_private_network_says_nothing(looked):
    assert reading(looked["inside"])["evidence"] == {"addresses": 1, "not global": 1}
    assert looked["inside"]["facts"] == []


def test_somebody_else_at_one_address_of_a_name_is_seen(looked):
    pinned = reading(looked["two"], "tls-pin")
    assert (pinned["contradicts"], pinned["evidence"]["pinned"]) == (True, 1)
    assert network(looked["two"]) == [(["unknown"], "unknown", True)]
    assert not reading(looked["two-both"], "tls-pin")["contradicts"]
    assert reading(looked["two-both"], "tls-chain")["evidence"]["certificates"] == 3  # two, of one authority


def test_tls_is_looked_at_where_a_connection_is_taken(looked):
    assert reading(looked["away"], "tls-pin")["evidence"]["pinned"] == 1


@pytest.mark.parametrize(
    ("name", "problem"), [("expired", "certificate has expired"), ("stranger", "certificate verify failed")]
)
def test_a_certificate_that_does_not_hold_is_no_reading_and_says_why(looked, name, problem):
    for method in ("tls-chain", "tls-pin"):
        said = reading(looked[name], method)
        assert said["failed"] == "tls"
        assert problem in said["detail"]
    assert looked[name]["facts"] == []
