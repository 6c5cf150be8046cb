"""Operators' own rules: what they find, and every mistake in them."""

from collections import Counter

import pytest

from sekisho.catalog.interfaces import InspectionRule
from sekisho.inspection import own
from sekisho.inspection.interfaces import BodyInspection
from sekisho.inspection.own import check_own_rules
from sekisho.inspection.rules import compile_inspector, label_names, rules_bytes
from sekisho.inspection.scanner import OWN_PASSES_MAX


def rule(**changes):
    values = {
        "name": "employee",
        "label": "acme.employee",
        "pattern": "EMP-[0-9]{6}",
        "must_match": ("担当は EMP-123456 です", "ＥＭＰ－１２３４５６"),
        "must_not_match": ("EMP-12345", "TEMP-123456", "EMP-1234567"),
    }
    return InspectionRule(**(values | changes))


def mistakes(*rules):
    return [(item.file, item.key) for item in check_own_rules(rules)[1]]


def inspector_of(*rules):
    data, wrong = check_own_rules(rules)
    assert wrong == ()
    return compile_inspector(rules_bytes((), data))


def found(inspector, text):
    return [(text[span.start : span.end], span.label) for span in inspector.spans(text)]


def test_a_rule_finds_its_values_among_others():
    handle = rule(
        name="h", label="acme.handle", pattern="@[a-z]{3,12}", must_match=(" @taro",), must_not_match=("a@b",)
    )
    inspector = inspector_of(rule(), handle)
    assert found(inspector, "emp ＥＭＰ－１２３４５６, taro@example.com and @tanaka") == [
        ("ＥＭＰ－１２３４５６", "acme.employee"),
        ("taro@example.com", "email"),
        ("@tanaka", "acme.handle"),
    ]


def test_the_longest_value_counts_that_no_word_goes_on_from():
    inspector = inspector_of(rule(pattern="X[0-9]{2,4}(?:-[0-9])?", must_match=("X12",), must_not_match=("AX12",)))
    assert [value for value, _ in found(inspector, "X1234-5 X12345 X12")] == ["X1234-5", "X12"]


def test_context_and_words_that_mean_another_number():
    inspector = inspector_of(
        rule(
            pattern="[A-Z]{2}[0-9]{4}",
            context=("案件", "project"),
            unless=("注文番号",),
            must_match=("案件 AB1234", "AB1234 (project)"),
            must_not_match=("AB1234", "案件の注文番号 AB1234"),
        )
    )
    assert found(inspector, "Project: AB1234") == [("AB1234", "acme.employee")]


def test_a_check_says_no():
    luhn = rule(pattern="[0-9]{8}", check="luhn", must_match=("06130017",), must_not_match=("06130018",))
    assert mistakes(luhn) == []
    assert mistakes(rule(pattern="[0-9]{8}", must_match=("06130017",), must_not_match=("06130018",))) == [
        ("inspection/employee.toml", "must_not_match[0]")
    ]


def test_a_value_that_refuses_redaction_makes_a_body_not_redactable():
    body = {"messages": [{"content": "EMP-123456"}]}
    assert inspector_of(rule()).inspect(body) == BodyInspection(("acme.employee",), True)
    assert inspector_of(rule(redaction="refuse")).inspect(body) == BodyInspection(("acme.employee",), False)


def test_its_label_is_one_that_policies_may_name():
    data, _ = check_own_rules([rule()])
    assert "acme.employee" in label_names(rules_bytes(("jp",), data))


def test_rules_are_ordered_by_name_whatever_the_order_of_files():
    one, other = rule(), rule(name="a", label="acme.a")
    assert check_own_rules([one, other]) == check_own_rules([other, one])


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"label": "Employee"}, "label"),
        ({"label": "opaque"}, "label"),
        ({"label": "egress.url"}, "label"),
        ({"label": "person.name"}, "label"),
        ({"check": "luhm"}, "check"),
        ({"redaction": "hide"}, "redaction"),
        ({"pattern": "("}, "pattern"),
        ({"pattern": "(?<=x)EMP"}, "pattern"),
        ({"pattern": r"(EMP)-\1"}, "pattern"),
        ({"pattern": "[0-9]*"}, "pattern"),  # matches nothing at all, too
        ({"pattern": "ＥＭＰ-[0-9]{6}"}, "pattern"),
        ({"pattern": "(?:[ab]{1,64}[cd]){1,40}"}, "pattern"),
        ({"pattern": "EMP-[0-9]+"}, "pattern"),  # without an end
        ({"pattern": "EMP-[0-9]{1,1100}"}, "pattern"),
        # what an answer in pieces could not be searched for
        ({"pattern": r"\p{Lu}{3}-[0-9]{6}"}, "pattern"),
        ({"pattern": r"\QEMP-\E[0-9]{6}"}, "pattern"),
        ({"pattern": r"EMP-[0-9]{6}\z"}, "pattern"),
        ({"pattern": "E(?i)MP-[0-9]{6}"}, "pattern"),
        ({"pattern": "EMP-[[:digit:]]{6}"}, "pattern"),
        ({"pattern": "EMP-[0-9]{,6}"}, "pattern"),
        ({"pattern": "[a-z]{2,}", "must_match": ("ab",), "must_not_match": ("1",)}, "pattern"),
        ({"must_match": ("EMP-123456", "nothing")}, "must_match[1]"),
        ({"must_not_match": ("EMP-123456",)}, "must_not_match[0]"),
    ],
)
def test_a_mistake_is_named_by_file_and_key(changes, key):
    assert mistakes(rule(**changes), rule(name="right", label="acme.right")) == [("inspection/employee.toml", key)]


