"""Issuers' key sets on disk: those that operators put there, and copies of fetched ones for a start without network.

Blocking. What is in these files lets callers in: they are trusted like the register of keys, and have its mode.
"""

import hashlib
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.catalog.interfaces import Issuer
from sekisho.identity.errors import KeySetError
from sekisho.identity.key_set import KEY_SET_BYTES_MAX, KeySet, read_key_set
from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError
from sekisho.kernel.files import write_durable

_COPY_BYTES_MAX: Final = 2 * KEY_SET_BYTES_MAX + 16 * 1024  # a document's quotes are escaped in its copy
_KEYS: Final = frozenset({"document", "fetched_at", "source"})


class KeySource(NamedTuple):
    """Where an issuer's keys come from. Equal sources are read once."""

    issuer: str
    jwks_file: str | None
    jwks_url: str | None
    ca_file: str | None
    refresh_seconds: int


class Held(NamedTuple):
    """A key set, and when it was read from its source (µs UTC)."""

    key_set: KeySet
    read_at: int


def source_of(issuer: Issuer) -> KeySource:
    return KeySource(issuer.issuer, issuer.jwks_file, issuer.jwks_url, issuer.ca_file, issuer.refresh_seconds)


class KeyFiles:
    """`root` is the data directory; copies are kept in `copies` (made when first needed, mode 0700)."""

    def __init__(self, root: Path, copies: Path) -> None:
        self._root = root
        self._copies = copies

    def read(self, jwks_file: str) -> bytes:
        """A declared file. Raises KeySetError."""
        try:
            return _read(self._root / jwks_file, KEY_SET_BYTES_MAX)
        except OSError as error:
            raise KeySetError(f"{jwks_file} can't be read: {error.strerror}") from None

    def load(self, source: KeySource) -> Held | None:
        """The copy of what was fetched from `source` last, or None. Raises KeySetError for a damaged one."""
        path = self._path(source)
        try:
            copy = canonical.decode(_read(path, _COPY_BYTES_MAX))
        except FileNotFoundError:
            return None
        except (OSError, CanonicalError) as error:
            raise KeySetError(f"{path} can't be read: {error}") from None
        if not isinstance(copy, dict) or copy.keys() != _KEYS or copy["source"] != _named(source):
            raise KeySetError(f"{path} is not a copy of this issuer's keys", remedy="Remove it")
        return Held(read_key_set(copy["document"].encode()), copy["fetched_at"])

    def save(self, source: KeySource, document: bytes, fetched_at: int) -> None:
        """Keep a copy of a document that `read_key_set` has taken; durable when this returns. Raises OSError."""
        self._copies.mkdir(mode=0o700, exist_ok=True)
        copy = {"document": document.decode(), "fetched_at": fetched_at, "source": _named(source)}
        write_durable(self._path(source), canonical.encode(copy), mode=0o600)

    def _path(self, source: KeySource) -> Path:
        return self._copies / f"{hashlib.sha256(canonical.encode(_named(source))).hexdigest()[:32]}.json"


def _named(source: KeySource) -> list[str | None]:
    """What a copy is a copy of: another URL or another authority is another source."""
    return [source.issuer, source.jwks_url, source.ca_file]


def _read(path: Path, bytes_max: int) -> bytes:
    """At most one byte more than `bytes_max`, so that a longer file shows."""
    with path.open("rb") as stream:
        return stream.read(bytes_max + 1)
