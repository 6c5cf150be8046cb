"""The site's layer: what probes read is part of what decides, by digest, and the authority's parts stay as they are."""

import msgspec
import pytest

from sekisho.app.observed import composed
from sekisho.assurance.rulebook import RuleBook
from sekisho.catalog.evidence import MANAGEMENT_API
from sekisho.catalog.interfaces import Fact, Grade, ManagedIdentitySignIn, Management, PolicyText, Reading
from sekisho.catalog.observations import about
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.policy.errors import PolicyPartsError
from sekisho.snapshot.build import BuiltSnapshot, build_snapshot
from sekisho.snapshot.errors import SnapshotDamaged
from sekisho.snapshot.fetched import FetchedSnapshots
from sekisho.snapshot.manifest import encode, manifest_of
from sekisho.snapshot.observed import OBSERVATIONS, OBSERVED_ENTITIES, SITE, Observed, decode_observed
from sekisho.snapshot.store import SnapshotStore
from support_decide import ANYWHERE, LABELS, PlainInspector, catalogue, decision_input, declared, deployment

OBSERVED_ONLY = PolicyText(
    "policies/observed.cedar",
    '@id("own.observed")\n@title("Not observed")\n@title_ja("未確認")\n'
    "forbid (principal, action, resource)\nunless { resource.processing_grade >= 3 };\n",
)
API = Management("azure", "/r", "d", ManagedIdentitySignIn("r", "u"), "https://m.example", "2025-09-01")
PROCESSING = Fact(("JP",), Grade.DECLARED, expires=9_000)
TOKYO = msgspec.structs.replace(deployment("tokyo", processing=PROCESSING, storage=declared("JP")), management=API)
OSAKA = deployment("osaka", processing=declared("JP"), storage=declared("JP"))
CATALOGUE = catalogue(TOKYO, OSAKA)


@pytest.fixture(scope="module")
def plain():
    return build_snapshot(
        CATALOGUE, (OBSERVED_ONLY,), inspection_rules=b'{"rules":[]}', labels=LABELS, compile_policies=compile_policies
    )


def store(root):
    return SnapshotStore(root, make_inspector=PlainInspector, make_decider=CedarDecider, software="0.1.0")


@pytest.fixture
def here(tmp_path):
    return store(tmp_path / "snapshots")


def reading(*places, until=5_000):
    return Reading(
        "tokyo", MANAGEMENT_API, about(TOKYO, CATALOGUE.sites[0]), 0, until,
        values={"processing": places}, evidence={"sku": "Standard"},
    )  # fmt: skip


def with_readings(built, *readings):
    return composed(built, CATALOGUE, readings, "home")


def permitted(loaded, **asked):
    value = decision_input(snapshot=loaded.digest, epoch_from=loaded.epoch_from, **asked)
    return loaded.decider.decide(value).permitted_raw


def test_a_snapshot_without_readings_is_the_declarations_alone(plain):
    assert with_readings(plain) == plain
    assert with_readings(with_readings(plain, reading("JP"))) == plain


def test_the_authoritys_parts_stay_byte_by_byte(plain):
    one = with_readings(plain, reading("JP"))
    assert one.digest != plain.digest
    assert {key: data for key, data in one.parts.items() if key[0] != SITE} == plain.parts
    assert {key[1] for key in one.parts if key[0] == SITE} == {"observations.json", "observed.json"}
    assert with_readings(plain, reading("JP")) == one
    assert with_readings(one, reading("anywhere")) == with_readings(plain, reading("anywhere"))


@pytest.mark.parametrize(
    ("now", "bounds", "grade", "names"),
    [
        (0, (0, 5_000), Grade.OBSERVED, ("tokyo",)),
        (4_999, (0, 5_000), Grade.OBSERVED, ("tokyo",)),
        (5_000, (5_000, 9_000), Grade.DECLARED, ()),
        (9_000, (9_000, None), Grade.UNKNOWN, ()),
    ],
)
def test_an_observation_ends_an_epoch_and_the_fact_is_as_declared(here, plain, now, bounds, grade, names):
    loaded = here.load(here.save(with_readings(plain, reading("JP"))), now)
    assert (loaded.epoch_from, loaded.epoch_until) == bounds
    assert loaded.deployments["tokyo"].facts["processing"].grade is grade
    assert permitted(loaded) == names
    assert loaded.deployments["osaka"].facts["processing"] == declared("JP")


def test_drift_takes_the_permission_with_the_reason(here, plain):
    loaded = here.load(here.save(with_readings(plain, reading("anywhere"))), 0)
    assert loaded.deployments["tokyo"].facts["processing"].value == ANYWHERE
    value = decision_input(snapshot=loaded.digest)
    verdict = next(one for one in loaded.decider.decide(value).verdicts if one.deployment == "tokyo")
    assert not verdict.permitted
    ids = {loaded.decider.policies[index].id for index in verdict.reasons}
    assert "jp-residency.processing" in ids
    loaded = here.load(loaded.digest, 9_000)  # what it was held against has ended
    assert loaded.deployments["tokyo"].facts["processing"].value == ("unknown",)


