"""Audit depth 1: damage is named where it is, whatever is damaged; and any flipped bit is found."""

import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.kernel import canonical
from sekisho.kernel.cosignatures import CosignatureSigner, add_signatures
from sekisho.kernel.ids import IdSource
from sekisho.kernel.notes import NoteSigner, SignedNote
from sekisho.ledger.audit import AuditOptions, audit_cosignatures, audit_log, signed_checkpoint
from sekisho.ledger.checkpoint import Checkpoint, sign_checkpoint
from sekisho.ledger.findings import Findings
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.tiles import Edge, decode_bundle, encode_bundle
from sekisho.ledger.tlog_policy import parse_policy

KEY = NoteSigner("log.example/a", Ed25519PrivateKey.from_private_bytes(b"l" * 32))
IDS = IdSource()


def entry(number):
    return canonical.encode({"id": IDS.new(1_790_000_000_000_000 + number), "number": number})


def write_log(root, sizes):
    """A log that was published at each of `sizes`; returns the checkpoint of each."""
    edge, checkpoints = Edge(), []
    for size in sizes:
        for name, data in [*edge.append([entry(n) for n in range(edge.size, size)]), *edge.partials()]:
            path = root / name.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        checkpoint = Checkpoint(KEY.verifier.name, size, edge.root())
        (root / "checkpoint").write_text(sign_checkpoint(checkpoint, KEY))
        checkpoints.append(checkpoint)
    return checkpoints


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    write_log(root, [100, 600])
    return root


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Three levels: full tiles above full tiles."""
    root = tmp_path_factory.mktemp("large")
    write_log(root, [66_000])
    return root


@pytest.fixture
def copy(small, tmp_path):
    shutil.copytree(small, tmp_path / "copy")
    return tmp_path / "copy"


def audit(root, **options):
    """(what was found as (code, index, id) in order, the audit)."""
    findings = Findings()
    files = LogFiles(root)
    signed = signed_checkpoint(files, KEY.verifier, findings)
    done = None if signed is None else audit_log(files, signed.checkpoint, findings, AuditOptions(**options))
    return [(one.kind.code, one.index, one.id) for one in findings.sorted()], done


def flip(path, bit):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


@pytest.mark.parametrize("log", ["small", "large"])
def test_a_whole_log_holds_and_everything_was_read(log, request):
    root = request.getfixturevalue(log)
    found, done = audit(root)
    tiles = [
        path
        for path in (root / "tile").rglob("*")
        if path.is_file() and (path.parent.name, path.name) != ("000.p", "100")
    ]
    assert found == []
    assert (done.entries, done.files) == (done.checkpoint.size, len(tiles))


def test_an_empty_log_holds(tmp_path):
    write_log(tmp_path, [0])
    assert audit(tmp_path)[0] == []


def test_an_altered_entry_is_named_by_index_and_id(copy):
    path = copy / "tile/entries/001"
    entries = decode_bundle(path.read_bytes())
    altered = canonical.decode(entries[44])
    entries[44] = canonical.encode(altered | {"number": 1})
    path.write_bytes(encode_bundle(entries))
    assert audit(copy)[0] == [("entry_altered", 300, altered["id"])]


def test_an_altered_entry_in_the_last_bundle_is_named_too(copy):
    path = copy / "tile/entries/002.p/88"
    entries = decode_bundle(path.read_bytes())
    entries[87] = b"something else"
    path.write_bytes(encode_bundle(entries))
    assert audit(copy)[0] == [("entry_altered", 599, None)]


@pytest.mark.parametrize("path", ["tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"])
def test_a_damaged_or_missing_hash_tile_is_named_and_the_entries_hold_without_it(copy, path):
    flip(copy / path, 77)
    codes = {code for code, _, _ in audit(copy)[0]}
    assert codes == {"tile_damaged"}
    (copy / path).unlink()
    assert {code for code, _, _ in audit(copy)[0]} == {"tile_damaged"}


@pytest.mark.parametrize("damage", ["gone", "short", "long", "a directory"])
def test_a_bundle_that_can_not_be_read_is_named_and_the_others_are_still_audited(copy, damage):
    path = copy / "tile/entries/001"
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    elif damage == "a directory":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(data[:-1] if damage == "short" else data + b"\0")
    found, done = audit(copy)
    assert found == [("bundle_damaged", 256, None)]
    assert done.unreadable == 256


def test_entries_and_tile_altered_together_are_found_by_the_tile_above(copy):
    """As somebody would who knows what he does: the log's own software, over other entries."""
    path = copy / "tile/entries/001"
    entries = decode_bundle(path.read_bytes())
    entries[0] = b"forged"
    other = Edge()
    for name, data in other.append(entries):
        if name.level <= 0:
            (copy / ("tile/entries/001" if name.level else "tile/0/001")).write_bytes(data)
    assert [code for code, _, _ in audit(copy)[0]] == ["entries_unproven", "tile_damaged"]


def test_a_whole_log_over_altered_entries_does_not_lead_to_the_signed_root(copy, tmp_path):
    forged = tmp_path / "forged"
    write_log(forged, [600])
    shutil.copy(copy / "checkpoint", forged / "checkpoint")
    assert [code for code, _, _ in audit(forged)[0]] == ["root_mismatch"]


