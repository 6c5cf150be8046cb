"""A connection to an upstream through an HTTP proxy: CONNECT (RFC 9110 section 9.3.6), then TLS inside the tunnel."""

import asyncio
import ssl
from typing import Final, cast

from sekisho.gateway.http1.addresses import Address, resolve, try_each
from sekisho.gateway.http1.errors import (
    UpstreamError,
    UpstreamInvalid,
    UpstreamProxyError,
    UpstreamTlsError,
    UpstreamUnreachable,
)
from sekisho.gateway.http1.heads import parse_answer
from sekisho.gateway.http1.interfaces import Endpoint, Proxy
from sekisho.gateway.http1.tls import Contexts
from sekisho.gateway.http1.upstream import UpstreamConnection
from sekisho.kernel.errors import SekishoError

HEAD_BYTES_MAX: Final = 16 * 1024  # of the proxy's answer, interim ones included; it has little to say
_END_OF_HEAD: Final = b"\r\n\r\n"
_REFUSALS: Final = {
    403: "its rules forbid the way there; ask whoever runs it to allow the deployment's host",
    407: "it asks for other credentials; mend `user` and `password` of the deployment's [egress_proxy]",
    502: "it can't reach the deployment",
    503: "it can't reach the deployment, or is overloaded",
    504: "the deployment does not answer it",
}


async def connect_by_tunnel(
    connection: UpstreamConnection, endpoint: Endpoint, proxy: Proxy, contexts: Contexts, deadline: float
) -> None:
    """Connect `connection` to `endpoint` through `proxy`, until `deadline` (the loop's time) at the latest.

    Raises UpstreamProxyError for what the proxy has to do with, UpstreamTlsError and UpstreamUnreachable for what
    the upstream has, as seen through the tunnel.
    """
    try:
        async with asyncio.timeout_at(deadline):
            tunnel = await _open(endpoint, proxy, contexts.proxy)
    except TimeoutError:
        raise UpstreamProxyError(f"the egress proxy {_name(proxy)} opened no tunnel in time") from None
    transport = tunnel.transport
    if endpoint.tls is not None and contexts.upstream is not None:
        try:
            async with asyncio.timeout_at(deadline):
                transport = await _start_tls(tunnel, endpoint, endpoint.tls.server_name, contexts.upstream)
        except TimeoutError:
            message = f"no TLS with {endpoint.host} through the egress proxy in time"
            raise UpstreamUnreachable(message, phase="connect") from None
    tunnel.hand_over(connection, transport)


async def _open(endpoint: Endpoint, proxy: Proxy, context: ssl.SSLContext | None) -> "Tunnel":
    loop = asyncio.get_running_loop()
    try:
        authorization = None if proxy.authorization is None else proxy.authorization()
    except SekishoError as error:
        raise UpstreamProxyError(f"there are no credentials for the egress proxy {_name(proxy)}: {error}") from error

    async def connect(address: Address) -> Tunnel:
        _, tunnel = await loop.create_connection(
            lambda: Tunnel(endpoint, proxy, authorization),
            str(address),
            proxy.port,
            ssl=context,
            server_hostname=proxy.tls.server_name if proxy.tls is not None else None,
        )
        return tunnel

    try:
        addresses = await resolve(proxy.host, proxy.port)
        tunnel = await try_each(addresses, endpoint.connect_timeout_s, connect)
    except ssl.SSLError as error:
        raise UpstreamProxyError(f"TLS with the egress proxy {_name(proxy)} failed: {error}") from error
    except (OSError, UpstreamError) as error:
        raise UpstreamProxyError(f"the egress proxy {_name(proxy)} can't be reached: {error}") from error
    try:
        await tunnel.opened
    except BaseException:
        tunnel.transport.abort()
        raise
    return tunnel


