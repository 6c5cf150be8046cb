"""One merge, up to its commit: take what the write-ahead logs hold, and close what dead writers left open."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from sekisho.kernel import canonical
from sekisho.kernel.clock import Clock
from sekisho.kernel.files import FileLock
from sekisho.kernel.ids import IdSource
from sekisho.ledger import envelope as envelopes
from sekisho.ledger.errors import LogHalted
from sekisho.ledger.index import Index, IndexChange, OpenEntry, Seen, see
from sekisho.ledger.interfaces import ENVELOPE_VERSION, Lifecycle
from sekisho.ledger.journal import Source, State
from sekisho.ledger.sources import Batch, Position, WriteAheadSource

SHARE_BYTES_MIN: Final = 1 << 20  # a writer's part of a merge, however many writers there are


class Taken(NamedTuple):
    """Entries of one writer, and where they end."""

    name: str
    next_seq: int
    entries: list[bytes]
    position: Position


class OwnEntry(NamedTuple):
    """What the publisher has to say itself. An `id` that is in the log already is not logged again."""

    kind: str
    actor: str
    body: dict[str, Any]
    id: str | None = None


@dataclass(slots=True)
class Intake:
    """What one merge takes in.

    `ended` are dead writers read to their end, to be closed now; their `locks` are held until the merge is over.
    `living` go on; `closed` were closed before and are still there; `own` is what the publisher adds; `drained` says
    that every log was read to its end.
    """

    taken: list[Taken] = field(default_factory=list)
    living: list[WriteAheadSource] = field(default_factory=list)
    ended: list[WriteAheadSource] = field(default_factory=list)
    closed: list[WriteAheadSource] = field(default_factory=list)
    locks: list[FileLock] = field(default_factory=list)
    own: list[OwnEntry] = field(default_factory=list)
    drained: bool = True


class Merge(NamedTuple):
    """A merge, ready to be committed: entries in order, what they change, and the sources after them."""

    entries: list[bytes]
    change: IndexChange
    sources: dict[str, Source]
    publisher_seq: int


def collect(
    sources: Sequence[WriteAheadSource], state: State, closed: frozenset[str], beginning: Position, bytes_max: int
) -> Intake:
    """Read each log up to its share of `bytes_max`. The caller releases the intake's locks, come what may."""
    intake = Intake()
    share = max(SHARE_BYTES_MIN, bytes_max // max(1, len(sources)))
    try:
        for source in sources:
            if source.name in closed:
                intake.closed.append(source)
            else:
                _collect_one(source, state.sources.get(source.name, Source(beginning, 0)), share, intake)
    except BaseException:
        for lock in intake.locks:
            lock.release()
        raise
    return intake


def _collect_one(source: WriteAheadSource, start: Source, share: int, intake: Intake) -> None:
    entries: list[bytes] = []
    position, left = _read_all(source.read, start.position, share, entries)
    # The lock first, then the tail: what a writer appended before it died is read after it can append no more.
    lock = source.try_lock() if left > 0 else None
    if lock is not None:
        intake.locks.append(lock)
        position, left = _read_all(source.read_dead, position, left, entries)
    if lock is not None and left > 0:
        intake.ended.append(source)
    else:
        intake.living.append(source)
    intake.drained = intake.drained and left > 0
    intake.taken.append(Taken(source.name, start.next_seq, entries, position))


def _read_all(read: Callable[..., Batch], position: Position, left: int, entries: list[bytes]) -> tuple[Position, int]:
    """Read until the log is empty, or `left` bytes are used up (then what is returned of it is 0 or less)."""
    while left > 0:
        batch = read(position, bytes_max=left)
        position = batch.position
        if not batch.entries:
            break
        entries.extend(batch.entries)
        left -= sum(map(len, batch.entries))
    return position, left


class Interruptions:
    """Writes the entries that close what a dead writer left open, as the publisher's own."""

    def __init__(self, name: str, site: str, lifecycle: Lifecycle, clock: Clock, ids: IdSource) -> None:
        self._name = name
        self._site = site
        self._lifecycle = lifecycle
        self._clock = clock
        self._ids = ids

    def see(self, envelope: dict[str, Any]) -> Seen:
        """What the index needs of an entry."""
        return see(envelope, self._lifecycle)

    @staticmethod
    def read(entry: bytes) -> dict[str, Any]:
        """An entry of ours, for its envelope; raises LogHalted if it is no object."""
        try:
            envelope = orjson.loads(entry)
        except orjson.JSONDecodeError:
            envelope = None
        if not isinstance(envelope, dict):
            raise LogHalted("a logged entry is not JSON", remedy="Keep this directory; restore it from a backup")
        return envelope

    def make(self, envelope: dict[str, Any], seq: int) -> dict[str, Any]:
        """The envelope of the entry that closes `envelope`."""
        kind, body = self._lifecycle.interrupted(envelope)
        made = self.own(OwnEntry(kind, self._name, canonical.decode(body)), seq)
        if "request" in envelope:
            made["request"] = envelope["request"]
        return made

    def own(self, entry: OwnEntry, seq: int) -> dict[str, Any]:
        """The envelope of an entry that the publisher itself writes."""
        now_us = self._clock.now_us()
        return {
            "actor": entry.actor,
            "at": now_us,
            "body": entry.body,
            "id": entry.id or self._ids.new(now_us),
            "kind": entry.kind,
            "seq": seq,
            "site": self._site,
            "v": ENVELOPE_VERSION,
            "writer": self._name,
        }


def assemble(
    intake: Intake, state: State, index: Index, interruptions: Interruptions, entry_at: Callable[[int], bytes]
) -> Merge:
    """Put the merge together. `entry_at` gives the bytes of an entry that is already in the log.

    An entry without a request whose id is in the log already is left out: relays of an outbox may append twice.
    Raises LogHalted if a log's entries are not the writer's next ones.
    """
    entries: list[bytes] = []
    change = IndexChange()
    sources = dict(state.sources)
    read = [(taken, _see_all(taken, interruptions)) for taken in intake.taken]
    logged = index.known({identifier for _, found in read for identifier, request, *_ in found if request is None})
    for taken, found in read:
        for entry, seen in zip(taken.entries, found, strict=True):
            identifier, request, *_ = seen
            if request is None:
                if identifier in logged:
                    continue
                logged.add(identifier)
            change.add(state.size + len(entries), seen)
            entries.append(entry)
        sources[taken.name] = Source(taken.position, taken.next_seq + len(found))
    seq = state.publisher_seq
    for source in intake.ended:
        del sources[source.name]
        for opened in _left_open(source.name, index, change):
            known = entries[opened.leaf - state.size] if opened.leaf >= state.size else entry_at(opened.leaf)
            made = interruptions.make(interruptions.read(known), seq)
            change.add(state.size + len(entries), interruptions.see(made))
            entries.append(envelopes.encode(made))
            seq += 1
    for own in intake.own:
        if own.id is None or not index.known([own.id]):
            made = interruptions.own(own, seq)
            change.add(state.size + len(entries), interruptions.see(made))
            entries.append(envelopes.encode(made))
            seq += 1
    return Merge(entries, change, sources, seq)


def _left_open(writer: str, index: Index, change: IndexChange) -> list[OpenEntry]:
    before = [o for identifier, o in index.open_of(writer).items() if identifier not in change.closed]
    return before + [o for o in change.opened.values() if o.writer == writer]


def _see_all(taken: Taken, interruptions: Interruptions) -> list[Seen]:
    found: list[Seen] = []
    seq = taken.next_seq
    for entry in taken.entries:
        envelope = interruptions.read(entry)
        if envelope.get("writer") != taken.name or envelope.get("seq") != seq:
            raise LogHalted(
                f"the write-ahead log {taken.name} holds {envelope.get('writer')} {envelope.get('seq')} "
                f"where its entry {seq} should be",
                remedy="Entries may be missing: keep the directory, and restore it from a backup",
            )
        if not isinstance(envelope.get("id"), str) or not isinstance(envelope.get("body"), dict):
            raise LogHalted(f"the write-ahead log {taken.name} holds an entry without id or body")
        found.append(interruptions.see(envelope))
        seq += 1
    return found
