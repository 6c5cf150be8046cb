"""An application with the official client: only its base URL has changed."""

import json

import httpx
import openai
import pytest

from journeys.installation import Installation, free_port, get, openai_client, until
from journeys.playing_upstream import PlayingUpstream

BODY_BYTES_MAX = 100_000
ASK = [{"role": "user", "content": "How do you read me?"}]
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Er"
    "kJggg=="
)
IMAGE = [
    {
        "role": "user",
        "content": [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
    }
]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ABROAD = """\
model = "abroad"
provider = "azure"
type = "GlobalStandard"
region = "japaneast"
url = "http://127.0.0.1:{port}/chat"
"""


@pytest.fixture(scope="module")
def upstream():
    with PlayingUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("client") / "site") as installation:
        installation.declare("organisations", "default", 'title = "Test"\ndefault_residency = ["anywhere"]\n')
        installation.declare("providers", "azure", 'title = "Azure"\n')
        installation.declare("models", "abroad", 'title = "abroad"\n')
        installation.declare("deployments", "abroad", ABROAD.format(port=upstream.port))
        for part in ("chat", "breaks", "limit", "refuses"):
            installation.deployment(part, upstream.port, path=f"/{part}")
        installation.deployment("renamed", upstream.port, path="/chat", extra='upstream_model = "model-2026-11"\n')
        installation.deployment("down", free_port())
        installation.setting("gateway", "body_bytes_max", BODY_BYTES_MAX)
        installation.start()
        yield installation


@pytest.fixture
def client(running):
    with openai_client(running) as client:
        yield client


@pytest.fixture
async def async_client(running):
    http = httpx.AsyncClient(trust_env=False, timeout=30)
    async with openai.AsyncOpenAI(
        base_url=f"{running.base}/v1", api_key=running.key, max_retries=0, http_client=http
    ) as client:
        yield client


def text_of(chunks) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_models_are_listed_by_the_names_that_callers_use(client):
    names = {model.id for model in client.models.list()}
    assert {"manual", "chat", "abroad", "renamed"} <= names


@pytest.mark.parametrize("model", ["manual", "chat"])
def test_an_answer_tells_where_it_came_from_and_names_its_receipt(running, client, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=ASK)
    answer = raw.parse()
    assert answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert raw.headers["x-sekisho-deployment"] == {"manual": "manual-local"}.get(model, model)
    assert raw.headers["x-sekisho-jurisdiction"] == "JP"
    assert raw.headers["x-sekisho-labels"] == ""
    assert raw.headers["x-request-id"] == raw.headers["x-sekisho-receipt"] == answer._request_id


def test_a_stream_and_its_usage(client):
    with client.chat.completions.create(model="chat", messages=ASK, stream=True) as stream:
        chunks = list(stream)
    assert text_of(chunks) == "five by five"
    assert len(chunks) == 4
    assert all(chunk.usage is None for chunk in chunks)
    with client.chat.completions.create(
        model="chat", messages=ASK, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == 10


async def test_asynchronously_whole_and_streamed(async_client):
    answer = await async_client.chat.completions.create(model="chat", messages=ASK)
    assert answer.choices[0].message.content == "five by five"
    async with await async_client.chat.completions.create(model="chat", messages=ASK, stream=True) as stream:
        chunks = [chunk async for chunk in stream]
    assert text_of(chunks) == "five by five"


def test_the_streaming_helper_of_the_client(client):
    with client.chat.completions.stream(model="chat", messages=ASK) as stream:
        assert "content.done" in [event.type for event in stream]
        assert stream.get_final_completion().choices[0].message.content == "five by five"


@pytest.mark.parametrize("streamed", [False, True])
def test_a_forced_tool_call_and_its_result(client, upstream, streamed):
    force = {"type": "function", "function": {"name": "weather"}}
    answer = client.chat.completions.create(
        model="chat", messages=ASK, tools=[WEATHER], tool_choice=force, stream=streamed
    )
    call = (next(iter(list(answer))).choices[0].delta if streamed else answer.choices[0].message).tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "大阪"})
    called = {"id": call.id, "type": "function", "function": {"name": "weather", "arguments": call.function.arguments}}
    told = [
        *ASK,
        {"role": "assistant", "tool_calls": [called]},
        {"role": "tool", "tool_call_id": call.id, "content": "晴れ、23℃"},
    ]
    answer = client.chat.completions.create(model="chat", messages=told, tools=[WEATHER])
    assert answer.choices[0].message.content == "The tool said 晴れ、23℃"
    assert upstream.of("chat")[-1].document["messages"] == told


def test_the_built_in_model_calls_a_forced_tool_and_speaks_json(client):
    force = {"type": "function", "function": {"name": "weather"}}
    answer = client.chat.completions.create(model="manual", messages=ASK, tools=[WEATHER], tool_choice=force)
    assert answer.choices[0].message.tool_calls[0].function.name == "weather"
    answer = client.chat.completions.create(model="manual", messages=ASK, response_format={"type": "json_object"})
    assert isinstance(json.loads(answer.choices[0].message.content), dict)


