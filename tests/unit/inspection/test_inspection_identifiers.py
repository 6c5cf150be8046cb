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


@pytest.mark.parametrize(
    ("check", "value"),
    [
        # From the right 1 0 9 8 7 6 5 4 3 2 1 by 2 3 4 5 6 7 2 3 4 5 6 is 212, which is 3 modulo 11: 11 - 3.
        (jp.is_my_number, b"123456789018"),
        (jp.is_my_number, b"000000000620"),  # 2 * 2 + 6 * 3 = 22, 0 modulo 11
        (jp.is_my_number, b"000000000060"),  # 6 * 2 = 12, 1 modulo 11
        (jp.is_my_number, b"000000000051"),  # 5 * 2 = 10, so 11 - 10
        # From the right 2 0 0 0 5 0 2 1 0 0 0 0 by 1 2 1 2 … is 11, which is 2 modulo 9: 9 - 2.
        (jp.is_corporate_number, b"7000012050002"),
        (jp.is_corporate_number, b"9000000000009"),  # 0 modulo 9
        # 3 0 1 2 3 4 5 6 7 8 by 5 4 3 2 7 6 5 4 3 2 is 153, which is 10 modulo 11: 11 - 10.
        (jp.is_drivers_licence, b"301234567810"),
        (jp.is_drivers_licence, b"300010000010"),  # 3 * 5 + 1 * 7 = 22: 11 - 0, modulo 10
        (jp.is_drivers_licence, b"300400000000"),  # 3 * 5 + 4 * 2 = 23: 11 - 1, modulo 10
        # From the right 1 0 0 3 1 6 0 by 2 1 2 1 2 1 2 is 13: 10 - 3.
        (jp.is_insurer_number, b"06130017"),
        (jp.is_insurer_number, b"138016"),  # 1 0 8 3 1 by 2 1 2 1 2, 16 counted as 1 + 6, is 14: 10 - 4
        (checks.passes_luhn, b"79927398713"),  # the example of ISO/IEC 7812's readers: 70
        (checks.is_payment_card, b"378282246310005"),
        (checks.is_iban, b"GB82WEST12345698765432"),
    ],
)
def test_check_digits_worked_out_by_hand(check, value):
    """And no other digit in the check digit's place."""
    place = {jp.is_corporate_number: 0, jp.is_drivers_licence: 10, checks.is_iban: 3}.get(check, len(value) - 1)
    others = [value[:place] + b"%d" % digit + value[place + 1 :] for digit in range(10)]
    assert [other for other in others if check(other)] == [value]


@pytest.mark.parametrize(
    ("field", "digit"),
    [(b"520727", b"3"), (b"AB2134<<<", b"5"), (b"L898902C3", b"6"), (b"740812", b"2"), (b"120415", b"9")],
)
def test_check_digits_of_doc_9303(field, digit):
    assert checks.mrz_check_digit(field) == digit


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("jp.my_number", ["1234-5678-9018", "1234-5678-9018", "1234-5678-9018"]),
        ("payment_card", ["4111-1111-1111-1111", "5555-5555-5555-4444"]),
        ("payment_card", ["4111 1111 1111 1111", "5555 5555 5555 4444"]),
        ("phone", ["090-1234-5678", "03-1234-5678", "0120-123-456"]),
        ("email", ["taro@example.jp", "hanako@example.jp"]),
    ],
)
@pytest.mark.parametrize("between", [" ", ", ", "\n", "\t", "、", " 2026 "])
def test_numbers_in_a_row_are_each_found(inspector, label, values, between):
    if " " in values[0] and between in (" ", " 2026 "):
        pytest.skip("groups of four with spaces between in a longer row of them are a table")
    text = between.join(values)
    assert [(text[span.start : span.end], span.label) for span in inspector.spans(text)] == [
        (value, label) for value in values
    ]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("phone", "090 - 1234 - 5678"),
        ("phone", "090\n1234\n5678"),
        ("phone", "090\t1234\t5678"),
        ("phone", "090/1234/5678"),
        ("phone", "0463 - 12 - 3456"),
        ("phone", "+81 - 90 - 1234 - 5678"),
        ("jp.my_number", "個人番号 1234 - 5678 - 9018"),
        ("jp.bank_account", "普通1234567"),
    ],
)
def test_gaps_that_people_leave(inspector, label, text):
    assert [span.label for span in inspector.spans(text)] == [label]
