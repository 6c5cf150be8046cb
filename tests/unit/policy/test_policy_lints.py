"""Lints: a forbid has one reason, titles are in their language, nothing stands twice."""

import pytest

from sekisho.catalog.interfaces import PolicyText
from sekisho.policy.check import policies_in_force
from sekisho.policy.lints import lint
from sekisho.policy.packs import pack_names

FORBID = "forbid (principal, action, resource)"
TITLES = '@title("t") @title_ja("題")'


def lints(*texts, titles=TITLES):
    rules = "".join(f'@id("p{number}") {titles} {text}\n' for number, text in enumerate(texts))
    return lint(policies_in_force((), (PolicyText("policies/own.cedar", rules),)))


def test_the_packs_that_ship_are_easy_to_read():
    found = lint(policies_in_force(pack_names(), ()))
    assert found == ((), ())


@pytest.mark.parametrize(
    ("clauses", "count"),
    [
        ("when { context.protected || context.class_rank > 2 }", 2),
        ("when { context.protected } when { false || context.class_rank > 2 || context.class_rank < 1 }", 3),
        ("unless { context.protected && context.class_rank > 2 }", 2),
        ("when { !(context.protected && context.class_rank > 2) }", 2),
        ("when { !!(context.protected || !(context.class_rank > 2 && context.class_rank < 9)) }", 3),
        ("unless { !(context.protected || context.class_rank > 2) }", 2),
        ("unless { !(context.protected) && !(context.class_rank > 2) }", 2),
        ("when { context.protected && (context.class_rank > 2 || context.class_rank < 1) }", 0),
        ("when { context.protected } unless { context.class_rank > 2 || context.class_rank < 1 }", 0),
        # `has` only guards what is beside it.
        ("unless { context has staleness.policy_days && context.staleness.policy_days < 9 }", 0),
        ('when { context.labels.containsAny([Label::"opaque", Label::"egress.url"]) }', 0),
        ("", 0),
    ],
)  # fmt: skip
def test_a_forbid_for_several_reasons_is_to_be_split(clauses, count):
    found = lints(f"{FORBID} {clauses};").mistakes
    assert [one.problem.split(" reasons")[0] for one in found] == ([f"forbids for {count}"] if count else [])
    for one in found:
        assert (one.file, one.key) == ("policies/own.cedar", "line 1, p0")
        assert f"Split it into {count} forbids" in one.remedy


def test_a_permit_may_have_several_reasons():
    assert lints("permit (principal, action, resource) when { context.protected || context.class_rank > 2 };") == (
        (),
        (),
    )


@pytest.mark.parametrize(
    ("titles", "says"),
    [
        ('@title("Stays") @title_ja("Stays")', "that is the @title"),
        ('@title("Stays") @title_ja("It stays")', "without Japanese"),
        ('@title("Stays") @title_ja("マスク")', None),
        ('@title("Stays") @title_ja("APIキー")', None),
        ('@title("Stays") @title_ja("国内")', None),
    ],
)
def test_a_japanese_title_that_is_not_japanese_is_noted(titles, says):
    found = lints(f"{FORBID};", titles=titles)
    assert found.mistakes == ()
    assert [says in note.problem for note in found.notes] == ([True] if says else [])


def test_what_stands_twice_is_noted_however_it_is_laid_out():
    one = f'{FORBID} when {{ context.labels.contains(Label::"opaque") }};'
    same = f'{FORBID}\n  when {{ (context.labels.contains( Label::"opaque" )) }};'
    (note,) = lints(one, same).notes
    assert (note.key, note.problem) == ("line 2, p1", "says the same as p0 (policies/own.cedar line 1)")
    assert lints(one, f'@enforce("always") {same}').notes == ()
    assert lints(one, one.replace("forbid", "permit")).notes == ()
    assert lints(one, one.replace("when", "unless")).notes == ()
    assert lints(one, one.replace("opaque", "egress.url")).notes == ()


def test_texts_that_are_no_policies_are_passed_over():
    assert lints("forbid (principl);") == ((), ())
