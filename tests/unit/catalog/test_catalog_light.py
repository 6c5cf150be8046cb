"""Light: what it contradicts is impossible, and what it can't know it doesn't say."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.catalog.interfaces import Extent, Site
from sekisho.catalog.light import (
    FIBRE_KM_PER_MS,
    LIGHT_KM_PER_MS,
    Place,
    bound_km,
    claim_km,
    distance_km,
    distance_to_extent_km,
    fibre_km,
    judge,
    nearest_km,
)
from sekisho.catalog.places import EXTENTS
from support_decide import declared, deployment

TOKYO, OSAKA, DUBLIN = Place(35.68, 139.76), Place(34.69, 135.50), Place(53.35, -6.26)
OREGON, SEOUL, SYDNEY = Place(45.60, -121.18), Place(37.57, 126.98), Place(-33.87, 151.21)
LATITUDES = st.floats(-89, 89)
LONGITUDES = st.floats(-180, 180)


@pytest.mark.parametrize(
    ("one", "other", "true_km"),  # geodesics on the WGS 84 ellipsoid, rounded to 10 km
    [
        (TOKYO, OSAKA, 400),
        (TOKYO, OREGON, 7_840),
        (TOKYO, SEOUL, 1_160),
        (TOKYO, SYDNEY, 7_790),
        (TOKYO, DUBLIN, 9_590),
    ],
)
def test_a_distance_is_a_lower_bound_and_a_close_one(one, other, true_km):
    assert 0.97 * true_km <= distance_km(one, other) <= true_km + 10
    assert distance_km(one, other) == pytest.approx(distance_km(other, one))


def test_a_millisecond_is_150_km_at_most_and_102_in_fibre():
    assert bound_km(1_000) == 150
    assert fibre_km(1_000) == 102
    assert bound_km(50_000) == 7_495
    assert pytest.approx(299_792.458 / 2 / 1_000) == LIGHT_KM_PER_MS
    assert pytest.approx(299_792.458 / 1.468 / 2 / 1_000, rel=0.01) == FIBRE_KM_PER_MS


def test_oregon_cannot_answer_for_tokyo_and_nothing_proves_tokyo():
    """A probe in Oregon that is answered within 2 ms is not answered from Japan; from Tokyo, Seoul can't be told."""
    claim = nearest_km(OREGON, ("JP",), EXTENTS)
    assert bound_km(2_000) < claim
    assert bound_km(60_000) > claim
    assert nearest_km(TOKYO, ("JP",), EXTENTS) == 0
    assert bound_km(50_000) > nearest_km(TOKYO, ("KR",), EXTENTS) > 0


def test_the_nearest_of_several_counts_and_one_that_is_not_known_silences():
    far, near = nearest_km(TOKYO, ("US",), EXTENTS), nearest_km(TOKYO, ("KR",), EXTENTS)
    assert nearest_km(TOKYO, ("KR", "US"), EXTENTS) == near < far
    assert nearest_km(TOKYO, ("KR", "ZW"), EXTENTS) is None
    assert nearest_km(TOKYO, ("JP", "US", "anywhere"), EXTENTS) is None
    assert nearest_km(TOKYO, ("unknown",), EXTENTS) is None


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("JP", TOKYO), ("JP", Place(26.21, 127.68)), ("JP", Place(43.06, 141.35)), ("US", OREGON),
        ("US", Place(21.31, -157.86)), ("US", Place(61.22, -149.90)), ("US", Place(52.0, 174.0)),
        ("US", Place(25.76, -80.19)), ("KR", SEOUL), ("IE", DUBLIN), ("AU", SYDNEY), ("SG", Place(1.35, 103.82)),
        ("HK", Place(22.32, 114.17)), ("IN", Place(18.52, 73.86)), ("GB", Place(51.51, -0.13)),
        ("GB", Place(60.15, -1.14)), ("DE", Place(50.11, 8.68)), ("FR", Place(48.86, 2.35)), ("FR", Place(41.93, 8.74)),
        ("NL", Place(52.37, 4.90)), ("SE", Place(60.67, 17.14)), ("NO", Place(59.91, 10.75)),
        ("CH", Place(46.20, 6.14)),
        ("IT", Place(45.46, 9.19)), ("BR", Place(-23.55, -46.63)), ("CA", Place(43.65, -79.38)),
        ("CN", Place(39.90, 116.41)), ("TW", Place(25.03, 121.57)), ("TW", Place(24.43, 118.32)),
    ],
)  # fmt: skip
def test_the_table_holds_the_places_where_machines_stand(code, place):
    assert nearest_km(place, (code,), EXTENTS) == 0


@given(latitude=LATITUDES, longitude=LONGITUDES, code=st.sampled_from(sorted(EXTENTS)), data=st.data())
def test_no_point_of_a_box_is_nearer_than_its_distance(latitude, longitude, code, data):
    """The bound must hold for every place inside, or a true claim would be contradicted."""
    place = Place(latitude, longitude)
    box = data.draw(st.sampled_from(EXTENTS[code]))
    width = (box.east - box.west) % 360
    inside = Place(
        data.draw(st.floats(box.south, box.north)), ((box.west + data.draw(st.floats(0, width)) + 180) % 360) - 180
    )
    assert distance_to_extent_km(place, box) <= distance_km(place, inside) + 1e-6


ENGINE = msgspec.structs.replace(deployment("e", processing=declared("US")), deployment_type="engine")
SERVICE = deployment("s", processing=declared("US"))
HERE = Site("tokyo", "Tokyo", "JP", 35_680_000, 139_760_000)
THERE = Site("oregon", "Oregon", "US", 45_600_000, -121_180_000)


def test_the_claim_of_an_engine_is_its_site_and_of_others_their_jurisdictions():
    to_oregon, to_alaska = distance_km(TOKYO, OREGON), nearest_km(TOKYO, ("US",), EXTENTS)
    assert to_alaska < to_oregon
    assert claim_km(ENGINE, HERE, THERE, EXTENTS) == to_oregon
    assert claim_km(SERVICE, HERE, THERE, EXTENTS) == to_alaska
    assert claim_km(ENGINE, HERE, Site("us", "US", "US"), EXTENTS) == to_alaska
    assert claim_km(ENGINE, Site("tokyo", "Tokyo", "JP"), THERE, EXTENTS) is None
    assert claim_km(ENGINE, None, THERE, EXTENTS) is None
    assert claim_km(deployment("u"), HERE, THERE, EXTENTS) is None


def test_light_contradicts_only_what_is_too_far_for_the_time():
    assert judge(5, 2_000, 7_800.0) == (
        True,
        {"tries": 5, "us": 2_000, "km in fibre": 204, "km at most": 300, "km to the claim": 7_800},
    )
    assert not judge(5, 60_000, 7_800.0)[0]
    assert not judge(5, 2_000, 0.0)[0]
    assert judge(5, 2_000, None) == (False, {"tries": 5, "us": 2_000, "km in fibre": 204, "km at most": 300})


def test_a_box_across_the_180th_meridian_holds_both_sides():
    box = Extent(51, 172, 72, -129)
    assert distance_to_extent_km(Place(60, 179), box) == 0
    assert distance_to_extent_km(Place(60, -170), box) == 0
    assert distance_to_extent_km(Place(60, 160), box) > 500
    assert math.isfinite(distance_to_extent_km(Place(-60, 0), box))


def test_a_box_that_no_globe_has_takes_no_longer_than_the_whole_globe():
    """Declarations are held to degrees; a forged snapshot is not, and an audit must not go on for ever."""
    assert distance_to_extent_km(TOKYO, Extent(-(10**12), 10, 10**12, 11)) >= 0
