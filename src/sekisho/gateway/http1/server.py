"""The server: accepts callers, runs one task per request, and keeps watch over all connections with one timer."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Final

from sekisho.gateway.http1.caller import Answer, CallerConnection, Counters
from sekisho.gateway.http1.interfaces import Handler, Header, InboundRequest, ServerLimits

_log = logging.getLogger(__name__)

Refusal = Callable[[int, str, str], tuple[Sequence[Header], bytes]]

BACKLOG: Final = 2048  # connections the kernel holds for us while the loop is busy
SWEEP_S_MAX: Final = 0.5  # the date header's resolution is a second
SWEEP_S_MIN: Final = 0.02
REFUSED_MAX: Final = 256  # connections beyond the bound that may still be told so; more are dropped silently
ABORT_WAIT_S: Final = 5.0  # for cancelled handlers to come to their end
# A caller whose machine vanished sends no FIN: the kernel finds out in about a minute.
KEEPALIVE_IDLE_S: Final = 30
KEEPALIVE_INTERVAL_S: Final = 10
KEEPALIVE_PROBES: Final = 3


class HttpServer:
    """Serves HTTP/1.1 on one listening socket. See `interfaces` for what a handler may rely on.

    `refusal(status, message, path)` gives headers and body of answers made before a handler runs (400, 408, 413, 415,
    417, 431, 503) or in its place (500); `path` is "" where it is not known. `tls` comes from `tls.server_tls_context`.
    """

    def __init__(
        self,
        handler: Handler,
        limits: ServerLimits,
        *,
        refusal: Refusal,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.limits = limits
        self.counters = Counters()
        self.draining = False
        self.date_line = b""
        self.now = time.monotonic
        self.refusal = refusal
        self._handler = handler
        self._tls = tls
        self._connections: set[CallerConnection] = set()
        self._refused: set[CallerConnection] = set()
        self._tasks: dict[Answer, asyncio.Task[None]] = {}  # of requests in flight
        self._emptied = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        shortest_s = min(
            limits.head_timeout_s, limits.body_stall_timeout_s, limits.idle_timeout_s, limits.write_stall_timeout_s
        )
        self._sweep_s = min(SWEEP_S_MAX, max(SWEEP_S_MIN, shortest_s / 4))

    @property
    def connections(self) -> int:
        """Open now, those being refused not counted."""
        return len(self._connections)

    @property
    def requests_in_flight(self) -> int:
        return len(self._tasks)

    def buffered_bytes(self) -> int:
        """What waits in this process for callers to take it, over all connections."""
        return sum(connection.write_buffer_bytes() for connection in self._connections)

    async def start(self, sock: socket.socket) -> None:
        """Serve on a bound socket; it belongs to the server from here on."""
        self._loop = asyncio.get_running_loop()
        _set_keepalive(sock)
        handshake_s = self.limits.head_timeout_s if self._tls is not None else None
        self._server = await self._loop.create_server(
            lambda: CallerConnection(self),
            sock=sock,
            backlog=BACKLOG,
            ssl=self._tls,
            ssl_handshake_timeout=handshake_s,
            ssl_shutdown_timeout=handshake_s,
        )
        self._sweep()

    async def stop(self, grace_s: float) -> None:
        """Stop accepting, close idle connections, let requests in flight finish within `grace_s`, then cut."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.close_if_idle()
        if not await self._wait_until_empty(grace_s) and self._tasks:
            _log.warning("%d requests did not finish within %s s and are cut", len(self._tasks), grace_s)
        for connection in [*self._connections, *self._refused]:
            connection.abort()
        for answer, task in list(self._tasks.items()):
            self.cancel(answer, task)
        await self._wait_until_empty(ABORT_WAIT_S)
        if self._timer is not None:
            self._timer.cancel()

    async def _wait_until_empty(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while self._connections or self._tasks:
                    self._emptied.clear()
                    await self._emptied.wait()
        except TimeoutError:
            return False
        return True

    # What connections ask for (`caller.Host`).

    def admit(self, connection: CallerConnection) -> bool:
        if len(self._connections) < self.limits.connections_max and not self.draining:
            self.counters.accepted += 1
            self._connections.add(connection)
            return True
        self.counters.connections_refused += 1
        if len(self._refused) >= REFUSED_MAX:
            connection.abort()
        self._refused.add(connection)
        return False

    def forget(self, connection: CallerConnection) -> None:
        self._connections.discard(connection)
        self._refused.discard(connection)
        if not self._connections:
            self._emptied.set()

    def handle(self, request: InboundRequest, answer: Answer) -> asyncio.Task[None]:
        task = self._tasks[answer] = self._loop.create_task(self._run(request, answer))
        return task

    def cancel(self, answer: Answer, task: asyncio.Task[None]) -> None:
        task.add_done_callback(lambda _: self._ended(answer))  # `_run` never begins if this comes before its first step
        task.cancel()

    def _ended(self, answer: Answer) -> None:
        self._tasks.pop(answer, None)
        if not self._tasks:
            self._emptied.set()

    async def _run(self, request: InboundRequest, answer: Answer) -> None:
        try:
            await self._handler(request, answer)
        except asyncio.CancelledError:
            answer.abort()
            raise
        except Exception:  # noqa: BLE001 - whatever a handler raises is logged here and answered below
            _log.exception("the handler of %s %s failed", request.method, request.path)
        finally:
            self._ended(answer)
        if not answer.over:
            self._answer_in_place_of_handler(answer)

    def _answer_in_place_of_handler(self, answer: Answer) -> None:
        if answer.started:
            answer.abort()
        else:
            headers, body = self.refusal(500, "the gateway failed; its log says why", answer.path)
            answer.respond(500, headers, body)

    def _sweep(self) -> None:
        now = self.now()
        self.date_line = b"date: %b\r\n" % formatdate(usegmt=True).encode("ascii")
        for connection in [*self._connections, *self._refused]:
            connection.check(now)
        self._timer = self._loop.call_later(self._sweep_s, self._sweep)


def _set_keepalive(listening: socket.socket) -> None:
    """Accepted sockets inherit these on Linux."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
