"""Every kind of file of a ledger, damaged once in every way: it is named, or harmless; it is never silently accepted.

Named is what `ledger status` says, or what stops the start, or, of old tiles and bundles, which neither of them reads
as a whole, what `ledger repair` finds (and an audit). Harmless is what the next start sets right by itself.
"""

import asyncio
import shutil
from pathlib import Path

import pytest
from repair_fixtures import DECISION, Site

from sekisho.kernel.errors import SekishoError
from sekisho.ledger.errors import AuditFinding
from sekisho.ledger.status import read_status

MERGED = 600  # two full tiles, and a third at the edge
WAITING = 4
DAMAGES = ("gone", "empty", "half", "short", "first", "third", "middle", "last", "zeros")
UNSEEN = {
    # SQLite keeps no checksums; the index is no evidence: what it points to is proved before it is handed out.
    "index.sqlite": {"short", "first", "third", "middle", "last", "zeros", "gone"},
    "checkpoint": {"gone"},
    "format": {"gone"},
    "publish.lock": {"gone"},
    "wal/lock": {"gone"},
    # No frame ever stood in these places.
    "wal/00000000.seg": {"third", "middle", "last"},
    "wal/00000001.seg": {"gone", "third", "middle", "last"},
}
IRREPLACEABLE = ("tile/entries/000", "tile/entries/001")  # what is lost of them is named; a copy would have it
NOT_REPAIRED = ("format",)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A ledger with a log of three tiles, whose journal begins just before its end, and a dead writer that waits."""
    site = Site(tmp_path_factory.mktemp("whole") / "ledger")

    async def write():
        await site.written(*[b"{}"] * (MERGED - 1))
        site.publish()
        await site.written(DECISION)
        site.publish()
        await site.written(*[b"{}"] * WAITING)

    asyncio.run(write())
    return site


def damaged(data: bytes, how: str) -> bytes | None:
    if how == "gone":
        return None
    if not data:
        return data
    if how in ("empty", "half", "short"):
        return data[: {"empty": 0, "half": len(data) // 2, "short": len(data) - 1}[how]]
    if how == "zeros":
        start = len(data) // 4
        return data[:start] + bytes(min(64, len(data) - start)) + data[start + 64 :]
    place = {"first": 0, "third": len(data) // 3, "middle": len(data) // 2, "last": len(data) - 1}[how]
    return data[:place] + bytes([data[place] ^ 0x84]) + data[place + 1 :]


def kind_of(path: Path) -> str:
    """The file as UNSEEN names it: a writer's own name is another in each run."""
    parts = path.parts
    return "/".join((parts[0], parts[2]) if parts[0] == "wal" else parts)


def named(site) -> str:
    """Who names the damage: "status", "repair", "start"; an exception that is not of ours travels."""
    found = []
    verifiers = [site.log_key.verifier]
    if read_status(site.root, verifiers, reserve_bytes=0, now_us=site.clock.now_us()).damage:
        found.append("status")
    if not site.repair().examine().clean:
        found.append("repair")
    try:
        site.publish()
    except SekishoError:
        found.append("start")
    return " ".join(found)


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_of_any_file_is_named_and_repaired_or_harmless(whole, tmp_path, how):
    expected = {identifier for ids in whole.ids_of.values() for identifier in ids}
    for path in sorted(path for path in whole.root.rglob("*") if path.is_file()):
        relative = path.relative_to(whole.root)
        site = Site(tmp_path / "ledger")
        shutil.rmtree(site.root, ignore_errors=True)
        shutil.copytree(whole.root, site.root)
        before, after = path.read_bytes(), damaged(path.read_bytes(), how)
        if before == after:
            continue
        if after is None:
            (site.root / relative).unlink()
        else:
            (site.root / relative).write_bytes(after)
        by, kind = named(site), kind_of(relative)
        assert by or how in UNSEEN.get(kind, ()), f"{relative}, {how}: accepted in silence"
        if kind in NOT_REPAIRED and by:
            continue
        repaired = site.repair().repair(site.make_publisher).findings
        assert site.repair().examine().clean or kind in IRREPLACEABLE
        lost = sum(end - first for first, end in repaired.tree.lost)
        if lost:
            assert kind in IRREPLACEABLE
            with pytest.raises(AuditFinding):
                site.logged()
            continue
        site.publish()
        missing = expected - {entry["id"] for entry in site.logged()}
        (rest_from,) = [writer.rest_from for writer in repaired.writers] or [None]
        assert not missing or (kind == "wal/00000000.seg" and rest_from == 0), f"{relative}, {how}: lost in silence"


def test_a_writer_whose_segment_is_gone_is_said_to_have_an_unknown_rest(whole, tmp_path):
    site = Site(tmp_path / "ledger")
    shutil.copytree(whole.root, site.root)
    (segment,) = (site.root / "wal").glob("*/00000000.seg")
    segment.unlink()
    (writer,) = site.repair().repair(site.make_publisher).findings.writers
    assert (writer.readable, writer.lost, writer.rest_from) == (0, (), 0)
    (told,) = [entry["body"] for entry in site.logged() if entry["body"].get("act") == "ledger.repair"]
    assert told["rest_from"] == 0


def test_a_damaged_bundle_at_the_edge_does_not_get_into_wider_ones(whole, tmp_path):
    """A start goes on from the last partial bundle: its entries are held against their hashes first."""
    site = Site(tmp_path / "ledger")
    shutil.copytree(whole.root, site.root)
    bundles = sorted((site.root / "tile/entries/002.p").iterdir(), key=lambda path: int(path.name))
    for bundle in bundles:
        data = bundle.read_bytes()
        bundle.write_bytes(data.replace(b'"act', b'"bct') if b'"act' in data else data[:-20] + b"x" + data[-19:])
    with pytest.raises(SekishoError, match="not those of its hash tile"):
        site.publish()
