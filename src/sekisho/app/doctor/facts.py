"""Facts: what probes confirm or contradict, whether they look at all, and how old the registry's files are."""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sekisho.app.doctor.findings import Finding, bounded, ok, problem, warning
from sekisho.catalog.delegations import Published, read_directory
from sekisho.catalog.errors import DelegationsError
from sekisho.catalog.interfaces import Catalogue, ObservedFact
from sekisho.catalog.jurisdictions import shortened
from sekisho.settings import DataDirectory, ProbeSettings

SHOWN_MAX: Final = 20
REGISTRY_DAYS_MAX: Final = 60  # blocks change hands every day: after two months a few in a thousand have
ROUNDS_LATE_MAX: Final = 3  # intervals without a round, which takes minutes at most
ROUND_S: Final = 300


def look_at_facts(
    directory: DataDirectory, settings: ProbeSettings, in_force: Catalogue | None, now_us: int, *, control_runs: bool
) -> list[Finding]:
    """`in_force`: the catalogue that policies see. Nothing is written. Raises OSError."""
    found = [] if in_force is None else judge_facts(in_force)
    declared = () if in_force is None else in_force.deployments
    needed = any(one.management is not None or one.tls.pins for one in declared)
    found += judge_rounds(settings, _word(directory), now_us, control_runs=control_runs, needed=needed)
    today = datetime.datetime.fromtimestamp(now_us / 1_000_000, datetime.UTC).date()
    try:
        return found + judge_registry(read_directory(directory.registry).published, today)
    except DelegationsError as error:
        return [*found, problem("facts.registry_wrong", detail=error.message, remedy=error.remedy)]


def _word(directory: DataDirectory) -> Mapping[str, Any] | None:
    """What control has left of its last round. It is a note for people: one that can't be read means nothing."""
    try:
        word = json.loads(directory.probes_state.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return word if isinstance(word, dict) else None


def judge_facts(in_force: Catalogue) -> list[Finding]:
    lowered, confirmed = [], 0
    for deployment in in_force.deployments:
        for name, fact in sorted(deployment.facts.items()):
            if not isinstance(fact, ObservedFact):
                continue
            if fact.lowered:
                value = ", ".join(shortened(fact.value))
                values = {"deployment": deployment.name, "fact": name, "value": value, "source": fact.source}
                lowered.append(problem("facts.lowered", **values))
            else:
                confirmed += 1
    found = bounded(lowered, SHOWN_MAX, "facts.lowered_more")
    return [*found, ok("facts.confirmed", count=confirmed)] if confirmed else found


def judge_rounds(
    settings: ProbeSettings, word: Mapping[str, Any] | None, now_us: int, *, control_runs: bool, needed: bool
) -> list[Finding]:
    """`word`: what control has left of its last round; None: nothing yet. `needed`: a deployment declares what only
    probes look at.
    """
    if not settings.enabled:
        return [warning("facts.disabled")] if needed else [ok("facts.off")]
    at = None if word is None else word.get("at")
    if word is None or type(at) is not int:
        return []
    age_s = max(0, now_us - at) // 1_000_000
    found = [ok("facts.round", age_s=age_s)]
    if control_runs and age_s > ROUNDS_LATE_MAX * settings.interval_seconds + ROUND_S:
        found = [warning("facts.late", age_s=age_s)]
    rows = word.get("failed")
    failed = [
        warning("facts.failed", deployment=str(row[0]), method=str(row[1]), detail=str(row[2]))
        for row in (rows if isinstance(rows, list) else ())
        if isinstance(row, list) and len(row) == 3
    ]
    return found + bounded(failed, SHOWN_MAX, "facts.failed_more")


def judge_registry(published: Sequence[Published], today: datetime.date) -> list[Finding]:
    if not published:
        return [ok("facts.no_registry")]
    found = []
    for one in published:
        days = (today - one.date).days
        if days < -1:  # a registry east of here may be a day ahead
            found.append(warning("facts.registry_ahead", registry=one.registry, date=str(one.date)))
        elif days > REGISTRY_DAYS_MAX:
            found.append(warning("facts.registry_old", registry=one.registry, date=str(one.date), days=days))
        else:
            found.append(ok("facts.registry", registry=one.registry, date=str(one.date), days=days))
    return found
