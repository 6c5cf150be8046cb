"""How the gateway signs in at deployments, against a token endpoint and a model that check what they are shown."""

import base64
import hashlib
import itertools
import json
import re
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from journeys.connect_proxy import ConnectProxy, InThread
from journeys.installation import Installation, get, sekisho, until
from journeys.signing_in import CLIENT, IDENTITY, RESOURCE, SCOPE, TENANT, TOKEN, UNTOLD, SigningIn

KEYS = {"bearer": "bearer-key-1", "api-key": "api-key-1", "basic": "basic-password-1"}
SECRET = "client-secret-1"
PROXY_PASSWORD = "proxy-password-1"
SHORT_LIFE_S = 6
HOST, LOGIN = "engine.example.invalid", "login.example.invalid"  # no resolver knows them: only the proxy does

ENTRA = f"""
[sign_in]
kind = "entra"
tenant = "{TENANT}"
client_id = "{CLIENT}"
scope = "{SCOPE}"
"""
METADATA = f"""
[sign_in]
kind = "managed-identity"
resource = "{RESOURCE}"
url = "METADATA-URL"
"""
BY_SECRET = 'ca_file = "keys/ca.pem"\nsecret = { file = "keys/secret" }\n'
BY_CERTIFICATE = 'ca_file = "keys/ca.pem"\ncertificate_file = "keys/registered.pem"\nkey_file = "keys/registered.key"\n'
SIGN_INS = {
    "bearer": '[sign_in]\nkind = "bearer"\nsecret = { file = "keys/bearer" }\n',
    "api-key": '[sign_in]\nkind = "api-key"\nheader = "x-api-key"\nsecret = { file = "keys/api-key" }\n',
    "basic": '[sign_in]\nkind = "basic"\nuser = "gateway"\npassword = { file = "keys/basic" }\n',
    "secret": f'{ENTRA}authority = "LOGIN-URL"\n{BY_SECRET}',
    "certificate": f'{ENTRA}authority = "LOGIN-URL"\n{BY_CERTIFICATE}',
    "identity": METADATA,
    "short": f'{METADATA}client_id = "short-lived"\n',
}
CLIENT_CERTIFICATE = """[tls]
ca_file = "keys/ca.pem"
client_certificate_file = "keys/own.pem"
client_key_file = "keys/own.key"
"""
EGRESS_PROXY = """[egress_proxy]
url = "PROXY-URL"
ca_file = "keys/proxy-ca.pem"
user = "gateway"
password = { file = "keys/proxy" }
"""


