"""The compliance view: what each policy did to each deployment, and the decisions behind each number."""

import json
from collections import Counter

import msgspec
import pytest

from audited_log import FARAWAY, START_US, TOKYO, AuditedLog, ready
from sekisho.app.compliance import ComplianceAsked, cell, compliance_of
from sekisho.assurance import compliance
from sekisho.assurance.compliance import DEFAULT, UNDECIDED, Cell, Compliance, Fate, Span
from sekisho.assurance.rulebook import RuleBook
from sekisho.cli import compliance as command
from sekisho.kernel.errors import UsageError
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.log_files import LogFiles
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
    assert found["rows_left_out"] > 0


def test_decisions_of_a_snapshot_that_is_gone_are_counted_as_recorded_and_told(log):
    log.request(data_class="public")
    gone = log.snapshot.digest
    log.store.activate(log.install(catalogue(TOKYO)))
    (log.root / "snapshots" / f"{gone}.json").unlink()
    found = view(log)
    assert found["snapshots_missing"] == 1
    assert rows(found)[PROCESSING, "faraway"] == [0, 1, 0, 0]
    assert rows(found)[PROCESSING, "nowhere"] == [0, 1, 0, 0]  # that a fact was unknown, only the snapshot tells


def test_the_counts_agree_with_counting_verdict_by_verdict(tmp_path):
    """Against the plain way: each envelope, each candidate, each reason."""
    log = ready(tmp_path / "site", 120)
    log.publish()
    counted = Counter()
    forbids = [one.id for one in log.snapshot.decider.policies if one.effect == "forbid"]
    files = LogFiles(log.ledger)
    for _, entries in files.entries(0, read_checkpoint(files.checkpoint()).size):
        for entry in map(json.loads, entries):
            body = entry["body"]
            if entry["kind"] != "decision" or body["attempt"] != 1:
                continue
            for group in body["candidates"]:
                names = [body["policies"][str(index)] for index in group["reasons"]]
                for name in group["deployments"]:
                    fate = Fate.PERMITTED if group["permitted"] else Fate.DENIED
                    counted.update((policy, name, fate) for policy in names)
                    counted.update((policy, name, fate) for policy in forbids if group["permitted"])
    found = rows(compliance_of(DataDirectory(log.root), ComplianceAsked()))
    assert {(*key, fate): n for key, row in found.items() for fate, n in zip(Fate, row, strict=True) if n} == counted


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


def test_a_decision_that_is_none_stops_the_view_with_its_place(log):
    view_ = Compliance(RuleBook(log.store, CedarDecider), listed=Cell("p", "d", Fate.DENIED))
    with pytest.raises(KeyError):
        view_.see(0, {"kind": "decision", "at": 1, "body": {}})
