"""G3 and G5 under power cuts: whatever a disk leaves of what was not synced, nothing is lost or signed twice.

Three lives of a publisher. The first ends at any of its writes, as a process does: what it wrote is still to be seen,
durable or not. The second recovers from that, goes on, and is ended by a power cut at any of its writes. The third
finds what the disk left, and must come to the same log. The write-ahead logs' own part is in test_wal_reader.py.
"""

import random
import shutil

import pytest
from ledger_fakes import DiskBroke, World
from test_ledger_publisher import note_root, remember, require_exactly_once
from uncertain_disk import UncertainDisk, leave

STEPS = (40, 3, 240)  # the journal begins anew, and a tile becomes full
JOURNAL_BYTES_MAX = 20_000
SECOND_LIFE_WRITES = 14  # its recovery and its first merge


class Lives(World):
    """A world whose writers are all remembered, also those that have gone."""

    def __init__(self, root):
        super().__init__(root)
        self.everyone = []
        self.roots = {}
        self.plan = list(STEPS)

    def writer(self, name=None):
        return remember(super().writer(name), self.everyone)

    def live(self, disk):
        """Merges with all there is in them; returns at the first error of the disk, as a process would end."""
        try:
            publisher = self.publisher(disk, journal_bytes_max=JOURNAL_BYTES_MAX)
            while self.plan:
                self.append(self.plan[0])
                self.plan.pop(0)
                publisher.merge_once()
                note_root(self, self.roots)
            publisher.merge_once()
            note_root(self, self.roots)
            publisher.close()
        except DiskBroke:
            note_root(self, self.roots)
            (self.root / "publish.lock").unlink(missing_ok=True)  # the process is gone, its object is not
            return False
        return True

    def append(self, count):
        writer, doomed = self.writer("w1"), self.writer()
        for _ in range(count):
            writer.append("change", {})
        self.request(writer, failures=1)
        self.request(doomed, outcome=False)
        doomed.alive = False

    def power_cut(self, image, chance):
        """The index, which SQLite writes, is there or gone."""
        leave(image)
        if chance.random() < 0.5:
            for path in self.root.glob("index.sqlite*"):
                path.unlink()


def writes_of_a_life(root):
    disk = UncertainDisk()
    assert Lives(root).live(disk)
    shutil.rmtree(root)
    return disk.count


def run(root, first, second, persisted, seed, images):
    """The three lives, for some of the images that the power cut may leave."""
    chance = random.Random(seed)
    number, found = 0, 1
    while number < found:
        world = Lives(root / "ledger")
        disk = UncertainDisk(first, persisted=persisted)
        assert not world.live(disk), f"write {first} was not reached"
        if second is not None:
            disk = UncertainDisk(second, persisted=chance.random() < 0.5).inherit(disk)
            world.live(disk)
        left = disk.images(random.Random(seed), images)
        found = len(left)
        world.power_cut(left[number], chance)
        assert world.live(UncertainDisk())
        require_exactly_once(world, world.everyone)
        shutil.rmtree(world.root)
        number += 1
    return found


def test_a_power_cut_at_any_write(tmp_path):
    """The machine ends with the process."""
    for first in range(writes_of_a_life(tmp_path / "ledger")):
        for persisted in (False, True):
            run(tmp_path, first, None, persisted, first, images=3)


@pytest.mark.parametrize(
    ("share", "images"), [pytest.param(25, 1, id="some"), pytest.param(1, 6, id="all", marks=pytest.mark.long)]
)
def test_a_power_cut_after_a_recovery_from_any_write(tmp_path, share, images):
    """What a dead process wrote is to be seen in the page cache, and was never synced: nobody may build on it."""
    cases = [
        (first, second, persisted)
        for first in range(writes_of_a_life(tmp_path / "ledger"))
        for second in range(SECOND_LIFE_WRITES)
        for persisted in (False, True)
    ]
    for first, second, persisted in random.Random(1).sample(cases, len(cases) // share):
        run(tmp_path, first, second, persisted, first * 100 + second, images)
