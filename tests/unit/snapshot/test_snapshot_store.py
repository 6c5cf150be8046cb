"""Snapshots: built the same everywhere, verified part by part, never worse than what was in force."""

import hashlib
import json

import msgspec
import pytest

from sekisho.catalog.interfaces import Exemption
from sekisho.kernel import canonical
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.snapshot.build import BuiltSnapshot, build_snapshot
from sekisho.snapshot.epochs import catalogue_at, epoch_bounds
from sekisho.snapshot.errors import SnapshotDamaged, SnapshotMissing, SnapshotTooNew
from sekisho.snapshot.manifest import Manifest, decode, encode, manifest_of
from sekisho.snapshot.store import SnapshotStore
from support_decide import LABELS, PlainInspector, catalogue, decision_input, declared, deployment

TOKYO = deployment("tokyo", processing=declared("JP", expires=5_000), storage=declared("JP", expires=9_000))
OSAKA = deployment("osaka", processing=declared("JP"), storage=declared("JP"))


def built(*deployments):
    return build_snapshot(
        catalogue(*deployments),
        (),
        inspection_rules=b'{"rules":[]}',
        labels=LABELS,
        compile_policies=compile_policies,
    )


def store(root, software="0.1.0"):
    return SnapshotStore(root, make_inspector=PlainInspector, make_decider=CedarDecider, software=software)


@pytest.fixture
def here(tmp_path):
    return store(tmp_path / "snapshots")


def test_the_same_declarations_give_the_same_snapshot():
    assert built(TOKYO, OSAKA) == built(OSAKA, TOKYO)
    assert built(TOKYO).digest != built(OSAKA).digest


def test_a_snapshot_is_saved_put_in_force_and_loaded(here):
    assert here.current() is None
    snapshot = built(TOKYO, OSAKA)
    digest = here.save(snapshot)
    assert here.current() is None
    here.activate(digest)
    assert here.current() == digest == hashlib.sha256(snapshot.manifest).hexdigest()
    loaded = here.load(digest, 0)
    assert loaded.catalogue == catalogue(TOKYO, OSAKA)
    assert [item.name for item in loaded.deployments_by_model["m"]] == ["osaka", "tokyo"]
    assert loaded.deployments_by_model["n"] == ()
    assert set(loaded.organisations) == {"default", "other"}
    assert dict(loaded.class_ranks) == {"public": 0, "internal": 1, "confidential": 2, "restricted": 3}
    assert loaded.inspector.rules_digest == b'{"rules":[]}'.hex()
    decision = loaded.decider.decide(decision_input(snapshot=digest))
    assert decision.permitted_raw == ("osaka", "tokyo")
    assert here.save(snapshot) == digest


@pytest.mark.parametrize(
    ("now", "bounds", "permitted"),
    [
        (0, (0, 5_000), ("osaka", "tokyo")),
        (4_999, (0, 5_000), ("osaka", "tokyo")),
        (5_000, (5_000, 9_000), ("osaka",)),
        (9_000, (9_000, None), ("osaka",)),
        (10**15, (9_000, None), ("osaka",)),
    ],
)
def test_an_epoch_lasts_until_the_next_fact_ends(here, now, bounds, permitted):
    digest = here.save(built(TOKYO, OSAKA))
    loaded = here.load(digest, now)
    assert (loaded.epoch_from, loaded.epoch_until) == bounds
    value = decision_input(snapshot=digest, epoch_from=loaded.epoch_from)
    assert loaded.decider.decide(value).permitted_raw == permitted
    known = loaded.deployments["tokyo"].facts["processing"].value
    assert known == (("JP",) if now < 5_000 else ("unknown",))


@pytest.mark.parametrize(
    ("now", "bounds", "permitted"),
    [
        (0, (0, 7_000), ("oregon",)),
        (6_999, (0, 7_000), ("oregon",)),
        (7_000, (7_000, None), ()),
        (10**15, (7_000, None), ()),
    ],
)
def test_an_exemption_is_gone_from_the_first_instant_of_the_epoch_that_its_end_begins(here, now, bounds, permitted):
    oregon = deployment("oregon", processing=declared("US"), storage=declared("US"))
    exemption = Exemption(
        name="trial",
        sha256="cd" * 32,
        organisation="default",
        policies=("jp-residency.processing",),
        classes=("internal",),
        until=7_000,
        why="w",
        compensating_control="c",
        deployments=("oregon",),
    )
    with_it = msgspec.structs.replace(catalogue(oregon), exemptions=(exemption,))
    digest = here.save(
        build_snapshot(with_it, (), inspection_rules=b'{"rules":[]}', labels=LABELS, compile_policies=compile_policies)
    )
    loaded = here.load(digest, now)
    assert (loaded.epoch_from, loaded.epoch_until) == bounds
    value = decision_input(snapshot=digest, epoch_from=loaded.epoch_from)
    assert loaded.decider.decide(value).permitted_raw == permitted
    assert [one.name for one in loaded.catalogue.exemptions] == (["trial"] if permitted else [])
    assert here.catalogue(digest).exemptions == (exemption,)  # as declared, whenever one asks


