"""Archiving: the cold copy is a whole log, entries read through, and a crash loses nothing."""

import shutil

import pytest
from ledger_fakes import ORGANISATION_KEY, ORIGIN, BreakingDisk, DiskBroke, World

from sekisho.kernel.errors import UsageError
from sekisho.ledger.archive import archive
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.checkpoint import make_enrolment
from sekisho.ledger.errors import AuditFinding, LogUnreadable
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.reader import LogReader
from sekisho.ledger.receipts import build_receipt
from sekisho.ledger.verify import VERIFIED, verify_receipt


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "ledger")
    world.old_writer = world.writer()
    world.old_request = world.request(world.old_writer)
    for _ in range(700):
        world.old_writer.append("change", {"fill": "x" * 40})
    publisher = world.publisher(journal_bytes_max=1)  # so that nothing of it is still to be synced
    publisher.merge_once()
    publisher.merge_once()
    publisher.close()
    return world


def bundles(world):
    return sorted(path.name for path in (world.root / "tile/entries").iterdir())


def verifier(world):
    return world.log_key.verifier


def test_old_bundles_move_and_everything_still_verifies(world, tmp_path):
    cold = tmp_path / "cold"
    enrolment = make_enrolment(world.site_key, ORIGIN, verifier(world))
    (world.root / "enrolment").write_text(enrolment)
    done = archive(world.root, cold, verifier(world), keep=190)
    assert (done.size, done.moved) == (702, 2)
    assert bundles(world) == ["002.p"]
    assert (cold / "enrolment").read_text() == enrolment, "so that the site's key says something of it"
    assert audit_integrity(cold, verifier(world)).size == 702
    assert audit_integrity(world.root, verifier(world)).size == 702
    reader = LogReader(world.root)
    entries = reader.state(world.old_request, world.clock.now_us()).entries
    reader.close()
    receipt = build_receipt(world.old_request, world.site_key.verifier, enrolment, entries, ORGANISATION_KEY)
    assert verify_receipt(receipt, trusted=[world.site_key.verifier]).verdict == VERIFIED


def test_the_log_grows_on_its_index_is_rebuilt_and_it_is_archived_again(world, tmp_path):
    archive(world.root, tmp_path / "cold", verifier(world), keep=0)
    (world.root / "index.sqlite").unlink()
    publisher = world.publisher(journal_bytes_max=1)
    for _ in range(200):
        world.old_writer.append("change", {})
    publisher.merge_once()
    publisher.merge_once()
    assert archive(world.root, tmp_path / "cold", verifier(world), keep=0).moved == 1
    world.old_writer.append("change", {})
    publisher.merge_once()
    publisher.close()
    assert audit_integrity(world.root, verifier(world)).size == 903
    assert audit_integrity(tmp_path / "cold", verifier(world)).size == 902


def test_the_newest_entries_and_those_of_the_journal_stay(world, tmp_path):
    assert archive(world.root, tmp_path / "cold", verifier(world)).moved == 0
    young = World(tmp_path / "young" / "ledger")
    for _ in range(600):
        young.writer("w").append("change", {})
    publisher = young.publisher()
    publisher.merge_once()
    assert archive(young.root, tmp_path / "other", verifier(young), keep=0).moved == 0
    publisher.close()


def test_nothing_is_removed_unless_the_copy_holds(world, tmp_path):
    cold = tmp_path / "cold"
    archive(world.root, cold, verifier(world))
    (cold / "tile/entries/000").write_bytes(b"\0\1x" * 256)
    with pytest.raises(AuditFinding, match="Nothing was removed here"):
        archive(world.root, cold, verifier(world), keep=0)
    assert bundles(world) == ["000", "001", "002.p"]
    (cold / "checkpoint").unlink()  # as it says
    assert archive(world.root, cold, verifier(world), keep=0).moved == 2
    assert audit_integrity(world.root, verifier(world)).size == 702


@pytest.mark.parametrize("persisted", [False, True], ids=["failed", "failed but persisted"])
def test_every_write_breaks_and_nothing_is_lost(world, tmp_path, persisted):
    (world.root / "torn").mkdir()
    (world.root / "torn/piece").write_bytes(b"half a frame")
    counting = BreakingDisk()
    shutil.copytree(world.root, tmp_path / "count")
    archive(tmp_path / "count", tmp_path / "cold", verifier(world), keep=0, storage=counting)
    assert counting.count > 10
    for step in range(counting.count):
        root, cold = tmp_path / f"{step}" / "ledger", tmp_path / f"{step}" / "cold"
        shutil.copytree(world.root, root)
        broken = BreakingDisk(step, persisted=persisted)
        with pytest.raises(DiskBroke):
            archive(root, cold, verifier(world), keep=0, storage=broken)
        broken.power_cut()
        assert audit_integrity(root, verifier(world)).size == 702
        (root / "archive.lock").unlink()
        archive(root, cold, verifier(world), keep=0)
        assert audit_integrity(root, verifier(world)).size == 702
        assert not (root / "tile/entries/001").exists()
        assert (cold / "torn/piece").read_bytes() == b"half a frame"


def test_an_archive_that_is_not_there_is_said_to_be(world, tmp_path):
    archive(world.root, tmp_path / "cold", verifier(world), keep=0)
    shutil.rmtree(tmp_path / "cold")
    with pytest.raises(LogUnreadable, match=r"cold.*tile/entries/000 is not there"):
        LogFiles(world.root).entry(3, 702)


def test_torn_pieces_go_along(world, tmp_path):
    (world.root / "torn").mkdir()
    (world.root / "torn/w-1-torn-64").write_bytes(b"half a frame")
    archive(world.root, tmp_path / "cold", verifier(world))
    assert (tmp_path / "cold/torn/w-1-torn-64").read_bytes() == b"half a frame"
    assert not list((world.root / "torn").iterdir())


def test_a_directory_in_use_for_something_else_is_refused(world, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").write_text("mine")
    for cold in (tmp_path / "full", world.root / "cold", world.root):
        with pytest.raises(UsageError):
            archive(world.root, cold, verifier(world))
    archive(world.root, tmp_path / "cold", verifier(world))
    with pytest.raises(UsageError, match=r"archived in .*cold already"):
        archive(world.root, tmp_path / "elsewhere", verifier(world))
