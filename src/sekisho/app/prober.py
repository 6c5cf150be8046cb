"""Probes again and again while control runs, and puts in force what changed.

A round, in this order:

1. Look at every deployment of the snapshot in force that is not stopped (`probing`), in a process apart (`round`).
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
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple

from sekisho.app.observed import composed
from sekisho.app.probing import Taken
from sekisho.app.reload import Record
from sekisho.app.round import Asked, Came
from sekisho.app.trials import record_test, stops_set
from sekisho.catalog.evidence import LIGHT_ANSWER, METHODS, PROBE
from sekisho.catalog.interfaces import Catalogue, Deployment, ObservedFact, Reading
from sekisho.catalog.observations import as_recorded, kept, telling
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
PROBED_MAX: Final = 500  # deployments in one round; the next round goes on with those after them
BATCH: Final = 64  # entries that wait for durability together
OBSERVED: Final = "deployment.probe"
_REGISTRY: Final = ("", "registry")  # whose trouble is told like that of a deployment's method
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


def methods_of(settings: ProbeSettings) -> frozenset[str]:
    """What control probes by."""
    return SILENT | {LIGHT_ANSWER} if settings.answers else SILENT


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
    return as_recorded(reading)


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
        probe: Callable[[Asked], Awaitable[Came]],
    ) -> None:
        """`put_in_force` records which snapshot comes in force; `exchanging` is held while one does. `probe` looks,
        and raises SekishoError or OSError if it can't.
        """
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
        self._catalogue: tuple[str, Catalogue] | None = None  # the one declared in a snapshot, by its digest
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
        """Until cancelled; where probes are not enabled, to tell what they had read before."""
        looking = Retrying(log, "what probes have read before can't be told")
        with looking:
            await asyncio.to_thread(self._look_at_lowered)
        if not self._settings.enabled:
            return
        probing = Retrying(log, "deployments can't be probed, what was read stays in force until it ends")
        interval_s = float(self._settings.interval_seconds)
        jitter_s = interval_s * self._settings.jitter_percent / 100
        wait_s = jitter_s * self._chance.random()  # soon: what was confirmed may have ended while nobody looked
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
            wait_s = interval_s - jitter_s * self._chance.random()

    async def round(self) -> RoundDone:
        """One round. Raises SekishoError or OSError for what stands in the way of all of it."""
        digest = await asyncio.to_thread(self._store.current)
        if digest is None:
            raise SekishoError("no snapshot is in force", remedy="Run `sekisho check`")
        catalogue = await asyncio.to_thread(self._declared, digest)
        stops = await asyncio.to_thread(stops_set, self._directory)
        chosen = [one for one in self._turn(catalogue.deployments) if not stops.deployment(one.name, one.provider)]
        methods = methods_of(self._settings)
        for deployment in chosen if LIGHT_ANSWER in methods else ():
            # What will leave is in the ledger before it does (G1); if the round then fails, an entry too many is there.
            await record_test(self._writer, self._clock, self._ids, deployment, "control")
        names = tuple(one.name for one in chosen)
        came = await self._probe(Asked(digest, self._here, names, methods, self._settings.valid_seconds))
        taken = came.taken
        await record(taken, self._writer, self._clock, self._ids, "control")
        self._tell_failures(came)
        changed = await self._take_over(taken)
        self.rounds, self.last_at = self.rounds + 1, self._clock.now_us()
        self.failures = sum(bool(one.failed) for one in taken)
        await asyncio.to_thread(self._leave_word, came)
        return RoundDone(taken, changed)

    def _declared(self, digest: str) -> Catalogue:
        """Blocking; kept, as most rounds see the snapshot of the round before."""
        if self._catalogue is None or self._catalogue[0] != digest:
            self._catalogue = digest, self._store.catalogue(digest)
        return self._catalogue[1]

    def _turn(self, deployments: tuple[Deployment, ...]) -> list[Deployment]:
        if len(deployments) <= PROBED_MAX:
            return list(deployments)
        begin = self._next % len(deployments)
        self._next = begin + PROBED_MAX
        return [*deployments[begin:], *deployments[:begin]][:PROBED_MAX]

    async def _take_over(self, taken: Iterable[Taken]) -> str | None:
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
        observed = store.observed(digest)
        told = telling(observed.readings, readings, self._declared(digest), self._here)
        in_force = kept(observed.readings, told, self._clock.now_us())
        if in_force == observed.readings:
            return digest  # as after most rounds: no part is read for that
        return store.save(composed(store.built(digest), self._declared(digest), in_force, self._here))

    def _tell_failures(self, came: Came) -> None:
        if came.trouble and came.trouble != self._said.get(_REGISTRY):
            log.error("networks can't be told: %s", came.trouble)
        self._said[_REGISTRY] = came.trouble
        for one in came.taken:
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

    def _leave_word(self, came: Came) -> None:
        """Blocking: a note for `sekisho doctor`, and what the console and the metrics tell."""
        self._look_at_lowered()
        word = {
            "at": self.last_at,
            "failed": [[one.deployment, one.method, one.detail] for one in came.taken if one.failed],
            "registry": came.registry,
        }
        self._directory.run.mkdir(exist_ok=True)
        write_durable(self._directory.probes_state, json.dumps(word, ensure_ascii=False).encode())


def _place(row: tuple[str, str, ObservedFact]) -> tuple[str, str]:
    return row[0], row[1]
