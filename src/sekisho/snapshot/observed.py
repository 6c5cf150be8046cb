"""The site's layer of a snapshot: what its probes have read, and what follows from it for facts. Pure.

Two parts, both canonical JSON. `site/observations.json`:
`{"facts":[{"deployment","fact","observed"}…],"readings":[…],"site"}`: the readings in force, taken at that site, and
each fact that they change as an ObservedFact. `site/observed.json`: what these facts are for Cedar, from which instant
on (see `policy.entities`), so that a later version of this software decides on the same. The authority's parts stay as
they are, byte by byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from sekisho.catalog.evidence import is_earned
from sekisho.catalog.interfaces import Catalogue, ObservedFact, Reading
from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError
from sekisho.snapshot.build import BuiltSnapshot
from sekisho.snapshot.errors import SnapshotDamaged
from sekisho.snapshot.manifest import encode, manifest_of

OBSERVATIONS: Final = "observations.json"
OBSERVED_ENTITIES: Final = "observed.json"
AUTHORITY: Final = "authority"
SITE: Final = "site"


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    deployment: str
    fact: str
    observed: ObservedFact


class _Observations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    facts: tuple[_Row, ...]
    readings: tuple[Reading, ...]
    site: str


@dataclass(frozen=True, slots=True)
class Observed:
    """What the probes of a site add to a catalogue. `facts` by (deployment, fact); `entities`: what policies see."""

    site: str = ""
    readings: tuple[Reading, ...] = ()
    facts: Mapping[tuple[str, str], ObservedFact] = field(default_factory=dict)
    entities: bytes = b""


def with_observed(built: BuiltSnapshot, observed: Observed) -> BuiltSnapshot:
    """The same snapshot with this site's layer in place of any that it has; without readings there is none."""
    parts = {key: data for key, data in built.parts.items() if key[0] == AUTHORITY}
    if observed.readings:
        rows = tuple(_Row(*key, fact) for key, fact in sorted(observed.facts.items()))
        part = _Observations(rows, observed.readings, observed.site)
        parts[SITE, OBSERVATIONS] = canonical.encode(msgspec.to_builtins(part))
        parts[SITE, OBSERVED_ENTITIES] = observed.entities
    return BuiltSnapshot(encode(manifest_of(parts)), parts)


def decode_observed(data: bytes | None, entities: bytes | None = None) -> Observed:
    """Strictly; None: the snapshot has no such part. Raises SnapshotDamaged."""
    if data is None:
        return Observed(entities=entities or b"")
    try:
        part = msgspec.convert(canonical.decode(data), _Observations)
    except (CanonicalError, msgspec.ValidationError) as error:
        raise SnapshotDamaged(f"the observations can't be read: {error}") from None
    for row in part.facts:
        if not is_earned(row.fact, row.observed):
            raise SnapshotDamaged(f"the fact {row.fact} of {row.deployment} has a grade that nothing earns")
    return Observed(
        part.site, part.readings, {(row.deployment, row.fact): row.observed for row in part.facts}, entities or b""
    )


def observed_entities(entities: bytes, observed: bytes | None) -> bytes:
    """The authority's entities part with the lapses of the site's behind its own; None: it has none.

    Raises SnapshotDamaged for parts that are not as `policy.entities` says.
    """
    if observed is None:
        return entities
    try:
        part = canonical.decode(entities)
        part["lapses"] += canonical.decode(observed)["lapses"]
        return canonical.encode(part)
    except (CanonicalError, KeyError, TypeError) as error:
        raise SnapshotDamaged(f"the observed entities can't be read: {error}") from None


def observed_catalogue(catalogue: Catalogue, facts: Mapping[tuple[str, str], ObservedFact]) -> Catalogue:
    """The catalogue with what probes have found in place of what is declared, by (deployment, fact)."""
    if not facts:
        return catalogue
    changed: dict[str, dict[str, Any]] = {}
    for (deployment, fact), value in facts.items():
        changed.setdefault(deployment, {})[fact] = value
    return msgspec.structs.replace(
        catalogue,
        deployments=tuple(
            msgspec.structs.replace(one, facts=one.facts | changed[one.name]) if one.name in changed else one
            for one in catalogue.deployments
        ),
    )
