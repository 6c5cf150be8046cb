"""The witness's side, joined: its key and record in a data directory, and `/add-checkpoint` over HTTP."""

import asyncio
import logging
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from sekisho.app.keys import create_witness_key, load_witness_key
from sekisho.gateway.http1.interfaces import Header, InboundRequest, Responder, ServerLimits
from sekisho.gateway.http1.server import HttpServer
from sekisho.gateway.http1.tls import server_tls_context
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.files import write_durable
from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger.cosigning import SIZE_TYPE
from sekisho.ledger.errors import SizeConflict, WitnessBusy, WitnessRefused
from sekisho.ledger.witness import REQUEST_BYTES_MAX, AddCheckpoint
from sekisho.ledger.witness_book import WitnessBook, begin
from sekisho.settings import DataDirectory, WitnessSettings

PATH: Final = "/add-checkpoint"
CHECKPOINT: Final = "/checkpoint"  # after the SHA-256 of an origin
RATE_PER_S: Final = 100  # requests, whoever sends them: a forged one costs a millisecond of one thread …
BURST: Final = 200  # … so that all that strangers can take is a tenth of a core
WAITING_MAX: Final = 64  # for the one thread; at 5 ms a write the last of them waits a third of a second
CONNECTIONS_MAX: Final = 256
DRAIN_S: Final = 2.0
_TEXT: Final[tuple[Header, ...]] = ((b"content-type", b"text/plain; charset=utf-8"),)
_RETRY: Final[Header] = (b"retry-after", b"1")

log = logging.getLogger(__name__)

Logs = Callable[[], Mapping[str, tuple[NoteVerifier, ...]]]


def open_witness(directory: DataDirectory, origin: str, clock: Clock) -> WitnessBook:
    """The installation's witness; its key is made when it is first asked for. Raises SekishoError, OSError."""
    name = f"{origin}/witness"
    if not directory.witness_key.exists():
        with begin(directory.witness):
            if not directory.witness_key.exists():  # another process could have been quicker
                create_witness_key(directory.witness_key, name)
    book = WitnessBook(directory.witness, load_witness_key(directory.witness_key, name), clock)
    vkey = f"{book.vkey}\n"
    if not directory.witness_vkey.exists() or directory.witness_vkey.read_text(encoding="utf-8") != vkey:
        write_durable(directory.witness_vkey, vkey.encode())
    return book


class _Answer(NamedTuple):
    status: int
    headers: tuple[Header, ...]
    body: str


class WitnessSurface:
    """The Handler of the witness's HTTP server (C2SP tlog-witness). `logs` blocks and is asked in the thread."""

    def __init__(self, book: WitnessBook, logs: Logs, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._book = book
        self._logs = logs
        self._monotonic = monotonic
        self._allowance, self._at = float(BURST), monotonic()
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="witness")
        self.answers: Counter[int] = Counter()

    async def __call__(self, request: InboundRequest, responder: Responder) -> None:
        answer = await self._answer(request)
        self.answers[answer.status] += 1
        responder.respond(answer.status, answer.headers, answer.body.encode())

    def close(self) -> None:
        self._thread.shutdown(wait=True)

    async def _answer(self, request: InboundRequest) -> _Answer:
        if request.path == PATH:
            if request.method != "POST":
                return _Answer(405, (*_TEXT, (b"allow", b"POST")), "POST a checkpoint here\n")
            work = lambda: self._add(request.body)  # noqa: E731
        elif request.path.endswith(CHECKPOINT) and request.method in ("GET", "HEAD"):
            work = lambda: self._checkpoint(request.path.removesuffix(CHECKPOINT)[1:])  # noqa: E731
        else:
            return _Answer(404, _TEXT, "There is POST /add-checkpoint, and GET /SHA-256-OF-AN-ORIGIN/checkpoint\n")
        if not self._is_within_rate():
            return _Answer(429, (*_TEXT, _RETRY), "too many requests\n")
        if self._waiting >= WAITING_MAX:
            return _Answer(503, (*_TEXT, _RETRY), "too many requests wait\n")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)
        finally:
            self._waiting -= 1

    def _is_within_rate(self) -> bool:
        now = self._monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._at) * RATE_PER_S)
        self._at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    @staticmethod
    def _guarded(work: Callable[[], _Answer]) -> _Answer:
        try:
            return work()
        except WitnessBusy as error:
            return _Answer(503, (*_TEXT, _RETRY), f"{error.message}\n")
        except (SekishoError, OSError):
            log.exception("the witness can't answer")  # our fault: who asks learns no more than that
            return _Answer(500, _TEXT, "the witness can't sign just now; its log says why\n")

    def _add(self, body: bytes) -> _Answer:
        try:
            request = AddCheckpoint.parse(body)
            keys = self._logs().get(request.checkpoint.origin, ())
            return _Answer(200, _TEXT, self._book.add_checkpoint(request, keys))
        except SizeConflict as conflict:
            return _Answer(409, ((b"content-type", SIZE_TYPE.encode()),), f"{conflict.size}\n")
        except WitnessRefused as refused:
            return _Answer(refused.status, _TEXT, f"{refused.message}\n")

    def _checkpoint(self, origin_hash: str) -> _Answer:
        note = self._book.checkpoint(origin_hash)
        if note is None:
            return _Answer(404, _TEXT, "no checkpoint of this log was cosigned\n")
        return _Answer(200, (*_TEXT, (b"cache-control", b"no-cache")), note)


class WitnessServer:
    """The witness's HTTP server in control."""

    def __init__(self, directory: DataDirectory, settings: WitnessSettings, book: WitnessBook, logs: Logs) -> None:
        self._surface = WitnessSurface(book, logs)
        self._server = HttpServer(
            self._surface,
            ServerLimits(body_bytes_max=REQUEST_BYTES_MAX, connections_max=CONNECTIONS_MAX, idle_timeout_s=30.0),
            refusal=_refusal,
            tls=_tls(directory, settings),
        )

    @property
    def answers(self) -> Counter[int]:
        return self._surface.answers

    async def start(self, listener: socket.socket) -> None:
        await self._server.start(listener)

    async def stop(self) -> None:
        await self._server.stop(DRAIN_S)
        await asyncio.to_thread(self._surface.close)


def _refusal(status: int, message: str, _path: str) -> tuple[Sequence[Header], bytes]:
    return _TEXT, f"{message}\n".encode()


def _tls(directory: DataDirectory, settings: WitnessSettings) -> ssl.SSLContext | None:
    if not settings.tls_certificate_file:
        return None
    root = directory.root
    return server_tls_context(str(root / settings.tls_certificate_file), str(root / settings.tls_key_file))
