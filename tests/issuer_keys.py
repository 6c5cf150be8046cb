"""An issuer's keys for tests, and tokens and certificates signed by hand: no library signs what must be refused."""

import base64
import datetime
import functools
import hashlib
import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

CURVES = {
    "ES256": ("P-256", ec.SECP256R1, 32),
    "ES384": ("P-384", ec.SECP384R1, 48),
    "ES512": ("P-521", ec.SECP521R1, 66),
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def private_key(algorithm: str, which: int = 0) -> Any:
    """One key per type and `which`: all RSA algorithms share theirs."""
    return _made(algorithm if algorithm in CURVES or algorithm == "EdDSA" else "RSA", which)


@functools.cache
def _made(kind: str, which: int) -> Any:
    if kind in CURVES:
        return ec.generate_private_key(CURVES[kind][1]())
    return ed25519.Ed25519PrivateKey.generate() if kind == "EdDSA" else rsa.generate_private_key(65537, 2048)


def jwk(algorithm: str, key_id: str | None = "k1", which: int = 0, **changes: Any) -> dict[str, Any]:
    """The public key as a JWK; a change to None takes a member out."""
    public = private_key(algorithm, which).public_key()
    if isinstance(public, rsa.RSAPublicKey):
        row = {"kty": "RSA", "n": number(public.public_numbers().n), "e": number(public.public_numbers().e)}
    elif isinstance(public, ec.EllipticCurvePublicKey):
        numbers, (curve, _, size) = public.public_numbers(), CURVES[algorithm]
        row = {"kty": "EC", "crv": curve, "x": number(numbers.x, size), "y": number(numbers.y, size)}
    else:
        row = {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes(Encoding.Raw, PublicFormat.Raw))}
    row |= {"kid": key_id} | changes
    return {name: value for name, value in row.items() if value is not None}


def key_set(*rows: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(rows)}).encode()


def signature(algorithm: str, message: bytes, which: int = 0) -> bytes:
    """RFC 7518 section 3 and RFC 8037 section 3.1."""
    key, digest = private_key(algorithm, which), {"6": hashes.SHA256, "4": hashes.SHA384, "2": hashes.SHA512}
    if algorithm == "EdDSA":
        return key.sign(message)
    used = digest[algorithm[-1]]()
    if algorithm in CURVES:
        size = CURVES[algorithm][2]
        return b"".join(part.to_bytes(size, "big") for part in decode_dss_signature(key.sign(message, ec.ECDSA(used))))
    if algorithm.startswith("PS"):
        return key.sign(message, padding.PSS(padding.MGF1(used), used.digest_size), used)
    return key.sign(message, padding.PKCS1v15(), used)


def token(
    claims: Any,
    algorithm: str = "RS256",
    key_id: str | None = "k1",
    which: int = 0,
    *,
    header: Any = None,
    **changes: Any,
) -> bytes:
    """A signed token. `header` (and `claims`) may be bytes, taken as they are; changes to None take out of a header."""
    if header is None:
        header = {"alg": algorithm, "typ": "JWT", "kid": key_id} | changes
        header = {name: value for name, value in header.items() if value is not None}
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, claims)]
    signed = ".".join(map(b64, parts)).encode()
    return signed + b"." + b64(signature(algorithm, signed, which)).encode()


CERTIFICATE_ENDS = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
_ATTRIBUTES = {"CN": NameOID.COMMON_NAME, "O": NameOID.ORGANIZATION_NAME, "OU": NameOID.ORGANIZATIONAL_UNIT_NAME}


def certificate(*subject, dns=(), uri=(), serial=1):
    """DER; `subject` is pairs like ("CN", "robot-1")."""
    key = private_key("ES256")
    name = x509.Name([x509.NameAttribute(_ATTRIBUTES[attribute], value) for attribute, value in subject])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), serial, CERTIFICATE_ENDS.replace(year=2020), CERTIFICATE_ENDS
    )
    alternatives = [*map(x509.DNSName, dns), *map(x509.UniformResourceIdentifier, uri)]
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def certificate_digest(der):
    return hashlib.sha256(der).hexdigest()
