"""What is asked of token endpoints, and what their answers are taken for."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from sekisho.catalog.interfaces import CredentialReference, EntraSignIn, ManagedIdentitySignIn
from sekisho.gateway.errors import CantSignIn
from sekisho.gateway.tokens import LIFE_S_MAX, TOKEN_BYTES_MAX, Material, Token, read_token, token_request

SECRET = "s3cret&=+ ünsafe"
FREE_TEXT = "AADSTS7000215: Invalid client secret provided, trace id 123"
ENTRA = EntraSignIn(
    "contoso.example", "app-1", "https://x.example/.default", "https://login.example", CredentialReference("env", "S")
)
GOOD = {"access_token": "eyJ0.e-Y_~+/=", "token_type": "Bearer", "expires_in": 3599}


def read(document, status=200, headers=None):
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_token(status, headers or {}, body)


def test_a_secret_goes_into_the_form_alone():
    request = token_request(ENTRA, Material(secret=SECRET), 0, "jti")
    assert (request.method, request.url) == ("POST", "https://login.example/contoso.example/oauth2/v2.0/token")
    assert request.target == "/contoso.example/oauth2/v2.0/token"
    assert dict(request.headers)[b"content-type"] == b"application/x-www-form-urlencoded"
    assert parse_qs(request.body.decode(), strict_parsing=True) == {
        "client_id": ["app-1"],
        "client_secret": [SECRET],
        "grant_type": ["client_credentials"],
        "scope": ["https://x.example/.default"],
    }


@pytest.mark.parametrize("client", [None, "user-assigned"])
def test_the_metadata_service_is_asked_with_its_header(client):
    request = token_request(ManagedIdentitySignIn("api://x?", "http://169.254.169.254/m/t", client), Material(), 0, "j")
    assert (request.method, request.body) == ("GET", b"")
    assert (b"metadata", b"true") in request.headers
    parts = urlsplit(request.target)
    assert parts.path == "/m/t"
    assert parse_qs(parts.query) == {
        "api-version": ["2018-02-01"], "resource": ["api://x?"], **({} if client is None else {"client_id": [client]}),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "life_s", "renew_s"),
    [
        ({}, 3599, None),
        ({"expires_in": "3599", "refresh_in": "1800"}, 3599, 1800),  # as the metadata service writes them
        ({"expires_in": 10**9}, LIFE_S_MAX, None),
        ({"token_type": "bearer", "refresh_in": 0}, 3599, None),
    ],
)
def test_a_token_is_read_with_its_life(changes, life_s, renew_s):
    assert read(GOOD | changes) == Token(GOOD["access_token"], life_s, renew_s)


@pytest.mark.parametrize(
    "document",
    [
        b"<html>sign in</html>",
        b"[]",
        {},
        GOOD | {"access_token": "a\r\nx-evil: 1"},
        GOOD | {"access_token": ""},
        GOOD | {"access_token": "a" * (TOKEN_BYTES_MAX + 1)},
        GOOD | {"access_token": 1},
        GOOD | {"token_type": "pop"},
        {**GOOD, "token_type": None},
        {**GOOD, "expires_in": None},
        GOOD | {"expires_in": 0},
        GOOD | {"expires_in": -1},
        GOOD | {"expires_in": True},
        GOOD | {"expires_in": "soon"},
    ],
)
def test_what_is_no_token_is_refused_and_not_repeated(document):
    with pytest.raises(CantSignIn) as raised:
        read(document)
    for told in (str(raised.value), repr(raised.value)):
        assert GOOD["access_token"] not in told
        assert "evil" not in told


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (
            {"error": "invalid_client", "error_description": FREE_TEXT, "error_codes": [7000215]},
            "answered 401 invalid_client (AADSTS7000215)",
        ),
        ({"error": "invalid_client"}, "answered 401 invalid_client"),
        ({"error": f"<b>{FREE_TEXT}</b>", "error_codes": ["x", True, -1, 10**12]}, "answered 401"),
        (b"<html>" + FREE_TEXT.encode(), "answered 401"),
    ],
)
def test_of_an_error_the_code_is_told_and_nothing_else(document, told):
    with pytest.raises(CantSignIn) as raised:
        read(document, 401)
    assert raised.value.detail == f"the token endpoint {told}"


@pytest.mark.parametrize(("value", "wait_s"), [(b"17", 17), (b"Wed, 21 Oct 2026 07:28:00 GMT", 0), (b"-1", 0)])
def test_it_says_when_to_come_again(value, wait_s):
    with pytest.raises(CantSignIn) as raised:
        read({}, 429, {b"retry-after": value})
    assert raised.value.retry_after_s == wait_s


def test_a_redirect_is_no_token():
    with pytest.raises(CantSignIn, match="302"):
        read(GOOD, 302)


def test_neither_shows_what_it_holds():
    assert SECRET not in repr(Material(secret=SECRET))
    assert GOOD["access_token"] not in repr(read(GOOD))
