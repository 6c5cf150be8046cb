"""What can still be read of a dead writer's damaged write-ahead log. Reads only.

Nothing is guessed. A frame counts if its checksum is right and it stands at its own place under its writer's mark; an
entry of a frame that fails is not taken, though it may look whole: nobody could tell whether it was altered. What is
missing shows in the sequence numbers, which have no gaps of their own.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.ledger import frames
from sekisho.ledger.errors import WriteAheadDamaged
from sekisho.ledger.segments import segment_name, segment_numbers
from sekisho.ledger.sources import Position

TRACES_MAX: Final = 10_000  # lost entries that are named by their ids; more are named by their numbers alone
_TRACE: Final = re.compile(
    rb'"id":"([0-9a-f-]{36})","kind":"([a-z._-]{1,40})"(?:,"request":"([0-9a-f-]{36})")?,"seq":([0-9]{1,18}),'
)


class Run(NamedTuple):
    """Entries that follow one another, the number of the first, and the place behind them."""

    first_seq: int
    entries: tuple[bytes, ...]
    position: Position


class Lost(NamedTuple):
    """The entries [first, end) of a writer that can't be read any more."""

    writer: str
    first: int
    end: int


class Trace(NamedTuple):
    """What is left of a lost entry: enough to name it, not enough to believe the rest."""

    seq: int
    id: str
    kind: str
    request: str | None


def readable_runs(directory: Path, next_seq: int) -> Iterator[Run]:
    """The readable entries from number `next_seq` on, a frame at a time, in order. Raises OSError."""
    shape = _shape(directory)
    if shape is None:
        return
    for number in segment_numbers(directory):
        data = (directory / segment_name(number)).read_bytes()
        for frame in frames.find_frames(data, mark=shape.mark, offset=number * shape.segment_bytes):
            end = frame.seq + len(frame.entries)
            if end > next_seq:
                first = max(frame.seq, next_seq)
                yield Run(first, frame.entries[first - frame.seq :], Position(frame.end, end, frame.chain))
                next_seq = end


def lost_between(writer: str, next_seq: int, runs: Iterator[Run]) -> list[Lost]:
    """The gaps that `runs` leave."""
    lost = []
    for run in runs:
        if run.first_seq > next_seq:
            lost.append(Lost(writer, next_seq, run.first_seq))
        next_seq = run.position.seq
    return lost


def traces(directory: Path, lost: Sequence[Lost]) -> list[Trace]:
    """What the damaged places still say of the lost entries, at most TRACES_MAX of them."""
    found: dict[int, Trace] = {}
    for number in segment_numbers(directory):
        data = (directory / segment_name(number)).read_bytes()
        for match in _TRACE.finditer(data):
            seq = int(match[4])
            if any(gap.first <= seq < gap.end for gap in lost) and len(found) < TRACES_MAX:
                request = match[3].decode() if match[3] else None
                found[seq] = Trace(seq, match[1].decode(), match[2].decode(), request)
    return [found[seq] for seq in sorted(found)]


def place_of(damage: WriteAheadDamaged) -> int:
    """The logical offset of a damaged place. Raises OSError."""
    directory = damage.path.parent
    segment_bytes = max((path.stat().st_size for path in directory.glob("*.seg")), default=0)
    return int(damage.path.stem) * segment_bytes + damage.offset


def _shape(directory: Path) -> frames.SegmentHeader | None:
    """Segment size and mark: from any header that is whole, else from a first frame that proves them."""
    numbers = segment_numbers(directory)
    paths = [(number, directory / segment_name(number)) for number in numbers]
    for number, path in paths:
        with path.open("rb") as file:
            header = frames.decode_segment_header(file.read(frames.SEGMENT_HEADER_BYTES))
        if header is not None and header.number == number:
            return header
    segment_bytes = max((path.stat().st_size for _, path in paths), default=0)
    for number, path in paths:
        data, offset = path.read_bytes(), number * segment_bytes
        mark = data[frames.SEGMENT_HEADER_BYTES : frames.SEGMENT_HEADER_BYTES + frames.MARK_BYTES]
        if len(mark) == frames.MARK_BYTES and any(frames.find_frames(data, mark=mark, offset=offset)):
            return frames.SegmentHeader(segment_bytes, number, mark)
    return None
