"""A GGUF file, declared with `sekisho engine add`, run by `sekisho up`, and asked through a governed gateway."""

import json
import os
import signal
from pathlib import Path

import httpx
import openai
import pytest

from journeys.installation import Installation, free_port, get, openai_client, sekisho, until
from journeys.llama_engine import alive
from tiny_gguf import CONTEXT, write_tiny_gguf

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install 'sekisho[server,engine]'")

ASK = [{"role": "user", "content": "関所とは"}]
WAIT_S = 30
API_VERSION = "2024-10-21"


class Engines(Installation):
    """An installation with the model `tiny`, which embeds as well, and `long`, which takes minutes to its end."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.engine, self.long = (f"127.0.0.1:{free_port()}" for _ in range(2))
        model = write_tiny_gguf(root.parent / "tiny.gguf")
        told = sekisho(
            "engine", "add", model, "--dir", root, "--listen", self.engine, "--context", 8192, "--embeddings"
        )
        assert "wrote declarations/deployments/tiny-local.toml" in told.stdout
        sekisho("engine", "add", model, "--dir", root, "--name", "long", "--listen", self.long, "--context", CONTEXT)
        self.declare("policies", "no-numbers", FORBID)

    def await_ready(self) -> None:
        super().await_ready()
        self.await_engine()

    def await_engine(self) -> None:
        for engine in (self.engine, self.long):
            until(lambda engine=engine: self.health(engine)[0] == 200, WAIT_S, f"the engine; see {self.log}")

    def health(self, engine: str = "") -> tuple[int, dict]:
        status, body, _ = get(f"http://{engine or self.engine}/healthz")
        return status, json.loads(body or b"{}")

    def engine_processes(self) -> tuple[int, int]:
        """The ids of the engine and of its model process."""
        (engine,) = (child for child in _children(self.process.pid) if self.engine.encode() in _words(child))
        return engine, *_children(engine)


FORBID = """\
@id("our.my-number")
@title("My Numbers leave only masked")
@title_ja("マイナンバーは伏せた形でのみ送信できます")
forbid (principal, action == Action::"sendRaw", resource) when { context.labels.contains(Label::"jp.my_number") };
"""


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def _words(process: int) -> list[bytes]:
    return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Engines(tmp_path_factory.mktemp("engines") / "site") as installation:
        installation.start()
        yield installation


@pytest.fixture(params=["openai", "azure"])
def client(running, request):
    if request.param == "openai":
        with openai_client(running) as client:
            yield client
        return
    http = httpx.Client(trust_env=False, timeout=WAIT_S)
    with openai.AzureOpenAI(
        azure_endpoint=running.base, api_key=running.key, api_version=API_VERSION, max_retries=0, http_client=http
    ) as client:
        yield client


def chat(client, **more):
    return client.chat.completions.create(
        **{"model": "tiny", "messages": ASK, "max_tokens": 6, "temperature": 0, **more}
    )


def test_a_governed_answer_whole_and_streamed(running, client):
    whole = chat(client)
    assert whole.usage.completion_tokens == 6
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_its_receipt_tells_tokens_and_verifies(running, tmp_path):
    with openai_client(running) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="tiny", messages=[{"role": "user", "content": "個人番号は123456789018です"}], max_tokens=6
        )
    assert raw.headers["x-sekisho-deployment"] == "tiny-local"
    assert raw.headers["x-sekisho-labels"] == "jp.my_number"
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(running.receipt(raw.headers["x-sekisho-receipt"]))
    assert "VERIFIED" in sekisho("verify", receipt, "--trust", running.root / "site.vkey").stdout
    bodies = [entry["entry"]["body"] for entry in json.loads(receipt.read_bytes())["entries"]]
    assert bodies[0]["chosen"]["action"] == "sendRedacted"
    assert bodies[1]["usage"] == {"completion": 6, "prompt": raw.parse().usage.prompt_tokens, "source": "upstream"}


def test_completions_and_embeddings(client):
    answer = client.completions.create(model="tiny", prompt="ka", max_tokens=3)
    assert answer.usage.completion_tokens == 3
    answer = client.embeddings.create(model="tiny", input=["ka", "ki"])
    assert [len(item.embedding) for item in answer.data] == [32, 32]


def test_a_caller_that_leaves_the_gateway_ends_the_generation(running):
    stream = {"model": "long", "messages": ASK, "stream": True}
    headers = {"authorization": f"Bearer {running.key}"}
    with (
        httpx.Client(trust_env=False, timeout=WAIT_S) as http,
        http.stream("POST", f"{running.base}/v1/chat/completions", json=stream, headers=headers) as answer,
    ):
        assert next(answer.iter_raw())
        receipt = answer.headers["x-sekisho-receipt"]
    until(lambda: running.health(running.long)[1]["in_flight"] == 0, WAIT_S, "the engine's noticing")
    with openai_client(running) as client:  # the only slot is free, minutes before the generation would have ended
        assert chat(client, model="long").usage.completion_tokens == 6
    outcome = json.loads(running.receipt(receipt))["entries"][1]["entry"]["body"]
    assert outcome["ended"] == "caller_left"


def test_list_says_what_is_declared_and_answers(running):
    rows = json.loads(sekisho("engine", "list", "--json", "--dir", running.root).stdout)
    assert [(row["name"], row["kind"], row["answers"]) for row in rows] == [
        ("manual", "manual", "ok"),
        ("tiny", "llama.cpp", "ready"),
        ("long", "llama.cpp", "ready"),
    ]
    table = sekisho("engine", "list", "--dir", running.root).stdout.splitlines()
    assert table[0].split() == ["NAME", "KIND", "MODEL", "LISTEN", "ANSWERS"]
    assert table[2].split() == ["tiny", "llama.cpp", "tiny", running.engine, "ready"]


def test_the_engine_is_started_again_when_it_or_its_model_dies(running):
    engine, model = running.engine_processes()
    os.kill(model, signal.SIGABRT)
    until(lambda: not alive(model), WAIT_S, "the model's end")
    running.await_engine()
    os.kill(engine, signal.SIGKILL)
    until(lambda: not alive(engine), WAIT_S, "the engine's end")
    running.await_engine()
    with openai_client(running) as client:
        assert chat(client).usage.completion_tokens == 6


def test_a_bad_file_is_named_and_the_gateway_serves_the_rest(running):
    """Last of those that ask the installation, because it spoils the file."""
    file = running.root / "models" / "tiny.gguf"
    whole = file.read_bytes()
    spoilt = file.with_suffix(".new")
    spoilt.write_bytes(whole[:-8000])
    spoilt.rename(file)
    _, model = running.engine_processes()
    os.kill(model, signal.SIGKILL)
    until(lambda: running.health()[1].get("status") == "failed", WAIT_S, "the failure")
    row = json.loads(sekisho("engine", "list", "--json", "--dir", running.root).stdout)[1]
    assert (row["answers"], "truncated or damaged" in row["reason"]) == ("failed", True)
    with openai_client(running) as client:
        with pytest.raises(openai.APIStatusError) as raised:
            chat(client)
        assert raised.value.status_code >= 500
        assert chat(client, model="manual").choices
    assert "truncated or damaged" in running.log.read_text()
    spoilt.write_bytes(whole)
    spoilt.rename(file)
    running.await_engine()


def test_it_stops_as_a_whole(running):
    processes = {*running.engine_processes(), *_children(running.process.pid)}
    assert running.stop() == 0
    assert not any(alive(process) for process in processes)
    rows = json.loads(sekisho("engine", "list", "--json", "--dir", running.root).stdout)
    # Of the three ports a stranger may have one by now.
    assert [row["answers"] for row in rows].count("no answer") >= 2
