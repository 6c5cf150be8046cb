"""Builds the control process: it puts declarations in force, publishes the log, relays the outbox, serves pages."""

import asyncio
import logging
import socket
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import uvicorn

from sekisho import __version__
from sekisho.app.clock import installation_clock, watch_clock
from sekisho.app.console import ConsoleServices, served
from sekisho.app.cosigning import with_cosignatures
from sekisho.app.exemptions import grant_exemptions
from sekisho.app.gateway import open_writer
from sekisho.app.installation import activation_body, snapshot_store
from sekisho.app.keys import OrganisationKeys
from sekisho.app.ledger import make_publisher
from sekisho.app.prober import Prober
from sekisho.app.process import on_hangup, stop_event
from sekisho.app.receipts import LogReceipts
from sekisho.app.reload import Record, Reloader
from sekisho.app.round import Asked, Came, round_apart
from sekisho.app.shadow import Shadowing
from sekisho.app.witnessing import Witnessing
from sekisho.console.interfaces import Status
from sekisho.console.server import control_app
from sekisho.content.acts import DUE_MAX, ContentActs
from sekisho.content.files import ContentFiles
from sekisho.identity.interfaces import Outbox
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.ids import IdSource
from sekisho.kernel.retrying import Retrying
from sekisho.ledger.interfaces import EntryDraft, EntryWriter
from sekisho.ledger.publisher import Publisher
from sekisho.settings import DataDirectory, Settings

_RELAY_INTERVAL_S: Final = 0.25
_RELAY_BATCH: Final = 256
_CONTENT_INTERVAL_S: Final = 5.0  # nobody may read past the end, whenever it is deleted; a look costs little

log = logging.getLogger(__name__)


class Listeners(NamedTuple):
    """Bound sockets: the console's, and the witness's if others may ask for cosignatures over HTTP."""

    console: socket.socket
    witness: socket.socket | None = None


async def run_control(
    root: Path, settings: Settings, listeners: Listeners, environment: Mapping[str, str], *, with_parent: bool
) -> None:
    """Run until told to stop, then publish once more. `environment`: where credentials may be.

    Raises SekishoError for what stands in the way of starting.
    """
    on_hangup(lambda: None)  # until there is something to reload; the default would end us
    directory = DataDirectory(root)
    (clock, _), ids = installation_clock(directory.ledger), IdSource()
    publisher = make_publisher(directory, settings, clock, ids)
    try:
        await asyncio.to_thread(publisher.start)
        await _run(directory, settings, listeners, publisher, clock, ids, environment, with_parent=with_parent)
    except (OSError, sqlite3.Error) as error:
        raise SekishoError(
            f"control can't go on: {error}",
            remedy="Look at the data directory, its permissions and the free space; under `sekisho up` it starts again",
        ) from error
    finally:
        await asyncio.to_thread(publisher.close)


