"""A process's own write-ahead log: entries in order, in batches, durable before anyone is told so.

What runs where: entries are encoded, framed and written (`pwrite` into allocated space, so the page cache) on the
event loop; `fdatasync` runs in a thread of its own, one at a time; new segments are made in another. A failed sync
ends the process from the thread that saw it, before any future could complete.

Invariants (those of the bytes are in `frames`, those of the space in `room`):

1. synced <= written, both on borders of frames; a future that promises durability completes at or below synced only.
2. At most one sync runs; it covers every descriptor written to since the one before began, and no descriptor is
   closed before a sync that covers it has succeeded.
3. Entries get their numbers in the order of the appends, and are written in that order; what is numbered has room.
4. After a sync, a write or a closing that failed nothing is written, synced or answered any more: the process ends.
"""

import asyncio
import contextlib
import logging
import os
import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Protocol, TypeVar

from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import UsageError
from sekisho.kernel.files import FileLock, sync_directory
from sekisho.ledger import frames
from sekisho.ledger.errors import EntryTooLarge, LedgerError, LedgerFull
from sekisho.ledger.interfaces import ENTRY_BYTES_MAX, ENVELOPE_VERSION, EntryDraft, Reservation
from sekisho.ledger.room import Room, RoomReservation, budget_bytes, reservation_cost
from sekisho.ledger.segments import (
    DIRECTORY_MODE,
    LOCK_NAME,
    WRITERS_DIRECTORY,
    create_segment,
    is_disk_full,
    segment_numbers,
)

WRITE_AHEAD_FAILED: Final = 74  # the process's exit code; sysexits.h calls it EX_IOERR
SEGMENT_BYTES_MIN: Final = 256 * 1024  # smaller ones could lose most of themselves to one entry that does not fit
SEGMENT_ALIGNMENT: Final = 4096  # the file system's block, so that a segment wastes none
SEGMENTS_AHEAD_MAX: Final = 64  # 1 GiB of reservations at the default size; more is a leak of reservations
SYNC_DELAY_SECONDS_MAX: Final = 1.0  # an entry that nobody waits for is durable after this
RETRY_SECONDS: Final = 1.0  # a full disk is tried again after this
SAMPLE_SECONDS: Final = 1.0  # free space is asked for at most this often
_PLAIN: Final = re.compile(r"[a-zA-Z0-9._:/-]+", re.ASCII)

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class IdSource(Protocol):
    def new(self, now_us: int) -> str: ...


def free_bytes(directory: Path) -> int:
    """Bytes that an unprivileged process may still write to this directory's file system."""
    state = os.statvfs(directory)
    return state.f_bavail * state.f_frsize


@dataclass(frozen=True, slots=True)
class Disk:
    """What the writer asks of the system, where a test must be able to say no.

    `sync(descriptor)` returns when the file's data is durable, or raises OSError. `allocate(descriptor, offset,
    length)` takes the blocks. `end_process(code)` does not return.
    """

    sync: Callable[[int], None] = os.fdatasync
    allocate: Callable[[int, int, int], None] = os.posix_fallocate
    free_bytes: Callable[[Path], int] = free_bytes
    end_process: Callable[[int], object] = os._exit


@dataclass(frozen=True, slots=True)
class WriteAheadSettings:
    segment_bytes: int = 16 * 1024 * 1024
    free_reserve_bytes: int = 64 * 1024 * 1024  # free space never to be touched, so that the publisher can drain

    def __post_init__(self) -> None:
        if self.segment_bytes < SEGMENT_BYTES_MIN or self.segment_bytes % SEGMENT_ALIGNMENT:
            raise UsageError(
                f"a segment of {self.segment_bytes} bytes",
                remedy=f"Choose a multiple of {SEGMENT_ALIGNMENT}, at least {SEGMENT_BYTES_MIN}",
            )
        if self.free_reserve_bytes < 0:
            raise UsageError("a reserve below zero", remedy="Choose 0 or more bytes of free space to keep")


