"""Check letters and number ranges of Singapore's identifiers. Each takes the bytes of a match, separators included.

None of the check letters is published by who issues the numbers. Those here are the ones that validators in wide use
agree on, and that numbers in use bear out.
"""

import re
from collections.abc import Mapping
from typing import Final

from sekisho.inspection.checks import digits_of
from sekisho.inspection.rule_data import Check

_NRIC_WEIGHTS: Final = (2, 7, 6, 5, 4, 3, 2)
# By series: what is added to the weighted sum, and the check letter by the remainder modulo 11. S and T: citizens and
# permanent residents, born before and from 2000 on; F, G and M: foreigners, M from 1 January 2022 on.
_NRIC_SERIES: Final = {
    "S": (0, "JZIHGFEDCBA"),
    "T": (4, "JZIHGFEDCBA"),
    "F": (0, "XWUTRQPNMLK"),
    "G": (4, "XWUTRQPNMLK"),
    "M": (3, "XWUTRQPNJLK"),
}
_BUSINESS: Final = ((10, 4, 9, 3, 8, 2, 7, 1), "XMKECAWLJDB")
_COMPANY: Final = ((10, 8, 6, 4, 9, 7, 5, 3, 1), "ZKCMDNERGWH")
_ENTITY_WEIGHTS: Final = (4, 3, 5, 3, 10, 2, 2, 5, 7)
_ENTITY_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWX0123456789"
# What the two letters of other entities' numbers say, as the register of UEN lists them.
_ENTITY_TYPES: Final = frozenset({
    "CC", "CD", "CH", "CL", "CM", "CP", "CS", "CX", "DP", "FB", "FC", "FM", "FN", "GA", "GB", "GS", "HS", "LL", "LP",
    "MB", "MC", "MD", "MH", "MM", "MQ", "NB", "NR", "PA", "PB", "PF", "RF", "RP", "SM", "SS", "TC", "TU", "VH", "XL",
})  # fmt: skip
# Mobile, fixed, and IP telephony: the first digits in use of the eight; toll-free numbers have 800 or 1800.
_PHONE: Final = re.compile(rb"(?:65)?(?:8\d{7}|9[0-8]\d{6}|6\d{7}|3[12]\d{6})|1?800\d{7}")
# Postal sectors, the first two digits; 74 is in no district.
_SECTORS: Final = frozenset(b"%02d" % sector for sector in range(1, 83) if sector != 74)


def is_nric(value: bytes) -> bool:
    """A letter of series, seven digits and their check letter (NRIC and FIN), in either case."""
    letters = _letters(value)
    digits = digits_of(value)
    if len(letters) != 2 or len(digits) != 7 or letters[0] not in _NRIC_SERIES:
        return False
    offset, check = _NRIC_SERIES[letters[0]]
    return check[(offset + _weighted(digits, _NRIC_WEIGHTS)) % 11] == letters[1]


def is_uen(value: bytes) -> bool:
    """A Unique Entity Number of a business (8 digits), a local company (its year and 5 digits) or another entity
    (R, S or T, the year, the type in two letters, 4 digits), with its check letter."""
    text = value.decode("ascii", "replace").upper()
    if len(text) == 10 and not text[:9].isdigit():
        return _is_entity(text)
    weights, check = _COMPANY if len(text) == 10 else _BUSINESS
    digits = text[:-1]
    if len(digits) != len(weights) or not digits.isdigit() or len(set(digits)) < 3:
        return False
    return check[_weighted(digits.encode(), weights) % 11] == text[-1]


def _is_entity(text: str) -> bool:
    if text[3:5] not in _ENTITY_TYPES or not set(text) <= set(_ENTITY_LETTERS):
        return False
    places = [_ENTITY_LETTERS.index(letter) for letter in text[:9]]
    total = sum(place * weight for place, weight in zip(places, _ENTITY_WEIGHTS, strict=True))
    return _ENTITY_LETTERS[(total - 5) % 11] == text[9]


def is_singapore_phone(value: bytes) -> bool:
    """Eight digits that begin as numbers in use do, with or without 65 before; or a toll-free number."""
    digits = digits_of(value)
    return len(set(digits)) > 2 and _PHONE.fullmatch(digits) is not None


def is_singapore_postal_code(value: bytes) -> bool:
    """Six digits that begin with a postal sector."""
    digits = digits_of(value)
    return len(digits) == 6 and digits[:2] in _SECTORS and len(set(digits)) > 1


def _letters(value: bytes) -> str:
    return "".join(chr(byte) for byte in value if chr(byte).isalpha()).upper()


def _weighted(digits: bytes, weights: tuple[int, ...]) -> int:
    return sum((digit - 48) * weight for digit, weight in zip(digits, weights, strict=True))


CHECKS: Final[Mapping[str, Check]] = {
    "nric": is_nric,
    "singapore_phone": is_singapore_phone,
    "singapore_postal_code": is_singapore_postal_code,
    "uen": is_uen,
}
