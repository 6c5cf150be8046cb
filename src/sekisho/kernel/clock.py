"""Time as integer microseconds since the Unix epoch, UTC."""

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

SUSPECT_US: Final = 1_000_000  # time synchronisation slews; what it steps beyond this, a person should know of
SECONDS: Final = "%Y-%m-%d %H:%M:%S UTC"
MINUTES: Final = "%Y-%m-%d %H:%M UTC"
RFC3339: Final = "%Y-%m-%dT%H:%M:%SZ"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Where a context reads the time.

    Two readings of one clock never go backwards, but for one case: where the wall clock had jumped ahead and was set
    right again, time is right again.
    """

    def now_us(self) -> int:
        """Microseconds since the Unix epoch, UTC."""
        ...


def boottime_us() -> int:
    """Microseconds since this machine was started, sleep included: what no one can set."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class WallClock:
    """The machine's wall clock as it stands, believed without question."""

    def now_us(self) -> int:
        return time.time_ns() // 1000


class SystemClock:
    """The machine's wall clock, held against elapsed time.

    *Trusted* time begins at `trusted_us` (or at the wall clock, where nothing better is known) and rises with elapsed
    time alone. The wall clock is followed: within SUSPECT_US of trusted time it may not go back; below that it is not
    believed, and trusted time goes on. Beyond it, it is suspect: still followed, because what ends must not last
    longer, and not going back as long as it is suspect; but it moves nothing, so once set right it is right.
    """

    def __init__(self, trusted_us: int | None = None) -> None:
        wall_us = time.time_ns() // 1000
        self._offset_us = (wall_us if trusted_us is None else trusted_us) - boottime_us()
        self._held_us = 0
        self._suspect_us = 0

    @property
    def trusted_us(self) -> int:
        """What elapsed time vouches for."""
        return self._offset_us + boottime_us()

    def settle(self, trusted_us: int, elapsed_us: int) -> None:
        """Take it that the time was `trusted_us` when `elapsed_us` had passed since the boot: now may go back."""
        self._offset_us = trusted_us - elapsed_us
        self._held_us = self._suspect_us = 0

    def now_us(self) -> int:
        wall_us = time.time_ns() // 1000
        trusted_us = self._offset_us + boottime_us()
        if wall_us > trusted_us + SUSPECT_US:
            self._suspect_us = max(self._suspect_us, wall_us)
            return self._suspect_us
        self._suspect_us = 0
        if wall_us < trusted_us - SUSPECT_US:
            wall_us = trusted_us
        if wall_us > self._held_us:
            self._held_us = wall_us
        return self._held_us


def utc(at_us: int, form: str = SECONDS) -> str:
    """A time in UTC, by SECONDS, MINUTES or RFC3339; empty beyond what a calendar holds. What is smaller is cut off."""
    try:
        return (_EPOCH + timedelta(microseconds=at_us)).strftime(form)  # not by way of a float, which would round
    except OverflowError:
        return ""
