"""The HTTP core's ports: what the pipeline may rely on, whoever implements it.

Server: one task per request runs the `Handler`. A caller that leaves cancels that task. Client: one `Exchange` per
attempt, whose state (`written`, `peer`) is true at every moment, and which can be aborted at any point.
All byte strings of headers: names lower case, values stripped, Latin-1 without controls.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Final, NamedTuple, Protocol

Header = tuple[bytes, bytes]
VIA_EGRESS_PROXY: Final = "egress_proxy"


class Peer(NamedTuple):
    """The other end as seen on the socket, not as it says: address, port; of TLS DER of its certificate, version.

    `via` is VIA_EGRESS_PROXY if the socket leads to a proxy: address and port are then the proxy's; certificate and
    version are the upstream's own all the same, seen through the tunnel.
    """

    address: str
    port: int
    certificate: bytes | None
    tls_version: str | None = None
    via: str | None = None


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds on what a caller may make us hold or wait for."""

    head_bytes_max: int = 32 * 1024  # request line and headers, raw bytes
    headers_max: int = 100
    body_bytes_max: int = 32 * 1024 * 1024
    head_timeout_s: float = 10.0  # from the first byte of a request to the end of its head
    body_stall_timeout_s: float = 30.0  # without a byte of an unfinished body
    idle_timeout_s: float = 75.0  # keep-alive, between requests
    write_stall_timeout_s: float = 60.0  # the caller takes nothing although we have something to give
    write_buffer_bytes: int = 256 * 1024  # high-water mark per connection; above it `write` says stop
    surplus_bytes_max: int = 64 * 1024  # pipelined bytes held while a request is being answered
    connections_max: int = 4096


class InboundRequest:
    """A whole request: head and body are complete and within bounds before the handler runs."""

    __slots__ = ("body", "headers", "method", "path", "peer", "query")

    def __init__(
        self, method: str, path: str, query: str, headers: dict[bytes, bytes], body: bytes, peer: Peer
    ) -> None:
        self.method = method
        self.path = path  # percent-encoding as received, begins with "/"
        self.query = query  # without "?"
        self.headers = headers  # duplicates of list headers joined by ", "; of others refused with 400
        self.body = body
        self.peer = peer


class Responder(Protocol):
    """One answer. Either `respond`, or `start_stream`, `write`…, `end`. Safe to call after the caller left (no-op)."""

    started: bool  # the head is on its way; the status can't change any more

    def respond(self, status: int, headers: Sequence[Header], body: bytes) -> None:
        """A whole answer with content-length."""
        ...

    def start_stream(self, status: int, headers: Sequence[Header]) -> None:
        """The head of an answer in chunks."""
        ...

    def write(self, data: bytes) -> bool:
        """Take `data` (non-empty) now; False: the caller is slow, pause your source until `on_writable` is called."""
        ...

    def on_writable(self, callback: Callable[[], None]) -> None:
        """Call back each time the buffer has drained after a False."""
        ...

    def end(self) -> None:
        """A clean end of the stream."""
        ...

    def abort(self) -> None:
        """Cut the connection: the caller must not take what it has for complete."""
        ...


Handler = Callable[[InboundRequest, Responder], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class ClientTls:
    """TLS towards an upstream. With `ca_file` no other root counts; without it the system's do. `pins`: SHA-256 (hex)
    of public keys, one of which a certificate of the chain must have; empty: any.
    """

    server_name: str
    ca_file: str | None = None
    client_certificate_file: str | None = None
    client_key_file: str | None = None
    pins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that is asked for a tunnel (CONNECT). `authorization` gives the value of Proxy-Authorization as it
    is now; which credentials those are must show in the endpoint's `identity`.
    """

    host: str
    port: int
    tls: ClientTls | None = None  # towards the proxy itself
    authorization: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a deployment is reached. Equal endpoints share a pool of idle connections.

    `networks`: every address must lie in one of them, else it is not connected to; empty: any. With a `proxy` it must
    be empty: the proxy resolves the name, and no address of the upstream is seen here.
    `identity`: as whom we come. Where it differs, no connection is shared.
    """

    host: str
    port: int
    tls: ClientTls | None
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 120.0  # from the end of our writing to the end of the answer's head
    idle_timeout_s: float = 60.0  # between bytes of the answer's body
    total_timeout_s: float = 3600.0  # from our first byte to the answer's last: who trickles is never idle
    head_bytes_max: int = 64 * 1024
    body_bytes_max: int = 1024 * 1024 * 1024
    proxy: Proxy | None = None
    identity: bytes = b""

    @property
    def all_tls(self) -> tuple[ClientTls, ...]:
        """Towards the upstream, and towards the proxy."""
        both = (self.tls, None if self.proxy is None else self.proxy.tls)
        return tuple(tls for tls in both if tls is not None)


class ResponseHead(NamedTuple):
    status: int
    headers: dict[bytes, bytes]


class BodyReceiver(Protocol):
    """Takes an answer's body as it comes. Exactly one of `end` and `failed` is called, last."""

    def data(self, chunk: bytes) -> None: ...
    def end(self) -> None: ...
    def failed(self, error: Exception) -> None: ...


class Exchange(Protocol):
    """One request to one upstream over one connection; never redirected, never retried."""

    written: bool  # `transport.write` was called with a byte of the request
    peer: Peer | None  # set as soon as there is a connection
    reused: bool  # over a pooled connection, which may have gone stale

    async def send(self, method: str, target: str, headers: Sequence[Header], body: bytes) -> ResponseHead:
        """Connect, check the address, write, and wait for the answer's head (interim 1xx passed over).

        `host`, `content-length` and `connection` are ours to write. Raises an UpstreamError (see `errors`) that says
        in which phase it broke; cancelling aborts the connection.
        """
        ...

    async def read(self, bytes_max: int) -> bytes:
        """The whole body; raises UpstreamError, UpstreamTooLarge beyond `bytes_max`."""
        ...

    def relay_to(self, receiver: BodyReceiver) -> None:
        """Hand the body over as it comes, what is already here at once (synchronously)."""
        ...

    def pause(self) -> None:
        """Stop reading from the upstream (back-pressure). Its idle timeout stands still meanwhile."""
        ...

    def resume(self) -> None: ...

    def abort(self) -> None:
        """Cut the connection now, in whatever phase; after a complete answer a no-op."""
        ...


class UpstreamClient(Protocol):
    def exchange(self, endpoint: Endpoint) -> Exchange:
        """A fresh exchange; nothing is connected yet."""
        ...

    async def close(self) -> None: ...
