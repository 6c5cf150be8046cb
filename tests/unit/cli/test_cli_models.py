"""`sekisho models list`: a fact with its grade, source and age, and whether a probe has taken from it."""

import msgspec
import pytest

from sekisho.app.observed import facts_told
from sekisho.catalog.interfaces import Fact, Grade, ObservedFact, Provider
from sekisho.cli.models import _support, as_object, told_age
from support_decide import catalogue, deployment

NOW_US = 1_790_000_000_000_000
SOURCE = "management-api: sku GlobalStandard; declared: JP"
LOWERED = ObservedFact(
    ("JP", "US", "anywhere"), Grade.DECLARED, SOURCE, observed_at=NOW_US - 90_000_000, method="m", lowered=True
)


@pytest.mark.parametrize(
    ("fact", "told"),
    [
        (Fact(("JP",), Grade.DECLARED), "declared"),
        (Fact(("JP",), Grade.OBSERVED, "visit", observed_at=NOW_US - 3 * 86_400_000_000), "observed, 3 d old"),
        (LOWERED, "declared, 1 min old, LOWERED by a probe"),
    ],
)
def test_how_well_a_fact_is_supported_is_told_with_its_age(fact, told):
    assert _support(fact, NOW_US) == told


@pytest.mark.parametrize(
    ("seconds", "told"), [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (3_600, "1 h"), (86_400 * 2, "2 d")]
)
def test_ages_are_told_in_their_largest_unit(seconds, told):
    assert told_age(seconds * 1_000_000) == told


def test_programs_get_every_fact():
    one = deployment("tokyo", processing=LOWERED)
    [told] = facts_told(catalogue(one))
    said = as_object(one, told["facts"])
    assert (told["name"], told["model"], told["provider"], told["type"]) == ("tokyo", "m", "p", "openai-compatible")
    assert said["processing"] == ["anywhere"]
    assert said["facts"]["processing"] == {
        "expires": None,
        "grade": "declared",
        "lowered": True,
        "observed_at": NOW_US - 90_000_000,
        "source": SOURCE,
        "value": ["anywhere"],
    }
    assert said["facts"]["storage"]["grade"] == "unknown"


def test_a_provider_s_facts_are_told_of_each_of_its_deployments():
    """Policies look at them as at its own: whoever is refused for one must be able to see it."""
    of = catalogue(deployment("tokyo"), deployment("osaka"))
    known = of.providers[0].facts | {"legal_entity": Fact(("Example KK",), Grade.DECLARED)}
    of = msgspec.structs.replace(of, providers=(Provider("p", "P", known),))
    for told in facts_told(of):
        assert told["facts"]["provider_legal_entity"]["value"] == ["Example KK"]
