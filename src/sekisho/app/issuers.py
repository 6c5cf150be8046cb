"""Issuers of tokens, joined to the gateway: fetching their keys over its client, and what `check` says of files."""

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sekisho import __version__
from sekisho.catalog.interfaces import Catalogue, Mistake
from sekisho.catalog.urls import url_problem
from sekisho.gateway.http1.ask import ask_whole
from sekisho.gateway.http1.interfaces import Endpoint, Header, UpstreamClient
from sekisho.gateway.http1.origins import origin_of
from sekisho.identity.errors import KeySetError
from sekisho.identity.key_files import KeyFiles, KeySource, source_of
from sekisho.identity.key_set import read_key_set
from sekisho.settings import DataDirectory, load_settings

FETCH_S_MAX: Final = 15.0  # of one document, all in all: nobody waits for it, but a worker must not collect fetches
_CONNECT_S_MAX: Final = 5.0
_SILENCE_S_MAX: Final = 10.0
_HEADERS: Final[tuple[Header, ...]] = (
    (b"accept", b"application/json"),
    (b"user-agent", f"sekisho/{__version__}".encode()),
)


class IssuerFetches:
    """Identity's `Fetches` over the gateway's client."""

    def __init__(self, client: UpstreamClient, root: Path) -> None:
        self._client = client
        self._root = root

    async def get(self, url: str, ca_file: str | None, bytes_max: int) -> bytes:
        # A discovery document names the second URL: it is held to the rules of declared ones.
        problem = url_problem(url, may_query=True)
        if problem is not None:
            raise KeySetError(f"the URL of an issuer's keys {problem[0]}", remedy=problem[1])
        endpoint = Endpoint(
            *origin_of(url, self._root, ca_file),
            connect_timeout_s=_CONNECT_S_MAX,
            first_byte_timeout_s=_SILENCE_S_MAX,
            idle_timeout_s=_SILENCE_S_MAX,
        )
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        async with asyncio.timeout(FETCH_S_MAX):
            head, body = await ask_whole(
                lambda: self._client.exchange(endpoint), "GET", target, _HEADERS, b"", bytes_max
            )
        if head.status != 200:
            raise KeySetError(f"{endpoint.host} answered {head.status} where an issuer's keys should be")
        return body


def key_sources(catalogue: Catalogue) -> list[KeySource]:
    return [source_of(issuer) for organisation in catalogue.organisations for issuer in organisation.issuers]


def caller_mistakes(directory: DataDirectory, catalogue: Catalogue) -> list[Mistake]:
    """Mistakes about callers that show only beside an installation's other files."""
    files = KeyFiles(directory.root, directory.issuer_keys)
    mistakes = []
    for organisation in catalogue.organisations:
        file = f"organisations/{organisation.name}.toml"
        for number, issuer in enumerate(organisation.issuers):
            if issuer.jwks_file is None:
                continue
            try:
                read_key_set(files.read(issuer.jwks_file))
            except KeySetError as error:
                remedy = error.remedy or "Put the issuer's public keys (JWKS) there"
                mistakes.append(Mistake(file, f"issuers[{number}].jwks_file", error.message, remedy))
        # `init` checks its declarations before it writes the settings.
        if organisation.certificates and directory.settings.exists():
            gateway = load_settings(directory.root).gateway
            if not gateway.tls_client_ca_file:
                remedy = "Set [gateway] tls_client_ca_file in sekisho.toml to the CA that issues them"
                mistakes.append(Mistake(file, "certificates", "can't be shown: callers are not asked for any", remedy))
    return mistakes