def test_a_catalogue_without_ends_has_one_epoch():
    assert epoch_bounds(catalogue(OSAKA), 10**15) == (0, None)
    assert catalogue_at(catalogue(OSAKA), 10**15) == catalogue(OSAKA)


def test_every_change_of_a_byte_of_any_file_is_noticed(here, tmp_path):
    digest = here.save(built(OSAKA))
    root = tmp_path / "snapshots"
    files = [root / f"{digest}.json", *(root / "parts").iterdir()]
    assert len(files) == 6
    for file in files:
        good = file.read_bytes()
        for bad in (good[:-1], good + b" ", bytes([good[0] ^ 1]) + good[1:]):
            file.write_bytes(bad)
            with pytest.raises(SnapshotDamaged):
                here.load(digest, 0)
            with pytest.raises(SnapshotDamaged):
                here.activate(digest)
        file.unlink()
        with pytest.raises(SnapshotMissing):
            here.load(digest, 0)
        file.write_bytes(good)
    assert here.load(digest, 0).digest == digest


def test_saving_mends_a_damaged_part(here, tmp_path):
    digest = here.save(built(OSAKA))
    for file in (tmp_path / "snapshots" / "parts").iterdir():
        file.write_bytes(b"x")
    here.save(built(OSAKA))
    assert here.load(digest, 0).digest == digest


@pytest.mark.parametrize(
    "changes", [{"software_min": "0.2.0"}, {"software_min": "10.0.0"}, {"format": 2}, {"format": 2, "new": 1}]
)
def test_a_newer_snapshot_is_refused_and_what_is_in_force_stays(here, changes):
    old = here.save(built(OSAKA))
    here.activate(old)
    new = built(TOKYO)
    manifest = canonical.encode(json.loads(new.manifest) | changes)
    with pytest.raises(SnapshotTooNew) as raised:
        here.save(BuiltSnapshot(manifest, new.parts))
    assert "Update" in raised.value.remedy
    assert here.current() == old
    assert here.load(old, 0).digest == old


def test_an_older_snapshot_is_read_by_newer_software(tmp_path):
    digest = store(tmp_path / "s").save(built(OSAKA))
    assert store(tmp_path / "s", software="1.0.0").load(digest, 0).digest == digest


def test_nothing_is_saved_that_does_not_match_its_manifest(here):
    good = built(OSAKA)
    other = dict(good.parts)
    other["authority", "inspection.json"] = b"{}"
    less = {key: data for key, data in good.parts.items() if key[1] != "inspection.json"}
    for parts in (other, less):
        with pytest.raises(SnapshotDamaged):
            here.save(BuiltSnapshot(good.manifest, parts))


def test_names_that_are_no_digests_are_refused(here, tmp_path):
    for name in ("", "../x", "x" * 64):
        with pytest.raises(SnapshotMissing):
            here.load(name, 0)
    here.activate(here.save(built(OSAKA)))
    (tmp_path / "snapshots" / "current").write_text("nonsense\n")
    with pytest.raises(SnapshotDamaged):
        here.current()


@pytest.mark.parametrize(
    "parts",
    [
        [],
        "x",
        [{"layer": "authority", "name": "a", "sha256": "0" * 64}],
        [{"layer": "elsewhere", "name": "a", "sha256": "0" * 64, "size": 1}],
        [{"layer": "site", "name": "../a", "sha256": "0" * 64, "size": 1}],
        [{"layer": "site", "name": "a", "sha256": "0" * 63, "size": 1}],
        [{"layer": "site", "name": "a", "sha256": "0" * 64, "size": -1}],
        [{"layer": "site", "name": "a", "sha256": "0" * 64, "size": True}],
        [{"layer": "site", "name": name, "sha256": "0" * 64, "size": 1} for name in ("b", "a")],
        [{"layer": "site", "name": name, "sha256": "0" * 64, "size": 1} for name in ("a", "a")],
    ],
)
def test_manifests_are_read_strictly(parts):
    data = canonical.encode({"format": 1, "parts": parts, "software_min": "0.1.0"})
    with pytest.raises(SnapshotDamaged):
        decode(data, "0.1.0")


def test_a_manifest_reads_back_and_has_one_form():
    manifest = manifest_of({("site", "a"): b"1", ("authority", "b"): b"2"})
    data = encode(manifest)
    assert decode(data, "0.1.0") == manifest == Manifest(manifest.parts)
    with pytest.raises(SnapshotDamaged):
        decode(data + b"\n", "0.1.0")
    with pytest.raises(SnapshotDamaged):
        manifest.part("missing")


def test_a_shadow_is_named_beside_what_is_in_force_and_changes_nothing_there(here, tmp_path):
    in_force, beside = here.save(built(TOKYO)), here.save(built(OSAKA))
    here.activate(in_force)
    assert here.shadow() is None
    here.set_shadow(beside)
    assert (here.shadow(), here.current()) == (beside, in_force)
    with pytest.raises(SnapshotMissing):
        here.set_shadow("ab" * 32)
    assert here.shadow() == beside
    here.set_shadow(None)
    assert (here.shadow(), here.current()) == (None, in_force)
    (tmp_path / "snapshots" / "shadow").write_text("nonsense")
    with pytest.raises(SnapshotDamaged):
        here.shadow()
