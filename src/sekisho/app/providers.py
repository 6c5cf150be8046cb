"""Joins what `sekisho providers` needs: templates and declarations, trials and the ledger, discovery."""

import asyncio
import datetime
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sekisho.app.gateway import open_writer
from sekisho.catalog.credentials import Credentials
from sekisho.catalog.files import read_declarations
from sekisho.catalog.interfaces import Catalogue, Deployment
from sekisho.catalog.provider_templates import (
    MODELS_MAX,
    ProviderRequest,
    ProviderTemplate,
    is_refused,
    rendered,
    templates,
)
from sekisho.gateway.discovery import Found, ServerKind, discover, usual_ports
from sekisho.gateway.http1.client import HttpClient
from sekisho.gateway.interfaces import Upstream
from sekisho.gateway.trials import FAILURE, Learned, Plan, try_deployment
from sekisho.gateway.upstreams import upstream_of
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.files import sync_directory, write_durable
from sekisho.kernel.ids import IdSource
from sekisho.kernel.words import alternatives
from sekisho.ledger.interfaces import EntryDraft, EntryWriter
from sekisho.settings import DataDirectory, LedgerSettings, Settings

ACTOR: Final = "operator"  # who has the data directory; a user's name must not get into the ledger (G6)
CHANGE: Final = "change"
TEST_ACT: Final = "provider.test"
_SEGMENT_BYTES: Final = 256 * 1024  # a test writes a few hundred bytes; the gateway's segments would be a waste


class Added(NamedTuple):
    """Files relative to the installation; `kept` were there and say what is needed already."""

    written: tuple[str, ...]
    kept: tuple[str, ...]


class TestOptions(NamedTuple):
    deployment: str | None = None  # None: all of the provider
    embeddings: bool = False
    stream: bool = True
    timeout_s: float = 30.0


class Tried(NamedTuple):
    deployment: Deployment
    entry: str | None  # the ledger entry that says it was sent; None: nothing was
    learned: Learned


def declared_catalogue(directory: DataDirectory) -> Catalogue:
    """Raises SekishoError where the declarations hold mistakes."""
    catalogue = read_declarations(directory.declarations).catalogue
    if catalogue is None:
        raise SekishoError("the declarations hold mistakes", remedy=f"See them: sekisho check {directory.root}")
    return catalogue


def add_provider(
    directory: DataDirectory, template: ProviderTemplate, request: ProviderRequest, *, to_existing: bool
) -> Added:
    """Write the declarations asked for; all of them are checked before the first is written.

    Raises UsageError for what doesn't fit or is there already, SekishoError if the tree holds mistakes as it is.
    """
    catalogue = declared_catalogue(directory)
    sites = {site.name: site.jurisdiction for site in catalogue.sites}
    today = datetime.datetime.now(datetime.UTC).date()
    files = rendered(template, request, sites, today)
    tree = directory.declarations
    kept = [file for file in files if (tree / file).exists()]
    for file in kept:
        if file.startswith("models/") or (to_existing and file.startswith("providers/")):
            continue
        remedy = "Choose another name; to declare another model of a provider that is declared, add --to-existing"
        raise UsageError(f"declarations/{file} is there already, and is never overwritten", remedy=remedy)
    if to_existing and f"providers/{request.name}.toml" not in kept:
        raise UsageError(f"There is no provider {request.name!r} to add to", remedy="Leave --to-existing out")
    new = {file: text for file, text in files.items() if file not in kept}
    mistakes = read_declarations(tree, new).mistakes
    if mistakes:
        told = [f"{one.key or one.file} {one.problem}. {one.remedy}" for one in mistakes]
        raise UsageError("Nothing was written: " + "; ".join(dict.fromkeys(told)))
    _make_credential_directory(directory, request)
    for file, text in new.items():
        (tree / file).parent.mkdir(exist_ok=True)
        write_durable(tree / file, text.encode())
    return Added(tuple(f"declarations/{file}" for file in new), tuple(f"declarations/{file}" for file in kept))


def _make_credential_directory(directory: DataDirectory, request: ProviderRequest) -> None:
    """So that the key has a place to go, for its owner only."""
    reference = request.credential
    if reference is None or reference.kind != "file":
        return
    place = (directory.root / reference.name).parent
    if place.resolve().is_relative_to(directory.root.resolve()) and not place.exists():
        place.mkdir(mode=0o700, parents=True)
        sync_directory(place.parent)


