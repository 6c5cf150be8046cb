"""What `ledger status` sees, beside a publisher that runs and of damage of each kind; it changes nothing."""

import json

import pytest
from ledger_fakes import World
from repair_fixtures import Site

from sekisho.ledger import journal
from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.room import BUDGET_ALARM, budget_bytes
from sekisho.ledger.status import DiskBudget, read_status


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "ledger")


def status(site, reserve_bytes=0):
    before = snapshot(site.root)
    found = read_status(site.root, [site.log_key.verifier], reserve_bytes=reserve_bytes, now_us=site.clock.now_us())
    assert snapshot(site.root) == before, "status changes nothing"
    json.dumps(found.as_object())
    return found


def snapshot(root):
    readers = ("index.sqlite-wal", "index.sqlite-shm")  # SQLite's own, made by whoever reads
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file() and path.name not in readers}


async def test_it_counts_what_waits_and_what_is_published(site):
    await site.written(*[b"{}"] * 3)
    site.publish()
    name = await site.written(*[b"{}"] * 5)
    publisher = site.make_publisher()
    publisher.start()
    try:
        found = status(site)
    finally:
        publisher.close()
    assert (found.published, found.merged, found.lag_entries) == (3, 3, 5)
    assert found.publisher_runs
    assert found.oldest_unmerged_us == 1_700_000_000_000_000
    (writer,) = found.writers
    assert (writer.name, writer.alive, writer.unmerged_entries, writer.counted) == (name, False, 5, True)
    assert found.damage == ()
    assert found.sizes["write_ahead"] >= 256 * 1024
    assert any("wait for" in warning for warning in found.warnings)
    assert not status(site).publisher_runs


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("journal", "the journal is damaged at byte"),
        ("checkpoint", "the published checkpoint"),
        ("tile", "missing or cut short"),
        ("edge", "is missing"),
        ("index", "the log's index can't be read"),
        ("write-ahead", "a frame can't be read that later ones say was synced"),
        ("clock", "clock can't be read"),
    ],
)
async def test_it_names_damage(site, kind, words):
    await site.written(*[b"{}"] * 300)
    site.publish()
    name = await site.written(*[b"{}"] * 3)
    assert status(site).damage == ()
    root = site.root
    if kind == "journal":
        (path,) = (root / "journal").iterdir()
        path.write_bytes(path.read_bytes()[:50] + b"!" + path.read_bytes()[51:])
    elif kind == "write-ahead":
        site.damage(name, 1)
    elif kind == "tile":
        (root / "tile/entries/000").unlink()
    elif kind == "edge":
        (root / "tile/0/001.p/44").unlink()
    else:
        name = {"checkpoint": "checkpoint", "index": "index.sqlite", "clock": "clock"}[kind]
        (root / name).write_bytes(b"nonsense" * 100)
    assert any(words in damage for damage in status(site).damage), status(site).damage


async def test_what_is_kept_aside_is_listed(site):
    await site.written(b"{}")
    site.publish()
    (site.root / "torn").mkdir()
    (site.root / "torn/w-1-torn-64").write_bytes(b"half")
    found = status(site)
    assert found.aside == ("torn/w-1-torn-64",)
    assert found.sizes["aside"] == 4


async def test_a_disk_that_is_nearly_used_up_is_an_alarm(site):
    await site.written(*[b"{}"] * 3)
    site.publish()
    await site.written(*[b"{}"] * 3)
    found = status(site, reserve_bytes=1 << 60)
    assert found.disk.used_percent == 100
    assert any("disk budget" in warning for warning in found.warnings)


def test_the_budget_is_what_fits_until_the_writers_rule_says_no():
    unmerged, free, reserve = 1000, 10_000, 2_000
    disk = DiskBudget(free, reserve, unmerged, budget_bytes(free, reserve, unmerged))
    more = disk.budget_bytes - unmerged
    assert free - more >= 2 * disk.budget_bytes + reserve
    assert free - more - 1 < 2 * (disk.budget_bytes + 1) + reserve
    assert 0 < disk.used_percent < BUDGET_ALARM * 100


def test_a_journal_that_is_begun_anew_during_a_look_is_looked_at_again(tmp_path, monkeypatch):
    """The publisher removes the old file between somebody's list and read: that is no error."""
    world = World(tmp_path / "ledger")
    world.request(world.writer())
    publisher = world.publisher()
    publisher.merge_once()
    publisher.close()
    listed, stale = journal.journal_files, [[world.root / "journal" / "00000000.journal"]]
    monkeypatch.setattr(journal, "journal_files", lambda directory: stale.pop() if stale else listed(directory))
    assert journal.read_journal(world.root / "journal").last.size == 2
    monkeypatch.setattr(journal, "journal_files", lambda directory: [directory / "00000000.journal"])
    with pytest.raises(LogUnreadable, match="Try again"):
        journal.read_journal(world.root / "journal")
