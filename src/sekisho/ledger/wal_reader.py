"""Reading write-ahead logs: of living writers while they write, and of dead ones to their end.

Everything is checked on the way (see `frames`): checksum, mark, place, sequence and chain. What a caller gets is
exactly what the writer appended, or nothing.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.kernel.files import FileLock, LockHeld, sync_directory, write_durable
from sekisho.ledger import frames
from sekisho.ledger.errors import WriteAheadDamaged
from sekisho.ledger.segments import (
    DIRECTORY_MODE,
    FILE_MODE,
    LOCK_NAME,
    TORN_DIRECTORY,
    WRITER_NAME,
    WRITERS_DIRECTORY,
    segment_name,
    segment_numbers,
)
from sekisho.ledger.sources import Batch, Position

_TORN_NAME: Final = re.compile(r"torn-\d+", re.ASCII)


START: Final = Position(0, 0, frames.CHAIN_START)
_SURVEY_BYTES: Final = 4 << 20  # read at a time


class Survey(NamedTuple):
    """What a write-ahead log holds from a position on: `entries` of `entry_bytes` together, the `first` of them, what
    is torn or being written behind them, and the damage that stands in the way of reading on. `whole`: read to the
    end.
    """

    entries: int
    entry_bytes: int
    first: bytes | None
    torn_bytes: int
    damage: WriteAheadDamaged | None
    whole: bool


def writers(root: Path) -> "list[WriteAheadReader]":
    """The write-ahead logs in `root/wal/` (`root` is the ledger's directory), by name, which is by age."""
    try:
        names = os.listdir(root / WRITERS_DIRECTORY)
    except FileNotFoundError:
        return []
    return [WriteAheadReader(root / WRITERS_DIRECTORY / n) for n in sorted(names) if WRITER_NAME.fullmatch(n)]


class WriteAheadReader:
    """One writer's directory. Holds no descriptors between calls; every method may raise OSError."""

    def __init__(self, directory: Path) -> None:
        self.name = directory.name
        self.directory = directory
        self._shape: frames.SegmentHeader | None = None

    def read(self, position: Position, *, bytes_max: int) -> Batch:
        """Whole frames from `position` on, up to about `bytes_max` bytes of them; empty where there is none yet.

        At least one frame if there is one. Raises WriteAheadDamaged for what can't come from a write under way, once
        everything before it was returned.
        """
        entries: list[bytes] = []
        left = bytes_max
        while left > 0:
            try:
                run = self._next_run(position, left)
            except WriteAheadDamaged:
                if entries:
                    break  # the next call begins at the damage, and tells
                raise
            if not run:
                break
            for frame in run:
                entries += frame.entries
                left -= frame.end - frame.offset
            last = run[-1]
            position = Position(last.end, last.seq + len(last.entries), last.chain)
        return Batch(tuple(entries), position)

    def try_lock(self) -> FileLock | None:
        """The lock of a writer that is dead; None while its process lives."""
        try:
            return FileLock(self.directory / LOCK_NAME).acquire()
        except LockHeld:
            return None

    def read_dead(self, position: Position, *, bytes_max: int) -> Batch:
        """As `read`, for the holder of the lock; an empty batch is the end of the log.

        There, what follows is torn if no readable frame says that it was synced (pages of an unsynced batch persist
        in any order): it is copied aside, durably, to `torn-<offset>` beside the segments. Otherwise raises
        WriteAheadDamaged.
        """
        batch = self.read(position, bytes_max=bytes_max)
        if not batch.entries:
            self._end_at(position)
        return batch

    def survey(self, position: Position, *, bytes_max: int) -> Survey:
        """Look at about `bytes_max` bytes of entries from `position` on, of a living writer or a dead one. Writes
        nothing."""
        entries = used = torn = 0
        first: bytes | None = None
        damage: WriteAheadDamaged | None = None
        while used < bytes_max:
            try:
                batch = self.read(position, bytes_max=_SURVEY_BYTES)
                if not batch.entries:
                    torn = sum(len(kept) for _, kept in self.torn_after(position))
                    break
            except WriteAheadDamaged as error:
                # What was only being written at the first look is whole at the second: it was synced in between.
                if damage is not None:
                    break
                damage = error
                continue
            damage = None
            first = first or batch.entries[0]
            entries += len(batch.entries)
            used += sum(map(len, batch.entries))
            position = batch.position
        return Survey(entries, used, first, torn, damage, used < bytes_max)

    def release(self, position: Position) -> int:
        """Delete segments wholly below `position`, oldest first; the bytes given back.

        Not synced: a segment that comes back after a power cut is below the position still.
        """
        given_back = 0
        numbers = segment_numbers(self.directory)
        if not numbers:
            return 0
        first_kept = position.offset // self._require_shape(numbers).segment_bytes
        for number in numbers:
            if number < first_kept:
                path = self.directory / segment_name(number)
                given_back += path.stat().st_size
                path.unlink()
        return given_back

    def remove(self) -> None:
        """Delete the directory of a writer that is closed and wholly merged; what was torn moves to `torn/`.

        May be called again after a crash half-way.
        """
        root = self.directory.parent.parent
        names = os.listdir(self.directory)
        torn = [name for name in names if _TORN_NAME.fullmatch(name)]
        if torn:
            (root / TORN_DIRECTORY).mkdir(DIRECTORY_MODE, exist_ok=True)
            for name in torn:
                (self.directory / name).rename(root / TORN_DIRECTORY / f"{self.name}-{name}")
            sync_directory(root / TORN_DIRECTORY)
            sync_directory(root)
        for name in names:
            if name not in torn and name != LOCK_NAME:
                (self.directory / name).unlink()
        (self.directory / LOCK_NAME).unlink(missing_ok=True)
        self.directory.rmdir()
        sync_directory(self.directory.parent)

    # -- frames

    def _next_run(self, position: Position, bytes_max: int) -> list[frames.Frame]:
        """Frames that follow `position` in its segment or, where none does, at the start of the next one."""
        numbers = segment_numbers(self.directory)
        if not numbers:
            return []
        segment_bytes = self._require_shape(numbers).segment_bytes
        number, local = divmod(position.offset, segment_bytes)
        self._require_present(number, local, numbers)
        if number in numbers:
            run = self._run(number, local, position, bytes_max)
            if run or number + 1 not in numbers:
                return run
            following = self._run(number + 1, 0, position, bytes_max, foreign=True)
            if not following or following[0].continues(position.seq, position.chain):
                return following
            # A frame further on says that ours was synced. If ours was only being written a moment ago, it is whole
            # by now, because it was synced before that one was written.
            if following[0].synced > position.offset:
                run = self._run(number, local, position, bytes_max)
                if not run:
                    raise self._damaged(position.offset, "a frame is missing that later ones say was synced")
                return run
        return []

    def _run(
        self, number: int, local: int, position: Position, bytes_max: int, *, foreign: bool = False
    ) -> list[frames.Frame]:
        """Whole frames at `local` of a segment, each continuing the one before, the first one continuing `position`.

        With `foreign`, a first frame that does not continue is returned alone; without, it is damage: it stands
        whole in its own place, so it is not one being written.
        """
        local = max(local, frames.SEGMENT_HEADER_BYTES)
        shape = self._require_header(number)
        run: list[frames.Frame] = []
        base = number * shape.segment_bytes
        data = self._window(number, local, bytes_max, shape)
        seq, chain, at = position.seq, position.chain, 0
        while frame := frames.decode_frame(data, at, mark=shape.mark, offset=base + local + at):
            if not frame.continues(seq, chain):
                if foreign and not run:
                    return [frame]
                if not run:
                    raise self._damaged(frame.offset, "the frame does not continue the chain")
                break  # the next call begins there, and tells
            run.append(frame)
            seq, chain, at = frame.seq + len(frame.entries), frame.chain, frame.end - base - local
        return run

    def _window(self, number: int, local: int, bytes_max: int, shape: frames.SegmentHeader) -> bytes:
        """The bytes at `local`: about `bytes_max`, but the first frame whole; none where no frame begins."""
        descriptor = os.open(self.directory / segment_name(number), os.O_RDONLY | os.O_CLOEXEC)
        try:
            header = os.pread(descriptor, frames.FRAME_HEADER_BYTES, local)
            offset = number * shape.segment_bytes + local
            length = frames.frame_bytes(header, mark=shape.mark, offset=offset)
            return b"" if length is None else os.pread(descriptor, max(length, bytes_max), local)
        finally:
            os.close(descriptor)

    # -- the end of a dead log

    def _end_at(self, position: Position) -> None:
        for offset, kept in self.torn_after(position):
            write_durable(self.directory / f"torn-{offset}", kept, mode=FILE_MODE)

    def torn_after(self, position: Position) -> list[tuple[int, bytes]]:
        """What is torn behind the end of a dead log: (logical offset, bytes). Raises WriteAheadDamaged if it is more.

        Writes nothing.
        """
        numbers = segment_numbers(self.directory)
        if not numbers:
            return []
        segment_bytes = self._require_shape(numbers).segment_bytes
        torn: list[tuple[int, bytes]] = []
        for offset, data in self._rest(position.offset, numbers, segment_bytes):
            for frame in frames.find_frames(data, mark=self._require_shape(numbers).mark, offset=offset):
                if frame.synced > position.offset:
                    raise self._damaged(position.offset, "a frame can't be read that later ones say was synced")
            if kept := data.rstrip(b"\0"):
                torn.append((offset, kept))
        return torn

    def _rest(self, offset: int, numbers: list[int], segment_bytes: int) -> Iterator[tuple[int, bytes]]:
        """What stands from logical `offset` on: (logical offset, bytes) of each segment."""
        first, local = divmod(offset, segment_bytes)
        for number in (n for n in numbers if n >= first):
            self._require_header(number)
            start = max(local if number == first else 0, frames.SEGMENT_HEADER_BYTES)
            with (self.directory / segment_name(number)).open("rb") as file:
                file.seek(start)
                yield number * segment_bytes + start, file.read()

    # -- segments

    def _require_shape(self, numbers: list[int]) -> frames.SegmentHeader:
        """Segment size and mark, the same in all segments of a log."""
        if self._shape is None:
            self._shape = self._read_header(numbers[0])
        return self._shape

    def _require_header(self, number: int) -> frames.SegmentHeader:
        """The header of a segment; raises WriteAheadDamaged unless it is whole and of this log (invariant 1)."""
        header = self._read_header(number)
        if self._shape is not None and header._replace(number=0) != self._shape._replace(number=0):
            raise WriteAheadDamaged(self.directory / segment_name(number), 0, "the segment is of another log")
        return header

    def _read_header(self, number: int) -> frames.SegmentHeader:
        path = self.directory / segment_name(number)
        with path.open("rb") as file:
            header = frames.decode_segment_header(file.read(frames.SEGMENT_HEADER_BYTES))
            size = os.fstat(file.fileno()).st_size
        if header is None or header.number != number:
            raise WriteAheadDamaged(path, 0, "the segment's header is not readable")
        if size != header.segment_bytes:
            raise WriteAheadDamaged(path, min(size, header.segment_bytes), f"the file has {size} bytes")
        return header

    def _require_present(self, number: int, local: int, numbers: list[int]) -> None:
        """A segment that a position stands in exists; one that it only touches may not be made yet."""
        if number not in numbers and (local > 0 or numbers[-1] > number):
            raise WriteAheadDamaged(self.directory / segment_name(number), local, "the segment is missing")

    def _damaged(self, offset: int, reason: str) -> WriteAheadDamaged:
        number, local = divmod(offset, self._shape.segment_bytes if self._shape else 1)
        return WriteAheadDamaged(self.directory / segment_name(number), max(local, frames.SEGMENT_HEADER_BYTES), reason)
