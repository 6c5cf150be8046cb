"""`sekisho engine serve`: a real model process, asked through the official client, killed, and given bad files."""

import json
import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import openai
import pytest

from journeys.installation import ENVIRONMENT, SEKISHO, get, sekisho, until
from journeys.llama_engine import LlamaEngine, alive
from tiny_gguf import CONTEXT, TOKEN_OF, TOOL_CALL, WIDTH, write_tiny_gguf

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install 'sekisho[server,engine]'")

ASK = [{"role": "user", "content": "関所とは"}]
WAIT_S = 30  # a generation that goes on to the end of its context takes minutes
COLOUR = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "green"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "pick", "parameters": COLOUR}}
# The grammar lets white space and calls go on for ever, and so would this model.
SPACE = ("<0x0A>", "<0x09>", "<0x20>", "▁")
WORTH = {"</s>": 200, TOOL_CALL: 100, **dict.fromkeys(SPACE, -100)}
TO_THE_POINT = {str(TOKEN_OF[text]): worth for text, worth in WORTH.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("llama")


@pytest.fixture(scope="module")
def model(folder):
    return write_tiny_gguf(folder / "tiny.gguf")


@pytest.fixture(scope="module")
def engine(folder, model):
    with LlamaEngine(model, folder / "log", "--model", "tiny", "--context", CONTEXT) as engine:
        yield engine.ready()


@pytest.fixture
def client(engine):
    with openai_client(engine) as client:
        yield client


def openai_client(engine):
    http = httpx.Client(trust_env=False, timeout=WAIT_S)
    return openai.OpenAI(base_url=f"{engine.url}/v1", api_key="none", max_retries=0, http_client=http)


def chat(client, **more):
    return client.chat.completions.create(
        **{"model": "tiny", "messages": ASK, "max_tokens": 8, "temperature": 0, "seed": 1, **more}
    )


# -- what it serves


def test_streamed_and_whole_answers_are_the_same_and_counted(client):
    whole = chat(client)
    assert (whole.object, whole.model, whole.choices[0].finish_reason) == ("chat.completion", "tiny", "length")
    assert whole.choices[0].message.role == "assistant"
    assert whole.choices[0].message.content.split()
    assert whole.usage.completion_tokens == 8
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 8 > 20
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "length"
    assert all(chunk.usage is None for chunk in chat(client, stream=True))


def test_temperature_zero_answers_alike_and_a_seed_decides_the_rest(client):
    assert len({chat(client).choices[0].message.content for _ in range(3)}) == 1
    lively = [chat(client, temperature=2.0, max_tokens=24, seed=s).choices[0].message.content for s in (1, 1, 2)]
    assert lively[0] == lively[1] != lively[2]


def test_completions(client):
    answer = client.completions.create(model="tiny", prompt="ka ki", max_tokens=4, temperature=0)
    assert (answer.choices[0].finish_reason, answer.usage.completion_tokens) == ("length", 4)


def test_embeddings(folder, model):
    with LlamaEngine(model, folder / "embeddings", "--context", 4096, "--embeddings") as engine:
        client = openai_client(engine.ready())
        answer = client.embeddings.create(model="tiny", input=["ka", "ki ku " * 500, "ka"])  # base64, by default
        one, long, again = (item.embedding for item in answer.data)
        assert len(one) == len(long) == WIDTH
        assert one == pytest.approx(again)
        assert one != pytest.approx(long)
        assert sum(number * number for number in one) == pytest.approx(1, abs=1e-3)
        assert answer.usage.prompt_tokens > 1000
        with pytest.raises(openai.BadRequestError, match="shorten"):
            client.embeddings.create(model="tiny", input="ka", dimensions=3)
        with pytest.raises(openai.BadRequestError) as raised:
            client.embeddings.create(model="tiny", input="x" * 5000)
        assert raised.value.code == "context_length_exceeded"
        client.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_is_forced_is_called_with_arguments_that_fit(client, stream):
    wish = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 300}
    answer = chat(client, stream=stream, logit_bias=TO_THE_POINT, **wish)
    if stream:
        chunks = [chunk.choices[0] for chunk in answer]
        parts = [call.function for chunk in chunks for call in chunk.delta.tool_calls or ()]
        name, arguments = "".join(p.name or "" for p in parts), "".join(p.arguments or "" for p in parts)
        finish = chunks[-1].finish_reason
    else:
        (call,) = answer.choices[0].message.tool_calls
        name, arguments, finish = call.function.name, call.function.arguments, answer.choices[0].finish_reason
    assert (name, finish) == ("pick", "tool_calls")
    assert json.loads(arguments)["colour"] in ("red", "green")


def test_a_schema_is_kept(client):
    schema = {"type": "json_schema", "json_schema": {"name": "colour", "schema": COLOUR}}
    answer = chat(client, response_format=schema, max_tokens=300)
    assert json.loads(answer.choices[0].message.content)["colour"] in ("red", "green")