@dataclass
class World:
    installation: Installation
    party: SigningIn
    proxy: ConnectProxy
    ca: trustme.CA

    @property
    def root(self) -> Path:
        return self.installation.root

    def write(self, name: str, text: str | bytes) -> None:
        """A file under keys/, exchanged as a whole."""
        new = self.root / "keys" / f"{name}.new"
        new.write_bytes(text.encode() if isinstance(text, str) else text)
        new.chmod(0o600)
        new.replace(self.root / "keys" / name)

    def ask(self, model: str) -> httpx.Response:
        document = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
        key = {"authorization": f"Bearer {self.installation.key}"}
        with httpx.Client(trust_env=False, timeout=30) as client:
            return client.post(f"{self.installation.base}/v1/chat/completions", json=document, headers=key)

    def outcome(self, response: httpx.Response) -> dict:
        """The body of the receipt's last outcome."""
        receipt = json.loads(self.installation.receipt(response.headers["x-request-id"]))
        entries = [one["entry"] for one in receipt["entries"]]
        return next(one["body"] for one in reversed(entries) if one["kind"] == "outcome")

    def metric(self, sample: str) -> float:
        text = get(f"{self.installation.base}/metrics")[1].decode()
        return next((float(line.rsplit(" ")[1]) for line in text.splitlines() if line.rsplit(" ")[0] == sample), 0.0)

    def log(self) -> str:
        return self.installation.log.read_text()

    def own_certificate(self, name: str) -> str:
        """Write a client certificate; its SHA-256."""
        made = self.ca.issue_cert(f"{name}@site.test")
        chain = made.cert_chain_pems[0].bytes()
        self.write("own.key", made.private_key_pem.bytes())
        self.write("own.pem", chain)
        return hashlib.sha256(x509.load_pem_x509_certificate(chain).public_bytes(Encoding.DER)).hexdigest()

    def registered_certificate(self) -> None:
        """A new one to sign assertions with, which the token endpoint doesn't know yet."""
        made = self.ca.issue_cert("app.test", key_type=trustme.KeyType.RSA)
        self.write("registered.key", made.private_key_pem.bytes())
        self.write("registered.pem", made.cert_chain_pems[0].bytes())

    def register(self) -> None:
        (self.party.directory / "registered.pem").write_bytes((self.root / "keys" / "registered.pem").read_bytes())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    base = tmp_path_factory.mktemp("sign-in")
    party_directory = base / "party"
    party_directory.mkdir()
    ca, proxy_ca = trustme.CA(), trustme.CA()
    ca.issue_cert("localhost", HOST, LOGIN).private_key_and_cert_chain_pem.write_to_path(party_directory / "server.pem")
    ca.cert_pem.write_to_path(party_directory / "ca.pem")
    proxy_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    proxy_ca.issue_cert("localhost").configure_cert(proxy_tls)
    proxy = ConnectProxy(proxy_tls)
    proxy.credentials = f"gateway:{PROXY_PASSWORD}"
    with (
        SigningIn(party_directory, keys=KEYS, secret=SECRET, short_life_s=SHORT_LIFE_S) as party,
        InThread(proxy),
        Installation(base / "site") as installation,
    ):
        proxy.routes.update({f"{HOST}:443": party.ports["mutual"], f"{LOGIN}:443": party.ports["login"]})
        world = World(installation, party, proxy, ca)
        ca.cert_pem.write_to_path(world.root / "keys" / "ca.pem")
        proxy_ca.cert_pem.write_to_path(world.root / "keys" / "proxy-ca.pem")
        for name, key in KEYS.items():
            world.write(name, key + "\n")
        world.write("secret", SECRET)
        world.write("proxy", PROXY_PASSWORD)
        world.own_certificate("first")
        world.registered_certificate()
        world.register()
        declare(world)
        sekisho("check", installation.root)
        installation.start()
        yield world


def declare(world: World) -> None:
    ports = world.party.ports
    for name, sign_in in SIGN_INS.items():
        deploy(world, name, f"http://127.0.0.1:{ports['plain']}/{name}/v1", sign_in)
    deploy(world, "mutual", f"https://localhost:{ports['mutual']}/mutual/v1", CLIENT_CERTIFICATE)
    sign_in = f'{ENTRA}authority = "https://{LOGIN}"\n{BY_SECRET}'
    deploy(world, "by-proxy", f"https://{HOST}/by-proxy/v1", sign_in + EGRESS_PROXY + CLIENT_CERTIFICATE)


def deploy(world: World, name: str, url: str, extra: str) -> None:
    ports = world.party.ports
    for word, place in (
        ("LOGIN-URL", f"https://localhost:{ports['login']}"),
        ("METADATA-URL", f"http://127.0.0.1:{ports['plain']}{IDENTITY}"),
        ("PROXY-URL", f"https://localhost:{world.proxy.port}"),
    ):
        extra = extra.replace(word, place)
    world.installation.deployment(name, 1, extra=extra)
    file = world.root / "declarations" / "deployments" / f"{name}.toml"
    file.write_text(file.read_text().replace("http://127.0.0.1:1/v1", url))


@pytest.mark.parametrize("kind", [*SIGN_INS, "mutual", "by-proxy"])
def test_every_kind_of_sign_in_opens_its_deployment(world, kind):
    response = world.ask(kind)
    assert response.status_code == 200, response.text
    shown = world.party.seen(f"/{kind}/")[-1]["headers"]
    # What opens is shown once and nothing else that could: no key of the caller's, no other kind's header.
    assert len({"authorization", "x-api-key", "api-key"} & set(shown)) == (kind != "mutual")
    assert world.installation.key not in json.dumps(shown)
    assert "proxy-authorization" not in shown


