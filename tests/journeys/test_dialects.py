"""Applications of OpenAI and of Azure OpenAI with the official clients: every operation at every surface."""

import json

import httpx
import openai
import pytest

from journeys.installation import Installation, get
from journeys.playing_upstream import PlayingUpstream

VERSION = "2024-10-21"
ASK = [{"role": "user", "content": "How do you read me?"}]
MY_NUMBER = "123456789018"
# Where a client finds the gateway, and what else it is told.
SURFACES = {
    "openai": (openai.OpenAI, openai.AsyncOpenAI, "/v1", {}),
    "azure v1": (openai.OpenAI, openai.AsyncOpenAI, "/openai/v1", {}),
    "azure": (openai.AzureOpenAI, openai.AsyncAzureOpenAI, "", {"api_version": VERSION}),
    "azure deployment": (
        openai.AzureOpenAI, openai.AsyncAzureOpenAI, "", {"api_version": VERSION, "azure_deployment": "MODEL"},
    ),
}  # fmt: skip
MODELS = ("at-openai", "at-azure")
every_surface = pytest.mark.parametrize("surface", SURFACES)
every_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="module")
def upstream():
    with PlayingUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("dialects") / "site") as installation:
        installation.deployment("at-openai", upstream.port, path="/serves")
        azure = f'dialect = "azure"\napi_version = "{VERSION}"\nupstream_model = "gpt 4o"\n'
        key = 'credential = { file = "keys/azure" }\n'
        installation.deployment("at-azure", upstream.port, path="/serves", extra=azure + key)
        installation.deployment("not-there", upstream.port, path="/not-there")
        installation.deployment("limit", upstream.port, path="/limit")
        installation.deployment("breaks", upstream.port, path="/breaks")
        secret = installation.root / "keys" / "azure"
        secret.touch(0o600)
        secret.write_text("azure-secret\n")
        installation.start()
        yield installation


def settings(running, surface, model, key=None):
    _, _, path, more = SURFACES[surface]
    more = {name: model if value == "MODEL" else value for name, value in more.items()}
    where = {"azure_endpoint": running.base} if not path else {"base_url": running.base + path}
    return {**where, **more, "api_key": key or running.key, "max_retries": 0}


def client_of(running, surface, model, key=None):
    http = httpx.Client(trust_env=False, timeout=30)
    return SURFACES[surface][0](**settings(running, surface, model, key), http_client=http)


def async_client_of(running, surface, model):
    http = httpx.AsyncClient(trust_env=False, timeout=30)
    return SURFACES[surface][1](**settings(running, surface, model), http_client=http)


@every_surface
@every_model
def test_chat(running, upstream, surface, model):
    with client_of(running, surface, model) as client:
        raw = client.chat.completions.with_raw_response.create(model=model, messages=ASK)
        assert raw.parse().choices[0].message.content == "five by five"
        assert raw.headers["x-sekisho-deployment"] == model
        asked = {"model": model, "messages": ASK, "stream": True, "stream_options": {"include_usage": True}}
        with client.chat.completions.create(**asked) as stream:
            chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "five by five"
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 10)
    expect_arrival(upstream.of("serves")[-1], model, "chat/completions")


@every_surface
@every_model
def test_completions(running, upstream, surface, model):
    with client_of(running, surface, model) as client:
        assert client.completions.create(model=model, prompt="How?", suffix=".").choices[0].text == "five by five"
        asked = {"model": model, "prompt": "How?", "stream": True, "stream_options": {"include_usage": True}}
        with client.completions.create(**asked) as stream:
            chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "five by five"
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 10)
    expect_arrival(upstream.of("serves")[-1], model, "completions")


@every_surface
@every_model
def test_embeddings_as_numbers_and_in_base64_as_the_client_asks_by_itself(running, upstream, surface, model):
    with client_of(running, surface, model) as client:
        answer = client.embeddings.create(model=model, input=["one", "two"])
        assert [item.embedding for item in answer.data] == [[0.5, -0.25]] * 2
        assert upstream.of("serves")[-1].document["encoding_format"] == "base64"
        answer = client.embeddings.create(model=model, input="one", encoding_format="float")
        assert (answer.data[0].embedding, answer.usage.total_tokens) == ([0.5, -0.25], 4)
    expect_arrival(upstream.of("serves")[-1], model, "embeddings")


@every_surface
async def test_asynchronously(running, surface):
    model = "at-azure"
    async with async_client_of(running, surface, model) as client:
        answer = await client.chat.completions.create(model=model, messages=ASK)
        assert answer.choices[0].message.content == "five by five"
        async with await client.completions.create(model=model, prompt="How?", stream=True) as stream:
            assert "".join([chunk.choices[0].text async for chunk in stream]) == "five by five"
        answer = await client.embeddings.create(model=model, input="one")
        assert answer.data[0].embedding == [0.5, -0.25]


