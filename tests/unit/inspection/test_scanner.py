"""Compiled patterns are remembered, and what is made of them finds the same."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from sekisho.inspection import scanner
from sekisho.inspection.rules import compile_inspector, rules_bytes
from sekisho.inspection.scanner import Databases

RULES = rules_bytes(("jp",))
BODY = {"a": "電話 090-1234-5678", "b": ["個人番号：123456789018", "taro@example.jp", "①②③ http://a.example/"]}


def test_an_inspector_of_rules_compiled_before_finds_the_same(monkeypatch):
    databases = Databases()
    expected = compile_inspector(RULES, databases).redact(BODY)
    assert {"phone", "jp.my_number", "email"} <= {*compile_inspector(RULES).inspect(BODY).labels}
    monkeypatch.setattr(scanner, "compile_patterns", lambda patterns: pytest.fail(f"compiled again: {patterns}"))
    again = [compile_inspector(RULES, databases) for _ in range(2)]
    assert [one.redact(BODY) for one in again] == [expected] * 2
    with ThreadPoolExecutor(2) as threads:  # each has scratch space of its own
        found = [threads.submit(lambda one=one: [one.redact(BODY) for _ in range(200)]) for one in again]
        assert [one.result() for one in found] == [[expected] * 200] * 2


def test_what_is_remembered_is_bounded(monkeypatch):
    monkeypatch.setattr(scanner, "DATABASES_MAX", 3)
    databases = Databases()
    for number in range(10):
        databases.of({(b"%d" % number, 0): 0})
        assert len(databases._kept) <= 3