def test_an_audit_decides_the_same_from_what_is_stored_or_fetched(here, plain, tmp_path):
    digest = here.save(with_readings(plain, reading("JP")))
    root = tmp_path / "snapshots"

    def read(path, bytes_max):
        return (root / path).read_bytes() if (root / path).exists() else None

    fetched = FetchedSnapshots(read, tmp_path / "there", store(tmp_path / "there"), software="0.1.0")
    for source in (here, fetched):
        book = RuleBook(source, CedarDecider)
        assert book.rules(digest).epoch_ends == (5_000, 9_000)
        for epoch_from, names in ((0, ("tokyo",)), (5_000, ())):
            decider = book.decider(digest, epoch_from)
            assert decider.decide(decision_input(snapshot=digest, epoch_from=epoch_from)).permitted_raw == names


def test_readings_are_read_back_as_they_were(here, plain):
    digest = here.save(with_readings(plain, reading("JP")))
    assert here.observed(digest).readings == (reading("JP"),)
    assert here.catalogue(digest) == CATALOGUE  # as declared
    assert here.built(digest) == with_readings(plain, reading("JP"))
    assert here.observed(here.save(plain)) == Observed()


def test_a_part_that_was_changed_is_refused(here, plain):
    one = with_readings(plain, reading("JP"))
    with pytest.raises(SnapshotDamaged):
        decode_observed(one.parts[SITE, OBSERVATIONS].replace(b"readings", b"reedings"))
    digest = here.save(one)
    for path in (here._root / "parts").iterdir():
        if path.read_bytes() == one.parts[SITE, OBSERVATIONS]:
            path.write_bytes(path.read_bytes().replace(b"Standard", b"standard"))
    with pytest.raises(SnapshotDamaged):
        here.load(digest, 0)


def test_an_observed_deployment_that_the_rules_do_not_know_is_no_snapshot(here, plain):
    """Readings are composed with the catalogue they belong to; a part of another would decide on nothing."""
    other = msgspec.structs.replace(OSAKA, name="kobe")
    of_other = build_snapshot(
        catalogue(other), (), inspection_rules=b'{"rules":[]}', labels=LABELS, compile_policies=compile_policies
    )
    one = with_readings(plain, reading("JP"))
    parts = of_other.parts | {key: data for key, data in one.parts.items() if key[0] == SITE}
    forged = BuiltSnapshot(encode(manifest_of(parts)), parts)
    with pytest.raises(PolicyPartsError):
        here.load(here.save(forged), 0)


def rewritten(built, *changes):
    """The snapshot as somebody would leave it who edits parts on disk, and the manifest with them."""
    parts = dict(built.parts)
    for key, old, new in changes:
        assert old in parts[key]
        parts[key] = parts[key].replace(old, new)
    return BuiltSnapshot(encode(manifest_of(parts)), parts)


GRADE, MORE = b'"grade":3', b'"grade":4'


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (((SITE, OBSERVATIONS), GRADE, MORE), SnapshotDamaged),
        (((SITE, OBSERVATIONS), b'"method":"management-api","observed_at"', b'"method":"networks","observed_at"'),
         SnapshotDamaged),
        (((SITE, OBSERVATIONS), b'"method":"management-api","observed_at"', b'"method":"inspection","observed_at"'),
         SnapshotDamaged),
        (((SITE, OBSERVATIONS), b'"lowered":false', b'"lowered":true'), SnapshotDamaged),
        (((SITE, OBSERVATIONS), b'"expires":5000', b'"expires":null'), SnapshotDamaged),
        (((SITE, OBSERVED_ENTITIES), b'"processing_grade":3', b'"processing_grade":4'), PolicyPartsError),
        ((("authority", "catalogue.json"), b'"grade":1', MORE), SnapshotDamaged),
        ((("authority", "entities.json"), b'"storage_grade":1', b'"storage_grade":4'), PolicyPartsError),
        ((("authority", "entities.json"), b'"storage_grade":1', b'"storage_grade":true'), PolicyPartsError),
    ],
)  # fmt: skip
def test_a_snapshot_edited_to_a_grade_that_nothing_earns_is_none(here, plain, change, refused):
    digest = here.save(rewritten(with_readings(plain, reading("JP")), change))
    with pytest.raises(refused, match="earns"):
        here.load(digest, 0)
    with pytest.raises((SnapshotDamaged, PolicyPartsError), match="earns"):
        RuleBook(here, CedarDecider).decider(digest, 0)
