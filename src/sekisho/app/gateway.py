"""Builds one gateway process."""

import asyncio
import gc
import logging
import random
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

from sekisho.app.clock import follow_clock, installation_clock
from sekisho.app.installation import snapshot_store
from sekisho.app.issuers import IssuerFetches, key_sources
from sekisho.app.keys import OrganisationKeys, require_own_ledger
from sekisho.app.process import on_hangup, stop_event
from sekisho.app.receipts import LogReceipts
from sekisho.app.reload import mistakes_on_disk
from sekisho.catalog.credentials import Credentials
from sekisho.content.files import ContentFiles
from sekisho.content.keeper import BackgroundKeeper
from sekisho.gateway.attempt import Recorder
from sekisho.gateway.errors import TransportRefused, Unavailable
from sekisho.gateway.halts import Halts
from sekisho.gateway.http1.client import HttpClient
from sekisho.gateway.http1.interfaces import Header, ServerLimits
from sekisho.gateway.http1.server import HttpServer
from sekisho.gateway.http1.tls import server_tls_context
from sekisho.gateway.interfaces import InForce
from sekisho.gateway.metrics import Gauges, Metrics, label
from sekisho.gateway.paths import surface_of
from sekisho.gateway.pipeline import Pipeline
from sekisho.gateway.routing import Router
from sekisho.gateway.sign_in import SignIns
from sekisho.gateway.sign_in_keeper import SignInKeeper
from sekisho.gateway.surface import Surface
from sekisho.gateway.upstreams import put_in_force
from sekisho.gateway.worker import FOLLOW_INTERVAL_S, STALE_AFTER_S, Follower, serve
from sekisho.identity.callers import Callers
from sekisho.identity.key_files import KeyFiles
from sekisho.identity.key_sets import KeySets
from sekisho.identity.keyring import Keyring
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import IdSource
from sekisho.kernel.retrying import Retrying
from sekisho.ledger.room import BUDGET_ALARM
from sekisho.ledger.writer import WriteAheadSettings, WriteAheadWriter
from sekisho.policy.explain import explain
from sekisho.policy.interfaces import Decision
from sekisho.settings import DataDirectory, GatewaySettings, Settings

_CONTENT_RESERVES: Final = 4  # of the ledger: its reserve, the segments it allocates ahead, and as much again
_GARBAGE_THRESHOLD: Final = 20_000  # objects; a request makes a few hundred and reference counts free nearly all

log = logging.getLogger(__name__)


class SnapshotFiles:
    """The worker's SnapshotSource over a data directory."""

    def __init__(self, directory: DataDirectory, sign_ins: SignIns, keeper: SignInKeeper, key_sets: KeySets) -> None:
        self._directory = directory
        self._store = snapshot_store(directory)
        self._root = directory.root
        self._sign_ins = sign_ins
        self._keeper = keeper
        self._key_sets = key_sets

    def current(self) -> str | None:
        return self._store.current()

    def mistakes(self) -> int:
        return mistakes_on_disk(self._directory)

    def put_in_force(self, digest: str, now_us: int) -> InForce:
        snapshot = self._store.load(digest, now_us)
        self._key_sets.preload(key_sources(snapshot.catalogue))
        in_force = put_in_force(snapshot, self._root, self._sign_ins)
        self._keeper.fetch_first()
        return in_force


async def run_gateway(
    root: Path, settings: Settings, listener: socket.socket, environment: dict[str, str], *, with_parent: bool
) -> None:
    """Serve until told to stop. Raises SekishoError for what stands in the way of starting."""
    directory = DataDirectory(root)
    stop = stop_event(with_parent=with_parent)
    on_hangup(lambda: log.info("SIGHUP: nothing to do, keys and snapshot are followed all the time"))
    clock, settlements = installation_clock(directory.ledger)
    ids, metrics = IdSource(), Metrics()
    keyring = Keyring()
    register = SqlIdentity(directory.state, clock)
    client = HttpClient()
    organisation_keys = OrganisationKeys(directory.organisation_keys)
    key_sets = KeySets(
        KeyFiles(root, directory.issuer_keys),
        IssuerFetches(client, root),
        clock,
        changed=lambda: callers.forget_tokens(),
    )
    sign_ins = SignIns(Credentials(root, environment), clock)
    halts = Halts(settings.gateway.stream_outlives_snapshot_seconds)
    chance = random.Random()  # noqa: S311 - chooses between equals and spreads, guards nothing
    keeper = SignInKeeper(sign_ins, client, client.reload_tls_files, root, chance, metrics)
    follower = Follower(register, keyring, SnapshotFiles(directory, sign_ins, keeper, key_sets), clock, halts)
    callers = Callers(keyring, key_sets, lambda: follower.in_force().snapshot.catalogue, organisation_keys.key, clock)
    await follower.start()
    writer = open_writer(directory, settings, clock, ids)
    recorder = Recorder(writer, clock, ids, metrics)
    loop = asyncio.get_running_loop()

    def content_lost(reason: str) -> None:
        loop.call_soon_threadsafe(metrics.content_lost.update, (reason,))

    free_bytes_min = _CONTENT_RESERVES * settings.ledger.free_reserve_bytes
    content_files = ContentFiles(directory.content, directory.content_keys, free_bytes_min=free_bytes_min)
    content_keeper = BackgroundKeeper(content_files, content_lost)
    pipeline = Pipeline(
        keys=callers,
        in_force=follower.in_force,
        recorder=recorder,
        commitments=organisation_keys,
        client=client,
        router=Router(chance),
        in_flight_max=settings.gateway.in_flight_max,
        explain=_explain,
        halts=halts,
        keeper=content_keeper,
    )
    receipts = LogReceipts(directory, organisation_keys, clock)

    def readiness() -> list[str]:
        reasons = []
        if follower.age_s() > STALE_AFTER_S:
            reasons.append("the key register can't be read")
        if writer.full:
            reasons.append("the ledger takes no new decision: free disk space")
        try:
            follower.in_force()
        except Unavailable as error:
            reasons.append(error.message)
        return reasons

    def gauges() -> Gauges:
        return {
            "sekisho_ledger_full": float(writer.full),
            "sekisho_ledger_budget_used_ratio": writer.budget_used,
            "sekisho_credential_files_stale": float(keeper.files_stale),
            "sekisho_sign_ins_missing": float(sign_ins.missing()),
            "sekisho_register_age_seconds": follower.age_s(),
            "sekisho_stops": float(halts.stops_set),
            "sekisho_declarations_mistakes": float(follower.mistakes),
            "sekisho_issuer_keys_age_seconds": {
                label("issuer", issuer): age_s for issuer, age_s in key_sets.ages_s().items()
            },
        }

    surface = Surface(
        pipeline=pipeline,
        receipts=receipts,
        in_force=follower.in_force,
        metrics=metrics,
        clock=clock,
        ids=ids,
        readiness=readiness,
        notes=lambda: _notes(follower, halts, writer.budget_used),
        gauges=gauges,
    )
    server = HttpServer(
        surface,
        limits=_limits(settings.gateway),
        tls=_tls(root, settings),
        refusal=Refusals(clock, ids, metrics),
    )

    async def close() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await key_sets.close()
        pipeline.close()
        await client.close()
        await asyncio.to_thread(content_keeper.close)
        await writer.close()
        receipts.close()
        register.close()

    # What is here now lives as long as the process: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_THRESHOLD)
    running = (follow_callers(callers), keeper.run(), follow_clock(clock, settlements))
    tasks = [asyncio.create_task(one) for one in running]
    for note in follower.monitor_notes():
        log.warning(note)
    log.info("serving with snapshot %s, writing %s", follower.in_force().snapshot.digest[:16], writer.name)
    await serve(server, listener, follower, stop, settings.gateway.drain_seconds, close)


