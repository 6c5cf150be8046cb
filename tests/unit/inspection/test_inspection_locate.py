"""Where labels stand, and that nobody reads the values there."""

import json

import pytest

from sekisho.inspection.body import DEPTH_MAX
from sekisho.inspection.locate import LOCATIONS_MAX

NUMBER = "123456789018"
TEXT = f"個人番号は{NUMBER}です"


def located(inspector, body):
    return [(item.path, item.label, item.kind) for item in inspector.locate(body)]


def said(*contents):
    return {"model": "m", "messages": [{"role": "user", "content": content} for content in contents]}


def part(text):
    return {"type": "text", "text": text}


@pytest.mark.parametrize(
    ("body", "path", "kind"),
    [
        (said("x", TEXT), "$.messages[1].content", "text"),
        (said([part("x"), part(TEXT)]), "$.messages[0].content[1].text", "text"),
        (said([part("個人番号は 12345678"), part("9018 です")]), "$.messages[0].content", "parts"),
        ({**said("x"), "metadata": {"個人番号": int(NUMBER)}}, '$.metadata["個人番号"]', "number"),
        ({**said("x"), "metadata": {f"個人番号 {NUMBER}": "x"}}, '$.metadata["[jp.my_number]"]', "key"),
        ({**said("x"), "vendor": [{"note": TEXT}]}, '$["vendor"][0]["note"]', "text"),
    ],
)
def test_a_value_is_found_where_it_stands(inspector, body, path, kind):
    assert (path, "jp.my_number", kind) in located(inspector, body)


@pytest.mark.parametrize(
    ("more", "path", "label"),
    [
        ({"tools": [{"type": "web_search"}]}, "$.tools", "egress.tool"),
        ({"previous_response_id": "r"}, '$["previous_response_id"]', "opaque"),
        ({"vendor": {"url": "https://a.example/"}}, '$["vendor"].url', "egress.url"),
    ],
)
def test_what_is_labelled_unread_is_found_by_its_name(inspector, more, path, label):
    assert (path, label, "structure") in located(inspector, {**said("x"), **more})


def test_what_is_too_deep_is_found(inspector):
    body = value = []
    for _ in range(DEPTH_MAX + 2):
        value.append([])
        value = value[0]
    assert [(label, kind) for _, label, kind in located(inspector, body)] == [("opaque", "structure")]


def test_every_label_of_the_request_has_a_place(inspector):
    body = {
        **said(TEXT, [part("tel 090-"), part("1234-5678")], "mail a@b.example.jp"),
        "tools": [{"type": "web_search"}],
        "個人番号": int(NUMBER),
    }
    assert {label for _, label, _ in located(inspector, body)} == set(inspector.inspect(body).labels)


def test_no_value_is_ever_shown(inspector):
    body = {
        **said(f"{TEXT} tel 090-1234-5678", [part(f"個人番号は {NUMBER[:8]}"), part(f"{NUMBER[8:]} です")]),
        "metadata": {f"個人番号 {NUMBER}": TEXT, "個人番号": int(NUMBER)},
    }
    shown = json.dumps([item._asdict() for item in inspector.locate(body)], ensure_ascii=False)
    assert "[jp.my_number]" in shown
    assert NUMBER not in shown
    assert "1234-5678" not in shown


def test_the_halves_of_a_value_across_parts_are_not_shown_beside_other_marks(inspector):
    body = said([part(f"mail a@b.example.jp 個人番号は {NUMBER[:8]}"), part(f"{NUMBER[8:]} です tel 090-1234-5678")])
    found = inspector.locate(body)
    assert {item.label for item in found} >= {"jp.my_number", "phone"}
    shown = json.dumps([item._asdict() for item in found], ensure_ascii=False)
    assert NUMBER[:8] not in shown
    assert f"{NUMBER[8:]} " not in shown


def test_a_flood_is_everywhere_and_bounded(inspector):
    flood = said(" ".join(["090-1234-5678"] * 4_000))
    assert ("$", "opaque", "whole") in located(inspector, flood)
    many = said(*[TEXT] * (LOCATIONS_MAX + 50))
    assert len(inspector.locate(many)) == LOCATIONS_MAX


def test_a_clean_body_has_none(inspector):
    assert inspector.locate(said("hello")) == ()
