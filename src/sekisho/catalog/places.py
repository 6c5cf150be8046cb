"""Where jurisdictions lie: boxes in whole degrees, rounded outwards, that hold all their land where machines stand.

Only to tell that something is too near to be there, so a box that is too wide costs a contradiction and never makes
one. What is left out on purpose: islands without a power grid of their own to speak of (Minamitorishima of JP,
Itu Aba of TW), bases in Antarctica, and overseas parts that ISO 3166-1 gives a code of their own (PR, GU, GF, RE, GL).
Of a jurisdiction that is not here light says nothing; `extents` in boundary.toml adds it, or replaces one that is.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sekisho.catalog.interfaces import Extent
from sekisho.catalog.table import Table

DEGREES: Final = 1_000_000  # a place is kept in whole millionths of a degree: a decimetre
EXTENTS_MAX: Final = 16  # boxes of one jurisdiction

EXTENTS: Final[Mapping[str, tuple[Extent, ...]]] = MappingProxyType(
    {
        "AU": (Extent(-44, 112, -9, 160),),
        "BR": (Extent(-34, -75, 6, -34),),
        "CA": (Extent(41, -142, 84, -52),),
        "CH": (Extent(45, 5, 48, 11),),
        "CN": (Extent(18, 73, 54, 136),),
        "DE": (Extent(47, 5, 56, 16),),
        "FR": (Extent(41, -6, 52, 10),),
        "GB": (Extent(49, -9, 61, 2),),
        "HK": (Extent(22, 113, 23, 115),),
        "IE": (Extent(51, -11, 56, -5),),
        "IN": (Extent(6, 68, 38, 98),),
        "IT": (Extent(35, 6, 48, 19),),
        "JP": (Extent(20, 122, 46, 149),),
        "KR": (Extent(33, 124, 39, 132),),
        "NL": (Extent(50, 3, 54, 8),),
        "NO": (Extent(57, 4, 72, 32),),
        "SE": (Extent(55, 10, 70, 25),),
        "SG": (Extent(1, 103, 2, 105),),
        "TW": (Extent(21, 118, 27, 123),),
        "US": (
            Extent(24, -125, 50, -66),  # contiguous
            Extent(51, 172, 72, -129),  # Alaska, with the Aleutians
            Extent(18, -179, 29, -154),  # Hawaii, with its chain of islands
        ),
    }
)


def extents_of(declared: Mapping[str, tuple[Extent, ...]]) -> Mapping[str, tuple[Extent, ...]]:
    """Those that are known, with those that a boundary declares in their place."""
    return {**EXTENTS, **declared}


def read_place(table: Table) -> tuple[int | None, int | None]:
    """`latitude` and `longitude` of a site, in millionths of a degree; both or none."""
    latitude, longitude = _take_degrees(table, "latitude", 90), _take_degrees(table, "longitude", 180)
    if ("latitude" in table.values) != ("longitude" in table.values):
        table.mistake("latitude", "and longitude belong together", "Give both, or neither")
    return (None, None) if latitude is None or longitude is None else (latitude, longitude)


def read_extents(table: Table, jurisdictions: tuple[str, ...]) -> dict[str, tuple[Extent, ...]]:
    """`[extents]`: of a jurisdiction, boxes `[south, west, north, east]` in whole degrees."""
    inner = table.take_table("extents")
    if inner is None:
        return {}
    found: dict[str, tuple[Extent, ...]] = {}
    for code in inner.values:
        raw = inner.take(code)
        boxes = [_extent(box) for box in raw] if isinstance(raw, list) and 0 < len(raw) <= EXTENTS_MAX else [None]
        if code not in jurisdictions:
            inner.mistake(code, "is not a known jurisdiction", "Use one of `jurisdictions`")
        elif None in boxes:
            inner.mistake(code, "is not a list of boxes", f"Write {code} = [[south, west, north, east]], whole degrees")
        else:
            found[code] = tuple(box for box in boxes if box is not None)
    return found


def _extent(box: object) -> Extent | None:
    if not isinstance(box, list) or len(box) != 4 or not all(type(edge) is int for edge in box):
        return None
    south, west, north, east = box
    holds = -90 <= south < north <= 90 and -180 <= west <= 180 and -180 <= east <= 180 and west != east
    return Extent(south, west, north, east) if holds else None


def _take_degrees(table: Table, key: str, most: int) -> int | None:
    value = table.take(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
        table.mistake(key, "is not in degrees", f"Give a number from -{most} to {most}, north and east positive")
        return None
    return round(value * DEGREES)
