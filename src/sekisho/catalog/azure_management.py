"""What Azure Resource Manager says of a deployment: `Microsoft.CognitiveServices/accounts`, read-only. Pure.

Two resources are read (REST API 2025-09-01): the account, whose `location` is its region, and the list of its
deployments, each with its type in `sku.name`. Two things there make a deployment process elsewhere than its type says:
`properties.spilloverDeploymentName`, which names another that takes over when it is busy, and an account's
`properties.locations`, which spreads it over regions.
"""

import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from sekisho.catalog.deployment_types import OPENAI_COMPATIBLE, REGIONS, implied_processing, rule_of
from sekisho.catalog.errors import ManagementError
from sekisho.catalog.interfaces import DEPLOYMENT_TYPES, UNKNOWN
from sekisho.catalog.jurisdictions import EUROPEAN_UNION

URL: Final = "https://management.azure.com"
SCOPE: Final = "https://management.azure.com/.default"
TOKEN_RESOURCE: Final = "https://management.azure.com"  # noqa: S105 - what a token is for
API_VERSION: Final = "2025-09-01"  # the first stable one whose list of deployments tells of spillover
API_VERSION_FORM: Final = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?", re.ASCII)
RESOURCE: Final = re.compile(
    r"/subscriptions/[0-9A-Za-z-]{1,64}/resourceGroups/(?!\.{1,2}/)[^/?#%\s]{1,90}"
    r"/providers/Microsoft\.CognitiveServices/accounts/[A-Za-z0-9][A-Za-z0-9_.-]{1,63}",
    re.IGNORECASE,  # resource ids are compared so (Azure Resource Manager)
)
PAGES_MAX: Final = 16  # of a list of deployments; one holds all of most accounts
SPILLOVERS_MAX: Final = 4  # a chain of them: Azure allows one
REGIONS_MAX: Final = 32  # of one account; what was read must fit into an entry of the ledger
_TARGET: Final = re.compile(r"/[!-~]*", re.ASCII)  # what a request line can hold (RFC 9112 section 3.2.1)
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,63}", re.ASCII)
_KEY_HOLDERS: Final = {"Microsoft.CognitiveServices": "provider", "Microsoft.KeyVault": "customer"}


class Told(NamedTuple):
    """`skus`: the deployment's type, then those that it spills over to; `regions`: of the account, the first its own.

    `processing` are jurisdictions, `("anywhere",)` or `("unknown",)`. `key_holder`: who holds the key that data at
    rest are encrypted with.
    """

    skus: tuple[str, ...]
    regions: tuple[str, ...]
    processing: tuple[str, ...]
    key_holder: str


def told(account: Mapping[str, Any], deployments: Iterable[Mapping[str, Any]], name: str, host: str) -> Told:
    """What the account and its list say of the deployment called `name`.

    `host` is that of the declared URL: an account that doesn't serve it says nothing of what answers there. Raises
    ManagementError if that is so, if there is no such deployment, or if the answers are not of the documented shape.
    """
    properties = _object(account, "properties")
    _require_served(properties, host)
    regions = _regions(account, properties)
    skus = _skus({str(one.get("name", "")).lower(): one for one in deployments}, name)
    places = [_processing(sku, region) for sku in skus for region in regions]
    processing: tuple[str, ...] = tuple(sorted({place for one in places for place in one}))
    if UNKNOWN in processing:
        processing = (UNKNOWN,)
    encryption = properties.get("encryption")
    source = encryption.get("keySource") if isinstance(encryption, dict) else None
    # Without the object Microsoft's own keys are used; a source that we don't know is nobody's that we could name.
    holder = "provider" if encryption is None else _KEY_HOLDERS.get(str(source), UNKNOWN)
    return Told(skus, regions, processing, holder)


def page(document: Mapping[str, Any] | None) -> tuple[list[Mapping[str, Any]], str | None]:
    """One page of the list: its items, and the target (path and query) of the next page. Raises ManagementError."""
    items = None if document is None else document.get("value")
    if document is None or not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise ManagementError("the list of deployments is not of the documented shape")
    link = document.get("nextLink")
    if not link:
        return items, None
    try:
        parts = urllib.parse.urlsplit(link) if isinstance(link, str) else None
    except ValueError:
        parts = None
    target = "" if parts is None else f"{parts.path}?{parts.query}"
    if parts is None or not parts.query or not _TARGET.fullmatch(target):
        raise ManagementError("the list's nextLink is no link")
    return items, target  # asked of the declared host, wherever the link leads


def _require_served(properties: Mapping[str, Any], host: str) -> None:
    endpoints = properties.get("endpoints")
    urls = [properties.get("endpoint"), *(endpoints.values() if isinstance(endpoints, dict) else ())]
    hosts = {_host(url) for url in urls if isinstance(url, str)}
    subdomain = properties.get("customSubDomainName")
    if isinstance(subdomain, str):
        hosts |= {f"{subdomain.lower()}.{domain}" for domain in ("openai.azure.com", "cognitiveservices.azure.com")}
    if host.lower() not in hosts:
        raise ManagementError(
            "the account serves another host than the deployment's url", remedy="Look at [management] resource"
        )


def _host(url: str) -> str | None:
    try:
        return urllib.parse.urlsplit(url).hostname
    except ValueError:
        return None


def _regions(account: Mapping[str, Any], properties: Mapping[str, Any]) -> tuple[str, ...]:
    spread = properties.get("locations")
    rows = [] if spread is None else spread.get("regions") or [] if isinstance(spread, dict) else None
    if not isinstance(rows, list):
        raise ManagementError("the account's locations are not of the documented shape")
    names = [account.get("location"), *(row.get("name") if isinstance(row, dict) else None for row in rows)]
    # Either "japaneast" or, as people read it, "Japan East".
    regions = tuple(dict.fromkeys(str(name or "").replace(" ", "").lower() for name in names))
    if len(regions) > REGIONS_MAX or not all(_WORD.fullmatch(region) for region in regions):
        raise ManagementError("the account's location is not of the documented shape")
    return regions


def _skus(known: Mapping[str, Mapping[str, Any]], name: str) -> tuple[str, ...]:
    found: list[str] = []
    following: Any = name
    while following:
        one = known.get(str(following).lower())
        if one is None or len(found) > SPILLOVERS_MAX:
            problem = "it spills over to what is not there" if found else "the account has no such deployment"
            problem = problem if one is None else f"it spills over more than {SPILLOVERS_MAX} times"
            raise ManagementError(problem, remedy="Look at [management] deployment, and at the account")
        sku = _object(one, "sku").get("name")
        if not isinstance(sku, str) or not _WORD.fullmatch(sku):
            raise ManagementError("a deployment's sku is not of the documented shape")
        found.append(sku)
        following = _object(one, "properties").get("spilloverDeploymentName")
    return tuple(found)


def _object(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise ManagementError(f"an answer without the object {key!r} is not of the documented shape")
    return value


def _processing(sku: str, region: str) -> tuple[str, ...]:
    if sku not in DEPLOYMENT_TYPES or sku == OPENAI_COMPATIBLE or rule_of(sku).needs == "site":
        return (UNKNOWN,)  # a type that came after this software: nobody here knows where it processes
    if rule_of(sku).needs == "zone":
        country = REGIONS.get(region)
        zone = "EU" if country in EUROPEAN_UNION else country
        return implied_processing(sku, zone, None) if zone in ("EU", "US") else (UNKNOWN,)
    if rule_of(sku).needs == "region" and region not in REGIONS:
        return (UNKNOWN,)
    return implied_processing(sku, region, None)
