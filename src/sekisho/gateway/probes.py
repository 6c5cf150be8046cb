"""Looking at a deployment from outside: addresses, round trips, the TLS chain, its management API, its quickest answer.

Nothing but `least_answer` sends a request to the deployment, and what that sends is fixed and says nothing; whoever
calls it records first that it will leave (G1). Every wait is bounded. The kernel and the network can only make a round
trip look longer than it is, so a least time is an upper bound of the true one.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlencode

import orjson

from sekisho.catalog.azure_management import PAGES_MAX, page
from sekisho.catalog.errors import ManagementError
from sekisho.catalog.interfaces import Management
from sekisho.gateway.dialects.answers import json_object
from sekisho.gateway.http1.addresses import Address, require_inside, resolve
from sekisho.gateway.http1.ask import ask_whole
from sekisho.gateway.http1.errors import UpstreamInvalid, UpstreamTlsError, UpstreamUnreachable
from sekisho.gateway.http1.interfaces import ClientTls, Endpoint, Exchange, Header, UpstreamClient
from sekisho.gateway.http1.pins import verified_chain
from sekisho.gateway.http1.tls import client_tls_context
from sekisho.gateway.trials import ANSWER_BYTES_MAX, REASONING_TOKENS_MAX, TEXT

CONNECT_S_MAX: Final = 5.0  # of one connection, and of resolving a name
ADDRESSES_MAX: Final = 4  # that are connected to; a name with more leads to the same place
CONNECTS: Final = 5  # to each: the least of five is within a few per cent of the least of a hundred on a quiet way
ANSWERS: Final = 3  # each costs a token
ANSWER_S_MAX: Final = 30.0
LIST_S_MAX: Final = 30.0  # of the management API: the account and all pages


class Connected(NamedTuple):
    """`least_us`: the least time from SYN to SYN-ACK, None for a loopback address: it says nothing of a distance.

    `chains`: of each address that took a connection, DER, the leaf first, as verified; empty without TLS.
    """

    connects: int
    least_us: int | None
    chains: tuple[tuple[bytes, ...], ...]


async def look_up(endpoint: Endpoint) -> list[Address]:
    """Every address of the endpoint's name. Raises UpstreamUnreachable."""
    try:
        async with asyncio.timeout(CONNECT_S_MAX):
            return await resolve(endpoint.host, endpoint.port)
    except TimeoutError:
        raise UpstreamUnreachable(f"the name {endpoint.host} was not resolved in time", phase="connect") from None


async def connect(endpoint: Endpoint, addresses: Sequence[Address]) -> Connected:
    """Connect a few times, and shake hands with each address where there is TLS: who answers at one of them may be
    somebody else. Raises UpstreamError if no address takes a connection, or one of those that do has no good TLS.
    """
    require_inside(addresses, endpoint.networks, endpoint.host)
    times: list[int] = []
    reached = []
    for address in addresses[:ADDRESSES_MAX]:
        for _ in range(CONNECTS):
            took_us = await _connect_once(address, endpoint.port)
            if took_us is None:
                break  # one that doesn't answer is not asked again
            times.append(took_us)
            if address not in reached:
                reached.append(address)
    if not times:
        raise UpstreamUnreachable(f"{endpoint.host}:{endpoint.port} takes no connection", phase="connect")
    chains = [] if endpoint.tls is None else [await _shake_hands(endpoint, endpoint.tls, one) for one in reached]
    is_far = not any(address.is_loopback for address in addresses)
    return Connected(len(times), min(times) if is_far else None, tuple(chains))


async def _connect_once(address: Address, port: int) -> int | None:
    """Microseconds; None: it could not be reached within CONNECT_S_MAX."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        began = time.perf_counter_ns()
        try:
            async with asyncio.timeout(CONNECT_S_MAX):
                await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
        except (OSError, TimeoutError):
            return None
        return (time.perf_counter_ns() - began) // 1_000


async def _shake_hands(endpoint: Endpoint, tls_of: ClientTls, address: Address) -> tuple[bytes, ...]:
    try:
        context = await asyncio.to_thread(client_tls_context, tls_of)
        async with asyncio.timeout(CONNECT_S_MAX):
            transport, _ = await asyncio.get_running_loop().create_connection(
                asyncio.Protocol,
                str(address),
                endpoint.port,
                ssl=context,
                server_hostname=tls_of.server_name,
            )
    except TimeoutError:
        problem = f"TLS with {endpoint.host} took more than {CONNECT_S_MAX:.0f} s"
        raise UpstreamTlsError(problem, phase="connect") from None
    except (ssl.SSLError, OSError) as error:
        raise UpstreamTlsError(f"TLS with {endpoint.host} failed: {error}", phase="connect") from error
    try:
        return verified_chain(transport.get_extra_info("ssl_object"))
    finally:
        transport.abort()


class AzureAccount(NamedTuple):
    """An account and its deployments, as Azure's resource API tells them."""

    account: Mapping[str, Any]
    deployments: tuple[Mapping[str, Any], ...]


