"""Check digits and number ranges of Japanese identifiers. Each takes the bytes of a match, separators included."""

import re
from collections.abc import Mapping
from typing import Final

from sekisho.inspection.checks import digits_of, passes_luhn, weighted
from sekisho.inspection.rule_data import Check

# From the right, without the check digit (Ordinance of the Ministry of Internal Affairs No. 85 of 2014, article 5).
_MY_NUMBER_WEIGHTS: Final = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)
_CORPORATE_WEIGHTS: Final = (2, 1) * 6  # from the right 1, 2, 1, 2 …
_LICENCE_WEIGHTS: Final = (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)  # not published by the police; as the numbers in use bear out
# Public safety commissions, by the first two digits: Hokkaido's five areas, then the prefectures by region.
_COMMISSIONS: Final = frozenset(
    f"{code}".encode()
    for code in (
        *(*range(10, 15), *range(20, 26), 30, *range(40, 50), *range(50, 56), *range(60, 66)),
        *(*range(70, 75), *range(80, 84), *range(90, 98)),
    )
)
# Area codes in use, from libphonenumber's metadata for Japan (Apache-2.0), without the leading 0 of national form.
_FIXED_LINE: Final = re.compile(
    rb"0(?:(?:1(?:1[235-8]|2[3-6]|3[3-9]|4[2-6]|[58][2-8]|6[2-7]|7[2-9]|9[1-9])|(?:2[2-9]|[36][1-9])\d"
    rb"|4(?:[2-578]\d|6[02-8]|9[2-59])|5(?:[2-589]\d|6[1-9]|7[2-8])|7(?:[25-9]\d|3[4-9]|4[02-9])"
    rb"|8(?:[2679]\d|3[2-9]|4[5-9]|5[1-9]|8[03-9])|9(?:[2-58]\d|[679][1-9]))\d{6}"
    rb"|(?:120|570|990)\d{6}|60\d{7})"
)
_MOBILE: Final = re.compile(rb"0(?:[5-9]0[0-9]\d{7}|800\d{7})")


def is_my_number(value: bytes) -> bool:
    """Twelve digits whose last is the check digit of an individual number (個人番号)."""
    digits = digits_of(value)
    if len(digits) != 12:
        return False
    remainder = weighted(digits, _MY_NUMBER_WEIGHTS) % 11
    return digits[11] - 48 == (0 if remainder <= 1 else 11 - remainder)


def is_corporate_number(value: bytes) -> bool:
    """Thirteen digits whose first is the check digit (法人番号; Ordinance No. 70 of 2014, article 2)."""
    digits = digits_of(value)
    if len(digits) != 13:
        return False
    return digits[0] - 48 == 9 - weighted(digits[1:], _CORPORATE_WEIGHTS) % 9


def is_drivers_licence(value: bytes) -> bool:
    """Twelve digits: a commission that there is, and the check digit in the eleventh place."""
    digits = digits_of(value)
    if len(digits) != 12 or digits[:2] not in _COMMISSIONS:
        return False
    return digits[10] - 48 == (11 - weighted(digits, _LICENCE_WEIGHTS) % 11) % 10


def is_insurer_number(value: bytes) -> bool:
    """Eight digits, or six of national health insurance, with the Luhn check (検証番号)."""
    digits = digits_of(value)
    return len(digits) in (6, 8) and len(set(digits)) > 1 and passes_luhn(digits)


def is_domestic_phone(value: bytes) -> bool:
    """A number in national form with an area code in use, ten digits; or mobile, IP and free ones of eleven."""
    digits = digits_of(value)
    if len(digits) == 11:
        return _MOBILE.fullmatch(digits) is not None
    return len(digits) == 10 and len(set(digits)) > 2 and _FIXED_LINE.fullmatch(digits) is not None


CHECKS: Final[Mapping[str, Check]] = {
    "corporate_number": is_corporate_number,
    "domestic_phone": is_domestic_phone,
    "drivers_licence": is_drivers_licence,
    "insurer_number": is_insurer_number,
    "my_number": is_my_number,
}
