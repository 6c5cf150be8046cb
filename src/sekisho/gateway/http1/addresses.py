"""Which addresses an upstream may have."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeVar

from sekisho.gateway.http1.errors import UpstreamForbiddenAddress, UpstreamTlsError, UpstreamUnreachable

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Connected = TypeVar("Connected")


def parse_address(text: str) -> Address:
    """An IP literal. An IPv4 address in IPv6 clothes (RFC 4291 section 2.5.5.2) is the IPv4 address that it reaches.

    Raises ValueError for anything else.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def require_inside(addresses: Sequence[Address], networks: Sequence[Network], host: str) -> None:
    """Every address must lie in one of `networks` (empty: any), else UpstreamForbiddenAddress.

    All of them, not only the one that is tried: a name that also leads elsewhere is not the declared deployment.
    """
    if not networks:
        return
    for address in addresses:
        # An IPv6 scope names a local interface, it is no part of the address that is compared.
        bare = IPv6Address(int(address)) if isinstance(address, IPv6Address) else address
        if not any(bare in network for network in networks):
            raise UpstreamForbiddenAddress(
                f"{host} resolves to {address}, which is outside its declared networks", phase="connect"
            )


async def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a name or literal, in the resolver's order, each once; raises UpstreamUnreachable."""
    try:
        return [parse_address(host)]
    except ValueError:
        pass  # a name
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except OSError as error:
        raise UpstreamUnreachable(f"the name {host} does not resolve: {error}", phase="connect") from error
    addresses = list(dict.fromkeys(parse_address(str(entry[4][0])) for entry in found))
    if not addresses:
        raise UpstreamUnreachable(f"the name {host} has no address", phase="connect")
    return addresses


async def try_each(
    addresses: Sequence[Address], seconds: float, connect: Callable[[Address], Awaitable[Connected]]
) -> Connected:
    """What `connect` gives for the first address that it works with.

    Each gets its share of the time, so that one that swallows packets doesn't hide the next. A failure of TLS is not
    one of the address: it ends the trying.
    """
    for address in addresses[:-1]:
        try:
            async with asyncio.timeout(seconds / len(addresses)):
                return await connect(address)
        except (TimeoutError, UpstreamUnreachable) as error:
            if isinstance(error, UpstreamTlsError):
                raise
    return await connect(addresses[-1])
