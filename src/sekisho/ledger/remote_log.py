"""A published log behind a URL: any static file server, or a site's control server with an auditor's key.

Reads are bounded in size, time and tries. With a `keep` directory full tiles and bundles are kept and not asked for
again, so an audit that broke off goes on where it was. What is kept is checked again each time like all the rest.
"""

import contextlib
import http.client
import os
import ssl
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sekisho import __version__
from sekisho.kernel.errors import UsageError
from sekisho.ledger.errors import SourceRefused, SourceUnavailable
from sekisho.ledger.log_files import CHECKPOINT, PublishedFiles

TIMEOUT_S: Final = 30.0  # of a connection, and of each read
TRIES_MAX: Final = 5
WAIT_S: Final = 0.5  # doubled with each try
RETRY_AFTER_S_MAX: Final = 60.0  # a server that wants us to wait for longer is not there for us
PREFIXES: Final = ("", "ledger/")  # a mirror's own; where a site's control server has it
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_GONE: Final = (http.client.HTTPException, OSError)  # what a connection breaks with; TimeoutError is an OSError


class RemoteLog(PublishedFiles):
    """Blocking; one connection, kept open. `close` ends it."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        ca_file: Path | None = None,
        keep: Path | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Raises UsageError for a URL that can't be meant, and for a key that would travel in the clear."""
        parts = urllib.parse.urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or parts.username
        ):
            raise UsageError(f"{url!r} is not the address of a log", remedy="Write https://host/ or https://host/path/")
        if key is not None and parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise UsageError("the key would travel in the clear", remedy="Use https, or a tunnel to a loopback port")
        self._host, self._port, self._secure = parts.hostname, parts.port, parts.scheme == "https"
        self._base = parts.path.rstrip("/") + "/"
        self._headers = {"user-agent": f"sekisho/{__version__}", "accept": "*/*"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"
        self._tls = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        self._keep = keep
        self._sleep = sleep
        self._connection: http.client.HTTPConnection | None = None
        self.url = url

    def find(self) -> None:
        """Find out under which prefix the log stands. Raises SourceUnavailable if there is none."""
        base = self._base
        for prefix in PREFIXES:
            self._base = base + prefix
            if self.read(CHECKPOINT, 1) is not None:
                return
        raise SourceUnavailable(
            f"{self.url} has no checkpoint", remedy="Give the address that `checkpoint` stands under"
        )

    def read(self, path: str, bytes_max: int) -> bytes | None:
        """As `PublishedFiles` says; raises SourceUnavailable (SourceRefused) where it stays unanswered."""
        kept = self._kept(path)
        if kept is not None and kept.exists():
            return kept.read_bytes()[: bytes_max + 1]
        data = self._fetch(path, bytes_max)
        if kept is not None and data is not None and len(data) <= bytes_max:
            _put(kept, data)
        return data

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _kept(self, path: str) -> Path | None:
        """Only what never changes is kept: full tiles and bundles."""
        return None if self._keep is None or not path.startswith("tile/") or ".p/" in path else self._keep / path

    def _fetch(self, path: str, bytes_max: int) -> bytes | None:
        problem = ""
        for number in range(TRIES_MAX):
            if number:
                self._sleep(WAIT_S * 2 ** (number - 1))
            try:
                status, headers, data = self._get(path, bytes_max)
            except ssl.SSLCertVerificationError as error:
                problem = f"{self.url}: {error.verify_message}"
                raise SourceUnavailable(problem, remedy="Name its authority: --ca FILE") from None
            except _GONE as error:
                self.close()
                problem = str(error) or type(error).__name__
                continue
            if status == 200:
                return data
            if status in (404, 410):
                return None
            problem = f"status {status}"
            if status != 429 and status < 500:
                break
            self._wait_as_told(headers.get("retry-after", ""))
        kind = SourceRefused if problem in _REFUSED else SourceUnavailable
        raise kind(f"{self.url}: {path}: {problem}", remedy=_remedy(problem))

    def _get(self, path: str, bytes_max: int) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._connection is None:
            self._connection = (
                http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._tls)
                if self._secure
                else http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
            )
        self._connection.request("GET", self._base + path, headers=self._headers)
        with self._connection.getresponse() as answer:
            data = answer.read(bytes_max + 1)
            whole = not answer.read(1) if len(data) <= bytes_max else False
            status, headers, length = answer.status, answer.headers, answer.length
        if not whole:
            self.close()  # what is left of it would be taken for the next answer
        elif length:
            raise http.client.IncompleteRead(data, length)
        return status, headers, data

    def _wait_as_told(self, retry_after: str) -> None:
        if retry_after.isascii() and retry_after.isdigit():
            self._sleep(min(float(retry_after), RETRY_AFTER_S_MAX))


_REFUSED: Final = ("status 401", "status 403")


def _remedy(problem: str) -> str:
    if problem == "status 401":
        return "Entries need an auditor's key: `sekisho keys create --role auditor` there, and --key here"
    if problem == "status 403":
        return "The key has not the role auditor, or was revoked"
    if problem.startswith("status 3"):
        return "Redirects are not followed, the key would go along: give the address that it leads to"
    return "Try again; with --state DIR what was read is kept"


def _put(path: Path, data: bytes) -> None:
    """All or nothing; not durable: what is lost is fetched again."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        temporary.write_bytes(data)
        temporary.rename(path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
