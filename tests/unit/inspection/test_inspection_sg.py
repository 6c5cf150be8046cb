"""Singapore's profile: what each label finds, the hard negatives beside them, and that nothing Japanese is needed."""

import json
import re
from collections import Counter

import pytest

from sekisho.inspection.normalise import fold, folding_table
from sekisho.inspection.profiles import rules_of
from sekisho.inspection.profiles.sg import checks
from sekisho.inspection.rules import compile_inspector, rules_bytes

FOUND = [
    ("sg.nric", "NRIC: S1234567D", "S1234567D"),
    ("sg.nric", "S1234567D", "S1234567D"),
    ("sg.nric", "T1234567J is the child", "T1234567J"),
    ("sg.nric", "her FIN is F1234567N", "F1234567N"),
    ("sg.nric", "G1234567X", "G1234567X"),
    ("sg.nric", "FIN M1234567K since 2022", "M1234567K"),
    ("sg.nric", "身份证号码：Ｓ１２３４５６７Ｄ。", "Ｓ１２３４５６７Ｄ"),
    ("sg.nric", "ic no s1234567d", "s1234567d"),
    ("sg.nric", "kad pengenalan S 123 4567 D", "S 123 4567 D"),
    ("sg.nric", "NRIC S-1234567-D", "S-1234567-D"),
    ("sg.nric", "S12\u200b34567D", "S12\u200b34567D"),
    ("sg.nric", '{"nric_no":"S1234567D"}', "S1234567D"),
    ("sg.uen", "UEN 53498049W", "53498049W"),
    ("sg.uen", "DBS Bank Ltd (co. reg. no. 196800306E)", "196800306E"),
    ("sg.uen", "公司注册号 193200032W", "193200032W"),
    ("sg.uen", "CPF submission number 196800306E-PTE-01", "196800306E"),
    ("sg.uen", "billed to T01FC6132D", "T01FC6132D"),
    ("sg.uen", "S16FC0121D", "S16FC0121D"),
    ("sg.passport", "Passport no. K1234567E", "K1234567E"),
    ("sg.passport", "护照 E7654321A", "E7654321A"),
    ("phone", "Mobile: 9123 4567", "9123 4567"),
    ("phone", "电话 61234567", "61234567"),
    ("phone", "hubungi 8123-4567", "8123-4567"),
    ("phone", "Tel: (65) 6123 4567", "(65) 6123 4567"),
    ("phone", "Tel 6123 4567", "6123 4567"),
    ("phone", "call 1800-222-2121", "1800-222-2121"),
    ("phone", "+65 9123 4567", "+65 9123 4567"),
    ("phone", "+6591234567", "+6591234567"),
    ("sg.postal_code", "1 Raffles Place, Singapore 048616", "048616"),
    ("sg.postal_code", "Ang Mo Kio Ave 3 S(560123)", "560123"),
    ("sg.postal_code", "Postal code: 079903", "079903"),
    ("sg.postal_code", "Address: 10 Anson Road #10-01 S079903", "079903"),
    ("sg.postal_code", "邮编 018956", "018956"),
    ("sg.bank_account", "DBS 005-231289-1", "005-231289-1"),
    ("sg.bank_account", "POSB 084-10239-5", "084-10239-5"),
    ("sg.bank_account", "OCBC account number 550-1089550", "550-1089550"),
    ("sg.bank_account", "UOB 910-203-101-2", "910-203-101-2"),
    ("sg.bank_account", "akaun 0052312891", "0052312891"),
    ("sg.bank_account", "bank code 7171-005-0052312891", "7171-005-0052312891"),
]
NOT_FOUND = [
    "S1234567A",  # check letter
    "NRIC S1234567E",
    "NRIC A1234567D",  # no series
    "XS1234567D",
    "S1234567DX",
    "lot s1234567d",  # lower case, and no word
    "order number S 123 4567 D, NRIC to follow",
    "commit f1234567n",
    "UEN 53498049X",
    "part 53498049W",
    "ticket no 196800306E",
    "T01ZZ6132D",  # no such entity
    "T01FC6132E",
    "K1234567E",
    "passport and serial no K1234567E",
    "91234567",
    "call me, order no 91234567",
    "phone 71234567",  # no number begins with 7
    "automatically 61234567 rows, typically 81234567",
    "hotels and intelligence 61234567",
    "unpack the zip 238801",
    "revenue was 61234567 dollars",
    "call at 2019 2020",
    "079903",
    "Postal code 740000",  # no such sector
    "Postal code 990000",
    "Singapore 250000 people",
    "postal code OTP 123456",
    "total 079903",
    "account number order no 005231289",
    "005231289",
    "DBS 1234",
    "DBS invoice number 0052312891",
    "192.168.1.123:45678",
    "2026-11-25T10:30:00",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
]


