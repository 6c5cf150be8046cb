"""An answer that ends after any of its bytes never looks complete, and always leaves a receipt that says so."""

import asyncio
import json

import pytest

from journeys.callers import ask
from journeys.fault_cases import (
    ANSWER,
    CHUNK,
    CHUNKED,
    CHUNKED_JSON,
    CLOSE,
    DONE,
    JSON,
    RESET,
    SSE,
    answer,
    event,
    send,
)
from journeys.installation import Installation
from journeys.published_log import require_log_holds, require_well_formed
from journeys.scripted_upstream import ScriptedUpstream

# Each with the bytes after which it is complete.
ANSWERS = {
    "length": (answer("200 OK", ANSWER, JSON), ANSWER[-5:]),
    "chunks": (CHUNKED_JSON + f"{len(ANSWER):x}\r\n{ANSWER}\r\n0\r\n\r\n", "\r\n0\r\n\r\n"),
    "stream": (SSE + event() + event("五") + DONE, DONE),
    "stream-in-chunks": (CHUNKED + CHUNK + f"{len(DONE):x}\r\n{DONE}\r\n0\r\n\r\n", DONE),
}
# Between the answer's bytes and a reset: what is reset at once may be lost before it is read.
BEFORE_RESET = {"sleep": 0.01}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Installation(tmp_path_factory.mktemp("cut") / "site") as installation:
        yield installation


async def play(running, cuts: list[tuple[str, int, str]]):
    """(what the caller got, the request's id) for each cut, one after the other."""
    scripts = []
    for name, length, how in cuts:
        ending = [CLOSE] if how == "close" else [BEFORE_RESET, RESET]
        scripts.append([{"read": "request"}, send(ANSWERS[name][0][:length]), *ending])
    async with ScriptedUpstream(*scripts) as upstream:
        running.deployment("cut", upstream.port)
        await asyncio.to_thread(running.apply)
        await asyncio.to_thread(running.start)
        document = {"model": "cut", "messages": [{"role": "user", "content": "x"}]}
        return [
            await ask(running.gateway_port, running.key, document | {"stream": name.startswith("stream")})
            for name, _, _ in cuts
        ]


@pytest.mark.parametrize("every", [pytest.param(17, id="17"), pytest.param(1, id="1", marks=pytest.mark.long)])
def test_only_a_whole_answer_looks_complete(running, every):
    cuts = [
        (name, length, how)
        for how in ("close", "reset")
        for name, (text, _) in ANSWERS.items()
        for length in (*range(0, len(text), every), len(text))
    ]
    answers = asyncio.run(play(running, cuts))
    assert running.stop() == 0
    evidence = require_well_formed(require_log_holds(running.root))
    for (name, length, how), got in zip(cuts, answers, strict=True):
        text, last = ANSWERS[name]
        whole = length >= text.index(last) + len(last)
        outcome = evidence.outcomes[evidence.decisions[got.receipt][-1]["id"]]["body"]
        cut = (name, length, how)
        assert (outcome["ended"] == "complete") == whole, cut
        if whole:
            assert got.status == 200, cut
            assert (b"[DONE]" in got.body) == name.startswith("stream"), cut
        elif got.status == 200:
            assert name.startswith("stream"), cut
            assert b"[DONE]" not in got.body, cut
            assert json.loads(got.body.rstrip().rpartition(b"data: ")[2])["error"]["code"] == outcome["error"], cut
        else:
            assert (got.status, json.loads(got.body)["error"]["code"]) == (502, outcome["error"]), cut
