"""Reading one deployment: references, endpoint, credential, deployment type, and what its type implies."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from sekisho.catalog.deployment_types import REGIONS, ZONES, implied_processing, rule_of
from sekisho.catalog.facts import UNKNOWN_FACT, deployment_facts, without_addresses
from sekisho.catalog.interfaces import (
    DEPLOYMENT_TYPES,
    UNKNOWN,
    CredentialReference,
    Deployment,
    Fact,
    Grade,
    UpstreamTls,
)
from sekisho.catalog.jurisdictions import expanded
from sekisho.catalog.management import read_management
from sekisho.catalog.prices import read_price
from sekisho.catalog.sign_in import read_egress_proxy, read_sign_in, take_reference
from sekisho.catalog.table import Table, shown
from sekisho.catalog.urls import take_networks, take_path, take_url

DIALECTS: Final = ("openai", "azure")
TIMEOUT_MS_MAX: Final = 3_600_000  # an hour: longer than any answer worth waiting for
UPSTREAM_MODEL_MAX: Final = 256
CREDENTIAL_REMEDY: Final = 'Refer to it: credential = { file = "keys/name" } or credential = { env = "NAME" }'
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CURL_PIN: Final = "sha256//"
_API_VERSION: Final = re.compile(r"20\d\d-\d\d-\d\d(-preview)?", re.ASCII)
_STORE_BY_DEFAULT: Final = frozenset({"api.openai.com", "eu.api.openai.com"})
# Keys under which people write secrets by habit.
_SECRET_KEYS: Final = ("api_key", "apikey", "api-key", "key", "password", "secret", "token", "authorization", "bearer")


_URL_REMEDY: Final = (
    "Give the base URL that the dialect's paths are appended to, for example https://api.example.com/v1"
)


@dataclass(frozen=True, slots=True)
class Known:
    """The names that a deployment may refer to; a site's jurisdiction is None where its own file is wrong."""

    jurisdictions: tuple[str, ...]
    models: frozenset[str]
    providers: frozenset[str]
    sites: Mapping[str, str | None]


def read_deployment(name: str, table: Table, known: Known) -> Deployment | None:
    """The deployment, or None with mistakes noted."""
    model = table.take_choice("model", known.models, "a declared model")
    provider = table.take_choice("provider", known.providers, "a declared provider")
    site = table.take_choice("site", known.sites, "a declared site", required=False)
    url = take_url(table, "url", remedy=_URL_REMEDY)
    url = None if url is None else url.rstrip("/")
    dialect = table.take_choice("dialect", DIALECTS, "a dialect", required=False) or DIALECTS[0]
    api_version = _api_version(table, dialect, url)
    deployment_type = table.take_choice("type", DEPLOYMENT_TYPES, "a deployment type")
    upstream_model = table.take_text("upstream_model", default=model)
    credential = _credential(table)
    sign_in = read_sign_in(table)
    egress_proxy = read_egress_proxy(table, url, sign_in)
    management = read_management(table, deployment_type, upstream_model, sign_in)
    networks = take_networks(table, "networks")
    tls = _tls(table, url)
    timeouts = {
        key: table.take_integer(key, default, 1, TIMEOUT_MS_MAX)
        for key, default in (
            ("connect_timeout_ms", 5_000),
            ("first_byte_timeout_ms", 120_000),
            ("idle_timeout_ms", 60_000),
            ("total_timeout_ms", 3_600_000),
        )
    }
    stores_by_default = _stores_by_default(table, url)
    read_price(table)  # for its mistakes: what decides and sends knows no prices
    facts = _facts(table, deployment_type, site, known)
    if egress_proxy is not None:
        facts = without_addresses(facts)
    if upstream_model is not None and len(upstream_model) > UPSTREAM_MODEL_MAX:
        table.mistake("upstream_model", "is too long", f"Use at most {UPSTREAM_MODEL_MAX} characters")
    if model is None or provider is None or url is None or deployment_type is None or upstream_model is None:
        return None
    return Deployment(
        name=name,
        model=model,
        provider=provider,
        url=url,
        dialect=dialect,
        api_version=api_version,
        deployment_type=deployment_type,
        facts=facts,
        upstream_model=upstream_model,
        site=site,
        credential=credential,
        networks=networks,
        tls=tls,
        sign_in=sign_in,
        egress_proxy=egress_proxy,
        management=management,
        stores_by_default=stores_by_default,
        **timeouts,
    )


def _api_version(table: Table, dialect: str, url: str | None) -> str | None:
    """The version of Azure's API that is spoken to the deployment; of the other dialects there are no versions."""
    if dialect != "azure":
        if table.take("api_version") is not None:
            table.mistake("api_version", "is for the dialect azure", 'Remove it, or declare dialect = "azure"')
        return None
    if url is not None and "/openai" in urlsplit(url).path:
        remedy = 'Give the resource\'s endpoint alone; for one that ends in /openai/v1 declare dialect = "openai"'
        table.mistake("url", "holds a path that the dialect azure adds itself", remedy)
    version = table.take_text("api_version", remedy='Name one that the resource knows: api_version = "2024-10-21"')
    if version is not None and not _API_VERSION.fullmatch(version):
        table.mistake("api_version", f"{shown(version)} is not a version", "Write YYYY-MM-DD or YYYY-MM-DD-preview")
        return None
    return version


