"""Whether content may be kept: only where a permit says so by name, for as long as the shortest says, and no forbid."""

import pytest

from sekisho.catalog.interfaces import PolicyText
from sekisho.policy.check import check_policies, compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.policy.interfaces import PrincipalInput, Retention
from support_decide import ANYWHERE, DIGEST, LABELS, catalogue, decision_input, declared, deployment

TOKYO = deployment("tokyo", processing=declared("JP"), storage=declared("JP"))
WORLD = deployment("world", processing=declared(*ANYWHERE), storage=declared("JP"))
OURS = 'permit (principal in Organisation::"default", action == Action::"retain", resource);'


def rule(identifier, text, days=None):
    retain = "" if days is None else f'@retain_days("{days}") '
    return f'@id("{identifier}") @title("t") @title_ja("題") {retain}{text}\n'


def decider(*texts):
    policies = tuple(PolicyText(f"policies/{number}.cedar", text) for number, text in enumerate(texts))
    parts = compile_policies(catalogue(TOKYO, WORLD), policies, LABELS)
    return CedarDecider(parts, snapshot=DIGEST, epoch_from=0)


def retained(found, deployment="tokyo", labels=(), **changes):
    return found.retention(decision_input(**changes), deployment, labels)


def index(found, identifier):
    return next(number for number, title in enumerate(found.policies) if title.id == identifier)


def test_by_default_nothing_is_kept():
    found = decider()
    assert not found.retains
    assert retained(found) is None


def test_a_permit_that_names_it_keeps_for_its_days():
    found = decider(rule("keep", OURS, 30))
    assert found.retains
    assert retained(found) == Retention(30, (index(found, "keep"),))
    assert found.policies[index(found, "keep")].retain_days == 30


def test_a_permit_of_everything_keeps_nothing():
    wide = rule("wide", "permit (principal, action, resource);")
    assert retained(decider(wide)) is None
    found = decider(wide, rule("keep", OURS, 30))
    other = PrincipalInput("key-2", "other", ("caller",))
    assert retained(found, principal=other) is None
    assert retained(found) == Retention(30, (index(found, "keep"),))


def test_of_two_permits_the_shorter_counts():
    found = decider(rule("long", OURS, 90), rule("short", OURS, 7))
    assert retained(found) == Retention(7, (index(found, "long"), index(found, "short")))


def test_a_forbid_wins():
    no_numbers = 'forbid (principal, action == Action::"retain", resource)'
    found = decider(
        rule("keep", OURS, 30),
        rule("no-numbers", no_numbers + ' when { context.labels.contains(Label::"jp.my_number") };'),
    )
    assert retained(found, labels=("jp.my_number",)) is None
    assert retained(found).days == 30


def test_what_may_not_be_sent_there_is_not_kept_either():
    """The packs' forbids name no action: they hold for keeping as well."""
    found = decider(rule("keep", OURS, 30))
    assert retained(found, "world") is None
    assert retained(found, residency=()) is None
    assert retained(found, "nowhere") is None


def test_keeping_changes_no_decision():
    kept, plain = decider(rule("keep", OURS, 30)), decider()
    for value in (decision_input(), decision_input(residency=ANYWHERE, labels_raw=("jp.my_number",))):
        assert kept.decide(value).candidates_bytes == plain.decide(value).candidates_bytes


def test_answers_are_remembered_within_bounds(monkeypatch):
    monkeypatch.setattr("sekisho.policy.engine.RETENTIONS_MAX", 2)
    found = decider(rule("keep", OURS, 30))
    for number in range(4):
        assert retained(found, principal=PrincipalInput(f"key-{number}", "default", ("caller",))).days == 30
    assert len(found._retentions) == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (rule("keep", OURS), "without an end"),
        (rule("keep", "permit (principal, action, resource);", 30), "does not name the action retain"),
        (rule("keep", 'forbid (principal, action == Action::"retain", resource);', 30), "is a forbid"),
        (rule("keep", OURS, 0), "unusable @retain_days"),
        (rule("keep", OURS, 3651), "unusable @retain_days"),
        (rule("keep", OURS, "a month"), "unusable @retain_days"),
        (rule("keep", OURS.replace("retain", "retian"), 3), "retian"),
    ],
)
def test_mistakes_are_told(text, says):
    checked = check_policies(catalogue(TOKYO), (PolicyText("policies/own.cedar", text),), LABELS)
    assert any(says in mistake.problem for mistake in checked.mistakes), checked.mistakes
