"""The publisher: what it merges is there once, in order, signed once per size, whatever breaks."""

import errno
import os
import shutil

import pytest
from ledger_fakes import BreakingDisk, DiskBroke, World

from sekisho.kernel import canonical
from sekisho.kernel.files import LockHeld
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.checkpoint import open_checkpoint
from sekisho.ledger.errors import LedgerFormatError, LogHalted
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.merge import OwnEntry
from sekisho.ledger.publisher import MERGE_BYTES_MAX
from sekisho.ledger.salvage import Run
from sekisho.ledger.sources import Position


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "ledger")


def logged(world):
    files = LogFiles(world.root)
    checkpoint = open_checkpoint(files.checkpoint(), world.log_key.verifier)
    return [entry for _, entries in files.entries(0, checkpoint.size) for entry in entries]


def audit(world):
    return audit_integrity(world.root, world.log_key.verifier)


def test_entries_are_merged_byte_for_byte_and_in_the_order_of_their_writer(world):
    writer = world.writer("w1")
    publisher = world.publisher()
    expected = []
    for round_entries in (1, 254, 1, 1, 300, 0, 5):
        for number in range(round_entries):
            writer.append("change", {"n": number})
        expected = list(writer.entries)
        assert publisher.merge_once() == round_entries
        assert logged(world) == expected
        audit(world)
    assert audit(world).size == len(expected) == 562


def test_an_empty_log_is_published(world):
    world.publisher()
    assert audit(world).size == 0


def test_partial_tiles_of_each_published_size_are_there_until_the_full_one_is(world):
    writer = world.writer()
    publisher = world.publisher()
    for _ in range(3):
        writer.append("change", {})
        publisher.merge_once()
    partials = world.root / "tile/0/000.p"
    assert sorted(p.name for p in partials.iterdir()) == ["1", "2", "3"]
    for _ in range(260):
        writer.append("change", {})
    publisher.merge_once()
    assert not partials.exists()
    assert not (world.root / "tile/entries/000.p").exists()
    assert (world.root / "tile/0/000").stat().st_size == 8192
    assert (world.root / "tile/0/001.p/7").stat().st_size == 7 * 32
    assert (world.root / "tile/1/000.p/1").exists()


def test_an_outbox_entry_appended_twice_is_logged_once(world):
    one, two = world.writer("w1"), world.writer("w2")
    publisher = world.publisher()
    identifier = one.append("change", {"what": "key"})
    one.append("change", {"what": "key"}, identifier=identifier)
    publisher.merge_once()
    two.append("change", {"what": "key"}, identifier=identifier)
    assert publisher.merge_once() == 0
    two.append("change", {"what": "other"})
    assert publisher.merge_once() == 1
    assert [canonical.decode(e)["body"]["what"] for e in logged(world)] == ["key", "other"]


def test_a_dead_writers_open_decisions_are_closed_as_interrupted(world):
    writer, other = world.writer("w1"), world.writer("w2")
    publisher = world.publisher()
    world.request(writer)
    early = world.request(writer, outcome=False)
    world.request(other, outcome=False)
    publisher.merge_once()
    late = world.request(writer, outcome=False)
    world.request(writer, denied=True)
    writer.alive = False
    publisher.merge_once()
    assert "w1" not in world.writers
    assert writer.lock.released == 1
    closing = [e for e in map(canonical.decode, logged(world)) if e["writer"] == "publisher"]
    assert [e["request"] for e in closing] == [early, late]
    assert [e["seq"] for e in closing] == [0, 1]
    assert all(e["body"]["ended"] == "interrupted" for e in closing)
    assert "w2" in world.writers, "a held lock is never closed"
    assert publisher.merge_once() == 0
    audit(world)


def test_a_closed_writer_whose_directory_comes_back_is_not_merged_again(world):
    writer = world.writer("w1")
    writer.append("change", {})
    writer.alive = False
    world.publisher().merge_once()
    size = audit(world).size
    world.writers["w1"] = writer  # its removal did not survive the power cut
    publisher = restart(world)
    assert publisher.merge_once() == 0
    assert audit(world).size == size
    assert "w1" not in world.writers


def restart(world, **options):
    """What a new process does after the old one ended: nothing of the old one is closed in order."""
    (world.root / "publish.lock").unlink()  # the old object of this same process still holds it
    return world.publisher(**options)


def test_entries_missing_in_a_write_ahead_log_halt_the_merge(world):
    writer = world.writer("w1")
    writer.append("change", {})
    writer.seq += 1
    writer.append("change", {})
    publisher = world.publisher()
    with pytest.raises(LogHalted, match="where its entry 1 should be"):
        publisher.merge_once()
    with pytest.raises(LogHalted, match="not running"):
        publisher.merge_once()


def test_there_is_one_publisher(world):
    world.publisher()
    with pytest.raises(LockHeld):
        world.publisher()


