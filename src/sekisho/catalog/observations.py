"""From what probes read to the facts that policies see. Pure.

One reading per deployment and method is in force. What it does follows from `catalog.evidence`:

1. It reads a value that lies within what is declared: the declared value stands, as well supported as the method
   earns, until the reading ends. From then on the fact is as declared again.
2. It reads a value of what nobody declared: the value stands likewise, and is unknown again afterwards.
3. It reads anything else (*drift*): both count, declared at most, without an end. A word can't be two: it is unknown.
4. It contradicts: of the facts that its method can contradict nothing is known any more, without an end.

What is lowered is raised only by a newer reading that raises, by a key that is pinned, or by another declaration.
Neither time heals it, nor a provider that doesn't answer, nor a reading that says nothing: addresses that no registry
knows, or an answer that came too late for light to tell anything.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

import msgspec

from sekisho.catalog.deployment_types import GLOBAL_TYPES, REGIONAL_TYPES, ZONE_TYPES
from sekisho.catalog.evidence import (
    BY_NAME,
    LIGHT_ANSWER,
    LIGHT_CONNECT,
    MANAGEMENT_API,
    NETWORKS,
    TLS_CHAIN,
    TLS_PIN,
    earned,
)
from sekisho.catalog.interfaces import (
    ANYWHERE,
    UNKNOWN,
    WORD_FACTS,
    Boundary,
    Catalogue,
    Deployment,
    Fact,
    Grade,
    ObservedFact,
    Reading,
    Site,
)
from sekisho.catalog.jurisdictions import expanded, shortened
from sekisho.catalog.light import claim_km
from sekisho.catalog.places import extents_of
from sekisho.kernel import canonical

AZURE_TYPES: Final = frozenset({*GLOBAL_TYPES, *ZONE_TYPES, *REGIONAL_TYPES})
RENEW_SHARE: Final = 2  # what is read as before is renewed when one part in so many of its time is left

Key = tuple[str, str]  # (deployment, fact)


def methods_of(deployment: Deployment) -> tuple[str, ...]:
    """The methods of probing that can say something of a deployment as it is declared.

    An egress proxy resolves the name and opens the connection: what is seen from here is the proxy.
    """
    found = [] if deployment.management is None else [MANAGEMENT_API]
    if deployment.egress_proxy is None:
        found += [NETWORKS, LIGHT_CONNECT]
        if deployment.url.startswith("https:"):
            found += [TLS_CHAIN, *([TLS_PIN] if deployment.tls.pins else [])]
    return (*found, LIGHT_ANSWER)


def about(deployment: Deployment, here: Site | None, claim: float | None = None) -> str:
    """Digest (hex) of what a reading rests on: of the deployment's declaration, of where the probe stands, and of how
    far away (km) it is declared to process, as `light.claim_km` says.
    """
    processing = deployment.facts["processing"].value
    parts = (deployment.url, deployment.upstream_model, deployment.site, deployment.deployment_type, processing,
             deployment.tls, deployment.egress_proxy, deployment.management, here,
             None if claim is None else int(claim))  # fmt: skip
    return hashlib.sha256(canonical.encode(msgspec.to_builtins(parts))).hexdigest()


def kept(before: Iterable[Reading], after: Iterable[Reading], now_us: int) -> tuple[Reading, ...]:
    """The readings in force, sorted: `after` replaces what the same method read of the same deployment `before`.

    As long as all say what is known, and much of their time is left, they stay as they were; else all of `after` are
    taken over at once. Each change makes a new snapshot, and many deployments shall not make many of them.
    """
    readings = {(one.deployment, one.method): one for one in before}
    newer = {(one.deployment, one.method): one for one in after}
    if any(_is_due(readings.get(key), one, now_us) for key, one in newer.items()):
        readings |= newer
    return tuple(readings[key] for key in sorted(readings) if _says_something(readings[key]))


def as_recorded(reading: Reading) -> dict[str, Any]:
    """The reading as it stands in the ledger's `observation` of its deployment."""
    row = msgspec.to_builtins(reading)
    del row["deployment"]
    return cast(dict[str, Any], row)


def applicable(readings: Iterable[Reading], catalogue: Catalogue) -> tuple[Reading, ...]:
    """Those of deployments that there are, by methods that still say something of them."""
    methods = {one.name: methods_of(one) for one in catalogue.deployments}
    return tuple(one for one in readings if one.method in methods.get(one.deployment, ()))


def observed_facts(catalogue: Catalogue, readings: Iterable[Reading], here: str) -> dict[Key, ObservedFact]:
    """The facts that differ from what is declared. `here`: the name of the site whose probes these are."""
    of: dict[str, list[Reading]] = {}
    for reading in applicable(readings, catalogue):
        of.setdefault(reading.deployment, []).append(reading)
    found: dict[Key, ObservedFact] = {}
    for deployment in catalogue.deployments:
        readings_of = of.get(deployment.name)
        if readings_of:
            facts = _facts_by(deployment, readings_of, catalogue, here)
            found |= {(deployment.name, name): fact for name, fact in facts.items()}
    return found


def telling(
    before: Iterable[Reading], after: Iterable[Reading], catalogue: Catalogue, here: str
) -> tuple[Reading, ...]:
    """Those of `after` that may take the place of what the same method read `before`: silence heals nothing.

    Not one that changes no fact, where the one before lowers some under the same declaration. A key that is pinned says
    enough by being there.
    """
    deployments = {one.name: one for one in catalogue.deployments}
    standing = {(one.deployment, one.method): one for one in before}

    def heals_by_silence(newer: Reading) -> bool:
        older, deployment = standing.get((newer.deployment, newer.method)), deployments.get(newer.deployment)
        if older is None or deployment is None or older.about != newer.about or newer.method == TLS_PIN:
            return False
        lowers = any(fact.lowered for fact in _facts_by(deployment, (older,), catalogue, here).values())
        return lowers and not _facts_by(deployment, (newer,), catalogue, here)

    return tuple(one for one in after if not heals_by_silence(one))


