"""Canonical JSON: RFC 8785 over the values we allow ourselves.

Allowed: null, booleans, integers of at most 53 bits, strings without lone surrogates, arrays, and objects with
ASCII keys. Within that set RFC 8785 needs no number formatting (no floats) and its key order by UTF-16 code units
(section 3.2.3) equals the order of bytes, so the standard library's encoder writes it exactly.
"""

import json
from typing import Any, Final, NoReturn

from sekisho.kernel.errors import CanonicalError

INTEGER_MAX: Final = 2**53 - 1  # RFC 7493 section 2.2: beyond it, readers that use doubles disagree
DEPTH_MAX: Final = 64  # ours nest five deep; a bound keeps hostile input from exhausting the stack

ALLOWED: Final = "null, booleans, integers, strings, arrays and objects"


def encode(value: object) -> bytes:
    """The canonical bytes (UTF-8, no newline) of `value`; raises CanonicalError where it has none."""
    _require_canonical(value, 0)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise CanonicalError(
            "a string holds a lone surrogate", remedy="Only well-formed Unicode can be recorded"
        ) from None


def decode(data: bytes) -> Any:
    """The value whose canonical bytes are exactly `data`; raises CanonicalError for any others."""
    try:
        value = json.loads(data.decode(), parse_float=_refuse_float, parse_constant=_refuse_float)
    except (ValueError, RecursionError) as error:
        raise CanonicalError(f"not JSON: {error}") from None
    # Re-serialising is the strictest test there is: duplicate keys, white space, escapes, key order all show.
    if encode(value) != data:
        raise CanonicalError("JSON, but not in canonical form (RFC 8785)")
    return value


def _refuse_float(literal: str) -> NoReturn:
    raise CanonicalError(f"{literal} is not an integer")


def _require_canonical(value: object, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise CanonicalError(f"nested deeper than {DEPTH_MAX}")
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) > INTEGER_MAX:
            raise CanonicalError(f"{value} does not fit 53 bits")
    elif isinstance(value, list | tuple):
        for item in value:
            _require_canonical(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise CanonicalError(f"object key {key!r} is not ASCII text")
            _require_canonical(item, depth + 1)
    else:
        raise CanonicalError(f"{type(value).__name__} has no canonical form", remedy=f"Use {ALLOWED}")