@pytest.fixture(scope="module")
def singapore():
    return compile_inspector(rules_bytes(("sg",)))


@pytest.mark.parametrize(("label", "text", "value"), FOUND)
def test_finds_the_identifier_where_it_stands(singapore, label, text, value):
    assert [(text[span.start : span.end], span.label) for span in singapore.spans(text)] == [(value, label)]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_hard_negatives_have_no_label(singapore, text):
    assert singapore.spans(text) == ()


def test_every_label_of_the_profile_has_a_case(singapore):
    universal = {rule.label for rule in rules_of(())}
    own = {rule.label for rule in rules_of(("sg",))} - universal
    assert own == {label for label, *_ in FOUND} - universal
    assert all(label.startswith("sg.") for label in own)


def test_nothing_of_another_nation_is_looked_for(singapore):
    assert [label for label in singapore.labels() if label.startswith("jp.")] == []
    assert singapore.spans("個人番号は123456789018です、〒100-8950 東京都千代田区霞が関2-1-2") == ()


def test_both_profiles_together_find_what_each_finds():
    both = compile_inspector(rules_bytes(("jp", "sg")))
    text = "NRIC S1234567D, 個人番号 123456789018"
    assert [span.label for span in both.spans(text)] == ["sg.nric", "jp.my_number"]


def test_answers_are_masked_in_pieces_as_whole(singapore):
    masking = singapore.masking(frozenset({"sg.nric", "sg.uen", "sg.bank_account"}))
    for _, text, _ in FOUND:
        pieces = masking.text(found := Counter())
        given = "".join([pieces.feed(character) for character in text]) + pieces.end()
        assert given == masking.whole(text, counted := Counter())
        assert found == counted


@pytest.mark.parametrize("value", ["S1234567D", "T1234567J", "F1234567N", "G1234567X", "M1234567K"])
def test_only_one_check_letter_of_a_series_is_right(value):
    right = [letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if checks.is_nric((value[:8] + letter).encode())]
    assert right == [value[8]]
    assert not checks.is_nric(b"A" + value[1:].encode())


@pytest.mark.parametrize(
    "value", ["00192200M", "53498049W", "196800306E", "193500026Z", "197401143C", "T01FC6132D", "S16FC0121D"]
)
def test_entity_numbers_in_use_pass_and_one_wrong_digit_fails(value):
    assert checks.is_uen(value.encode())
    for place, digit in enumerate(value[:-1]):
        if digit.isdigit():
            wrong = value[:place] + str((int(digit) + 1) % 10) + value[place + 1 :]
            assert not checks.is_uen(wrong.encode()), wrong


@pytest.mark.parametrize("value", [b"", b"W", b"00000000X", b"T01FC613\xe3D", b"1968003O6E", b"T01"])
def test_what_has_not_the_form_of_an_entity_number_is_none(value):
    assert not checks.is_uen(value)


def test_anchors_reach_and_signs_hold():
    table = folding_table(alone=True)
    rules = rules_of(("sg",))
    for rule in rules:
        assert re._parser.parse(rule.anchor.encode()).getwidth()[1] <= rule.reach, rule.anchor
    for rule in json.loads(rules_bytes(("sg",)))["rules"]:
        for pattern in (rule["anchor"], rule["shape"], rule.get("sign", "")):
            assert not re.search(r"[^\x00-\x7f][?*+{]", pattern), pattern
            assert not re.search(r"\[[^\]]*[^\x00-\x7f]", pattern.replace("\\[", "")), pattern
    for label, text, _ in FOUND:
        folded = f"\x1e{fold(text, table)}\x1e".encode()
        signs = {rule.sign or rule.anchor for rule in rules if rule.label == label}
        assert any(re.search(sign.encode(), folded) for sign in signs), text
