"""What the caller, the key and the organisation declare about a request: its data class and its residency.

The stricter wins: the highest class, the intersection of the residencies (an empty one is permitted nothing).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeVar

from sekisho.catalog.interfaces import ANYWHERE, UNKNOWN, Boundary, Organisation
from sekisho.gateway.errors import BadRequest
from sekisho.identity.interfaces import Principal
from sekisho.kernel.words import alternatives
from sekisho.snapshot.interfaces import Snapshot

CLASS_HEADER = b"x-sekisho-data-class"
RESIDENCY_HEADER = b"x-sekisho-residency"
# Who can say something about a request's class and residency.
BOUNDARY: Final = "boundary"
ORGANISATION: Final = "organisation"
KEY: Final = "key"
REQUEST: Final = "request"
_KNOWN_MAX = 4096  # a caller that varies its headers must not fill the memory


Said = TypeVar("Said")
Statements = list[tuple[str, Said]]  # who says it, and what


class Declared(NamedTuple):
    data_class: str
    residency: tuple[str, ...]  # sorted; jurisdictions that may process the request


class Declarations:
    """`declared` under one snapshot, remembered: the same words from the same key mean the same."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._known: dict[tuple[Principal, bytes | None, bytes | None], Declared] = {}

    def of(self, headers: Mapping[bytes, bytes], principal: Principal) -> Declared:
        key = (principal, headers.get(CLASS_HEADER), headers.get(RESIDENCY_HEADER))
        known = self._known.get(key)
        if known is None:
            snapshot = self._snapshot
            organisation = snapshot.organisations.get(principal.organisation)
            known = declared(headers, principal, organisation, snapshot.catalogue.boundary, snapshot.class_ranks)
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            self._known[key] = known
        return known


def demands(headers: Mapping[bytes, bytes], principal: Principal) -> bool:
    """Whether the caller or its key asks for a class or a residency itself, beside what the organisation has."""
    asked = CLASS_HEADER in headers or RESIDENCY_HEADER in headers
    return asked or principal.data_class is not None or principal.residency is not None


def declared(
    headers: Mapping[bytes, bytes],
    principal: Principal,
    organisation: Organisation | None,
    boundary: Boundary,
    class_ranks: Mapping[str, int],
) -> Declared:
    """Pure. Raises BadRequest for a class or a jurisdiction that the boundary does not know."""
    return weighed(*statements(headers, principal, organisation, boundary, class_ranks), boundary, class_ranks)


def weighed(
    classes: Statements[str],
    residencies: Statements[tuple[str, ...]],
    boundary: Boundary,
    class_ranks: Mapping[str, int],
) -> Declared:
    """What all `statements` come to. Pure."""
    # A key may name a class that a later boundary dropped: what is unknown ranks above everything.
    highest = max((name for _, name in classes), key=lambda name: class_ranks.get(name, len(class_ranks)))
    return Declared(highest, _intersection([residency for _, residency in residencies], boundary))


def statements(
    headers: Mapping[bytes, bytes],
    principal: Principal,
    organisation: Organisation | None,
    boundary: Boundary,
    class_ranks: Mapping[str, int],
) -> tuple[Statements[str], Statements[tuple[str, ...]]]:
    """Who says which class, and who says which residency: ("boundary", "organisation", "key" or "request", what).

    The organisation's word stands in the place of the boundary's; the others come beside it.
    """
    classes = [(BOUNDARY, boundary.default_class)]
    if organisation and organisation.default_class:
        classes = [(ORGANISATION, organisation.default_class)]
    residencies = [(BOUNDARY, boundary.default_residency)]
    if organisation and organisation.default_residency is not None:
        residencies = [(ORGANISATION, organisation.default_residency)]
    if principal.data_class is not None:
        classes.append((KEY, principal.data_class))
    if principal.residency is not None:
        residencies.append((KEY, principal.residency))
    if CLASS_HEADER in headers:
        classes.append((REQUEST, _class_header(headers[CLASS_HEADER], class_ranks)))
    if RESIDENCY_HEADER in headers:
        residencies.append((REQUEST, _residency_header(headers[RESIDENCY_HEADER], boundary)))
    return classes, residencies


def _class_header(value: bytes, class_ranks: Mapping[str, int]) -> str:
    name = value.decode("latin-1").strip()
    if name not in class_ranks:
        known = ", ".join(class_ranks)
        raise BadRequest(
            f"x-sekisho-data-class: {name!r} is not a class of this boundary", remedy=f"Use one of {known}"
        )
    return name


def _residency_header(value: bytes, boundary: Boundary) -> tuple[str, ...]:
    names = tuple(part.strip() for part in value.decode("latin-1").split(","))
    known = {*boundary.jurisdictions, ANYWHERE}
    for name in names:
        if name not in known:
            raise BadRequest(
                f"x-sekisho-residency: {name!r} is not a jurisdiction of this boundary",
                remedy=f"Use a comma-separated list of {alternatives(name, known)}",
            )
    return names


def _intersection(residencies: list[tuple[str, ...]], boundary: Boundary) -> tuple[str, ...]:
    everything = frozenset((*boundary.jurisdictions, ANYWHERE))
    common = everything
    for residency in residencies:
        common &= everything if ANYWHERE in residency else frozenset(residency)
    return tuple(sorted(common - {UNKNOWN}))
