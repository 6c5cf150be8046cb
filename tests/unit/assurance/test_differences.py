"""How declarations differ, in words."""

import msgspec
import pytest

from sekisho.assurance.differences import ADDED, CHANGED, FACT, LAYER, REMOVED, differences
from sekisho.catalog.interfaces import ApprovalRule, Catalogue, Fact, Grade, Organisation, PolicyText
from sekisho.cli.plan_report import _KINDS, difference_in_words
from sekisho.policy.check import compile_policies
from support_decide import ANYWHERE, LABELS, catalogue, declared, deployment

TOKYO = deployment("tokyo", processing=declared("JP"))


def parts(catalogued, *texts):
    policies = tuple(PolicyText(f"policies/{number}.cedar", text) for number, text in enumerate(texts))
    return compile_policies(catalogued, policies, LABELS)


def found(before, after, old=(), new=()):
    return differences(before, parts(before, *old), after, parts(after, *new))


def policy(name="r", title="Title", rule="forbid (principal, action, resource)", more=""):
    return f'@id("{name}") @title("{title}") @title_ja("題") {more}\n{rule};'


def replaced(catalogued, **changes):
    return msgspec.structs.replace(catalogued, **changes)


def test_equal_declarations_have_none():
    assert found(catalogue(TOKYO), catalogue(TOKYO), (policy(),), (policy(),)) == ()


def test_a_fact_is_told_with_its_evidence():
    fact = Fact(ANYWHERE, Grade.CONTRACTUAL, "contract 7", expires=1_800_000_000_000_000)
    (one,) = found(catalogue(TOKYO), catalogue(deployment("tokyo", processing=fact)))
    assert (one.kind, one.name, one.what, one.field) == ("deployments", "tokyo", FACT, "processing")
    assert one.before == "JP (declared)"
    assert one.after == "anywhere (contractual; contract 7; until 2027-01-15 08:00 UTC)"
    assert difference_in_words(one) == f"deployment tokyo: fact processing: {one.before} → {one.after}"
    assert difference_in_words(one, 1) == f"配備先 tokyo: 事実 processing: {one.before} → {one.after}"


def test_objects_that_come_and_go_and_fields_that_change():
    before = catalogue(TOKYO)
    watched = Organisation("default", "Default", default_residency=("JP", "US"), mode="monitor", monitor_until=0)
    boundary = msgspec.structs.replace(before.boundary, default_class="public")
    after = replaced(
        catalogue(msgspec.structs.replace(TOKYO, name="osaka")),
        organisations=(watched, Organisation("other", "Other")),
        boundary=boundary,
        approvals=(ApprovalRule("stop.lift", ("a", "b"), 2),),
    )
    told = [(one.kind, one.name, one.what, one.field, one.before, one.after) for one in found(before, after)]
    assert told == [
        ("boundary", "", CHANGED, "default_class", "internal", "public"),
        ("organisations", "default", CHANGED, "default_residency", "", "JP, US"),
        ("organisations", "default", CHANGED, "mode", "enforce", "monitor"),
        ("organisations", "default", CHANGED, "monitor_until", "", "1970-01-01 00:00 UTC"),
        ("deployments", "osaka", ADDED, "", "", ""),
        ("deployments", "tokyo", REMOVED, "", "", ""),
        ("approvals", "stop.lift", ADDED, "", "", ""),
    ]
    assert difference_in_words(found(before, after)[1]) == "organisation default: default_residency: nothing → JP, US"


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ((), [(REMOVED, "")]),
        ((policy(title="Other"),), [(CHANGED, "title")]),
        ((policy(more='@enforce("always")'),), [(CHANGED, "enforce")]),
        ((policy(rule="forbid  (principal,\n  action, resource)"),), []),
        ((policy().replace("\n", " ").replace("resource", 'resource == Deployment::"tokyo"'),), [(CHANGED, "text")]),
        ((policy(rule='forbid (principal, action == Action::"sendRaw", resource)'),), [(CHANGED, "text")]),
        ((policy(rule="permit (principal, action, resource)"),), [(CHANGED, "effect"), (CHANGED, "text")]),
        ((policy(), policy("s")), [(ADDED, "")]),
    ],
)
def test_policies_are_told_by_what_changes_in_them(new, expected):
    told = found(catalogue(TOKYO), catalogue(TOKYO), (policy(),), new)
    assert [(one.what, one.field) for one in told] == expected
    assert all(one.kind == "policies" and one.title_ja == "題" for one in told)


def test_a_pack_that_is_dropped_is_told_policy_by_policy():
    before, after = catalogue(TOKYO), catalogue(TOKYO, packs=())
    permit = policy("all", rule="permit (principal, action, resource)")
    told = found(before, after, (permit,), (permit,))
    assert told[0].field == "packs"
    assert {one.what for one in told[1:]} == {REMOVED}
    assert "jp-residency.processing" in {one.name for one in told}


def test_long_and_hostile_values_stay_on_one_short_line():
    sources = [Fact(("JP",), Grade.DECLARED, text) for text in ("a", "\x1b[2J" + "x" * 1000)]
    (one,) = found(*(catalogue(deployment("tokyo", processing=fact)) for fact in sources))
    text = difference_in_words(one)
    assert len(text) < 500
    assert text.isprintable()


def test_every_kind_of_declaration_has_words():
    assert {*Catalogue.__struct_fields__} <= {*_KINDS}


def test_a_policy_that_moves_to_another_layer_is_told():
    def layered(file):
        whole = catalogue(TOKYO)
        boundary = msgspec.structs.replace(whole.boundary, layers=("nation", "ministry"))
        whole = replaced(whole, boundary=boundary)
        return whole, compile_policies(whole, (PolicyText(file, policy()),), LABELS)

    (one,) = differences(*layered("policies/nation/a.cedar"), *layered("policies/ministry/b.cedar"))
    assert (one.name, one.field, one.before, one.after) == ("r", LAYER, "policies/nation", "policies/ministry")
    assert differences(*layered("policies/nation/a.cedar"), *layered("policies/nation/b.cedar")) == ()


def test_long_texts_are_shown_where_they_part():
    """A policy of a page of which the last condition changes must not look the same before and after."""
    conditions = " || ".join(f"context.class_rank == {number}" for number in range(40))
    old, new = (policy(rule=f"forbid (principal, action, resource) when {{ {conditions} || {last} }}")
                for last in ("context.class_rank == 90", "context.class_rank == 91"))  # fmt: skip
    (one,) = found(catalogue(TOKYO), catalogue(TOKYO), (old,), (new,))
    assert one.before != one.after
    assert one.before.startswith("…")
    assert ("== 90" in one.before, "== 91" in one.after) == (True, True)
    assert max(len(one.before), len(one.after)) < 310
    (shorter,) = found(catalogue(TOKYO), catalogue(TOKYO), (old,), (policy(),))
    assert shorter.after.startswith("…")
    boundary = catalogue(TOKYO).boundary
    classes = [(msgspec.structs.replace(boundary.classes[0], title=letter * 500),) for letter in "ab"]
    trees = [replaced(catalogue(TOKYO), boundary=msgspec.structs.replace(boundary, classes=one)) for one in classes]
    (begun,) = differences(trees[0], parts(catalogue(TOKYO)), trees[1], parts(catalogue(TOKYO)))
    assert begun.before.replace("a", "b") == begun.after.replace("a", "b")
    assert begun.before != begun.after