async def read_azure(
    client: UpstreamClient, endpoint: Endpoint, headers: tuple[Header, ...], management: Management
) -> AzureAccount:
    """What Azure's resource API says of an account: asked once for all of its deployments, as it limits who asks.

    Raises ManagementError (also for any status but 200), UpstreamError.
    """
    query = "?" + urlencode({"api-version": management.api_version})
    resource = quote(management.resource, safe="/")
    try:
        async with asyncio.timeout(LIST_S_MAX):
            account = await _get(client, endpoint, headers, resource + query)
            items: list[Mapping[str, Any]] = []
            target: str | None = f"{resource}/deployments{query}"
            pages = 0
            while target is not None:
                pages += 1
                if pages > PAGES_MAX:
                    raise ManagementError(f"the list of deployments has more than {PAGES_MAX} pages")
                more, target = page(await _get(client, endpoint, headers, target))
                items += more
    except TimeoutError:
        raise UpstreamUnreachable("the management API did not answer in time", phase="head") from None
    return AzureAccount(account, tuple(items))


async def _get(
    client: UpstreamClient, endpoint: Endpoint, headers: tuple[Header, ...], target: str
) -> Mapping[str, Any]:
    head, body = await ask_whole(lambda: client.exchange(endpoint), "GET", target, headers, b"", ANSWER_BYTES_MAX)
    if head.status in (401, 403):
        remedy = "Give the identity of [management] the role Reader on the account"
        raise ManagementError(f"the management API refuses us ({head.status})", remedy=remedy)
    if head.status == 429 or head.status >= 500:
        raise ManagementError(
            f"the management API can't answer now ({head.status})", remedy="The next round asks again"
        )
    document = json_object(body)
    if head.status == 200 and document is None:
        raise ManagementError("the management API's answer is no JSON object", remedy="Look at [management] url")
    if head.status != 200 or document is None:
        remedy = "Look at [management] resource and api_version"
        raise ManagementError(f"the management API answers {head.status}", remedy=remedy)
    return document


async def least_answer(
    client: UpstreamClient,
    endpoint: Endpoint,
    headers: tuple[Header, ...],
    target: str,
    model: str,
    before_each: Callable[[], Awaitable[None]],
) -> tuple[int, int]:
    """(answers, the least time in µs) from sending a request for one token to the end of its answer.

    `before_each` is awaited before each request; what it raises ends it, and nothing more is sent.
    Connecting counts in the first only, as the connection is kept. Raises UpstreamError.
    """
    document: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": TEXT}], "max_tokens": 1}
    times: list[int] = []

    def new_exchange() -> Exchange:
        return client.exchange(endpoint)

    while len(times) < ANSWERS:
        await before_each()
        began = time.perf_counter_ns()
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                head, body = await ask_whole(
                    new_exchange, "POST", target, headers, orjson.dumps(document), ANSWER_BYTES_MAX
                )
        except TimeoutError:
            raise UpstreamUnreachable("no answer in time", phase="head") from None
        if head.status == 400 and b"max_completion_tokens" in body and "max_tokens" in document:
            del document["max_tokens"]
            document["max_completion_tokens"] = REASONING_TOKENS_MAX
            continue
        if head.status != 200:
            # An error may come from whatever stands in front: it says nothing of where the computing is.
            raise UpstreamInvalid(f"it answers {head.status} to a request for one token", phase="head")
        took_us = (time.perf_counter_ns() - began) // 1_000
        if not isinstance((json_object(body) or {}).get("choices"), list):
            raise UpstreamInvalid("it answers something else than a model does", phase="body")  # a page of what is near
        times.append(took_us)
    return len(times), min(times)
