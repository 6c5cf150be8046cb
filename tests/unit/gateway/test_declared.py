import pytest

from sekisho.catalog.interfaces import Boundary, DataClass, Organisation
from sekisho.gateway.declared import declared
from sekisho.gateway.errors import BadRequest
from sekisho.identity.interfaces import Principal

CLASSES = ("public", "internal", "confidential")
RANKS = {name: rank for rank, name in enumerate(CLASSES)}
BOUNDARY = Boundary(
    home=("JP",),
    jurisdictions=("JP", "KR", "US"),
    classes=tuple(DataClass(name, name, name) for name in CLASSES),
    default_class="internal",
    default_residency=("JP",),
)


def of(headers: dict[bytes, bytes], **key: object) -> tuple[str, tuple[str, ...]]:
    principal = Principal("key-1", "default", ("caller",), key.get("data_class"), key.get("residency"))
    organisation = Organisation("default", "Default", key.get("org_class"), key.get("org_residency"))
    return tuple(declared(headers, principal, organisation, BOUNDARY, RANKS))


def test_without_a_word_the_boundary_speaks() -> None:
    assert of({}) == ("internal", ("JP",))


def test_the_highest_class_wins() -> None:
    assert of({b"x-sekisho-data-class": b"public"})[0] == "internal"
    assert of({b"x-sekisho-data-class": b"confidential"})[0] == "confidential"
    assert of({b"x-sekisho-data-class": b"public"}, data_class="confidential")[0] == "confidential"
    assert of({}, org_class="public")[0] == "public"


def test_a_class_that_the_boundary_dropped_ranks_above_all() -> None:
    assert of({b"x-sekisho-data-class": b"confidential"}, data_class="gone")[0] == "gone"


def test_residencies_intersect() -> None:
    assert of({b"x-sekisho-residency": b"US, KR"})[1] == ()
    assert of({b"x-sekisho-residency": b"US, JP"}, org_residency=("JP", "US"))[1] == ("JP", "US")
    assert of({}, org_residency=("JP", "US"), residency=("US",))[1] == ("US",)


def test_anywhere_is_everything_and_gives_way_to_any_bound() -> None:
    assert of({}, org_residency=("anywhere",))[1] == ("JP", "KR", "US", "anywhere")
    assert of({b"x-sekisho-residency": b"JP"}, org_residency=("anywhere",))[1] == ("JP",)


@pytest.mark.parametrize(
    "headers",
    [
        {b"x-sekisho-data-class": b"secret"},
        {b"x-sekisho-data-class": b""},
        {b"x-sekisho-residency": b"JPN"},
        {b"x-sekisho-residency": b""},
        {b"x-sekisho-residency": b"unknown"},
        {b"x-sekisho-residency": b"JP,,US"},
    ],
)
def test_an_unknown_value_is_400(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(BadRequest):
        of(headers)
