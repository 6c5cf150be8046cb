"""The ledger's disk: its kind, the room on it and how long that lasts, how fast it makes things durable."""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from sekisho.app.doctor.findings import Finding, ok, problem, warning
from sekisho.ledger.browse import LogBrowser
from sekisho.ledger.interfaces import PublishedEntry

SYNCS_MAX: Final = 64  # enough for a median; a disk of 10 ms takes less than a second
SYNC_S_MAX: Final = 2.0  # whatever the disk, then it is enough
SYNC_BYTES: Final = 4_096  # about what a small batch of decisions writes
SYNC_SLOW_US: Final = 10_000  # every request waits for one sync: above this the disk is the gateway's speed
LASTS_S_MIN: Final = 7 * 86_400  # time enough to get a larger disk
LOW_BYTES: Final = 1 << 30
WALK_S_MAX: Final = 2.0
RATE_S: Final = 86_400  # a day has its quiet hours in it
RATE_S_MIN: Final = 3_600  # a log that is younger tells nothing yet
ENTRY_OVERHEAD_BYTES: Final = 200  # hashes, index rows and lengths that an entry brings along
VOLATILE: Final = frozenset({"tmpfs", "ramfs"})
LAYERED: Final = frozenset({"overlay", "aufs"})
NETWORK: Final = frozenset({"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "nfs", "nfs4", "smb3", "virtiofs"})


class Room(NamedTuple):
    """Bytes."""

    used: int
    free: int
    reserve: int
    allocated: int  # write-ahead segments: the most that can be unmerged


def judge_room(room: Room, bytes_per_s: float | None) -> Finding:
    """What is left until requests are answered 503 (`ledger.writer`: twice the unmerged bytes and the reserve)."""
    left = room.free - room.reserve - 2 * room.allocated
    values = {"used_bytes": room.used, "free_bytes": room.free, "reserve_bytes": room.reserve}
    if room.free <= room.reserve:
        return problem("disk.full", **values)
    lasts_s = None if not bytes_per_s else int(max(0, left) / bytes_per_s)
    if lasts_s is not None and lasts_s < LASTS_S_MIN:
        return warning("disk.short", **values, lasts_s=lasts_s)
    if left < LOW_BYTES:
        return warning("disk.low", **values)
    if lasts_s is None:
        return ok("disk.room", **values)
    return ok("disk.lasts", **values, lasts_s=lasts_s)


def judge_sync(seconds: Sequence[float]) -> Finding:
    """`seconds`: how long each sync took; at least one."""
    middle, worst = (int(one * 1_000_000) for one in (statistics.median(seconds), max(seconds)))
    make = warning if middle > SYNC_SLOW_US else ok
    return make("disk.sync_slow" if middle > SYNC_SLOW_US else "disk.sync", p50_us=middle, worst_us=worst)


def judge_filesystem(kind: str) -> Finding:
    if kind in NETWORK:
        return problem("disk.network", filesystem=kind)
    if kind in VOLATILE:
        return warning("disk.volatile", filesystem=kind)
    if kind in LAYERED:
        return warning("disk.layered", filesystem=kind)
    return ok("disk.filesystem", filesystem=kind or "?")


def filesystem_of(mountinfo: str, path: str) -> str:
    """The kind of file system that holds an absolute path, out of /proc/self/mountinfo; "" if it can't be told."""
    best, kind = "", ""
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        mount = fields[4].replace("\\040", " ")
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):  # the later of two on one point lies on top
            best, kind = mount, after.split(" ", 1)[0]
    return kind


# -- looking


def look_at_disk(ledger: Path, write_ahead: Path, reserve: int, now_us: int) -> list[Finding]:
    """Raises OSError, LogUnreadable."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
    state = os.statvfs(ledger)
    free = state.f_bavail * state.f_frsize
    used, whole = used_bytes(ledger)
    allocated = sum(path.stat().st_size for path in write_ahead.glob("*/*.seg"))
    browser = LogBrowser(ledger)
    try:
        rate = bytes_per_second(browser, now_us)
    finally:
        browser.close()
    found = [judge_filesystem(filesystem_of(mounts, str(ledger.resolve())))]
    found.append(judge_room(Room(used, free, reserve, allocated), rate))
    if not whole:
        found.append(ok("disk.uncounted", counting_s=int(WALK_S_MAX)))
    if free > reserve:
        found.append(judge_sync(measure_syncs(ledger)))
    return found


def used_bytes(root: Path) -> tuple[int, bool]:
    """What is allocated under `root`, and whether all of it was counted: that ends after WALK_S_MAX."""
    until, total, directories = time.monotonic() + WALK_S_MAX, 0, [str(root)]
    while directories:
        if time.monotonic() > until:
            return total, False
        try:
            with os.scandir(directories.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:  # the publisher removes what is merged
            continue
    return total, True


def measure_syncs(directory: Path) -> list[float]:
    """How long small syncs take there, in a file without a name that is gone afterwards. At least one, in seconds."""
    with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
        descriptor = file.fileno()
        os.posix_fallocate(descriptor, 0, SYNCS_MAX * SYNC_BYTES)  # as the write-ahead log does
        os.fsync(descriptor)
        until, taken = time.perf_counter() + SYNC_S_MAX, []
        for number in range(SYNCS_MAX):
            os.pwrite(descriptor, os.urandom(SYNC_BYTES), number * SYNC_BYTES)
            began = time.perf_counter()
            os.fdatasync(descriptor)
            ended = time.perf_counter()
            taken.append(ended - began)
            if ended > until:
                break
        return taken


def bytes_per_second(log: LogBrowser, now_us: int) -> float | None:
    """How fast the log grew in the last RATE_S, or since it began; None where that tells nothing. Raises LogUnreadable.

    Looks at about thirty entries, whatever the log's size: times rise with the leaves, but for what writers overlap.
    """
    size = log.size()
    if not size:
        return None
    span_us = min(now_us - _at(log, 0), RATE_S * 1_000_000)
    if span_us < RATE_S_MIN * 1_000_000:
        return None
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if _at(log, middle) < now_us - span_us:
            low = middle + 1
        else:
            high = middle
    lengths = [len(one.entry) for one in log.back_from(size, 1)]
    mean = sum(lengths) / len(lengths) + ENTRY_OVERHEAD_BYTES
    return (size - low) * mean / (span_us / 1_000_000)


def newest_at(log: LogBrowser) -> int | None:
    """The latest time (µs UTC) among the last entries. Raises LogUnreadable."""
    return max((time_of(one) for one in log.back_from(log.size(), 1)), default=None)


def time_of(entry: PublishedEntry) -> int:
    value: Any = orjson.loads(entry.entry)["at"]
    return int(value)


def _at(log: LogBrowser, leaf: int) -> int:
    found: Iterator[PublishedEntry] = log.back_from(leaf + 1, 1)
    return time_of(next(found))
