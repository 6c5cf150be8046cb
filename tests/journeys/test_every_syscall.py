"""G3 and G5 with each system call on the ledger's files broken in turn: an error, a full disk, a kill.

A process lives a short life of a ledger (ledger_history.py) under strace, which breaks the n-th call of a kind. Then
the next start recovers with nothing broken, and: all that the process had told of is in the log, once; each root that
anybody can have seen is the log's at that size; the process said what happened.

A power cut is not in here, since the page cache outlives a process: see tests/unit/ledger/test_power_cut.py.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from journeys.installation import Installation, until
from journeys.ledger_history import ENDED, Lives, make_publisher, origin_of, published, said_path, told_path
from journeys.published_log import Evidence, log_key, require_well_formed
from journeys.test_failing_disk import traced
from journeys.test_order_of_syscalls import strace_unusable
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.merkle import tree_root
from sekisho.ledger.status import read_status
from sekisho.ledger.writer import WRITE_AHEAD_FAILED
from sekisho.settings import DataDirectory

WRITING = (
    "write", "pwrite64", "fsync", "fdatasync", "fallocate", "ftruncate", "openat", "mkdir", "rename", "fchmod",
)  # fmt: skip
CHANGING = ("unlink", "unlinkat", "rmdir", "flock")
OTHERS = (
    "read", "pread64", "close", "getdents64", "newfstatat", "fstat", "fcntl",
    "statfs", "fstatfs", "renameat", "renameat2", "link", "linkat", "statx",
    "access", "faccessat2", "stat", "lstat", "pwritev", "pwritev2", "preadv", "sync_file_range", "mkdirat",
)  # fmt: skip
SAID = {  # what the operator is told, in the system's words, SQLite's or ours
    "EIO": (
        "Input/output error",
        "disk I/O error",
        "unable to open database file",
        "locking protocol",
        "readonly database",
    ),
    "ENOSPC": (
        "No space left",
        "disk is full",
        "nearly full",
        "no room left",
        "disk I/O error",
        "unable to open",
        "readonly database",
    ),
}
SAMPLE = 36  # lives in `make test`, for each kind of fault: some seconds
SWEEP_SECONDS_MAX = 200  # of `make test-full`, for each kind of fault; what a slow machine leaves out is said
MET_SHARE_MIN = 0.9  # a call's number may shift a little from life to life: timers, the thread that makes segments


class Fault(NamedTuple):
    """Break the `number`-th `call` of each thread."""

    call: str
    number: int
    error: str  # or "KILL"

    @property
    def injection(self) -> str:
        how = "signal=KILL" if self.error == "KILL" else f"error={self.error}"
        return f"inject={self.call}:{how}:when={self.number}"


class Ended(NamedTuple):
    code: int
    said: str
    told: list[dict]
    trace: str


class Sweep:
    """Lives over copies of one installation, each broken once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._template = directory / "template"
        site = Installation(self._template)
        site.apply()
        self._lives = Lives()
        self._count = 0

    def close(self) -> None:
        self._lives.close()

    def points(self) -> list[tuple[str, int]]:
        """Every call on the ledger's files in an unbroken life: (its name, its number in its thread)."""
        root = self._fresh()
        ended = self._live(root, ["-y", "-e", f"trace={','.join((*WRITING, *CHANGING, *OTHERS))}"])
        assert (ended.code, ended.said) == (0, "")
        require_whole(root, ended.told)
        counts: Counter[tuple[str, str]] = Counter()
        found = set()
        for line in ended.trace.splitlines():
            match = re.match(r"(\d+) +(\w+)\(", line)
            if match is None:
                continue
            counts[match.groups()] += 1
            if f"{root}/" in line:
                found.add((match[2], counts[match.groups()]))
        self._forget(root)
        return sorted(found)

    def life(self, fault: Fault) -> bool:
        """Whether the fault was met. Raises AssertionError where something is lost, doubled or not told."""
        root = self._fresh()
        ended = self._live(root, ["-e", f"trace={fault.call}", "-e", fault.injection])
        met = "(INJECTED)" in ended.trace or "killed by SIGKILL" in ended.trace
        if fault.error == "KILL":
            assert ended.code in (0, -signal.SIGKILL), ended.said
        elif ended.code != 0:
            assert ended.code in (ENDED, WRITE_AHEAD_FAILED), ended.said
            assert any(words in ended.said for words in SAID[fault.error]), ended.said
        assert "Traceback" not in ended.said, ended.said
        require_whole(root, ended.told)
        self._forget(root)
        return met

    def _fresh(self) -> Path:
        self._count += 1
        root = self._directory / f"life-{self._count:05}"
        shutil.copytree(self._template, root)
        return root

    def _live(self, root: Path, options: list[str]) -> Ended:
        process = self._lives.begin("history", root)
        trace = root.with_name(f"{root.name}.trace")
        command = ["strace", "-f", "-qq", "-s", "0", "-p", str(process), "-o", str(trace), *options]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
            until(lambda: traced(process, process), 20, "strace", every_s=0.001)
            os.kill(process, signal.SIGUSR1)
            code = self._lives.ended(process)
            strace.wait()
        told = [json.loads(line) for line in told_path(root).read_text().splitlines()]
        return Ended(code, said_path(root).read_text(), told, trace.read_text())

    def _forget(self, root: Path) -> None:
        shutil.rmtree(root)
        for path in self._directory.glob(f"{root.name}.*"):
            path.unlink()


