"""G1 by the order of system calls, since a killed process leaves the page cache behind and a power cut does not.

A gateway runs under strace. For every request that leaves: the decision's bytes are written to a file of the ledger,
a sync of that file that began afterwards has returned, and only then is there a connection for it and its first byte
on the upstream's socket. Which thread or process syncs, and through which descriptor, is not the test's business.
"""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from journeys.callers import ask
from journeys.installation import ENVIRONMENT, READY_S, Installation, free_port, get, until
from journeys.recording_upstream import RecordingUpstream

ONE_AFTER_ANOTHER = 5
TOGETHER = 24
SHOWN_BYTES_MAX = 1 << 20  # a whole frame: a batch of at most a few dozen decisions
WRITES = ("pwrite64", "pwritev", "pwritev2", "write", "writev", "sendto", "sendmsg", "sendmmsg", "splice", "sendfile")
SYNCS = ("fdatasync", "fsync", "sync_file_range", "msync", "syncfs", "sync")
# The event loop (libuv) would hand some calls over through io_uring; it is refused, so that all are in the trace.
NO_URING = ["-e", "inject=io_uring_setup:error=ENOSYS"]
TRACED = ",".join((*WRITES, *SYNCS, "connect", "io_uring_setup", "io_uring_enter", "io_submit"))


@dataclass
class Call:
    """A system call; `began` and `ended` are places in the trace."""

    name: str
    text: str
    began: int
    ended: int = -1
    result: str = ""


def strace_unusable() -> str:
    """Why strace can't be used here, or nothing."""
    if shutil.which("strace") is None:
        return "strace is not installed (make test installs it where it can)"
    tried = subprocess.run(["strace", "-f", "-e", "trace=fdatasync", "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"strace can't trace here: {tried.stderr.strip()[:200]}"


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """(the trace's calls, the upstream's port, the ids it saw) of some requests."""
    if reason := strace_unusable():
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("traced")
    trace = directory / "trace"
    with RecordingUpstream(free_port(), directory / "seen") as upstream, Installation(directory / "site") as site:
        site.deployment("record", upstream.port)
        site.apply()
        command = [
            "strace",
            "-f",
            "-yy",
            "-s",
            str(SHOWN_BYTES_MAX),
            "-e",
            f"trace={TRACED}",
            *NO_URING,
            "-o",
            str(trace),
        ]
        with site.log.open("ab") as log:
            site.process = subprocess.Popen(
                [*command, sys.executable, "-m", "sekisho", "gateway", str(site.root)],
                stdout=log, stderr=log, env=ENVIRONMENT,
            )  # fmt: skip
        try:
            until(lambda: get(f"{site.base}/readyz")[0] == 200, READY_S, f"the gateway; see {site.log}")
            answers = asyncio.run(call(site))
        finally:
            for child in traced_children(site.process.pid):  # strace ends with it, not the other way round
                os.kill(child, signal.SIGTERM)
            site.process.wait(timeout=60)
            site.process = None
        assert {answer.status for answer in answers} == {200}
        assert all(answer.whole for answer in answers)
        yield read_trace(trace), upstream.port, [request["id"] for request in upstream.seen()]


def traced_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def call(site: Installation) -> list:
    def question(number: int) -> dict:
        messages = [{"role": "user", "content": f"question {number}"}]
        return {"model": "record", "messages": messages, "stream": number % 2 == 1}

    answers = [await ask(site.gateway_port, site.key, question(n)) for n in range(ONE_AFTER_ANOTHER)]
    together = (ask(site.gateway_port, site.key, question(n)) for n in range(TOGETHER))
    return answers + await asyncio.gather(*together)


LINE = re.compile(
    r"(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>(?P<rest>.*)|(?P<name>\w+)\((?P<text>.*))", re.DOTALL
)
RESULT = re.compile(r"\) += (-?\w+)[^)\"]*$")


def read_trace(path) -> list[Call]:
    calls: list[Call] = []
    under_way: dict[str, Call] = {}
    for place, line in enumerate(path.read_text(errors="replace").splitlines()):
        match = LINE.match(line)
        if match is None:
            continue  # a signal, an exit
        pid = match["pid"]
        if match["resumed"]:
            call = under_way.pop(pid)
            call.text += match["rest"]
        else:
            call = Call(match["name"], match["text"], place)
            calls.append(call)
        if call.text.endswith("<unfinished ...>"):
            under_way[pid] = call
            continue
        call.ended = place
        found = RESULT.search(call.text)
        call.result = found[1] if found else ""
    return calls


def path_of(call: Call) -> str:
    """The file behind the call's first argument."""
    match = re.match(r"\d+<([^>]*)>", call.text)
    return match[1] if match else ""


@dataclass
class Requests:
    """What the trace shows of each request id: places of its decision's durability, and of its first byte out."""

    written: dict[str, tuple[str, int]] = field(default_factory=dict)  # file, place after the write
    durable: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)


def follow(calls: list[Call], port: int, ids: list[str]) -> Requests:
    found = Requests()
    to_upstream = re.compile(rf"\d+<TCP(?:v6)?:\[[^>]*->[^>]*:{port}\]>")
    for call in calls:
        if call.name not in WRITES:
            continue
        if to_upstream.match(call.text):
            for identifier in ids:
                if identifier in call.text:
                    found.sent.setdefault(identifier, call.began)
        elif "/ledger/wal/" in path_of(call) and call.name.startswith(("pwrite", "write")):
            for identifier in ids:
                # The trace shows an entry's quotes with a backslash before them.
                pattern = rf'\\"kind\\":\\"decision\\",\\"request\\":\\"{identifier}\\"'
                if identifier not in found.written and re.search(pattern, call.text):
                    assert int(call.result) > 0
                    found.written[identifier] = (path_of(call), call.ended)
    for identifier, (path, place) in found.written.items():
        for call in calls:
            synced = call.name in ("fdatasync", "fsync") and path_of(call) == path and call.result == "0"
            if synced and call.began > place:
                found.durable[identifier] = min(found.durable.get(identifier, call.ended), call.ended)
    return found


def test_the_trace_can_show_what_it_should(traced):
    """Bytes that leave by a way that is not traced would make the other tests pass for nothing."""
    calls, _, ids = traced
    assert len(set(ids)) == len(ids) == ONE_AFTER_ANOTHER + TOGETHER
    assert not [call for call in calls if call.name in ("io_uring_enter", "io_submit")]
    assert not [call for call in calls if '"...' in call.text], "bytes were cut off in the trace"


def test_every_decision_is_synced_before_the_first_byte_of_its_request_leaves(traced):
    calls, port, ids = traced
    found = follow(calls, port, ids)
    for identifier in ids:
        assert identifier in found.sent, "the upstream saw what the trace does not show"
        assert identifier in found.written, f"{identifier}: no decision was written"
        assert identifier in found.durable, f"{identifier}: its decision was never synced"
        assert found.durable[identifier] < found.sent[identifier], f"{identifier}: sent before it was durable"


def test_not_even_a_connection_is_opened_before_the_decision_that_needs_it_is_synced(traced):
    calls, port, ids = traced
    durable = sorted(follow(calls, port, ids).durable.values())
    connects = sorted(call.began for call in calls if call.name == "connect" and f"htons({port})" in call.text)
    assert connects
    for number, place in enumerate(connects, 1):
        assert sum(1 for when in durable if when < place) >= number, "a connection without a durable decision"
