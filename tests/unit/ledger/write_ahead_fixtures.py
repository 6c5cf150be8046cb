"""What the tests of the write-ahead log share: small segments, a disk that can be told what to do, drafts."""

import asyncio
import errno
import os
import shutil
import threading
from dataclasses import dataclass, field

from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import IdSource
from sekisho.ledger.interfaces import EntryDraft
from sekisho.ledger.wal_reader import START, WriteAheadReader
from sekisho.ledger.writer import Disk, WriteAheadSettings, WriteAheadWriter

SEGMENT_BYTES = 256 * 1024
SETTINGS = WriteAheadSettings(segment_bytes=SEGMENT_BYTES, free_reserve_bytes=1024)
MIB = 1024 * 1024


@dataclass
class TestDisk:
    """Implements `writer.Disk`: counts, and refuses on demand."""

    __test__ = False

    free: int = 1 << 40
    allocation_error: int = 0
    sync_error: int = 0
    syncs: int = 0
    ended_with: list = field(default_factory=list)
    may_sync: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self):
        self.may_sync.set()

    def sync(self, descriptor):
        self.may_sync.wait()
        self.syncs += 1
        if self.sync_error:
            raise OSError(self.sync_error, os.strerror(self.sync_error))

    def allocate(self, descriptor, offset, length):
        if self.allocation_error:
            os.ftruncate(descriptor, length // 2)  # ext4 keeps what it got
            raise OSError(self.allocation_error, os.strerror(self.allocation_error))
        os.posix_fallocate(descriptor, offset, length)

    def port(self):
        return Disk(self.sync, self.allocate, lambda _: self.free, self.ended_with.append)


def open_writer(root, disk=None, settings=SETTINGS):
    port = (disk or TestDisk()).port()
    return WriteAheadWriter.open(root, site="tokyo", clock=SystemClock(), ids=IdSource(), settings=settings, disk=port)


def draft(body=b"{}", *, identifier="0190", kind="decision", request=None):
    return EntryDraft(kind, identifier, 1_700_000_000_000_000, "key:1", body, request)


def body_of(size):
    """A canonical JSON object of about `size` bytes."""
    return b'{"x":"%b"}' % (b"y" * max(0, size - 8))


def only_directory(root):
    (directory,) = (root / "wal").iterdir()
    return directory


def crash_copy(root, target):
    """What another machine would see of the log now, were the page cache written back: a dead writer's log."""
    for last in (False, False, False, True):
        try:
            shutil.copytree(root / "wal", target / "wal")
            break
        except shutil.Error:  # a segment got its name between listing and copying: that was no moment of the disk
            if last:
                raise
            shutil.rmtree(target)
    return WriteAheadReader(only_directory(target))


def read_all(reader, position=START, *, bytes_max=MIB, dead=False):
    """(entries, position after them)."""
    entries = []
    while True:
        batch = (reader.read_dead if dead else reader.read)(position, bytes_max=bytes_max)
        if not batch.entries:
            assert batch.position == position
            return entries, position
        entries += batch.entries
        position = batch.position


async def until(condition, seconds=10):
    """Wait for something that another thread brings about."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


ENOSPC, EIO = errno.ENOSPC, errno.EIO
