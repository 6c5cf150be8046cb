"""Client assertions: a JWT signed with the key of a certificate, in the place of a secret.

RFC 7523 section 3 (claims), RFC 7515 sections 4.1.8 (x5t#S256) and 7.1 (compact form), RFC 7518 section 3 (algorithms).
"""

import base64
import binascii
import hashlib
from typing import Final

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding

from sekisho.gateway.errors import CantSignIn

LIFE_S: Final = 600  # Microsoft asks for five to ten minutes
KEY_BITS_MIN: Final = 2048  # RFC 7518 sections 3.3 and 3.5
_DIGEST_BYTES: Final = 32  # RFC 7518 section 3.5: the salt is as long as the digest
_SIGN_IN: Final = "the gateway can't sign in at the deployment"


class SigningKey:
    """The private key of a certificate, and the certificate's thumbprint. Equal for the same files' contents."""

    __slots__ = ("_content", "_key", "thumbprint")

    def __init__(self, key: rsa.RSAPrivateKey, certificate: x509.Certificate) -> None:
        der = certificate.public_bytes(serialization.Encoding.DER)
        self._key = key
        self._content = der, key.private_numbers()
        self.thumbprint = hashlib.sha256(der).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self.thumbprint)

    def __repr__(self) -> str:
        return f"SigningKey({self.thumbprint.hex()})"

    def sign(self, message: bytes, algorithm: str) -> bytes:
        """`algorithm`: "PS256" or "RS256" (KeyError for any other)."""
        return self._key.sign(message, _paddings()[algorithm], hashes.SHA256())


def signing_key(certificate_pem: bytes, key_pem: bytes) -> SigningKey:
    """From PEM files. Raises CantSignIn, which says what is wrong with them, and holds nothing of them."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
    except ValueError:
        raise CantSignIn(_SIGN_IN, detail="certificate_file holds no PEM certificate") from None
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, binascii.Error):  # TypeError: it is encrypted
        raise CantSignIn(_SIGN_IN, detail="key_file holds no unencrypted PEM private key") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < KEY_BITS_MIN:
        raise CantSignIn(_SIGN_IN, detail=f"key_file holds no RSA key of at least {KEY_BITS_MIN} bits")
    if key.public_key() != certificate.public_key():
        raise CantSignIn(_SIGN_IN, detail="key_file is not the key of the certificate in certificate_file")
    return SigningKey(key, certificate)


def client_assertion(key: SigningKey, algorithm: str, client_id: str, audience: str, now_s: int, jti: str) -> str:
    """A signed assertion that `client_id` asks `audience` (the token endpoint's URL) itself, good from now on."""
    header = {"alg": algorithm, "typ": "JWT", "x5t#S256": _base64url(key.thumbprint).decode()}
    claims = {
        "aud": audience, "iss": client_id, "sub": client_id, "jti": jti,
        "iat": now_s, "nbf": now_s, "exp": now_s + LIFE_S,
    }  # fmt: skip
    message = _base64url(orjson.dumps(header)) + b"." + _base64url(orjson.dumps(claims))
    return (message + b"." + _base64url(key.sign(message, algorithm))).decode()


def _paddings() -> dict[str, AsymmetricPadding]:
    return {
        "PS256": padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=_DIGEST_BYTES),
        "RS256": padding.PKCS1v15(),
    }


def _base64url(data: bytes) -> bytes:
    """RFC 7515 section 2: without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")
