"""The built-in engine as a real process, asked through the official client."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import openai
import pytest

SOURCE = Path(__file__).parents[2] / "src"
WAIT_SECONDS = 20


def start(*arguments, **options):
    process = subprocess.Popen(
        [sys.executable, "-m", "sekisho.capacity.manual", "--listen", "127.0.0.1:0", *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    line = process.stdout.readline()
    return process, line.strip().rpartition(" ")[2]


@pytest.fixture(scope="module")
def engine():
    process, url = start("--model", "manual")
    with process:
        yield url
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT_SECONDS) == 0


@pytest.fixture
def client(engine):
    with openai.OpenAI(base_url=f"{engine}/v1", api_key="none", max_retries=0, timeout=WAIT_SECONDS) as client:
        yield client


def ask(client, question, **more):
    return client.chat.completions.create(model="manual", messages=[{"role": "user", "content": question}], **more)


@pytest.mark.parametrize(
    ("question", "word"), [("How do I verify a receipt?", "sekisho verify"), ("台帳とは", "透明性ログ")]
)
def test_streamed_and_whole_answers_are_the_same(client, question, word):
    whole = ask(client, question)
    assert word in whole.choices[0].message.content
    assert whole.choices[0].finish_reason == "stop"
    chunks = list(ask(client, question, stream=True, stream_options={"include_usage": True}))
    assert len(chunks) > 10
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens > 10
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"


def test_without_include_usage_no_chunk_speaks_of_it(client, engine):
    body = {"model": "manual", "messages": [{"role": "user", "content": "台帳とは"}], "stream": True}
    events = httpx.post(f"{engine}/v1/chat/completions", json=body).text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert all("usage" not in json.loads(event.removeprefix("data: ")) for event in events[:-1])


def test_json_mode_tools_and_limits(client):
    answer = ask(client, "What is a witness?", response_format={"type": "json_object"})
    assert json.loads(answer.choices[0].message.content)["sources"]
    assert ask(client, "What is a witness?", max_tokens=3).choices[0].finish_reason == "length"
    schema = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
    tool = {"type": "function", "function": {"name": "search", "parameters": schema}}
    for stream in (False, True):
        answer = ask(client, "台帳", tools=[tool], tool_choice="required", stream=stream)
        call = (next(iter(answer)).choices[0].delta if stream else answer.choices[0].message).tool_calls[0]
        assert (call.function.name, json.loads(call.function.arguments)) == ("search", {"query": "台帳"})


def test_models_and_health(client, engine):
    assert [model.id for model in client.models.list()] == ["manual"]
    assert httpx.get(f"{engine}/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b"null", 400),
        (b'{"model":"other","messages":[{"role":"user","content":"x"}]}', 404),
        (b'{"model":"manual","messages":[{"role":"user","content":"x"}],"n":2}', 400),
        (b" " * (32 * 1024 * 1024 + 1), 413),
    ],
    ids=["cut", "not UTF-8", "deep", "null", "other model", "two choices", "large"],
)
def test_bad_input_has_its_status_in_the_shape_of_openai(engine, content, status):
    answer = httpx.post(f"{engine}/v1/chat/completions", content=content, timeout=WAIT_SECONDS)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert "Traceback" not in error["message"]


def test_paths_and_methods_that_are_not_served(engine):
    assert httpx.get(f"{engine}/nothing").json()["error"]["code"] == "not_found"
    assert httpx.get(f"{engine}/v1/chat/completions").status_code == 405


def test_it_ends_with_its_parent():
    process, url = start("--exit-with-parent", stdin=subprocess.PIPE)
    with process:
        assert httpx.get(f"{url}/healthz").status_code == 200
        process.stdin.close()
        assert process.wait(WAIT_SECONDS) == 0


def test_an_address_that_is_none_is_explained():
    command = [sys.executable, "-m", "sekisho.capacity.manual", "--listen", "8080"]
    result = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True)
    assert result.returncode == 2
    assert "HOST:PORT" in result.stderr