def _facts_by(
    deployment: Deployment, readings: Iterable[Reading], catalogue: Catalogue, here: str
) -> dict[str, ObservedFact]:
    sites = {one.name: one for one in catalogue.sites}
    claim = claim_km(
        deployment, sites.get(here), sites.get(deployment.site or ""), extents_of(catalogue.boundary.extents)
    )
    current = about(deployment, sites.get(here), claim)
    facts = {
        name: _observed(name, fact, readings, current, catalogue.boundary) for name, fact in deployment.facts.items()
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def is_lowered(fact: Fact) -> bool:
    """Whether a probe contradicts what is declared of it."""
    return isinstance(fact, ObservedFact) and fact.lowered


def steps(fact: ObservedFact) -> Iterator[tuple[int, Fact | None]]:
    """What the fact is from which instant on (µs UTC), the first being 0; None: unknown."""
    yield 0, fact
    since, following = fact.expires, fact.otherwise
    while since is not None:
        if following is None or (following.expires is not None and following.expires <= since):
            yield since, None
            return
        yield since, following
        since, following = following.expires, None


def _is_due(old: Reading | None, new: Reading, now_us: int) -> bool:
    if old is None:
        return _says_something(new)
    # One that counts longer than new ones do was read when `valid_seconds` were more.
    is_due = old.until - now_us < (new.until - new.at) // RENEW_SHARE or old.until > new.until
    return is_due or _meaning(old) != _meaning(new)


def _says_something(reading: Reading) -> bool:
    return bool(reading.values) or reading.contradicts


def _meaning(reading: Reading) -> tuple[object, ...]:
    return reading.about, dict(reading.values), reading.contradicts


def _observed(
    name: str, declared: Fact, readings: Iterable[Reading], current: str, boundary: Boundary
) -> ObservedFact | None:
    results = [one for reading in readings if (one := _by_reading(name, declared, reading, current, boundary))]
    # The worst counts: what lowers before what raises, and of those that lower the one that leaves the least.
    return min(results, key=lambda one: (not one.lowered, one.grade, one.method), default=None)


def _by_reading(name: str, declared: Fact, reading: Reading, current: str, boundary: Boundary) -> ObservedFact | None:
    method = BY_NAME[reading.method]
    is_known = declared.value != (UNKNOWN,)
    if reading.contradicts and name in method.contradicts:
        return _lowered(declared, reading, (UNKNOWN,)) if is_known else None
    value = reading.values.get(name)
    grade = earned(reading.method, name)
    if value is None or grade is Grade.UNKNOWN:
        return None
    is_whole = UNKNOWN not in value or len(value) == 1
    value = _enumerated(name, value if is_whole else tuple(one for one in value if one != UNKNOWN), boundary)
    if not is_known and value == (UNKNOWN,):
        return None
    if not is_known or set(value) <= set(declared.value):
        has_ended = declared.expires is not None and declared.expires <= reading.at
        if not is_whole or reading.about != current or has_ended:
            return None
        until = reading.until if declared.expires is None else min(reading.until, declared.expires)
        source = f"{reading.method}: {_told(reading)}"
        return ObservedFact(
            value=declared.value if is_known else value,
            grade=max(grade, declared.grade),
            source=source,
            observed_at=reading.at,
            expires=until,
            method=reading.method,
            otherwise=declared if is_known else None,
        )
    known = name not in WORD_FACTS and value != (UNKNOWN,)
    return _lowered(declared, reading, expanded((*declared.value, *value), boundary.jurisdictions) if known else None)


def _enumerated(name: str, value: tuple[str, ...], boundary: Boundary) -> tuple[str, ...]:
    """The value as policies can name it; what the boundary doesn't name is unknown to them."""
    if name in WORD_FACTS:
        return value if len(value) == 1 and value[0] in WORD_FACTS[name] else (UNKNOWN,)
    return expanded(value, boundary.jurisdictions) if {*value} <= {*boundary.jurisdictions, ANYWHERE} else (UNKNOWN,)


def _lowered(declared: Fact, reading: Reading, value: tuple[str, ...] | None) -> ObservedFact:
    value = value or (UNKNOWN,)
    said = ", ".join(shortened(declared.value))
    return ObservedFact(
        value=value,
        grade=Grade.UNKNOWN if value == (UNKNOWN,) else min(Grade.DECLARED, declared.grade),
        source=f"{reading.method}: {_told(reading)}; declared: {said}",
        observed_at=reading.at,
        expires=declared.expires if value != (UNKNOWN,) else None,
        method=reading.method,
        lowered=True,
    )


def _told(reading: Reading) -> str:
    """The evidence in a line."""
    words = [
        f"{value / 1_000:.1f} ms"
        if key == "us" and isinstance(value, int)
        else f"{key} {', '.join(value) if isinstance(value, tuple) else value}"
        for key, value in _short(reading)
    ]
    return "; ".join(words) or "-"


def _short(reading: Reading) -> Iterator[tuple[str, str | int | tuple[str, ...]]]:
    evidence: Mapping[str, str | int | tuple[str, ...]] = reading.evidence
    for key, value in evidence.items():
        if not key.endswith("sha256"):  # a digest tells people nothing
            yield key, value[:4] if isinstance(value, tuple) else value
