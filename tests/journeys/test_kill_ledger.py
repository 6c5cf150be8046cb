"""SIGKILL at random under load, many times over one ledger: a writer and a publisher, either killed first, or both.

The whole installation under kills, with callers and an upstream, is in test_kill.py.
"""

import json
import os
import random
import signal
import tempfile
import time
from pathlib import Path

import pytest

from journeys.installation import Installation
from journeys.ledger_history import Lives, said_path, told_path
from journeys.test_every_syscall import require_whole

LIFE_S = (0.02, 0.3)  # a round's length: from the middle of the start to some dozens of merges
BETWEEN_S = 0.05


@pytest.fixture
def both():
    lives = Lives(), Lives()
    yield lives
    for one in lives:
        one.close()


@pytest.mark.parametrize(
    ("rounds", "seed"), [pytest.param(10, 1, id="10"), pytest.param(200, 2, id="200", marks=pytest.mark.long)]
)
def test_nothing_that_was_told_is_lost_however_often_it_is_killed(both, rounds, seed):
    chance = random.Random(seed)
    place = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=place if os.access(place, os.W_OK) else None) as directory:
        root = Path(directory) / "site"
        Installation(root).apply()
        for _ in range(rounds):
            kill_both(both, root, chance)
        told = [json.loads(line) for line in told_path(root).read_text().splitlines()]
        evidence = require_whole(root, told)
        assert said_path(root).read_text() == "", "a process ended before it was killed"
    assert sum("published" in what for what in told) > rounds, "the publisher hardly ever came to publish"
    ended = [outcome["body"]["ended"] for outcome in evidence.outcomes.values()]
    assert "interrupted" in ended, "no kill left a decision open"
    assert "complete" in ended


def kill_both(both: tuple[Lives, Lives], root: Path, chance: random.Random) -> None:
    begun = [lives.begin(name, root) for lives, name in zip(both, ("writing", "publishing"), strict=True)]
    processes = list(begun)
    for process in processes:
        os.kill(process, signal.SIGUSR1)
    time.sleep(chance.uniform(*LIFE_S))  # the moment of the kill is what is random here
    chance.shuffle(processes)
    os.kill(processes[0], signal.SIGKILL)
    time.sleep(chance.choice((0, chance.uniform(0, BETWEEN_S))))
    os.kill(processes[1], signal.SIGKILL)
    assert [lives.ended(process) for lives, process in zip(both, begun, strict=True)] == [-signal.SIGKILL] * 2