def test_what_the_gateway_does_not_know_reaches_the_upstream_unchanged(client, upstream):
    """Numbers to the last digit, nested objects, null and all kinds of characters."""
    extra = {
        "min_p": 0.1, "guided_choice": ["はい", "いいえ"], "template": {"enable_thinking": False, "x": None},
        "big": 9007199254740993, "tiny": 5e-324, "text": "\u0000\u2028\U0001f600 \"quoted\" \\ /",
    }  # fmt: skip
    client.chat.completions.create(
        model="chat", messages=ASK, seed=7, temperature=0.30000000000000004, extra_body=extra,
        extra_headers={"x-other": "mine", "cookie": "secret"},
    )  # fmt: skip
    seen = upstream.of("chat")[-1]
    assert seen.document == {"model": "chat", "messages": ASK, "seed": 7, "temperature": 0.30000000000000004, **extra}
    # What is the caller's alone stays here: its key, its cookies, what client it uses.
    assert not {"authorization", "x-other", "cookie", "x-stainless-lang"} & set(seen.headers)
    assert seen.headers["user-agent"].startswith("sekisho/")
    assert seen.headers["x-request-id"]


def test_an_upstream_may_know_the_model_by_another_name(client, upstream):
    client.chat.completions.create(model="renamed", messages=ASK)
    assert upstream.of("chat")[-1].document["model"] == "model-2026-11"


def test_an_image_goes_to_a_deployment_at_home_and_is_refused_abroad(client, upstream):
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=IMAGE)
    assert "opaque" in raw.headers["x-sekisho-labels"]
    assert upstream.of("chat")[-1].document["messages"] == IMAGE
    raw = client.chat.completions.with_raw_response.create(model="abroad", messages=ASK)  # without one it may
    assert raw.headers["x-sekisho-jurisdiction"] == "anywhere"
    before = len(upstream.seen)
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.chat.completions.create(model="abroad", messages=IMAGE)
    assert "can't be read" in refused.value.body["message"]
    assert len(upstream.seen) == before


def raises(client, kind, status, **request):
    with pytest.raises(kind) as raised:
        client.chat.completions.create(**{"model": "chat", "messages": ASK, **request})
    error = raised.value
    assert error.status_code == status
    assert set(error.body) == {"message", "type", "param", "code"}
    assert error.body["message"]
    assert "Traceback" not in error.body["message"]
    return error


def test_each_error_is_the_exception_that_applications_expect(running, client):
    error = raises(client, openai.BadRequestError, 400, messages="hello")
    assert (error.param, error.code) == ("messages", "invalid_request")
    assert error.request_id
    assert raises(client, openai.BadRequestError, 400, model="refuses").body["message"] == "this model has no 'seed'"
    error = raises(client, openai.NotFoundError, 404, model="gpt-9")
    assert (error.param, error.code) == ("model", "model_not_found")
    error = raises(
        client, openai.PermissionDeniedError, 403, model="abroad",
        extra_headers={"x-sekisho-data-class": "confidential"},
    )  # fmt: skip
    assert error.response.headers["x-sekisho-receipt"] == error.request_id
    assert error.type == "permission_error"
    error = raises(client, openai.RateLimitError, 429, model="limit")
    assert error.response.headers["retry-after"] == "7"
    assert error.body["message"] == "slow down"
    error = raises(client, openai.InternalServerError, 502, model="down")
    assert error.code == "upstream_connect"
    with openai_client(running, "sk-nobody") as stranger:
        assert raises(stranger, openai.AuthenticationError, 401).code == "invalid_api_key"


def test_a_body_over_the_bound(client):
    messages = [{"role": "user", "content": "x" * BODY_BYTES_MAX}]
    error = raises(client, openai.APIStatusError, 413, messages=messages)
    assert str(BODY_BYTES_MAX) in error.body["message"]


def test_a_stream_that_breaks_never_looks_complete(client):
    with client.chat.completions.create(model="breaks", messages=ASK, stream=True) as stream:
        begun = next(stream)
        with pytest.raises(openai.APIError, match="before it was complete"):
            next(stream)
    assert begun.choices[0].delta.content == "begun"


def test_nothing_leaves_while_the_ledger_can_not_record(tmp_path, upstream):
    with Installation(tmp_path / "site") as full:
        full.deployment("chat", upstream.port, path="/chat")
        full.apply()
        full.setting("ledger", "free_reserve_bytes", 2**60)
        full.start("gateway")
        until(lambda: get(f"{full.base}/healthz")[0] == 200, what="the gateway")
        before = len(upstream.seen)
        with openai_client(full) as client:
            error = raises(client, openai.InternalServerError, 503)
        assert error.code == "ledger_full"
        assert error.response.headers["retry-after"]
        assert "free disk space" in error.body["message"]
        assert len(upstream.seen) == before
        status, body, _ = get(f"{full.base}/readyz")
        assert (status, json.loads(body)["status"]) == (503, "not ready")
