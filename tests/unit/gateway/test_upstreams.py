"""From declared deployments to endpoints."""

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

from gateway_fakes import in_force
from sekisho.catalog.interfaces import CredentialReference, EgressProxy, ManagedIdentitySignIn, UpstreamTls
from sekisho.gateway.errors import CantSignIn
from sekisho.gateway.interfaces import Upstream
from sekisho.gateway.sign_in import SignIns
from sekisho.gateway.tokens import Token
from sekisho.gateway.upstreams import put_in_force, upstreams_of
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError


class Secrets:
    def __init__(self, secret):
        self.secret = secret


def upstream(resolve=lambda reference: "secret", **changes):
    snapshot = in_force(("a",)).snapshot
    deployment = msgspec.structs.replace(snapshot.deployments["a"], **changes)
    sign_ins = SignIns(Secrets(resolve), SystemClock())
    return put_in_force(replace(snapshot, deployments={"a": deployment}), Path("/data"), sign_ins).upstreams["a"]


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("http://127.0.0.1:9/v1", "127.0.0.1", 9, "/v1/chat/completions"),
        ("https://api.example.jp/openai/v1/", "api.example.jp", 443, "/openai/v1/chat/completions"),
        ("http://[::1]/v1", "::1", 80, "/v1/chat/completions"),
    ],
)
def test_the_url_names_endpoint_and_target(url, host, port, target):
    made = upstream(url=url)
    assert (made.endpoint.host, made.endpoint.port, made.targets["chat"]) == (host, port, target)
    assert (made.endpoint.tls is not None) == url.startswith("https")


def test_every_operation_has_its_target():
    assert upstream(url="http://127.0.0.1:9/v1").targets == {
        "chat": "/v1/chat/completions", "completions": "/v1/completions", "embeddings": "/v1/embeddings",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("url", "prefix"), [("https://r.example.jp", ""), ("https://r.example.jp/", ""), ("https://r.example.jp/a", "/a")]
)
def test_azure_names_the_deployment_in_the_path_and_the_version_in_the_query(url, prefix):
    made = upstream(url=url, dialect="azure", api_version="2024-10-21", upstream_model="GPT 4/o")
    assert made.targets["embeddings"] == (f"{prefix}/openai/deployments/GPT%204%2Fo/embeddings?api-version=2024-10-21")
    assert made.targets["chat"] == f"{prefix}/openai/deployments/GPT%204%2Fo/chat/completions?api-version=2024-10-21"


def test_a_key_for_azure_goes_into_the_api_key_header():
    made = upstream(dialect="azure", api_version="2024-10-21", credential=CredentialReference("env", "KEY"))
    assert (b"api-key", b"secret") in made.headers
    assert b"authorization" not in dict(made.headers)


def test_networks_timeouts_and_tls_are_the_declared_ones():
    made = upstream(
        url="https://api.example.jp/v1",
        networks=("192.0.2.0/24",),
        connect_timeout_ms=1500,
        tls=UpstreamTls(ca_file="keys/ca.pem", server_name="inner.example.jp"),
    )
    assert made.endpoint.networks == (ip_network("192.0.2.0/24"),)
    assert made.endpoint.connect_timeout_s == 1.5
    assert made.endpoint.tls.ca_file == "/data/keys/ca.pem"
    assert made.endpoint.tls.server_name == "inner.example.jp"
    assert made.endpoint.tls.client_key_file is None


def test_the_credential_goes_into_the_header_and_nowhere_else():
    made = upstream(credential=CredentialReference("env", "KEY"))
    assert (b"authorization", b"Bearer secret") in made.headers
    assert b"authorization" not in dict(upstream().headers)


def test_a_credential_that_cannot_be_read_fails_its_deployment_only():
    def missing(reference):
        raise SekishoError("the variable KEY is not set")

    assert isinstance(upstream(missing, credential=CredentialReference("env", "KEY")), SekishoError)
    assert isinstance(upstream(missing), Upstream)


PROXY = EgressProxy("https://proxy.example", "keys/proxy-ca.pem", "u", CredentialReference("env", "P"))


def test_a_declared_proxy_is_on_the_way_with_its_own_authority_and_credentials():
    made = upstream(url="https://api.example.jp/v1", egress_proxy=PROXY)
    proxy = made.endpoint.proxy
    assert (proxy.host, proxy.port) == ("proxy.example", 443)
    assert (proxy.tls.server_name, proxy.tls.ca_file) == ("proxy.example", "/data/keys/proxy-ca.pem")
    assert proxy.authorization() == b"Basic dTpzZWNyZXQ="
    assert b"proxy-authorization" not in dict(made.headers)
    plain = upstream(egress_proxy=EgressProxy("http://proxy.example:3128")).endpoint.proxy
    assert (plain.port, plain.tls, plain.authorization) == (3128, None, None)
    assert upstream().endpoint.proxy is None


def test_a_proxy_without_its_credentials_fails_its_deployment():
    def missing(reference):
        raise SekishoError("the variable P is not set")

    assert isinstance(upstream(missing, egress_proxy=PROXY), SekishoError)


def test_a_token_that_comes_is_shown_from_then_on_and_its_refusal_is_told_to_it():
    sign_in = ManagedIdentitySignIn("api://x", "http://169.254.169.254/t")
    deployment = msgspec.structs.replace(in_force(("a",)).snapshot.deployments["a"], sign_in=sign_in)
    sign_ins = SignIns(Secrets(None), SystemClock())
    upstreams = upstreams_of([deployment], Path("/data"), sign_ins)
    assert isinstance(upstreams["a"], CantSignIn)
    credential = sign_ins.of(deployment)
    credential.fetched(Token("t1", 3600, None), SystemClock().now_us(), 0.0)
    before = upstreams["a"]
    assert (b"authorization", b"Bearer t1") in before.headers
    before.refused()
    assert credential.due(SystemClock().now_us())
    credential.fetched(Token("t2", 3600, None), SystemClock().now_us(), 0.0)
    assert (b"authorization", b"Bearer t2") in upstreams["a"].headers
    assert upstreams["a"].endpoint is before.endpoint  # one pool of connections, whatever the token


def test_who_comes_with_another_identity_shares_no_connection():
    one, other = (upstream(credential=CredentialReference("env", name)).endpoint for name in ("A", "B"))
    assert one != other
