"""Tries the deployments of a provider, each after an entry in the ledger that says so."""

import asyncio
import datetime
import random
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sekisho.app.gateway import open_writer
from sekisho.app.providers import declared_catalogue
from sekisho.catalog.credentials import Credentials
from sekisho.catalog.interfaces import Catalogue, Deployment
from sekisho.gateway.dialects.operations import CHAT, EMBEDDINGS
from sekisho.gateway.errors import CantSignIn
from sekisho.gateway.http1.client import HttpClient
from sekisho.gateway.interfaces import Upstream
from sekisho.gateway.metrics import Metrics
from sekisho.gateway.sign_in import SignIns
from sekisho.gateway.sign_in_keeper import SignInKeeper
from sekisho.gateway.trials import FAILURE, Learned, Plan, try_deployment
from sekisho.gateway.upstreams import upstreams_of
from sekisho.identity.interfaces import KeyChanges
from sekisho.identity.register_look import look_at_register
from sekisho.identity.stops import Stops
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import Clock, SystemClock
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.ids import IdSource
from sekisho.kernel.words import alternatives
from sekisho.ledger.interfaces import EntryDraft, EntryWriter
from sekisho.ledger.writer import WriteAheadWriter
from sekisho.settings import DataDirectory, Settings

ACTOR: Final = "operator"  # who has the data directory; a user's name must not get into the ledger (G6)
CHANGE: Final = "change"
TEST_ACT: Final = "provider.test"
_LIFT: Final = "`sekisho stop list` says since when and why; test it after `sekisho stop lift`"
_SEGMENT_BYTES: Final = 256 * 1024  # a test writes a few hundred bytes; the gateway's segments would be a waste


class TrialOptions(NamedTuple):
    deployment: str | None = None  # None: all of the provider
    embeddings: bool = False
    stream: bool = True
    timeout_s: float = 30.0


class Tried(NamedTuple):
    deployment: Deployment
    entry: str | None  # the ledger entry that says it was sent; None: nothing was
    learned: Learned


async def try_provider(
    directory: DataDirectory, settings: Settings, name: str, options: TrialOptions, environment: Mapping[str, str]
) -> list[Tried]:
    """Try the deployments of a provider, one after the other, each after a durable entry that says so.

    What is stopped gets nothing, an operator's test neither. Raises UsageError for names that aren't declared,
    SekishoError if all of them are stopped or the entry can't be written: then nothing is sent.
    """
    chosen = _chosen(declared_catalogue(directory), name, options.deployment)
    open_now = _not_stopped(directory, chosen)
    clock, ids, client = SystemClock(), IdSource(), HttpClient()
    sign_ins = SignIns(Credentials(directory.root, environment), clock)
    upstreams = upstreams_of(open_now, directory.root, sign_ins)
    chance = random.Random()  # noqa: S311 - spreads renewals, guards nothing
    keeper = SignInKeeper(sign_ins, client, client.reload_tls_files, directory.root, chance, Metrics())
    writer: WriteAheadWriter | None = None
    tried = []
    try:
        # A token endpoint learns who asks, nothing more: that needs no entry.
        await keeper.fetch_first_in_loop(options.timeout_s)
        for deployment in chosen:
            # Asked anew before each: a stop may be set meanwhile.
            if deployment not in open_now or stops_set(directory).deployment(deployment.name, deployment.provider):
                tried.append(_stopped(deployment))
                continue
            upstream = upstreams[deployment.name]
            if isinstance(upstream, SekishoError):
                tried.append(_unsent(deployment, upstream))
                continue
            writer = writer or open_writer(directory, settings, clock, ids, segment_bytes=_SEGMENT_BYTES)
            entry = await record_test(writer, clock, ids, deployment)
            plan = _plan(deployment, upstream, entry, options)
            learned = await try_deployment(client, plan, datetime.datetime.now(datetime.UTC))
            tried.append(Tried(deployment, entry, learned))
    finally:
        await keeper.close()
        await client.close()
        if writer is not None:
            await writer.close()
    return tried


def _unsent(deployment: Deployment, error: SekishoError) -> Tried:
    learned = Learned()
    told = f"{error.message}: {error.detail}" if isinstance(error, CantSignIn) else error.message
    learned.note(FAILURE, "credential", told, error.remedy)
    return Tried(deployment, None, learned)


def stops_set(directory: DataDirectory) -> Stops:
    """Those set now."""
    stops = Stops()
    stops.apply(KeyChanges(0, (), look_at_register(directory.state).stops))
    return stops


async def require_open(directory: DataDirectory, deployment: Deployment) -> None:
    """Look whether it is stopped, now. Raises SekishoError if it is."""
    stops = await asyncio.to_thread(stops_set, directory)
    if stops.deployment(deployment.name, deployment.provider):
        raise SekishoError("an operator has stopped it: nothing more is sent", remedy=_LIFT)


def _not_stopped(directory: DataDirectory, chosen: list[Deployment]) -> list[Deployment]:
    """Those that may be tried. Raises SekishoError if there are none."""
    stops = stops_set(directory)
    left = [deployment for deployment in chosen if not stops.deployment(deployment.name, deployment.provider)]
    if not left:
        names = ", ".join(deployment.name for deployment in chosen)
        raise SekishoError(f"stopped by an operator: {names}; nothing was sent", remedy=_LIFT)
    return left


def _stopped(deployment: Deployment) -> Tried:
    learned = Learned()
    learned.note(FAILURE, "stopped", "an operator has stopped it", _LIFT)
    return Tried(deployment, None, learned)


def _chosen(catalogue: Catalogue, provider: str, deployment: str | None) -> list[Deployment]:
    known = [one.name for one in catalogue.providers]
    if provider not in known:
        raise UsageError(f"No provider {provider!r} is declared", remedy=f"There is {alternatives(provider, known)}")
    of_it = [one for one in catalogue.deployments if one.provider == provider]
    if not of_it:
        raise UsageError(f"The provider {provider!r} has no deployment", remedy="Declare one: `sekisho providers add`")
    if deployment is None:
        return of_it
    names = [one.name for one in of_it]
    if deployment not in names:
        there = alternatives(deployment, names)
        raise UsageError(f"The provider {provider!r} has no deployment {deployment!r}", remedy=f"There is {there}")
    return [one for one in of_it if one.name == deployment]


async def record_test(
    writer: EntryWriter, clock: Clock, ids: IdSource, deployment: Deployment, actor: str = ACTOR
) -> str:
    """Say in the ledger that something will leave for this deployment; durable when this returns (G1)."""
    now_us = clock.now_us()
    entry = ids.new(now_us)
    body = encode({"act": TEST_ACT, "deployment": deployment.name, "provider": deployment.provider})
    await writer.append(EntryDraft(CHANGE, entry, now_us, actor, body))
    return entry


def _plan(deployment: Deployment, upstream: Upstream, entry: str, options: TrialOptions) -> Plan:
    return Plan(
        upstream_model=deployment.upstream_model,
        endpoint=upstream.endpoint,
        # The entry's id goes along, so that the provider's own log can be held against the ledger.
        headers=(*upstream.headers, (b"x-request-id", entry.encode())),
        # What Azure lists are the models that a resource could deploy, not its deployments: of no use here.
        models_target=None if deployment.dialect == "azure" else urlsplit(deployment.url).path.rstrip("/") + "/models",
        chat_target=None if options.embeddings else upstream.targets[CHAT.name],
        embeddings_target=upstream.targets[EMBEDDINGS.name] if options.embeddings else None,
        stream=options.stream,
        timeout_s=options.timeout_s,
    )
