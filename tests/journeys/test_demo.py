"""`sekisho demo`: the story holds in both languages, says so when it doesn't, and leaves nothing behind."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from journeys.installation import ENVIRONMENT, SEKISHO, until


@pytest.fixture
def start(tmp_path):
    """Start a demonstration; its temporary files are in `tmp_path`/tmp."""
    (tmp_path / "tmp").mkdir()
    started = []

    def start(*arguments: str, output: str = "output", **environment: str) -> subprocess.Popen:
        file = (tmp_path / output).open("wb")
        process = subprocess.Popen(
            [*SEKISHO, "demo", *arguments],
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            env={**ENVIRONMENT, "TMPDIR": str(tmp_path / "tmp"), **environment},
            start_new_session=True,
        )
        file.close()
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.wait(60)


def children(process: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def ended(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(
    ("language", "title", "last"),
    [
        ("en", "Sekisho 関所: a governed request", "Every step held."),
        pytest.param("ja", "統制された", "すべての手順が成り立ちました。", marks=pytest.mark.long),
    ],
)
def test_the_story_holds(start, tmp_path, language, title, last):
    process = start("--once", "--language", language)
    code = process.wait(120)
    text = (tmp_path / "output").read_text()
    assert code == 0, text
    assert title in text.splitlines()[1]
    assert text.rstrip().endswith(last)
    assert "{" not in text
    for step in range(1, 9):
        assert f"\n{step}. " in text
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.long
def test_two_at_the_same_time(start, tmp_path):
    """Both find the usual ports free; the one that comes second takes others."""
    both = [start("--once", "--language", "en", output=f"output-{number}") for number in range(2)]
    for number, process in enumerate(both):
        code = process.wait(120)
        text = (tmp_path / f"output-{number}").read_text()
        assert code == 0, text
        assert text.count("1. An installation was made") == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_without_the_client_it_says_what_to_install(start, tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "openai.py").write_text('raise ModuleNotFoundError("No module named openai")\n')
    process = start("--once", PYTHONPATH=f"{tmp_path / 'hidden'}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}")
    assert process.wait(60) == 1
    assert "pip install openai" in (tmp_path / "output").read_text()


def test_a_step_that_does_not_hold_is_a_failure(start, tmp_path):
    """Its installation dies before it is ready."""
    process = start("--once", "--language", "en")
    installation = until(lambda: children(process.pid), 60, "its installation's start")[0]
    os.kill(installation, signal.SIGKILL)
    code = process.wait(120)
    text = (tmp_path / "output").read_text()
    assert code == 1, text
    assert "did not come up" in text
    assert "Every step held" not in text
    assert "Traceback" not in text
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_stopping_it_removes_its_files_and_ends_its_processes(start, tmp_path, number):
    process = start("--language", "en")
    output = tmp_path / "output"
    until(lambda: "Ctrl-C ends the demonstration" in output.read_text() or process.poll() is not None, 120)
    assert process.poll() is None, output.read_text()
    installation = children(process.pid)
    below = [child for parent in installation for child in children(parent)]
    assert len(below) == 4
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does it: to all in the foreground
    else:
        process.send_signal(number)
    assert process.wait(60) == 0, output.read_text()
    assert "Traceback" not in output.read_text()
    assert list((tmp_path / "tmp").iterdir()) == []
    assert all(map(ended, [*installation, *below]))
