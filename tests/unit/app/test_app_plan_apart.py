"""Plans in a process of their own: what is handed over, one at a time, and how they end."""

import json
import os
import stat
import sys
import threading

import pytest

from sekisho.app import apart, plan_apart
from sekisho.app.plan_apart import PlansApart
from sekisho.console.errors import PlanRefused, TooMany
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory

ECHO = """
import json, os, pathlib, sys, time
for _ in range(1_000):  # it is made nice once it has begun
    if os.nice(0) >= 10:
        break
    time.sleep(0.01)
words = sys.argv[1:]
tree = next((pathlib.Path(one.partition("=")[2]) for one in words if one.startswith("--declarations=")), None)
files = {} if tree is None else {str(one.relative_to(tree)): one.read_text() for one in tree.rglob("*.*")}
mode = 0 if tree is None else tree.stat().st_mode
print(json.dumps({"words": words, "files": files, "mode": mode, "nice": os.nice(0)}))
"""


@pytest.fixture
def directory(tmp_path):
    return DataDirectory(tmp_path)


def program(tmp_path, text):
    path = tmp_path / "program.py"
    path.write_text(text)
    return (sys.executable, str(path))


def test_declarations_are_handed_over_as_a_tree_that_is_gone_afterwards(directory, tmp_path):
    plans = PlansApart(directory, program(tmp_path, ECHO))
    texts = {"boundary.toml": "home = 1\r\n", "policies/a/b.cedar": "permit (;"}
    told = plans(texts, ("--without=provider:x",))
    tree = f"--declarations={directory.run / 'plan'}"
    assert told["words"] == ["plan", str(tmp_path), "--json", "--quiet", tree, "--without=provider:x"]
    assert (told["files"], stat.S_IMODE(told["mode"])) == ({**texts, "boundary.toml": "home = 1\n"}, 0o700)
    assert told["nice"] >= apart.NICENESS
    assert list(directory.run.iterdir()) == []
    assert plans(None, ())["words"] == ["plan", str(tmp_path), "--json", "--quiet"]


def test_what_a_crash_has_left_is_not_planned_with(directory, tmp_path):
    (directory.run / "plan").mkdir(parents=True)
    (directory.run / "plan" / "old.toml").write_text("x")
    assert PlansApart(directory, program(tmp_path, ECHO))({"new.toml": "y"}, ())["files"] == {"new.toml": "y"}


@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a")])
def test_names_that_cannot_stand_beside_one_another_are_refused(directory, tmp_path, names):
    plans = PlansApart(directory, program(tmp_path, ECHO))
    with pytest.raises(PlanRefused, match="beneath a file"):
        plans(dict.fromkeys(names, ""), ())
    assert plans(None, ())["files"] == {}


@pytest.mark.parametrize(("ends", "error"), [("sys.exit(2)", PlanRefused), ("sys.exit(1)", SekishoError)])
def test_a_plan_that_fails_says_why(directory, tmp_path, ends, error):
    text = f"import sys; print('x\\nsekisho plan: the words', file=sys.stderr); {ends}"
    with pytest.raises(error, match="the words") as caught:
        PlansApart(directory, program(tmp_path, text))(None, ())
    assert "sekisho plan" not in str(caught.value)
    assert isinstance(caught.value, PlanRefused) == (error is PlanRefused)


def test_a_plan_that_is_killed_is_no_plan(directory, tmp_path):
    with pytest.raises(SekishoError, match="could not be made"):
        PlansApart(directory, program(tmp_path, "import os; os.kill(os.getpid(), 9)"))(None, ())


def test_mistakes_are_told_as_a_plan_is(directory, tmp_path):
    text = f"import sys; print({json.dumps(json.dumps({'mistakes': [1]}))}); sys.exit(1)"
    assert PlansApart(directory, program(tmp_path, text))(None, ()) == {"mistakes": [1]}


def test_one_at_a_time_and_control_waits_for_none(directory, tmp_path):
    fifo = tmp_path / "begun"
    os.mkfifo(fifo)
    plans = PlansApart(directory, program(tmp_path, f"open({str(fifo)!r}, 'w').close(); import time; time.sleep(600)"))
    raised = []

    def ask():
        with pytest.raises(SekishoError) as caught:
            plans({"a.toml": ""}, ())
        raised.append(str(caught.value))

    asking = threading.Thread(target=ask)
    asking.start()
    fifo.read_bytes()
    with pytest.raises(TooMany):
        plans(None, ())
    plans.close()
    asking.join()
    assert "control is ending" in raised[0]
    with pytest.raises(SekishoError, match="control is ending"):
        plans(None, ())
    assert list(directory.run.iterdir()) == []


def test_a_plan_that_takes_too_long_is_ended(directory, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_apart, "PLANNED_S_MAX", 0.01)
    with pytest.raises(SekishoError, match="took more than"):
        PlansApart(directory, program(tmp_path, "import time; time.sleep(600)"))(None, ())
