"""A full disk: 503 before anything leaves, said plainly, and back by itself once there is space.

A disk that can't be written to at all: nothing is served, and that is said. One that fails: test_failing_disk.py.
"""

import asyncio
import contextlib
import json
import os
import subprocess

import pytest

from journeys.callers import Answer, ask
from journeys.installation import Installation, free_port, get, sekisho, until
from journeys.published_log import require_log_holds, require_well_formed
from journeys.recording_upstream import RecordingUpstream

DISK_MB = 96
MIB = 1024 * 1024
SEGMENT_BYTES = 256 * 1024
RESERVE_BYTES = 16 * MIB
RECOVERY_S = 15  # tried each second; the rest is for a busy machine
REFUSED = 10


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A small file system of its own."""
    path = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(path)], capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    with RecordingUpstream(free_port(), tmp_path_factory.mktemp("upstream") / "seen") as upstream:
        yield upstream


@pytest.fixture(scope="module")
def site(disk, upstream, tmp_path_factory):
    with Installation(disk / "site") as site:
        site.log = tmp_path_factory.mktemp("log") / "up.log"  # whoever watches has a disk of his own
        site.setting("ledger", "segment_bytes", SEGMENT_BYTES)
        site.setting("ledger", "free_reserve_bytes", RESERVE_BYTES)
        site.deployment("record", upstream.port)
        site.apply()
        yield site


def question(site: Installation, stream: bool = False) -> Answer:
    document = {"model": "record", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    return asyncio.run(ask(site.gateway_port, site.key, document))


def fill(disk, leave_bytes: int) -> None:
    """Take all space but `leave_bytes`."""
    state = os.statvfs(disk)
    with (disk / "filler").open("wb") as filler:
        free_bytes = state.f_bavail * state.f_frsize
        with contextlib.suppress(OSError):  # somebody else was writing: there was even less
            os.posix_fallocate(filler.fileno(), 0, max(1, free_bytes - leave_bytes))


def empty(disk) -> None:
    with contextlib.suppress(FileNotFoundError):
        (disk / "filler").unlink()


def ready(site: Installation) -> tuple[int, list[str]]:
    status, body, _ = get(f"{site.base}/readyz")
    return status, json.loads(body)["reasons"] if body else []


def require_refused(site: Installation, upstream: RecordingUpstream) -> None:
    """Every request is answered 503 with the reason and when to come again, and none leaves."""
    until(lambda: question(site).status == 503, 10, "the refusal")
    before = len(upstream.seen())
    for number in range(REFUSED):
        answer = question(site, stream=number % 2 == 1)
        assert answer.status == 503
        error = json.loads(answer.body)["error"]
        assert error["code"] == "ledger_full"
        assert error["type"] == "api_error"
        assert "disk" in error["message"]
        assert answer.headers["retry-after"] == "1"
        assert not answer.receipt
    assert len(upstream.seen()) == before
    status, reasons = ready(site)
    assert status == 503
    assert any("disk" in reason for reason in reasons)
    assert get(f"{site.base}/healthz")[0] == 200


def require_recovered(site: Installation) -> None:
    until(lambda: ready(site) == (200, []), RECOVERY_S, "readiness")
    assert question(site).status == 200
    assert question(site, stream=True).whole


@pytest.mark.parametrize("leave_bytes", [2 * MIB, 0], ids=["below-the-reserve", "to-the-last-byte"])
def test_a_disk_that_fills_up_and_is_freed(disk, site, upstream, leave_bytes):
    if site.process is None:
        site.start()
    answered = [question(site, stream=number % 2 == 1) for number in range(20)]
    assert all(answer.status == 200 and answer.whole for answer in answered)
    gateway = site.children()["gateway"]
    fill(disk, leave_bytes)
    try:
        require_refused(site, upstream)
    finally:
        empty(disk)
    require_recovered(site)
    assert site.children()["gateway"] == gateway, "the gateway was started again"
    for answer in answered:
        site.receipt(answer.receipt)


def test_a_start_on_a_disk_below_the_reserve(disk, site, upstream):
    site.stop()
    fill(disk, 2 * MIB)
    try:
        site.start("up")
        until(lambda: ready(site)[0] == 503, 30, f"the gateway's answer; see {site.log}")
        require_refused(site, upstream)
    finally:
        empty(disk)
    require_recovered(site)
    site.await_ready()


def test_a_start_on_a_disk_without_a_byte(disk, site, upstream):
    """SQLite can't even open its files then: processes end, say why, and are started again until they can."""
    site.stop()
    before = len(upstream.seen())
    told = site.log.stat().st_size
    fill(disk, 0)
    try:
        site.start("up")

        def said() -> str:
            return site.log.read_text()[told:]

        until(lambda: all(f"{who} ended" in said() for who in ("gateway 0", "control")), 30, "the ends")
        assert "free space" in said()
        assert "Traceback" not in said()
    finally:
        empty(disk)
    site.await_ready()  # after the supervisor's back-off
    assert len(upstream.seen()) == before
    require_recovered(site)


def test_a_start_on_a_disk_that_is_read_only(disk, site, upstream):
    site.stop()
    before = len(upstream.seen())
    remount(disk, "ro")
    try:
        for command in ("up", "gateway", "control"):
            ended = sekisho(command, site.root, check=False)
            assert ended.returncode != 0
            said = (
                ended.stdout + ended.stderr
            ).lower()  # of a database SQLite tells no more than that it can't be opened
            assert "read-only" in said or "state.sqlite" in said, command
            assert "Traceback" not in ended.stderr
    finally:
        remount(disk, "rw")
    site.start()
    assert len(upstream.seen()) == before
    require_recovered(site)


def remount(disk, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def test_nothing_was_lost_and_the_log_verifies(site, upstream):
    assert site.process is not None
    assert site.stop() == 0
    evidence = require_well_formed(require_log_holds(site.root))
    for request in upstream.seen():
        (decision,) = evidence.decisions[request["id"]]
        assert evidence.outcomes[decision["id"]]["body"]["ended"] == "complete"