def _stores_by_default(table: Table, url: str | None) -> bool:
    """OpenAI itself does so for accounts made of late; others may, and may not know the field: they are declared."""
    value = table.take("stores_by_default")
    if value is None:
        return url is not None and urlsplit(url).hostname in _STORE_BY_DEFAULT
    if type(value) is not bool:
        table.mistake("stores_by_default", "is not true or false", "Say true if it keeps what it isn't told not to")
    return value is True


def _facts(table: Table, deployment_type: str | None, site: str | None, known: Known) -> dict[str, Fact]:
    inner = table.take_table("facts") or Table({}, table.file, table.mistakes, "facts.")
    facts = deployment_facts(inner, known.jurisdictions)
    inner.finish()
    place = _place(table, deployment_type)
    if deployment_type is None:
        return facts
    if rule_of(deployment_type).needs == "site" and site is None and "site" not in table.values:
        table.missing("site", f"A deployment of type {deployment_type!r} runs at one of your sites; name it")
    implied = implied_processing(deployment_type, place, known.sites.get(site) if site else None)
    return facts | {"processing": _processing(table, deployment_type, implied, facts["processing"], known)}


def _place(table: Table, deployment_type: str | None) -> str | None:
    """The `zone` or `region` that the type needs; where it doesn't, the region is allowed as information only."""
    needs = None if deployment_type is None else rule_of(deployment_type).needs
    zone = table.take_choice("zone", ZONES, "a data zone with a published extent", required=needs == "zone")
    region = table.take_choice("region", REGIONS, "a known Azure region", required=needs == "region")
    return {"zone": zone, "region": region}.get(needs or "")


def _processing(table: Table, deployment_type: str, implied: tuple[str, ...], declared: Fact, known: Known) -> Fact:
    """What is claimed, held against what the type implies: a claim may be wider than the type, never narrower."""
    if not implied:
        return declared
    unnamed = sorted(set(expanded(implied, known.jurisdictions)) - {*known.jurisdictions, "anywhere"})
    if unnamed:
        remedy = f"Add {', '.join(unnamed)} to `jurisdictions` in boundary.toml, or leave that key out"
        table.mistake("type", f"{deployment_type} may process in places that the boundary doesn't name", remedy)
        return UNKNOWN_FACT
    extent = expanded(implied, known.jurisdictions)
    stated = "processing" in (table.values.get("facts") or {})
    if not stated:
        return Fact(value=extent, grade=Grade.DECLARED, source=f"deployment type {deployment_type}")
    if declared.value != (UNKNOWN,) and not set(declared.value) >= set(extent):
        problem = f"says {shown(', '.join(declared.value))}, but {deployment_type} may process in {_briefly(extent)}"
        remedy = "Remove the key (the type decides it), or declare the type that is really deployed"
        table.mistake("facts.processing", problem, remedy)
    return declared


def _briefly(extent: tuple[str, ...]) -> str:
    return "anywhere" if "anywhere" in extent else ", ".join(extent)


def _credential(table: Table) -> CredentialReference | None:
    for key in table.values:
        if key.lower() in _SECRET_KEYS:
            table.take(key)
            table.mistake(key, "holds a credential", CREDENTIAL_REMEDY)
    return take_reference(table, "credential")


def _tls(table: Table, url: str | None) -> UpstreamTls:
    inner = table.take_table("tls")
    if inner is None:
        return UpstreamTls()
    tls = UpstreamTls(
        ca_file=take_path(inner, "ca_file"),
        client_certificate_file=take_path(inner, "client_certificate_file"),
        client_key_file=take_path(inner, "client_key_file"),
        server_name=inner.take_text("server_name"),
        pins=_pins(inner),
    )
    inner.finish()
    if (tls.client_certificate_file is None) != (tls.client_key_file is None):
        table.mistake("tls", "has half of a client certificate", "Give client_certificate_file and client_key_file")
    if url is not None and url.startswith("http://"):
        table.mistake("tls", "is declared for an http URL", "Use https, or remove the table")
    return tls


def _pins(table: Table) -> tuple[str, ...]:
    """SHA-256 of public keys, in hex: as written, or as curl writes them (`sha256//` and base64)."""
    found = set()
    for item in table.take_list("pins") or ():
        text = item
        if item.startswith(_CURL_PIN):
            try:
                text = base64.b64decode(item.removeprefix(_CURL_PIN), validate=True).hex()
            except binascii.Error:
                text = ""
        if not _SHA256.fullmatch(text):
            remedy = "Write the SHA-256 of a public key in hex, or as curl does: sha256//BASE64"
            table.mistake("pins", f"{item[:80]!r} is not a pin", remedy)
            continue
        found.add(text)
    return tuple(sorted(found))
