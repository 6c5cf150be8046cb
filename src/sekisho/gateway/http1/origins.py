"""From a URL to where it leads."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from sekisho.gateway.http1.interfaces import ClientTls
from sekisho.kernel.errors import SekishoError


class Origin(NamedTuple):
    """The first parameters of an Endpoint, and of a Proxy."""

    host: str
    port: int
    tls: ClientTls | None


def origin_of(url: str, root: Path, ca_file: str | None) -> Origin:
    """Of an http or https URL. `ca_file` is relative to `root`. Raises SekishoError for a URL without a host."""
    parts = urlsplit(url)
    host = parts.hostname
    if not host:
        raise SekishoError(f"the URL {url} names no host")
    if parts.scheme != "https":
        return Origin(host, parts.port or 80, None)
    return Origin(host, parts.port or 443, ClientTls(host, None if ca_file is None else str(root / ca_file)))
