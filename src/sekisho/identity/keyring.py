"""The keys in memory: who a request's key stands for, and who must hear that a key has ended."""

from collections.abc import Callable
from typing import Final, NamedTuple

from sekisho.identity.api_keys import text_digest
from sekisho.identity.errors import KeyMissing, KeyRevoked, KeyUnknown
from sekisho.identity.interfaces import KEY_PREFIX, ApiKey, KeyChanges, Principal

PRESENTED_BYTES_MAX: Final = 512  # ours are 46; whatever is longer is not hashed, so that its cost is bounded

_SEND_A_KEY: Final = "Send `Authorization: Bearer sk-…`, or `api-key: sk-…`, with a key from `sekisho keys create`"
_ASK_FOR_A_KEY: Final = "Check that the whole key was copied, or ask the operator for one (`sekisho keys create`)"

Ended = Callable[[str], None]


class Watch(NamedTuple):
    """A place among those who hear of one key's end; give it back with `Keyring.unwatch`."""

    principal_id: str
    number: int


class Keyring:
    """Every registered key by the digest of its text, kept up by `apply`.

    It belongs to one event loop: `apply` is called on it, with changes that were read off it.

    A look-up hashes what was presented and asks a dict for the digest. What a caller can learn from timing is about
    digests, not keys: to steer a digest's bytes one has to invert SHA-256.
    """

    def __init__(self) -> None:
        self._by_digest: dict[bytes, ApiKey] = {}
        self._by_principal: dict[str, ApiKey] = {}
        self._watches: dict[str, dict[int, Ended]] = {}
        self._watch_number = 0
        self._sequence = 0

    @property
    def sequence(self) -> int:
        """What to ask `KeyRegister.changes_since` with next."""
        return self._sequence

    def __len__(self) -> int:
        return len(self._by_principal)

    def apply(self, changes: KeyChanges) -> None:
        """Take over changed rows, in any order and however often. Each key that has ended is told to its watchers.

        Raises ExceptionGroup, after every watcher was called, with what watchers raised.
        """
        ended = [key.principal.id for key in changes.keys if self._put(key) and key.revoked_at is not None]
        self._sequence = max(self._sequence, changes.sequence)
        failures: list[Exception] = []
        for principal in ended:
            for callback in self._watches.pop(principal, {}).values():
                try:
                    callback(principal)
                except Exception as error:  # noqa: BLE001 - one watcher's fault must not keep another's stream alive
                    failures.append(error)
        if failures:
            raise ExceptionGroup("watchers of revoked keys failed", failures)

    def authenticate(self, authorization: bytes | None, api_key: bytes | None) -> Principal:
        """Whom the key in a request's headers stands for.

        `authorization` is the value of `Authorization` (`Bearer` credentials, RFC 6750 section 2.1), `api_key` that
        of `api-key` (Azure). Both may come if they hold the same key: which one to believe is not ours to guess.
        Raises KeyMissing, KeyUnknown or KeyRevoked.
        """
        bearer = None if authorization is None else _bearer_token(authorization)
        if bearer is not None and api_key is not None and bearer != api_key:
            raise KeyUnknown("Authorization and api-key hold different keys", remedy="Send only one of them")
        presented = api_key if bearer is None else bearer
        if not presented:
            raise KeyMissing("No API key was sent", remedy=_SEND_A_KEY)
        key = self._by_digest.get(text_digest(presented)) if len(presented) <= PRESENTED_BYTES_MAX else None
        if key is None:
            raise KeyUnknown("This API key is not known here", remedy=_ASK_FOR_A_KEY)
        if key.revoked_at is not None:
            raise _revoked(key.principal.id)
        return key.principal

    def is_live(self, principal_id: str) -> bool:
        """Whether the principal's key is registered and not revoked, as far as `apply` has heard."""
        key = self._by_principal.get(principal_id)
        return key is not None and key.revoked_at is None

    def watch(self, principal_id: str, ended: Ended) -> Watch:
        """Have `ended(principal_id)` called, once, when the principal's key is revoked; O(1).

        Raises KeyRevoked if it is not live any more, so that a relay that begins just then doesn't run on.
        """
        if not self.is_live(principal_id):
            raise _revoked(principal_id)
        self._watch_number += 1
        self._watches.setdefault(principal_id, {})[self._watch_number] = ended
        return Watch(principal_id, self._watch_number)

    def unwatch(self, watch: Watch) -> None:
        """Give a watch back; O(1). One that was called already is gone, and that is fine."""
        callbacks = self._watches.get(watch.principal_id)
        if callbacks is None:
            return
        callbacks.pop(watch.number, None)
        if not callbacks:
            del self._watches[watch.principal_id]

    def _put(self, key: ApiKey) -> bool:
        """Take over a row unless a later one of the same key is known; whether it was taken."""
        known = self._by_principal.get(key.principal.id)
        if known is not None:
            if known.sequence >= key.sequence:
                return False
            self._by_digest.pop(known.digest, None)
        self._by_principal[key.principal.id] = key
        self._by_digest[key.digest] = key
        return True


def _bearer_token(authorization: bytes) -> bytes:
    scheme, _, token = authorization.strip().partition(b" ")
    if scheme.lower() != b"bearer":  # RFC 9110 section 11.1: schemes are case-insensitive
        raise KeyMissing("Authorization is not of the Bearer scheme", remedy=_SEND_A_KEY)
    return token.strip()


def _revoked(principal_id: str) -> KeyRevoked:
    return KeyRevoked(
        f"The API key {principal_id.removeprefix(KEY_PREFIX)} was revoked",
        remedy="Ask the operator for a new one (`sekisho keys create`)",
    )