def test_damage_below_full_tiles_of_full_tiles_is_named_exactly(large, tmp_path):
    shutil.copytree(large, tmp_path / "copy")
    path = tmp_path / "copy" / "tile/entries/200"
    entries = decode_bundle(path.read_bytes())
    entries[7] = b"forged"
    path.write_bytes(encode_bundle(entries))
    flip(tmp_path / "copy" / "tile/0/100", 3)
    assert [found[:2] for found in audit(tmp_path / "copy")[0]] == [
        ("tile_damaged", 25_600),
        ("entry_altered", 51_207),
    ]
    (tmp_path / "copy" / "tile/1/000").unlink()
    codes = {found[:2] for found in audit(tmp_path / "copy")[0]}
    assert ("tile_damaged", 0) in codes
    assert ("entries_unproven", 0) in codes


def test_without_entries_the_hash_tiles_alone_are_held_against_the_root(copy):
    shutil.rmtree(copy / "tile/entries")
    assert audit(copy, with_entries=False)[0] == []
    flip(copy / "tile/0/001", 5)
    assert [code for code, _, _ in audit(copy, with_entries=False)[0]] == ["entries_unproven", "tile_damaged"]


def test_a_checkpoint_from_before_must_be_of_a_beginning(tmp_path):
    earlier = write_log(tmp_path, [0, 1, 255, 256, 300, 600])
    assert audit(tmp_path, earlier=tuple(earlier))[0] == []
    other = Checkpoint(KEY.verifier.name, 300, bytes(32))
    assert audit(tmp_path, earlier=(other,))[0] == [("history_forked", 299, None)]
    larger = Checkpoint(KEY.verifier.name, 601, earlier[-1].root)
    assert audit(tmp_path, earlier=(larger,))[0] == [("history_forked", None, None)]


def test_what_damage_hides_is_not_called_a_fork(tmp_path):
    earlier = write_log(tmp_path, [300, 600])
    flip(tmp_path / "tile/0/001", 9)
    found = {code for code, _, _ in audit(tmp_path, earlier=(earlier[0],))[0]}
    assert found == {"tile_damaged", "history_unproven"}


def test_a_flipped_bit_anywhere_is_found(small, tmp_path_factory):
    """In any tile, entry bundle or checkpoint that the tree at the checkpoint consists of."""
    root = tmp_path_factory.mktemp("flipped") / "log"
    shutil.copytree(small, root)
    paths = sorted(
        path for path in root.rglob("*") if (path.is_file() and path.parent.name not in ("000.p",)) or path.name == "2"
    )
    assert len(paths) == 8  # three bundles, three tiles, the tile above, the checkpoint
    bits = [8 * path.stat().st_size for path in paths]

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(paths) - 1).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, bits[n] - 1))))
    def found(place):
        number, bit = place
        flip(paths[number], bit)
        try:
            assert audit(root)[0], f"{paths[number]} bit {bit}"
        finally:
            flip(paths[number], bit)

    found()
    assert audit(root)[0] == []


def test_cosignatures_are_held_against_the_policy(small):
    witness = CosignatureSigner("witness.example", Ed25519PrivateKey.from_private_bytes(b"w" * 32))
    text = f"log {KEY.verifier.vkey}\nwitness w {witness.verifier.vkey}\nquorum w\n"
    policy = parse_policy(text.encode())
    note = (small / "checkpoint").read_text()

    def codes(note):
        findings = Findings()
        names = audit_cosignatures(note, policy, findings)
        return names, [one.kind.code for one in findings.kept]

    assert codes(note) == ((), ["quorum_not_met"])
    cosigned = add_signatures(note, witness.cosign(SignedNote.parse(note).text, 1_790_000_000))
    assert codes(cosigned) == (("w",), [])
    lines = cosigned.split("\n")
    lines[-2] = lines[-2][:-6] + ("AAAA==" if lines[-2].endswith("==") else "AAAAA=")
    name, found = codes("\n".join(lines))
    assert (name, found) == ((), ["cosignature_invalid"])


@pytest.mark.parametrize("with_entries", [True, False])
def test_a_checkpoint_over_more_than_anybody_has_is_not_looked_for_without_end(copy, monkeypatch, with_entries):
    monkeypatch.setattr("sekisho.ledger.integrity.MISSING_MAX", 20)
    promised = Checkpoint(KEY.verifier.name, 2**62 + 2**33 + 5, b"r" * 32)
    (copy / "checkpoint").write_text(sign_checkpoint(promised, KEY))
    found, done = audit(copy, with_entries=with_entries)
    assert ("entries_unproven", (2 + 20) * 256, None) in found  # two are there, and 21 that are not were asked for
    assert done.entries == done.unreadable + 2 * 256 * with_entries


def test_what_comes_behind_a_hole_is_looked_at(large, tmp_path, monkeypatch):
    shutil.copytree(large, tmp_path / "copy")
    for number in range(100, 120):
        (tmp_path / "copy" / "tile" / "entries" / f"{number:03d}").unlink()
    behind = tmp_path / "copy" / "tile" / "entries" / "200"
    behind.write_bytes(behind.read_bytes().replace(b"51200", b"51201"))
    for most, codes in ((20, {"bundle_damaged", "entry_altered"}), (19, {"bundle_damaged", "entries_unproven"})):
        monkeypatch.setattr("sekisho.ledger.integrity.MISSING_MAX", most)
        assert {code for code, _, _ in audit(tmp_path / "copy")[0]} >= codes
