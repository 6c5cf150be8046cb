"""Check digits, number ranges and the look of secrets: what tells an identifier from any other run of characters.

Every check takes the bytes that a rule's shape matched (folded text, separators included) and says yes or no.
"""

import operator
import re
from typing import Final

_NOT_DIGITS: Final = bytes(set(range(256)) - set(b"0123456789"))
# The value of a digit, and the sum of the digits of its double.
_VALUES: Final = bytes(code - 48 if 48 <= code < 58 else 0 for code in range(256))
_DOUBLED: Final = bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9, *range(10, 256)))

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
_FILLER: Final = ord("<")
_IBAN_LENGTHS: Final = (15, 34)  # Norway's; the standard's maximum
_PLACEHOLDER: Final = re.compile(
    rb"[$%<{\[*].*|[xX.*]+|(?:your[_-]?)?(?:pass(?:word|wd)?|pwd|secret|pw)(?:[_-]?here)?", re.IGNORECASE | re.DOTALL
)
_LABEL_MAX: Final = 63  # RFC 1035 section 2.3.4
_INTERNATIONAL_DIGITS: Final = range(8, 16)  # E.164: at most 15; shorter than 8 is no subscriber's number
_LOOKED_AT: Final = 256  # bytes of a secret: one that may have 4,096 is told from a placeholder by fewer
_SECRET_DISTINCT_MIN: Final = 8  # "xxxxxxxx…" and "your-api-key-here" style placeholders have fewer, or no digit


def digits_of(value: bytes) -> bytes:
    """The ASCII digits of `value`, in order."""
    return value.translate(None, _NOT_DIGITS)


def weighted(digits: bytes, weights: tuple[int, ...]) -> int:
    """The sum of each digit (ASCII) by its weight; of the shorter of the two."""
    return sum(map(operator.mul, digits.translate(_VALUES), weights))


def passes_luhn(digits: bytes) -> bool:
    """The check of ISO/IEC 7812-1 annex B."""
    ordered = digits[::-1].translate(_VALUES)
    total = sum(ordered[::2]) + sum(ordered[1::2].translate(_DOUBLED))
    return total % 10 == 0


def is_payment_card(value: bytes) -> bool:
    """A length and prefix that an issuer uses, and the Luhn check."""
    digits = digits_of(value)
    text = digits.decode()
    known = any(first <= text[: len(first)] <= last and len(text) in lengths for first, last, lengths in _CARD_RANGES)
    return known and passes_luhn(digits) and len(set(text)) > 1


def is_international_phone(value: bytes) -> bool:
    """`+`, a country's code and a subscriber's number: E.164 allows fifteen digits."""
    digits = digits_of(value)
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
    seen = set(value[:_LOOKED_AT])
    return len(seen) >= _SECRET_DISTINCT_MIN and not seen.isdisjoint(b"0123456789") and max(seen) > 57


def looks_like_token(value: bytes) -> bool:
    """What follows an issuer's prefix: enough different characters, and a digit or letters of both cases."""
    value = value[:_LOOKED_AT]
    seen = set(value)
    mixed = not seen.isdisjoint(b"0123456789") or value not in (value.lower(), value.upper())
    return mixed and len(seen) >= _SECRET_DISTINCT_MIN


def is_varied(value: bytes) -> bool:
    """Enough different characters, for forms that hold nothing but capitals and digits."""
    return len(set(value[:_LOOKED_AT])) >= _SECRET_DISTINCT_MIN


def has_varied_digits(value: bytes) -> bool:
    """No dummy: at least three different digits."""
    return len(set(digits_of(value))) > 2


def always(_value: bytes) -> bool:
    """The format alone is strong enough."""
    return True


def passes_luhn_digits(value: bytes) -> bool:
    """The Luhn check over the digits of `value`, which are not all the same."""
    digits = digits_of(value)
    return len(set(digits)) > 1 and passes_luhn(digits)


def is_iban(value: bytes) -> bool:
    """The check digits of ISO 13616: the number with its first four characters at the end is 1 modulo 97."""
    packed = value.replace(b" ", b"")
    if not _IBAN_LENGTHS[0] <= len(packed) <= _IBAN_LENGTHS[1]:
        return False
    return int("".join(str(int(chr(byte), 36)) for byte in packed[4:] + packed[:4])) % 97 == 1


def is_passport_mrz(value: bytes) -> bool:
    """Every check digit of a TD3 document's second line (ICAO Doc 9303 part 4, section 4.2.2)."""
    line = value[-44:]
    composite = line[0:10] + line[13:20] + line[21:43]
    fields = ((line[0:9], line[9:10]), (line[13:19], line[19:20]), (line[21:27], line[27:28]), (composite, line[43:44]))
    return all(mrz_check_digit(field) == digit for field, digit in fields)


def mrz_check_digit(field: bytes) -> bytes:
    """Weights 7, 3, 1; letters count from 10, `<` as 0 (ICAO Doc 9303 part 3, section 4.9)."""
    total = sum(
        (0 if byte == _FILLER else int(chr(byte), 36)) * (7, 3, 1)[place % 3] for place, byte in enumerate(field)
    )
    return b"%d" % (total % 10)


def looks_like_password(value: bytes) -> bool:
    """What stands in the place of a password, alone or in `user:password@host`, and is no placeholder."""
    userinfo, at, _ = value.rpartition(b"@")
    if at:
        value = userinfo.partition(b":")[2]
    return not _PLACEHOLDER.fullmatch(value) and len(set(value)) > 1
