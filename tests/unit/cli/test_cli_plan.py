"""`sekisho plan` and `sekisho shadow`: what is asked for, and exit codes; what they say of traffic is a journey's."""

import json
import shutil
import time
from datetime import datetime, timedelta, timezone

import pytest

from sekisho.app.installation import Listen, create_installation
from sekisho.assurance.plan import Plan
from sekisho.cli.main import main
from sekisho.cli.plan import EXIT_EXCEEDED, EXIT_PLANNED, exit_status, window_of
from sekisho.kernel.errors import UsageError

NOON_US = int(datetime(2026, 11, 25, 3, 0, tzinfo=timezone.utc).timestamp()) * 1_000_000  # noqa: UP017


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """Made once, because policies take a second to compile."""
    root = tmp_path_factory.mktemp("installation") / "site"
    create_installation(root, Listen())
    return root


@pytest.fixture
def installation(template, tmp_path):
    return shutil.copytree(template, tmp_path / "site")


@pytest.fixture
def tokyo(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield timezone(timedelta(hours=9))
    monkeypatch.undo()
    time.tzset()


def times(window, zone):
    return [datetime.fromtimestamp(at / 1_000_000, zone).isoformat() for at in window]


def test_days_are_those_of_the_machine(tokyo):
    yesterday = window_of(None, None, NOON_US)
    assert times(yesterday, tokyo) == ["2026-11-24T00:00:00+09:00", "2026-11-25T00:00:00+09:00"]
    since = window_of("2026-11-20", None, NOON_US)
    assert times(since, tokyo) == ["2026-11-20T00:00:00+09:00", "2026-11-25T12:00:00+09:00"]
    exact = window_of("2026-11-20T09:00:00Z", "2026-11-20T19:00:00+09:00", NOON_US)
    assert times(exact, tokyo) == ["2026-11-20T18:00:00+09:00", "2026-11-20T19:00:00+09:00"]


@pytest.mark.parametrize(
    "words", [("soon", None), ("2026-11-25", "2026-11-24"), (None, "2026-11-24"), ("0001-01-01", None)]
)
def test_times_that_are_none_are_refused(tokyo, words):
    with pytest.raises(UsageError):
        window_of(*words, NOON_US)


def test_a_bound_is_exceeded_by_one_more_and_not_by_as_many():
    class Planned:
        plan = Plan(newly_denied=2)

    assert exit_status(Planned, None, None) == EXIT_PLANNED
    assert exit_status(Planned, 2, 0) == EXIT_PLANNED
    assert exit_status(Planned, 1, None) == EXIT_EXCEEDED
    Planned.plan.unreadable = 1  # who knows what becomes of it
    assert exit_status(Planned, None, None) == EXIT_PLANNED
    assert exit_status(Planned, 2, None) == exit_status(Planned, None, 0) == EXIT_EXCEEDED
    assert exit_status(Planned, 3, 1) == EXIT_PLANNED


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--declarations", "{site}/nowhere"), 2, "is no directory of declarations"),
        (("--without", "local"), 2, "Write provider:NAME"),
        (("--without", "provider:local"), 0, ""),
        (("--without", "site:nowhere"), 2, "There is: local"),
        (("--from", "{site}/none", "--format", "jsonl"), 1, "No such file"),
        (("--from", "{site}/none"), 2, "not said which gateway"),
        (("--from", "{site}/none", "--format", "jsonl", "--without", "provider:local"), 2, "whole file"),
        (("--format", "jsonl"), 2, "Add --from FILE"),
        (("--from-time", "soon"), 2, "is no time"),
    ],
)
def test_plan_exits_with(template, capsys, words, code, says):
    assert main(["plan", str(template), *(word.format(site=template) for word in words)]) == code
    assert says in capsys.readouterr().err