def expect_arrival(seen, model, operation):
    """What came, where the deployment's dialect has it, with the key shown as it is shown there."""
    if model == "at-openai":
        assert seen.target == f"/serves/{operation}"
        assert seen.document["model"] == model
    else:
        assert seen.target == f"/serves/openai/deployments/gpt%204o/{operation}?api-version={VERSION}"
        assert seen.headers["api-key"] == "azure-secret"
        assert seen.document["model"] == "gpt 4o"
    assert "authorization" not in seen.headers


@every_surface
@pytest.mark.parametrize("streamed", [False, True])
def test_tools(running, surface, streamed):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    force = {"type": "function", "function": {"name": "weather"}}
    with client_of(running, surface, "at-azure") as client:
        answer = client.chat.completions.create(
            model="at-azure", messages=ASK, tools=[tool], tool_choice=force, stream=streamed
        )
        call = (next(iter(list(answer))).choices[0].delta if streamed else answer.choices[0].message).tool_calls[0]
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "weather", '{"city":"大阪"}')


@every_surface
def test_models(running, surface):
    with client_of(running, surface, "at-openai") as client:
        assert {*MODELS, "manual"} <= {model.id for model in client.models.list()}
        assert client.models.retrieve("at-openai").id == "at-openai"
        with pytest.raises(openai.NotFoundError) as refused:
            client.models.retrieve("gpt-9")
    assert refused.value.code == ("model_not_found" if surface == "openai" else "DeploymentNotFound")


@every_surface
def test_each_error_is_the_exception_that_applications_of_the_dialect_expect(running, surface):
    azure = surface != "openai"

    def raises(kind, status, model, operation="embeddings", key=None, **fields):
        with client_of(running, surface, model, key) as client, pytest.raises(kind) as raised:
            getattr(client, operation).create(model=model, **fields)
        assert raised.value.status_code == status
        assert raised.value.message
        return raised.value

    error = raises(openai.AuthenticationError, 401, "at-openai", input="x", key="sk-nobody")
    assert error.code == ("401" if azure else "invalid_api_key")
    error = raises(openai.NotFoundError, 404, "gpt-9", input="x")
    assert error.code == ("DeploymentNotFound" if azure else "model_not_found")
    error = raises(openai.BadRequestError, 400, "at-openai", input=[])
    assert (error.code, error.param) == ("BadRequest" if azure else "invalid_request", "input")
    error = raises(openai.NotFoundError, 404, "not-there", "completions", prompt="x")
    assert error.code == ("OperationNotSupported" if azure else "operation_not_served")
    assert "does not serve completions" in error.body["message"]
    assert error.response.headers["x-sekisho-receipt"]
    error = raises(openai.RateLimitError, 429, "limit", input="x")
    assert (error.response.headers["retry-after"], error.body["message"]) == ("7", "slow down")
    error = raises(openai.NotFoundError, 404, "manual", input="x")
    assert "does not serve embeddings" in error.body["message"]


@every_surface
def test_a_stream_that_breaks_never_looks_complete(running, surface):
    with (
        client_of(running, surface, "breaks") as client,
        client.chat.completions.create(model="breaks", messages=ASK, stream=True) as stream,
    ):
        assert next(stream).choices[0].delta.content == "begun"
        with pytest.raises(openai.APIError, match="before it was complete") as broken:
            next(stream)
    assert broken.value.body["code"] == ("upstream_incomplete" if surface == "openai" else "BadGateway")


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("completions", {"prompt": ["fine", f"個人番号は{MY_NUMBER}です"]}),
        ("embeddings", {"input": [f"個人番号は{MY_NUMBER}です"]}),
        ("embeddings", {"input": [1, 2, 3]}),
    ],
)
def test_prompts_and_inputs_are_inspected_and_the_receipt_names_the_operation(running, operation, fields):
    with client_of(running, "azure", "at-openai") as client:
        raw = getattr(client, operation).with_raw_response.create(model="at-openai", **fields)
    unreadable = fields.get("input") == [1, 2, 3]
    assert raw.headers["x-sekisho-labels"] == ("opaque" if unreadable else "jp.my_number")
    receipt = running.receipt(raw.headers["x-sekisho-receipt"])
    assert f'"operation":"{operation}"'.encode() in receipt
    assert MY_NUMBER.encode() not in receipt


def test_azures_paths_without_a_version_are_not_there(running):
    status, body, _ = get(f"{running.base}/openai/models", running.key)
    assert (status, json.loads(body)["error"]["code"]) == (404, "404")
    assert get(f"{running.base}/openai/models?api-version={VERSION}", running.key)[0] == 200
