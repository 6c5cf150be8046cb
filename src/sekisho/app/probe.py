"""Probing the declared deployments once, for a person: what was read is recorded, nothing is put in force."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sekisho.app.gateway import open_writer
from sekisho.app.prober import record
from sekisho.app.probing import ProbeOptions, Taken, probe_of
from sekisho.app.providers import declared_catalogue
from sekisho.app.trials import ACTOR, record_test, require_open, stops_set
from sekisho.catalog.delegations import Published, read_directory
from sekisho.catalog.interfaces import Deployment, Fact
from sekisho.catalog.jurisdictions import shortened
from sekisho.catalog.observations import observed_facts
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import UsageError
from sekisho.kernel.ids import IdSource
from sekisho.kernel.words import alternatives
from sekisho.settings import DataDirectory, Settings

_SEGMENT_BYTES: Final = 256 * 1024  # as for a test of a provider: a few hundred bytes for each deployment


class FactRead(NamedTuple):
    """A fact that the readings change, as it would be by them. `expires` in µs UTC."""

    name: str
    value: tuple[str, ...]
    grade: str
    expires: int | None
    lowered: bool
    declared: Fact


class Probed(NamedTuple):
    name: str
    stopped: bool
    taken: tuple[Taken, ...]
    facts: tuple[FactRead, ...]


class Looked(NamedTuple):
    deployments: tuple[Probed, ...]
    published: tuple[Published, ...]


async def probe_here(
    directory: DataDirectory,
    settings: Settings,
    names: Sequence[str] | None,
    options: ProbeOptions,
    environment: Mapping[str, str],
) -> Looked:
    """Probe the declared deployments called `names` (None: all) that are not stopped.

    Raises UsageError for a name that isn't declared, SekishoError where the declarations hold mistakes, a registry's
    file can't be read, or nothing can be recorded.
    """
    catalogue = declared_catalogue(directory)
    chosen = _chosen(catalogue.deployments, names)
    here = settings.installation.site
    delegations = read_directory(directory.registry)
    stops = stops_set(directory)
    open_now = [one for one in chosen if not stops.deployment(one.name, one.provider)]
    clock, ids = SystemClock(), IdSource()
    writer = open_writer(directory, settings, clock, ids, segment_bytes=_SEGMENT_BYTES)

    recorded = set()

    async def before_answer(deployment: Deployment) -> None:
        await require_open(directory, deployment)  # a stop may be set meanwhile
        if deployment.name not in recorded:
            await record_test(writer, clock, ids, deployment)
            recorded.add(deployment.name)

    try:
        probe = probe_of(directory, here, options, environment, clock)
        taken = await probe(catalogue, delegations, open_now, before_answer)
        await record(taken, writer, clock, ids, ACTOR)
    finally:
        await writer.close()
    facts = observed_facts(catalogue, (one.reading for one in taken if one.reading is not None), here)
    probed = []
    for one in chosen:
        read = [
            FactRead(name, shortened(fact.value), fact.grade.name.lower(), fact.expires, fact.lowered, one.facts[name])
            for (deployment, name), fact in sorted(facts.items())
            if deployment == one.name
        ]
        of = tuple(row for row in taken if row.deployment == one.name)
        probed.append(Probed(one.name, one not in open_now, of, tuple(read)))
    return Looked(tuple(probed), delegations.published)


def _chosen(deployments: Sequence[Deployment], names: Sequence[str] | None) -> list[Deployment]:
    known = [one.name for one in deployments]
    for name in names or ():
        if name not in known:
            raise UsageError(f"No deployment {name!r} is declared", remedy=f"There is {alternatives(name, known)}")
    return [one for one in deployments if names is None or one.name in names]
