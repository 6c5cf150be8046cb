"""The compliance view: what each policy did to each deployment, and the decisions behind each number."""

import shutil

import msgspec
import pytest

from audited_log import FARAWAY, START_US, TOKYO, AuditedLog, ready
from sekisho.app.compliance import ComplianceAsked, cell, compliance_of
from sekisho.assurance import compliance
from sekisho.assurance.compliance import DEFAULT, UNDECIDED, Cell, Compliance, Fate, Span
from sekisho.assurance.errors import DecisionUnreadable
from sekisho.assurance.rulebook import RuleBook
from sekisho.catalog.interfaces import PolicyText
from sekisho.cli import compliance as command
from sekisho.cli.main import main
from sekisho.kernel.errors import UsageError
from sekisho.policy.engine import CedarDecider
from sekisho.policy.interfaces import PrincipalInput
from sekisho.settings import DataDirectory
from support_decide import catalogue, deployment
from unit.assurance.test_exemption_audit import EXEMPTION

NOWHERE = deployment("nowhere")  # of which nobody knows anything


@pytest.fixture
def log(tmp_path):
    """One exemption, and a deployment of which no fact is known; the snapshot is in force."""
    declared = msgspec.structs.replace(catalogue(FARAWAY, NOWHERE, TOKYO), exemptions=(EXEMPTION,))
    log = AuditedLog(tmp_path / "site", declared)
    log.store.activate(log.snapshot.digest)
    return log


def view(log, asked=ComplianceAsked()):  # noqa: B008 - a frozen value
    log.publish()
    return compliance_of(DataDirectory(log.root), asked)


def rows(found):
    return {(row["policy"], row["deployment"]): [row[str(fate)] for fate in Fate] for row in found["rows"]}


PROCESSING, STORAGE, CALLERS = "jp-residency.processing", "jp-residency.storage", "jp-residency.callers"


def test_each_fate_is_counted_under_its_policy_and_deployment(log):
    log.request()  # tokyo permitted; faraway exempt; nowhere denied for want of facts
    log.request(data_class="public")  # faraway denied: the exemption is for another class
    log.request(principal=PrincipalInput("key-1", "default", ("guest",)))  # no policy permits it to go to tokyo
    log.request(residency=())  # could not be decided
    found = view(log)
    counts = rows(found)
    assert counts[PROCESSING, "tokyo"] == [2, 0, 0, 0]
    assert counts[PROCESSING, "faraway"] == [0, 2, 1, 0]
    assert counts[PROCESSING, "nowhere"] == [0, 0, 0, 3]
    assert counts[STORAGE, "faraway"] == [1, 0, 0, 0]
    assert counts[CALLERS, "tokyo"] == [2, 0, 0, 0]
    assert counts[DEFAULT, "tokyo"] == [0, 1, 0, 0]
    assert {policy for policy, _ in counts if policy == UNDECIDED} == {UNDECIDED}
    assert counts[UNDECIDED, "nowhere"] == [0, 1, 0, 0]
    assert (found["decisions"], found["sent"], found["denied"], found["exempt"]) == (4, 2, 2, 1)
    titles = {row["policy"]: (row["title"], row["title_ja"], row["effect"]) for row in found["rows"]}
    assert "outside the jurisdictions" in titles[PROCESSING][0]
    assert titles[CALLERS][2] == "permit"
    assert titles[DEFAULT] == ("No policy permits it", "許可する規則がない", None)


def test_a_retried_request_is_decided_once(log):
    log.request(failures=2)
    assert view(log)["decisions"] == 1


def test_the_span_bounds_the_times_of_decisions(log):
    log.request()
    log.clock.time_us = START_US + 1_000_000
    log.request()
    since = ComplianceAsked(Span(START_US + 1_000_000, None))
    until = ComplianceAsked(Span(None, START_US + 1_000_000))
    assert (view(log, since)["decisions"], view(log, until)["decisions"], view(log)["decisions"]) == (1, 1, 2)


def test_the_entries_behind_a_count_are_paged(log):
    requests = [log.request() for _ in range(5)]
    log.request(data_class="public")
    seen, after = [], -1
    for size in (2, 2, 1):
        page = view(log, ComplianceAsked(listed=cell(PROCESSING, "faraway", "exempt"), after=after, limit=2))
        assert len(page["entries"]) == size
        seen += [entry["request"] for entry in page["entries"]]
        after = page["next"]
    assert after is None
    assert seen == requests
    assert page["entries"][0]["organisation"] == "default"


def test_every_count_has_as_many_entries_behind_it(tmp_path):
    log = ready(tmp_path / "site", 80)
    found = view(log)
    assert found["rows"]
    for row in found["rows"]:
        for fate in Fate:
            listed = cell(row["policy"], row["deployment"], str(fate))
            page = view(log, ComplianceAsked(listed=listed, limit=1_000))
            # A request may meet a policy twice: as it is, and masked.
            assert bool(page["entries"]) == bool(row[str(fate)])
            assert len(page["entries"]) <= row[str(fate)] <= 2 * len(page["entries"])


def test_a_small_memory_gives_the_same_view(tmp_path, monkeypatch):
    log = ready(tmp_path / "site", 80)
    whole = view(log)
    monkeypatch.setattr(compliance, "KINDS_MAX", 2)
    assert view(log) == whole


def test_rows_are_bounded_and_what_is_left_out_is_told(tmp_path, monkeypatch):
    log = ready(tmp_path / "site", 10)
    monkeypatch.setattr(compliance, "ROWS_MAX", 3)
    found = view(log)
    assert len(found["rows"]) == 3
    assert found["left_out"] > 0


