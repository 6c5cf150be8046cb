"""What an endpoint's URL, networks and file references must look like."""

import ipaddress
import re
import urllib.parse
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

from sekisho.catalog.table import Table, shown

URL_MAX: Final = 2048
_URL_TEXT = re.compile(r"[!-~]+")  # RFC 3986: printable ASCII only


def is_loopback(host: str) -> bool:
    """Whether `host` is a loopback address, or `localhost`, which RFC 6761 section 6.3 reserves for them."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_link_local(host: str) -> bool:
    """Whether `host` is an address of this link alone, as the metadata services of clouds have."""
    try:
        return ipaddress.ip_address(host).is_link_local
    except ValueError:
        return False


def take_url(
    table: Table,
    key: str,
    *,
    remedy: str | None = None,
    may_be_plain: Callable[[str], bool] = is_loopback,
    may_query: bool = False,
) -> str | None:
    """A URL to the letter, as `url_problem` allows it; with a `remedy` it is required."""
    text = table.take_text(key, remedy=remedy)
    if text is None:
        return None
    problem = url_problem(text, may_be_plain, may_query=may_query)
    if problem is not None:
        table.mistake(key, *problem)
        return None
    return text


def url_problem(
    text: str, may_be_plain: Callable[[str], bool] = is_loopback, *, may_query: bool = False
) -> tuple[str, str] | None:
    """What is wrong with a URL, and what would be right; None if nothing is. No userinfo, no fragment.

    `may_be_plain` says to which hosts plain http is good enough, `may_query` whether a query may follow the path.
    """
    if len(text) > URL_MAX or not _URL_TEXT.fullmatch(text) or "\\" in text:
        return "holds characters that a URL can't hold", "Use ASCII without spaces; percent-encode the rest"
    try:
        parts = urllib.parse.urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL", "Write https://host[:port]/path"
    if parts.scheme not in ("http", "https") or not host or port == 0:
        return f"{shown(text)} is not an http or https URL", "Write https://host[:port]/path"
    if "@" in parts.netloc:
        return "holds a user or password", "Remove it and refer to the secret: { file = … } or { env = … }"
    if "#" in text or ("?" in text and not may_query):
        return "holds a query or fragment", "End the URL at its path"
    if parts.scheme == "http" and not may_be_plain(host):
        return "is http to another machine", "Use https; plain http is for loopback addresses only"
    return None


def take_networks(table: Table, key: str) -> tuple[str, ...]:
    """CIDR networks in their canonical spelling, sorted."""
    found = set()
    for item in table.take_list(key) or ():
        try:
            found.add(str(ipaddress.ip_network(item)))
        except ValueError:
            table.mistake(key, f"{shown(item)} is not a network", "Write CIDR without host bits, like 192.0.2.0/24")
    return tuple(sorted(found))


def take_path(table: Table, key: str, *, remedy: str | None = None) -> str | None:
    """A path relative to the data directory that stays inside it."""
    text = table.take_text(key, remedy=remedy)
    if text is None:
        return None
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or str(path) == ".":
        table.mistake(key, f"{shown(text)} leaves the data directory", "Give a path relative to the data directory")
        return None
    return str(path)
