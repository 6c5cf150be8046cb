"""How far away something can be, by the time that it takes to answer. Pure.

A round trip of t bounds the distance: nothing is faster than light. In vacuum that is 149.9 km for each millisecond of
round trip, which holds whatever the way is made of (radio, satellites, hollow fibre); in common fibre, with a
refractive index of about 1.468, it is about 102. A claim is contradicted by the former only; the latter is shown,
since nearly all ways are fibre. A short time contradicts a far place. A long time contradicts nothing, for a nearby
answer may be slow, and no time proves a place.

Only lower bounds of distances are computed: what is rounded is rounded towards "could be".
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from sekisho.catalog.deployment_types import ENGINE
from sekisho.catalog.interfaces import ANYWHERE, UNKNOWN, Deployment, Extent, Site
from sekisho.catalog.places import DEGREES

LIGHT_KM_PER_MS: Final = 149.896_229  # half of 299,792.458 km/s: there and back
FIBRE_KM_PER_MS: Final = 102.0
_EARTH_KM: Final = 6_371.0  # its mean radius
_NOT_A_SPHERE: Final = 0.994  # distances on the ellipsoid differ from those on the sphere by less than 0.6 %
_STEP_DEGREES: Final = 0.25  # between two points of a box's edge that are looked at …
_STEP_KM: Final = 28.0  # … which is at most so far, so no point of the edge is nearer by more than that


class Place(NamedTuple):
    """Degrees, north and east positive."""

    latitude: float
    longitude: float


def bound_km(round_trip_us: int) -> int:
    """How far away what answered can be at most, whatever the way is made of; rounded up."""
    return math.ceil(round_trip_us / 1_000 * LIGHT_KM_PER_MS)


def fibre_km(round_trip_us: int) -> int:
    """The same if the way is common fibre: about."""
    return math.ceil(round_trip_us / 1_000 * FIBRE_KM_PER_MS)


def distance_km(one: Place, other: Place) -> float:
    """A lower bound of the distance over the ground."""
    latitude, longitude = math.radians(one.latitude), math.radians(one.longitude)
    latitude_2, longitude_2 = math.radians(other.latitude), math.radians(other.longitude)
    half = math.sin((latitude_2 - latitude) / 2) ** 2
    half += math.cos(latitude) * math.cos(latitude_2) * math.sin((longitude_2 - longitude) / 2) ** 2
    return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(half))) * _NOT_A_SPHERE


def distance_to_extent_km(place: Place, extent: Extent) -> float:
    """A lower bound of the distance to any point of a box; 0 inside of it."""
    width = (extent.east - extent.west) % 360 or 360
    if extent.south <= place.latitude <= extent.north and (place.longitude - extent.west) % 360 <= width:
        return 0.0
    nearest = min(distance_km(place, point) for point in _edge(extent, width))
    return max(0.0, nearest - _STEP_KM)


def nearest_km(place: Place, jurisdictions: Iterable[str], extents: Mapping[str, tuple[Extent, ...]]) -> float | None:
    """A lower bound of the distance to the nearest of these; None where nothing can be said, since one is not known."""
    distances = []
    for jurisdiction in jurisdictions:
        boxes = extents.get(jurisdiction)
        if boxes is None or jurisdiction in (ANYWHERE, UNKNOWN):
            return None
        distances += [distance_to_extent_km(place, box) for box in boxes]
    return min(distances, default=None)


def claim_km(
    deployment: Deployment, here: Site | None, there: Site | None, extents: Mapping[str, tuple[Extent, ...]]
) -> float | None:
    """At least so far from the site `here` is the nearest place where a deployment is declared to process; None: nobody
    can say. `there`: the site that it is declared to run at.
    """
    probe, engine = _place(here), _place(there) if deployment.deployment_type == ENGINE else None
    if probe is None:
        return None
    if engine is not None:
        return distance_km(probe, engine)
    return nearest_km(probe, deployment.facts["processing"].value, extents)


def judge(tries: int, least_us: int, claim: float | None) -> tuple[bool, dict[str, int]]:
    """Whether what answered within `least_us` can't be as far away as the claim is, and the figures."""
    limit_km = bound_km(least_us)
    figures = {"tries": tries, "us": least_us, "km in fibre": fibre_km(least_us), "km at most": limit_km}
    if claim is None:
        return False, figures
    return limit_km < claim, {**figures, "km to the claim": int(claim)}


def _place(site: Site | None) -> Place | None:
    if site is None or site.latitude is None or site.longitude is None:
        return None
    return Place(site.latitude / DEGREES, site.longitude / DEGREES)


def _edge(extent: Extent, width: int) -> Iterable[Place]:
    for step in range(int(width / _STEP_DEGREES) + 1):
        longitude = extent.west + step * _STEP_DEGREES
        yield Place(extent.south, longitude)
        yield Place(extent.north, longitude)
    south, north = max(extent.south, -90), min(extent.north, 90)  # of a snapshot that somebody wrote by hand, too
    for step in range(int((north - south) / _STEP_DEGREES) + 1):
        latitude = south + step * _STEP_DEGREES
        yield Place(latitude, extent.west)
        yield Place(latitude, extent.west + width)
