"""The dialects that callers speak to us: each is one value that knows how its errors look.

Requests and answers of the three operations are the same in both; paths are the surface's (`gateway.surface`).
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import orjson

from sekisho.gateway.dialects.operations import Operation
from sekisho.gateway.errors import GatewayError

# Azure's own words for what we say; else the status, which is how Azure names most of its refusals.
_AZURE_CODES: Final = {"model_not_found": "DeploymentNotFound", "operation_not_served": "OperationNotSupported"}
_AZURE_CODES_BY_STATUS: Final = {
    400: "BadRequest",
    500: "InternalServerError",
    502: "BadGateway",
    503: "ServiceUnavailable",
    504: "Timeout",
}


class SurfaceDialect(NamedTuple):
    """`error_body` shapes an error for an answer's body, and for the `data:` of an error event."""

    name: str
    error_body: Callable[[GatewayError], bytes]


class Call(NamedTuple):
    """What a caller asks for by a path. `model` is the name in it, where there is one."""

    operation: Operation
    surface: SurfaceDialect
    model: str | None = None


def _openai(error: GatewayError) -> bytes:
    return error.body()


def _azure(error: GatewayError) -> bytes:
    """`{"error": {"code", "message", …}}`; our own, finer code is its inner error's."""
    code = _AZURE_CODES.get(error.code or "") or _AZURE_CODES_BY_STATUS.get(error.status, str(error.status))
    fields = {"code": code, "message": str(error), "type": error.type, "param": error.param}
    return orjson.dumps({"error": {**fields, "innererror": {"code": error.code}}})


OPENAI: Final = SurfaceDialect("openai", _openai)
AZURE: Final = SurfaceDialect("azure", _azure)
