"""What is asked of a token endpoint, and what its answers mean. Pure."""

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sekisho.catalog.interfaces import EntraSignIn, ManagedIdentitySignIn
from sekisho.gateway.assertions import SigningKey, client_assertion
from sekisho.gateway.dialects.answers import json_object
from sekisho.gateway.errors import CantSignIn
from sekisho.gateway.http1.interfaces import Header

TOKEN_BYTES_MAX: Final = 16_384  # it goes into one header, which servers bound to this or less
LIFE_S_MAX: Final = 86_400  # however long it is said to be good, we come back every day
METADATA_VERSION: Final = "2018-02-01"
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*", re.ASCII)  # RFC 6750 section 2.1: b64token
_ERROR: Final = re.compile(r"[a-z_]{1,64}", re.ASCII)  # RFC 6749 section 5.2 names such words
_DIGITS: Final = re.compile(r"[0-9]{1,12}", re.ASCII)
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"  # RFC 7523 section 2.2
_NO_TOKEN: Final = "the gateway can't get a token for the deployment"  # noqa: S105 - a message


class Material(NamedTuple):
    """What proves who asks: a secret, a key with its certificate, or neither (to the machine's own service)."""

    secret: str | None = None
    pair: SigningKey | None = None

    def __repr__(self) -> str:
        return "Material(…)"


class TokenRequest(NamedTuple):
    url: str  # without query
    method: str
    target: str
    headers: tuple[Header, ...]
    body: bytes


class Token(NamedTuple):
    """`life_s`: seconds from the request on for which it is good; `renew_s`: when the endpoint advises to renew it."""

    text: str
    life_s: int
    renew_s: int | None

    def __repr__(self) -> str:
        return f"Token(…, life_s={self.life_s})"


def token_request(
    sign_in: EntraSignIn | ManagedIdentitySignIn, material: Material, now_us: int, jti: str
) -> TokenRequest:
    """The request for a token; `jti` must be new each time."""
    accept = (b"accept", b"application/json")
    if isinstance(sign_in, ManagedIdentitySignIn):
        query = {"api-version": METADATA_VERSION, "resource": sign_in.resource}
        if sign_in.client_id is not None:
            query["client_id"] = sign_in.client_id
        target = f"{urllib.parse.urlsplit(sign_in.url).path or '/'}?{urllib.parse.urlencode(query)}"
        # The header is what keeps a mere redirect or forged request from getting a token there.
        return TokenRequest(sign_in.url, "GET", target, (accept, (b"metadata", b"true")), b"")
    url = f"{sign_in.authority}/{sign_in.tenant}/oauth2/v2.0/token"
    form = {"client_id": sign_in.client_id, "grant_type": "client_credentials", "scope": sign_in.scope}
    if material.secret is not None:
        form["client_secret"] = material.secret
    elif material.pair is not None:
        form["client_assertion_type"] = _ASSERTION_TYPE
        form["client_assertion"] = client_assertion(
            material.pair, sign_in.algorithm, sign_in.client_id, url, now_us // 1_000_000, jti
        )
    headers = (accept, (b"content-type", b"application/x-www-form-urlencoded"))
    return TokenRequest(url, "POST", urllib.parse.urlsplit(url).path, headers, urllib.parse.urlencode(form).encode())


def read_token(status: int, headers: Mapping[bytes, bytes], body: bytes) -> Token:
    """RFC 6749 section 5. Raises CantSignIn; of an error it tells the code only, whatever else the answer holds."""
    document = json_object(body) or {}
    if status != 200:
        # RFC 9110 section 10.2.3; a date there is passed over.
        wait_s = _seconds(headers.get(b"retry-after", b"").decode("latin-1")) or 0
        detail = f"the token endpoint answered {status}{_told(document)}"
        raise CantSignIn(_NO_TOKEN, detail=detail, retry_after_s=wait_s)
    text, kind = document.get("access_token"), document.get("token_type")
    if not isinstance(text, str) or len(text) > TOKEN_BYTES_MAX or not _TOKEN.fullmatch(text):
        raise CantSignIn(_NO_TOKEN, detail="the token endpoint's answer holds no access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise CantSignIn(_NO_TOKEN, detail="the token endpoint's token is not of the type Bearer")
    life_s = _seconds(document.get("expires_in"))
    if not life_s:
        raise CantSignIn(_NO_TOKEN, detail="the token endpoint's answer says not for how long the token is good")
    return Token(text, min(life_s, LIFE_S_MAX), _seconds(document.get("refresh_in")) or None)


def _told(document: Mapping[str, Any]) -> str:
    """The error's code, and Entra's numbers for what is wrong. Descriptions are free text: they stay out."""
    error, numbers = document.get("error"), document.get("error_codes")
    told = f" {error}" if isinstance(error, str) and _ERROR.fullmatch(error) else ""
    if isinstance(numbers, list):
        shown = [f"AADSTS{number}" for number in numbers[:4] if type(number) is int and 0 < number < 10**9]
        told += f" ({', '.join(shown)})" if shown else ""
    return told


def _seconds(value: object) -> int | None:
    """A count of seconds; metadata services write it as a string."""
    if type(value) is int and 0 <= value < 10**12:
        return value
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else None
