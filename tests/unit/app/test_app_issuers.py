"""Issuers' keys over the gateway's client, and what `sekisho check` finds beside the declarations themselves."""

import pytest

from gateway_fakes import FakeClient, Script
from issuer_keys import jwk, key_set
from sekisho.app.issuers import IssuerFetches, caller_mistakes, key_sources
from sekisho.catalog.interfaces import Boundary, Catalogue, ClientCertificate, DataClass, Issuer, Organisation
from sekisho.gateway.http1.errors import UpstreamClosed
from sekisho.identity.errors import KeySetError
from sekisho.settings import DataDirectory

LIMIT = 1024


@pytest.fixture
def client():
    return FakeClient([])


async def test_a_document_is_fetched_over_tls_with_an_exclusive_authority(client, tmp_path):
    client.scripts["idp.example"] = [Script(body=b"keys")]
    assert await IssuerFetches(client, tmp_path).get("https://idp.example/keys?v=1", "keys/ca.pem", LIMIT) == b"keys"
    (exchange,) = client.exchanges
    assert (exchange.endpoint.port, exchange.target) == (443, "/keys?v=1")
    assert exchange.endpoint.tls.server_name == "idp.example"
    assert exchange.endpoint.tls.ca_file == str(tmp_path / "keys/ca.pem")


async def test_plain_http_is_for_loopback_only(client, tmp_path):
    client.scripts["127.0.0.1"] = [Script(body=b"keys")]
    fetches = IssuerFetches(client, tmp_path)
    assert await fetches.get("http://127.0.0.1:9/keys", None, LIMIT) == b"keys"
    assert client.exchanges[0].endpoint.tls is None
    for url in ("http://idp.example/keys", "file:///etc/passwd", "https://u:p@idp.example/", "https://"):
        with pytest.raises(KeySetError):
            await fetches.get(url, None, LIMIT)
    assert len(client.exchanges) == 1, "nothing left for a URL that a discovery document may not name"


@pytest.mark.parametrize("status", [301, 302, 307, 308, 204, 404, 500])
async def test_redirects_and_errors_are_not_keys(client, tmp_path, status):
    client.scripts["idp.example"] = [Script(status, headers={b"location": b"https://evil.example/"})]
    with pytest.raises(KeySetError, match=str(status)):
        await IssuerFetches(client, tmp_path).get("https://idp.example/", None, LIMIT)
    assert [exchange.aborted for exchange in client.exchanges] == [True]


async def test_a_connection_that_was_closed_while_idle_is_opened_anew_once(client, tmp_path):
    stale = Script(error=UpstreamClosed("closed", phase="response"), reused=True)
    client.scripts["idp.example"] = [stale, Script(body=b"keys")]
    assert await IssuerFetches(client, tmp_path).get("https://idp.example/", None, LIMIT) == b"keys"
    client.scripts["idp.example"] = [Script(error=UpstreamClosed("closed", phase="response"))]
    with pytest.raises(UpstreamClosed):
        await IssuerFetches(client, tmp_path).get("https://idp.example/", None, LIMIT)


def catalogue(issuers=(), certificates=()):
    boundary = Boundary(("JP",), ("JP",), (DataClass("public", "", ""),), "public", ("JP",))
    organisation = Organisation("bank", "B", issuers=tuple(issuers), certificates=tuple(certificates))
    return Catalogue(boundary, (organisation,), (), (), (), ())


OFFLINE = Issuer("https://idp.example", ("a",), ("RS256",), jwks_file="keys/idp.json", roles=("caller",))


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (None, "can't be read"),
        (b"{", "not a key set"),
        (b'{"keys": []}', "no key that can verify"),
        (key_set(jwk("RS256", d="AQAB")), "private or secret"),
    ],
)
def test_a_file_of_keys_that_can_not_be_used_is_a_mistake(tmp_path, document, problem):
    (tmp_path / "keys").mkdir()
    if document is not None:
        (tmp_path / "keys/idp.json").write_bytes(document)
    (mistake,) = caller_mistakes(DataDirectory(tmp_path), catalogue([OFFLINE]))
    assert (mistake.file, mistake.key) == ("organisations/bank.toml", "issuers[0].jwks_file")
    assert problem in mistake.problem
    assert mistake.remedy


def test_a_good_file_is_none(tmp_path):
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/idp.json").write_bytes(key_set(jwk("RS256")))
    fetched = Issuer("https://other.example", ("a",), ("RS256",), roles=("caller",))
    declared = catalogue([OFFLINE, fetched])
    assert caller_mistakes(DataDirectory(tmp_path), declared) == []
    assert [source.issuer for source in key_sources(declared)] == ["https://idp.example", "https://other.example"]


def test_certificates_that_nobody_is_asked_for_are_a_mistake(tmp_path):
    declared = catalogue(certificates=[ClientCertificate(("caller",), dns="a.example")])
    assert caller_mistakes(DataDirectory(tmp_path), declared) == [], "`init` checks before it writes the settings"
    settings = '[installation]\norigin = "a.internal/local/b"\n[gateway]\n'
    tls = 'tls_certificate_file = "keys/g.pem"\ntls_key_file = "keys/g.pem"\n'
    (tmp_path / "sekisho.toml").write_text(settings)
    (mistake,) = caller_mistakes(DataDirectory(tmp_path), declared)
    assert (mistake.file, mistake.key) == ("organisations/bank.toml", "certificates")
    assert "tls_client_ca_file" in mistake.remedy
    (tmp_path / "sekisho.toml").write_text(settings + tls + 'tls_client_ca_file = "keys/callers.pem"\n')
    assert caller_mistakes(DataDirectory(tmp_path), declared) == []
