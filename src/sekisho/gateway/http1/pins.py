"""The chain that TLS has verified, and whether one of its keys is pinned."""

import hashlib
import ssl
from collections.abc import Callable, Collection
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sekisho.gateway.http1.errors import UpstreamTlsError

CHAIN_MAX: Final = 8  # certificates looked at; longer chains than four are not in use


def verified_chain(tls: Any) -> tuple[bytes, ...]:
    """DER of the certificates from the leaf to the root that was trusted, at most CHAIN_MAX. `tls`: an SSLObject.

    Python tells it officially from 3.13 on; before, the same function stands on the object beneath.
    """
    public: Callable[[], list[bytes]] | None = getattr(tls, "get_verified_chain", None)
    if public is not None:
        return tuple(public()[:CHAIN_MAX])
    return tuple(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in tls._sslobj.get_verified_chain()[:CHAIN_MAX])


def key_digest(certificate: bytes) -> str:
    """SHA-256 (hex) of a certificate's SubjectPublicKeyInfo. Raises UpstreamTlsError if it can't be read."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
        return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm) as error:  # TLS takes more than can be read
        raise UpstreamTlsError(f"a key of the chain can't be read: {error}", phase="connect") from error


def require_pinned(tls: Any, pins: Collection[str], host: str) -> None:
    """Raises UpstreamTlsError unless a certificate of the chain has one of the pinned keys."""
    if not any(key_digest(one) in pins for one in verified_chain(tls)):
        raise UpstreamTlsError(f"no certificate of {host} has a pinned key: somebody else answers", phase="connect")
