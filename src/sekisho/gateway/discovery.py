"""Finds servers of models on loopback: asks the usual ports for /v1/models, and what kind of server answers.

Loopback only, GET only, nothing of anybody in it, and bounded in time: whatever listens there may be anything.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sekisho.catalog.interfaces import ServerKind
from sekisho.gateway.dialects.answers import json_object
from sekisho.gateway.http1.ask import ask_whole
from sekisho.gateway.http1.errors import UpstreamError
from sekisho.gateway.http1.interfaces import Endpoint, UpstreamClient

HOST: Final = "127.0.0.1"
PORTS_MAX: Final = 64
ASK_TIMEOUT_S: Final = 0.5  # a loopback server that can serve models has a list of them ready
ANSWER_BYTES_MAX: Final = 1024 * 1024
MODELS_PATH: Final = "/v1/models"


class Found(NamedTuple):
    """A server. `template` is the name of its kind's; `models` is None where it refuses to list them without a key."""

    template: str
    url: str
    models: tuple[str, ...] | None


def usual_ports(kinds: Mapping[str, ServerKind]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(port for kind in kinds.values() for port in kind.ports))


async def discover(client: UpstreamClient, kinds: Mapping[str, ServerKind], ports: Sequence[int]) -> list[Found]:
    """The servers on `ports`, in their order; takes a few seconds at most. `kinds`: by the names of their templates."""
    ports = tuple(dict.fromkeys(ports))[:PORTS_MAX]
    found = await asyncio.gather(*(_look(client, kinds, port) for port in ports))
    return [one for one in found if one is not None]


async def _look(client: UpstreamClient, kinds: Mapping[str, ServerKind], port: int) -> Found | None:
    status, document = await _get(client, port, MODELS_PATH)
    if status == 0:
        return None
    data = document.get("data")
    listed = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    is_locked = status in (401, 403)
    if not is_locked and (status != 200 or not isinstance(data, list)):
        return None
    template = await _kind(client, kinds, port, [item.get("owned_by") for item in listed])  # may be anything
    if template is None:
        return None
    names = tuple(item["id"] for item in listed if isinstance(item.get("id"), str))
    return Found(template, f"http://{HOST}:{port}/v1", None if is_locked else names)


async def _kind(client: UpstreamClient, kinds: Mapping[str, ServerKind], port: int, owners: list[Any]) -> str | None:
    """What the server says of itself counts; only where it says nothing, the port does. None: it may be anything."""
    for name, kind in kinds.items():
        if kind.owned_by and kind.owned_by in owners:
            return name
    for name, kind in kinds.items():
        if kind.path:
            status, document = await _get(client, port, kind.path)
            if status == 200 and kind.key in document:
                return name
    return next((name for name, kind in kinds.items() if not kind.path and (owners or port in kind.ports)), None)


async def _get(client: UpstreamClient, port: int, path: str) -> tuple[int, dict[str, Any]]:
    """(status, JSON object); (0, {}) where no HTTP server answers in time."""
    endpoint, accept = Endpoint(HOST, port, tls=None), (b"accept", b"application/json")
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            head, body = await ask_whole(
                lambda: client.exchange(endpoint), "GET", path, (accept,), b"", ANSWER_BYTES_MAX
            )
    except (UpstreamError, TimeoutError):
        return 0, {}
    return head.status, json_object(body) or {}
