"""Watching the wall clock: a floor for time, and every jump of it, kept in `ledger/clock`.

The floor rises with elapsed time alone, so that no wrong clock can move it: it lags by the time that the machine was
off. Within one start of the machine (a *boot*) elapsed time says what the wall clock should show; what it shows beyond
SUSPECT_US from that is a jump. Across boots nobody can say how long the machine was off: the wall clock is believed,
but never below the floor. What the floor and trusted time should have been all along only a person can say: `settle`
takes the wall clock as it stands, backwards too, so that one wrong clock holds up a site no longer than that.
"""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from sekisho.kernel.clock import SUSPECT_US, boottime_us
from sekisho.kernel.files import FileLock, write_durable
from sekisho.ledger.errors import LogUnreadable

CLOCK: Final = "clock"
JUMPS_MAX: Final = 32  # the newest; each is an entry of the log as well
_BYTES_MAX: Final = 64 * 1024
_LOCK_S_MAX: Final = 5.0  # it is held for a durable write
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Reading(NamedTuple):
    """The machine's clocks at one moment."""

    wall_us: int
    elapsed_us: int  # since the boot
    boot: str


class Jump(NamedTuple):
    """The wall clock moved by `by_us` more than time had passed; `at_us` is when, by the time trusted until then."""

    at_us: int
    by_us: int


@dataclass(frozen=True, slots=True)
class ClockState:
    """What was known at `elapsed_us` of `boot`: the floor, the time trusted, how far the wall clock was from that."""

    floor_us: int
    trusted_us: int
    ahead_us: int
    elapsed_us: int
    boot: str
    jumps: tuple[Jump, ...] = ()
    settled: int = 0  # how often a person vouched for the wall clock

    @property
    def suspect(self) -> bool:
        """Whether the wall clock shows what elapsed time does not vouch for."""
        return abs(self.ahead_us) > SUSPECT_US

    def at(self, reading: Reading) -> "ClockState":
        """What is known at a later reading, jumps included. Pure."""
        if reading.boot != self.boot or reading.elapsed_us < self.elapsed_us:
            floor_us = self.floor_us + reading.elapsed_us
            trusted_us = max(reading.wall_us, floor_us)
            behind_us = reading.wall_us - trusted_us
            jumps = (*self.jumps, Jump(trusted_us, behind_us)) if behind_us < -SUSPECT_US else self.jumps
            return replace(
                self, floor_us=floor_us, trusted_us=trusted_us, ahead_us=behind_us,
                elapsed_us=reading.elapsed_us, boot=reading.boot, jumps=jumps[-JUMPS_MAX:],
            )  # fmt: skip
        passed_us = reading.elapsed_us - self.elapsed_us
        trusted_us = self.trusted_us + passed_us
        ahead_us = reading.wall_us - trusted_us
        jumps = self.jumps
        if abs(ahead_us - self.ahead_us) > SUSPECT_US:
            jumps = (*jumps, Jump(trusted_us, ahead_us - self.ahead_us))[-JUMPS_MAX:]
        return replace(
            self, floor_us=self.floor_us + passed_us, trusted_us=trusted_us, ahead_us=ahead_us,
            elapsed_us=reading.elapsed_us, jumps=jumps,
        )  # fmt: skip

    def settle(self, reading: Reading) -> "ClockState":
        """What is known once a person vouches for the wall clock of this reading. Pure."""
        wall_us = reading.wall_us
        seen = self.at(reading)
        return replace(seen, floor_us=wall_us, trusted_us=wall_us, ahead_us=0, settled=self.settled + 1)

    def as_object(self) -> dict[str, Any]:
        return {
            "ahead_us": self.ahead_us,
            "boot": self.boot,
            "elapsed_us": self.elapsed_us,
            "floor_us": self.floor_us,
            "jumps": [list(jump) for jump in self.jumps],
            "settled": self.settled,
            "trusted_us": self.trusted_us,
        }


def read_clocks() -> Reading:
    """The machine's clocks now. Where the boot has no readable name, elapsed time that begins anew tells it."""
    try:
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        boot = ""
    return Reading(time.time_ns() // 1000, boottime_us(), boot)


def begin(reading: Reading) -> ClockState:
    """What is known where nothing was: the wall clock is believed."""
    return ClockState(reading.wall_us, reading.wall_us, 0, reading.elapsed_us, reading.boot)


def load(root: Path) -> ClockState | None:
    """The state kept under the ledger's `root`; None before the first. Raises LogUnreadable."""
    try:
        with (root / CLOCK).open("rb") as file:
            value = json.loads(file.read(_BYTES_MAX))
        return ClockState(
            value["floor_us"], value["trusted_us"], value["ahead_us"], value["elapsed_us"], value["boot"],
            tuple(Jump(at_us, by_us) for at_us, by_us in value["jumps"]), value.get("settled", 0),
        )  # fmt: skip
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise LogUnreadable(
            f"{root / CLOCK} can't be read", remedy="Move it away: the wall clock is believed anew from then on"
        ) from None


def keep(root: Path, state: ClockState) -> ClockState:
    """Keep it, durably, and return what is kept: what a person has settled meanwhile counts and is not written over.

    What can't be read is. Raises LockHeld and OSError.
    """
    with clock_lock(root):
        try:
            kept = load(root)
        except LogUnreadable:
            kept = None
        if kept is not None and kept.settled > state.settled:
            return kept
        save(root, state)
        return state


def clock_lock(root: Path) -> FileLock:
    """Held by whoever reads and then writes the state. Raises LockHeld if it can't be had soon. Blocking."""
    return FileLock(root / f"{CLOCK}.lock").acquire_within(_LOCK_S_MAX)


def save(root: Path, state: ClockState) -> None:
    """Write it, durably, under the lock. Raises OSError."""
    write_durable(root / CLOCK, json.dumps(state.as_object()).encode() + b"\n")


class Settlements:
    """Whether a person has settled the clock since somebody looked last."""

    def __init__(self, root: Path, settled: int = 0) -> None:
        self._root = root
        self._settled = settled
        self._file: tuple[int, int] | None = None

    def newer(self) -> ClockState | None:
        """The state that was settled since, once. Costs a stat while the file is as it was. Raises LogUnreadable."""
        try:
            status = (self._root / CLOCK).stat()
        except FileNotFoundError:
            return None
        file = (status.st_ino, status.st_mtime_ns)
        if file == self._file:
            return None
        state = load(self._root)
        self._file = file
        if state is None or state.settled <= self._settled:
            return None
        self._settled = state.settled
        return state
