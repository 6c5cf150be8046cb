"""The gateway's paths, and errors as answers."""

import logging

import orjson
import pytest

from gateway_fakes import Script, World, asking
from sekisho.gateway.dialects.operations import OPERATIONS
from sekisho.gateway.errors import Unavailable
from sekisho.gateway.http1.interfaces import InboundRequest, Peer
from sekisho.gateway.interfaces import ReceiptAnswer
from sekisho.gateway.surface import Surface
from sekisho.kernel.clock import SystemClock

VERSION = "?api-version=2024-10-21"
KEY = {b"authorization": b"Bearer sk-good"}
RECEIPT = "01a20a17-737b-78b0-8e26-14a3746e95ae"


class Ledger:
    """Receipts that answer as told, and note for whom."""

    def __init__(self):
        self.answer = ReceiptAnswer("unknown")
        self.asked = []

    async def receipt(self, request_id, organisation):
        self.asked.append((request_id, organisation))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def world():
    made = World()
    made.receipts = Ledger()
    made.not_ready = []
    made.surface = Surface(
        pipeline=made.pipeline,
        receipts=made.receipts,
        in_force=lambda: made.in_force,
        metrics=made.metrics,
        clock=SystemClock(),
        ids=made.ids,
        readiness=lambda: made.not_ready,
        gauges=lambda: {"sekisho_ledger_full": 0.0, "sekisho_register_age_seconds": 0.1},
    )
    return made


async def call(world, method, path, headers=None, body=b""):
    path, _, query = path.partition("?")
    await world.surface(
        InboundRequest(method, path, query, headers or {}, body, Peer("127.0.0.1", 1, None)), world.responder
    )
    return world.responder.status


@pytest.mark.parametrize("path", ["/v1/models", "/openai/v1/models", f"/openai/models{VERSION}"])
async def test_models_are_listed_for_a_key_only(world, path):
    assert await call(world, "GET", path, KEY) == 200
    assert [model["id"] for model in orjson.loads(world.responder.body)["data"]] == ["m"]


@pytest.mark.parametrize("path", ["/v1/models/{}", "/openai/v1/models/{}", f"/openai/models/{{}}{VERSION}"])
@pytest.mark.parametrize(("name", "key", "status"), [("m", KEY, 200), ("n", KEY, 404), ("m", {}, 401)])
async def test_a_model_is_told_of_for_a_key_only(world, path, name, key, status):
    assert await call(world, "GET", path.format(name), key) == status
    answer = orjson.loads(world.responder.body)
    assert answer.get("id") == (name if status == 200 else None)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
@pytest.mark.parametrize("path", ["/v1{}", "/openai/v1{}", f"/openai/deployments/m{{}}{VERSION}"])
async def test_every_operation_is_at_every_surface(world, operation, path):
    world.script("a", Script(body=b'{"choices":[]}'))
    assert await call(world, "POST", path.format(operation.path), KEY, orjson.dumps(asking(operation, "hi"))) == 200
    assert world.client.exchanges[0].target == f"/v1{operation.path}"


@pytest.mark.parametrize(
    ("path", "key", "status", "code"),
    [
        (f"/openai/deployments/m/embeddings{VERSION}", {}, 401, "401"),
        ("/openai/deployments/m/embeddings", KEY, 404, "404"),
        ("/openai/deployments/m/embeddings?api-version=", KEY, 404, "404"),
        (f"/openai/deployments/gpt-9/embeddings{VERSION}", KEY, 404, "DeploymentNotFound"),
        (f"/openai/deployments/m/images{VERSION}", KEY, 404, "404"),
        ("/openai/v1/embeddings", {}, 401, "401"),
        ("/openai/v1/chat/completions", KEY, 400, "BadRequest"),
    ],
)
async def test_errors_of_azures_paths_are_azures(world, path, key, status, code):
    assert await call(world, "POST", path, key, b'{"input":"hi","model":null}' if "v1" not in path else b"{}") == status
    error = orjson.loads(world.responder.body)["error"]
    assert error["code"] == code
    assert error["message"]
    assert world.client.exchanges == []


