"""What may be declared of signing in at a deployment and of the proxy on the way, and what each mistake is told."""

import pytest
from test_catalog_declarations import only_deployment, tables

from sekisho.catalog.declarations import catalogue_of
from sekisho.catalog.facts import BEHIND_PROXY
from sekisho.catalog.interfaces import (
    ApiKeySignIn,
    BasicSignIn,
    BearerSignIn,
    CredentialReference,
    EgressProxy,
    EntraSignIn,
    Grade,
    ManagedIdentitySignIn,
)

FILE = CredentialReference("file", "keys/a")
GIVEN = {"file": "keys/a"}
CLIENT = "0a1b2c3d-0000-1111-2222-333344445555"
ENTRA = {"kind": "entra", "tenant": "contoso.example", "client_id": CLIENT}
OBSERVED = {"value": ["JP"], "grade": "observed", "source": "probe", "observed_at": "2026-11-01"}


def sign_in(**content):
    return only_deployment(sign_in=content).sign_in


def mistakes(**content):
    """Key, problem and remedy of all that is wrong with a deployment that holds `content`."""
    catalogue, found = catalogue_of(tables(deployment=content))
    assert catalogue is None
    return {mistake.key: f"{mistake.problem}. {mistake.remedy}" for mistake in found}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"kind": "bearer", "secret": GIVEN}, BearerSignIn(FILE)),
        ({"kind": "api-key", "secret": {"env": "KEY"}}, ApiKeySignIn(CredentialReference("env", "KEY"), "api-key")),
        ({"kind": "api-key", "secret": GIVEN, "header": "x-api-key"}, ApiKeySignIn(FILE, "x-api-key")),
        ({"kind": "basic", "user": "gateway", "password": GIVEN}, BasicSignIn("gateway", FILE)),
        (
            {**ENTRA, "secret": GIVEN},
            EntraSignIn(
                "contoso.example", CLIENT, "https://cognitiveservices.azure.com/.default",
                "https://login.microsoftonline.com", secret=FILE,
            ),
        ),
        (
            {
                **ENTRA, "certificate_file": "keys/c.pem", "key_file": "keys/k.pem", "algorithm": "RS256",
                "scope": "https://ai.azure.com/.default", "authority": "https://login.example/", "ca_file": "keys/ca",
            },
            EntraSignIn(
                "contoso.example", CLIENT, "https://ai.azure.com/.default", "https://login.example",
                certificate_file="keys/c.pem", key_file="keys/k.pem", algorithm="RS256", ca_file="keys/ca",
            ),
        ),
        (
            {"kind": "managed-identity"},
            ManagedIdentitySignIn(
                "https://cognitiveservices.azure.com", "http://169.254.169.254/metadata/identity/oauth2/token"
            ),
        ),
        (
            {"kind": "managed-identity", "client_id": CLIENT, "url": "http://127.0.0.1:9/t", "resource": "api://x"},
            ManagedIdentitySignIn("api://x", "http://127.0.0.1:9/t", CLIENT),
        ),
    ],
)  # fmt: skip
def test_each_kind_is_read_with_its_defaults(content, expected):
    assert sign_in(**content) == expected


def test_without_a_table_there_is_none():
    deployment = only_deployment()
    assert (deployment.sign_in, deployment.egress_proxy, deployment.credential) == (None, None, None)


@pytest.mark.parametrize(
    ("content", "key", "said"),
    [
        ({}, "sign_in.kind", "managed-identity"),
        ({"kind": "entr"}, "sign_in.kind", "Did you mean 'entra'"),
        ({"kind": "bearer"}, "sign_in.secret", "file = "),
        ({"kind": "bearer", "secret": "hunter2"}, "sign_in.secret", "is given literally"),
        ({"kind": "bearer", "secret": {}}, "sign_in.secret", "names no file"),
        ({"kind": "bearer", "secret": {"file": "a", "env": "B"}}, "sign_in.secret", "or both"),
        ({"kind": "bearer", "secret": {"file": "../../shadow"}}, "sign_in.secret.file", "leaves the data"),
        ({"kind": "bearer", "secret": {"env": "1-NOT"}}, "sign_in.secret.env", "environment variable"),
        ({"kind": "bearer", "secret": {"file": "a", "mode": "x"}}, "sign_in.secret.mode", ""),
        ({"kind": "bearer", "secret": GIVEN, "user": "x"}, "sign_in.user", ""),
        ({"kind": "api-key", "secret": GIVEN, "header": "host"}, "sign_in.header", "api-key"),
        ({"kind": "basic", "user": "a:b", "password": GIVEN}, "sign_in.user", "colon"),
        ({"kind": "basic", "user": "a"}, "sign_in.password", "file = "),
        ({**ENTRA}, "sign_in.secret", "or neither"),
        ({**ENTRA, "secret": GIVEN, "key_file": "k"}, "sign_in.secret", "are both there"),
        ({**ENTRA, "key_file": "k"}, "sign_in.certificate_file", "belong together"),
        ({**ENTRA, "secret": GIVEN, "scope": "https://x.example"}, "sign_in.scope", "end it with /.default"),
        ({**ENTRA, "secret": GIVEN, "tenant": "a/b"}, "sign_in.tenant", "tenant's id"),
        ({**ENTRA, "secret": GIVEN, "client_id": "a b"}, "sign_in.client_id", "(client) id"),
        ({**ENTRA, "secret": GIVEN, "authority": "http://login.example"}, "sign_in.authority", "Use https"),
        ({**ENTRA, "secret": GIVEN, "authority": "https://a@login.example"}, "sign_in.authority", "user or password"),
        (
            {**ENTRA, "secret": GIVEN, "authority": "http://127.0.0.1:9", "ca_file": "c"},
            "sign_in.ca_file", "http authority",
        ),
        (
            {**ENTRA, "certificate_file": "c", "key_file": "k", "algorithm": "none"},
            "sign_in.algorithm", "PS256",
        ),
        ({"kind": "managed-identity", "url": "http://metadata.example/t"}, "sign_in.url", "http to another machine"),
        ({"kind": "managed-identity", "secret": GIVEN}, "sign_in.secret", ""),
    ],
)  # fmt: skip
def test_every_mistake_is_told_at_its_key_with_what_to_do(content, key, said):
    found = mistakes(sign_in=content)
    assert key in found, found
    assert said in found[key]
    assert "hunter2" not in str(found)


