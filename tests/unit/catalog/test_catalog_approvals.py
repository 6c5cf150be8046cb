"""Which acts need approval, as declared."""

import pytest

from sekisho.catalog.approvals import VALID_HOURS_MAX, read_rules
from sekisho.catalog.interfaces import ApprovalRule
from sekisho.catalog.table import Table

GOOD = {"act": "stop.lift", "approvers": ["s-2", "s-1"], "needed": 2}


def read(*rules):
    mistakes = []
    table = Table({"rules": list(rules)} if rules else {}, "approvals.toml", mistakes)
    found = read_rules(table)
    table.finish()
    return found, mistakes


def test_a_rule_is_read_with_its_default():
    assert read(GOOD) == ((ApprovalRule(act="stop.lift", approvers=("s-1", "s-2"), needed=2, valid_hours=24),), [])


def test_no_file_is_no_rule():
    assert read() == ((), [])


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"act": "stop.lif"}, "act", "Did you mean 'stop.lift'?"),
        ({"act": None}, "act", "Name an act"),
        ({"approvers": []}, "approvers", "Give 1 to"),
        ({"approvers": ["s-1", "s-1"]}, "approvers", "Name each once"),
        ({"approvers": ["Yamada Taro"]}, "approvers", "Use 1 to 64"),
        ({"approvers": ["s-1."]}, "approvers", "ending with one too"),
        ({"approvers": [f"s-{n}" for n in range(33)]}, "approvers", "at most 32"),
        ({"needed": 3}, "needed", "Name more of them"),
        ({"needed": 0}, "needed", "Give a whole number from 1"),
        ({"needed": None}, "needed", "Say how many"),
        ({"valid_hours": VALID_HOURS_MAX + 1}, "valid_hours", "Give a whole number from 1 to 720"),
        ({"needs": 2}, "needs", "Did you mean 'needed'?"),
    ],
)
def test_mistakes_are_told_with_what_would_be_right(change, key, words):
    rule = {name: value for name, value in (GOOD | change).items() if value is not None}
    _, mistakes = read(rule)
    assert any(mistake.key == f"rules[0].{key}" and words in mistake.remedy for mistake in mistakes), mistakes


def test_an_act_has_one_rule():
    _, (mistake,) = read(GOOD, GOOD)
    assert mistake.key == "rules[1].act"


@pytest.mark.parametrize("rules", [{"act": "x"}, [1], [GOOD] * 9])
def test_what_is_no_list_of_rules_is_a_mistake(rules):
    mistakes = []
    assert read_rules(Table({"rules": rules}, "approvals.toml", mistakes)) == ()
    assert mistakes
