"""Rows of Azure API Management, joined to one a call. Pure.

Two resource logs tell of a call to a model, joined by their correlation id: `GatewayLogs` (table
ApiManagementGatewayLogs: who called, what was answered) and `GatewayLlmLogs` (table ApiManagementGatewayLlmLog: model,
tokens and, where it is logged, the messages, in several rows with a sequence number). As diagnostic settings write them
to storage or Event Hubs, fields stand under `properties` in camelCase beside the common schema's; as Log Analytics
exports them they are columns in PascalCase. So names are compared without their case.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sekisho.assurance.foreign_rows import Row, decoded, weight

CALLS_HELD_MAX: Final = 50_000  # whose rows may still come; they stand within seconds of one another
BYTES_HELD_MAX: Final = 256 * 1024 * 1024  # of memory, for rows that wait for the rest of their call
_DEPLOYMENT: Final = re.compile(r"/deployments/([^/?]+)")  # Azure OpenAI's path, for gateway rows without an LLM row
_MESSAGES: Final = "requestmessages"


class _Call:
    """What is known of one call until its rows are all there."""

    __slots__ = ("bytes", "pieces", "place", "row")

    def __init__(self, place: str) -> None:
        self.place = place
        self.row: dict[str, Any] = {}
        self.pieces: list[tuple[int, Any]] = []
        self.bytes = 0


def apim_rows(rows: Iterable[Row]) -> Iterator[Row]:
    """One row a call, names in lower case; `body` is what there is to inspect, `bodycut` whether that is not all, and
    `urldeployment` the path's deployment.

    Rows that come after their call was given out (more than CALLS_HELD_MAX others in between) make a call of their own.
    """
    held: OrderedDict[str, _Call] = OrderedDict()
    held_bytes = 0
    for row in rows:
        if row.problem:
            yield row
            continue
        value = _flat(row.value)
        identifier = value.get("correlationid")
        if not isinstance(identifier, str) or not identifier:
            yield row._replace(value={}, problem="it has no correlationId")
            continue
        call = held.get(identifier)
        if call is None:
            call = held[identifier] = _Call(row.place)
        held_bytes += _join(call, value)
        while len(held) > CALLS_HELD_MAX or held_bytes > BYTES_HELD_MAX:
            _, oldest = held.popitem(last=False)
            held_bytes -= oldest.bytes
            yield _whole(oldest)
    while held:
        yield _whole(held.popitem(last=False)[1])


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Top level and `properties` as one, names in lower case."""
    flat = {name.lower(): value for name, value in row.items()}
    properties = decoded(flat.pop("properties", None))
    if isinstance(properties, dict):
        flat |= {name.lower(): value for name, value in properties.items()}
    return flat


def _join(call: _Call, value: dict[str, Any]) -> int:
    """Take a row over; returns by how many bytes the call has grown."""
    messages = value.pop(_MESSAGES, None)
    value.pop("responsemessages", None)  # answers are not what policy decides on
    for name in ("responsebody", "backendresponsebody", "backendrequestbody"):
        value.pop(name, None)
    if messages not in (None, "", [], {}):
        sequence = value.get("sequencenumber")
        call.pieces.append((sequence if isinstance(sequence, int) else len(call.pieces), messages))
    # What one row says another must not take away: the rows with messages have no tokens, and say 0.
    call.row |= {name: one for name, one in value.items() if one not in (None, "", 0) or name not in call.row}
    grown = weight(messages) + weight(value)  # all that is held: a log may hold fields that nobody asks for
    call.bytes += grown
    return grown


def _whole(call: _Call) -> Row:
    row = call.row
    found = _DEPLOYMENT.search(row["url"]) if isinstance(row.get("url"), str) else None
    if found is not None:
        row["urldeployment"] = found.group(1)
    row["body"], row["bodycut"] = None, False
    if call.pieces:
        messages, row["bodycut"] = _messages([one for _, one in sorted(call.pieces, key=lambda piece: piece[0])])
        row["body"] = {"messages": messages}
    elif row.get("requestbody"):
        body = decoded(row["requestbody"])
        row["bodycut"] = isinstance(body, str)  # bodies are JSON; 8,192 bytes of them are logged
        row["body"] = body if isinstance(body, dict) else {"messages": [{"role": "user", "content": body}]}
    row.pop("requestbody", None)
    return Row(call.place, row)


def _messages(pieces: list[Any]) -> tuple[list[Any], bool]:
    """The messages of a request that was split over rows, and whether any are cut off: each is JSON of its own, or they
    are pieces of one text.
    """
    parsed = [decoded(piece) for piece in pieces]
    if any(isinstance(one, str) for one in parsed) and all(isinstance(piece, str) for piece in pieces):
        parsed = [decoded("".join(pieces))]
    messages: list[Any] = []
    cut = False
    for one in parsed:
        if isinstance(one, list):
            messages += one
        elif isinstance(one, dict):
            messages.append(one)
        else:  # cut off where logging ends; what is there is read all the same
            messages.append({"role": "user", "content": one})
            cut = True
    return messages, cut
