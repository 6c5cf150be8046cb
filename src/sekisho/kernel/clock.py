"""Time as integer microseconds since the Unix epoch, UTC."""

import time
from typing import Protocol


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