def test_tokens_are_asked_for_as_each_endpoint_wants_it(world):
    by_secret, by_certificate = (
        next(one for one in world.party.seen(TOKEN) if part in one["body"])
        for part in ("client_secret", "client_assertion")
    )
    for asked in (by_secret, by_certificate):
        assert asked["headers"]["content-type"] == "application/x-www-form-urlencoded"
        assert asked["status"] == 200
    assert SECRET not in by_certificate["body"]
    identity = world.party.seen(IDENTITY)[0]
    assert identity["headers"]["metadata"] == "true"


def test_a_token_is_renewed_before_its_end_and_nobody_waits(world):
    """A life of six seconds is renewed after about four, while the old token is still good."""

    def used() -> set[str]:
        return {one["headers"]["authorization"] for one in world.party.seen("/short/")}

    def renewed() -> bool:
        assert world.ask("short").status_code == 200
        return len(used()) >= 2

    until(renewed, 30, "the renewed token's use")
    times = [one["at"] for one in short_fetches(world)]
    assert all(later - earlier < SHORT_LIFE_S for earlier, later in itertools.pairwise(times))


def short_fetches(world: World) -> list[dict]:
    return [one for one in world.party.seen(IDENTITY) if "short-lived" in one["path"]]


def revoke_latest(world: World) -> None:
    """Every token given out so far is good no more."""
    fetches = [one for path in (TOKEN, IDENTITY) for one in world.party.seen(path) if one["status"] == 200]
    world.party.set(revoked_to=len(fetches))


def test_a_refused_token_is_fetched_anew_once_and_the_refusal_is_told_to_nobody(world):
    assert world.ask("identity").status_code == 200

    def fetches() -> int:
        return sum("client_id" not in one["path"] for one in world.party.seen(IDENTITY))

    before = fetches()
    revoke_latest(world)
    with ThreadPoolExecutor(8) as callers:
        refused = list(callers.map(world.ask, ["identity"] * 8))
    failed = [one for one in refused if one.status_code != 200]
    assert failed
    for response in failed:
        assert response.status_code == 502
        assert response.json()["error"]["code"] == "upstream_status_401"
        assert "credentials" in response.json()["error"]["message"]
        assert UNTOLD not in response.text
        assert "token-" not in response.text
    outcome = world.outcome(failed[0])
    assert (outcome["ended"], outcome["status"], outcome["error"]) == ("upstream_refused", 401, "upstream_status_401")
    assert UNTOLD not in json.dumps(outcome)
    until(lambda: world.ask("identity").status_code == 200, what="another token")
    assert fetches() == before + 1
    assert UNTOLD not in world.log()


@pytest.mark.parametrize("kind", ["bearer", "api-key", "basic"])
def test_a_secret_that_is_rotated_on_disk_is_used_without_a_restart(world, kind):
    gateway = world.installation.children()["gateway"]
    world.party.key(kind, f"{kind}-rotated-2")
    assert world.ask(kind).status_code == 502
    world.write(kind, f"{kind}-rotated-2\n")
    until(lambda: world.ask(kind).status_code == 200, what="the new secret")
    assert world.installation.children()["gateway"] == gateway


def test_the_secret_and_the_certificate_for_tokens_are_rotated_without_a_restart(world):
    gateway = world.installation.children()["gateway"]
    world.registered_certificate()
    until(lambda: "AADSTS700027" in world.log(), what="the refusal of a certificate that isn't registered")
    world.register()
    world.party.set(secret="client-secret-2")
    world.write("secret", "client-secret-2")
    fetched = len(world.party.seen(TOKEN))
    until(lambda: len([one for one in world.party.seen(TOKEN)[fetched:] if one["status"] == 200]) >= 3, what="tokens")
    revoke_before(world, fetched)
    for kind in ("secret", "certificate", "by-proxy"):
        until(lambda kind=kind: world.ask(kind).status_code == 200, what=f"a token by the new {kind}")
    assert world.installation.children()["gateway"] == gateway