def test_models_and_health(client, engine):
    assert [one.id for one in client.models.list()] == ["tiny"]
    status, body, _ = get(f"{engine.url}/healthz")
    assert (status, json.loads(body)) == (200, {"status": "ready", "model": "tiny", "in_flight": 0})


@pytest.mark.parametrize(
    ("path", "content", "status", "code"),
    [
        ("chat/completions", b"{", 400, None),
        ("chat/completions", b"[]", 400, None),
        ("chat/completions", b'{"messages":[]}', 400, None),
        ("chat/completions", b'{"model":"other","messages":[]}', 404, "model_not_found"),
        ("chat/completions", b'{"model":"tiny","messages":3}', 400, None),
        ("chat/completions", b'{"model":"tiny","messages":[{"role":"user","content":"x"}],"n":3}', 400, None),
        ("completions", b'{"model":"tiny","prompt":"x","grammar":"root ::= (("}', 400, None),
        ("embeddings", b'{"model":"tiny","input":"x"}', 400, "unsupported"),
        ("audio/speech", b"{}", 404, "not_found"),
        ("completions", b'{"model":"tiny","prompt":"%s"}' % (b"x" * (CONTEXT + 1)), 400, "context_length_exceeded"),
        ("completions", b" " * (32 * 1024 * 1024 + 1), 413, None),
    ],
)
def test_bad_requests_are_refused_in_the_shape_of_openai(engine, path, content, status, code):
    answer = httpx.post(f"{engine.url}/v1/{path}", content=content, timeout=WAIT_S)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert set(error) == {"message", "type", "param", "code"}


def test_an_image_is_refused_by_a_model_that_can_not_see(client):
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(openai.BadRequestError, match="not supported"):
        chat(client, messages=[{"role": "user", "content": [part]}])


# -- callers that leave, and more callers than places


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_that_leaves_ends_its_generation(client, engine, stream):
    """The one slot is free again, minutes before the generation would have ended."""
    body = {"model": "tiny", "messages": ASK, "stream": stream}
    with httpx.Client(trust_env=False, timeout=WAIT_S) as http:
        if stream:
            with http.stream("POST", f"{engine.url}/v1/chat/completions", json=body) as answer:
                assert next(answer.iter_raw())
        else:
            with pytest.raises(httpx.ReadTimeout):
                http.post(f"{engine.url}/v1/chat/completions", json=body, timeout=0.5)
    until(lambda: json.loads(get(f"{engine.url}/healthz")[1])["in_flight"] == 0, WAIT_S, "the engine's noticing")
    assert chat(client).usage.completion_tokens == 8


def test_what_is_more_than_may_wait_is_told_to_come_again(engine, client):
    """One is computed, eight wait; their callers leave, and the next is served."""

    def in_flight(number):
        return lambda: json.loads(get(f"{engine.url}/healthz")[1])["in_flight"] == number

    body = b'{"model": "tiny", "prompt": "ka", "stream": true}'
    head = b"POST /v1/completions HTTP/1.1\r\nhost: e\r\ncontent-length: %d\r\n\r\n" % len(body)
    address = engine.url.removeprefix("http://").split(":")
    with ExitStack() as callers:
        for _ in range(9):
            callers.enter_context(socket.create_connection((address[0], int(address[1])))).sendall(head + body)
        until(in_flight(9), WAIT_S, "nine requests")
        answer = httpx.post(f"{engine.url}/v1/completions", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "engine_busy")
        assert answer.headers["retry-after"] == "1"
    until(in_flight(0), WAIT_S, "an empty engine")
    assert chat(client).usage.completion_tokens == 8


# -- ends


def test_a_crash_of_the_model_is_told_to_its_callers_and_mended(engine, client):
    before = engine.model_process()
    stream = iter(chat(client, stream=True, max_tokens=None))
    next(stream)
    os.kill(before, signal.SIGSEGV)
    with pytest.raises(openai.APIError, match="model process ended"):
        list(stream)
    with ThreadPoolExecutor(1) as caller:
        second = engine.ready().model_process()
        os.kill(second, signal.SIGSTOP)  # or it may have answered before anybody looks
        waiting = caller.submit(chat, client, max_tokens=None)
        until(lambda: json.loads(get(f"{engine.url}/healthz")[1])["in_flight"] == 1, WAIT_S, "a request")
        for number in (signal.SIGSEGV, signal.SIGCONT):
            os.kill(second, number)
        with pytest.raises(openai.InternalServerError, match="ended before it answered"):
            waiting.result(WAIT_S)
    engine.ready()
    assert engine.model_process() != before
    assert "signal 11" in engine.log.read_text()
    assert chat(client).usage.completion_tokens == 8


