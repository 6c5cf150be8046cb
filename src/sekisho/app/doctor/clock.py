"""The clock: never behind what the ledger says already, and held to a time source."""

import ctypes
import errno
import os
from typing import Final, NamedTuple

from sekisho.app.doctor.findings import Finding, ok, problem, warning

AHEAD_US_MAX: Final = 2_000_000  # entries may be this much ahead: two machines' clocks, or a step that is slewed away
_UNSYNCHRONISED: Final = 0x0040  # STA_UNSYNC in adjtimex(2)
_STATUS: Final = slice(40, 44)  # of struct timex, where long is 64 bits
_TIMEX_BYTES: Final = 256  # 208 on 64-bit Linux, and room to spare


class Seen(NamedTuple):
    """A time (µs UTC) that something of the installation bears; `what` names it."""

    what: str
    at: int


def judge_clock(now_us: int, seen: list[Seen]) -> Finding:
    """Whether the clock stands behind what was stamped by it."""
    newest = max(seen, key=lambda one: one.at, default=None)
    if newest is None:
        return ok("clock.nothing")
    if newest.at > now_us + AHEAD_US_MAX:
        return problem("clock.behind", what=newest.what, newest_at=newest.at, ahead_s=(newest.at - now_us) // 1_000_000)
    return ok("clock.ahead", newest_at=newest.at)


def judge_synchronised(synchronised: bool | None) -> list[Finding]:
    """None: the kernel could not be asked; then nothing is said."""
    if synchronised is None:
        return []
    return [ok("clock.synchronised") if synchronised else warning("clock.unsynchronised")]


def is_synchronised() -> bool | None:
    """What the kernel says (adjtimex with nothing to change); None where it can't be asked."""
    if ctypes.sizeof(ctypes.c_long) != 8:
        return None
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except (OSError, AttributeError):  # another C library
        return None
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    if adjtimex(timex) < 0:
        code = ctypes.get_errno()
        if code in (errno.EPERM, errno.ENOSYS):  # a sandbox forbids the call
            return None
        raise OSError(code, os.strerror(code), "adjtimex")
    return not int.from_bytes(timex.raw[_STATUS], "little") & _UNSYNCHRONISED
