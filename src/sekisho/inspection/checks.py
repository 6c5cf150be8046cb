"""Check digits, number ranges and the look of secrets: what tells an identifier from any other run of characters.

Every check takes the bytes that a rule's shape matched (folded text, separators included) and says yes or no.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

_NOT_DIGITS: Final = bytes(set(range(256)) - set(b"0123456789"))

# From the right, without the check digit (Ordinance of the Ministry of Internal Affairs No. 85 of 2014, article 5).
_MY_NUMBER_WEIGHTS: Final = (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)

# Issuer ranges as (first prefix, last prefix, lengths), after ISO/IEC 7812 and the schemes' own publications.
_CARD_RANGES: Final = (
    ("4", "4", frozenset({13, 16, 19})),  # Visa
    ("51", "55", frozenset({16})),  # Mastercard
    ("2221", "2720", frozenset({16})),  # Mastercard
    ("34", "34", frozenset({15})),  # American Express
    ("37", "37", frozenset({15})),
    ("3528", "3589", frozenset(range(16, 20))),  # JCB
    ("300", "305", frozenset(range(14, 20))),  # Diners Club
    ("3095", "3095", frozenset(range(14, 20))),
    ("36", "36", frozenset(range(14, 20))),
    ("38", "39", frozenset(range(14, 20))),
    ("6011", "6011", frozenset(range(16, 20))),  # Discover
    ("644", "659", frozenset(range(16, 20))),
    ("62", "62", frozenset(range(16, 20))),  # UnionPay
)

_SCALED_IMAGE: Final = re.compile(rb"[0-9]x\.(?:png|jpe?g|gif|webp|svg)", re.IGNORECASE)
_LABEL_MAX: Final = 63  # RFC 1035 section 2.3.4
_INTERNATIONAL_DIGITS: Final = range(8, 16)  # E.164: at most 15; shorter than 8 is no subscriber's number
_SECRET_DISTINCT_MIN: Final = 8  # "xxxxxxxx…" and "your-api-key-here" style placeholders have fewer, or no digit


def digits_of(value: bytes) -> bytes:
    """The ASCII digits of `value`, in order."""
    return value.translate(None, _NOT_DIGITS)


def is_my_number(value: bytes) -> bool:
    """Twelve digits whose last is the check digit of an individual number (個人番号)."""
    digits = digits_of(value)
    if len(digits) != 12:
        return False
    remainder = sum((d - 48) * w for d, w in zip(digits, _MY_NUMBER_WEIGHTS, strict=False)) % 11
    return digits[11] - 48 == (0 if remainder <= 1 else 11 - remainder)


def passes_luhn(digits: bytes) -> bool:
    """The check of ISO/IEC 7812-1 annex B."""
    total = 0
    for position, digit in enumerate(reversed(digits)):
        doubled = (digit - 48) << (position & 1)
        total += doubled - 9 if doubled > 9 else doubled
    return total % 10 == 0


def is_payment_card(value: bytes) -> bool:
    """A length and prefix that an issuer uses, and the Luhn check."""
    digits = digits_of(value)
    text = digits.decode()
    known = any(first <= text[: len(first)] <= last and len(text) in lengths for first, last, lengths in _CARD_RANGES)
    return known and passes_luhn(digits) and len(set(text)) > 1


def is_domestic_phone(value: bytes) -> bool:
    """A Japanese number in national form: ten digits, or eleven with 050, 060, 070, 080, 090 or 0800."""
    digits = digits_of(value)
    if len(digits) == 11:
        return (digits[2:3] == b"0" and digits[1:2] in b"56789") or digits.startswith(b"0800")
    return len(digits) == 10 and digits[1:2] != b"0" and len(set(digits)) > 2


def is_international_phone(value: bytes) -> bool:
    """`+`, a country's code and a subscriber's number: E.164 allows fifteen digits."""
    digits = digits_of(value)
    if digits.startswith(b"81"):
        return len(digits.removeprefix(b"810" if digits.startswith(b"810") else b"81")) in (9, 10)
    return len(digits) in _INTERNATIONAL_DIGITS and len(set(digits)) > 2


def is_email(value: bytes) -> bool:
    """An address with a dotted domain whose last label is alphabetic; `git@` remotes and `icon@2x.png` are none."""
    local, _, domain = value.rpartition(b"@")
    labels = domain.split(b".")
    if local.startswith(b".") or local.endswith(b".") or b".." in local or local == b"git":
        return False
    if any(not 0 < len(label) <= _LABEL_MAX or label[:1] == b"-" or label[-1:] == b"-" for label in labels):
        return False
    return len(labels) > 1 and len(labels[-1]) > 1 and labels[-1].isalpha() and not _SCALED_IMAGE.fullmatch(domain)


def looks_secret(value: bytes) -> bool:
    """Letters and digits, and enough different ones: names and placeholders in that position have not."""
    return (
        any(48 <= byte <= 57 for byte in value)
        and any(byte > 57 for byte in value)
        and len(set(value)) >= _SECRET_DISTINCT_MIN
    )


def always(_value: bytes) -> bool:
    """The format alone is strong enough."""
    return True


CHECKS: Final[Mapping[str, Callable[[bytes], bool]]] = {
    "always": always,
    "domestic_phone": is_domestic_phone,
    "email": is_email,
    "international_phone": is_international_phone,
    "my_number": is_my_number,
    "payment_card": is_payment_card,
    "secret": looks_secret,
}
