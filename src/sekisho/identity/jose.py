"""The strict forms that tokens and key sets share: base64url and JSON. Pure.

Both say everything once: one text has one meaning, for us and for whoever else reads the same bytes.
"""

import base64
import binascii
import json
import re
from typing import Any, Final

from sekisho.kernel.base64url import unpadded

_ALPHABET: Final = re.compile(rb"[A-Za-z0-9_-]*")


def base64url(text: bytes) -> bytes:
    """RFC 7515 section 2: no padding, and no bits left over that could be anything. Raises ValueError."""
    if _ALPHABET.fullmatch(text) is None:
        raise ValueError("not base64url")
    try:
        data = base64.urlsafe_b64decode(text + b"=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None
    if unpadded(data).encode() != text:
        raise ValueError("base64url with bits left over")
    return data


def json_object(data: bytes) -> dict[str, Any]:
    """A JSON object in UTF-8 whose keys stand once each (RFC 7515 section 4).

    Raises ValueError. Its reason is one of ours: those of the decoders may quote what was sent, or tell of Python.
    """
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except _TwoMeanings:
        raise
    except ValueError:  # UnicodeDecodeError and JSONDecodeError; plain for a number of too many digits
        raise ValueError("not JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


class _TwoMeanings(ValueError):
    """What Python's decoder would take, and others read in another way."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _TwoMeanings("a key stands twice")
    return found


def _refuse(literal: str) -> Any:
    raise _TwoMeanings(f"{literal} is not JSON")
