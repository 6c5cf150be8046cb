"""An issuer's public keys (JWKS, RFC 7517): read strictly, and looked up by key id and algorithm together. Pure.

A key is found only under algorithms that its type can do, so that a token's header can't choose how a key is used.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sekisho.identity.errors import KeySetError
from sekisho.identity.jose import base64url, json_object

KEY_SET_BYTES_MAX: Final = 256 * 1024  # the largest issuers publish some tens of kilobytes
KEYS_MAX: Final = 64
KEY_ID_LENGTH_MAX: Final = 256
RSA_BITS_MIN: Final = 2048  # RFC 7518 section 3.3
RSA_BITS_MAX: Final = 8192  # bounds what verifying one token costs (about 0.3 ms)
RSA_EXPONENT_MAX: Final = 2**32  # the same; 65537 is what is in use
_RSA: Final = ("PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_PRIVATE: Final = frozenset({"d", "dp", "dq", "k", "oth", "p", "q", "qi"})  # RFC 7518 section 6

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey


class KeySet(NamedTuple):
    """`keys` maps (key id, algorithm) to the key; `passed_over` says why others of the document are not in it."""

    digest: bytes  # SHA-256 of the document
    keys: Mapping[tuple[str, str], PublicKey]
    passed_over: tuple[str, ...]

    def find(self, key_id: str | None, algorithm: str) -> PublicKey | None:
        """The key, or None. A token without a key id means the only key there is for its algorithm."""
        if key_id is not None:
            return self.keys.get((key_id, algorithm))
        fitting = [key for (_, name), key in self.keys.items() if name == algorithm]
        return fitting[0] if len(fitting) == 1 else None


def read_key_set(data: bytes) -> KeySet:
    """Raises KeySetError if `data` is no key set, or holds no key that can verify.

    Keys of kinds we don't know are passed over, as RFC 7517 section 5 asks, and so are those that are too weak, meant
    for something else, or ambiguous. A private or secret key refuses the whole: it does not belong to verifiers, and
    who published it has lost it.
    """
    if len(data) > KEY_SET_BYTES_MAX:
        raise KeySetError(f"a key set of more than {KEY_SET_BYTES_MAX} bytes")
    try:
        rows = json_object(data).get("keys")
    except ValueError as error:
        raise KeySetError(f"not a key set: {error}", remedy=_REMEDY) from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise KeySetError("not a key set: it has no list of keys", remedy=_REMEDY)
    if len(rows) > KEYS_MAX:
        raise KeySetError(f"a key set of {len(rows)} keys; at most {KEYS_MAX} are taken")
    keys: dict[tuple[str, str], PublicKey] = {}
    ambiguous: set[tuple[str, str]] = set()
    passed_over: list[str] = []
    for number, row in enumerate(rows):
        if _PRIVATE & row.keys():
            raise KeySetError("the key set holds a private or secret key", remedy="Keep public keys only in it")
        try:
            key_id, algorithms, key = _read(row)
        except (ValueError, UnsupportedAlgorithm) as error:
            passed_over.append(f"key {number}: {error}")
            continue
        for algorithm in algorithms:
            if (key_id, algorithm) in keys:
                ambiguous.add((key_id, algorithm))
            keys[key_id, algorithm] = key
    for doubtful in ambiguous:
        del keys[doubtful]
        passed_over.append(f"two keys for {doubtful[1]} with the same id")
    if not keys:
        raise KeySetError("the key set holds no key that can verify a token", remedy="; ".join(passed_over[:8]))
    return KeySet(hashlib.sha256(data).digest(), keys, tuple(passed_over))


_REMEDY: Final = 'It must be a JSON object like {"keys": [{"kty": "RSA", "kid": "…", "n": "…", "e": "AQAB"}]}'


def _read(row: Mapping[str, Any]) -> tuple[str, tuple[str, ...], PublicKey]:
    """Key id ("" if none), algorithms and key. Raises ValueError for one that can't be used here."""
    key_id = row.get("kid", "")
    if not isinstance(key_id, str) or len(key_id) > KEY_ID_LENGTH_MAX:
        raise ValueError("its kid is not a short text")
    if row.get("use", "sig") != "sig":  # RFC 7517 section 4.2
        raise ValueError("it is not for signatures")
    operations = row.get("key_ops", ["verify"])  # RFC 7517 section 4.3
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("it is not for verifying")
    algorithms, key = _key(row)
    stated = row.get("alg")  # RFC 7517 section 4.4
    if stated is not None:
        if stated not in algorithms:
            raise ValueError("its alg is not one that its type can do here")
        algorithms = (stated,)
    return key_id, algorithms, key


def _key(row: Mapping[str, Any]) -> tuple[tuple[str, ...], PublicKey]:
    """What PyJWT makes of a row, once its texts are strict and its numbers bounded: PyJWT sees to neither."""
    kind, curve = row.get("kty"), row.get("crv")
    algorithms: tuple[str, ...]
    if kind == "RSA":
        modulus, exponent = (int.from_bytes(_octets(row, name), "big") for name in ("n", "e"))
        if not RSA_BITS_MIN <= modulus.bit_length() <= RSA_BITS_MAX or exponent > RSA_EXPONENT_MAX:
            raise ValueError(f"RSA of other than {RSA_BITS_MIN} to {RSA_BITS_MAX} bits, or with a huge exponent")
        algorithms = _RSA
    elif kind == "EC":
        if not isinstance(curve, str) or curve not in _CURVES:
            raise ValueError("its curve is not one of P-256, P-384 and P-521")
        algorithms = (_CURVES[curve],)
        _octets(row, "x"), _octets(row, "y")
    elif kind == "OKP" and curve == "Ed25519":
        algorithms = ("EdDSA",)
        _octets(row, "x")
    else:
        raise ValueError("its type is not RSA, EC or OKP with Ed25519")
    try:
        key = jwt.PyJWK(dict(row), algorithms[0]).key
    except jwt.PyJWTError as error:  # a point that is not on its curve, a coordinate of another length
        raise ValueError(f"it can't be used: {error}") from None
    if not isinstance(key, PublicKey):
        raise AssertionError("a private key that was not refused")
    return algorithms, key


def _octets(row: Mapping[str, Any], name: str) -> bytes:
    text = row.get(name)
    if not isinstance(text, str) or not text.isascii():
        raise ValueError(f"its {name} is missing")
    return base64url(text.encode())