def require_whole(root: Path, told: Iterable[dict]) -> Evidence:
    """Start over what a process left, with nothing broken: all that it had told of holds."""
    directory = DataDirectory(root)
    seen = {tuple(what["published"]) for what in told if "published" in what}
    if (directory.ledger / "checkpoint").exists():
        seen.add(published(directory))
    publisher = make_publisher(directory, origin_of(directory))
    publisher.start()
    while publisher.merge_once() or publisher.backlog:
        pass
    publisher.close()
    report = audit_integrity(directory.ledger, log_key(root))
    files = LogFiles(directory.ledger)
    entries = [json.loads(entry) for _, found in files.entries(0, report.size) for entry in found]
    evidence = require_well_formed(entries)
    missing = {what["durable"] for what in told if "durable" in what} - {entry["id"] for entry in entries}
    assert not missing, f"lost: {missing}"
    nodes = files.nodes(report.size)
    for size, tree in seen:
        assert tree_root(size, nodes).hex() == tree, f"another root was signed for {size} entries"
    status = read_status(directory.ledger, [log_key(root)], reserve_bytes=0, now_us=0)
    assert status.damage == ()
    return evidence


@pytest.fixture(scope="module")
def memory(tmp_path_factory):
    """A directory in memory if there is one: the same calls, and none waits for a disk."""
    place = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=place if os.access(place, os.W_OK) else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def sweep(memory):
    if reason := strace_unusable():
        pytest.skip(reason)
    sweep = Sweep(memory)
    yield sweep
    sweep.close()


@pytest.fixture(scope="module")
def points(sweep):
    return sweep.points()


def faults(points, error: str) -> list[Fault]:
    """In random order, but one of each call first."""
    chance = random.Random(error)
    met_by = {*WRITING, *CHANGING} if error in ("ENOSPC", "KILL") else {*WRITING, *CHANGING, *OTHERS}
    found = [Fault(call, number, error) for call, number in points if call in met_by]
    chance.shuffle(found)
    first = list({fault.call: fault for fault in found}.values())
    return first + [fault for fault in found if fault not in first]


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "KILL"])
def test_some_calls_break(sweep, points, error):
    chosen = faults(points, error)[:SAMPLE]
    assert sum(map(sweep.life, chosen)) >= MET_SHARE_MIN * len(chosen)


@pytest.mark.long
@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "KILL"])
def test_every_call_breaks(sweep, points, error, record_property):
    chosen, done, met = faults(points, error), 0, 0
    until_s = time.monotonic() + SWEEP_SECONDS_MAX
    while done < len(chosen) and time.monotonic() < until_s:
        met += sweep.life(chosen[done])
        done += 1
    record_property("lives", f"{done} of {len(chosen)}")
    print(f"{error}: {done} of {len(chosen)} calls broken, {met} met")
    assert met >= MET_SHARE_MIN * done
