"""Repair: what was answered for is saved or named, nothing is believed that nothing proves, and it is all kept."""

import shutil

import pytest
from ledger_fakes import BreakingDisk, DiskBroke
from repair_fixtures import DECISION, Site

from sekisho.kernel.files import FileLock, LockHeld
from sekisho.ledger import publisher as publishing
from sekisho.ledger.errors import LogHalted, WriteAheadDamaged


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "ledger")


def numbers(entries, writer):
    return [entry["seq"] for entry in entries if entry["writer"] == writer]


async def test_a_sound_ledger_needs_nothing(site):
    await site.written(b"{}", DECISION)
    site.publish()
    await site.written(b"{}")
    assert site.repair().examine().clean
    assert site.repair().repair(site.make_publisher).aside is None
    assert not (site.root / "aside").exists()


async def test_entries_behind_damage_are_saved_and_what_is_lost_is_named(site):
    name = await site.written(*[b"{}"] * 3, DECISION, *[b"{}"] * 3)
    site.damage(name, 2)
    with pytest.raises(WriteAheadDamaged, match="sekisho ledger repair"):
        site.publish()
    (damaged,) = site.repair().examine().writers
    assert [(gap.first, gap.end) for gap in damaged.lost] == [(2, 3)]
    assert [trace.id for trace in damaged.traces] == [site.ids_of[name][2]]
    done = site.repair().repair(site.make_publisher)
    entries = site.logged()
    assert numbers(entries, name) == [0, 1, 3, 4, 5, 6]
    assert [e["body"]["ended"] for e in entries if e["kind"] == "outcome"] == ["interrupted"]
    (told,) = [e["body"] for e in entries if e["body"].get("act") == "ledger.repair"]
    assert (told["writer"], told["lost"], told["lost_count"]) == (name, [[2, 3]], 1)
    assert (done.aside / "wal" / name / "00000000.seg").stat().st_size == 256 * 1024
    assert site.repair().examine().clean
    site.publish()
    assert len(site.logged()) == len(entries)


async def test_what_was_merged_before_the_damage_is_not_merged_again(site):
    name = await site.written(*[b"{}"] * 4)
    lock = FileLock(site.root / "wal" / name / "lock").acquire()  # it lives, so far
    site.publish()
    lock.release()
    site.damage(name, 1)
    path = site.root / "wal" / name / "00000000.seg"
    path.write_bytes(path.read_bytes()[:-4096])  # the file itself is too short now
    assert site.repair().examine().writers[0].readable == 0
    site.repair().repair(site.make_publisher)
    assert numbers(site.logged(), name) == [0, 1, 2, 3]


async def test_a_segments_damaged_header_costs_nothing(site):
    name = await site.written(*[b"{}"] * 3)
    path = site.root / "wal" / name / "00000000.seg"
    path.write_bytes(bytes(40) + path.read_bytes()[40:])
    assert site.repair().examine().writers[0].lost == ()
    site.repair().repair(site.make_publisher)
    assert numbers(site.logged(), name) == [0, 1, 2]


@pytest.mark.parametrize("how", ["flipped", "gone", "cut"])
async def test_a_damaged_journal_is_rebuilt_from_the_published_log(site, how):
    alive = await site.written(*[b"{}"] * 3, DECISION)
    lock = FileLock(site.root / "wal" / alive / "lock").acquire()
    site.publish()
    lock.release()
    dead = await site.written(b"{}")
    (journal,) = (site.root / "journal").iterdir()
    data = journal.read_bytes()
    if how == "gone":
        journal.unlink()
    else:
        journal.write_bytes(data[:-1] if how == "cut" else data[:60] + bytes([data[60] ^ 1]) + data[61:])
    with pytest.raises(LogHalted):
        site.publish()
    done = site.repair().repair(site.make_publisher)
    assert done.findings.journal
    entries = site.logged()
    assert numbers(entries, alive) == [0, 1, 2, 3]
    assert numbers(entries, dead) == [0]
    assert [e["body"]["ended"] for e in entries if e["kind"] == "outcome"] == ["interrupted"]
    own = [e["seq"] for e in entries if e["writer"] == "publisher"]
    assert own == list(range(len(own)))
    assert site.repair().examine().clean
    site.publish()


