"""What has one form all over the world: addresses of mail, telephone numbers with a country's code, payment cards,
bank account numbers (IBAN), machine-readable zones of passports."""

from collections.abc import Mapping
from typing import Final

from sekisho.inspection.checks import (
    always,
    has_varied_digits,
    is_email,
    is_iban,
    is_international_phone,
    is_passport_mrz,
    is_payment_card,
    is_varied,
    looks_like_password,
    looks_like_token,
    looks_secret,
    passes_luhn_digits,
)
from sekisho.inspection.rule_data import Check, RuleData

CHECKS: Final[Mapping[str, Check]] = {
    "always": always,
    "email": is_email,
    "iban": is_iban,
    "international_phone": is_international_phone,
    "luhn": passes_luhn_digits,
    "passport_mrz": is_passport_mrz,
    "password": looks_like_password,
    "payment_card": is_payment_card,
    "secret": looks_secret,
    "token": looks_like_token,
    "varied": is_varied,
    "varied_digits": has_varied_digits,
}
# A group of four in a longer row of such groups is a table (or a card), so a space must not lead on to another one.
ROW_BEFORE: Final = "(?:[^0-9 ]|[^0-9] |[^0-9][0-9]{1,3} )"
ROW_AFTER: Final = "(?:[^0-9 ]| [^0-9]| [0-9]{1,3}[^0-9])"

# Around a bare number, so that it is no part of a longer one.
ALONE: Final = "(?<![0-9A-Za-z])(?<![0-9][.,-])"
END: Final = "(?![0-9A-Za-z]|[.,-][0-9])"

# What a number is when one of these words, and none of a profile's own, stands before it.
OTHER_NUMBERS: Final = (
    *("order number", "order no", "order id", "order #", "tracking number", "tracking no", "serial number"),
    *("serial no", "ticket number", "ticket no", "case number", "reference number", "product code", "part number"),
    *("invoice number", "timestamp", "unix time", "epoch", "build number", "commit", "total", "sku", "job id", "isbn"),
)

# Signs of numbers: six digits in a row, or three behind a gap. On dense digits many anchors at once cost ten times as
# much to look for.
RUN: Final = "[0-9]{6}"
GROUP: Final = "[0-9][ \\t\\r\\n()._/-]{1,3}[0-9]{3}"


def rules() -> list[RuleData]:
    return [_email(), _international_phone(), *_payment_card(), _iban(), _passport_mrz()]


def _email() -> RuleData:
    local = "[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}"
    return RuleData(
        label="email",
        sign="@[A-Za-z0-9]",
        anchor=f"{local}@[A-Za-z0-9][A-Za-z0-9-]{{0,62}}\\.",
        shape=f"{local}@[A-Za-z0-9-]{{1,63}}(?:\\.[A-Za-z0-9-]{{1,63}}){{1,8}}",
        reach=129,
        check="email",
        tail=255,  # RFC 5321 section 4.5.3.1.2
    )


def _international_phone() -> RuleData:
    """+81 90-1234-5678, +1 (415) 555-0132"""
    separator = "[ ().-]{1,3}"
    return RuleData(
        label="phone",
        anchor="\\+[1-9](?:[ ().-]{0,3}[0-9]){7}",
        shape=f"(?<![A-Za-z0-9+])\\+[1-9][0-9]{{0,3}}(?:{separator}[0-9]{{1,5}}){{1,5}}(?![0-9A-Za-z])"
        "|(?<![A-Za-z0-9+])\\+[1-9][0-9]{8,14}(?![0-9A-Za-z]|[.,][0-9])",
        check="international_phone",
    )


def _payment_card() -> list[RuleData]:
    label = check = "payment_card"
    return [
        RuleData(
            label=label,
            anchor="[^0-9][2-6][0-9]{12,18}[^0-9]",
            sign=RUN,
            reach=24,
            shape="(?<![0-9A-Za-z])(?<![0-9][.])[2-6][0-9]{12,18}(?![0-9A-Za-z]|[.][0-9])",
            check=check,
        ),
        RuleData(
            label=label,
            sign=GROUP,
            reach=36,
            anchor="[^0-9][2-6][0-9]{3}(?:-[0-9]{4}){3}(?:-[0-9]{3})?[^0-9]",
            shape="(?<![0-9])(?<![0-9]{4}-)[2-6][0-9]{3}(?:-[0-9]{4}){3}(?:-[0-9]{3})?(?![0-9]|-[0-9]{4})",
            check=check,
        ),
        RuleData(
            label=label,
            sign=GROUP,
            reach=36,
            anchor=f"{ROW_BEFORE}[2-6][0-9]{{3}}(?: [0-9]{{4}}){{3}}(?:{ROW_AFTER}| [0-9]{{3}}[^0-9])",
            shape="(?<![0-9])(?<![0-9]{4}[ -])[2-6][0-9]{3}(?: [0-9]{4}){3}(?: [0-9]{3})?(?![0-9]|[ -][0-9]{4})",
            check=check,
        ),
        RuleData(
            label=label,
            sign=GROUP,
            reach=36,
            anchor="[^0-9]3[0-9]{3}[ -][0-9]{6}[ -][0-9]{4,5}[^0-9]",
            shape="(?<![0-9])3[0-9]{3}([ -])[0-9]{6}\\1[0-9]{4,5}(?![0-9])",
            check=check,
        ),
    ]


def _iban() -> RuleData:
    """ISO 13616: in print groups of four, else without spaces."""
    return RuleData(
        label="iban",
        anchor="[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4} ?[A-Z0-9]{4} ?[A-Z0-9]{3}",
        shape="(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:(?: [A-Z0-9]{4}){2,7}(?: [A-Z0-9]{1,3})?|[A-Z0-9]{11,30})"
        "(?![A-Za-z0-9])",
        check="iban",
    )


def _passport_mrz() -> RuleData:
    """The second line of a TD3 document, and the first before it where it is there (ICAO Doc 9303 part 4)."""
    line = "[A-Z0-9<]{9}[0-9][A-Z<]{3}[0-9]{6}[0-9][MFX<][0-9]{6}[0-9][A-Z0-9<]{14}[0-9<][0-9]"
    return RuleData(
        label="passport_mrz",
        anchor=line.replace("[A-Z0-9<]{14}[0-9<][0-9]", ""),
        shape=f"(?:P[A-Z<][A-Z<]{{42}}[ \\r\\n\\\\n]{{1,4}})?(?<![A-Za-z0-9<]){line}(?![A-Za-z0-9<])",
        check="passport_mrz",
        lead=48,
    )
