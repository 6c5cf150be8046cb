"""An installation's clock: trusted time goes on where the last process left it, and control watches for jumps."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import IdSource
from sekisho.kernel.retrying import Retrying
from sekisho.ledger import clock_watch
from sekisho.ledger.clock_watch import ClockState, Jump, Reading
from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.interfaces import EntryDraft, EntryWriter
from sekisho.settings import DataDirectory

LOOK_S: Final = 1.0
SAVE_S: Final = 30.0  # what a crash may cost the floor; each saving is a durable file

log = logging.getLogger(__name__)


def installation_clock(ledger: Path) -> SystemClock:
    """For a process of the installation whose ledger this is."""
    state = _load(ledger)
    return SystemClock(None if state is None else state.at(clock_watch.read_clocks()).trusted_us)


def command_clock(directory: DataDirectory) -> SystemClock:
    """For a command: what has ended has not begun again because somebody set the machine's clock back."""
    return installation_clock(directory.ledger)


async def watch_clock(
    ledger: Path,
    writer: EntryWriter,
    clock: SystemClock,
    ids: IdSource,
    read_clocks: Callable[[], Reading] = clock_watch.read_clocks,
) -> None:
    """Until cancelled: keep the floor, and tell of each jump, in the log of the process and in the ledger.

    What can't be recorded or kept now is tried again at the next look: a full disk must not end who looks after it.
    """
    state: ClockState | None = None
    loaded = False
    saved_s: float | None = None  # never
    recording = Retrying(log, "what the clock does can't be recorded now")
    while True:
        reading = read_clocks()
        with recording:
            if not loaded:
                state, loaded = await asyncio.to_thread(_load, ledger), True
            seen = clock_watch.begin(reading) if state is None else state.at(reading)
            if state is not None and seen.jumps != state.jumps:
                await _tell(seen.jumps[-1], writer, clock, ids)
                saved_s = None
            state = seen
            now_s = asyncio.get_running_loop().time()
            if saved_s is None or now_s - saved_s >= SAVE_S:
                await asyncio.to_thread(clock_watch.save, ledger, state)
                saved_s = now_s
        await asyncio.sleep(LOOK_S)


def _load(ledger: Path) -> ClockState | None:
    """Without it the wall clock is believed: a site goes on."""
    try:
        return clock_watch.load(ledger)
    except LogUnreadable as error:
        log.error("%s", error)
        return None


async def _tell(jump: Jump, writer: EntryWriter, clock: SystemClock, ids: IdSource) -> None:
    log.warning(
        "the wall clock jumped by %.1f s; it is followed, but vouched for by nothing: see `sekisho ledger status`",
        jump.by_us / 1e6,
    )
    body = encode({"by_us": jump.by_us, "observed": "clock.jump", "trusted_us": jump.at_us})
    now_us = clock.now_us()
    await writer.append(EntryDraft("observation", ids.new(now_us), now_us, "control", body))
