"""The paths that callers know, as OpenAI and Azure OpenAI have them.

`/v1/…` and `/openai/v1/…` name the model in the body; `/openai/deployments/{name}/…?api-version=…` in the path, where
`name` is a model's: callers never name our deployments.
"""

import re
from typing import Final
from urllib.parse import parse_qsl

from sekisho.gateway.dialects.operations import OPERATIONS
from sekisho.gateway.dialects.surfaces import AZURE, OPENAI, Call, SurfaceDialect
from sekisho.gateway.errors import NotFound

MODELS_PATHS: Final = ("/v1/models", "/openai/v1/models", "/openai/models")
_AZURE: Final = "/openai/"
_AZURE_V1: Final = "/openai/v1/"  # here Azure asks for no version
_DEPLOYMENTS: Final = "/openai/deployments/"
_API_VERSION: Final = re.compile(r"20\d\d-\d\d-\d\d(-preview)?", re.ASCII)
_PREFIXES: Final = ("/v1/", _AZURE_V1, _AZURE)  # the longer before the one it begins with
_KEPT: Final = frozenset(
    {
        "assistants",
        "batches",
        "containers",
        "conversations",
        "evals",
        "files",
        "fine_tuning",
        "threads",
        "uploads",
        "vector_stores",
    }
)
_STORED: Final = re.compile(r"chat/completions/[^/]")
_OPERATIONS: Final = {operation.path: operation for operation in OPERATIONS}


def surface_of(path: str) -> SurfaceDialect:
    """The dialect in which to answer whatever is asked at `path`, found or not."""
    return AZURE if path.startswith(_AZURE) else OPENAI


def calls_by_path() -> dict[str, Call]:
    """The operations at paths that name no model."""
    return {
        prefix + operation.path: Call(operation, surface)
        for prefix, surface in (("/v1", OPENAI), ("/openai/v1", AZURE))
        for operation in OPERATIONS
    }


def call_of_deployment(path: str) -> Call | None:
    """The operation at `/openai/deployments/{model}/…`, or None if that is no such path."""
    if not path.startswith(_DEPLOYMENTS):
        return None
    model, slash, rest = path.removeprefix(_DEPLOYMENTS).partition("/")
    operation = _OPERATIONS.get(slash + rest)
    return Call(operation, AZURE, model) if operation is not None and model else None


def model_of(path: str) -> str | None:
    """The model at `…/models/{id}`, or None if that is no such path."""
    parent, _, name = path.rpartition("/")
    return name if name and parent in MODELS_PATHS else None


def is_of_kept_content(path: str) -> bool:
    """Whether OpenAI's API has something here that lives in what a provider keeps: files, batches, stored answers."""
    for prefix in _PREFIXES:
        if path.startswith(prefix):
            first, _, rest = path.removeprefix(prefix).partition("/")
            return (
                first in _KEPT or (first == "responses" and rest != "") or _STORED.match(f"{first}/{rest}") is not None
            )
    return False


def require_api_version(path: str, query: str) -> None:
    """Azure's paths but for `/openai/v1/` ask for a version; raises NotFound, as Azure does.

    Every version is served alike: what it adds to requests and answers passes through.
    """
    if not path.startswith(_AZURE) or path.startswith(_AZURE_V1):
        return
    versions = [value for name, value in parse_qsl(query) if name == "api-version"]
    if len(versions) != 1 or not _API_VERSION.fullmatch(versions[0]):
        raise NotFound(
            "Resource not found: the query names no api-version",
            remedy="Add ?api-version=2024-10-21, or use /openai/v1",
            code="api_version_missing",
        )
