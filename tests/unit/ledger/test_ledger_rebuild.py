"""Damaged tiles: what is left settles what was there, and an entry that is gone is named."""

import random
import shutil

import pytest
from ledger_fakes import World

from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.checkpoint import open_checkpoint
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.rebuild import Tree

SIZE = 256 * 257 + 70  # two levels of full tiles, partial ones on each
BUNDLE = "tile/entries/000"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("rebuild") / "ledger")
    writer = world.writer()
    for number in range(SIZE):
        writer.append("change", {"n": number})
    publisher = world.publisher()
    while publisher.merge_once():
        pass
    publisher.close()
    shutil.rmtree(world.root / "journal")
    return world


@pytest.fixture
def log(original, tmp_path):
    shutil.copytree(original.root / "tile", tmp_path / "log" / "tile")
    shutil.copy(original.root / "checkpoint", tmp_path / "log")
    return tmp_path / "log"


def tree(log, original, **options):
    checkpoint = open_checkpoint(LogFiles(log).checkpoint(), original.log_key.verifier)
    return Tree(log, checkpoint.size, checkpoint.root, **{"logged": {}, **options})


def write_into(log):
    def write(name, data):
        path = log / name.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return write


def require_whole(log, original):
    assert audit_integrity(log, original.log_key.verifier).size == SIZE


def flip(path, offset=1000):
    data = bytearray(path.read_bytes())
    data[offset % len(data)] ^= 1
    path.write_bytes(data)


def test_a_whole_log_has_no_findings(log, original):
    findings = tree(log, original).check()
    assert (findings.holds, findings.rebuildable, findings.lost) == (True, (), ())


def test_every_hash_tile_is_rebuilt_from_the_entries(log, original):
    for level in ("0", "1", "2"):
        shutil.rmtree(log / "tile" / level)
    found = tree(log, original).check()
    assert len(found.rebuildable) == 258 + 2 + 1
    assert tree(log, original).rebuild(write_into(log)) == ()
    require_whole(log, original)


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/256", "tile/1/000", "tile/2/000.p/1", "tile/0/257.p/70"])
def test_a_flipped_bit_in_a_hash_tile_is_set_right(log, original, path):
    flip(log / path)
    assert [name.path for name in tree(log, original).check().rebuildable] == [path]
    tree(log, original).rebuild(write_into(log))
    require_whole(log, original)


def test_an_altered_entry_is_named_and_comes_back_from_a_copy_or_the_journal(log, original, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(log, copy)
    whole = LogFiles(copy).entry(3, SIZE)
    flip(log / BUNDLE, 2 + (log / BUNDLE).read_bytes().index(whole))
    assert tree(log, original).check().lost == ((3, 4),)
    assert tree(log, original, copies=[copy]).check().lost == ()
    assert tree(log, original, logged={3: whole}).rebuild(write_into(log)) == ()
    require_whole(log, original)


def test_a_bundle_cut_short_loses_its_end_alone(log, original):
    data = (log / BUNDLE).read_bytes()
    (log / BUNDLE).write_bytes(data[: len(data) // 2])
    ((first, end),) = tree(log, original).check().lost
    assert 100 < first < 156
    assert end == 256


def test_a_bundle_and_its_hashes_gone_together_are_named_whole(log, original):
    (log / BUNDLE).unlink()
    (log / "tile/0/000").unlink()
    assert tree(log, original).check().lost == ((0, 256),)


def test_a_partial_bundle_and_its_tile_that_disagree_are_settled_by_the_root(log, original):
    flip(log / "tile/entries/257.p/70", 5)
    assert tree(log, original).check().lost == ((SIZE - 70, SIZE - 69),)


def test_a_copy_that_lies_settles_nothing(log, original, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(log, copy)
    for path in (BUNDLE, "tile/0/000"):
        flip(copy / path)
        (log / path).unlink()
    findings = tree(log, original, copies=[copy]).check()
    assert (findings.holds, findings.lost) == (True, ((0, 256),))


def test_random_damage_never_yields_a_wrong_file(log, original):
    chance = random.Random(7)
    paths = sorted(path for path in (log / "tile").rglob("*") if path.is_file())
    for path in chance.sample(paths, 12):
        flip(path, chance.randrange(1 << 20))
    damaged = tree(log, original)
    reference = LogFiles(original.root)
    wrong = []
    lost = damaged.rebuild(lambda name, data: wrong.append(name) if reference.tile(name) != data else None)
    assert wrong == []
    assert sum(end - first for first, end in lost) <= 12
