"""What each label finds, and what looks alike and is none."""

import json
import re
from pathlib import Path

import pytest

from inspection_cases import FOUND
from sekisho.inspection.body import FIXED_KEYS, FIXED_WORDS
from sekisho.inspection.errors import RulesError
from sekisho.inspection.interfaces import PERSON_NAME
from sekisho.inspection.normalise import fold, folding_table
from sekisho.inspection.profiles import rules_of
from sekisho.inspection.profiles.jp import checks
from sekisho.inspection.rules import compile_inspector, rules_bytes
from sekisho.kernel import canonical

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0123456789abcdefABCDEF\n-----END RSA PRIVATE KEY-----"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"

POSITIVES = [
    ("jp.my_number", "個人番号は123456789018です", "123456789018"),
    ("jp.my_number", "マイナンバー：１２３４５６７８９０１８", "１２３４５６７８９０１８"),
    ("jp.my_number", "my number is 123456789018.", "123456789018"),
    ("jp.my_number", '{"my_number":"123456789018"}', "123456789018"),
    ("jp.my_number", "1234-5678-9018", "1234-5678-9018"),
    ("jp.my_number", "1234 5678 9018", "1234 5678 9018"),
    ("jp.my_number", "1234‐5678−9018", "1234‐5678−9018"),
    ("jp.my_number", "１２３４ー５６７８ー９０１８", "１２３４ー５６７８ー９０１８"),
    ("jp.my_number", "1 1234 5678 9018 山田", "1234 5678 9018"),
    ("jp.my_number", "個人番号 1234\n5678\n9018", "1234\n5678\n9018"),
    ("jp.my_number", "マイナンバー 1 2 3 4 5 6 7 8 9 0 1 8", "1 2 3 4 5 6 7 8 9 0 1 8"),
    ("jp.my_number", "個人番号1234\u200b5678\u200b9018", "1234\u200b5678\u200b9018"),
    ("jp.my_number", r"\u500b\u4eba\u756a\u53f7: 123456789018", "123456789018"),
    ("phone", "電話は090-1234-5678です", "090-1234-5678"),
    ("phone", "09012345678", "09012345678"),
    ("phone", "０８０－１２３４－５６７８", "０８０－１２３４－５６７８"),
    ("phone", "Tel09012345678", "09012345678"),
    ("phone", "代表 03-1234-5678 まで", "03-1234-5678"),
    ("phone", "(03)1234-5678", "(03)1234-5678"),
    ("phone", "（０３）１２３４－５６７８", "（０３）１２３４－５６７８"),
    ("phone", "0463-12-3456", "0463-12-3456"),
    ("phone", "フリーダイヤル0120-123-456", "0120-123-456"),
    ("phone", "連絡先: 0312345678", "0312345678"),
    ("phone", "+81 90-1234-5678", "+81 90-1234-5678"),
    ("phone", "+819012345678", "+819012345678"),
    ("phone", "+1 (415) 555-0132", "+1 (415) 555-0132"),
    ("email", "taro@example.co.jpまで", "taro@example.co.jp"),
    ("email", "<Taro.Yamada+news@mail.example.com>", "Taro.Yamada+news@mail.example.com"),
    ("email", "ｔａｒｏ＠ｅｘａｍｐｌｅ．ｊｐ", "ｔａｒｏ＠ｅｘａｍｐｌｅ．ｊｐ"),
    ("payment_card", "4111 1111 1111 1111", "4111 1111 1111 1111"),
    ("payment_card", "カード5555555555554444で", "5555555555554444"),
    ("payment_card", "3782-822463-10005", "3782-822463-10005"),
    ("payment_card", "3530111333300000", "3530111333300000"),
    ("secret.api_key", "key=sk-proj-Abc123def456GHI789jkl", "sk-proj-Abc123def456GHI789jkl"),
    ("secret.api_key", "AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"),
    ("secret.api_key", "ghp_" + "a1B2c3D4e5F6" * 3, "ghp_" + "a1B2c3D4e5F6" * 3),
    ("secret.api_key", "glpat-x1y2z3a4b5c6d7e8f9g0", "glpat-x1y2z3a4b5c6d7e8f9g0"),
    ("secret.api_key", "xoxb-123456789012-abcdefABCDEF", "xoxb-123456789012-abcdefABCDEF"),
    ("secret.api_key", "AIza" + "SyA1b2C3d" * 3 + "SyA1b2C3", "AIza" + "SyA1b2C3d" * 3 + "SyA1b2C3"),
    ("secret.api_key", f"Authorization: Bearer {JWT}", JWT),
    ("secret.api_key", "api-key: 0123456789abcdef0123456789abcdef", "0123456789abcdef0123456789abcdef"),
    (
        "secret.api_key",
        "Bearer 3f2a9c1e-1111-2222-3333-444455556666:abcDEF123",
        "3f2a9c1e-1111-2222-3333-444455556666:abcDEF123",
    ),
    ("secret.private_key", PEM, PEM),
    ("secret.private_key", PEM[:70], PEM[:70]),
    ("secret.private_key", "-----BEGIN OPENSSH PRIVATE KEY-----", "-----BEGIN OPENSSH PRIVATE KEY-----"),
]