def test_a_newer_format_is_refused(world):
    world.publisher().close()
    (world.root / "format").write_text("2\n")
    with pytest.raises(LedgerFormatError):
        world.publisher()


def test_a_clone_behind_the_published_tree_halts(world):
    writer = world.writer()
    writer.append("change", {})
    publisher = world.publisher()
    publisher.merge_once()
    publisher.close()
    shutil.copytree(world.root, world.root.with_name("clone"))
    writer.append("change", {})
    publisher = world.publisher()
    publisher.merge_once()
    publisher.close()
    shutil.copy(world.root / "checkpoint", world.root.with_name("clone") / "checkpoint")
    world.root = world.root.with_name("clone")
    with pytest.raises(LogHalted, match="published log has 2 entries, this disk 1"):
        world.publisher()


def test_a_running_publisher_never_signs_a_second_root_for_a_size(world, tmp_path):
    writer = world.writer()
    publisher = world.publisher()
    twin = World(tmp_path / "twin")
    twin.writer().append("change", {"of": "the twin"})
    twin.publisher().merge_once()
    shutil.copy(twin.root / "checkpoint", world.root / "checkpoint")
    writer.append("change", {})
    with pytest.raises(LogHalted, match="another log"):
        publisher.merge_once()
    assert (world.root / "checkpoint").read_bytes() == (twin.root / "checkpoint").read_bytes()


def test_a_published_log_without_its_journal_halts(world):
    world.publisher().close()
    shutil.rmtree(world.root / "journal")
    with pytest.raises(LogHalted, match="no journal"):
        world.publisher()


@pytest.mark.parametrize("offset", [5, 60, -1])
def test_damage_inside_the_journal_halts(world, offset):
    writer = world.writer()
    publisher = world.publisher()
    path = next((world.root / "journal").glob("*.journal"))
    begin = path.stat().st_size
    for _ in range(2):
        writer.append("change", {})
        publisher.merge_once()
    publisher.close()
    data = bytearray(path.read_bytes())
    data[begin + offset] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogHalted, match="damaged"):
        world.publisher()