def test_sigterm_ends_it_and_its_model_within_the_bound_even_with_a_stream_under_way(folder, model):
    with LlamaEngine(model, folder / "term", "--context", CONTEXT) as engine:
        process = engine.ready().model_process()
        body = {"model": "tiny", "prompt": "ka", "stream": True}
        with (
            httpx.Client(trust_env=False, timeout=WAIT_S) as http,
            http.stream("POST", f"{engine.url}/v1/completions", json=body) as answer,
        ):
            pieces = answer.iter_raw()
            next(pieces)
            engine.process.send_signal(signal.SIGTERM)
            rest = b"".join(pieces)
        assert b'"code": "model_gone"' in rest  # never as though it were complete
        assert b"[DONE]" not in rest
        assert engine.process.wait(WAIT_S) == 0
        assert not alive(process)
        assert "Traceback" not in engine.log.read_text()


def test_it_ends_with_its_parent_and_the_model_ends_with_it_however_it_ends(folder, model):
    with LlamaEngine(model, folder / "parent", "--exit-with-parent", stdin=subprocess.PIPE) as engine:
        process = engine.ready().model_process()
        engine.process.stdin.close()
        assert engine.process.wait(WAIT_S) == 0
        assert not alive(process)
    with LlamaEngine(model, folder / "killed") as engine:
        process = engine.ready().model_process()
        assert engine.stop(signal.SIGKILL) == -signal.SIGKILL
        until(lambda: not alive(process), WAIT_S, "the model's end")


# -- bad files


def cut(data: bytes) -> bytes:
    return data[: len(data) - 8000]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "does not exist"),
        (lambda data: b"", "is empty"),
        (lambda data: b"hello", "is not a GGUF file"),
        (lambda data: data[:2000], "truncated"),
        (cut, "truncated or damaged"),
        (lambda data: data.replace(b"llama", b"sek9o"), "'sek9o', which this llama.cpp does not support"),
        (lambda data: data.replace(b"tokenizer.ggml.tokens", b"tokenizer.ggml.tokenz"), "can't be loaded"),
    ],
    ids=["missing", "empty", "text", "cut head", "cut weights", "architecture", "no words"],
)
def test_a_bad_file_is_one_clear_line(tmp_path, model, change, says):
    file = tmp_path / "bad.gguf"
    if change is not None:
        file.write_bytes(change(model.read_bytes()))
    done = sekisho("engine", "serve", file, "--listen", "127.0.0.1:0", check=False)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith("sekisho engine: ")
    assert says in line
    assert str(file) in line


def test_memory_that_is_not_there_is_said_so(model):
    limit = 3 * 1024**3  # of addresses; the cache alone takes 2 GiB
    done = subprocess.run(
        ["prlimit", f"--as={limit}", *SEKISHO, "engine", "serve", model, "--listen", "127.0.0.1:0",
         "--context", str(CONTEXT), "--parallel", "64"],
        capture_output=True, text=True, timeout=60, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 1
    assert "not enough memory" in done.stderr
    assert "--context" in done.stderr


def test_under_a_supervisor_it_goes_on_to_say_why_and_loads_the_file_once_it_is_right(folder, model, tmp_path):
    file = tmp_path / "late.gguf"
    file.write_bytes(cut(model.read_bytes()))
    with LlamaEngine(file, folder / "late", "--exit-with-parent", stdin=subprocess.PIPE) as engine:
        until(lambda: b"failed" in get(f"{engine.url}/healthz")[1], WAIT_S, "the failure")
        status, body, _ = get(f"{engine.url}/healthz")
        assert (status, json.loads(body)["status"]) == (503, "failed")
        assert "truncated or damaged" in json.loads(body)["reason"]
        answer = httpx.post(f"{engine.url}/v1/completions", json={"model": "late", "prompt": "x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_failed")
        assert "truncated or damaged" in answer.json()["error"]["message"]
        Path(f"{file}.new").write_bytes(model.read_bytes())
        Path(f"{file}.new").rename(file)
        engine.ready()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("serve",), 2, "MODEL.gguf"),
        (("serve", "x.gguf", "--listen", "192.0.2.1:1"), 2, "not a loopback address"),
        (("serve", "x.gguf", "--listen", "8410"), 2, "not an address"),
        (("serve", "x.gguf", "--parallel", "0"), 2, "1 to 256"),
        (("serve", "x.gguf", "--context", "many"), 2, "not a number"),
        (("add", "x.gguf", "--dir", "nowhere"), 1, "sekisho init nowhere"),
        (("list", "--dir", "nowhere"), 1, "sekisho init nowhere"),
    ],
)
def test_wrong_words_are_answered_with_right_ones(tmp_path, words, code, says):
    done = sekisho("engine", *words, check=False, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_more_context_than_trained_and_a_taken_address_are_refused(model, engine):
    done = sekisho("engine", "serve", model, "--context", CONTEXT + 1, check=False)
    assert (done.returncode, str(CONTEXT) in done.stderr) == (1, True)
    done = sekisho("engine", "serve", model, "--listen", engine.url.removeprefix("http://"), check=False)
    assert done.returncode == 1
    assert "can't listen on" in done.stderr
