"""The floor of time and what moves it, jumps, and what `ledger status` knows of them."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import pytest

from sekisho.app import clock as app_clock
from sekisho.app.clock import watch_clock
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import IdSource
from sekisho.ledger import clock_watch
from sekisho.ledger.clock_watch import JUMPS_MAX, Jump, Reading, Settlements, begin
from sekisho.ledger.errors import LedgerFull, LogUnreadable
from sekisho.ledger.status import read_status

sys.path.insert(0, str(Path(__file__).parent))

from ledger_fakes import World

S = 1_000_000
DAY = 86_400 * S
START = Reading(1_800_000_000 * S, 1_000 * S, "boot-1")


def later(reading, passed, *, stepped=0):
    return Reading(reading.wall_us + passed + stepped, reading.elapsed_us + passed, reading.boot)


def test_the_floor_rises_with_time_and_a_jump_does_not_move_it():
    reading = later(START, 10 * S, stepped=DAY)
    state = begin(START).at(reading)
    assert state.floor_us == state.trusted_us == START.wall_us + 10 * S
    assert (state.suspect, state.jumps) == (True, (Jump(START.wall_us + 10 * S, DAY),))
    assert state.at(later(reading, 5 * S)).jumps == state.jumps, "one jump is told once"
    undone = state.at(later(reading, 5 * S, stepped=-DAY))
    assert not undone.suspect
    assert [jump.by_us for jump in undone.jumps] == [DAY, -DAY]


def test_a_step_of_synchronisation_is_no_jump():
    state = begin(START).at(later(START, 10 * S, stepped=900_000))
    assert (state.suspect, state.jumps) == (False, ())


def test_a_restart_of_the_machine_lets_the_floor_lag_and_believes_the_wall():
    reading = Reading(START.wall_us + 30 * DAY, 60 * S, "boot-2")
    state = begin(START).at(reading)
    assert state.floor_us == START.wall_us + 60 * S
    assert (state.trusted_us, state.suspect, state.jumps) == (reading.wall_us, False, ())


def test_elapsed_time_that_begins_anew_is_another_boot_whatever_its_name():
    state = begin(START).at(START._replace(wall_us=START.wall_us + DAY, elapsed_us=5 * S))
    assert (state.floor_us, state.suspect) == (START.wall_us + 5 * S, False)


def test_a_machine_that_comes_back_with_an_older_clock_begins_at_the_floor():
    reading = Reading(0, 60 * S, "boot-2")
    state = begin(START).at(reading)
    assert state.trusted_us == state.floor_us == START.wall_us + 60 * S
    assert state.suspect
    assert len(state.jumps) == 1


def test_it_is_kept_and_jumps_are_bounded(tmp_path):
    state, reading = begin(START), START
    assert clock_watch.load(tmp_path) is None
    for number in range(JUMPS_MAX + 10):
        reading = later(reading, S, stepped=DAY if number % 2 == 0 else -DAY)
        state = state.at(reading)
    clock_watch.save(tmp_path, state)
    assert clock_watch.load(tmp_path) == state
    assert len(state.jumps) == JUMPS_MAX
    (tmp_path / "clock").write_text('{"floor_us": 1}')
    with pytest.raises(LogUnreadable, match="Move it away"):
        clock_watch.load(tmp_path)


class Writer:
    """Records drafts; the first is refused."""

    def __init__(self):
        self.drafts = []
        self.full = True

    def append(self, draft, reservation=None):
        if self.full:
            self.full = False
            raise LedgerFull("the disk is full")
        self.drafts.append(draft)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def test_a_jump_is_told_in_the_ledger_once_however_often_it_was_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(app_clock, "LOOK_S", 0.0)
    readings = [START, later(START, S), *(later(START, n * S, stepped=DAY) for n in range(2, 6))]
    seen, writer = iter(readings), Writer()

    def read_clocks():
        reading = next(seen, None)
        if reading is None:
            raise EOFError
        return reading

    with contextlib.suppress(EOFError):
        await watch_clock(tmp_path, writer, SystemClock(), IdSource(), read_clocks)
    (draft,) = writer.drafts
    assert draft.kind == "observation"
    assert json.loads(draft.body) == {"by_us": DAY, "observed": "clock.jump", "trusted_us": START.wall_us + 3 * S}
    assert clock_watch.load(tmp_path).suspect


async def test_a_floor_that_cannot_be_read_yet_is_read_later_and_told_of_once(tmp_path, monkeypatch, caplog):
    """Who looks after the clock does not end: it would be missed by nobody."""
    monkeypatch.setattr(app_clock, "LOOK_S", 0.0)
    kept = begin(START)
    (tmp_path / "clock").mkdir()  # an error of the system, as a failing disk's
    writer, looks = Writer(), 0
    writer.full = False

    def read_clocks():
        nonlocal looks
        looks += 1
        if looks == 4:
            (tmp_path / "clock").rmdir()
            clock_watch.save(tmp_path, kept)
        if looks == 6:
            raise EOFError
        return later(START, looks * S, stepped=DAY)

    with contextlib.suppress(EOFError):
        await watch_clock(tmp_path, writer, SystemClock(), IdSource(), read_clocks)
    assert [json.loads(draft.body)["by_us"] for draft in writer.drafts] == [DAY]
    assert [r.message.partition(":")[0] for r in caplog.records if r.levelname == "ERROR"] == [
        "what the clock does can't be recorded now"
    ]


def test_status_tells_of_a_suspect_clock(tmp_path):
    world = World(tmp_path)
    publisher = world.publisher()
    publisher.close()
    now = clock_watch.read_clocks()
    clock_watch.save(tmp_path, begin(now._replace(wall_us=now.wall_us - 3600 * S)))
    status = read_status(tmp_path, [world.log_key.verifier], reserve_bytes=0, now_us=world.clock.now_us())
    assert any("3600." in warning for warning in status.warnings)
    assert status.as_object()["clock"]["suspect"] is True


def test_settled_it_is_the_wall_clock_that_counts_backwards_too():
    for stepped in (DAY, -DAY):
        reading = later(START, 10 * S, stepped=stepped)
        settled = begin(START).settle(reading)
        assert (settled.trusted_us, settled.floor_us, settled.suspect) == (reading.wall_us, reading.wall_us, False)
        assert settled.at(later(reading, DAY)).trusted_us == reading.wall_us + DAY
        assert settled.jumps[-1].by_us == stepped, "that it jumped stays known"
        other_boot = settled.at(Reading(0, 60 * S, "boot-2"))
        assert (other_boot.settled, other_boot.floor_us) == (1, reading.wall_us + 60 * S)


def test_what_is_settled_is_not_written_over_and_seen_once(tmp_path):
    state = begin(START)
    settlements = Settlements(tmp_path)
    assert settlements.newer() is None
    assert clock_watch.keep(tmp_path, state) == state
    assert settlements.newer() is None, "nobody settled anything"
    settled = state.settle(later(START, S, stepped=-DAY))
    clock_watch.save(tmp_path, settled)
    assert clock_watch.keep(tmp_path, state.at(later(START, 2 * S))) == settled == clock_watch.load(tmp_path)
    assert settlements.newer() == settled
    assert settlements.newer() is None
    (tmp_path / "clock").write_text("{")
    assert clock_watch.keep(tmp_path, state) == state == clock_watch.load(tmp_path)


async def test_who_watches_and_who_follows_take_over_what_is_settled(tmp_path, monkeypatch):
    monkeypatch.setattr(app_clock, "LOOK_S", 0.0)
    real = clock_watch.read_clocks()
    clock_watch.save(tmp_path, begin(real._replace(wall_us=real.wall_us + DAY)))  # a start with tomorrow's clock
    (watched, _), (followed, settlements) = (
        app_clock.installation_clock(tmp_path),
        app_clock.installation_clock(tmp_path),
    )
    assert watched.now_us() > real.wall_us + DAY - S
    writer = Writer()
    writer.full = False
    tasks = [
        asyncio.create_task(watch_clock(tmp_path, writer, watched, IdSource())),
        asyncio.create_task(app_clock.follow_clock(followed, settlements)),
    ]
    while not (tmp_path / "clock.lock").exists():  # the watch has begun: it keeps what it saw
        await asyncio.sleep(0)
    with clock_watch.clock_lock(tmp_path):
        clock_watch.save(tmp_path, clock_watch.load(tmp_path).settle(clock_watch.read_clocks()))
    async with asyncio.timeout(20):
        while max(watched.now_us(), followed.now_us()) > real.wall_us + DAY // 2:
            await asyncio.sleep(0.001)
    for task in tasks:
        assert not task.done()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert not clock_watch.load(tmp_path).suspect
