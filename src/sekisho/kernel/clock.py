"""Time as integer microseconds since the Unix epoch, UTC."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

SECONDS: Final = "%Y-%m-%d %H:%M:%S UTC"
MINUTES: Final = "%Y-%m-%d %H:%M UTC"
RFC3339: Final = "%Y-%m-%dT%H:%M:%SZ"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where a context reads the time. Two readings of one clock never go backwards."""

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC."""
        ...


class SystemClock:
    """The machine's clock with a floor: a step back of the wall clock holds the time still until it catches up."""

    def __init__(self) -> None:
        self._floor_us = 0

    def now_us(self) -> int:
        now_us = time.time_ns() // 1000
        if now_us < self._floor_us:
            return self._floor_us
        self._floor_us = now_us
        return now_us


def utc(at_us: int, form: str = SECONDS) -> str:
    """A time in UTC, by SECONDS, MINUTES or RFC3339; empty beyond what a calendar holds. What is smaller is cut off."""
    try:
        return (_EPOCH + timedelta(microseconds=at_us)).strftime(form)  # not by way of a float, which would round
    except OverflowError:
        return ""