NEGATIVES = [
    "注文番号 123456789018 を確認",  # right check digit, but an order
    "個人番号は123456789019です",  # wrong check digit
    "1234-5678-9019",
    "個人番号 1234567890189",  # thirteen digits
    "1234-5678-9018-1234",  # a longer row of groups
    "2019 2020 2021 2022 2023 2024",
    "1699999999999",  # milliseconds since 1970
    "2026-11-23T19:32:01.123456+09:00",
    "20261123193201",
    "3f786850e387550fdab836ed7e6dc881de23001b",
    "sha256:09012345678aa9f8b7c6d5e4f3a2b1c0d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4",
    "f47ac10b-58cc-4372-a567-0e02b2c3d479",
    "¥1,234,567 と 12,800円",
    "0.09012345678",
    "ISBN 978-4-7981-5000-0",
    "192.168.100.200:8080",
    "4111111111111112",  # Luhn fails
    "9999999999999995",  # no issuer's prefix
    "0000000000000000",
    "git@github.com:owner/repository.git",
    "icon@2x.png",
    "package@1.2.3",
    "@app.route decorates",
    "user@localhost",
    "task-abcdefghijklmnopqrstuvwx1",
    "sk-learn-is-a-library-for-learning",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
    "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "api key management is described elsewhere in this document",
    "マイナンバーカードの申請方法を教えてください",
    "",
]


@pytest.mark.parametrize(("label", "text", "value"), POSITIVES)
def test_finds_the_value_where_it_stands_in_the_original_text(inspector, label, text, value):
    spans = inspector.spans(text)
    assert [(text[span.start : span.end], span.label) for span in spans] == [(value, label)]


@pytest.mark.parametrize("text", NEGATIVES)
def test_what_only_looks_like_an_identifier_has_no_label(inspector, text):
    assert inspector.spans(text) == ()
    assert inspector.inspect({"messages": [{"role": "user", "content": text}]}).labels == ()


def test_fixed_words_and_keys_that_are_not_read_have_nothing_to_find(inspector):
    assert all(inspector.spans(word) == () for word in FIXED_WORDS | FIXED_KEYS)


def test_labels_are_all_that_can_be_found(inspector):
    found = {label for label, _, _ in POSITIVES + FOUND}
    assert set(inspector.labels()) == found | {"opaque", "egress.tool", "egress.url"}
    assert list(inspector.labels()) == sorted(inspector.labels())


@pytest.mark.parametrize(
    ("digits", "right"),
    [(b"123456789018", True), (b"123456789010", False), (b"12345678901", False), (b"000000000000", True)],
)
def test_the_check_digit_of_an_individual_number(digits, right):
    assert checks.is_my_number(digits) is right


