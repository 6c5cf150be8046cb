"""Personal names: found where they are asked for, with clear words where that can't be."""

import importlib.util
from concurrent.futures import ThreadPoolExecutor

import pytest

from sekisho.inspection.errors import RulesError
from sekisho.inspection.interfaces import PERSON_NAME
from sekisho.inspection.profiles.jp import names
from sekisho.inspection.profiles.jp.names import PIECE_MAX, SudachiNames
from sekisho.inspection.redaction import LARGE_BYTES, LARGE_WITH_NAMES_BYTES
from sekisho.inspection.rules import compile_inspector, label_names, rules_bytes

pytest.importorskip("sudachipy")


@pytest.fixture(scope="module")
def with_names():
    return compile_inspector(rules_bytes(("jp",), names=True))


def found(inspector, text):
    return [(text[span.start : span.end], span.label) for span in inspector.spans(text)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("担当の山田太郎さんに連絡", "山田太郎"),
        ("佐藤 花子 様", "佐藤 花子"),
        ("林さんと会った", "林"),
        ("佐藤 様", "佐藤"),
        ("山田\u200b太郎が来た", "山田\u200b太郎"),
    ],
)
def test_finds_names_in_the_original(with_names, text, name):
    assert found(with_names, text) == [(name, PERSON_NAME)]


@pytest.mark.parametrize("text", ["森の中の林", "東京都の天気", "本田技研の製品", "田中が来た", "hello", ""])
def test_words_and_places_are_no_names(with_names, text):
    assert found(with_names, text) == []


def test_names_are_redacted_beside_other_values(with_names):
    body = {"messages": [{"content": "山田太郎さん 090-1234-5678"}]}
    assert with_names.inspect(body).labels == ("person.name", "phone")
    redaction = with_names.redact(body)
    assert redaction.body == {"messages": [{"content": "[person.name]さん [phone]"}]}
    assert redaction.labels == ()


def test_in_a_flood_where_nobody_looks_for_them_they_may_be(with_names):
    inspection = with_names.inspect({"content": "山田太郎さん" + "090-1234-5678 " * 3_000})
    assert inspection.labels == ("opaque", "person.name", "phone")
    assert not inspection.redactable


def test_without_asking_none_are_found_and_nothing_is_slower(inspector, with_names):
    assert found(inspector, "山田太郎さん") == []
    assert PERSON_NAME not in inspector.labels()
    assert PERSON_NAME in with_names.labels()
    assert PERSON_NAME in label_names(rules_bytes(("jp",)))  # so that a policy may ask for it
    assert (inspector.large_bytes, with_names.large_bytes) == (LARGE_BYTES, LARGE_WITH_NAMES_BYTES)


def test_a_name_far_into_a_long_text_is_found(with_names):
    text = "これは長い文章です。" * (PIECE_MAX // 5) + "山田太郎さん"
    assert found(with_names, text) == [("山田太郎", PERSON_NAME)]


@pytest.mark.parametrize("longest", ["\ufdfa", "㍿", "㌀", "🍣", "㋿"])
def test_what_the_analyser_writes_out_at_length_is_within_its_bound(with_names, longest):
    text = longest * 9_000 + "。山田太郎さん"
    assert found(with_names, text) == [("山田太郎", PERSON_NAME)]


def test_without_the_dictionary_the_remedy_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RulesError, match="sudachipy") as raised:
        names.make_names()
    assert "sekisho[names]" in raised.value.remedy


def test_a_dictionary_that_cannot_be_read_is_told(monkeypatch):
    sudachipy = importlib.import_module("sudachipy")
    read = sudachipy.Dictionary
    monkeypatch.setattr(sudachipy, "Dictionary", lambda dict: read(dict=__file__))
    names._dictionary.cache_clear()
    with pytest.raises(RulesError, match="can't read its dictionary") as raised:
        names.make_names()
    assert "reinstall" in raised.value.remedy
    names._dictionary.cache_clear()


def test_two_finders_share_the_dictionary_and_work_side_by_side(with_names):
    assert names._dictionary() is names._dictionary()
    with ThreadPoolExecutor(4) as pool:
        finders = [names.make_names() for _ in range(4)]
        found_by_each = pool.map(lambda finder: list(finder.find("担当の山田太郎さん。" * 200)), finders)
        assert [len(spans) for spans in found_by_each] == [200] * 4


def test_no_profile_that_can():
    with pytest.raises(RulesError, match="no inspection profile"):
        rules_bytes((), names=True)
    assert SudachiNames
