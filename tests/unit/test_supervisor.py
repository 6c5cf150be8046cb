"""Keeping child processes alive and stopping them in order. No network: the children are small programs."""

import io
import os
import signal
import sys
from pathlib import Path

import pytest

from sekisho import supervisor
from sekisho.kernel.errors import SekishoError
from sekisho.supervisor import Child, Supervisor, bind

# Notes its start, then, told to stop, its name; ends as well when standard input does.
PROGRAM = """
import os, signal, sys
name, path = sys.argv[1:]
def note(word):
    with open(path, "a") as file:
        file.write(f"{word} {name}\\n")
def stop(*_):
    note("stop")
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
note("start")
sys.stdin.read()
"""


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes"
    path.touch()
    return path


def child(name, notes, order=0, program=PROGRAM):
    return Child(name, ["-c", program, name, str(notes)], stop_order=order, stop_bound_s=20)


def run(children, each_poll):
    """`each_poll` returns True when it is time to stop."""

    def poll():
        if each_poll():
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    Supervisor(children).run(poll)
    assert signal.getsignal(signal.SIGTERM) == before
    assert all(child.process is None or child.process.returncode is not None for child in children)


def test_children_stop_in_their_order(notes):
    children = [child("last", notes, 2), child("first", notes, 0), child("second", notes, 1)]
    run(children, lambda: notes.read_text().count("start") == 3)
    stops = [line.split()[1] for line in notes.read_text().splitlines() if line.startswith("stop")]
    assert stops == ["first", "second", "last"]


def test_what_ends_is_started_again(notes):
    kept = child("kept", notes)
    killed = []

    def each_poll():
        starts = notes.read_text().count("start")
        if starts == 1 and not killed:
            killed.append(kept.process.pid)
            kept.process.kill()
        return starts == 2

    run([kept], each_poll)
    assert kept.process.pid not in killed


# Not ready to hear a hangup until one waits: as while Python is loading what it runs.
LOADING = PROGRAM.replace(
    "sys.stdin.read()",
    """
import asyncio, time
from sekisho.app.process import on_hangup
while signal.SIGHUP not in signal.sigpending():
    time.sleep(0.01)
async def main():
    heard = asyncio.Event()
    on_hangup(heard.set)
    await heard.wait()
    note("heard")
    await asyncio.Event().wait()
asyncio.run(main())
""",
)


def test_a_hangup_waits_for_a_child_that_is_still_being_loaded(notes, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())  # no terminal, whose hangup would be an end
    monkeypatch.setenv("PYTHONPATH", str(Path(supervisor.__file__).parents[1]))
    loading = child("loading", notes, program=LOADING)
    loading.hears_hangup = True
    starts = []

    def each_poll():
        said = notes.read_text()
        if said.count("start") > len(starts):
            starts.append(loading.process.pid)
            os.kill(os.getpid(), signal.SIGHUP)
        return "heard" in said or len(starts) > 1

    run([loading], each_poll)
    assert "heard" in notes.read_text()
    assert len(starts) == 1
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_hangup_is_the_end_where_standard_error_is_a_terminal(notes, monkeypatch):
    screen, terminal = os.openpty()
    with open(screen, "rb"), open(terminal, "w") as shown:
        monkeypatch.setattr(sys, "stderr", shown)
        kept = child("kept", notes)

        def each_poll():
            if "start" in notes.read_text():
                os.kill(os.getpid(), signal.SIGHUP)

        Supervisor([kept]).run(each_poll)
    assert "stop kept" in notes.read_text()


def test_back_off_grows_with_each_failure_and_has_a_bound(notes, caplog):
    failing = child("failing", notes, program="raise SystemExit(3)")
    subject = Supervisor([failing])
    waits = []
    for _ in range(9):
        failing.start_at = 0.0
        subject._keep(failing)
        failing.process.wait()
        subject._keep(failing)
        waits.append(failing.start_at - failing.started_at)
        assert failing.process is None
    assert waits[1] > waits[0]
    assert max(waits) < supervisor._BACKOFF_S_MAX + 60
    assert "exit code 3" in caplog.text
    assert "10.0 s" in caplog.text


def test_a_child_that_does_not_stop_is_killed(notes, monkeypatch):
    monkeypatch.setattr(supervisor, "_STOP_MARGIN_S", 0.1)
    deaf = child("deaf", notes, program=PROGRAM.replace("os._exit(0)", "pass"))
    deaf.stop_bound_s = 0.1
    run([deaf], lambda: "start" in notes.read_text())
    assert deaf.process.returncode == -signal.SIGKILL


def test_an_address_in_use_is_said_with_what_to_do():
    taken = bind("127.0.0.1", 0)
    with taken, pytest.raises(SekishoError, match="can't listen on") as raised:
        bind("127.0.0.1", taken.getsockname()[1])
    assert "listen" in raised.value.remedy


def test_the_interpreter_is_our_own(notes):
    own = child("own", notes, program="import os,sys; open(sys.argv[2],'a').write(sys.executable)")
    subject = Supervisor([own])
    subject._keep(own)
    own.process.wait()
    subject._keep(own)
    assert notes.read_text() == sys.executable