async def test_without_a_key_is_401_in_the_shape_of_openai(world):
    assert await call(world, "GET", "/v1/models") == 401
    error = orjson.loads(world.responder.body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == "invalid_api_key"
    assert world.responder.headers[b"www-authenticate"] == b"Bearer"
    assert world.metrics.statuses[401] == 1


async def test_an_unknown_path_is_404(world):
    assert await call(world, "GET", "/nowhere") == 404
    assert orjson.loads(world.responder.body)["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/chat/completions", b"POST, GET"),
        ("DELETE", "/v1/models", b"GET"),
        ("POST", "/v1/models/m", b"GET"),
        ("GET", f"/openai/deployments/m/embeddings{VERSION}", b"POST"),
        ("POST", f"/receipts/{RECEIPT}", b"GET"),
    ],
)
async def test_a_wrong_method_is_405_and_says_which_are_allowed(world, method, path, allow):
    assert await call(world, method, path, KEY) == 405
    assert world.responder.headers[b"allow"] == allow


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (ReceiptAnswer("complete", b"{}"), 200),
        (ReceiptAnswer("pending"), 202),
        (ReceiptAnswer("unknown"), 404),
        (ReceiptAnswer("unlinked"), 410),
    ],
)
async def test_a_receipt_is_asked_for_on_behalf_of_the_keys_organisation(world, answer, status):
    world.receipts.answer = answer
    assert await call(world, "GET", f"/receipts/{RECEIPT}", KEY) == status
    assert world.receipts.asked == [(RECEIPT, "default")]
    assert (b"retry-after" in world.responder.headers) == (status == 202)


async def test_what_is_no_receipts_id_is_400_and_not_looked_for(world):
    assert await call(world, "GET", "/receipts/..%2Fcheckpoint", KEY) == 400
    assert world.receipts.asked == []


async def test_readiness_names_its_reasons(world):
    assert await call(world, "GET", "/readyz") == 200
    world.responder.started = False
    world.not_ready = ["the ledger takes no new decision"]
    world.responder.body, world.responder.ended = b"", False
    assert await call(world, "GET", "/readyz") == 503
    assert orjson.loads(world.responder.body)["reasons"] == world.not_ready


async def test_readiness_names_its_reasons_when_no_rules_are_in_force_too(world):
    def over():
        raise Unavailable("a fact has ended", code="epoch_over")

    world.surface._in_force = over
    world.not_ready = ["a fact has ended"]
    assert await call(world, "GET", "/readyz") == 503
    said = orjson.loads(world.responder.body)
    assert (said["status"], said["reasons"], said["snapshot"]) == ("not ready", ["a fact has ended"], None)


async def test_alive_and_metrics_need_no_key(world):
    assert await call(world, "HEAD", "/healthz") == 200
    world.responder.started, world.responder.ended = False, False
    assert await call(world, "GET", "/metrics") == 200
    assert b'sekisho_requests_total{status="200"} 1\n' in world.responder.body


async def test_a_fault_of_ours_is_500_and_says_nothing_of_itself(world, caplog):
    world.receipts.answer = RuntimeError("the secret is hunter2")
    assert await call(world, "GET", f"/receipts/{RECEIPT}", KEY) == 500
    assert b"hunter2" not in world.responder.body
    assert "hunter2" in caplog.text
    assert world.responder.headers[b"x-request-id"].decode() in caplog.text


async def test_an_error_after_the_answer_began_aborts_it(world):
    world.responder.started = True
    world.receipts.answer = Unavailable("no")
    await call(world, "GET", f"/receipts/{RECEIPT}", KEY)
    assert world.responder.aborted
    assert world.responder.body == b""


async def test_the_log_does_not_repeat_what_a_caller_wrote(world, caplog):
    caplog.set_level(logging.INFO)
    body = orjson.dumps({"model": "my-private-words", "messages": [{"role": "user", "content": "hi"}]})
    assert await call(world, "POST", "/v1/chat/completions", KEY, body) == 404
    assert await call(world, "GET", "/my-private-path", KEY) == 404
    assert b"my-private-words" in world.responder.body
    assert "model_not_found" in caplog.text
    assert "my-private" not in caplog.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/files"),
        ("GET", "/v1/files/file-1/content"),
        ("POST", "/openai/v1/batches"),
        ("GET", f"/openai/batches/b-1{VERSION}"),
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/chat/completions/chatcmpl-1"),
        ("DELETE", "/openai/v1/chat/completions/chatcmpl-1"),
        ("GET", "/v1/responses/resp_1"),
        ("POST", "/v1/vector_stores"),
    ],
)
async def test_what_lives_in_kept_content_is_403_and_says_so(world, method, path):
    assert await call(world, method, path, KEY) == 403
    error = orjson.loads(world.responder.body)["error"]
    assert error.get("innererror", error)["code"] == "content_not_kept"
    assert "keeps no content" in error["message"]


async def test_nobody_is_told_of_kept_content_without_a_key(world):
    assert await call(world, "GET", "/v1/files") == 401


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/filesystem", "/v1/chat/completions/", "/v2/files"])
async def test_what_only_looks_like_it_is_404(world, path):
    assert await call(world, "GET", path, KEY) == 404
