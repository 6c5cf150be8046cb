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
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from journeys.installation import ENVIRONMENT, SOURCE, Installation
from journeys.ledger_history import ENDED, Lives, make_publisher, origin_of, published, said_path, told_path
from journeys.published_log import log_key, require_well_formed
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
OTHERS = (
    "read", "pread64", "close", "unlink", "rmdir", "getdents64", "newfstatat", "fstat", "lseek", "flock", "fcntl",
    "statfs", "fstatfs", "rt_sigreturn", "mmap", "unlinkat", "renameat", "renameat2", "link", "linkat", "statx",
    "access", "faccessat2", "stat", "lstat", "pwritev", "pwritev2", "preadv", "sync_file_range", "mkdirat",
)  # fmt: skip
SAID = {
    "EIO": ("Input/output error", "disk I/O error", "can't be read", "unable to open database file", "locking protocol"),
    "ENOSPC": ("No space left", "disk is full", "nearly full", "no room left", "disk I/O error", "unable to open database file"),
}
ATTACH_S = 20


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
        self._lives = Lives({**ENVIRONMENT, "PYTHONPATH": os.pathsep.join((SOURCE, str(Path(__file__).parents[1])))})
        self._count = 0

    def close(self) -> None:
        self._lives.__exit__()

    def points(self) -> list[tuple[str, int]]:
        """Every call on the ledger's files in an unbroken life: (its name, its number in its thread)."""
        root = self._fresh()
        ended = self._live(root, ["-y", "-e", f"trace={','.join((*WRITING, *OTHERS))}"])
        assert (ended.code, ended.said) == (0, "")
        self._require_whole(root, ended)
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
        self._require_whole(root, ended)
        self._forget(root)
        return met

    def _fresh(self) -> Path:
        self._count += 1
        root = self._directory / f"life-{self._count:05}"
        shutil.copytree(self._template, root)
        return root

    def _live(self, root: Path, options: list[str]) -> Ended:
        process = self._lives.begin(root)
        trace = root.with_name(f"{root.name}.trace")
        command = ["strace", "-f", "-qq", "-s", "0", "-p", str(process), "-o", str(trace), *options]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
            deadline = time.monotonic() + ATTACH_S
            while not traced(process, process):
                assert time.monotonic() < deadline, "strace did not attach"
                time.sleep(0.001)
            os.kill(process, signal.SIGUSR1)
            code = self._lives.ended()
            strace.wait()
        told = [json.loads(line) for line in told_path(root).read_text().splitlines()]
        return Ended(code, said_path(root).read_text(), told, trace.read_text())

    def _require_whole(self, root: Path, ended: Ended) -> None:
        directory = DataDirectory(root)
        seen = [tuple(what["published"]) for what in ended.told if "published" in what]
        if (directory.ledger / "checkpoint").exists():
            seen.append(published(directory))
        publisher = make_publisher(directory, origin_of(directory))
        publisher.start()
        while publisher.merge_once():
            pass
        publisher.close()
        report = audit_integrity(directory.ledger, log_key(root))
        files = LogFiles(directory.ledger)
        entries = [json.loads(entry) for _, found in files.entries(0, report.size) for entry in found]
        require_well_formed_enough(entries)
        missing = {what["durable"] for what in ended.told if "durable" in what} - {entry["id"] for entry in entries}
        assert not missing, f"lost: {missing}"
        nodes = files.nodes(report.size)
        for size, tree in seen:
            assert tree_root(size, nodes).hex() == tree, f"another root was signed for {size} entries"
        status = read_status(directory.ledger, [log_key(root)], reserve_bytes=0, now_us=0)
        assert status.damage == ()

    def _forget(self, root: Path) -> None:
        shutil.rmtree(root)
        for path in self._directory.glob(f"{root.name}.*"):
            path.unlink()


def require_well_formed_enough(entries):
    require_well_formed(entries)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    if reason := strace_unusable():
        pytest.skip(reason)
    sweep = Sweep(tmp_path_factory.mktemp("sweep"))
    yield sweep
    sweep.close()


@pytest.fixture(scope="module")
def points(sweep):
    return sweep.points()
