"""Identifiers beyond My Number and telephones: what each label finds, and the hard negatives beside them."""

import pytest

from inspection_cases import FOUND, MRZ, NOT_FOUND
from sekisho.inspection import checks
from sekisho.inspection.profiles.jp import checks as jp


@pytest.mark.parametrize(("label", "text", "value"), FOUND)
def test_finds_the_identifier(inspector, label, text, value):
    spans = [span for span in inspector.spans(text) if span.label == label]
    assert spans, inspector.spans(text)
    if value is not None:
        assert [text[span.start : span.end] for span in spans] == [value]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_hard_negatives_have_no_label(inspector, text):
    assert inspector.spans(text) == ()


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        (jp.is_corporate_number, b"7010001008844", b"8010001008844"),
        (jp.is_corporate_number, b"7010001008844", b"701000100884"),
        (jp.is_drivers_licence, b"301234567810", b"301234567820"),
        (jp.is_insurer_number, b"06130017", b"06130071"),
        (jp.is_insurer_number, b"138016", b"0000000"),
        (jp.is_domestic_phone, b"0312345678", b"0112345678"[::-1]),
        (jp.is_domestic_phone, b"09012345678", b"01012345678"),
        (checks.is_iban, b"DE89370400440532013000", b"DE88370400440532013000"),
        (checks.is_iban, b"DE89370400440532013000", b"DE89"),
        (checks.is_passport_mrz, MRZ.encode(), MRZ.replace("UTO74", "UTO75").encode()),
        (checks.looks_like_password, b"hunter2", b"<password>"),
        (checks.looks_like_password, b"hunter2", b"your-password"),
    ],
)
def test_checks(check, right, wrong):
    assert check(right)
    assert not check(wrong)