# -- trials


async def test_provider(
    directory: DataDirectory, settings: Settings, name: str, options: TestOptions, environment: Mapping[str, str]
) -> list[Tried]:
    """Try the deployments of a provider, one after the other, each after a durable entry that says so.

    Raises UsageError for names that aren't declared, SekishoError if the entry can't be written: then nothing is sent.
    """
    chosen = _chosen(declared_catalogue(directory), name, options.deployment)
    credentials = Credentials(directory.root, environment)
    upstreams = [(one, _upstream(one, directory, credentials)) for one in chosen]
    if all(isinstance(upstream, SekishoError) for _, upstream in upstreams):
        return [_unsent(one, upstream) for one, upstream in upstreams if isinstance(upstream, SekishoError)]
    clock, ids = SystemClock(), IdSource()
    light = replace(settings, ledger=LedgerSettings(_SEGMENT_BYTES, settings.ledger.free_reserve_bytes))
    writer = open_writer(directory, light, clock, ids)
    client = HttpClient()
    tried = []
    try:
        for deployment, upstream in upstreams:
            if isinstance(upstream, SekishoError):
                tried.append(_unsent(deployment, upstream))
                continue
            entry = await _record(writer, clock, ids, deployment)
            plan = _plan(deployment, upstream, entry, options)
            learned = await try_deployment(client, plan, datetime.datetime.now(datetime.UTC))
            tried.append(Tried(deployment, entry, learned))
    finally:
        await client.close()
        await writer.close()
    return tried


def _upstream(deployment: Deployment, directory: DataDirectory, credentials: Credentials) -> Upstream | SekishoError:
    """How to reach it, or why it can't be: a credential that is missing is a finding among others."""
    try:
        return upstream_of(deployment, directory.root, credentials.secret)
    except SekishoError as error:
        return error


def _unsent(deployment: Deployment, error: SekishoError) -> Tried:
    learned = Learned()
    learned.note(FAILURE, "credential", error.message, error.remedy)
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


async def _record(writer: EntryWriter, clock: SystemClock, ids: IdSource, deployment: Deployment) -> str:
    """Say in the ledger that something will leave for this deployment; durable when this returns (G1)."""
    now_us = clock.now_us()
    entry = ids.new(now_us)
    body = encode({"act": TEST_ACT, "deployment": deployment.name, "provider": deployment.provider})
    await writer.append(EntryDraft(CHANGE, entry, now_us, ACTOR, body))
    return entry


def _plan(deployment: Deployment, upstream: Upstream, entry: str, options: TestOptions) -> Plan:
    base = urlsplit(deployment.url).path.rstrip("/")
    return Plan(
        upstream_model=deployment.upstream_model,
        endpoint=upstream.endpoint,
        # The entry's id goes along, so that the provider's own log can be held against the ledger.
        headers=(*upstream.headers, (b"x-request-id", entry.encode())),
        models_target=base + "/models",
        chat_target=None if options.embeddings else upstream.chat_target,
        embeddings_target=base + "/embeddings" if options.embeddings else None,
        stream=options.stream,
        timeout_s=options.timeout_s,
    )


# -- discovery


def find_servers(ports: tuple[int, ...] | None) -> list[Found]:
    """Servers on loopback, on the usual ports or on `ports`. Takes a few seconds at most."""
    described = {name: template.file.discovery for name, template in templates().items()}
    kinds = {
        name: ServerKind(one.ports, one.path, one.key, one.owned_by)
        for name, one in described.items()
        if one is not None
    }

    async def look() -> list[Found]:
        client = HttpClient()
        try:
            return await discover(client, kinds, usual_ports(kinds) if ports is None else ports)
        finally:
            await client.close()

    return asyncio.run(look())


def request_for(found: Found, taken: Collection[str]) -> ProviderRequest:
    """What to declare of a server found; `taken` are the names of providers that are there."""
    template = templates()[found.template]
    offered = [name for name in found.models or () if name.isprintable() and not is_refused(template, name)]
    name = found.template if found.template not in taken else f"{found.template}-{urlsplit(found.url).port}"
    return ProviderRequest(name, url=found.url, upstream_models=tuple(offered[:MODELS_MAX]))