async def follow_callers(callers: Callers) -> None:
    """Until cancelled: take over what a new snapshot declares of callers, whether or not anybody calls."""
    following = Retrying(log, "what the snapshot declares of callers can't be taken over")
    while True:
        with following, suppress(Unavailable):  # no snapshot in force just now: requests are told, nobody is let in
            callers.follow()
        await asyncio.sleep(FOLLOW_INTERVAL_S)


def _notes(follower: Follower, halts: Halts, budget_used: float) -> list[str]:
    """What an operator should know though it is ready."""
    notes = []
    if follower.mistakes:
        notes.append(f"the declarations on disk hold {follower.mistakes} mistakes and are not in force: sekisho check")
    if halts.stops_set:
        notes.append(f"{halts.stops_set} emergency stops are set: sekisho stop list")
    if budget_used >= BUDGET_ALARM:
        notes.append(f"{budget_used:.0%} of the ledger's disk budget is used: sekisho ledger status")
    return notes + follower.monitor_notes()


def open_writer(
    directory: DataDirectory, settings: Settings, clock: SystemClock, ids: IdSource, *, segment_bytes: int | None = None
) -> WriteAheadWriter:
    """`segment_bytes`: where another size than the settings' is right. Raises SekishoError if the ledger's directory is
    not this installation's, LedgerError if no log can be made there."""
    require_own_ledger(directory, settings.installation.origin)
    ledger = settings.ledger
    return WriteAheadWriter.open(
        directory.ledger,
        site=settings.installation.site,
        settings=WriteAheadSettings(segment_bytes or ledger.segment_bytes, ledger.free_reserve_bytes),
        clock=clock,
        ids=ids,
    )


def _explain(in_force: InForce, decision: Decision) -> list[str]:
    return explain(decision, in_force.snapshot.decider, "en")


class Refusals:
    """Answers to what never became a request, in the shape of all others: an error object, an id, a line in the log.

    A path that is not known is answered as OpenAI would.
    """

    def __init__(self, clock: SystemClock, ids: IdSource, metrics: Metrics) -> None:
        self._clock = clock
        self._ids = ids
        self._metrics = metrics

    def __call__(self, status: int, message: str, path: str) -> tuple[list[Header], bytes]:
        request_id = self._ids.new(self._clock.now_us())
        error = TransportRefused(status, message)
        self._metrics.statuses[status] += 1
        self._metrics.faults[str(error.code)] += 1
        log.info("request %s: %d %s %s", request_id, status, error.code, message)
        body = surface_of(path).error_body(error)
        return [(b"x-request-id", request_id.encode()), (b"content-type", b"application/json")], body


def _limits(gateway: GatewaySettings) -> ServerLimits:
    return ServerLimits(
        body_bytes_max=gateway.body_bytes_max,
        head_timeout_s=gateway.head_timeout_ms / 1000,
        body_stall_timeout_s=gateway.body_stall_timeout_ms / 1000,
        idle_timeout_s=gateway.idle_timeout_ms / 1000,
        write_stall_timeout_s=gateway.write_stall_timeout_ms / 1000,
        connections_max=gateway.connections_max,
    )


def _tls(root: Path, settings: Settings) -> ssl.SSLContext | None:
    gateway = settings.gateway
    if not gateway.tls_certificate_file:
        return None
    client_ca = str(root / gateway.tls_client_ca_file) if gateway.tls_client_ca_file else None
    return server_tls_context(str(root / gateway.tls_certificate_file), str(root / gateway.tls_key_file), client_ca)
