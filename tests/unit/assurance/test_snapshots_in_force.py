"""Which snapshot was in force when, with many activations and many decisions that don't fit."""

import pytest

from sekisho.assurance import snapshots_in_force
from sekisho.assurance.snapshots_in_force import TAKEN_OVER_US, SnapshotsInForce
from sekisho.ledger.findings import Findings

MINUTE_US = 60_000_000


def digest(number):
    return f"{number:064x}"


def activate(watched, number, at):
    body = {"act": "snapshot.activate", "before": digest(number - 1), "snapshot": digest(number)}
    watched.see_act({"at": at, "body": body})


def decide(watched, number, at, leaf=0):
    watched.see_first_attempt(leaf, {"at": at, "id": f"i-{leaf}", "request": f"r-{leaf}"}, digest(number), at)


@pytest.fixture
def findings():
    return Findings()


def test_an_activation_may_stand_behind_the_decisions_under_it(findings):
    watched = SnapshotsInForce(findings)
    activate(watched, 1, 0)
    decide(watched, 2, 10 * MINUTE_US)
    activate(watched, 2, 9 * MINUTE_US)
    watched.finish()
    assert findings.kept == []
    assert watched.at(0) == (digest(0), digest(1))


def test_of_more_than_can_wait_none_is_passed_over(findings, monkeypatch):
    """Whoever floods the log with decisions under old rules hides none of them."""
    monkeypatch.setattr(snapshots_in_force, "WAITING_MAX", 3)
    watched = SnapshotsInForce(findings)
    activate(watched, 1, 0)
    for leaf in range(10):
        decide(watched, 0, 10 * MINUTE_US, leaf)
    watched.finish()
    assert [one.index for one in findings.kept] == list(range(10))


def test_the_oldest_activations_are_forgotten_and_the_time_before_is_not_told_of(findings, monkeypatch):
    monkeypatch.setattr(snapshots_in_force, "ACTIVATIONS_MAX", 8)
    watched = SnapshotsInForce(findings)
    activate(watched, 1, 0)
    decide(watched, 0, TAKEN_OVER_US + 1)
    for number in range(2, 100):
        activate(watched, number, number * MINUTE_US)
        assert len(watched._times) == len(watched._digests) <= 8
    decide(watched, 99, 200 * MINUTE_US, 1)
    decide(watched, 98, 200 * MINUTE_US, 2)
    watched.finish()
    assert [one.index for one in findings.kept] == [0, 2]  # the first was told before it was forgotten
    assert watched.at(MINUTE_US) == ()
    assert watched.at(99 * MINUTE_US) == (digest(98), digest(99))


def test_texts_that_are_no_digests_are_not_kept_whole(findings):
    watched = SnapshotsInForce(findings)
    watched.see_act({"at": 0, "body": {"act": "snapshot.activate", "before": "y" * 60_000, "snapshot": "x" * 60_000}})
    assert watched.at(0) == ("y" * 64, "x" * 64)