def test_decisions_of_a_snapshot_that_is_gone_are_counted_as_recorded_and_told(log):
    log.request(data_class="public")
    gone = log.snapshot.digest
    log.store.activate(log.install(catalogue(TOKYO)))
    (log.root / "snapshots" / f"{gone}.json").unlink()
    found = view(log)
    assert found["snapshots_missing"] == 1
    assert rows(found)[PROCESSING, "faraway"] == [0, 1, 0, 0]
    assert rows(found)[PROCESSING, "nowhere"] == [0, 1, 0, 0]  # that a fact was unknown, only the snapshot tells


def test_a_cell_and_a_page_are_what_they_must_be(log):
    with pytest.raises(UsageError):
        cell("p", "d", "denid")
    with pytest.raises(UsageError):
        view(log, ComplianceAsked(limit=0))


def test_it_is_told_in_both_languages(log, capsys):
    log.request()
    found = view(log)
    english, japanese = command._table(found, 0), command._table(found, 1)
    assert "1 requests: 1 sent (1 exempt" in english
    assert "適用除外 1" in japanese
    assert "配備先" in japanese


GROUP = {"action": "sendRaw", "deployments": ["tokyo"], "errors": [], "permitted": False, "reasons": [0]}
BODY = {
    "attempt": 1,
    "candidates": [GROUP],
    "chosen": None,
    "input": {"epoch_from": 0, "principal": {"organisation": "default"}, "snapshot": "2" * 64},
    "policies": {"0": PROCESSING},
}


@pytest.mark.parametrize("listed", [None, Cell(PROCESSING, "tokyo", Fate.DENIED)])
@pytest.mark.parametrize(
    "change",
    [
        {"attempt": None, "input": 1},
        {"candidates": None},
        {"candidates": ["sendRaw"]},
        {"candidates": [GROUP | {"reasons": [7]}]},
        {"candidates": [GROUP | {"deployments": 7}]},
        {"candidates": [GROUP | {"deployments": [{"a": 1}]}]},
        {"chosen": {"action": "sendRaw", "deployment": "tokyo"}, "candidates": ["x"], "exemptions": {}},
        {"input": []},
        {"input": BODY["input"] | {"snapshot": 7, "epoch_from": "0"}},
        {"policies": {"0": ["p"]}},
        {"policies": 7},
    ],
)
def test_a_decision_that_is_none_stops_the_view_with_its_place(log, change, listed):
    """Whoever writes a log may write anything: what can't be counted is not left out of a number unseen."""

    def seen(body):
        view_ = Compliance(RuleBook(log.store, CedarDecider), listed=listed)
        view_.see(41, {"kind": "decision", "at": 1, "id": "i", "body": body})
        view_.finish()
        return view_

    assert seen(BODY).totals["decisions"] == (listed is None)
    body = {key: value for key, value in {**BODY, **change}.items() if value is not None or key == "chosen"}
    if listed is not None and "chosen" in change and "candidates" not in change:
        return  # what was chosen is not looked at
    with pytest.raises(DecisionUnreadable, match="entry 41"):
        seen(body)


def test_memory_follows_kinds_of_decision_and_their_size_and_not_the_log(log, monkeypatch):
    view_ = Compliance(RuleBook(log.store, CedarDecider))
    monkeypatch.setattr(compliance, "KINDS_BYTES_MAX", 10_000)
    sizes = []
    for leaf in range(2_000):
        named = {"0": f"p-{leaf % 100:03}"}
        view_.see(leaf, {"kind": "decision", "at": 1, "id": "i", "body": BODY | {"policies": named}})
        sizes.append(sum(map(len, view_._kinds)))
    view_.finish()
    assert 5_000 < max(sizes) < 10_500
    assert sum(row[Fate.DENIED] for row in view_.rows.values()) == 2_000


PERMIT = PolicyText(
    "policies/own.cedar", '@id("own.all") @title("All") @title_ja("全部") permit (principal, action, resource);'
)


def test_a_policy_that_is_not_in_force_any_more_keeps_its_title(log):
    log.request(data_class="public")
    log.store.activate(log.install(catalogue(TOKYO, packs=()), (PERMIT,)))
    found = view(log)
    (row,) = [one for one in found["rows"] if (one["policy"], one["deployment"]) == (PROCESSING, "faraway")]
    assert (row["effect"], row["in_force"]) == ("forbid", False)
    assert "outside the jurisdictions" in row["title"]


def test_the_view_says_up_to_when_it_counts(log):
    log.request()
    last = log.write(log.envelope("start", {}))["at"]
    assert view(log)["latest"] == last
    listed = ComplianceAsked(listed=cell(PROCESSING, "faraway", "exempt"))
    assert view(log, listed)["latest"] == last


def test_a_copy_of_ledger_and_snapshots_is_enough(log, tmp_path, capsys):
    """As somebody has it who keeps no installation."""
    log.request()
    log.publish()
    copy = tmp_path / "copy"
    for name in ("ledger", "snapshots"):
        shutil.copytree(log.root / name, copy / name)
    assert main(["compliance", str(copy), "--language", "en"]) == 0
    said = capsys.readouterr().out
    assert "1 requests: 1 sent (1 exempt" in said
    assert main(["compliance", str(tmp_path / "nothing")]) == 2
    assert "is no installation" in capsys.readouterr().err