async def _run(
    directory: DataDirectory,
    settings: Settings,
    listeners: Listeners,
    publisher: Publisher,
    clock: SystemClock,
    ids: IdSource,
    environment: Mapping[str, str],
    *,
    with_parent: bool,
) -> None:
    register = SqlIdentity(directory.state, clock)
    writer = open_writer(directory, settings, clock, ids)
    recorder = _recorder(directory, register, writer, clock, ids)
    reloader = Reloader(directory, recorder, changed=lambda: prober.look_now())
    here, store, probes = settings.installation.site, snapshot_store(directory), settings.probes

    async def probe(asked: Asked) -> Came:
        return await round_apart(directory, asked, environment)

    prober = Prober(directory, probes, here, store, writer, recorder, reloader.exchanging, clock, ids, probe)
    receipts = LogReceipts(directory, OrganisationKeys(directory.organisation_keys), clock)
    services = ConsoleServices(directory, settings, register, clock, receipts)
    witnessing = Witnessing(directory, settings, clock)
    shadowing = Shadowing(directory, writer, clock, ids)
    server = _server(directory, settings, publisher, services, reloader, witnessing, prober, shadowing)
    serving = asyncio.create_task(server.serve(sockets=[listeners.console]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    stop = stop_event(with_parent=with_parent)  # after uvicorn has put its own handlers, which these replace

    def look_now() -> None:
        reloader.look_now()
        prober.look_now()

    on_hangup(look_now)
    stop_publishing = threading.Event()
    publishing = asyncio.create_task(asyncio.to_thread(publisher.run, stop_publishing))
    relaying = asyncio.create_task(_relay_outbox(register, writer))
    reloading = asyncio.create_task(reloader.run())
    watching = asyncio.create_task(watch_clock(directory.ledger, writer, clock, ids))
    ending = asyncio.create_task(_end_content(directory, register, clock))
    probing = asyncio.create_task(prober.run())
    following = asyncio.create_task(shadowing.run())
    await witnessing.start(listeners.witness)
    log.info("publishing as %s", settings.installation.origin)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({waiting, publishing, serving}, return_when=asyncio.FIRST_COMPLETED)
    beside = (waiting, relaying, reloading, watching, ending, probing, following)
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)
    await witnessing.stop()
    services.halt()  # the server waits for its requests, and they for minutes
    server.should_exit = True
    await serving
    await writer.close()
    stop_publishing.set()
    await publishing  # raises what halted it
    await asyncio.to_thread(publisher.merge_once)
    services.close()
    register.close()


def _recorder(
    directory: DataDirectory, register: SqlIdentity, writer: EntryWriter, clock: SystemClock, ids: IdSource
) -> Record:
    """Records which snapshot comes in force, and before it that its new exemptions are granted. Raises SekishoError:
    a LedgerFull if it can't be recorded now, an ApprovalError for an exemption whose approval does not hold."""
    store = snapshot_store(directory)

    async def record(before: str | None, digest: str) -> None:
        await asyncio.to_thread(grant_exemptions, directory, store, register, clock, digest)
        while await _relay(register, writer):  # a grant stands in the log before decisions that hang on it
            pass
        now_us = clock.now_us()
        draft = EntryDraft("change", ids.new(now_us), now_us, "control", activation_body(before, digest))
        await writer.append(draft)

    return record


async def _end_content(directory: DataDirectory, register: SqlIdentity, clock: SystemClock) -> None:
    """Until cancelled: delete content that has reached its end. Whatever fails is tried again."""
    acts = ContentActs(ContentFiles(directory.content, directory.content_keys), register, clock)
    deleting = Retrying(log, "content that has reached its end can't be deleted")
    while True:
        ended = 0
        with deleting:
            ended = await asyncio.to_thread(acts.end_due)
        if ended:
            log.info("deleted %d kept contents that have reached their end", ended)
        if ended < DUE_MAX:
            await asyncio.sleep(_CONTENT_INTERVAL_S)


async def _relay_outbox(outbox: Outbox, writer: EntryWriter) -> None:
    """Append what waits in the outbox. A crash in between appends it twice; the merge drops the second by its id."""
    relaying = Retrying(log, "administrative acts wait in the outbox")
    while True:
        with relaying:
            await _relay(outbox, writer)
        await asyncio.sleep(_RELAY_INTERVAL_S)


async def _relay(outbox: Outbox, writer: EntryWriter) -> int:
    """Append what waits now, a batch at most; durable when this returns. How many that were."""
    pending = await asyncio.to_thread(outbox.pending, _RELAY_BATCH)
    durable = [writer.append(EntryDraft(e.kind, e.id, e.at, e.actor, e.body)) for e in pending]
    if durable:
        await asyncio.gather(*durable)
        await asyncio.to_thread(outbox.relayed, tuple(entry.id for entry in pending))
    return len(durable)


def _server(
    directory: DataDirectory,
    settings: Settings,
    publisher: Publisher,
    services: ConsoleServices,
    reloader: Reloader,
    witnessing: Witnessing,
    prober: Prober,
    shadowing: Shadowing,
) -> uvicorn.Server:
    store = snapshot_store(directory)
    scheme = "https" if settings.gateway.tls_certificate_file else "http"

    def status() -> Status:
        return Status(
            settings.installation.origin,
            publisher.size,
            store.current() or "",
            f"{scheme}://{settings.gateway.listen}",
            reloader.state,
            reloader.mistake_count,
            __version__,
        )

    of_services = services.ports(status, reloader.mistakes)
    ports = of_services._replace(
        panel=lambda: prober.shown_on(witnessing.shown_on(of_services.panel())),
        with_cosignatures=lambda note: with_cosignatures(directory, note),
        metrics=lambda: witnessing.metrics() + prober.metrics() + shadowing.metrics(),
    )
    app = control_app(directory.ledger, ports, served(settings), snapshots=directory.snapshots)
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", server_header=False)
    return uvicorn.Server(config)
