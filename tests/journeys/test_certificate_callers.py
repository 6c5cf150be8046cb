"""Callers with client certificates: by themselves, beside a key or token, and with a token that is bound to one."""

import json
import re
import ssl
from pathlib import Path

import httpx
import pytest
import trustme

from journeys.installation import Installation, sekisho, until
from journeys.oidc_provider import GATEWAY, OidcProvider, missing
from journeys.playing_upstream import PlayingUpstream

ORGANISATION = """
title = "Test"
[[certificates]]
dns = "*.robots.test"
roles = ["caller"]
"""
ISSUER = """
[[issuers]]
issuer = "{issuer}"
audience = ["{audience}"]
algorithms = ["RS256"]
ca_file = "keys/ca.pem"
roles = ["caller"]
"""
BODY = {"model": "chat", "messages": [{"role": "user", "content": "How do you read me?"}]}


class World:
    def __init__(self, installation: Installation, authority: trustme.CA, folder: Path) -> None:
        self.installation, self.authority, self.folder = installation, authority, folder
        self.base = f"https://127.0.0.1:{installation.gateway_port}"
        self.provider: OidcProvider | None = None

    def certificate(self, name: str, authority: trustme.CA | None = None) -> Path:
        path = self.folder / f"{name}.pem"
        (authority or self.authority).issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def client(self, certificate: Path | None) -> httpx.Client:
        trust = ssl.create_default_context()
        self.authority.configure_trust(trust)
        if certificate is not None:
            trust.load_cert_chain(certificate)
        return httpx.Client(verify=trust, trust_env=False, timeout=20, base_url=self.base)

    def ask(self, certificate: Path | None, **headers: str) -> httpx.Response:
        with self.client(certificate) as http:
            return http.post("/v1/chat/completions", json=BODY, headers=headers)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder, authority = tmp_path_factory.mktemp("certificates"), trustme.CA()
    with PlayingUpstream() as upstream, Installation(folder / "site") as installation:
        made = World(installation, authority, folder)
        keys = installation.root / "keys"
        authority.cert_pem.write_to_path(keys / "ca.pem")
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(keys / "gateway.pem")
        installation.deployment("chat", upstream.port, path="/chat")
        installation.declare("organisations", "default", ORGANISATION)
        refused = sekisho("check", installation.root, check=False)
        assert "tls_client_ca_file" in refused.stdout + refused.stderr, "nobody would be asked for a certificate"
        for key, file in (("certificate_file", "gateway"), ("key_file", "gateway"), ("client_ca_file", "ca")):
            installation.setting("gateway", f"tls_{key}", f"keys/{file}.pem")
        if missing() is None:
            made.provider = OidcProvider(folder, authority)
            made.provider.start()
            issuer = ISSUER.format(issuer=made.provider.issuer, audience=GATEWAY)
            installation.declare("organisations", "default", ORGANISATION + issuer)
        try:
            assert "no mistakes" in sekisho("check", installation.root).stdout
            installation.start("up")
            robot = made.certificate("r1.robots.test")
            until(lambda: lets_in(made, robot), 60, f"the gateway; see {installation.log}")
            yield made
        finally:
            if made.provider is not None:
                made.provider.stop()


def lets_in(world: World, certificate: Path) -> bool:
    try:
        return world.ask(certificate).status_code == 200
    except httpx.TransportError:
        return False  # it does not listen yet


def test_a_declared_certificate_is_a_principal_with_a_pseudonym(world):
    certificate = world.certificate("r2.robots.test")
    answer = world.ask(certificate)
    assert answer.status_code == 200

    def receipt():
        with world.client(certificate) as http:
            fetched = http.get(f"/receipts/{answer.headers['x-sekisho-receipt']}")
        return fetched if fetched.status_code == 200 else None

    text = until(receipt, what="the receipt").text
    entries = [row["entry"] for row in json.loads(text)["entries"]]
    principal = next(entry["body"]["input"]["principal"] for entry in entries if entry["kind"] == "decision")
    assert re.fullmatch(r"cert-[a-z2-7]{32}", principal["id"])
    assert (principal["organisation"], principal["roles"]) == ("default", ["caller"])
    assert "r2.robots" not in text


def test_a_certificate_that_nobody_declares_says_nothing_by_itself(world):
    certificate = world.certificate("laptop.test")
    answer = world.ask(certificate)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "certificate_refused")
    assert world.ask(certificate, authorization=f"Bearer {world.installation.key}").status_code == 200


def test_a_bad_key_is_not_helped_by_a_good_certificate(world):
    answer = world.ask(world.certificate("r3.robots.test"), authorization="Bearer sk-no")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize("shown", ["none", "a stranger's"])
def test_without_a_certificate_of_the_authority_nothing_is_heard(world, shown):
    certificate = None if shown == "none" else world.certificate("r4.robots.test", trustme.CA())
    with pytest.raises(httpx.TransportError):
        world.ask(certificate, authorization=f"Bearer {world.installation.key}")


def test_a_bound_token_counts_with_its_certificate_only(world):
    if world.provider is None:
        pytest.skip(missing())
    mine, other = world.certificate("laptop-1.test"), world.certificate("laptop-2.test")
    token = world.provider.token(client="robot", certificate=mine)
    until(lambda: world.ask(mine, authorization=f"Bearer {token}").status_code == 200, what="the token's being let in")
    answer = world.ask(other, authorization=f"Bearer {token}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "token_claims_refused")
    assert world.ask(mine, authorization=f"Bearer {token}").status_code == 200