async def test_tiles_index_and_checkpoint_come_back(site):
    await site.written(*[b"{}"] * 300)
    site.publish()
    before = len(site.logged())
    shutil.rmtree(site.root / "tile/0")
    shutil.rmtree(site.root / "tile/1")
    (site.root / "index.sqlite").unlink()
    (site.root / "checkpoint").write_text("nonsense")
    done = site.repair().repair(site.make_publisher)
    assert (done.aside / "checkpoint").read_text() == "nonsense"
    assert done.rebuilt == 3
    assert len(site.logged()) == before + 1


async def test_a_lost_entry_is_named_and_comes_back_from_a_copy(site, tmp_path):
    await site.written(*[b'{"x":"%d"}' % n for n in range(300)])
    site.publish()  # the journal still has all of them, until the next start
    copy = tmp_path / "copy"
    shutil.copytree(site.root / "tile", copy / "tile")
    bundle = site.root / "tile/entries/000"
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(b'{"x":"77"}', b'{"x":"78"}'))
    assert site.repair().examine().tree.lost == (), "the journal has it"
    for path in (site.root / "journal").iterdir():
        path.unlink()
    findings = site.repair().examine()
    assert findings.tree.lost == ((77, 78),)
    with pytest.raises(LogHalted, match="--from"):
        site.repair().repair(site.make_publisher)
    site.repair(copies=[copy]).repair(site.make_publisher)
    assert bundle.read_bytes() == data
    assert len(site.logged()) == 301


async def test_a_log_that_is_really_behind_what_was_published_is_refused(site, tmp_path):
    await site.written(*[b"{}"] * 3)
    site.publish()
    old = tmp_path / "old"
    shutil.copytree(site.root, old)
    await site.written(*[b"{}"] * 3)
    site.publish()
    shutil.copy(site.root / "checkpoint", old / "checkpoint")  # all that this disk knows of the log's later life
    site.root = old
    with pytest.raises(LogHalted, match="does not lead to the root at 6"):
        site.repair().repair(site.make_publisher)
    assert not (old / "aside").exists()


async def test_a_running_publisher_or_writer_is_left_alone(site):
    name = await site.written(*[b"{}"] * 3)
    with FileLock(site.root / "publish.lock"):
        with pytest.raises(LockHeld, match="sekisho up"):
            site.repair().examine()
        with pytest.raises(LockHeld, match="sekisho up"):
            site.repair().repair(site.make_publisher)
    site.damage(name, 1)
    with FileLock(site.root / "wal" / name / "lock"), pytest.raises(LogHalted, match="still runs"):
        site.repair().repair(site.make_publisher)


async def test_a_crash_between_a_merge_and_its_checkpoint_is_not_damage(site):
    await site.written(*[b"{}"] * 3)
    site.publish()
    await site.written(*[b"{}"] * 3)
    for step in (1, 3):
        disk = BreakingDisk()
        publisher = site.make_publisher(disk)
        publisher.start()
        disk.break_at = disk.count + step
        with pytest.raises(DiskBroke):
            publisher.merge_once()
        publisher.close()
        assert site.repair().examine().clean
        site.publish()
        await site.written(*[b"{}"] * 3)


@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed but persisted"])
async def test_a_repair_that_breaks_off_anywhere_is_finished_by_the_next(site, tmp_path, persisted):
    alive = await site.written(*[b"{}"] * 3, DECISION)
    lock = FileLock(site.root / "wal" / alive / "lock").acquire()
    site.publish()
    lock.release()
    damaged = await site.written(*[b"{}"] * 4)
    site.damage(damaged, 1)
    (journal,) = (site.root / "journal").iterdir()
    journal.write_bytes(journal.read_bytes()[:-1])
    shutil.rmtree(site.root / "tile/0")
    original, root = site.root, tmp_path / "original"
    shutil.copytree(original, root)
    step = 0
    while True:
        shutil.rmtree(original)
        shutil.copytree(root, original)
        disk = BreakingDisk(step, persisted=persisted)
        try:
            site.repair(storage=disk).repair(lambda disk=disk: site.make_publisher(disk))
        except DiskBroke:
            disk.power_cut()
        else:
            break
        site.repair().repair(site.make_publisher)
        site.publish()
        entries = site.logged()
        assert numbers(entries, alive) == [0, 1, 2, 3], step
        assert numbers(entries, damaged) == [0, 2, 3], step
        assert [e["seq"] for e in entries if e["writer"] == "publisher"] == list(
            range(sum(e["writer"] == "publisher" for e in entries))
        )
        assert {e["body"]["writer"] for e in entries if "writer" in e["body"]} >= {damaged}
        assert site.repair().examine().clean
        step += 1
    assert step > 8


