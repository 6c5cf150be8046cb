"""Joins what probes read with what is declared, into the snapshot that policies decide by."""

import logging
from collections.abc import Iterable
from typing import Any

from sekisho.catalog.interfaces import Catalogue, Fact, Reading
from sekisho.catalog.jurisdictions import shortened
from sekisho.catalog.observations import applicable, is_lowered, observed_facts
from sekisho.policy.entities import observed_part
from sekisho.policy.schema import PROVIDER_PREFIX
from sekisho.snapshot.build import BuiltSnapshot
from sekisho.snapshot.errors import SnapshotError
from sekisho.snapshot.interfaces import StoredRules, catalogue_at
from sekisho.snapshot.observed import Observed, observed_catalogue, with_observed
from sekisho.snapshot.store import SnapshotStore, stored_rules

log = logging.getLogger(__name__)


def composed(built: BuiltSnapshot, catalogue: Catalogue, readings: Iterable[Reading], here: str) -> BuiltSnapshot:
    """The snapshot with the site's layer of these readings. `catalogue` is as declared; `here` the site's name."""
    in_force = applicable(readings, catalogue)
    facts = observed_facts(catalogue, in_force, here)
    return with_observed(built, Observed(here, in_force, facts, observed_part(catalogue, facts)))


def observed_now(store: SnapshotStore, catalogue: Catalogue, now_us: int) -> Catalogue:
    """Declarations with their facts as they are now by what probes have read. Raises SnapshotError."""
    current = store.current()
    if current is None:
        return catalogue
    observed = store.observed(current)
    facts = observed_facts(catalogue, observed.readings, observed.site)
    return catalogue_at(observed_catalogue(catalogue, facts), now_us)


def facts_of(catalogue: Catalogue) -> dict[str, dict[str, Fact]]:
    """By deployment every fact that policies see of it, its provider's included, under the attribute's name; sorted."""
    providers = {one.name: one.facts for one in catalogue.providers}
    return {
        one.name: dict(
            sorted((one.facts | {PROVIDER_PREFIX + key: fact for key, fact in providers[one.provider].items()}).items())
        )
        for one in catalogue.deployments
    }


def facts_told(catalogue: Catalogue) -> list[dict[str, Any]]:
    """The facts of every deployment as JSON values (docs/facts.md). Times are µs since the Unix epoch, UTC."""
    facts = facts_of(catalogue)
    return [
        {
            "name": one.name,
            "model": one.model,
            "provider": one.provider,
            "type": one.deployment_type,
            "facts": {name: _told(fact) for name, fact in facts[one.name].items()},
        }
        for one in catalogue.deployments
    ]


def _told(fact: Fact) -> dict[str, Any]:
    return {
        "expires": fact.expires,
        "grade": fact.grade.name.lower(),
        "lowered": is_lowered(fact),
        "observed_at": fact.observed_at,
        "source": fact.source,
        "value": list(shortened(fact.value)),
    }


def with_readings_in_force(store: SnapshotStore, catalogue: Catalogue, built: BuiltSnapshot) -> BuiltSnapshot:
    """What declarations were built to, with the readings of the snapshot in force: a change of declarations takes
    nothing away that a probe has lowered.

    Readings that can't be read any more, because the snapshot in force is damaged, are gone until the next probe: they
    must not stand in the way of the build that replaces it.
    """
    try:
        current = store.current()
        observed = Observed() if current is None else store.observed(current)
    except SnapshotError as error:
        log.error("what probes have read is lost until they have looked again: %s", error)
        return built
    return composed(built, catalogue, observed.readings, observed.site) if observed.readings else built


def rules_with_readings_in_force(store: SnapshotStore, digest: str) -> StoredRules:
    """The rules of a stored snapshot, with the readings of the snapshot in force in place of those that it was stored
    with: what it would decide by now. Raises SnapshotError."""
    current = store.current()
    observed = Observed() if current is None else store.observed(current)
    built = composed(store.built(digest), store.catalogue(digest), observed.readings, observed.site)
    return stored_rules(digest, built.parts)