def revoke_before(world: World, requests: int) -> None:
    """Tokens that were given out before the token endpoint had so many requests are good no more."""
    good = [one for path in (TOKEN, IDENTITY) for one in world.party.seen(path) if one["status"] == 200]
    last = sorted(one["at"] for one in world.party.seen(TOKEN))[requests - 1]
    world.party.set(revoked_to=sum(one["at"] <= last for one in good))


def test_a_client_certificate_that_is_rotated_on_disk_is_shown_next(world):
    assert world.ask("mutual").status_code == 200
    new = world.own_certificate("second")
    assert world.party.seen("/mutual/")[-1]["certificate"] != new

    def shown() -> bool:
        assert world.ask("mutual").status_code == 200
        return world.party.seen("/mutual/")[-1]["certificate"] == new

    until(shown, what="the new certificate")


def test_a_file_that_is_gone_leaves_what_was_read_in_use_and_is_told_of(world):
    file = world.root / "keys" / "basic"
    secret = file.read_text()
    file.unlink()
    until(lambda: world.metric("sekisho_credential_files_stale") == 1, what="the gauge")
    assert "the last good reading stays in use: the credential file keys/basic can't be read" in world.log()
    assert world.ask("basic").status_code == 200
    world.write("basic", secret)
    until(lambda: world.metric("sekisho_credential_files_stale") == 0, what="the gauge's return")


def test_a_sign_in_that_is_declared_counts_with_its_first_token(world):
    """However slow the token endpoint is: no request meets a new deployment before it can be used."""
    world.party.set(login_takes_s=1)
    world.write("late", world.party.secret)
    sign_in = SIGN_INS["secret"].replace("keys/secret", "keys/late")
    deploy(world, "late", f"http://127.0.0.1:{world.party.ports['plain']}/secret/v1", sign_in)
    response = until(lambda: (lambda one: one if one.status_code != 404 else None)(world.ask("late")), what="late")
    assert response.status_code == 200
    world.party.set(login_takes_s=0)


def test_a_token_endpoint_that_fails_costs_its_deployment_only_and_is_told_of(world):
    world.party.set(login_answers=503)
    refused = world.metric('sekisho_token_fetches_total{result="refused"}')
    sign_in = SIGN_INS["secret"].replace(CLIENT, "never")
    deploy(world, "never", f"http://127.0.0.1:{world.party.ports['plain']}/secret/v1", sign_in)
    until(lambda: world.metric("sekisho_sign_ins_missing") == 1, what="the gauge")
    until(lambda: world.metric('sekisho_token_fetches_total{result="refused"}') > refused, what="the counter")
    response = world.ask("never")
    assert response.status_code == 502
    assert response.json()["error"]["code"] == "deployment_without_token"
    assert "no valid token" in response.json()["error"]["message"]
    assert (world.outcome(response)["ended"], world.outcome(response)["written"]) == ("not_sent", False)
    assert world.metric('sekisho_faults_total{code="deployment_without_token"}') >= 1
    assert "the token endpoint answered 503 temporarily_unavailable" in world.log()
    for kind in ("secret", "certificate", "bearer"):  # their tokens are good for long yet
        assert world.ask(kind).status_code == 200
    world.party.set(login_answers=0)


def test_a_receipt_says_that_an_egress_proxy_was_the_peer(world):
    response = world.ask("by-proxy")
    assert response.status_code == 200
    peer = world.outcome(response)["peer"]
    assert (peer["address"], peer["port"], peer["via"]) in [
        (address, world.proxy.port, "egress_proxy") for address in ("127.0.0.1", "::1")
    ]
    certificate = (world.party.directory / "server.pem").read_bytes()
    leaf = x509.load_pem_x509_certificate(certificate[certificate.index(b"-----BEGIN CERTIFICATE") :])
    assert peer["certificate_sha256"] == hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()
    receipt = world.root.parent / "receipt.json"
    receipt.write_bytes(world.installation.receipt(response.headers["x-request-id"]))
    assert "egress_proxy" in receipt.read_text()
    sekisho("verify", receipt, "--trust", world.root / "site.vkey")
    # The token came the same way, and the proxy saw names and credentials of its own, nothing else.
    asked = {one.authority for one in world.proxy.asked}
    assert asked == {f"{HOST}:443", f"{LOGIN}:443"}
    assert {one.credentials for one in world.proxy.asked} == {f"gateway:{PROXY_PASSWORD}"}
    assert "via" not in world.outcome(world.ask("mutual"))["peer"]


