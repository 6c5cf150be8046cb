"""UUIDv7 identifiers (RFC 9562 section 5.7)."""

import os
import re
from typing import Final

_POOL_BYTES: Final = 8 * 512  # one system call serves 512 identifiers
# The two highest bits of the 64 behind the stamp are 10 (RFC 9562 section 4.1): of a random digit two bits are kept.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) % 4] for digit in "0123456789abcdef"}
UUID7: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.ASCII)


class IdSource:
    """Makes UUIDv7s whose 48 bits of milliseconds are followed by 12 bits of the millisecond's fraction.

    (RFC 9562 section 6.2, method 3: identifiers of one process sort by time to about a quarter of a microsecond.)
    The remaining 62 bits are random. One instance per process: the pool of random bytes must not survive a fork.
    """

    def __init__(self) -> None:
        self._pool = ""  # random hexadecimal digits
        self._offset = 0
        self._milliseconds = -1
        self._prefix = ""  # of every identifier of that millisecond

    def new(self, now_us: int) -> str:
        """A fresh identifier stamped `now_us` (microseconds since the Unix epoch)."""
        start = self._offset
        if start >= len(self._pool):
            self._pool, start = os.urandom(_POOL_BYTES).hex(), 0
        self._offset = start + 16
        milliseconds, fraction_us = divmod(now_us, 1000)
        if milliseconds != self._milliseconds:
            stamp = f"{milliseconds:012x}"
            self._milliseconds, self._prefix = milliseconds, f"{stamp[:8]}-{stamp[8:]}-7"
        pool = self._pool
        return (
            f"{self._prefix}{fraction_us * 4096 // 1000:03x}-{_VARIANT[pool[start]]}{pool[start + 1 : start + 4]}"
            f"-{pool[start + 4 : start + 16]}"
        )


def is_uuid7(text: str) -> bool:
    """Whether `text` is a UUIDv7 in its lower-case form."""
    return UUID7.fullmatch(text) is not None


def packed(identifier: str) -> bytes:
    """The 16 bytes of an identifier in its text form."""
    return bytes.fromhex(identifier.replace("-", ""))


def unpacked(data: bytes) -> str:
    """The text form of an identifier's 16 bytes."""
    text = data.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def uuid7_time_us(identifier: str) -> int:
    """The millisecond that an identifier was made in, as microseconds since the Unix epoch."""
    return int(identifier[:8] + identifier[9:13], 16) * 1000
