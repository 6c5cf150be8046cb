"""Probes again and again while control runs, and puts in force what changed.

A round, in this order:

1. Look at every deployment of the snapshot in force that is not stopped (`probing`).
2. Record an `observation` for each, durably: what each method read, or that it failed.
3. If facts follow from it that differ from those in force: build the snapshot anew from its own parts, record
   `snapshot.activate`, and name it current. Workers follow within a quarter of a second.

So whatever policy decides by stands in a snapshot that the ledger names, and is decided again by an audit. Readings
that say what is known change nothing until half of their time is over, so that rounds don't pile up snapshots.
"""

import asyncio
import json
import logging
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from sekisho.app.observed import composed
from sekisho.app.probing import Probe, ProbeOptions, Taken
from sekisho.app.reload import Record
from sekisho.app.trials import record_test, stops_set
from sekisho.catalog.delegations import Delegations, Published, read_directory
from sekisho.catalog.evidence import LIGHT_ANSWER, METHODS, PROBE
from sekisho.catalog.interfaces import Deployment, ObservedFact, Reading
from sekisho.catalog.observations import kept
from sekisho.console.interfaces import Panel
from sekisho.gateway.metrics import exposition
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.files import write_durable
from sekisho.kernel.ids import IdSource
from sekisho.kernel.retrying import Retrying
from sekisho.ledger.interfaces import EntryDraft, EntryWriter
from sekisho.settings import DataDirectory, ProbeSettings
from sekisho.snapshot.store import SnapshotStore

HURRY_S: Final = 1.0  # after a change of declarations: several of them, one round
PROBED_MAX: Final = 1_000  # deployments in one round; the next round goes on with those after them
BATCH: Final = 64  # entries that wait for durability together
OBSERVED: Final = "deployment.probe"
SILENT: Final = frozenset(one.name for one in METHODS if one.by == PROBE and one.name != LIGHT_ANSWER)

METRICS: Final = {
    "sekisho_probe_rounds_total": ("counter", "Rounds of probes."),
    "sekisho_probe_age_seconds": ("gauge", "Since the last round of probes."),
    "sekisho_probe_failures": ("gauge", "Methods that gave no reading of a deployment in the last round."),
    "sekisho_facts_lowered": ("gauge", "Facts that probes contradict just now."),
}

log = logging.getLogger(__name__)


class RoundDone(NamedTuple):
    """What a round has come to. `changed`: the snapshot that it put in force; None: nothing changed."""

    taken: tuple[Taken, ...]
    changed: str | None


class RegistryFiles:
    """The registries' files, read again when one of them changes. Blocking."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: tuple[object, ...] | None = None
        self._read = Delegations(())

    def delegations(self) -> Delegations:
        """Raises DelegationsError, OSError: then what was read before is forgotten, for it may be what is wrong."""
        seen = self._look()
        if seen != self._seen:
            self._seen, self._read = None, Delegations(())
            self._read = read_directory(self._directory)
            self._seen = seen
        return self._read

    def _look(self) -> tuple[object, ...]:
        if not self._directory.exists():
            return ()
        stats = ((path.name, path.stat()) for path in sorted(self._directory.iterdir()))
        return tuple((name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def options_of(settings: ProbeSettings) -> ProbeOptions:
    """What control probes by itself."""
    return ProbeOptions(settings.valid_seconds, SILENT | {LIGHT_ANSWER} if settings.answers else SILENT)


def observation(taken: Iterable[Taken]) -> dict[str, Any]:
    """The body of the entry on one deployment: ids, networks, digests and numbers; no words of failures, which may name
    hosts (G6).
    """
    rows = list(taken)
    return {"deployment": rows[0].deployment, "observed": OBSERVED, "readings": [_row(one) for one in rows]}


def _row(taken: Taken) -> dict[str, Any]:
    reading = taken.reading
    if reading is None:
        return {"failed": taken.failed, "method": taken.method}
    return {
        "about": reading.about,
        "contradicts": reading.contradicts,
        "evidence": {key: list(value) if isinstance(value, tuple) else value
                     for key, value in reading.evidence.items()},
        "method": reading.method,
        "until": reading.until,
        "values": {key: list(value) for key, value in reading.values.items()},
    }  # fmt: skip


async def record(taken: Iterable[Taken], writer: EntryWriter, clock: Clock, ids: IdSource, actor: str) -> None:
    """One entry for each deployment; durable when this returns. Raises SekishoError if it can't be."""
    of: dict[str, list[Taken]] = {}
    for one in taken:
        of.setdefault(one.deployment, []).append(one)
    rows = list(of.values())
    for begin in range(0, len(rows), BATCH):
        durable = []
        for row in rows[begin : begin + BATCH]:
            now_us = clock.now_us()
            body = encode(observation(row))
            durable.append(writer.append(EntryDraft("observation", ids.new(now_us), now_us, actor, body)))
        await asyncio.gather(*durable)


