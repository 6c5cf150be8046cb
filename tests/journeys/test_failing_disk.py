"""A ledger's disk that fails: an error of a write or a sync ends the worker before anything leaves; a new one serves.

Nobody goes on after such an error: what the kernel holds then is unknown (ARCHITECTURE.md, "The ledger").
"""

import asyncio
import contextlib
import re
import subprocess
from pathlib import Path

import pytest

from journeys.callers import Answer, ask
from journeys.installation import Installation, free_port, until
from journeys.published_log import require_log_holds, require_well_formed
from journeys.recording_upstream import RecordingUpstream
from journeys.test_order_of_syscalls import strace_unusable
from sekisho.ledger.writer import WRITE_AHEAD_FAILED

CALLERS = 6
FAILURES = ("fdatasync", "pwrite64")


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    with RecordingUpstream(free_port(), tmp_path_factory.mktemp("upstream") / "seen") as upstream:
        yield upstream


@pytest.fixture(scope="module")
def site(tmp_path_factory, upstream):
    if reason := strace_unusable():
        pytest.skip(reason)
    with Installation(tmp_path_factory.mktemp("failing") / "site") as site:
        site.deployment("record", upstream.port)
        site.apply()
        site.start()
        yield site


@pytest.fixture(scope="module")
def failed():
    """(the writer that failed, ids of the requests that the upstream saw meanwhile), once for each failure."""
    return []


async def question(site: Installation, stream: bool) -> Answer | None:
    """An answer, or None if the connection was cut."""
    document = {"model": "record", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    try:
        return await ask(site.gateway_port, site.key, document)
    except (OSError, EOFError):
        return None


async def questions(site: Installation) -> list[Answer | None]:
    return await asyncio.gather(*(question(site, stream=number % 2 == 1) for number in range(CALLERS)))


@contextlib.contextmanager
def failing(process: int, call: str):
    """Each `call` of the process fails with EIO from here on."""
    tasks = [int(path.name) for path in Path(f"/proc/{process}/task").iterdir()]
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error=EIO"]
    command = ["strace", "-f", "-p", str(process), "-o", "/dev/null", *inject]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as strace:
        try:
            until(lambda: all(traced(process, task) for task in tasks), what="strace")
            yield
        finally:
            strace.terminate()


def traced(process: int, task: int) -> bool:
    return "TracerPid:\t0\n" not in Path(f"/proc/{process}/task/{task}/status").read_text()


@pytest.mark.parametrize("call", FAILURES)
def test_an_input_output_error_ends_the_worker_and_nothing_leaves(site, upstream, failed, call):
    assert all(answer.status == 200 and answer.whole for answer in asyncio.run(questions(site)))
    before, told, gateway = len(upstream.seen()), site.log.stat().st_size, site.children()["gateway"]
    writer = re.findall(r"writing (w-\S+)", site.log.read_text())[-1]
    with failing(gateway, call):
        answers = asyncio.run(questions(site))
        until(lambda: site.children().get("gateway", gateway) != gateway, what="another worker")
    # Those that it had accepted were cut off; those that waited were served by the new one.
    assert None in answers
    assert {answer.status for answer in answers if answer is not None} <= {200}
    failed.append((writer, [request["id"] for request in upstream.seen()[before:]]))
    site.await_ready()
    said = site.log.read_text()[told:]
    assert f"{WRITE_AHEAD_FAILED}" in said
    assert "Input/output error" in said
    assert "Traceback" not in said
    assert all(answer.status == 200 and answer.whole for answer in asyncio.run(questions(site)))


def test_what_left_has_its_decision_and_what_was_open_is_interrupted(site, upstream, failed):
    assert site.stop() == 0
    evidence = require_well_formed(require_log_holds(site.root))
    for request in upstream.seen():
        (decision,) = evidence.decisions[request["id"]]
        assert evidence.outcomes[decision["id"]]["body"]["ended"] == "complete"
    assert len(failed) == len(FAILURES)
    for writer, ids in failed:
        assert {evidence.decisions[identifier][0]["writer"] for identifier in ids}.isdisjoint({writer})
    ended = {outcome["body"]["ended"] for outcome in evidence.outcomes.values()}
    assert ended <= {"complete", "interrupted", "caller_left", "not_sent"}