@pytest.mark.parametrize("page", ["inspection.md", "inspection.ja.md"])
def test_every_label_is_documented(inspector, page):
    text = (Path(__file__).parents[3] / "docs" / page).read_text(encoding="utf-8")
    assert [label for label in (*inspector.labels(), PERSON_NAME) if f"`{label}`" not in text] == []


def test_no_pattern_over_bytes_takes_a_letter_of_several_bytes_for_one():
    for rule in json.loads(rules_bytes(("jp",)))["rules"]:
        for pattern in (rule["anchor"], rule["shape"], rule.get("sign", "")):
            assert not re.search(r"[^\x00-\x7f][?*+{]", pattern), pattern
            assert not re.search(r"\[[^\]]*[^\x00-\x7f]", pattern.replace("\\[", "")), pattern


def test_no_anchor_is_wider_than_its_rule_reaches():
    for rule in rules_of(("jp",)):
        assert re._parser.parse(rule.anchor.encode()).getwidth()[1] <= rule.reach, rule.anchor


def test_a_sign_occurs_wherever_its_anchor_does(inspector):
    """Seen by the values themselves: without one of these signs none of their rules would have been tried."""
    signs = {(rule.label, rule.sign or rule.anchor) for rule in rules_of(("jp",))}
    table = folding_table(alone=True)
    for label, text, _ in POSITIVES + FOUND:
        folded = f"\x1e{fold(text, table)}\x1e".encode()
        assert any(re.search(sign.encode(), folded) for owner, sign in signs if owner == label), text


def test_signs_of_secrets_have_no_long_repeats():
    """Hyperscan's time is quadratic in `nvapi-nvapi-…` where a repeat of sixty follows what begins over and over."""
    for rule in rules_of(("jp",)):
        if rule.label == "secret.api_key":
            assert max(map(int, re.findall(r"\{(?:[0-9]+,)?([0-9]+)\}", rule.sign))) <= 10, rule.sign


@pytest.mark.parametrize("ahead", [65_520, 65_530, 65_536, 69_000, 70_140, 70_144, 140_000])
@pytest.mark.parametrize("filler", ["x", "あ", "🍣"])
def test_a_value_wherever_in_a_long_text(inspector, filler, ahead):
    text = filler * (ahead // len(filler.encode())) + " 個人番号は123456789018です、鍵 ghp_" + "a1B2c3D4e5F6" * 3
    assert [span.label for span in inspector.spans(text)] == ["jp.my_number", "secret.api_key"]
    assert inspector.inspect({"a": text}).labels == ("jp.my_number", "secret.api_key")


def test_rules_are_canonical_and_stable():
    assert canonical.encode(canonical.decode(rules_bytes(("jp",)))) == rules_bytes(("jp",))
    assert compile_inspector(rules_bytes(("jp",))).rules_digest == compile_inspector(rules_bytes(("jp",))).rules_digest


@pytest.mark.parametrize(
    ("key", "value"),
    [("anchor", "("), ("shape", "("), ("check", "no such check"), ("tail", 10**9), ("label", 1)],
)
def test_a_rule_that_cannot_run_is_refused_by_name(key, value):
    rules = json.loads(rules_bytes(("jp",)))
    rules["rules"][0][key] = value
    with pytest.raises(RulesError):
        compile_inspector(canonical.encode(rules))


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"format":3,"rules":[]}', b'{"rules":[],"format":1}', b"\xff"])
def test_bytes_that_are_no_rule_set_are_refused(data):
    with pytest.raises(RulesError):
        compile_inspector(data)


@pytest.mark.parametrize("written", [b'{"format":1,"rules":[]}', b'{"format":3,"more":1,"rules":[{"new":1}]}'])
def test_rules_of_another_version_are_named_with_what_to_do(written):
    with pytest.raises(RulesError, match=f"format {json.loads(written)['format']}, this software reads 2") as raised:
        compile_inspector(written)
    assert "sekisho up" in raised.value.remedy
