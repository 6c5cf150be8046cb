"""Client assertions: a JWT signed with the key of a certificate, in the place of a secret.

RFC 7523 section 3 (claims), RFC 7515 section 4.1.8 (x5t#S256).
"""

import hashlib
from typing import Final

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sekisho.gateway.errors import CantSignIn
from sekisho.kernel.base64url import unpadded

LIFE_S: Final = 600  # Microsoft asks for five to ten minutes
KEY_BITS_MIN: Final = 2048  # RFC 7518 sections 3.3 and 3.5
_SIGN_IN: Final = "the gateway can't sign in at the deployment"


class SigningKey:
    """The private key of a certificate, and the certificate's thumbprint. Equal for the same files' contents."""

    __slots__ = ("_content", "private", "thumbprint")

    def __init__(self, private: rsa.RSAPrivateKey, certificate: x509.Certificate) -> None:
        der = certificate.public_bytes(serialization.Encoding.DER)
        self.private = private
        self._content = der, private.private_numbers()
        self.thumbprint = hashlib.sha256(der).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self.thumbprint)

    def __repr__(self) -> str:
        return f"SigningKey({self.thumbprint.hex()})"


def signing_key(certificate_pem: bytes, key_pem: bytes) -> SigningKey:
    """From PEM files. Raises CantSignIn, which says what is wrong with them, and holds nothing of them."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        public = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        raise CantSignIn(_SIGN_IN, detail="certificate_file holds no PEM certificate with a key known here") from None
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # TypeError: it is encrypted
        raise CantSignIn(_SIGN_IN, detail="key_file holds no unencrypted PEM private key") from None
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < KEY_BITS_MIN:
        raise CantSignIn(_SIGN_IN, detail=f"key_file holds no RSA key of at least {KEY_BITS_MIN} bits")
    if key.public_key() != public:
        raise CantSignIn(_SIGN_IN, detail="key_file is not the key of the certificate in certificate_file")
    return SigningKey(key, certificate)


def client_assertion(key: SigningKey, algorithm: str, client_id: str, audience: str, now_s: int, jti: str) -> str:
    """A signed assertion that `client_id` asks `audience` (the token endpoint's URL) itself, good from now on.

    `algorithm`: "PS256" or "RS256".
    """
    claims = {
        "aud": audience, "iss": client_id, "sub": client_id, "jti": jti,
        "iat": now_s, "nbf": now_s, "exp": now_s + LIFE_S,
    }  # fmt: skip
    return jwt.encode(claims, key.private, algorithm, headers={"x5t#S256": unpadded(key.thumbprint)})
