"""Who asks: the one place where an API key, a token or a client certificate becomes a principal."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple, Protocol, TypeVar

from sekisho.catalog.interfaces import Catalogue, ClientCertificate, Issuer
from sekisho.identity.certificates import CertificateHolders
from sekisho.identity.claims import Vocabulary, choose_issuer, read_claims, require_time
from sekisho.identity.errors import (
    CertificateRefused,
    CredentialsConflict,
    TokenClaimsRefused,
    TokenExpired,
    TokenMalformed,
    TokenUnknownIssuer,
)
from sekisho.identity.interfaces import HOLDER_PREFIX, SUBJECT_PREFIX, Principal
from sekisho.identity.key_files import KeySource, source_of
from sekisho.identity.key_set import PublicKey
from sekisho.identity.keyring import Ended, Keyring, Watch
from sekisho.identity.pseudonyms import pseudonym
from sekisho.identity.tokens import UnverifiedToken, looks_like_token, read_token, verify_signature
from sekisho.kernel.base64url import unpadded
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import Clock

VERIFIED_MAX: Final = 10_000  # tokens and certificates each, about 1 KiB apiece; those not seen for longest go first

_DECLARED_NOWHERE: Final = "Ask the operator to declare it under [[issuers]] of your organisation"
_DROPPED: Final = "Ask the operator of this gateway whether your organisation's callers were changed"


class FindsKeys(Protocol):
    def find(self, source: KeySource, key_id: str | None, algorithm: str) -> PublicKey: ...
    def use(self, sources: Iterable[KeySource]) -> None: ...


class Verified(NamedTuple):
    """What a token or a certificate was found to be. `expires` is in seconds since the Unix epoch."""

    principal: Principal
    expires: float
    certificate_sha256: str | None = None  # base64url; a token that only the holder of that certificate may use


class StandingWatch(NamedTuple):
    """A place among those who hear that a declaration is gone; give it back with `Callers.unwatch`."""

    standing: str
    number: int


Remembered = TypeVar("Remembered")
_SHOWN: Final = "\n"  # between a declaration (JSON in one line) and the SHA-256 of the certificate that was shown


class Callers:
    """Authenticates, and says who has ended. Belongs to one event loop.

    `catalogue` gives the one in force and may raise; what it declares is taken over when it has changed, at the next
    `authenticate` or by `follow`, which alone tells whoever hangs on what is gone: let it be called all the time.
    `organisation_key` gives the key that pseudonyms are made with.
    """

    def __init__(
        self,
        keyring: Keyring,
        keys: FindsKeys,
        catalogue: Callable[[], Catalogue],
        organisation_key: Callable[[str], bytes],
        clock: Clock,
        *,
        remembered_max: int = VERIFIED_MAX,
    ) -> None:
        self._keyring = keyring
        self._keys = keys
        self._in_force = catalogue
        self._organisation_key = organisation_key
        self._clock = clock
        self._remembered_max = remembered_max
        self._catalogue: Catalogue | None = None
        self._told_of: Catalogue | None = None
        self._issuers: dict[str, list[tuple[str, Issuer]]] = {}
        self._holders = CertificateHolders(())
        self._vocabulary = Vocabulary(frozenset(), frozenset())
        self._standings: frozenset[str] = frozenset()
        self._revoked: frozenset[str] = frozenset()
        self._tokens: OrderedDict[bytes, Verified] = OrderedDict()
        self._certificates: OrderedDict[bytes, Verified | None] = OrderedDict()  # None: declared nowhere
        self._watches: dict[str, dict[int, tuple[str, Ended]]] = {}
        self._watch_number = 0

    def authenticate(self, authorization: bytes | None, api_key: bytes | None, certificate: bytes | None) -> Principal:
        """Whom a request's `Authorization` and `api-key` headers and its client certificate (DER) stand for.

        A header says more than a certificate, which may be a machine's: with both, the header's principal counts, and
        they must belong to one organisation. Raises AuthenticationError, IssuerKeysUnavailable, and what `catalogue`
        raises.
        """
        token = _token(authorization)
        if token is None:
            if api_key is not None and looks_like_token(api_key):
                raise TokenMalformed("api-key holds a token", remedy="Send it as `Authorization: Bearer …`")
            if certificate is None:
                return self._keyring.authenticate(authorization, api_key)
        elif api_key is not None:
            raise CredentialsConflict("A token and an API key were sent together", remedy="Send only one of them")
        self._take_over()
        holder = None if certificate is None else self._holder(certificate)
        if token is not None:
            principal = self._bearer(token, certificate)
        elif authorization is not None or api_key is not None:
            principal = self._keyring.authenticate(authorization, api_key)
        elif holder is not None:
            return holder
        else:
            raise CertificateRefused(
                "Nobody declares this client certificate, and no key or token was sent",
                remedy="Ask the operator to declare it under [[certificates]], or send an API key or a token as well",
            )
        if holder is not None and holder.organisation != principal.organisation:
            raise CredentialsConflict(
                "The client certificate and the key or token belong to different organisations",
                remedy="Use those of one organisation",
            )
        return principal

    def is_live(self, principal: Principal) -> bool:
        """Whether the principal may still be sent for, as far as is known; only looks. A token that has run out since
        it was shown still counts for the request that it came with; a key or certificate that was revoked, or a
        declaration that is gone, does not.
        """
        if principal.standing is None:
            return self._keyring.is_live(principal.id)
        return self._stands(principal.standing)

    def watch(self, principal: Principal, ended: Ended) -> Watch | StandingWatch:
        """Have `ended(principal.id)` called, once, when `is_live` ends; O(1). Raises AuthenticationError if it has."""
        if principal.standing is None:
            return self._keyring.watch(principal.id, ended)
        if not self.is_live(principal):
            raise TokenClaimsRefused("The caller's organisation declares it no longer", remedy=_DROPPED)
        self._watch_number += 1
        self._watches.setdefault(principal.standing, {})[self._watch_number] = (principal.id, ended)
        return StandingWatch(principal.standing, self._watch_number)

    def unwatch(self, watch: Watch | StandingWatch) -> None:
        """Give a watch back; O(1). One that was called already is gone, and that is fine."""
        if isinstance(watch, Watch):
            self._keyring.unwatch(watch)
            return
        callbacks = self._watches.get(watch.standing)
        if callbacks is not None:
            callbacks.pop(watch.number, None)
            if not callbacks:
                del self._watches[watch.standing]

    def follow(self) -> None:
        """Take over the catalogue in force if it is another one. Whoever hangs on what is gone is told.

        Raises what `catalogue` raises, or ExceptionGroup, after every watcher was called, with what watchers raised.
        """
        try:
            self._take_over()
        finally:  # `authenticate` may have taken one over before this one could not be had
            if self._told_of is not self._catalogue:
                self._told_of = self._catalogue
                self._tell_ended()

    def _take_over(self) -> None:
        catalogue = self._in_force()
        if catalogue is self._catalogue:
            return
        issuers: dict[str, list[tuple[str, Issuer]]] = {}
        standings: set[str] = set()
        revoked: set[str] = set()
        for organisation in catalogue.organisations:
            for issuer in organisation.issuers:
                issuers.setdefault(issuer.issuer, []).append((organisation.name, issuer))
                standings.add(_standing(organisation.name, issuer))
            for certificate in organisation.certificates:
                standing = _standing(organisation.name, certificate)
                standings.add(standing)
                revoked.update(standing + _SHOWN + digest for digest in certificate.revoked)
        self._issuers = issuers
        self._holders = CertificateHolders(catalogue.organisations)
        self._vocabulary = Vocabulary(
            frozenset(item.name for item in catalogue.boundary.classes), frozenset(catalogue.boundary.jurisdictions)
        )
        self._standings, self._revoked = frozenset(standings), frozenset(revoked)
        self._catalogue = catalogue
        self._certificates.clear()
        self.forget_tokens()
        self._keys.use(source_of(issuer) for declared in issuers.values() for _, issuer in declared)

    def forget_tokens(self) -> None:
        """Verify every token again: a key that vouched for some may be gone."""
        self._tokens.clear()

    def _stands(self, standing: str) -> bool:
        """Whether it is declared, and the certificate that was shown is not revoked."""
        return standing.partition(_SHOWN)[0] in self._standings and standing not in self._revoked

    def _tell_ended(self) -> None:
        failures: list[Exception] = []
        for standing in [watched for watched in self._watches if not self._stands(watched)]:
            for principal_id, ended in self._watches.pop(standing).values():
                try:
                    ended(principal_id)
                except Exception as error:  # noqa: BLE001 - one watcher's fault must not keep another's stream alive
                    failures.append(error)
        if failures:
            raise ExceptionGroup("watchers of dropped callers failed", failures)

    def _remember(self, known: OrderedDict[bytes, Remembered], digest: bytes, value: Remembered) -> None:
        while len(known) >= self._remembered_max:
            known.popitem(last=False)
        known[digest] = value

    # -- tokens

    def _bearer(self, text: bytes, certificate: bytes | None) -> Principal:
        digest = hashlib.sha256(text).digest()
        verified = _remembered(self._tokens, digest)
        now_s = self._clock.now_us() / 1e6
        if verified is None:
            verified = self._verify(read_token(text), now_s)
            self._remember(self._tokens, digest, verified)
        elif now_s >= verified.expires:
            del self._tokens[digest]
            raise TokenExpired("The token has expired", remedy="Get a new one from its issuer")
        if verified.certificate_sha256 is not None and verified.certificate_sha256 != _thumbprint(certificate):
            raise TokenClaimsRefused(
                "The token is bound to a client certificate that was not shown",
                remedy="Connect with the certificate that the token was asked for with",
            )
        return verified.principal

    def _verify(self, token: UnverifiedToken, now_s: float) -> Verified:
        """Every check that costs little comes first: a signature is looked at only for a token that would do, with a
        key that its issuer publishes (RSA-2048: 25 µs, P-256: 60 µs, P-521: 300 µs).
        """
        issuer_name = token.claims.get("iss")
        declared = self._issuers.get(issuer_name) if isinstance(issuer_name, str) else None
        if declared is None:
            raise TokenUnknownIssuer("Nobody here declares the token's issuer", remedy=_DECLARED_NOWHERE)
        organisation, issuer = choose_issuer(token.claims, declared)
        if token.algorithm not in issuer.algorithms:
            raise TokenMalformed(
                "The token is not signed with an algorithm that is declared for its issuer",
                remedy="Ask the operator which ones are (algorithms under [[issuers]])",
            )
        expires = require_time(token.claims, issuer, now_s)
        verify_signature(token, self._keys.find(source_of(issuer), token.key_id, token.algorithm))
        bearer = read_claims(token.claims, issuer, expires, self._vocabulary)
        principal = Principal(
            id=pseudonym(SUBJECT_PREFIX, self._organisation_key(organisation), issuer.issuer, bearer.subject),
            organisation=organisation,
            roles=bearer.roles,
            data_class=bearer.data_class,
            residency=bearer.residency,
            standing=_standing(organisation, issuer),
        )
        return Verified(principal, bearer.expires, bearer.certificate_sha256)

    # -- certificates

    def _holder(self, certificate: bytes) -> Principal | None:
        """Whom the certificate stands for by itself; None if nobody declares it."""
        digest = hashlib.sha256(certificate).digest()
        if digest in self._certificates:
            verified = _remembered(self._certificates, digest)
        else:
            verified = self._declared_holder(certificate, digest.hex())
            self._remember(self._certificates, digest, verified)
        if verified is None:
            return None
        # TLS looked when the connection began; a connection may outlive its certificate.
        if self._clock.now_us() / 1e6 >= verified.expires:
            raise CertificateRefused("The client certificate has expired", remedy="Connect with a new one")
        return verified.principal

    def _declared_holder(self, certificate: bytes, digest: str) -> Verified | None:
        holder = self._holders.find(certificate, digest)
        if holder is None:
            return None
        principal = Principal(
            id=pseudonym(HOLDER_PREFIX, self._organisation_key(holder.organisation), *holder.name),
            organisation=holder.organisation,
            roles=holder.declared.roles,
            data_class=holder.declared.data_class,
            residency=holder.declared.residency,
            standing=_standing(holder.organisation, holder.declared) + _SHOWN + digest,
        )
        return Verified(principal, holder.expires)


def _token(authorization: bytes | None) -> bytes | None:
    """The token in `Authorization: Bearer` (RFC 6750 section 2.1), or None if there is none."""
    if authorization is None:
        return None
    scheme, _, credentials = authorization.strip().partition(b" ")
    credentials = credentials.strip()
    return credentials if scheme.lower() == b"bearer" and looks_like_token(credentials) else None


def _standing(organisation: str, declared: Issuer | ClientCertificate) -> str:
    """What a principal hangs on: that its organisation declares this issuer, or this certificate or pattern.

    That is all that tells its declarations apart; what else they say may change under those who hang on them.
    """
    told_apart: tuple[object, ...]
    if isinstance(declared, Issuer):
        require = [(asked.claim, asked.values) for asked in declared.require]
        told_apart = ("issuer", declared.issuer, declared.audience, require)
    else:
        told_apart = ("certificate", declared.sha256, declared.dns, declared.uri, declared.subject)
    return encode((organisation, *told_apart)).decode()


def _thumbprint(certificate: bytes | None) -> str | None:
    """RFC 8705 section 3.1."""
    if certificate is None:
        return None
    return unpadded(hashlib.sha256(certificate).digest())


def _remembered(known: OrderedDict[bytes, Remembered], digest: bytes) -> Remembered | None:
    found = known.get(digest)
    if found is not None:
        known.move_to_end(digest)
    return found