@pytest.mark.parametrize(
    ("status", "said"), [(403, "its rules forbid the way there"), (407, "it asks for other credentials")]
)
def test_a_proxy_that_refuses_is_told_of_with_what_to_do(world, status, said):
    before = world.metric('sekisho_faults_total{code="upstream_proxy"}')
    world.own_certificate(f"new-{status}")  # so that no connection made before is used again
    new = world.party.seen("/by-proxy/")[-1]["certificate"]
    world.proxy.behaviour = status
    try:
        response = until(lambda: (lambda r: r if r.status_code != 200 else None)(world.ask("by-proxy")), what="refusal")
        assert response.status_code == 502
        assert response.json()["error"]["code"] == "upstream_proxy"
        assert "egress proxy" in response.json()["error"]["message"]
        outcome = world.outcome(response)
        assert (outcome["ended"], outcome["error"]) == ("upstream_failed", "upstream_proxy")
        assert (outcome["written"], outcome["peer"]) == (False, None)
        assert world.metric('sekisho_faults_total{code="upstream_proxy"}') == before + 1
        assert f"answered {status} for {HOST}:443: {said}" in world.log()
    finally:
        world.proxy.behaviour = "open"
    until(lambda: world.ask("by-proxy").status_code == 200, what="the proxy's return")
    assert world.party.seen("/by-proxy/")[-1]["certificate"] != new


def test_providers_test_signs_in_and_goes_by_the_proxy(world):
    done = sekisho("providers", "test", "local", "--dir", world.root, "--json", "--no-stream", check=False)
    tried = {one["deployment"]: one for one in json.loads(done.stdout)}
    for kind in (*SIGN_INS, "mutual", "by-proxy"):
        assert tried[kind]["answers"], tried[kind]
    assert tried["by-proxy"]["peer"]["via"] == "egress_proxy"
    assert tried["by-proxy"]["addresses"] == []
    told = sekisho("providers", "test", "local", "--dir", world.root, "--deployment", "by-proxy", check=False).stdout
    assert "by the egress proxy" in told
    world.proxy.behaviour = 403
    told = sekisho("providers", "test", "local", "--dir", world.root, "--deployment", "by-proxy", check=False)
    world.proxy.behaviour = "open"
    assert told.returncode == 3
    assert "403" in told.stdout
    assert "[egress_proxy]" in told.stdout or "no entry: nothing was sent" in told.stdout
    for secret in (SECRET, PROXY_PASSWORD, "token-", UNTOLD):
        assert secret not in done.stdout + done.stderr + told.stdout + told.stderr


def test_no_secret_and_no_token_is_in_the_log_or_the_ledger(world):
    """Last: by now all were rotated, refused and renewed."""
    world.ask("secret")
    held = world.log()
    for path in (*(world.root / "ledger").rglob("*"), *(world.root / "snapshots").rglob("*")):
        if path.is_file():
            held += path.read_bytes().decode("latin-1")
    assert CLIENT in held  # that a sign-in is declared is no secret
    rotated = [f"{kind}-rotated-2" for kind in KEYS]
    secrets = (*KEYS.values(), *rotated, SECRET, "client-secret-2", PROXY_PASSWORD)
    for secret in (*secrets, UNTOLD):
        assert secret not in held
    assert re.search(r"token-[0-9]+\.", held) is None
    for secret in secrets:  # "gateway" is the user of both, the deployment and the proxy
        assert base64.b64encode(f"gateway:{secret}".encode()).decode() not in held
