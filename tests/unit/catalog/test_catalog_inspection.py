"""The form of `[inspection]` in the boundary, and of `inspection/*.toml`."""

import pytest

from sekisho.catalog.inspection import EXAMPLES_MAX, OWN_RULES_MAX, read_rule, read_settings, rule_mistakes
from sekisho.catalog.interfaces import InspectionSettings
from sekisho.catalog.table import Table

RULE = {"label": "acme.x", "pattern": "X[0-9]", "must_match": ["X1"], "must_not_match": ["Y1"]}


def read(reader, values):
    mistakes = []
    table = Table(dict(values), "a.toml", mistakes)
    value = reader(table)
    table.finish()
    return value, [mistake.key for mistake in mistakes]


@pytest.mark.parametrize(
    ("values", "settings", "keys"),
    [
        ({}, InspectionSettings(None, False), []),
        ({"profiles": []}, InspectionSettings((), False), []),
        ({"profiles": ["jp"], "person_names": True}, InspectionSettings(("jp",), True), []),
        ({"profiles": ["J P"]}, InspectionSettings(("J P",), False), ["profiles"]),
        ({"person_names": 1}, InspectionSettings(None, False), ["person_names"]),
        ({"profile": ["jp"]}, InspectionSettings(None, False), ["profile"]),
    ],
)
def test_settings(values, settings, keys):
    found, mistakes = read(read_settings, values)
    assert found == settings
    assert sorted(set(mistakes)) == keys


def test_a_boundary_without_the_table_names_no_profile():
    assert read_settings(None) == InspectionSettings(None, False)


def test_a_rule():
    rule, mistakes = read(lambda table: read_rule("x", table), RULE | {"context": ["a"], "ignore_case": True})
    assert mistakes == []
    assert (rule.name, rule.label, rule.context, rule.ignore_case, rule.redaction) == (
        "x",
        "acme.x",
        ("a",),
        True,
        "mark",
    )


@pytest.mark.parametrize("key", sorted(RULE))
def test_what_every_rule_needs(key):
    rule, mistakes = read(lambda table: read_rule("x", table), {k: v for k, v in RULE.items() if k != key})
    assert rule is None
    assert mistakes == [key]


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"unless": ["a"]}, "unless"),
        ({"ignore_case": "yes"}, "ignore_case"),
        ({"must_match": [str(n) for n in range(EXAMPLES_MAX + 1)]}, "must_match"),
        ({"must_match": ["x" * 10_000]}, "must_match"),
        ({"title": "x"}, "title"),
    ],
)
def test_mistakes(values, key):
    assert key in read(lambda table: read_rule("x", table), RULE | values)[1]


def test_too_many_rules():
    assert rule_mistakes(str(number) for number in range(OWN_RULES_MAX)) == []
    assert len(rule_mistakes(str(number) for number in range(OWN_RULES_MAX + 1))) == 1
