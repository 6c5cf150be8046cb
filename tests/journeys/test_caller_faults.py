"""What callers do wrong on their connections, in each dialect: malformed, oversized, slow, smuggled, idle, many.

All are played at once against one gateway whose patience is short; the cases are in caller_fault_cases.py.
"""

import asyncio
import json
from collections import Counter
from typing import NamedTuple

import pytest

from journeys.caller_fault_cases import BODY_BYTES_MAX, FAULTS, PAUSE_S, ask
from journeys.installation import Installation, get, until
from journeys.published_log import require_log_holds, require_well_formed
from journeys.scripted_upstream import ScriptedProcess, answer
from sekisho.gateway.errors import CODES

CONNECTIONS_MAX = 150
BEYOND = 5
DIALECTS = {
    "openai": ("/v1/chat/completions", "authorization: Bearer "),
    "azure": ("/openai/deployments/{model}/chat/completions?api-version=2024-10-21", "api-key: "),
}
GOOD = [{"read": "body"}, {"send": answer(json.dumps({"choices": []}), "content-type: application/json")}, {"again": 1}]
FLOOD = [
    {"read": "body"}, {"send": "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"},
    {"send": "data: {}\n\n" * 4096, "times": 100_000},
]  # fmt: skip


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    scripts = {"good": GOOD, "smuggled": GOOD, "flood": FLOOD}
    with ScriptedProcess(tmp_path_factory.mktemp("scripted"), scripts) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("caller-faults") / "site") as installation:
        for name in ("good", "smuggled", "flood"):
            installation.deployment(name, upstream.port, path=f"/{name}")
        for name, value in (
            ("head_timeout_ms", 400),
            ("body_stall_timeout_ms", 400),
            ("idle_timeout_ms", 800),
            ("write_stall_timeout_ms", 800),
            ("body_bytes_max", BODY_BYTES_MAX),
            ("connections_max", CONNECTIONS_MAX),
        ):
            installation.setting("gateway", name, value)
        installation.start()
        yield installation


@pytest.fixture(scope="module")
def came(running):
    """(dialect, fault) to the answers that came until the gateway ended the connection."""
    return asyncio.run(play_all(running))


async def play_all(running) -> dict[tuple[str, str], list[Answer]]:
    wanted = [(dialect, name) for dialect in DIALECTS for name in FAULTS]
    answers = await asyncio.gather(*(play(running, dialect, name) for dialect, name in wanted))
    return dict(zip(wanted, answers, strict=True))


async def play(running, dialect: str, name: str) -> list[Answer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway_port)
    reading = asyncio.ensure_future(read_all(reader))
    try:
        async with asyncio.timeout(20):
            for step in FAULTS[name].steps:
                if "send" in step:
                    writer.write(filled_in(step["send"], dialect, running.key))
                elif "end" in step:
                    writer.write(
                        filled_in("GET /healthz HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n", dialect, "")
                    )
                else:
                    await drip(step["drip"], reading, writer)
            data = await reading
    finally:
        reading.cancel()
        writer.close()
    answers = parsed(data)
    return answers[:-1] if {"end": True} in FAULTS[name].steps else answers


async def drip(text: str, reading: asyncio.Future, writer: asyncio.StreamWriter) -> None:
    while not reading.done():
        for character in text:
            writer.write(character.encode())
            await asyncio.sleep(PAUSE_S)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    data = b""
    try:
        while piece := await reader.read(65536):
            data += piece
    except ConnectionResetError:
        pass  # the gateway cut the connection: what came before counts
    return data


def filled_in(text: str, dialect: str, key: str) -> bytes:
    path, header = DIALECTS[dialect]
    for model in ("good", "smuggled", "other"):
        text = text.replace(f"<PATH:{model}>", path.format(model=model))
    text = text.replace("<NOTHING>", path.format(model="good").replace("chat/completions", "chat/nothing"))
    text = text.replace("<KEY>", header + key).replace("<WRONG-KEY>", f"{header}sk-wrong")
    return text.encode("latin-1")


def parsed(data: bytes) -> list[Answer]:
    answers = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        answers.append(Answer(int(first.split(" ")[1]), headers, data[:length]))
        data = data[length:]
    return answers


every_fault = pytest.mark.parametrize(("dialect", "name"), [(dialect, name) for dialect in DIALECTS for name in FAULTS])


