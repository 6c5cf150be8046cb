"""The clock against elapsed time: followed, but moved by nothing that time does not vouch for. And times in words."""

import pytest

from sekisho.kernel import clock as clocks
from sekisho.kernel.clock import MINUTES, RFC3339, SUSPECT_US, SystemClock, utc

START_US = 1_800_000_000_000_000
HOUR_US = 3_600_000_000
YEAR_US = 365 * 24 * HOUR_US


class Machine:
    """A machine's two clocks: one that anyone can set, and one that no one can."""

    wall_us, elapsed_us = START_US, 5_000_000

    def pass_by(self, microseconds):
        self.wall_us += microseconds
        self.elapsed_us += microseconds


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(clocks.time, "time_ns", lambda: machine.wall_us * 1000)
    monkeypatch.setattr(clocks.time, "clock_gettime_ns", lambda _: machine.elapsed_us * 1000)
    return machine


def test_it_is_the_wall_clock_as_long_as_that_goes_with_time(machine):
    clock = SystemClock()
    for passed in (1, HOUR_US, YEAR_US):
        machine.pass_by(passed)
        assert clock.now_us() == machine.wall_us == clock.trusted_us


def test_a_small_step_is_followed_and_never_goes_back(machine):
    clock = SystemClock()
    machine.wall_us += SUSPECT_US
    ahead = clock.now_us()
    assert ahead == START_US + SUSPECT_US
    machine.wall_us -= SUSPECT_US
    assert clock.now_us() == ahead
    machine.pass_by(SUSPECT_US + 1)
    assert clock.now_us() == ahead + 1


def test_many_small_steps_do_not_add_up(machine):
    clock = SystemClock()
    for _ in range(100):
        machine.wall_us += SUSPECT_US
        clock.now_us()
    assert clock.trusted_us == START_US


def test_a_wall_clock_that_is_set_back_is_not_believed(machine):
    clock = SystemClock()
    clock.now_us()
    machine.wall_us -= HOUR_US
    machine.pass_by(60_000_000)
    assert clock.now_us() == START_US + 60_000_000


def test_a_jump_ahead_is_followed_does_not_go_back_while_it_lasts_and_leaves_nothing_behind(machine):
    clock = SystemClock()
    machine.wall_us += YEAR_US
    jumped = clock.now_us()
    assert jumped == START_US + YEAR_US
    machine.wall_us -= HOUR_US
    assert clock.now_us() == jumped
    assert clock.trusted_us == START_US
    machine.wall_us = START_US
    machine.pass_by(10)
    assert clock.now_us() == START_US + 10


def test_it_begins_where_trusted_time_is(machine):
    assert SystemClock(START_US + HOUR_US).now_us() == START_US + HOUR_US
    clock = SystemClock(START_US - HOUR_US)
    assert clock.now_us() == START_US
    assert clock.trusted_us == START_US - HOUR_US


def test_settled_the_wall_clock_is_believed_backwards_too(machine):
    clock = SystemClock(START_US + YEAR_US)
    assert clock.now_us() == START_US + YEAR_US
    clock.settle(machine.wall_us, machine.elapsed_us)
    machine.pass_by(HOUR_US)
    assert clock.now_us() == clock.trusted_us == machine.wall_us == START_US + HOUR_US


@pytest.mark.parametrize(
    ("at_us", "form", "text"),
    [
        (0, None, "1970-01-01 00:00:00 UTC"),
        (1_790_000_000_999_999, None, "2026-09-21 14:13:20 UTC"),  # cut off and not rounded
        (1_790_000_000_999_999, MINUTES, "2026-09-21 14:13 UTC"),
        (1_790_000_000_999_999, RFC3339, "2026-09-21T14:13:20Z"),
        (2**62, None, ""),
        (2**62, RFC3339, ""),
    ],
)
def test_times_are_told_in_utc(at_us, form, text):
    assert (utc(at_us) if form is None else utc(at_us, form)) == text
