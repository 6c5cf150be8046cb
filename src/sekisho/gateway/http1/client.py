"""The client: exchanges with upstreams over pooled connections, watched over with one timer."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from sekisho.gateway.http1 import wire
from sekisho.gateway.http1.errors import UpstreamClosed, UpstreamTooLarge
from sekisho.gateway.http1.heads import AnswerHead
from sekisho.gateway.http1.interfaces import BodyReceiver, Endpoint, Header, Peer, ResponseHead
from sekisho.gateway.http1.pool import Pool
from sekisho.gateway.http1.tls import ClientContexts
from sekisho.gateway.http1.upstream import UpstreamConnection

SWEEP_S: Final = 0.25  # timeouts are kept to within this
POOL_UNUSED_S_MAX: Final = 600.0  # an endpoint that a later snapshot dropped
ENDPOINTS_BY_IDENTITY_MAX: Final = 4096
# Held for an answer whose owner has not yet said what to do with it; beyond it we stop reading.
UNCLAIMED_BYTES_MAX: Final = 256 * 1024
_BODYLESS_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "TRACE"})


class HttpClient:
    """See `interfaces.UpstreamClient`. Must be closed; belongs to one event loop."""

    def __init__(self) -> None:
        self._contexts = ClientContexts()
        self._pools: dict[Endpoint, Pool] = {}
        # Hashing an endpoint costs more than the rest of `exchange`: known objects are found by identity.
        self._by_identity: dict[int, Pool] = {}
        self._known: dict[int, Endpoint] = {}  # keeps the objects, and so their identities, alive
        self._open: set[UpstreamConnection] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def connections(self) -> int:
        """Open now, in use or idle."""
        return len(self._open)

    @property
    def idle_connections(self) -> int:
        return sum(pool.idle for pool in self._pools.values())

    def exchange(self, endpoint: Endpoint) -> "UpstreamExchange":
        if self._timer is None:
            if self._closed:
                raise RuntimeError("the client is closed")
            self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
        pool = self._by_identity.get(id(endpoint))
        return UpstreamExchange(pool if pool is not None else self._pool(endpoint))

    async def reload_tls_files(self) -> list[str]:
        """Take changed TLS files over, beside the loop; what is under way goes on as it began.

        Why files can't be used of which an earlier reading is in use.
        """
        await asyncio.to_thread(self._contexts.reload)
        for pool in self._pools.values():
            pool.renew_contexts()
        return self._contexts.stale

    async def close(self) -> None:
        """Cut every connection; exchanges under way fail with UpstreamClosed."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in list(self._open):
            connection.shut()
        while self._open:
            await asyncio.sleep(0)

    def _pool(self, endpoint: Endpoint) -> Pool:
        pool = self._pools.get(endpoint)
        if pool is None:
            pool = self._pools[endpoint] = Pool(endpoint, self._contexts, self._open)
        if len(self._known) >= ENDPOINTS_BY_IDENTITY_MAX:
            self._forget_identities()
        self._known[id(endpoint)] = endpoint
        self._by_identity[id(endpoint)] = pool
        return pool

    def _forget_identities(self) -> None:
        self._by_identity.clear()
        self._known.clear()

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self._open):
            connection.check(now)
        stale = [e for e, pool in self._pools.items() if not pool.idle and now - pool.used_at > POOL_UNUSED_S_MAX]
        if stale:
            for endpoint in stale:
                del self._pools[endpoint]
            self._forget_identities()
            self._contexts.keep({tls for endpoint in self._pools for tls in endpoint.all_tls})
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)


