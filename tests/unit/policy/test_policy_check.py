"""Checking policies: everything that is wrong, at once, with file and line."""

import pytest

from sekisho.catalog.interfaces import PolicyText
from sekisho.policy.check import check_policies, compile_policies
from sekisho.policy.errors import PolicyMistakes
from sekisho.policy.source import split_policies
from support_decide import LABELS, catalogue, declared, deployment

TOKYO = deployment("tokyo", processing=declared("JP"))
GOOD = '@id("a.b") @title("t") @title_ja("題")\nforbid (principal, action, resource) when { context.class_rank > 9 };\n'


def check(*texts, packs=("jp-residency",)):
    sources = tuple(PolicyText(f"policies/{number}.cedar", text) for number, text in enumerate(texts))
    return check_policies(catalogue(TOKYO, packs=packs), sources, LABELS)


def test_a_pack_is_in_force_with_what_it_builds_on():
    alone = check(packs=("jp-finance",))
    assert alone.parts is None
    [mistake] = [one for one in alone.mistakes if one.file == "boundary.toml"]
    assert (mistake.key, mistake.problem) == ("packs", "'jp-finance' builds on 'jp-residency'")
    assert "Add 'jp-residency' to packs" in mistake.remedy
    for packs in (("jp-finance", "jp-residency"), ("jp-residency", "jp-finance")):
        assert not [one for one in check(packs=packs).mistakes if one.key == "packs"]


