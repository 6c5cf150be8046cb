"""Snapshots fetched from elsewhere: what deciding needs, once, and nothing of it believed."""

import pytest

from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.snapshot.build import INSPECTION, build_snapshot
from sekisho.snapshot.errors import SnapshotDamaged, SnapshotMissing, SnapshotTooNew
from sekisho.snapshot.fetched import FetchedSnapshots
from sekisho.snapshot.manifest import decode
from sekisho.snapshot.store import SnapshotStore
from support_decide import LABELS, PlainInspector, catalogue, declared, deployment


def store(root):
    return SnapshotStore(root, make_inspector=PlainInspector, make_decider=CedarDecider)


@pytest.fixture
def there(tmp_path):
    built = build_snapshot(
        catalogue(deployment(processing=declared("JP"))), (), inspection_rules=b'{"rules":[]}', labels=LABELS,
        compile_policies=compile_policies,
    )  # fmt: skip
    return tmp_path / "there", store(tmp_path / "there").save(built), built


class Reads:
    def __init__(self, root):
        self.root, self.asked = root, []

    def __call__(self, path, bytes_max):
        self.asked.append(path)
        file = self.root / path
        return file.read_bytes()[: bytes_max + 1] if file.is_file() else None


def fetched(reads, directory, software="0.1.0"):
    return FetchedSnapshots(reads, directory, store(directory), software=software)


def test_the_rules_are_those_of_the_store_and_fetched_once(there, tmp_path):
    root, digest, built = there
    reads = Reads(root)
    here = fetched(reads, tmp_path / "here")
    assert here.rules(digest) == here.rules(digest) == store(root).rules(digest)
    names = {part.sha256: part.name for part in decode(built.manifest, "0.1.0").parts}
    assert reads.asked[0] == f"{digest}.json"
    assert len(reads.asked) == len(set(reads.asked)) == 5
    assert INSPECTION not in {names[path.removeprefix("parts/")] for path in reads.asked[1:]}


def test_what_is_not_there_is_missing(there, tmp_path):
    root, digest, built = there
    with pytest.raises(SnapshotMissing):
        fetched(Reads(root), tmp_path / "a").rules("ab" * 32)
    for part in decode(built.manifest, "0.1.0").parts:
        if part.name != INSPECTION:
            (root / "parts" / part.sha256).unlink()
            break
    with pytest.raises(SnapshotMissing):
        fetched(Reads(root), tmp_path / "b").rules(digest)


def test_what_was_changed_there_is_damaged_here(there, tmp_path):
    root, digest, _ = there
    manifest = root / f"{digest}.json"
    good = manifest.read_bytes()
    manifest.write_bytes(good.replace(b"0.1.0", b"0.0.9"))
    with pytest.raises(SnapshotDamaged):
        fetched(Reads(root), tmp_path / "a").rules(digest)
    manifest.write_bytes(good)
    with pytest.raises(SnapshotTooNew):
        fetched(Reads(root), tmp_path / "b", software="0.0.9").rules(digest)


@pytest.mark.parametrize("name", ["../../outside", "../{digest}", "{digest}/../x", "{DIGEST}", "", "ab"])
def test_no_name_that_a_log_gives_becomes_a_path(there, tmp_path, name):
    """A log may name anything as its snapshot, and the server it comes from may have something there."""
    _, digest, built = there
    asked = []

    def read(path, bytes_max):
        asked.append(path)
        return built.manifest

    here = fetched(read, tmp_path / "deep" / "here")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SnapshotMissing, match="not the digest"):
        here.rules(name.format(digest=digest, DIGEST=digest.upper()))
    assert asked == []
    assert sorted(tmp_path.rglob("*")) == before


def test_a_part_larger_than_can_be_held_is_not_fetched(there, tmp_path, monkeypatch):
    root, digest, _ = there
    monkeypatch.setattr("sekisho.snapshot.fetched.PART_BYTES_MAX", 3)
    reads = Reads(root)
    with pytest.raises(SnapshotDamaged, match="larger than"):
        fetched(reads, tmp_path / "here").rules(digest)
    assert reads.asked == [f"{digest}.json"]


def test_what_has_not_the_digest_that_was_asked_for_is_not_kept(there, tmp_path):
    _, digest, built = there
    here = fetched(lambda path, bytes_max: built.manifest, tmp_path / "a")
    with pytest.raises(SnapshotDamaged, match="another's"):
        here.rules("ab" * 32)
    here = fetched(lambda path, bytes_max: built.manifest if path.endswith(".json") else b"x", tmp_path / "b")
    with pytest.raises(SnapshotDamaged, match="another's"):
        here.rules(digest)
    assert [path for path in (*tmp_path.glob("a/**/*"), *tmp_path.glob("b/**/*")) if path.is_file()] == []