class Prober:
    """Belongs to control's loop."""

    def __init__(
        self,
        directory: DataDirectory,
        settings: ProbeSettings,
        here: str,
        store: SnapshotStore,
        writer: EntryWriter,
        put_in_force: Record,
        exchanging: asyncio.Lock,
        clock: Clock,
        ids: IdSource,
        probe: Probe,
    ) -> None:
        """`put_in_force` records which snapshot comes in force; `exchanging` is held while one does."""
        self._directory = directory
        self._settings = settings
        self._here = here
        self._store = store
        self._writer = writer
        self._record_change = put_in_force
        self._exchanging = exchanging
        self._probe = probe
        self._clock = clock
        self._ids = ids
        self._registry = RegistryFiles(directory.registry)
        self._chance = random.Random()  # noqa: S311 - spreads rounds, guards nothing
        self._hurry = asyncio.Event()
        self._next = 0  # the deployment that the next round begins with
        self._said: dict[tuple[str, str], str] = {}  # what failed, told once
        self.lowered: tuple[str, ...] = ()  # what probes contradict just now, a line each
        self.failures = 0  # of the last round: readings that there are none of
        self.rounds = 0
        self.last_at: int | None = None  # µs UTC: the end of the last round

    def shown_on(self, panel: Panel) -> Panel:
        """The console's panel, with what probes contradict."""
        return panel._replace(contradicted=self.lowered)

    def metrics(self) -> bytes:
        """In Prometheus' text format (version 0.0.4)."""
        age_s = None if self.last_at is None else max(0, self._clock.now_us() - self.last_at) / 1_000_000
        values: dict[str, float | None] = {
            "sekisho_probe_rounds_total": self.rounds,
            "sekisho_probe_age_seconds": age_s,
            "sekisho_probe_failures": self.failures,
            "sekisho_facts_lowered": len(self.lowered),
        }
        samples = ((name, value) for name, value in values.items() if value is not None)
        lines = [line for name, value in samples for line in exposition(name, *METRICS[name], [("", value)])]
        return ("\n".join(lines) + "\n").encode()

    def look_now(self) -> None:
        """Begin a round at once: what is declared has changed, or somebody asks."""
        self._hurry.set()

    async def run(self) -> None:
        """Until cancelled; at once where probes are not enabled."""
        if not self._settings.enabled:
            return
        looking = Retrying(log, "what probes have read before can't be told")
        with looking:
            await asyncio.to_thread(self._look_at_lowered)  # it may be hours until the first round
        probing = Retrying(log, "deployments can't be probed, what was read stays in force until it ends")
        interval_s = float(self._settings.interval_seconds)
        wait_s = interval_s * self._chance.random()  # sites that start together, as after an outage, spread out
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    await self._hurry.wait()
                await asyncio.sleep(min(HURRY_S, interval_s))
            except TimeoutError:
                pass
            self._hurry.clear()
            with probing:
                await self.round()
            wait_s = interval_s * (1 - self._settings.jitter_percent / 100 * self._chance.random())

    async def round(self) -> RoundDone:
        """One round. Raises SekishoError or OSError for what stands in the way of all of it."""
        digest = await asyncio.to_thread(self._store.current)
        if digest is None:
            raise SekishoError("no snapshot is in force", remedy="Run `sekisho check`")
        catalogue = await asyncio.to_thread(self._store.catalogue, digest)
        delegations = await asyncio.to_thread(self._registry_or_none)
        stops = await asyncio.to_thread(stops_set, self._directory)
        chosen = [one for one in self._turn(catalogue.deployments) if not stops.deployment(one.name, one.provider)]
        taken = await self._probe(catalogue, delegations, chosen, self._before_answer)
        await record(taken, self._writer, self._clock, self._ids, "control")
        self._tell_failures(taken)
        changed = await self._take_over(taken)
        self.rounds, self.last_at = self.rounds + 1, self._clock.now_us()
        self.failures = sum(bool(one.failed) for one in taken)
        await asyncio.to_thread(self._leave_word, taken, delegations.oldest)
        return RoundDone(tuple(taken), changed)

    def _registry_or_none(self) -> Delegations:
        """A file that can't be read is told of, and the other methods go on."""
        try:
            return self._registry.delegations()
        except (SekishoError, OSError) as error:
            if self._said.get(("", "registry")) != str(error):
                log.error("networks can't be told: %s", error)
            self._said["", "registry"] = str(error)
            return Delegations(())

    def _turn(self, deployments: tuple[Deployment, ...]) -> list[Deployment]:
        if len(deployments) <= PROBED_MAX:
            return list(deployments)
        begin = self._next % len(deployments)
        self._next = begin + PROBED_MAX
        return [*deployments[begin:], *deployments[:begin]][:PROBED_MAX]

    async def _before_answer(self, deployment: Deployment) -> None:
        await record_test(self._writer, self._clock, self._ids, deployment, "control")

    async def _take_over(self, taken: list[Taken]) -> str | None:
        readings = [one.reading for one in taken if one.reading is not None]
        async with self._exchanging:
            # Asked anew: declarations may have come in force during the round.
            before = await asyncio.to_thread(self._store.current)
            if before is None:
                raise SekishoError("no snapshot is in force any more")
            after = await asyncio.to_thread(self._stored_with, before, readings)
            if after == before:
                return None
            await self._record_change(before, after)
            await asyncio.to_thread(self._store.activate, after)
        log.info("snapshot %s is in force: probes have read something new", after[:16])
        return after

    def _stored_with(self, digest: str, readings: list[Reading]) -> str:
        """Blocking: the digest of the snapshot with these readings taken over, stored."""
        store = self._store
        catalogue, observed = store.catalogue(digest), store.observed(digest)
        in_force = kept(observed.readings, readings, self._clock.now_us())
        built = composed(store.built(digest), catalogue, in_force, self._here)
        return digest if built.digest == digest else store.save(built)

    def _tell_failures(self, taken: list[Taken]) -> None:
        for one in taken:
            key = (one.deployment, one.method)
            if one.failed and one.detail != self._said.get(key):
                log.warning("probing %s by %s: %s", one.deployment, one.method, one.detail)
            if one.failed:
                self._said[key] = one.detail
            elif self._said.pop(key, None) is not None:
                log.info("probing %s by %s works again", one.deployment, one.method)

    def _look_at_lowered(self) -> None:
        """Blocking: tell of each fact that probes contradict, once."""
        digest = self._store.current()
        facts = {} if digest is None else self._store.observed(digest).facts
        lowered = [(deployment, name, fact) for (deployment, name), fact in facts.items() if fact.lowered]
        lines = tuple(f"{deployment}: {name}: {fact.source}" for deployment, name, fact in sorted(lowered, key=_place))
        for line in lines:
            if line not in self.lowered:
                log.error("a probe contradicts what is declared: %s", line)
        self.lowered = lines

    def _leave_word(self, taken: list[Taken], oldest: Published | None) -> None:
        """Blocking: a note for `sekisho doctor`, and what the console and the metrics tell."""
        self._look_at_lowered()
        word = {
            "at": self.last_at,
            "failed": [[one.deployment, one.method, one.detail] for one in taken if one.failed],
            "registry": None if oldest is None else f"{oldest.registry} {oldest.date}",
        }
        self._directory.run.mkdir(exist_ok=True)
        write_durable(self._directory.probes_state, json.dumps(word, ensure_ascii=False).encode())


def _place(row: tuple[str, str, ObservedFact]) -> tuple[str, str]:
    return row[0], row[1]