class UpstreamExchange:
    """See `interfaces.Exchange`."""

    __slots__ = (
        "_aborted",
        "_body",
        "_body_bytes_max",
        "_complete",
        "_connecting",
        "_connection",
        "_failure",
        "_pool",
        "_receiver",
        "_waiter",
        "_waiting_body",
        "peer",
        "reused",
        "written",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._connection: UpstreamConnection | None = None  # while the exchange is under way on it
        self._connecting: asyncio.Task[UpstreamConnection] | None = None
        self._waiter: asyncio.Future[AnswerHead] | None = None
        self._waiting_body: asyncio.Future[None] | None = None
        self._receiver: BodyReceiver | None = None
        self._body: bytes | bytearray = b""  # what came before anyone claimed it, or what `read` gathers
        self._body_bytes_max = -1  # set by `read`
        self._complete = False
        self._aborted = False
        self._failure: Exception | None = None
        self.written = False
        self.peer: Peer | None = None
        self.reused = False

    # What `interfaces.Exchange` promises.

    async def send(self, method: str, target: str, headers: Sequence[Header], body: bytes) -> ResponseHead:
        if self._waiter is not None or self._connecting is not None:
            raise RuntimeError("an exchange sends once")
        pool = self._pool
        framing = b"content-length: %d\r\n" % len(body) if body or method not in _BODYLESS_METHODS else b""
        head = b"%b%b%b\r\n" % (pool.request_line(method, target), framing, wire.request_headers(headers))
        if self._aborted:
            raise UpstreamClosed("the exchange was aborted before it began", phase="connect")
        connection = pool.take()
        if connection is not None:
            self.reused = True
        else:
            connection = await self._connect()
            if not connection.usable():
                raise UpstreamClosed("the upstream closed the connection at once", phase="write")
        self._waiter = waiter = pool.loop.create_future()
        self._connection = connection
        self.peer = connection.peer
        self.written = True
        connection.begin(self, head, body, to_head=method == "HEAD")
        try:
            answer = await waiter
        except asyncio.CancelledError:
            self.abort()
            raise
        return ResponseHead(answer.status, answer.headers)

    async def read(self, bytes_max: int) -> bytes:
        if not self._complete and self._failure is None:
            await self._gather(bytes_max)
        if self._failure is not None:
            raise self._failure
        body, self._body = self._body, b""
        if len(body) > bytes_max:
            raise UpstreamTooLarge(f"the answer is longer than {bytes_max} bytes", phase="body")
        return bytes(body)

    def relay_to(self, receiver: BodyReceiver) -> None:
        body, self._body = self._body, b""
        self._receiver = receiver
        if len(body) >= UNCLAIMED_BYTES_MAX:
            self.resume()
        if body:
            receiver.data(bytes(body))
        if self._failure is not None:
            receiver.failed(self._failure)
        elif self._complete:
            receiver.end()

    def pause(self) -> None:
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        if self._connection is not None:
            self._connection.resume()

    def abort(self) -> None:
        if self._complete or self._aborted or self._failure is not None:
            return
        self._aborted = True
        if self._connecting is not None:
            self._connecting.cancel()
            return
        connection, self._connection = self._connection, None
        if connection is not None:
            phase = connection.phase
            connection.cut()
            # Told in the next turn: whoever aborts is often in the middle of its own bookkeeping.
            error = UpstreamClosed("the exchange was aborted on our side", phase=phase)
            self._pool.loop.call_soon(self.failed, error)

    # From the connection (`upstream.Taker`).

    def answered(self, head: AnswerHead) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(head)

    def received(self, body: bytes) -> None:
        receiver = self._receiver
        if receiver is not None:
            receiver.data(body)
            return
        if self._body:
            if not isinstance(self._body, bytearray):
                self._body = bytearray(self._body)
            self._body += body
        else:
            self._body = body
        held = len(self._body)
        if self._body_bytes_max >= 0:
            if held > self._body_bytes_max:
                raise UpstreamTooLarge(f"the answer is longer than {self._body_bytes_max} bytes", phase="body")
        elif held >= UNCLAIMED_BYTES_MAX:
            self.pause()

    def ended(self) -> None:
        self._complete = True
        self._connection = None
        if self._receiver is not None:
            self._receiver.end()
        elif self._waiting_body is not None and not self._waiting_body.done():
            self._waiting_body.set_result(None)

    def failed(self, error: Exception) -> None:
        self._failure = error
        self._connection = None
        self._body = b""
        if self._waiter is not None and not self._waiter.done():
            if self.reused and not self._aborted and isinstance(error, UpstreamClosed):
                self._pool.drop_idle()
            self._waiter.set_exception(error)
        elif self._receiver is not None:
            self._receiver.failed(error)
        elif self._waiting_body is not None and not self._waiting_body.done():
            self._waiting_body.set_result(None)

    async def _gather(self, bytes_max: int) -> None:
        self._body_bytes_max = bytes_max
        if len(self._body) > bytes_max:
            self.abort()
            raise UpstreamTooLarge(f"the answer is longer than {bytes_max} bytes", phase="body")
        self.resume()
        self._waiting_body = self._pool.loop.create_future()
        try:
            await self._waiting_body
        except asyncio.CancelledError:
            self.abort()
            raise

    async def _connect(self) -> UpstreamConnection:
        connecting = self._connecting = self._pool.loop.create_task(self._pool.connect())
        try:
            connection = await connecting
        except asyncio.CancelledError:
            connecting.add_done_callback(_drop_late)
            task = asyncio.current_task()
            if not self._aborted or (task is not None and task.cancelling()):
                raise
            raise UpstreamClosed("the exchange was aborted before it was connected", phase="connect") from None
        finally:
            self._connecting = None
        if self._aborted:
            connection.cut()
            raise UpstreamClosed("the exchange was aborted before it wrote", phase="connect")
        return connection


def _drop_late(connecting: "asyncio.Task[UpstreamConnection]") -> None:
    """A connection that was made although nobody waits for it any more."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().cut()