def test_a_journal_that_lost_its_durable_last_record_halts(world):
    world.writer().append("change", {})
    publisher = world.publisher()
    publisher.merge_once()
    publisher.close()
    path = next((world.root / "journal").glob("*.journal"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(LogHalted, match="published log has 1 entries, this disk 0"):
        world.publisher()


@pytest.mark.parametrize("how", ["missing", "garbage", "older", "of another log"])
def test_the_index_is_rebuilt_from_the_entries(world, tmp_path, how):
    writer = world.writer("w1")
    publisher = world.publisher()
    for _ in range(300):
        world.request(writer)
    publisher.merge_once()
    publisher.close()
    index = world.root / "index.sqlite"
    old = index.read_bytes()
    open_request = world.request(writer, outcome=False)
    identifier = writer.append("change", {})
    publisher = world.publisher()
    publisher.merge_once()
    publisher.close()
    if how == "missing":
        index.unlink()
    elif how == "garbage":
        index.write_bytes(b"\x00\x01" * 5000)
    elif how == "older":
        index.write_bytes(old)
    else:
        twin = World(tmp_path / "twin")
        twin.writer().append("change", {})
        other = twin.publisher()
        other.merge_once()
        other.close()
        shutil.copy(twin.root / "index.sqlite", index)
    writer.append("change", {}, identifier=identifier)
    writer.alive = False
    publisher = world.publisher()
    assert publisher.merge_once() == 1
    last = canonical.decode(logged(world)[-1])
    assert (last["request"], last["body"]["ended"]) == (open_request, "interrupted")


def test_the_journal_begins_anew_and_nothing_is_lost(world):
    writer = world.writer()
    publisher = world.publisher(journal_bytes_max=20_000)
    for _ in range(40):
        for _ in range(13):
            writer.append("change", {"fill": "x" * 20})
        publisher.merge_once()
    assert [p.name for p in (world.root / "journal").iterdir()] != ["00000001.journal"]
    assert len(list((world.root / "journal").iterdir())) == 1
    publisher = restart(world)
    assert publisher.size == 520
    assert logged(world) == writer.entries
    audit(world)


STEPS = (200, 3, 262)  # the journal begins anew in the middle of a tile, which then becomes full


def live(world, storage, roots):
    """Some merges with all there is in them; returns at the first error of the disk, as a process would end."""
    world.plan = getattr(world, "plan", list(STEPS))
    try:
        publisher = world.publisher(storage, journal_bytes_max=20_000)
        while world.plan:
            writer = world.writer("w1")
            doomed = world.writer()
            for _ in range(world.plan[0]):
                writer.append("change", {})
            world.request(writer, failures=1)
            world.request(doomed, outcome=False)
            doomed.alive = False
            world.plan.pop(0)
            publisher.merge_once()
            note_root(world, roots)
        publisher.merge_once()
        note_root(world, roots)
        publisher.close()
    except DiskBroke:
        note_root(world, roots)
        publisher_lock = world.root / "publish.lock"
        publisher_lock.unlink(missing_ok=True)
        return False
    return True


def note_root(world, roots):
    """Every checkpoint that anybody can have seen."""
    if (world.root / "checkpoint").exists():
        checkpoint = open_checkpoint((world.root / "checkpoint").read_text(), world.log_key.verifier)
        assert roots.setdefault(checkpoint.size, checkpoint.root) == checkpoint.root, "two roots for one size"


def count_steps(tmp_path):
    disk = BreakingDisk()
    assert live(World(tmp_path / "count"), disk, {})
    return disk.count


@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed but persisted"])
@pytest.mark.parametrize("power", [False, True], ids=["process ends", "power cut"])
def test_every_write_breaks_and_the_log_is_the_same(tmp_path, persisted, power):
    steps = count_steps(tmp_path)
    assert steps > 20
    for step in range(steps):
        world = World(tmp_path / f"{step}")
        everything = []
        keep = world.writer
        world.writer = lambda name=None, keep=keep, everything=everything: remember(keep(name), everything)
        roots = {}
        disk = BreakingDisk(step, persisted=persisted)
        assert not live(world, disk, roots), f"write {step} was not reached"
        if power:
            disk.power_cut()
        assert live(world, None, roots)
        require_exactly_once(world, everything)
        shutil.rmtree(world.root)


def remember(writer, everything):
    if writer not in everything:
        everything.append(writer)
    return writer


def require_exactly_once(world, everything):
    entries = logged(world)
    assert len(set(entries)) == len(entries)
    audit(world)
    decoded = [canonical.decode(entry) for entry in entries]
    for writer in everything:
        mine = [entry for entry, envelope in zip(entries, decoded, strict=True) if envelope["writer"] == writer.name]
        assert mine == writer.entries
    own = [envelope for envelope in decoded if envelope["writer"] == "publisher"]
    assert [envelope["seq"] for envelope in own] == list(range(len(own)))
    left = {e["id"] for e in decoded if e["kind"] == "decision" and e["body"]["chosen"]}
    closed = [e["body"]["decision"] for e in decoded if e["kind"] == "outcome"]
    assert len(closed) == len(set(closed))
    assert left == set(closed)


def test_a_torn_last_record_is_kept_aside(world):
    writer = world.writer()
    publisher = world.publisher()
    path = next((world.root / "journal").glob("*.journal"))
    publisher.close()
    writer.append("change", {})
    with path.open("ab") as journal:
        journal.write(b"SkJ\x01 the beginning of a record")
    publisher = world.publisher()
    assert [p.read_bytes() for p in path.parent.glob("*.torn-*")] == [b"SkJ\x01 the beginning of a record"]
    assert publisher.merge_once() == 1
    (path,) = (world.root / "journal").glob("*.journal")
    assert b"the beginning of a record" not in path.read_bytes()
    audit(world)


def test_a_directory_that_cannot_be_read_is_not_an_empty_journal(world, monkeypatch):
    """Else the next file would get a number below the one that is there, and be dropped for it."""
    publisher = world.publisher(journal_bytes_max=10)
    world.writer().append("change", {})

    def broken(directory):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(directory))

    with monkeypatch.context() as patch:
        patch.setattr(os, "listdir", broken)
        patch.setattr(os, "scandir", broken)
        with pytest.raises(OSError, match="Input/output"):
            publisher.merge_once()
    publisher = restart(world)
    assert publisher.size == 1


def test_a_salvage_that_breaks_off_has_told_already_what_was_lost_before_that_place(world):
    """Salvaged in several merges: the next salvage begins where the last merge ended, and sees no gap before it."""
    writer = world.writer()
    writer.alive = False
    for _ in range(2 + MERGE_BYTES_MAX // 60_000):
        writer.append("change", {"text": "x" * 60_000})
    end = len(writer.entries)
    told = OwnEntry("change", "operator", {"act": "ledger.repair", "lost": [[1, 2]]})

    def runs():
        yield Run(0, (writer.entries[0],), Position(1, 1, bytes(4)))
        yield Run(2, tuple(writer.entries[2:]), Position(end, end, bytes(4)))
        raise OSError("the disk again")

    publisher = world.publisher()
    with pytest.raises(OSError, match="the disk again"):
        publisher.salvage(writer, runs(), told)
    publisher.close()
    envelopes = [canonical.decode(entry) for entry in logged(world)]
    assert [e["body"]["lost"] for e in envelopes if e["body"].get("act") == "ledger.repair"] == [[[1, 2]]]
    assert [e["seq"] for e in envelopes if e["writer"] == writer.name] == [0, *range(2, end)]
