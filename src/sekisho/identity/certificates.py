"""Client certificates as principals. Pure. The chain was verified by TLS (`[gateway] tls_client_ca_file`) before."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from sekisho.catalog.interfaces import ClientCertificate, Organisation
from sekisho.identity.errors import CertificateRefused
from sekisho.kernel.patterns import pattern_matches

NAMES_MAX: Final = 100  # subject alternative names that are looked at; real ones hold a few
_ATTRIBUTES: Final = {
    "C": NameOID.COUNTRY_NAME,
    "CN": NameOID.COMMON_NAME,
    "L": NameOID.LOCALITY_NAME,
    "O": NameOID.ORGANIZATION_NAME,
    "OU": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "ST": NameOID.STATE_OR_PROVINCE_NAME,
    "serialNumber": NameOID.SERIAL_NUMBER,
}
_DECLARE: Final = "Ask the operator to declare it under [[certificates]], or send an API key or a token as well"


class Holder(NamedTuple):
    """For whom a certificate speaks: `name` is what the declaration knows it by, stable when it is renewed."""

    organisation: str
    declared: ClientCertificate
    name: tuple[str, ...]
    expires: float  # seconds since the Unix epoch


class CertificateHolders:
    """The declared certificates of all organisations."""

    def __init__(self, organisations: Iterable[Organisation]) -> None:
        self._by_digest: dict[str, tuple[str, ClientCertificate]] = {}
        self._patterns: list[tuple[str, ClientCertificate]] = []
        for organisation in organisations:
            for declared in organisation.certificates:
                if declared.sha256 is not None:
                    self._by_digest[declared.sha256] = (organisation.name, declared)
                else:
                    self._patterns.append((organisation.name, declared))

    def find(self, der: bytes, digest: str) -> Holder | None:
        """Whose the certificate is, or None if nobody declares it. One declared by its digest is not held against
        patterns. `digest`: its SHA-256 in hex. Raises CertificateRefused if it can't be read, was revoked, or fits more
        than one declaration.
        """
        exact = self._by_digest.get(digest)
        if exact is None and not self._patterns:
            return None
        try:
            certificate = x509.load_der_x509_certificate(der)
            expires = certificate.not_valid_after_utc.timestamp()
            if exact is not None:
                return _holder(*exact, ("sha256", digest), expires, digest)
            names = _Names(certificate)
        except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
            raise CertificateRefused("The client certificate can't be read", remedy=_DECLARE) from None
        found = [
            (organisation, declared, name)
            for organisation, declared in self._patterns
            if (name := names.matched_by(declared)) is not None
        ]
        if len(found) > 1:
            raise CertificateRefused(
                "The client certificate fits more than one declaration", remedy="The operator must tell them apart"
            )
        if not found:
            return None
        organisation, declared, name = found[0]
        return _holder(organisation, declared, name, expires, digest)


def _holder(
    organisation: str, declared: ClientCertificate, name: tuple[str, ...], expires: float, digest: str
) -> Holder:
    if digest in declared.revoked:
        raise CertificateRefused("The client certificate was revoked", remedy="Ask the operator for a new one")
    return Holder(organisation, declared, name, expires)


class _Names:
    """What a certificate calls its holder. Raises ValueError for names that can't be read."""

    def __init__(self, certificate: x509.Certificate) -> None:
        self._subject = certificate.subject
        try:
            alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            self._dns: list[str] = []
            self._uri: list[str] = []
        else:
            self._dns = [name.lower() for name in alternatives.get_values_for_type(x509.DNSName)[:NAMES_MAX]]
            self._uri = alternatives.get_values_for_type(x509.UniformResourceIdentifier)[:NAMES_MAX]

    def matched_by(self, declared: ClientCertificate) -> tuple[str, ...] | None:
        """The name under which the holder fits, or None."""
        if declared.dns is not None:
            return _only("dns", [name for name in self._dns if pattern_matches(declared.dns, name, never=".*")])
        if declared.uri is not None:
            return _only("uri", [name for name in self._uri if pattern_matches(declared.uri, name, never="/?#*")])
        for attribute, pattern in declared.subject:
            values = self._subject.get_attributes_for_oid(_ATTRIBUTES[attribute])
            # Two of one attribute could say two things: such a certificate fits no pattern.
            if len(values) != 1 or not pattern_matches(pattern, str(values[0].value)):
                return None
        return ("subject", self._subject.rfc4514_string())


def _only(kind: str, names: list[str]) -> tuple[str, ...] | None:
    """All the names that fit, sorted: a certificate for two robots is neither of them."""
    return (kind, *sorted(names)) if names else None