class WriteAheadWriter:
    """Implements `interfaces.EntryWriter`. Made by `open` in the running loop; no fork after that."""

    def __init__(self, directory: Path, lock: FileLock, *, site: str, settings: WriteAheadSettings, disk: Disk) -> None:
        self.name = directory.name
        self.directory = directory
        self._lock = lock
        self._settings = settings
        self._disk = disk
        self._loop = asyncio.get_running_loop()
        self._syncer = _Worker(self._loop, f"{self.name}-sync")
        self._maker = _Worker(self._loop, f"{self.name}-allocate")
        self._mark = os.urandom(frames.MARK_BYTES)
        self._tail = f',"site":"{site}","v":{ENVELOPE_VERSION},"writer":"{self.name}"}}'.encode()
        # The end of the log: what the next entry and the next frame begin with.
        self._seq = 0
        self._frame_seq = 0
        self._chain = frames.CHAIN_START
        self._queue: list[bytes] = []
        # Offsets: logical. _local is the one within the segment being written.
        self._local = 0
        self._written = 0
        self._synced = 0
        self._descriptor = -1  # none yet
        self._number = -1  # of the segment being written
        self._ahead: deque[int] = deque()  # descriptors
        self._unsynced: list[int] = []  # descriptors written to since the last sync began
        self._retired: list[int] = []  # descriptors of full segments, to be closed when synced
        self._room = Room(settings.segment_bytes)
        # Syncing.
        self._waiting: list[asyncio.Future[None]] = []
        self._unwritten: list[asyncio.Future[None]] = []
        self._tick_due = False
        self._syncing = False
        self._sync_wanted = False
        self._late: asyncio.TimerHandle | None = None
        # Growing.
        self._making: asyncio.Future[None] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._free_bytes = 0
        self._oldest = 0  # segment that still exists
        self._written_max = 0  # beyond this, by the last sample, the publisher could not drain
        self._sample_due = 0.0
        self._warned = False
        # Ending.
        self._ended = False
        self._drained: asyncio.Future[None] | None = None
        self.sync_seconds_last = 0.0

    @classmethod
    def open(
        cls,
        root: Path,
        *,
        site: str,
        clock: Clock,
        ids: IdSource,
        settings: WriteAheadSettings | None = None,
        disk: Disk | None = None,
    ) -> "WriteAheadWriter":
        """A new write-ahead log in `root/wal/` (`root` is the ledger's directory), locked by this process.

        Blocks for some milliseconds. With a full disk it opens too, and is `full` until there is space. Raises
        LedgerFull if not even the directory could be made, LedgerError if it can't be for another reason.
        """
        if not _PLAIN.fullmatch(site):
            raise UsageError(f"{site!r} can't name a site", remedy="Use letters, digits and . _ : / -")
        try:
            directory, lock = _make_directory(root / WRITERS_DIRECTORY, f"w-{ids.new(clock.now_us())}")
        except OSError as error:
            kind = LedgerFull if is_disk_full(error) else LedgerError
            raise kind(
                f"no write-ahead log can be made in {root}: {error.strerror}",
                remedy="Free some space on its disk" if kind is LedgerFull else "Make the directory writable",
            ) from error
        writer = cls(directory, lock, site=site, settings=settings or WriteAheadSettings(), disk=disk or Disk())
        writer._sample()
        if writer._may_grow():
            writer._grown(writer._make_segment(0))
        writer._grow()
        return writer

    # -- what metrics ask for

    @property
    def full(self) -> bool:
        """Whether an entry of the greatest size would be refused now."""
        self._sample_if_due()
        return self._is_starved() or self._room.free < frames.ENTRY_COST_MAX

    @property
    def unmerged_bytes(self) -> int:
        """Bytes used in segments that still exist: the publisher deletes those that it has merged."""
        return max(0, self._written - self._oldest * self._settings.segment_bytes)

    @property
    def budget_used(self) -> float:
        """How much of what may be unmerged is, 0 to 1."""
        self._sample_if_due()
        budget = budget_bytes(self._free_bytes, self._settings.free_reserve_bytes, self.unmerged_bytes)
        return 1.0 if budget <= self.unmerged_bytes else self.unmerged_bytes / budget

    @property
    def entries(self) -> int:
        """Entries appended so far."""
        return self._seq

    @property
    def written_offset(self) -> int:
        """Logical offset of the end of what is written, durable or not."""
        return self._written

    @property
    def synced_offset(self) -> int:
        """Logical offset up to which everything is durable."""
        return self._synced

    # -- appending

    def reserve(self, bytes_max: int) -> RoomReservation:
        """See `interfaces.EntryWriter`."""
        self._require_room(reservation_cost(bytes_max))
        reservation = RoomReservation(self._room, bytes_max)
        self._grow_if_needed()
        return reservation

    def append(self, draft: EntryDraft, reservation: Reservation | None = None) -> asyncio.Future[None]:
        """See `interfaces.EntryWriter`."""
        self._enqueue(draft, reservation)
        durable = self._loop.create_future()
        self._waiting.append(durable)
        self._tick()
        return durable

    def append_written(self, draft: EntryDraft, reservation: Reservation | None = None) -> None:
        """See `interfaces.EntryWriter`."""
        self._enqueue(draft, reservation)
        self._write_queue()
        self._sync_soon()

    def append_batched(self, draft: EntryDraft, reservation: Reservation | None = None) -> asyncio.Future[None]:
        """See `interfaces.EntryWriter`."""
        self._enqueue(draft, reservation)
        written = self._loop.create_future()
        self._unwritten.append(written)
        self._tick()
        return written

    async def close(self) -> None:
        """Sync what is there and release the lock; waits as long as the sync takes. Appends are refused from now."""
        if self._ended:
            return
        self._write_queue()
        self._ended = True
        if self._synced < self._written:
            self._drained = self._loop.create_future()
            self._sync_wanted = True
            if not self._syncing:
                self._start_sync()
            await self._drained
        for timer in (self._late, self._retry):
            if timer is not None:
                timer.cancel()
        if self._making is not None:
            await self._making  # else it would make a file in a directory that is no longer ours
        self._syncer.stop()
        self._maker.stop()
        if self._close_all(one for one in (*self._retired, *self._ahead, self._descriptor) if one >= 0):
            self._lock.release()

    def _enqueue(self, draft: EntryDraft, reservation: Reservation | None) -> None:
        if self._ended:
            raise LedgerError("the write-ahead log is closed", remedy="Nothing may be sent any more; stop the process")
        kind, identifier, at, actor, body, request = draft
        requested = "" if request is None else f',"request":"{request}"'
        entry = b"".join(
            (
                f'{{"actor":"{actor}","at":{at},"body":'.encode(),
                body,
                f',"id":"{identifier}","kind":"{kind}"{requested},"seq":{self._seq}'.encode(),
                self._tail,
            )
        )
        if len(entry) > ENTRY_BYTES_MAX:
            raise EntryTooLarge(
                f"an entry of kind {kind} has {len(entry)} bytes, {ENTRY_BYTES_MAX} at most are allowed",
                remedy="Send less in one request: fewer labels, fewer candidates",
            )
        cost = frames.entry_cost(len(entry))
        if reservation is None:
            self._require_room(cost)
            self._room.queued += cost
        else:
            self._spend(reservation, cost)
        self._queue.append(entry)
        self._seq += 1

    def _spend(self, reservation: Reservation, cost: int) -> None:
        if not isinstance(reservation, RoomReservation):
            raise TypeError("a reservation of another writer")
        if cost - reservation.left > self._room.free:
            self._refuse("an entry is larger than what was reserved for it, and there is no room beside")
        reservation.spend(cost)

    # -- writing, on the loop

    def _tick(self) -> None:
        """Have what this turn of the loop appends written, at its end, at once."""
        if not self._tick_due:
            self._tick_due = True
            self._loop.call_soon(self._end_tick)

    def _end_tick(self) -> None:
        self._tick_due = False
        unwritten, self._unwritten = self._unwritten, []
        try:
            self._write_queue()
        except LedgerError as error:
            for written in unwritten:
                if not written.done():
                    written.set_exception(error)
            raise
        if unwritten:
            for written in unwritten:
                if not written.done():  # its owner may have cancelled it; the entry stays
                    written.set_result(None)
            self._sync_soon()
        if self._waiting and not self._syncing and not self._ended:
            self._start_sync()

    def _write_queue(self) -> None:
        """Write all that is queued: one frame, or more where it does not fit into one."""
        if not self._queue or self._ended:
            return
        entries, self._queue = self._queue, []
        self._room.queued = 0
        start = 0
        while start < len(entries):
            count = frames.fitting(entries, start, self._room.remainder)
            if count == 0:
                self._roll()
                continue
            batch = entries if count == len(entries) else entries[start : start + count]
            self._write_frame(batch)
            start += count
        self._grow_if_needed()

    def _write_frame(self, entries: list[bytes]) -> None:
        descriptor, offset = self._descriptor, self._number * self._settings.segment_bytes + self._local
        frame, chain = frames.encode_frame(
            entries, mark=self._mark, offset=offset, seq=self._frame_seq, synced=self._synced, chain=self._chain
        )
        try:
            count = os.pwrite(descriptor, frame, self._local)
        except OSError as error:
            self._fail(f"writing at {offset} failed: {error}")
        else:
            if count != len(frame):
                self._fail(f"writing at {offset} was cut short: {count} of {len(frame)} bytes")
        if self._ended:
            raise LedgerError("the write-ahead log failed", remedy="See the log; the process ends itself")
        if not self._unsynced or self._unsynced[-1] != descriptor:
            self._unsynced.append(descriptor)
        self._chain = chain
        self._frame_seq += len(entries)
        self._local += len(frame)
        self._room.remainder -= len(frame)
        self._written = offset + len(frame)

    def _roll(self) -> None:
        """Go on in the next segment; the room's arithmetic promises that it is there."""
        if self._descriptor >= 0:
            self._retired.append(self._descriptor)
        self._descriptor = self._ahead.popleft()
        self._number += 1
        self._local = frames.SEGMENT_HEADER_BYTES
        self._room.roll()

    # -- syncing, in its thread

    def _start_sync(self) -> None:
        """Sync everything written until now. Runs on the loop; `_synced_until` goes on when it is done."""
        self._write_queue()
        self._syncing, self._sync_wanted = True, False
        if self._late is not None:
            self._late.cancel()
            self._late = None
        covered, self._unsynced = self._unsynced, []
        retired, self._retired = self._retired, []
        waiting, self._waiting = self._waiting, []
        until = self._written

        def sync() -> float | None:
            started = time.perf_counter()
            try:
                for descriptor in covered:
                    self._disk.sync(descriptor)
            except OSError as error:
                self._fail(f"syncing up to {until} failed: {error}")
                return None
            return time.perf_counter() - started

        def done(seconds: float | None) -> None:
            self._syncing = False
            if seconds is None:
                return
            self.sync_seconds_last = seconds
            if self._close_all(retired):
                self._synced_until(until, waiting)

        self._syncer.submit(sync, done)

    def _synced_until(self, offset: int, waiting: list[asyncio.Future[None]]) -> None:
        self._synced = offset
        for durable in waiting:
            if not durable.done():  # its owner may have cancelled it; the entry stays
                durable.set_result(None)
        if self._waiting or self._sync_wanted:
            self._start_sync()
        elif self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _sync_soon(self) -> None:
        if self._late is None and not self._ended:
            self._late = self._loop.call_later(SYNC_DELAY_SECONDS_MAX, self._sync_late)

    def _sync_late(self) -> None:
        self._late = None
        if self._syncing:
            self._sync_wanted = True
        elif self._synced < self._written and not self._ended:
            self._start_sync()

    def _close_all(self, descriptors: Iterable[int]) -> bool:
        """Close segments that are synced. An error raised here, in a callback, would leave every append waiting."""
        try:
            for descriptor in descriptors:
                os.close(descriptor)
        except OSError as error:
            self._fail(f"closing a segment failed: {error}")
            return False
        return True

    def _fail(self, reason: str) -> None:
        """End the process: what the kernel did with those pages can't be known any more. From either thread."""
        self._ended = True
        _log.critical("write-ahead log %s: %s; the process ends, a new one starts a new log", self.name, reason)
        self._disk.end_process(WRITE_AHEAD_FAILED)

    # -- room, and growing

    def _require_room(self, cost: int) -> None:
        self._sample_if_due()
        if self._is_starved():
            self._refuse("the ledger's disk is nearly full")
        if cost > self._room.free:
            self._refuse("the write-ahead log has no room left")

    def _refuse(self, reason: str) -> NoReturn:
        self._grow()
        raise LedgerFull(reason, remedy="Free space on the ledger's disk; recording goes on by itself when there is")

    def _is_starved(self) -> bool:
        return self._written > self._written_max

    def _may_grow(self) -> bool:
        """Whether there would still be space for the publisher to drain after taking another segment."""
        needed = 2 * self.unmerged_bytes + self._settings.free_reserve_bytes
        return self._free_bytes - self._settings.segment_bytes >= needed

    def _sample_if_due(self) -> None:
        if self._loop.time() >= self._sample_due:
            self._sample()

    def _sample(self) -> None:
        self._sample_due = self._loop.time() + SAMPLE_SECONDS
        try:
            self._free_bytes = self._disk.free_bytes(self.directory)
            self._oldest = next(iter(segment_numbers(self.directory)), self._number + 1)
        except OSError as error:
            self._fail(f"its directory can't be read: {error}")
        spare = self._free_bytes - self._settings.free_reserve_bytes
        # Free space below twice the unmerged bytes and the reserve, said of the offset; -1: starved even if empty.
        self._written_max = self._oldest * self._settings.segment_bytes + spare // 2 if spare >= 0 else -1

    def _grow_if_needed(self) -> None:
        if self._room.free < self._settings.segment_bytes:
            self._grow()

    def _grow(self) -> None:
        """Have another segment made in the background, unless that is under way, of no use, or to be retried later."""
        if self._making is not None or self._retry is not None or self._ended:
            return
        if self._room.free >= self._settings.segment_bytes or len(self._ahead) >= SEGMENTS_AHEAD_MAX:
            return
        self._sample_if_due()
        if not self._may_grow():
            self._retry_later("its disk is nearly full")
            return
        self._making = self._loop.create_future()
        number = self._number + len(self._ahead) + 1
        self._maker.submit(lambda: self._make_segment(number), self._grown)

    def _make_segment(self, number: int) -> "int | OSError":
        header = frames.SegmentHeader(self._settings.segment_bytes, number, self._mark)
        try:
            return create_segment(self.directory, header, self._disk.allocate)
        except OSError as error:
            if not is_disk_full(error):
                self._fail(f"making segment {number} failed: {error}")
            return error

    def _grown(self, outcome: "int | OSError") -> None:
        if self._making is not None:
            self._making.set_result(None)
            self._making = None
        if isinstance(outcome, OSError):
            self._retry_later(f"no segment could be allocated ({outcome.strerror})")
            return
        if self._warned:
            self._warned = False
            _log.info("write-ahead log %s: there is space again", self.name)
        self._ahead.append(outcome)
        self._room.ahead += 1
        if self._descriptor < 0:
            self._roll()
        self._sample()
        self._grow_if_needed()

    def _retry_later(self, reason: str) -> None:
        if self._ended:
            return
        if not self._warned:
            self._warned = True
            _log.warning("write-ahead log %s can't grow: %s; trying each second", self.name, reason)
        self._retry = self._loop.call_later(RETRY_SECONDS, self._retry_now)

    def _retry_now(self) -> None:
        self._retry = None
        self._sample()
        self._grow()


class _Worker:
    """A thread that does one job after another and hands each result to the loop.

    A daemon: a sync that never returns must not keep the process from ending.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._loop = loop
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def submit(self, work: Callable[[], _Result], done: Callable[[_Result], None]) -> None:
        def job() -> None:
            result = work()
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits any more
                self._loop.call_soon_threadsafe(done, result)

        self._jobs.put(job)

    def stop(self) -> None:
        self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()


def _make_directory(parent: Path, name: str) -> tuple[Path, FileLock]:
    """A writer's directory, which appears under its name only when its lock is held. Raises OSError."""
    parent.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
    hidden = parent / f".{name}"
    hidden.mkdir(DIRECTORY_MODE)
    lock = FileLock(hidden / LOCK_NAME)
    try:
        lock.acquire()
        hidden.rename(parent / name)
        sync_directory(parent)
        sync_directory(parent.parent)
    except OSError:
        lock.release()
        for directory in (hidden, parent / name):
            with contextlib.suppress(OSError):  # the first error is the one to tell
                (directory / LOCK_NAME).unlink(missing_ok=True)
                directory.rmdir()
        raise
    return parent / name, lock
