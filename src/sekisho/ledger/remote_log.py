"""A published log behind a URL: any static file server, or a site's control server with an auditor's key.

Reads are bounded in size, time and tries. With a `keep` directory full tiles and bundles are kept and not asked for
again, so an audit that broke off goes on where it was. What is kept is checked again each time like all the rest.
"""

import contextlib
import functools
import http.client
import io
import os
import shutil
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sekisho import __version__
from sekisho.kernel.errors import UsageError
from sekisho.ledger.errors import SourceRefused, SourceUnavailable
from sekisho.ledger.log_files import CHECKPOINT, PublishedFiles

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TIMEOUT_S: Final = 30.0  # of a connection, and of each read
ANSWER_S_MAX: Final = 600.0  # of a whole answer: the largest bundle (16 MiB) at 250 kbit/s
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
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises UsageError for a URL that can't be meant, and for a key that would travel in the clear."""
        parts = _parts(url)
        if key is not None and parts.scheme != "https" and parts.hostname not in _LOOPBACK:
            raise UsageError("the key would travel in the clear", remedy="Use https, or a tunnel to a loopback port")
        self._host, self._port, self._secure = parts.hostname or "", parts.port, parts.scheme == "https"
        self._base = parts.path.rstrip("/") + "/"
        self._headers = {"user-agent": f"sekisho/{__version__}", "accept": "*/*"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"
        self._tls = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
        self._keep = keep
        self._sleep = sleep
        self._monotonic = monotonic
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

    def set_kept_aside(self) -> None:
        """Ask for everything anew the next time: what is kept was found damaged. It stays beside, as evidence."""
        if self._keep is not None and self._keep.exists():
            aside = self._keep.with_name(f"{self._keep.name}.damaged")
            if aside.exists():
                shutil.rmtree(aside)  # of the time before
            self._keep.rename(aside)

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
            except SourceUnavailable:
                self.close()
                raise
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
        ends_at = self._monotonic() + ANSWER_S_MAX
        self._connection.response_class = functools.partial(_answer, ends_at, self._monotonic)  # type: ignore[assignment]
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


class _Timed(io.RawIOBase):
    """What comes over a connection, until `ends_at`: a byte now and then, each in time, can't hold us for ever."""

    def __init__(self, connection: socket.socket, ends_at: float, monotonic: Callable[[], float]) -> None:
        self._connection = connection
        self._raw = connection.makefile("rb", buffering=0)
        self._ends_at = ends_at
        self._monotonic = monotonic

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        left_s = self._ends_at - self._monotonic()
        if left_s <= 0:
            raise SourceUnavailable(
                f"an answer took longer than {ANSWER_S_MAX:.0f} s", remedy="Get the log from another copy of it"
            )
        self._connection.settimeout(min(left_s, TIMEOUT_S))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedSocket:
    """What HTTPResponse needs of a socket."""

    def __init__(self, raw: _Timed) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self._raw)


def _answer(
    ends_at: float, monotonic: Callable[[], float], connection: socket.socket, **options: Any
) -> http.client.HTTPResponse:
    timed = _TimedSocket(_Timed(connection, ends_at, monotonic))
    return http.client.HTTPResponse(timed, **options)  # type: ignore[arg-type]


def _parts(url: str) -> urllib.parse.SplitResult:
    """Raises UsageError for what can't be a log's address."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = (parts.hostname or "").encode("idna"), parts.port  # each raises ValueError for what is none
    except ValueError:
        host = b""
    if (
        not host
        or parts.scheme not in ("http", "https")
        or parts.query
        or parts.fragment
        or parts.username
        or not (parts.path.isascii() and parts.path.isprintable() and " " not in parts.path)
    ):
        raise UsageError(
            f"{url!r} is not the address of a log",
            remedy="Write https://host/ or https://host/path/, other letters than ASCII as %XX",
        )
    return parts


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
