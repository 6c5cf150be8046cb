"""An installation's clock: trusted time goes on where the last process left it, and control watches for jumps."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from sekisho.app.approvals import demand_of
from sekisho.identity.acts import CLOCK_SETTLE, told
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import SystemClock, WallClock
from sekisho.kernel.errors import UsageError
from sekisho.kernel.ids import IdSource
from sekisho.kernel.retrying import Retrying
from sekisho.ledger import clock_watch
from sekisho.ledger.clock_watch import ClockState, Jump, Reading, Settlements
from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.interfaces import EntryDraft, EntryWriter
from sekisho.settings import DataDirectory

LOOK_S: Final = 1.0
SETTLED_US: Final = 2_000_000  # what a clock may move between being looked at, approved and settled
SAVE_S: Final = 30.0  # what a crash may cost the floor; each saving is a durable file

log = logging.getLogger(__name__)


def installation_clock(ledger: Path) -> tuple[SystemClock, Settlements]:
    """For a process of the installation whose ledger this is, and what tells when a person settles it from now on."""
    state = _load(ledger)
    if state is None:
        return SystemClock(), Settlements(ledger)
    return SystemClock(state.at(clock_watch.read_clocks()).trusted_us), Settlements(ledger, state.settled)


def command_clock(directory: DataDirectory) -> SystemClock:
    """For a command: what has ended has not begun again because somebody set the machine's clock back."""
    return installation_clock(directory.ledger)[0]


async def watch_clock(
    ledger: Path,
    writer: EntryWriter,
    clock: SystemClock,
    ids: IdSource,
    read_clocks: Callable[[], Reading] = clock_watch.read_clocks,
) -> None:
    """Until cancelled: keep the floor, take over what is settled, and tell of each jump, in the process's log and the
    ledger.

    What can't be recorded or kept now is tried again at the next look: a full disk must not end who looks after it.
    """
    state: ClockState | None = None
    settlements: Settlements | None = None
    recording = Retrying(log, "what the clock does can't be recorded now")
    saved_s: float | None = None  # never
    while True:
        reading = read_clocks()
        with recording:
            if settlements is None:
                state = await asyncio.to_thread(_load, ledger)
                settlements = Settlements(ledger, 0 if state is None else state.settled)
            settled = await asyncio.to_thread(settlements.newer)
            if settled is not None:  # after this reading, maybe
                state = settled
                clock.settle(settled.trusted_us, settled.elapsed_us)
            else:
                seen = clock_watch.begin(reading) if state is None else state.at(reading)
                if state is not None and seen.jumps != state.jumps:
                    await _tell(seen.jumps[-1], writer, clock, ids)
                    saved_s = None
                state = seen
            now_s = asyncio.get_running_loop().time()
            if saved_s is None or now_s - saved_s >= SAVE_S:
                await asyncio.to_thread(clock_watch.keep, ledger, state)  # what is settled meanwhile is seen next time
                saved_s = now_s
        await asyncio.sleep(LOOK_S)


async def follow_clock(clock: SystemClock, settlements: Settlements) -> None:
    """Until cancelled, in a process that does not watch the clock: take over what is settled."""
    following = Retrying(log, "whether the clock was settled can't be seen")
    while True:
        with following:
            state = await asyncio.to_thread(settlements.newer)
            if state is not None:
                clock.settle(state.trusted_us, state.elapsed_us)
        await asyncio.sleep(LOOK_S)


def settle_clock(root: Path, ahead_s: int, actor: str, approvals: Iterable[Path]) -> None:
    """Have the wall clock believed as it stands: `ahead_s` seconds ahead of trusted time, below zero behind it.

    Running processes follow within some seconds. The act is told first: after a crash in between it can be done again.
    Raises UsageError if it stands otherwise, ApprovalError if the rules demand approval and it is not there, and
    SekishoError.
    """
    directory = DataDirectory(root)
    with clock_watch.clock_lock(directory.ledger):
        state = clock_watch.load(directory.ledger)
        if state is None:
            raise UsageError("nobody has looked at the clock here yet", remedy="Start the installation: sekisho up")
        seen = state.at(clock_watch.read_clocks())
        if not seen.suspect:
            raise UsageError("the wall clock is not suspect, so there is nothing to settle")
        if abs(seen.ahead_us - ahead_s * 1_000_000) > SETTLED_US:
            raise UsageError(
                f"the wall clock stands {seen.ahead_us / 1e6:+.0f} s from trusted time, not {ahead_s:+} s",
                remedy="Look again: sekisho ledger status. What is approved for one clock does not hold for another",
            )
        # By the wall clock: it is what is being vouched for, and whoever approves goes by it as well.
        clock = WallClock()
        parameters = {"ahead_s": str(ahead_s)}
        with closing(SqlIdentity(directory.state, clock)) as register:
            demand = demand_of(directory, register, clock, CLOCK_SETTLE, parameters, approvals)
            with register.transaction(writes=True) as connection:
                now_us = clock.now_us()
                approval = demand.meet(connection, now_us)
                register.tell(connection, now_us, actor, told(CLOCK_SETTLE, parameters, approval))
        clock_watch.save(directory.ledger, state.settle(clock_watch.read_clocks()))


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