def test_one_rule_does_not_answer_for_another():
    wrong = rule(name="other", pattern="EMP-[0-9]{9}", must_match=("EMP-123456",), must_not_match=("x",))
    assert mistakes(rule(), wrong) == [("inspection/other.toml", "must_match[0]")]


def test_every_pattern_that_is_taken_can_be_followed_through_an_answer():
    patterns = [
        "EMP-[0-9]{6}",
        "(?i)emp-[0-9]{6}",
        r"EMP-\d{6}",
        "(?:EMP|SYA)-[0-9]{6}",
        "[A-Z]{3}-[0-9]{6}",
        "(E|EMP-?)\\S{7,9}",
    ]
    rules = [
        rule(name=f"r{n}", label=f"acme.r{n}", pattern=pattern, must_not_match=("x",))
        for n, pattern in enumerate(patterns)
    ]
    masking = inspector_of(*rules).masking(frozenset(item.label for item in rules))
    assert masking.whole("EMP-123456", Counter()).startswith("[acme.r")


@pytest.mark.parametrize("pattern", ["(a|a)*b", "(a+)+b", "(.*a){12}x", "([a-z]+)*[0-9]", "X[^Y]*Y|X1"])
def test_patterns_without_an_end_are_refused(pattern):
    """Those blow up in other engines, and in ours each match may have to look at all the rest of a text."""
    wild = rule(pattern=pattern, must_match=("EMP",), must_not_match=("EMP",))
    assert mistakes(wild) == [("inspection/employee.toml", "pattern")]
    assert "without end" in check_own_rules([wild])[1][0].problem


def test_no_value_reaches_from_one_text_into_the_next():
    inspector = inspector_of(
        rule(pattern="KEY[^0-9]{1,30}[0-9]{4}", must_match=("KEY: 1234",), must_not_match=("1234",))
    )
    body = {"a": "see KEY", "b": "or 1234", "c": "KEY or 1234"}
    assert inspector.redact(body).body == {"a": "see KEY", "b": "or 1234", "c": "[acme.employee]"}
    assert [place.path for place in inspector.locate(body)] == ['$["c"]']


def test_more_rules_at_once_than_are_tried_make_a_text_opaque_and_keep_their_labels():
    rules = [
        rule(
            name=f"r{n:02}",
            label=f"acme.r{n}",
            pattern=f"{chr(65 + n)}-[0-9]{{4}}",
            must_match=(f"{chr(65 + n)}-1234",),
            must_not_match=("x",),
        )
        for n in range(OWN_PASSES_MAX + 2)
    ]
    inspector = inspector_of(*rules)
    few = " ".join(item.must_match[0] for item in rules[:OWN_PASSES_MAX])
    every = " ".join(item.must_match[0] for item in rules)
    assert inspector.inspect({"text": few}).labels == tuple(sorted(item.label for item in rules[:OWN_PASSES_MAX]))
    inspection = inspector.inspect({"text": every})
    assert inspection.labels == tuple(sorted(["opaque", *(item.label for item in rules)]))
    assert not inspection.redactable


def test_patterns_that_are_too_large_together_are_refused(monkeypatch):
    monkeypatch.setattr(own, "TOGETHER_BYTES_MAX", 10_000)  # of 4 MiB; one has about 6,800 bytes
    assert mistakes(rule()) == []
    assert mistakes(rule(), rule(name="other")) == [("inspection/", "")]


def test_a_flood_of_its_values_is_opaque():
    inspection = inspector_of(rule()).inspect({"text": "EMP-123456 " * 5_000})
    assert set(inspection.labels) == {"acme.employee", "opaque"}
