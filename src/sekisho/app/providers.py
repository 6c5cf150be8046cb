"""Adds providers to an installation: from templates to declarations, and from servers found to what to declare."""

import asyncio
import datetime
from collections.abc import Collection
from typing import NamedTuple
from urllib.parse import urlsplit

from sekisho.catalog.deployments import UPSTREAM_MODEL_MAX
from sekisho.catalog.files import read_declarations
from sekisho.catalog.interfaces import Catalogue
from sekisho.catalog.provider_templates import (
    MODELS_MAX,
    ProviderRequest,
    ProviderTemplate,
    is_refused,
    model_name,
    rendered,
    templates,
)
from sekisho.gateway.discovery import Found, discover, usual_ports
from sekisho.gateway.http1.client import HttpClient
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.files import sync_directory, write_durable
from sekisho.settings import DataDirectory


class Added(NamedTuple):
    """Files relative to the installation; `kept` were there and say what is needed already."""

    written: tuple[str, ...]
    kept: tuple[str, ...]


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


# -- discovery


def find_servers(ports: tuple[int, ...] | None) -> list[Found]:
    """Servers on loopback, on the usual ports or on `ports`. Takes a few seconds at most."""
    described = {name: template.file.discovery for name, template in templates().items()}
    kinds = {name: kind for name, kind in described.items() if kind is not None}

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
    offered: dict[str, str] = {}  # names for callers → those of the server, which may say anything
    for model in found.models or ():
        if model.isprintable() and len(model) <= UPSTREAM_MODEL_MAX and not is_refused(template, model):
            offered.setdefault(model_name(model), model)
    offered.pop("", None)
    name = found.template if found.template not in taken else f"{found.template}-{urlsplit(found.url).port}"
    return ProviderRequest(name, url=found.url, upstream_models=tuple(offered.values())[:MODELS_MAX])
