"""What a worker has in force as time passes: the end of a fact takes effect on the instant, whatever happens."""

import asyncio

import pytest

from gateway_fakes import in_force
from sekisho.gateway.errors import Unavailable
from sekisho.gateway.halts import Halts
from sekisho.gateway.worker import EPOCH_AHEAD_US, Follower
from sekisho.identity.interfaces import KeyChanges
from sekisho.kernel.errors import SekishoError

START_US = 1_800_000_000_000_000
END_US = START_US + 2 * EPOCH_AHEAD_US  # of the first epoch
DIGEST, OTHER = "ab" * 32, "cd" * 32


class Clock:
    now = START_US

    def now_us(self) -> int:
        return self.now


class Register:
    def changes_since(self, sequence: int) -> KeyChanges:
        return KeyChanges(sequence, ())


class Snapshots:
    """A source with one end of a fact, at END_US; `broken` refuses to load, `refused` a digest for ever."""

    def __init__(self) -> None:
        self.digest: str | None = DIGEST
        self.broken = False
        self.refused: str | None = None
        self.loaded: list[tuple[str, int]] = []

    def current(self) -> str | None:
        return self.digest

    def mistakes(self):
        return 0

    def put_in_force(self, digest: str, now_us: int):
        if self.broken or digest == self.refused:
            raise SekishoError("a part was changed")
        self.loaded.append((digest, now_us))
        value = in_force(("a",))
        after = now_us >= END_US
        bounds = {"epoch_from": END_US if after else 0, "epoch_until": None if after else END_US}
        fields = {name: getattr(value.snapshot, name) for name in value.snapshot.__dataclass_fields__}
        return value._replace(snapshot=type(value.snapshot)(**(fields | bounds | {"digest": digest})))


@pytest.fixture
async def world():
    clock, snapshots = Clock(), Snapshots()
    follower = Follower(Register(), None, snapshots, clock, Halts())
    await follower.start()
    following = asyncio.create_task(follower.run())
    yield clock, snapshots, follower
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def comes_true(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_next_epoch_is_prepared_ahead_and_holds_from_its_first_instant(world):
    clock, snapshots, follower = world
    clock.now = END_US - EPOCH_AHEAD_US
    await comes_true(lambda: (DIGEST, END_US) in snapshots.loaded)
    clock.now = END_US - 1
    assert follower.in_force().snapshot.epoch_from == 0
    await comes_true(lambda: follower._next is not None)
    clock.now = END_US
    assert follower.in_force().snapshot.epoch_from == END_US


async def test_a_clock_that_jumps_over_the_end_or_back_before_it_brings_nothing_back(world):
    """Of an exemption, say: what has ended once stays so in a worker, whatever its clock does."""
    clock, _, follower = world
    clock.now = END_US + 1_000 * EPOCH_AHEAD_US  # further than anything was prepared for
    with pytest.raises(Unavailable):
        follower.in_force()
    await comes_true(lambda: follower._next is not None)
    assert follower.in_force().snapshot.epoch_from == END_US
    clock.now = START_US
    assert follower.in_force().snapshot.epoch_from == END_US


async def test_what_stood_on_an_ended_fact_is_not_served_on_with(world):
    clock, snapshots, follower = world
    snapshots.broken = True
    clock.now = END_US
    with pytest.raises(Unavailable) as caught:
        follower.in_force()
    assert caught.value.status == 503
    assert caught.value.retry_after_s == 1
    snapshots.broken = False

    def recovered() -> bool:
        try:
            return follower.in_force().snapshot.epoch_from == END_US
        except Unavailable:
            return False

    await comes_true(recovered)


async def test_a_snapshot_that_cannot_be_loaded_keeps_the_one_in_force_and_its_epochs(world):
    clock, snapshots, follower = world
    snapshots.digest = snapshots.refused = OTHER
    await comes_true(lambda: follower._refused == OTHER)
    assert follower.in_force().snapshot.digest == DIGEST
    clock.now = END_US
    await comes_true(lambda: follower._next is not None)  # until then it is right to refuse
    assert follower.in_force().snapshot.digest == DIGEST
    assert follower.in_force().snapshot.epoch_from == END_US


@pytest.mark.parametrize("digest", [OTHER, None])
async def test_a_new_snapshot_replaces_what_was_prepared_of_the_old(world, digest):
    clock, snapshots, follower = world
    clock.now = END_US - EPOCH_AHEAD_US
    await comes_true(lambda: follower._next is not None)
    snapshots.digest = digest
    if digest is not None:
        await comes_true(lambda: follower.in_force().snapshot.digest == OTHER)
    clock.now = END_US
    await comes_true(lambda: (digest or DIGEST, END_US) in snapshots.loaded)
    await comes_true(lambda: follower._next is not None or follower._in_force.snapshot.epoch_from == END_US)
    assert follower.in_force().snapshot.digest == (digest or DIGEST)
    assert follower.in_force().snapshot.epoch_from == END_US


async def test_what_is_read_of_the_register_and_not_taken_over_does_not_count_as_followed():
    class Keyring:
        broken = True

        def apply(self, changes: KeyChanges) -> None:
            if self.broken:
                raise RuntimeError("a bug")

    class OneKey:
        asked: list[int]

        def __init__(self) -> None:
            self.asked = []

        def changes_since(self, sequence: int) -> KeyChanges:
            self.asked.append(sequence)
            return KeyChanges(7, ("a key",))

    register, keyring = OneKey(), Keyring()
    follower = Follower(register, keyring, Snapshots(), Clock(), Halts())
    read_at = follower._read_at
    with pytest.raises(RuntimeError):
        await follower._follow_keys()
    assert follower._read_at == read_at  # the alarm of `age_s` goes on
    keyring.broken = False
    await follower._follow_keys()
    assert register.asked == [0, 0]  # and nothing of it is passed over
    assert follower._read_at > read_at


async def test_when_its_rules_are_over_the_notes_still_tell_and_nothing_outlives_them(world):
    clock, snapshots, follower = world
    told = []
    follower._halts.end_outliving = lambda current, now_s: told.append(current)
    snapshots.broken = True
    clock.now = END_US
    assert follower.rule_notes() == []
    await comes_true(lambda: None in told)


async def test_the_thread_that_loads_ends_with_the_following():
    follower = Follower(Register(), None, Snapshots(), Clock(), Halts())
    await follower.start()
    following = asyncio.create_task(follower.run())
    await asyncio.sleep(0)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    with pytest.raises(RuntimeError, match="shutdown"):
        follower._loading.submit(int)
