"""The publisher's journal: one record per merge, and the merge's only commit point.

A record holds the merged entries and the log's whole state after them (size, root, source positions, writers
closed). Tiles, index and checkpoint derive from it. A file begins with a record of the state alone; when tiles up to
there are durable and the checkpoint published, the next file is begun and the old one deleted.

Frame: magic[4] ‖ length u32 BE ‖ CRC-32 u32 BE of (chain ‖ payload) ‖ chain[32] = SHA-256(chain before ‖ payload)
‖ payload = u32 BE length of the state ‖ state (canonical JSON) ‖ entries as in an entry bundle.
"""

import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError
from sekisho.ledger.errors import LogHalted, LogUnreadable
from sekisho.ledger.merkle import EMPTY_ROOT
from sekisho.ledger.sources import Position
from sekisho.ledger.storage import AppendFile, Storage
from sekisho.ledger.tiles import decode_bundle, encode_bundle

MAGIC: Final = b"SkJ\x01"
CHAIN_START: Final = bytes(32)
REPAIR: Final = "Keep this directory; `sekisho ledger repair` says what can be done"
NEW_NODE: Final = "Keep this directory, and go on from a backup, which makes a new node: `sekisho restore`"
_FRAME: Final = struct.Struct(">4sII32s")
_SUFFIX: Final = ".journal"
_LOOKS_MAX: Final = 5  # a file is begun anew every 64 MiB: more than once within a look is not load


class Source(NamedTuple):
    """Where a write-ahead log was read to, and the sequence number its next entry must bear."""

    position: Position
    next_seq: int


@dataclass(frozen=True, slots=True)
class State:
    """The log after a record.

    `closed` names writers that are closed but whose directories may still come back after a power cut.
    Everything that writers wrote before `watermark_us` (µs UTC) is merged.
    """

    size: int = 0
    root: bytes = EMPTY_ROOT
    sources: Mapping[str, Source] = field(default_factory=dict)
    closed: frozenset[str] = frozenset()
    publisher_seq: int = 0
    watermark_us: int = 0

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "closed": sorted(self.closed),
                "publisher_seq": self.publisher_seq,
                "root": self.root.hex(),
                "size": self.size,
                "sources": [
                    [name, s.position.offset, s.position.seq, s.position.chain.hex(), s.next_seq]
                    for name, s in sorted(self.sources.items())
                ],
                "watermark_us": self.watermark_us,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> "State":
        value: dict[str, Any] = canonical.decode(data)
        return cls(
            value["size"],
            bytes.fromhex(value["root"]),
            {
                name: Source(Position(offset, seq, bytes.fromhex(chain)), next_seq)
                for name, offset, seq, chain, next_seq in value["sources"]
            },
            frozenset(value["closed"]),
            value["publisher_seq"],
            value["watermark_us"],
        )


class Record(NamedTuple):
    """A merge: the state after it and its entries."""

    state: State
    entries: list[bytes]


class JournalReading(NamedTuple):
    """What can be read of a journal without touching it.

    `first` and `last` are the states of the first and the last whole record of the newest file. `torn_bytes` follow
    the last whole record: one that is torn, or that is being written just now. `damaged_at` is where a record can't
    be read though whole ones follow, or the file's chain breaks; `last` is then the state before it.
    """

    first: State | None = None
    last: State | None = None
    bytes: int = 0
    torn_bytes: int = 0
    damaged_at: int | None = None


def read_journal(directory: Path) -> JournalReading:
    """Read the newest file of a journal, whoever writes it. Raises LogUnreadable, OSError."""
    for _ in range(_LOOKS_MAX):
        files = journal_files(directory)
        if not files:
            return JournalReading()
        try:
            return _read(files[-1].read_bytes())
        except FileNotFoundError:
            continue  # the next file was begun meanwhile
    raise LogUnreadable("the journal is begun anew faster than it can be read", remedy="Try again")


def _read(data: bytes) -> JournalReading:
    first = last = None
    chain, offset = CHAIN_START, 0
    try:
        while (found := _read_frame(data, offset, chain)) is not None:
            record, chain, offset = found
            last = record.state
            first = first or last
    except LogHalted:
        return JournalReading(first, last, len(data), 0, offset)
    damaged = last is None or _holds_frame(data, offset + 1)
    return JournalReading(first, last, len(data), len(data) - offset, offset if damaged else None)


def readable_records(path: Path) -> Iterator[Record]:
    """Every whole record of a damaged file, in order, whatever lies between them: its checksum alone speaks for it."""
    data = path.read_bytes()
    offset = data.find(MAGIC)
    while offset >= 0:
        found = _payload(data, offset)
        if found is not None:
            yield _record(found[1], offset)
        offset = data.find(MAGIC, offset + (_FRAME.size + len(found[1]) if found is not None else 1))