def test_a_credential_beside_a_sign_in_is_a_mistake():
    assert "Keep one of them" in mistakes(sign_in={"kind": "bearer", "secret": GIVEN}, credential=GIVEN)["credential"]


def test_a_url_is_no_credential_however_long_its_port_and_path_make_it():
    assert only_deployment(url="https://gateway:18443/openai/deployment2/v1").url.startswith("https://gateway:")
    assert "looks like a credential" in mistakes(upstream_model="ABCDEFGHIJ0123456789abcdefghij0123456789")["upstream_model"]  # fmt: skip  # noqa: E501


PROXY = {"url": "http://proxy.example:3128"}
PLAIN_AUTHORITY = {"sign_in": {**ENTRA, "secret": GIVEN, "authority": "http://127.0.0.1:9"}}


def test_a_proxy_is_read_whole():
    declared = {"url": "https://proxy.example:8443/", "ca_file": "keys/ca.pem", "user": "u", "password": GIVEN}
    expected = EgressProxy("https://proxy.example:8443", "keys/ca.pem", "u", FILE)
    assert only_deployment(egress_proxy=declared).egress_proxy == expected
    assert only_deployment(egress_proxy=PROXY).egress_proxy == EgressProxy("http://proxy.example:3128")


@pytest.mark.parametrize(
    ("content", "deployment", "key", "said"),
    [
        ({}, {}, "egress_proxy.url", "Give a URL"),
        ({"url": "socks5://proxy.example"}, {}, "egress_proxy.url", "is not an http or https URL"),
        ({"url": "http://proxy.example/path"}, {}, "egress_proxy.url", "holds a path"),
        ({"url": "http://u:p@proxy.example"}, {}, "egress_proxy.url", "user or password"),
        (PROXY | {"user": "u"}, {}, "egress_proxy.user", "belong together"),
        (PROXY | {"user": "u", "password": "p"}, {}, "egress_proxy.password", "literally"),
        (PROXY | {"ca_file": "keys/ca"}, {}, "egress_proxy.ca_file", "http proxy"),
        (PROXY | {"no_proxy": ["x"]}, {}, "egress_proxy.no_proxy", ""),
        (PROXY, {"networks": ["192.0.2.0/24"]}, "networks", "the proxy resolves the name"),
        (PROXY, {"url": "http://127.0.0.1:9/v1"}, "egress_proxy.url", "the request would be readable"),
        ({"url": "https://proxy.example"}, {"url": "http://[::1]/v1"}, "egress_proxy.url", "deployment is plain http"),
        (PROXY, PLAIN_AUTHORITY, "egress_proxy.url", "authority of [sign_in] is plain http"),
        ({"url": "https://proxy.example"}, PLAIN_AUTHORITY, "egress_proxy.url", "the secret would be readable"),
    ],
)
def test_every_mistake_of_a_proxy_is_told(content, deployment, key, said):
    found = mistakes(egress_proxy=content, **deployment)
    assert key in found, found
    assert said in found[key]


def test_a_proxy_on_this_machine_may_be_asked_for_plain_http():
    here = {"url": "http://127.0.0.1:3128"}
    assert only_deployment(egress_proxy=here, url="http://127.0.0.1:9/v1", **PLAIN_AUTHORITY).egress_proxy is not None


def test_behind_a_proxy_what_was_observed_of_places_counts_as_declared():
    facts = {
        "storage": OBSERVED,
        "processing": OBSERVED,
        "tenancy": OBSERVED | {"value": "dedicated"},
        "telemetry": "JP",
    }
    direct, behind = only_deployment(facts=facts).facts, only_deployment(facts=facts, egress_proxy=PROXY).facts
    for key in ("storage", "processing"):
        assert (direct[key].grade, behind[key].grade) == (Grade.OBSERVED, Grade.DECLARED)
        assert behind[key].value == direct[key].value
        assert behind[key].source == "probe" + BEHIND_PROXY
        assert behind[key].observed_at == direct[key].observed_at
    assert behind["tenancy"] == direct["tenancy"]  # not seen by an address
    assert behind["telemetry"] == direct["telemetry"]  # declared: it never rested on one