@every_fault
def test_it_is_told(came, dialect, name):
    answers, expected = came[dialect, name], FAULTS[name]
    if name == "pipelined-flood":  # cut at some moment, with no answer but good ones before
        assert {answer.status for answer in answers} <= {200}
        assert len(answers) < 2000
        return
    assert tuple(answer.status for answer in answers) == expected.statuses
    if expected.code is None:
        return
    told = next(answer for answer in answers if answer.status >= 400)
    error = json.loads(told.body)["error"]
    assert expected.code in CODES
    known = dialect == "openai" or "innererror" in error
    assert (error["innererror"]["code"] if "innererror" in error else error["code"]) == expected.code
    assert known or expected.code in ("http_malformed", "http_timeout", "http_head_too_large")  # what for is not known
    assert error["message"]
    assert "None" not in error.values()
    assert told.headers["x-request-id"]
    if expected.statuses[-1] >= 400:
        assert told.headers["connection"] == "close"


@every_fault
def test_the_log_has_one_line_about_it_under_its_id(came, running, dialect, name):
    for got in came[dialect, name]:
        if got.status >= 400:
            about = f"{got.headers['x-request-id']}: {got.status} {FAULTS[name].code}"
            assert running.log.read_text().count(about) == 1


def test_each_is_counted_once_under_its_code(came, running):
    samples = dict(line.rsplit(" ", 1) for line in get(f"{running.base}/metrics")[1].decode().splitlines())
    counted = Counter(FAULTS[name].code for _, name in came if FAULTS[name].code is not None)
    assert {key: int(n) for key, n in samples.items() if key.startswith("sekisho_faults_total")} == {
        f'sekisho_faults_total{{code="{code}"}}': n for code, n in counted.items()
    }


def test_what_was_smuggled_reaches_nobody(came, running, upstream):
    assert came
    assert not [seen for seen in upstream.seen() if any("/smuggled" in request for request in seen["requests"])]


async def flood_with_idle_connections(port: int) -> tuple[list[Answer], list[bytes]]:
    """(what those beyond the bound were told, what the others heard until they were let go)."""
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS_MAX)]
    beyond = [await asyncio.open_connection("127.0.0.1", port) for _ in range(BEYOND)]
    try:
        async with asyncio.timeout(20):
            told = [parsed(await read_all(reader))[0] for reader, _ in beyond]
            return told, [await read_all(reader) for reader, _ in idle]
    finally:
        for _, writer in (*idle, *beyond):
            writer.close()


def test_an_idle_flood_is_told_and_gone_after_the_bound(came, running):
    assert came
    told, heard = asyncio.run(flood_with_idle_connections(running.gateway_port))
    assert {answer.status for answer in told} == {503}
    assert all(json.loads(answer.body)["error"]["code"] == "http_connections" for answer in told)
    assert all(answer.headers["retry-after"] for answer in told)
    assert heard == [b""] * CONNECTIONS_MAX
    until(lambda: get(f"{running.base}/healthz")[0] == 200, what="service after the flood")


async def take_nothing(running, dialect: str) -> bytes:
    """Ask for a flood, take nothing of it for as long as the gateway bears that; what is left to read then."""
    body = ask("flood").replace("}]}", '}],"stream":true}')
    path, header = DIALECTS[dialect]
    lines = [f"POST {path.format(model='flood')} HTTP/1.1", "host: gateway", header + running.key]
    lines += ["content-type: application/json", f"content-length: {len(body)}", "", body]
    reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway_port, limit=1024)
    writer.write("\r\n".join(lines).encode())
    await asyncio.get_running_loop().run_in_executor(None, lambda: until(lambda: left(running), what="the cut"))
    data = await read_all(reader)
    writer.close()
    return data


def left(running) -> bool:
    return b'sekisho_attempts_total{ended="caller_left"}' in get(f"{running.base}/metrics")[1]


def test_one_that_takes_nothing_is_let_go_and_so_is_its_upstream(came, running, upstream):
    assert came
    data = asyncio.run(take_nothing(running, "azure"))
    assert data.startswith(b"HTTP/1.1 200 ")
    assert not data.endswith(b"0\r\n\r\n")
    until(
        lambda: [seen for seen in upstream.seen() if any("/flood" in request for request in seen["requests"])],
        what="the end of the flood",
    )


def test_nothing_is_left_over_and_each_decision_has_one_outcome(came, running):
    assert came
    assert b"sekisho_requests_in_flight 0" in get(f"{running.base}/metrics")[1]
    assert "Traceback" not in running.log.read_text()
    assert running.stop() == 0
    evidence = require_well_formed(require_log_holds(running.root))
    models = {decision["body"]["input"]["model"] for found in evidence.decisions.values() for decision in found}
    assert models == {"good", "flood"}
    expected = sum(FAULTS[name].statuses.count(200) for _, name in came)
    assert Counter(outcome["body"]["ended"] for outcome in evidence.outcomes.values()) == {
        "complete": expected, "caller_left": 1,
    }  # fmt: skip
