"""Commitments to content that the log does not keep. Pure.

A commitment is `{"bytes":n,"salt_sha256":hex,"sha256":hex}` with sha256 = SHA-256(salt ‖ content). The salt is
derived from the organisation's key and never logged: whoever holds a receipt holds its salts, and destroying the key
unlinks all that nobody kept a receipt of.
"""

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

from sekisho.ledger.errors import ReceiptInvalid

SALT_BYTES: Final = 32
_BLOCK_BYTES: Final = 64  # of SHA-256
_FIELDS: Final = frozenset({"bytes", "salt_sha256", "sha256"})
_HEX: Final = frozenset("0123456789abcdef")


def salt(key: bytes, entry_id: str, field: str) -> bytes:
    """HMAC-SHA256(organisation key, entry id ‖ 00 ‖ field)."""
    return hmac.digest(key, entry_id.encode() + b"\x00" + field.encode(), "sha256")


class Salts:
    """`salt` for one key, three times as fast: HMAC's two keyed states are computed once (RFC 2104 section 4)."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        if len(key) > _BLOCK_BYTES:
            key = hashlib.sha256(key).digest()
        block = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def of(self, entry_id: str, field: str) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(f"{entry_id}\0{field}".encode())
        outer.update(inner.digest())
        return outer.digest()


def commit(salt: bytes, data: bytes) -> dict[str, int | str]:
    """The commitment to `data` under `salt`."""
    digest = hashlib.sha256(salt)
    salt_sha256 = digest.hexdigest()
    digest.update(data)
    return {"bytes": len(data), "salt_sha256": salt_sha256, "sha256": digest.hexdigest()}


class Commitment:
    """A commitment to a stream, piece by piece."""

    def __init__(self, salt: bytes) -> None:
        self._salt_digest = hashlib.sha256(salt)
        self._digest = hashlib.sha256(salt)
        self._bytes = 0

    def update(self, data: bytes) -> None:
        self._digest.update(data)
        self._bytes += len(data)

    def finish(self) -> dict[str, int | str]:
        """The commitment to what has been seen so far."""
        return {
            "bytes": self._bytes,
            "salt_sha256": self._salt_digest.hexdigest(),
            "sha256": self._digest.hexdigest(),
        }


def is_commitment(value: object) -> bool:
    """Whether `value` has the form of a commitment."""
    return (
        isinstance(value, dict)
        and value.keys() == _FIELDS
        and isinstance(value["bytes"], int)
        and not isinstance(value["bytes"], bool)
        and value["bytes"] >= 0
        and all(isinstance(value[k], str) and len(value[k]) == 64 and _HEX.issuperset(value[k])
                for k in ("salt_sha256", "sha256"))
    )  # fmt: skip


def committed_fields(body: Mapping[str, Any]) -> list[str]:
    """The fields of a body that hold commitments, sorted."""
    return sorted(field for field, value in body.items() if is_commitment(value))


def verify_salt(commitment: Mapping[str, Any], salt: bytes) -> None:
    """Raises ReceiptInvalid unless `salt` is the commitment's."""
    if len(salt) != SALT_BYTES or hashlib.sha256(salt).hexdigest() != commitment["salt_sha256"]:
        raise ReceiptInvalid("a salt is not the one that was committed to")


def verify_content(commitment: Mapping[str, Any], salt: bytes, content: bytes) -> None:
    """Raises ReceiptInvalid unless `content` is what was committed to under `salt`."""
    if commit(salt, content) != dict(commitment):
        raise ReceiptInvalid("the content is not what was committed to")
