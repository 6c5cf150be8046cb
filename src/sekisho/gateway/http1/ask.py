"""One question and its whole answer, for what is asked beside the request path."""

from collections.abc import Callable, Sequence

from sekisho.gateway.http1.errors import UpstreamClosed
from sekisho.gateway.http1.interfaces import Exchange, Header, ResponseHead


async def ask_whole(
    new_exchange: Callable[[], Exchange],
    method: str,
    target: str,
    headers: Sequence[Header],
    body: bytes,
    bytes_max: int,
) -> tuple[ResponseHead, bytes]:
    """Ask, once more if a kept-alive connection had gone stale (RFC 9112 section 9.3.1), and read the whole answer.

    So the question must be one that may arrive twice. Bounding the time is the caller's. Raises UpstreamError. Whatever
    ends it before the answer has ended cuts the connection.
    """
    exchange = new_exchange()
    try:
        try:
            head = await exchange.send(method, target, headers, body)
        except UpstreamClosed:
            if not exchange.reused:
                raise
            exchange = new_exchange()
            head = await exchange.send(method, target, headers, body)
        return head, await exchange.read(bytes_max)
    finally:
        exchange.abort()  # after a whole answer a no-op
