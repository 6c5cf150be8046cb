"""A wall clock that steps back while requests are decided: order within a writer stays, and no time is negative."""

import json
import time

import pytest

from gateway_fakes import FakeCommitments, FakeResponder, Script, World
from sekisho.gateway.attempt import Recorder
from sekisho.gateway.pipeline import Pipeline
from sekisho.gateway.routing import Router
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import uuid7_time_us
from sekisho.ledger.wal_reader import START, WriteAheadReader
from sekisho.ledger.writer import WriteAheadSettings, WriteAheadWriter

SETTINGS = WriteAheadSettings(segment_bytes=256 * 1024, free_reserve_bytes=1024)
NOON_NS = 1_800_000_000_000_000_000
# Forward, back by a little, by an hour, to before the epoch of the machine's first reading, and forward again.
STEPS_NS = (0, 1_500_000, -400_000, -3_600_000_000_000, -9_000_000_000_000_000, 2_000_000, 7_000_000_000)


@pytest.fixture
def wall(monkeypatch):
    """The machine's clock: each reading moves it on by a microsecond from wherever it was set."""

    class Wall:
        now_ns = NOON_NS

        def time_ns(self) -> int:
            self.now_ns += 1_000
            return self.now_ns

    wall = Wall()
    monkeypatch.setattr(time, "time_ns", wall.time_ns)
    return wall


def test_the_clock_holds_still_until_the_wall_has_caught_up(wall):
    clock = SystemClock()
    readings = []
    for step_ns in STEPS_NS:
        wall.now_ns = NOON_NS + step_ns
        readings += [clock.now_us() for _ in range(3)]
    assert readings == sorted(readings)
    assert readings[-1] == (NOON_NS + STEPS_NS[-1]) // 1000 + 3


async def test_decisions_made_while_the_clock_steps_back_keep_their_order(tmp_path, wall):
    world = World(raw=("a", "b"))
    clock = SystemClock()
    writer = WriteAheadWriter.open(tmp_path, site="s", clock=clock, ids=world.ids, settings=SETTINGS)
    world.pipeline = Pipeline(
        keys=world.keys,
        in_force=lambda: world.in_force,
        recorder=Recorder(writer, clock, world.ids, world.metrics),
        commitments=FakeCommitments(),
        client=world.client,
        router=Router(SteppingChance(wall)),
        in_flight_max=10,
        explain=lambda _, __: [],
        halts=world.halts,
    )
    for step_ns in STEPS_NS:
        wall.now_ns = NOON_NS + step_ns
        # The first choice fails, so that a second decision follows; the wall steps back between them too.
        for name in "ab":
            world.script(name, Script(status=503), Script(body=b'{"choices":[]}'))
        world.client.scripts["b"] = world.client.scripts["a"]
        world.responder = FakeResponder([])
        assert await world.chat() == 200
    directory = writer.directory
    await writer.close()
    entries = [json.loads(e) for e in WriteAheadReader(directory).read_dead(START, bytes_max=1 << 20).entries]
    assert len(entries) == 4 * len(STEPS_NS)
    assert [entry["seq"] for entry in entries] == list(range(len(entries)))
    assert [entry["kind"] for entry in entries] == ["decision", "outcome"] * (2 * len(STEPS_NS))
    times = [entry["at"] for entry in entries]
    assert times == sorted(times)
    decisions = [uuid7_time_us(entry["id"]) for entry in entries if entry["kind"] == "decision"]
    assert decisions == sorted(decisions)
    for decision, outcome in zip(entries[::2], entries[1::2], strict=True):
        assert outcome["body"]["decision"] == decision["id"]
        timings = outcome["body"]["timings_us"]
        assert timings["total"] >= 0
        assert timings["first_byte"] is None or 0 <= timings["first_byte"] <= timings["total"]


class SteppingChance:
    """The router's chance: takes the first two, and sets the wall back by a second as it is asked."""

    def __init__(self, wall) -> None:
        self._wall = wall

    def sample(self, names, count):
        self._wall.now_ns -= 1_000_000_000
        return list(names)[:count]
