"""`sekisho ledger settle-clock`: what it asks for, refuses, tells and does."""

import json
import shutil
from contextlib import closing

import pytest

from sekisho.app.installation import put_declarations_in_force
from sekisho.cli.main import main
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import SystemClock
from sekisho.ledger import clock_watch
from sekisho.settings import DataDirectory

HOUR_US = 3_600_000_000


@pytest.fixture
def directory(installation_template, tmp_path):
    return DataDirectory(shutil.copytree(installation_template, tmp_path / "site"))


def settle(directory, ahead):
    return main(["ledger", "settle-clock", "--ahead", str(ahead), "--dir", str(directory.root)])


def acts(directory):
    with closing(SqlIdentity(directory.state, SystemClock())) as register:
        return [json.loads(entry.body) for entry in register.pending(100)]


def believe(directory, *, off_us):
    """What a process knew that began with a wall clock which was off by so much."""
    now = clock_watch.read_clocks()
    clock_watch.save(directory.ledger, clock_watch.begin(now._replace(wall_us=now.wall_us + off_us)))


def test_a_site_that_lived_in_the_future_comes_back_and_the_ledger_is_told(directory):
    believe(directory, off_us=HOUR_US)
    assert clock_watch.load(directory.ledger).at(clock_watch.read_clocks()).suspect
    assert settle(directory, -3600) == 0
    state = clock_watch.load(directory.ledger)
    assert not state.at(clock_watch.read_clocks()).suspect
    assert abs(state.floor_us - clock_watch.read_clocks().wall_us) < HOUR_US / 2
    assert acts(directory)[-1] == {"act": "clock.settle", "ahead_s": "-3600"}


@pytest.mark.parametrize(
    ("off_us", "ahead", "says"),
    [
        (None, 5, "nobody has looked at the clock here yet"),
        (0, 5, "is not suspect"),
        (HOUR_US, 3600, "stands -3600 s from trusted time, not +3600 s"),
    ],
)
def test_what_it_refuses_changes_nothing(directory, capsys, off_us, ahead, says):
    if off_us is not None:
        believe(directory, off_us=off_us)
    told = acts(directory)
    before = clock_watch.load(directory.ledger)
    assert settle(directory, ahead) == 2
    assert says in capsys.readouterr().err
    assert (clock_watch.load(directory.ledger), acts(directory)) == (before, told)


def test_where_a_rule_demands_approval_it_takes_one(directory, capsys):
    rule = '[[rules]]\nact = "clock.settle"\napprovers = ["s-1", "s-2"]\nneeded = 1\n'
    (directory.declarations / "approvals.toml").write_text(rule)
    put_declarations_in_force(directory)
    believe(directory, off_us=HOUR_US)
    before = clock_watch.load(directory.ledger)
    assert settle(directory, -3600) == 1
    assert "sekisho approvals ask clock.settle ahead_s=-3600" in capsys.readouterr().err
    assert clock_watch.load(directory.ledger) == before
