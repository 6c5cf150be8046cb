"""Idle connections to one endpoint, and the opening of new ones."""

import asyncio
import re
import ssl
import time
from typing import Final

from sekisho.gateway.http1.addresses import Address, parse_address, require_inside, resolve, try_each
from sekisho.gateway.http1.errors import UpstreamError, UpstreamTlsError, UpstreamUnreachable
from sekisho.gateway.http1.interfaces import Endpoint
from sekisho.gateway.http1.pins import require_pinned
from sekisho.gateway.http1.tls import ClientContexts, Contexts
from sekisho.gateway.http1.tunnel import connect_by_tunnel
from sekisho.gateway.http1.upstream import UpstreamConnection

IDLE_MAX: Final = 256  # per endpoint; each costs a descriptor here and one at the upstream
IDLE_S_MAX: Final = 30.0  # most servers keep a connection for longer; those that don't end it, and we see that
# An upstream that says how long it keeps a connection is believed, less a second for the way there.
_KEEP_ALIVE_TIMEOUT: Final = re.compile(rb"timeout=([0-9]{1,6})")
KEEP_ALIVE_MARGIN_S: Final = 1.0
_METHOD: Final = re.compile(r"[A-Z]{1,20}")
_TARGET: Final = re.compile(r"/[!-~]*")


class Pool:
    """All connections to one endpoint; those in use are not counted against any bound (admission is)."""

    def __init__(self, endpoint: Endpoint, contexts: ClientContexts, open_connections: set[UpstreamConnection]) -> None:
        self.endpoint = endpoint
        self.loop = asyncio.get_running_loop()  # kept: asking for it costs a system call in Python 3.11
        self.host_header = _host_header(endpoint)
        self.used_at = time.monotonic()
        self._contexts = contexts
        self._made_with: Contexts | None = None  # connections made with others are not used again
        self._open = open_connections
        self._idle: list[UpstreamConnection] = []
        self._line_of = ("", "")  # method and target of the request line that was asked for last
        self._line = b""

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """The idle connection that was used last, if there is one."""
        self.used_at = time.monotonic()
        idle = self._idle
        while idle:
            connection = idle.pop()
            connection.idle_until = 0.0
            if connection.usable():
                return connection
        return None

    def request_line(self, method: str, target: str) -> bytes:
        """A request's beginning, up to the headers that differ; most requests to an endpoint share it.

        Raises ValueError for a method or target that does not fit.
        """
        if self._line_of != (method, target):
            if _METHOD.fullmatch(method) is None or _TARGET.fullmatch(target) is None:
                raise ValueError("a method or target that does not fit a request line")
            line = f"{method} {target} HTTP/1.1\r\nhost: ".encode("ascii")
            self._line = line + self.host_header + b"\r\naccept-encoding: identity\r\n"
            self._line_of = (method, target)
        return self._line

    def put(self, connection: UpstreamConnection) -> None:
        if len(self._idle) >= IDLE_MAX or connection.contexts is not self._made_with:
            connection.cut()
            return
        self.used_at = now = time.monotonic()
        hint = connection.keep_alive_hint
        connection.idle_until = now + (_idle_seconds(hint) if hint else IDLE_S_MAX)
        self._idle.append(connection)

    def forget(self, connection: UpstreamConnection) -> None:
        self._open.discard(connection)
        if connection.idle_until:
            connection.idle_until = 0.0
            self._idle.remove(connection)

    def drop_idle(self) -> None:
        """One of them had gone stale: those that wait for longer are no better, and each would cost an attempt."""
        for connection in list(self._idle):
            connection.cut()

    async def connect(self) -> UpstreamConnection:
        """A new one, to an address that was checked or by a tunnel. Raises UpstreamUnreachable and its kinds."""
        endpoint = self.endpoint
        contexts = self._current_contexts()
        deadline = self.loop.time() + endpoint.connect_timeout_s
        if endpoint.proxy is not None:
            connection = UpstreamConnection(self, contexts)
            await connect_by_tunnel(connection, endpoint, endpoint.proxy, contexts, deadline)
            self._require_pinned(connection)
            self._open.add(connection)
            return connection
        try:
            async with asyncio.timeout_at(deadline):
                addresses = await resolve(endpoint.host, endpoint.port)
                require_inside(addresses, endpoint.networks, endpoint.host)
                return await try_each(
                    addresses, endpoint.connect_timeout_s, lambda address: self._connect_to(address, contexts)
                )
        except TimeoutError:
            raise UpstreamUnreachable(
                f"no connection to {endpoint.host}:{endpoint.port} within {endpoint.connect_timeout_s} s",
                phase="connect",
            ) from None

    def renew_contexts(self) -> None:
        """After a look at the TLS files: no connection that was made under other ones is used again."""
        if self._made_with is not None:
            self._current_contexts()

    def _current_contexts(self) -> Contexts:
        tls, proxy = self.endpoint.tls, self.endpoint.proxy
        proxy_tls = None if proxy is None else proxy.tls
        contexts = Contexts(
            None if tls is None else self._contexts.context_for(tls),
            None if proxy_tls is None else self._contexts.context_for(proxy_tls),
        )
        if self._made_with is None or contexts != self._made_with:
            self._made_with = contexts
            self.drop_idle()
        return self._made_with

    async def _connect_to(self, address: Address, contexts: Contexts) -> UpstreamConnection:
        endpoint = self.endpoint
        try:
            _, connection = await self.loop.create_connection(
                lambda: UpstreamConnection(self, contexts),
                str(address),  # the literal that was checked: nothing is resolved a second time
                endpoint.port,
                ssl=contexts.upstream,
                server_hostname=endpoint.tls.server_name if endpoint.tls is not None else None,
            )
        except ssl.SSLError as error:
            raise UpstreamTlsError(f"TLS with {endpoint.host} failed: {error}", phase="connect") from error
        except OSError as error:
            raise UpstreamUnreachable(
                f"{endpoint.host}:{endpoint.port} at {address} can't be reached: {error}", phase="connect"
            ) from error
        self._require_pinned(connection)
        self._open.add(connection)
        try:
            require_inside([parse_address(connection.peer.address)], endpoint.networks, endpoint.host)
        except (UpstreamError, ValueError):
            connection.cut()
            raise
        return connection

    def _require_pinned(self, connection: UpstreamConnection) -> None:
        """Before a byte of a request: who answers must have a key that was declared, where one is."""
        tls = self.endpoint.tls
        if tls is None or not tls.pins:
            return
        try:
            require_pinned(connection.tls, tls.pins, self.endpoint.host)
        except UpstreamTlsError:
            connection.cut()
            raise


def _host_header(endpoint: Endpoint) -> bytes:
    """RFC 9110 section 7.2: the port is left out where it is the scheme's own."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    default = 443 if endpoint.tls is not None else 80
    return (host if endpoint.port == default else f"{host}:{endpoint.port}").encode("ascii")


def _idle_seconds(hint: bytes) -> float:
    match = _KEEP_ALIVE_TIMEOUT.search(hint)
    if match is None:
        return IDLE_S_MAX
    return min(IDLE_S_MAX, max(0.0, int(match[1]) - KEEP_ALIVE_MARGIN_S))
