"""The dialects that deployments speak: each is one value that knows where an operation is and how a key is shown."""

from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from sekisho.catalog.interfaces import Deployment
from sekisho.gateway.dialects.operations import OPERATIONS, Operation
from sekisho.gateway.http1.interfaces import Header


class UpstreamDialect(NamedTuple):
    """`target`: the path and query of an operation. `key_header`: what carries a key, unless it is declared."""

    target: Callable[[Deployment, Operation], str]
    key_header: Callable[[str], Header]

    def targets(self, deployment: Deployment) -> dict[str, str]:
        """The target of every operation, by its name."""
        return {operation.name: self.target(deployment, operation) for operation in OPERATIONS}


def _path(deployment: Deployment) -> str:
    return urlsplit(deployment.url).path.rstrip("/")


def _openai_target(deployment: Deployment, operation: Operation) -> str:
    return _path(deployment) + operation.path


def _azure_target(deployment: Deployment, operation: Operation) -> str:
    model = quote(deployment.upstream_model, safe="")
    return f"{_path(deployment)}/openai/deployments/{model}{operation.path}?api-version={deployment.api_version}"


def _bearer(key: str) -> Header:
    return (b"authorization", b"Bearer " + key.encode())


def _api_key(key: str) -> Header:
    return (b"api-key", key.encode())


UPSTREAM_DIALECTS: Final = {
    "openai": UpstreamDialect(_openai_target, _bearer),
    "azure": UpstreamDialect(_azure_target, _api_key),
}
