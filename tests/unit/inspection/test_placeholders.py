"""Placeholders: one per different value, none that the request has already, and nothing of it in what is printed."""

import pytest

from sekisho.inspection.placeholders import Placeholders

MAIL, OTHER, NUMBER = "taro@example.jp", "hanako@example.jp", "1234-5678-9018"
BOTH = frozenset({"email", "jp.my_number"})


def redacted(inspector, text, labels=BOTH):
    return inspector.redact_reversibly({"messages": [{"role": "user", "content": text}]}, labels)


def text_of(redaction):
    return redaction.body["messages"][0]["content"]


def test_one_per_different_value_and_label(inspector):
    found = redacted(inspector, f"{MAIL} {OTHER} {MAIL} {NUMBER}")
    assert text_of(found) == "[email#1] [email#2] [email#1] [jp.my_number#1]"
    assert found.values == {"[email#1]": MAIL, "[email#2]": OTHER, "[jp.my_number#1]": NUMBER}
    assert found.labels == ()
    assert MAIL not in repr(found)


def test_other_labels_get_marks_that_stay(inspector):
    found = redacted(inspector, f"{MAIL} {NUMBER}", frozenset({"email"}))
    assert text_of(found) == "[email#1] [jp.my_number]"
    assert list(found.values) == ["[email#1]"]


def test_the_same_value_in_several_places_has_one_placeholder(inspector):
    body = {"messages": [{"role": "user", "content": MAIL}, {"role": "tool", "content": f'{{"to":"{MAIL}"}}'}]}
    found = inspector.redact_reversibly(body, BOTH)
    assert found.body["messages"][1]["content"] == '{"to":"[email#1]"}'
    assert len(found.values) == 1


@pytest.mark.parametrize("written", ["[email#1]", "#1", "# 1", "＃１", "\\u0023\\u0031", "[x#01]", "#\u200b1"])
def test_numbers_that_the_request_has_are_not_used(inspector, written):
    assert list(redacted(inspector, f"{written} {MAIL}").values) == ["[email#2]"]


def test_numbers_in_the_names_of_fields_are_not_used_either(inspector):
    body = {"messages": [{"role": "user", "content": MAIL}], "note": {"[email#1]": 1}}
    assert list(inspector.redact_reversibly(body, BOTH).values) == ["[email#2]"]


def test_a_placeholder_in_another_value_is_its_value_there():
    placeholders = Placeholders(BOTH, [])
    first = placeholders.mark(MAIL, "email")
    second = placeholders.mark(f"<{first}>", "jp.my_number")
    assert placeholders.values[second] == f"<{MAIL}>"


def test_a_label_that_no_placeholder_can_be_made_of_gets_a_mark():
    assert Placeholders({"Ärger"}, []).mark("x", "Ärger") == "[Ärger]"
