"""Audit depth 1: a log holds, or the finding says where it does not."""

import pytest
from ledger_fakes import World

from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.checkpoint import Checkpoint, open_checkpoint
from sekisho.ledger.errors import AuditFinding


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path / "ledger")
    writer = world.writer()
    publisher = world.publisher()
    world.earlier = []
    for count in (100, 200, 300):
        for _ in range(count):
            writer.append("change", {})
        publisher.merge_once()
        note = (world.root / "checkpoint").read_text(encoding="utf-8")
        world.earlier.append(open_checkpoint(note, world.log_key.verifier))
    publisher.close()
    return world


def audit(world, **options):
    return audit_integrity(world.root, world.log_key.verifier, **options)


def test_the_log_holds_and_extends_each_checkpoint_seen_before(world):
    assert audit(world).size == 600
    for earlier in world.earlier:
        assert audit(world, earlier=earlier).size == 600


def test_a_checkpoint_seen_before_of_another_history_is_found(world):
    for earlier in world.earlier:
        with pytest.raises(AuditFinding, match=f"root at {earlier.size} entries"):
            audit(world, earlier=Checkpoint(earlier.origin, earlier.size, bytes(32)))
    with pytest.raises(AuditFinding, match="does not extend"):
        audit(world, earlier=Checkpoint(world.earlier[0].origin, 601, bytes(32)))
    with pytest.raises(AuditFinding, match="does not extend"):
        audit(world, earlier=Checkpoint("elsewhere", 100, world.earlier[0].root))


FILES = ["tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001", "tile/entries/002.p/88", "checkpoint"]


@pytest.mark.parametrize("path", FILES)
def test_a_file_that_is_changed_or_missing_is_found(world, path):
    file = world.root / path
    good = file.read_bytes()
    for position in (0, len(good) // 2, len(good) - 1):
        changed = bytearray(good)
        changed[position] ^= 1
        file.write_bytes(changed)
        with pytest.raises(AuditFinding):
            audit(world)
    file.write_bytes(good[:-1])
    with pytest.raises(AuditFinding):
        audit(world)
    file.unlink()
    with pytest.raises(AuditFinding):
        audit(world)


def test_another_key_finds_nothing_it_signed(world):
    with pytest.raises(AuditFinding, match="not signed by"):
        audit_integrity(world.root, NoteVerifier(world.log_key.verifier.name, world.site_key.verifier.public_key))
