"""Following keys and snapshot: what fails is said and tried again, and never stops the following."""

import asyncio
from dataclasses import replace

import pytest

from gateway_fakes import in_force
from sekisho.gateway import worker
from sekisho.gateway.errors import OrganisationStopped, Unavailable
from sekisho.gateway.halts import Halts
from sekisho.gateway.worker import Follower, serve
from sekisho.identity.interfaces import KeyChanges, Stop
from sekisho.kernel.errors import SekishoError


class Register:
    def __init__(self):
        self.failure = None
        self.reads = 0

    def changes_since(self, sequence):
        self.reads += 1
        if self.failure is not None:
            raise self.failure
        return KeyChanges(sequence=sequence, keys=())


class Keyring:
    def apply(self, changes):
        raise AssertionError("there are no changes")


class Clock:
    def __init__(self):
        self.at = 1

    def now_us(self):
        return self.at


class Snapshots:
    def __init__(self):
        self.digest = "2" * 64
        self.failure = None
        self.loaded = []
        self.epoch_until = None

    def current(self):
        return self.digest

    def mistakes(self):
        return 0

    def put_in_force(self, digest, now_us):
        self.loaded.append((digest, now_us))
        if self.failure is not None:
            raise self.failure
        made = in_force(("a",))
        return made._replace(snapshot=replace(made.snapshot, digest=digest, epoch_until=self.epoch_until))


@pytest.fixture
def parts():
    return Register(), Snapshots(), Clock()


@pytest.fixture
def follower(parts):
    register, snapshots, clock = parts
    return Follower(register, Keyring(), snapshots, clock, Halts())


async def test_a_gateway_cannot_begin_without_a_snapshot(parts, follower):
    parts[1].digest = None
    with pytest.raises(SekishoError, match="no snapshot"):
        await follower.start()


async def test_a_new_snapshot_is_put_in_force(parts, follower):
    await follower.start()
    parts[1].digest = "3" * 64
    await follower._follow_snapshot()
    assert follower.in_force().snapshot.digest == "3" * 64


async def test_when_an_epoch_ends_the_next_one_stands_ready_and_until_it_can_nothing_is_served(parts, follower):
    _, snapshots, clock = parts
    snapshots.epoch_until = worker.EPOCH_AHEAD_US + 10
    await follower.start()
    clock.at, snapshots.failure = 10, SekishoError("damaged")
    with pytest.raises(SekishoError):
        await follower._follow_snapshot()
    assert follower.in_force().snapshot.epoch_until == worker.EPOCH_AHEAD_US + 10  # not over yet
    clock.at = worker.EPOCH_AHEAD_US + 10
    with pytest.raises(Unavailable):
        follower.in_force()
    snapshots.failure, snapshots.epoch_until = None, None
    await follower._follow_snapshot()
    assert snapshots.loaded[-1] == ("2" * 64, clock.at)
    assert follower.in_force().snapshot.epoch_until is None


async def test_a_newer_snapshot_is_tried_at_once_after_one_that_failed(parts, follower):
    _, snapshots, _ = parts
    await follower.start()
    snapshots.digest, snapshots.failure = "3" * 64, SekishoError("damaged")
    with pytest.raises(SekishoError):
        await follower._follow_snapshot()
    snapshots.digest, snapshots.failure = "4" * 64, None
    await follower._follow_snapshot()
    assert follower.in_force().snapshot.digest == "4" * 64


async def test_nothing_that_goes_wrong_ends_the_following(parts, follower, monkeypatch):
    register, snapshots, _ = parts
    monkeypatch.setattr(worker, "FOLLOW_INTERVAL_S", 0.001)
    await follower.start()
    register.failure, snapshots.failure, snapshots.digest = RuntimeError("driver"), RuntimeError("odd"), "3" * 64
    running = asyncio.create_task(follower.run())
    async with asyncio.timeout(20):
        while register.reads < 5 or len(snapshots.loaded) < 2:
            await asyncio.sleep(0.001)
        register.failure, snapshots.failure, snapshots.digest = None, None, "4" * 64
        while follower.in_force().snapshot.digest != "4" * 64:
            await asyncio.sleep(0.001)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class StoppedRegister:
    """A register with one stop in it; read once, it has no changes more."""

    def changes_since(self, sequence):
        stops = () if sequence else (Stop("organisation", "o", "", 1, None, 7),)
        return KeyChanges(7, (), stops)


async def test_stops_are_known_before_the_first_request(parts):
    halts = Halts()
    follower = Follower(StoppedRegister(), Keyring(), parts[1], parts[2], halts)
    await follower.start()
    with pytest.raises(OrganisationStopped):
        halts.require_organisation("o")
    assert halts.stops_set == 1


class Server:
    def __init__(self, events, failure=None):
        self.events = events
        self.failure = failure

    async def start(self, sock):
        self.events.append("start")
        if self.failure is not None:
            raise self.failure

    async def stop(self, grace_s):
        self.events.append(f"stop {grace_s}")


@pytest.mark.parametrize(
    ("failure", "expected"), [(None, ["start", "stop 3", "close"]), (OSError("no"), ["start", "close"])]
)
async def test_whatever_happens_what_was_opened_is_closed(follower, failure, expected):
    await follower.start()
    events, stop = [], asyncio.Event()
    stop.set()

    async def close():
        events.append("close")

    serving = serve(Server(events, failure), None, follower, stop, 3, close)
    if failure is None:
        await serving
    else:
        with pytest.raises(OSError, match="no"):
            await serving
    assert events == expected
