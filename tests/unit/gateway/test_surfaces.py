"""Errors in the dialects of callers, and the paths that callers know."""

import orjson
import pytest

from sekisho.gateway.dialects.operations import CHAT, COMPLETIONS, EMBEDDINGS
from sekisho.gateway.dialects.surfaces import AZURE, OPENAI, Call
from sekisho.gateway.errors import (
    BadRequest,
    Busy,
    NotFound,
    NotPermitted,
    NotServed,
    Unauthenticated,
    UpstreamFailed,
    UpstreamRefused,
    model_not_found,
)
from sekisho.gateway.paths import call_of_deployment, calls_by_path, model_of, require_api_version, surface_of


@pytest.mark.parametrize(
    ("error", "azure"),
    [
        (BadRequest("no", param="n"), "BadRequest"),
        (Unauthenticated("no"), "401"),
        (NotPermitted("no"), "403"),
        (NotFound("no"), "404"),
        (model_not_found("m"), "DeploymentNotFound"),
        (NotServed("no"), "OperationNotSupported"),
        (Busy("no"), "429"),
        (UpstreamRefused(429), "429"),
        (UpstreamFailed("no"), "BadGateway"),
    ],
)
def test_an_error_has_the_shape_of_its_dialect(error, azure) -> None:
    ours = orjson.loads(OPENAI.error_body(error))["error"]
    theirs = orjson.loads(AZURE.error_body(error))["error"]
    assert ours == {"message": str(error), "type": error.type, "param": error.param, "code": error.code}
    assert theirs == {**ours, "code": azure, "innererror": {"code": error.code}}


def test_the_operations_are_where_clients_look_for_them() -> None:
    calls = calls_by_path()
    assert calls["/v1/embeddings"] == Call(EMBEDDINGS, OPENAI)
    assert calls["/openai/v1/completions"] == Call(COMPLETIONS, AZURE)
    assert len(calls) == 6
    assert call_of_deployment("/openai/deployments/m-1.5/chat/completions") == Call(CHAT, AZURE, "m-1.5")
    for path in (
        "/openai/deployments/m", "/openai/deployments//embeddings", "/openai/deployments/m/embeddings/",
        "/openai/deployments/a/b/embeddings", "/openai/deployments/m/images/generations", "/v1/embeddings",
    ):  # fmt: skip
        assert call_of_deployment(path) is None
    assert model_of("/v1/models/m") == model_of("/openai/models/m") == model_of("/openai/v1/models/m") == "m"
    assert model_of("/v1/models/") is None
    assert model_of("/v2/models/m") is None


def test_the_dialect_of_an_answer_is_that_of_the_path_found_or_not() -> None:
    assert surface_of("/openai/anything") is AZURE
    for path in ("/v1/chat/completions", "/openai", "/receipts/x", "/"):
        assert surface_of(path) is OPENAI


@pytest.mark.parametrize("query", ["api-version=2024-10-21", "x=1&api-version=2025-04-01-preview"])
def test_azures_dated_paths_ask_for_a_version(query) -> None:
    require_api_version("/openai/deployments/m/embeddings", query)
    for path in ("/openai/v1/embeddings", "/v1/embeddings", "/healthz"):
        require_api_version(path, "")


@pytest.mark.parametrize(
    "query", ["", "api-version=", "api-version=latest", "api-version=2024-10-21&api-version=2024-10-21", "%ff=%ff"]
)
def test_without_a_version_there_is_nothing_there(query) -> None:
    for path in ("/openai/deployments/m/embeddings", "/openai/models"):
        with pytest.raises(NotFound, match="api-version"):
            require_api_version(path, query)