@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed but persisted"])
async def test_what_is_lost_is_told_of_though_the_rest_is_merged_by_another(site, tmp_path, monkeypatch, persisted):
    """A salvage in several merges, of a log whose one damage is behind the first of them, breaks off between two."""
    monkeypatch.setattr(publishing, "MERGE_BYTES_MAX", 1)  # each frame is a merge
    site.publish()
    name = await site.written(*[b"{}"] * 6)
    site.damage(name, 0)
    original, root = site.root, tmp_path / "original"
    shutil.copytree(original, root)
    step, alone = 0, 0
    while True:
        shutil.rmtree(original)
        shutil.copytree(root, original)
        disk = BreakingDisk(step, persisted=persisted)
        try:
            site.repair().repair(lambda disk=disk: site.make_publisher(disk))
        except DiskBroke:
            disk.power_cut()
        else:
            break
        if not site.repair().examine().writers:  # nothing of it is damaged any more
            alone += 1
        else:
            site.repair().repair(site.make_publisher)
        for _ in range(8):
            site.publish()  # and from here on control goes on
        entries = site.logged()
        assert numbers(entries, name) == [1, 2, 3, 4, 5], step
        assert [e["body"]["lost"] for e in entries if e["body"].get("writer") == name] == [[[0, 1]]], step
        step += 1
    assert alone > 8, "it never broke off between two merges: the test shows nothing"


async def test_a_log_whose_end_nobody_can_tell_is_not_gone_on_with(site):
    """The last record was published, then it was damaged, and so was what had been published of it."""
    await site.written(b"{}")
    site.publish()
    await site.written(*[b"{}"] * 3)
    site.publish()
    (journal,) = (site.root / "journal").iterdir()
    whole, checkpoint = journal.read_bytes(), site.root / "checkpoint"
    journal.write_bytes(whole[:-1])
    checkpoint.write_bytes(b"")
    with pytest.raises(LogHalted):
        site.publish()
    with pytest.raises(LogHalted, match=r"could sign a size twice.*sekisho restore"):
        site.repair().repair(site.make_publisher)
    checkpoint.unlink()
    for _ in range(2):
        with pytest.raises(LogHalted, match=r"could sign a size twice.*sekisho restore"):
            site.publish()
    assert not checkpoint.exists()
    journal.write_bytes(whole)
    site.publish()
    assert len(site.logged()) == 4


async def test_another_history_under_the_same_name_is_told_of(site, tmp_path):
    await site.written(b"{}")
    site.publish()
    twin = tmp_path / "twin"
    shutil.copytree(site.root, twin)
    await site.written(*[b'{"here":true}'] * 3)
    site.publish()
    here, site.root = site.root, twin
    await site.written(*[b'{"there":true}'] * 3)
    site.publish()
    site.root = here
    shutil.copy(twin / "checkpoint", here / "checkpoint")
    with pytest.raises(LogHalted, match="not ours"):
        site.publish()
    assert "another history" in site.repair().examine().refused[0]
    with pytest.raises(LogHalted, match="another history"):
        site.repair().repair(site.make_publisher)


async def test_what_is_kept_aside_is_whole_or_is_not_there(site, monkeypatch):
    """A repair that broke off while it copied, and another in the same second."""
    name = await site.written(*[b"{}"] * 4)
    site.damage(name, 1)
    before = (site.root / "wal" / name / "00000000.seg").read_bytes()

    def breaks_off(source, copy):
        copy.write(source.read(100))
        raise DiskBroke("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfileobj", breaks_off)
        with pytest.raises(DiskBroke):
            site.repair().repair(site.make_publisher)
    done = site.repair().repair(site.make_publisher)
    assert [path.name for path in (site.root / "aside").iterdir()] == [done.aside.name], "not the same second"
    assert (done.aside / "wal" / name / "00000000.seg").read_bytes() == before