def test_policies_are_numbered_packs_first_then_by_file_and_position():
    checked = check(GOOD.replace("a.b", "z"), GOOD + GOOD.replace("a.b", "a.c"))
    assert [title.id for title in checked.titles][-3:] == ["z", "a.b", "a.c"]
    assert checked.titles[0].id == "jp-residency.callers"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (GOOD + "\n\nforbid (principl, action, resource);", "line 5", "not Cedar"),
        (GOOD + "forbid (principal, action, resource)", "line 3", "not Cedar"),
        (GOOD + GOOD, "line 3, a.b", "same @id"),
        (GOOD.replace('@id("a.b")', ""), "line 1", "no @id"),
        (GOOD.replace("a.b", "A B"), "line 1, A B", "not a name"),
        (GOOD.replace('@title("t")', ""), "line 1, a.b", "@title"),
        (GOOD.replace('@title_ja("題")', '@title_ja("")'), "line 1, a.b", "@title_ja"),
        (GOOD.replace("class_rank", "clas_rank"), "line 1, a.b", "clas_rank"),
        (GOOD.replace("class_rank > 9", 'residency.contains(Jurisdiction::"JPN")'), "line 1, a.b", "JPN"),
        (GOOD.replace("class_rank > 9", 'class == DataClass::"secret"'), "line 1, a.b", "secret"),
        (GOOD.replace("class_rank > 9", 'labels.contains(Label::"jp.mynumber")'), "line 1, a.b", "jp.mynumber"),
        (GOOD.replace("resource)", 'resource in Provider::"q")'), "line 1, a.b", '"q"'),
        (GOOD.replace("class_rank > 9", "class_rank > 9" + " + 1" * 600), "line 1", "more than 500 operators"),
        (GOOD.replace("resource)", 'resource == Deployment::"osaka")'), "line 1, a.b", "osaka"),
        (GOOD.replace("(principal,", '(principal in Organisation::"defalt",'), "line 1, a.b", "defalt"),
        (GOOD.replace("(principal,", "(principal == ?principal,"), "line 1", "template"),
        (GOOD.replace("(principal,", '(principal == User::"x",'), "line 1, a.b", "User"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_line_and_a_remedy(text, line, says):
    checked = check(text)
    assert checked.parts is None
    found = [mistake for mistake in checked.mistakes if mistake.key == line]
    assert any(says in mistake.problem for mistake in found), checked.mistakes
    assert all(mistake.file == "policies/0.cedar" and mistake.remedy for mistake in checked.mistakes)


def test_mistakes_of_all_files_are_told_at_once():
    checked = check("nonsense;", GOOD.replace("class_rank", "x"), GOOD, packs=("jp-residency", "no-such-pack"))
    assert {(mistake.file, mistake.key) for mistake in checked.mistakes} == {
        ("boundary.toml", "packs"),
        ("policies/0.cedar", "line 1"),
        ("policies/1.cedar", "line 1, a.b"),
        ("policies/2.cedar", "line 1, a.b"),
    }


def test_an_id_of_a_pack_can_not_be_taken():
    (mistake,) = check(GOOD.replace("a.b", "jp-residency.opaque")).mistakes
    assert "packs/jp-residency/30_content.cedar" in mistake.problem


def test_without_any_permit_there_is_a_mistake():
    (mistake,) = check(GOOD, packs=()).mistakes
    assert "no policy permits anything" in mistake.problem


def test_compiling_raises_all_mistakes_and_is_deterministic():
    with pytest.raises(PolicyMistakes) as raised:
        compile_policies(catalogue(TOKYO), (PolicyText("policies/x.cedar", "a;\nb;"),), LABELS)
    assert len(raised.value.mistakes) == 2
    assert compile_policies(catalogue(TOKYO), (), LABELS) == compile_policies(catalogue(TOKYO), (), LABELS)


def test_splitting_knows_strings_and_comments():
    text = '// a; b\npermit (x) when { "; // \\" ;" };\r// c ;\nforbid (y); // "\n\n'
    pieces = split_policies(text)
    assert [piece.text for piece in pieces] == ['permit (x) when { "; // \\" ;" };', "forbid (y);"]
    assert [piece.line for piece in pieces] == [2, 3]
    assert split_policies("// only comments\n") == ()
    # Cedar ends a comment at a carriage return too: what follows it is a policy, and must not be lost.
    assert [piece.text for piece in split_policies("// a\rforbid (y); forbid (z);")] == [
        "forbid (y);",
        "forbid (z);",
    ]


@pytest.mark.parametrize(
    ("condition", "problem", "remedy"),
    [
        ('context.labels.contains(Label::"jp.mynumber")', 'names Label::"jp.mynumber"', "Did you mean 'jp.my_number'?"),
        ('context.labels.contains(Label::"de.tax_id")', 'names Label::"de.tax_id"', "The profile 'de' finds it: name"),
        ('context.class == DataClass::"confidental"', 'names DataClass::"confidental"', "'confidential'"),
        ('resource == Deployment::"tokio"', 'names Deployment::"tokio"', "Did you mean 'tokyo'?"),
        ('action == Action::"sendraw"', 'names Action::"sendraw"', "Did you mean 'sendRaw'?"),
        ("context.clas_rank > 1", "reads context.clas_rank, which does not exist", "Did you mean 'class_rank'?"),
        ("resource.procesing_grade > 1", "reads resource.procesing_grade", "Did you mean 'processing_grade'?"),
        ('context.label == Label::"opaque"', "reads context.label, which retain, sendRaw, sendRedacted do not have",
         "Name only actions that have it: relayRaw, restore"),
        ("context.class_rank", "expected", "Use attributes"),
    ],
)  # fmt: skip
def test_what_does_not_exist_is_told_once_with_the_nearest(condition, problem, remedy):
    text = GOOD.replace("context.class_rank > 9", condition)
    checked = check_policies(catalogue(TOKYO), (PolicyText("policies/0.cedar", text),), LABELS, {"de.tax_id": "de"})
    (mistake,) = checked.mistakes
    assert problem in mistake.problem
    assert remedy in mistake.remedy


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 20_000 + "true" + ")" * 20_000,
        " || ".join(["context.protected"] * 5_000),
        "if true then true else " * 5_000 + "false",
        "context" + ".a" * 20_000 + " == 1",
        "[" * 20_000 + "1" + "]" * 20_000 + " == [1]",
    ],
)
def test_what_would_overflow_the_stack_of_the_parser_is_a_mistake(condition):
    """Without the check the process ends here, with a signal."""
    (mistake,) = check(GOOD.replace("context.class_rank > 9", condition)).mistakes
    assert "more than 500 operators and brackets" in mistake.problem


def test_long_lists_and_texts_do_not_nest():
    roles = ", ".join(f'Role::"((((-{number}.))))"' for number in range(2_000))
    assert check(GOOD.replace("context.class_rank > 9", f"principal in [{roles}]")).mistakes == ()
    assert check("// " + "((((" * 2_000 + "\n" + GOOD).mistakes == ()