def test_a_plan_of_nothing_says_so_and_changes_nothing(template, capsys):
    before = sorted(path for path in template.rglob("*"))
    assert main(["plan", str(template), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["format"], said["requests"], said["differences"]) == ("sekisho.plan/1", 0, [])
    assert said["in_force"] == said["proposed"]
    assert sorted(path for path in template.rglob("*")) == before


def test_mistakes_are_named_and_fail(installation, capsys):
    (installation / "declarations" / "boundary.toml").write_text("nonsense")
    for words in (("plan", installation), ("shadow", installation, "--declarations", installation / "declarations")):
        assert main([str(word) for word in words]) == 1
        assert "boundary.toml" in capsys.readouterr().err


def test_a_shadow_is_set_shown_and_ended(installation, capsys):
    tree = str(installation / "declarations")
    for words, code, says in [
        ((), 0, "No shadow is set"),
        (("off",), 0, "No shadow is set"),
        (("--declarations", tree), 0, "It decides nothing"),
        (("status",), 0, "control has not taken it up yet"),
        (("off", "--declarations", tree), 2, ""),
        (("off",), 0, "has ended"),
        (("status",), 0, "No shadow is set"),
        (("--declarations", tree + "/none"), 2, ""),
    ]:
        assert main(["shadow", str(installation), *words, "--language", "en"]) == code
        assert says in capsys.readouterr().out


def replayed(installation, capsys, tmp_path, rows, *words):
    """What `plan --from` says of rows of our own, each named by its number."""
    log = tmp_path / "log.jsonl"
    common = {"model": "manual", "organisation": "default"}
    log.write_text("".join(json.dumps({"request": f"r{n}"} | common | row) + "\n" for n, row in enumerate(rows)))
    assert main(["plan", str(installation), "--from", str(log), "--format", "jsonl", *words]) == 0
    printed = capsys.readouterr()
    assert "BEGIN" not in printed.out + printed.err
    return printed.out


def test_requests_of_another_gateway_meet_what_they_would_have_met_here(template, capsys, tmp_path):
    key = "-----BEGIN PRIVATE KEY-----"
    cases = [
        ({"text": "hello"}, "raw"),
        ({"text": key}, "redacted"),
        ({"text": key, "labels": ["secret.api_key"]}, "denied"),  # nobody knows where that is
        ({"text": key, "labels": ["egress.tool"]}, "denied"),
        ({"labels": ["secret.api_key"]}, "denied"),
        ({"labels": ["secret.api_key"], "redactable": True}, "redacted"),
        ({"labels": ["secret.api_key", "egress.tool"], "redactable": True}, "denied"),
        ({"labels": []}, "raw"),
        ({}, "raw"),
        ({"residency": "US"}, "denied"),
        ({"model": "nothing"}, "no_model"),
        ({"roles": ["auditor"]}, "denied"),
    ]
    before = sorted((path, path.stat().st_mtime_ns) for path in template.rglob("*"))
    said = json.loads(replayed(template, capsys, tmp_path, [row for row, _ in cases], "--json"))
    met = dict.fromkeys((f"r{number}" for number in range(len(cases))), "raw")
    met |= {one["request"]: one["after"] for one in said["listed"]}
    assert met == {f"r{number}": after for number, (_, after) in enumerate(cases)}
    assert (said["requests"], said["unreadable"], said["without_content"]) == (len(cases), 0, 4)
    assert sorted((path, path.stat().st_mtime_ns) for path in template.rglob("*")) == before


def test_what_is_not_declared_here_is_a_problem_of_the_mapping(template, capsys, tmp_path):
    cases = [
        ({"organisation": "bank"}, "organisation 'bank' is not declared. Map it to one of: default"),
        ({"labels": ["jp.nothing"]}, "the label 'jp.nothing' is not known"),
        ({"class": "secret"}, "is not a class of this boundary"),
        ({"residency": "XX"}, "is not a jurisdiction of this boundary"),
    ]
    text = replayed(template, capsys, tmp_path, [row for row, _ in cases], "--language", "en")
    assert f"could not be read: {len(cases)}" in text
    for number, (_, says) in enumerate(cases):
        assert says in next(line for line in text.splitlines() if f"request r{number}:" in line)
