"""Tokens: JSON Web Tokens in the compact form of signed ones (RFC 7519, RFC 7515), as strict as RFC 8725 asks. Pure.

What is refused here goes beyond what JWT libraries refuse (keys that stand twice, parameters that point to keys, bits
left over); whether a signature is good, PyJWT says, of the very bytes that came.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import jwt

from sekisho.identity.errors import TokenBadSignature, TokenMalformed
from sekisho.identity.jose import base64url, json_object
from sekisho.identity.key_set import KEY_ID_LENGTH_MAX, PublicKey

TOKEN_BYTES_MAX: Final = 16 * 1024  # half of what a request's head may hold; with 200 groups Entra's are 10 KiB

# Parameters that bring or point to a key, or ask for processing we don't do (RFC 8725 sections 3.9 and 3.10).
_REFUSED: Final = ("b64", "crit", "cty", "jku", "jwk", "x5c", "x5u", "zip")
_TYPES: Final = ("at+jwt", "jwt")  # RFC 9068 section 2.1; explicit typing, RFC 8725 section 3.11
_SHAPE: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*\.[A-Za-z0-9_.-]*")

_REMEDY: Final = "Send the access token as its issuer gave it, as `Authorization: Bearer …`"


class UnverifiedToken(NamedTuple):
    """What a token says. None of it is true before `verify_signature`, and its claims are judged by `claims`."""

    algorithm: str
    key_id: str | None
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def looks_like_token(credentials: bytes) -> bool:
    """Whether bearer credentials are a token rather than an API key, which holds no dot."""
    return _SHAPE.fullmatch(credentials) is not None


def read_token(text: bytes) -> UnverifiedToken:
    """Take a token apart. Raises TokenMalformed; the message never holds any part of it."""
    if len(text) > TOKEN_BYTES_MAX:
        raise TokenMalformed(f"The token is longer than {TOKEN_BYTES_MAX} bytes", remedy="Ask for fewer claims in it")
    parts = text.split(b".")
    if len(parts) == 5:
        raise TokenMalformed("The token is encrypted (JWE)", remedy="Ask the issuer for a signed one")
    if len(parts) != 3:
        raise TokenMalformed("The token has not three parts", remedy=_REMEDY)
    try:
        header, claims = json_object(base64url(parts[0])), json_object(base64url(parts[1]))
        signature = base64url(parts[2])
    except ValueError as error:
        raise TokenMalformed(f"The token can't be read: {error}", remedy=_REMEDY) from None
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise TokenMalformed("The token's header names no alg", remedy=_REMEDY)
    for name in _REFUSED:
        if name in header:
            raise TokenMalformed(f"The token's header holds {name}, which is not taken here", remedy=_REMEDY)
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        raise TokenMalformed("The token's typ is not JWT or at+jwt", remedy="Send an access token, no other kind")
    key_id = header.get("kid")
    if key_id is not None and (not isinstance(key_id, str) or not 0 < len(key_id) <= KEY_ID_LENGTH_MAX):
        raise TokenMalformed("The token's kid is not a short text", remedy=_REMEDY)
    return UnverifiedToken(algorithm, key_id, claims, parts[0] + b"." + parts[1], signature)


def verify_signature(token: UnverifiedToken, key: PublicKey) -> None:
    """Raises TokenBadSignature unless `key`, which was found for the token's algorithm, signed it."""
    # Each algorithm refuses signatures of other lengths (RFC 7518 sections 3.3 to 3.5, RFC 8037 section 3.1).
    if not jwt.get_algorithm_by_name(token.algorithm).verify(token.signed, key, token.signature):
        raise TokenBadSignature("The token's signature is not its issuer's", remedy=_REMEDY)