def journal_files(directory: Path) -> list[Path]:
    """A journal's files, oldest first. Beyond the newest they are left over from a crash."""
    try:
        names = os.listdir(directory)  # a glob would take a directory that can't be read for an empty one
    except FileNotFoundError:
        return []
    return [directory / name for name in sorted(names) if name[:1].isdigit() and name.endswith(_SUFFIX)]


class Journal:
    """The open journal of the publish lock's holder. After an error of `append` it must not be used again."""

    def __init__(self, directory: Path, storage: Storage) -> None:
        self._directory = directory
        self._storage = storage
        self._path: Path | None = None
        self._file: AppendFile | None = None
        self._chain = CHAIN_START
        self.bytes = 0
        self.torn = False  # whether `replay` has found a last record that can't be read

    def exists(self) -> bool:
        """Whether there is a journal to `replay`."""
        return bool(self._files())

    def create(self, state: State) -> None:
        """Begin the next file with `state`, durable; earlier files are dropped: all they hold must be durable."""
        old = self._files()
        number = int(old[-1].name.removesuffix(_SUFFIX)) + 1 if old else 1
        path = self._directory / f"{number:08d}{_SUFFIX}"
        frame, chain = _frame(CHAIN_START, state, ())
        self._storage.replace(path, frame)
        self.close()
        self._use(path, chain, len(frame))
        for name in old:
            self._storage.remove(name)

    def replay(self) -> Iterator[Record]:
        """The state that the file begins with, then each merge. `create` follows, before anything is appended.

        A torn last record is kept aside. Raises LogHalted for damage anywhere else.
        """
        path = self._files()[-1]  # a crash came between beginning this file and dropping any others
        chain, offset, first = CHAIN_START, 0, True
        data = path.read_bytes()
        while offset < len(data):
            found = _read_frame(data, offset, chain)
            if found is None:
                self._keep_torn(path, data, offset, first)
                break
            record, chain, offset = found
            first = False
            yield record
        if first:
            raise LogHalted(f"{path} is empty", remedy=REPAIR)

    def append(self, state: State, entries: Sequence[bytes]) -> None:
        """Durable when this returns: the merge has happened."""
        if self._file is None:
            raise LogHalted("the journal is not open")
        frame, chain = _frame(self._chain, state, entries)
        self._file.append(frame)
        self._chain = chain
        self.bytes += len(frame)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _files(self) -> list[Path]:
        return journal_files(self._directory)

    def _use(self, path: Path, chain: bytes, length: int) -> None:
        self._path, self._chain, self.bytes = path, chain, length
        self._file = self._storage.append_to(path)

    def _keep_torn(self, path: Path, data: bytes, offset: int, first: bool) -> None:
        # Each record is durable before the next is written, so only the last one can be torn. A whole frame after the
        # bad one, or a bad first frame (written by replacing), is damage.
        if first or _holds_frame(data, offset + 1):
            raise LogHalted(f"{path} is damaged at byte {offset}", remedy=REPAIR)
        self._storage.replace(path.with_name(f"{path.name}.torn-{offset}"), data[offset:])
        self.torn = True


def _frame(chain: bytes, state: State, entries: Sequence[bytes]) -> tuple[bytes, bytes]:
    head = state.encode()
    payload = b"".join((len(head).to_bytes(4, "big"), head, encode_bundle(entries)))
    digest = hashlib.sha256(chain)
    digest.update(payload)
    chain = digest.digest()
    crc = zlib.crc32(payload, zlib.crc32(chain))
    return _FRAME.pack(MAGIC, len(payload), crc, chain) + payload, chain


def _payload(data: bytes, offset: int) -> tuple[bytes, bytes] | None:
    """The chain and payload of the frame at `offset`, or None if no whole frame stands there."""
    start = offset + _FRAME.size
    if start > len(data):
        return None
    magic, length, crc, chain = _FRAME.unpack_from(data, offset)
    if magic != MAGIC or start + length > len(data):
        return None
    payload = data[start : start + length]
    return (chain, payload) if zlib.crc32(payload, zlib.crc32(chain)) == crc else None


def _read_frame(data: bytes, offset: int, chain: bytes) -> tuple[Record, bytes, int] | None:
    found = _payload(data, offset)
    if found is None:
        return None
    stored, payload = found
    if hashlib.sha256(chain + payload).digest() != stored:
        raise LogHalted(f"the journal's chain breaks at byte {offset}", remedy=REPAIR)
    return _record(payload, offset), stored, offset + _FRAME.size + len(payload)


def _record(payload: bytes, offset: int) -> Record:
    head = int.from_bytes(payload[:4], "big")
    try:
        return Record(State.decode(payload[4 : 4 + head]), decode_bundle(payload[4 + head :]))
    except (CanonicalError, LogUnreadable, KeyError, TypeError, ValueError) as error:
        raise LogHalted(f"the journal's record at byte {offset} can't be read: {error}", remedy=REPAIR) from None


def _holds_frame(data: bytes, offset: int) -> bool:
    while (offset := data.find(MAGIC, offset)) >= 0:
        if _payload(data, offset) is not None:
            return True
        offset += 1
    return False
