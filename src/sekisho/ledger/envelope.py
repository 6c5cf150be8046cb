"""An entry's envelope: what the log itself reads of an entry. Pure.

`parse` is strict, for verifiers. Entries on the merge path are looked at by `publisher`, which trusts the form of
what its own write-ahead logs wrote.
"""

from typing import Any, Final

from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError
from sekisho.kernel.ids import is_uuid7
from sekisho.ledger.errors import EnvelopeInvalid
from sekisho.ledger.interfaces import ENTRY_BYTES_MAX, ENVELOPE_VERSION

_REQUIRED: Final = frozenset({"actor", "at", "body", "id", "kind", "seq", "site", "v", "writer"})
_WITH_REQUEST: Final = _REQUIRED | {"request"}


def parse(entry: bytes) -> dict[str, Any]:
    """The envelope of an entry. Raises EnvelopeInvalid unless it is canonical and has exactly our fields."""
    if len(entry) > ENTRY_BYTES_MAX:
        raise EnvelopeInvalid(f"an entry of {len(entry)} bytes is over the bound of {ENTRY_BYTES_MAX}")
    try:
        envelope = canonical.decode(entry)
    except CanonicalError as error:
        raise EnvelopeInvalid(f"an entry is not canonical: {error.message}") from None
    require(envelope)
    return envelope  # type: ignore[no-any-return]  # `require` has shown that it is an object


def require(envelope: object) -> None:
    """Raises EnvelopeInvalid unless `envelope` has exactly the fields of one, each of its type."""
    if not isinstance(envelope, dict) or envelope.keys() not in (_REQUIRED, _WITH_REQUEST):
        raise EnvelopeInvalid("an entry does not have exactly the fields of an envelope")
    if not _is_count(envelope["v"]) or envelope["v"] != ENVELOPE_VERSION:
        raise EnvelopeInvalid(
            f"an entry of version {envelope['v']!r}", remedy="A newer version of Sekisho may be able to read it"
        )
    for name in ("actor", "id", "kind", "site", "writer", "request"):
        if name in envelope and not (isinstance(envelope[name], str) and envelope[name]):
            raise EnvelopeInvalid(f"an entry's {name} is not a text")
    for name in ("at", "seq"):
        if not _is_count(envelope[name]):
            raise EnvelopeInvalid(f"an entry's {name} is not a count")
    if not isinstance(envelope["body"], dict):
        raise EnvelopeInvalid("an entry's body is not an object")
    if not is_uuid7(envelope["id"]):
        raise EnvelopeInvalid("an entry's id is not a UUIDv7")


def encode(envelope: dict[str, Any]) -> bytes:
    """The entry's bytes. Raises EnvelopeInvalid if they would not be an entry."""
    require(envelope)
    try:
        entry = canonical.encode(envelope)
    except CanonicalError as error:
        raise EnvelopeInvalid(f"an entry has no canonical form: {error.message}") from None
    if len(entry) > ENTRY_BYTES_MAX:
        raise EnvelopeInvalid(f"an entry of {len(entry)} bytes is over the bound of {ENTRY_BYTES_MAX}")
    return entry


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