async def _start_tls(
    tunnel: "Tunnel", endpoint: Endpoint, server_name: str, context: ssl.SSLContext
) -> asyncio.Transport:
    loop = asyncio.get_running_loop()
    try:
        transport = await loop.start_tls(tunnel.transport, tunnel, context, server_hostname=server_name)
    except BaseException as error:
        tunnel.transport.abort()
        if isinstance(error, ssl.SSLError):
            message = f"TLS with {endpoint.host} through the egress proxy failed: {error}"
            raise UpstreamTlsError(message, phase="connect") from error
        if isinstance(error, TimeoutError) or not isinstance(error, OSError):
            raise
        message = f"the tunnel to {endpoint.host} ended during the handshake: {error}"
        raise UpstreamUnreachable(message, phase="connect") from error
    return cast("asyncio.Transport", transport)


class Tunnel(asyncio.Protocol):
    """Asks for a tunnel as soon as there is a connection; `opened` completes when the proxy has agreed.

    From then on nothing may come until the tunnel is handed over: the other side speaks when it is asked.
    """

    def __init__(self, endpoint: Endpoint, proxy: Proxy, authorization: bytes | None) -> None:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        self.transport: asyncio.Transport
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.opened.add_done_callback(_retrieved)  # nobody asks for it once whoever connects has left
        self._proxy = proxy
        self._authorization = authorization
        self._authority = f"{host}:{endpoint.port}"
        self._head = bytearray()
        self._left = HEAD_BYTES_MAX

    def hand_over(self, connection: UpstreamConnection, transport: asyncio.Transport) -> None:
        """Let `connection` have the tunnel. Raises UpstreamProxyError if something came through it unasked."""
        if self.transport.is_closing() or transport.is_closing():
            transport.abort()
            raise UpstreamProxyError(_unasked(self._proxy))
        transport.set_protocol(connection)
        connection.connection_made(transport)

    # From the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        head = f"CONNECT {self._authority} HTTP/1.1\r\nhost: {self._authority}\r\n".encode("ascii")
        if self._authorization is not None:
            head += b"proxy-authorization: %b\r\n" % self._authorization
        self.transport.write(head + b"\r\n")

    def data_received(self, data: bytes) -> None:
        if self.opened.done():
            self.transport.abort()  # which `hand_over` sees
            return
        self._left -= len(data)
        self._head += data
        try:
            while not self.opened.done() and (end := self._head.find(_END_OF_HEAD)) >= 0:
                head, self._head = bytes(self._head[: end + 4]), self._head[end + 4 :]
                self._answered(head)
            if not self.opened.done() and self._left < 0:
                raise UpstreamProxyError(f"the answer of the egress proxy {_name(self._proxy)} has no end")
        except UpstreamProxyError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(UpstreamProxyError(f"the egress proxy {_name(self._proxy)} ended the connection unasked"))

    def _answered(self, raw: bytes) -> None:
        try:
            # Read as an answer to HEAD: neither has a body (RFC 9110 sections 6.4.1 and 9.3.6).
            status = parse_answer(raw, to_head=True).status
        except UpstreamInvalid as error:
            raise UpstreamProxyError(f"the egress proxy {_name(self._proxy)} speaks no HTTP: {error.message}") from None
        if status < 200 and status != 101:
            return  # an interim answer; how many there may be is bounded by their bytes
        if not 200 <= status < 300:
            what = _REFUSALS.get(status, "it opens no tunnel")
            message = f"the egress proxy {_name(self._proxy)} answered {status} for {self._authority}: {what}"
            raise UpstreamProxyError(message)
        if self._head:
            raise UpstreamProxyError(_unasked(self._proxy))
        self.opened.set_result(None)

    def _fail(self, error: UpstreamProxyError) -> None:
        if not self.opened.done():
            self.opened.set_exception(error)
        self.transport.abort()


def _retrieved(future: "asyncio.Future[None]") -> None:
    if not future.cancelled():
        future.exception()


def _unasked(proxy: Proxy) -> str:
    return f"the tunnel by {_name(proxy)} brought bytes that nobody asked for, or ended"


def _name(proxy: Proxy) -> str:
    return f"{proxy.host}:{proxy.port}"
