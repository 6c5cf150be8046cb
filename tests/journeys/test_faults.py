"""The fault matrix: whatever goes wrong between the gateway and a deployment, in each dialect, streamed and not.

All requests are made at the beginning, many at a time; the tests look at what came of each. The cases are in
fault_cases.py, and docs/faults.md tells users the same.
"""

import asyncio
import contextlib
import json
import socket
from collections import Counter
from typing import NamedTuple

import pytest

from journeys.fault_cases import AGAIN, ANSWER, CASES, GOOD, GOOD_STREAM, LARGE_BYTES, LEAK, TOKENS, Told
from journeys.installation import Installation, free_port, get, until
from journeys.scripted_upstream import ScriptedProcess

AT_ONCE = 24
LOOPBACK = "http://127.0.0.1"
ANSWER_S_MAX = 30


class Dialect(NamedTuple):
    """A way to ask for the same: where, and the header that holds the key."""

    name: str
    path: str
    key_header: str


DIALECTS = (Dialect("openai", "/v1/chat/completions", "authorization: Bearer {key}"),)


class Came(NamedTuple):
    """What a caller got, and what else there is about it."""

    status: int
    head: str
    body: bytes
    ended: bool  # the answer came to its proper end
    entries: list[dict]
    log: list[str]

    @property
    def outcomes(self) -> list[dict]:
        return [entry["body"] for entry in self.entries if entry["kind"] == "outcome"]


@contextlib.contextmanager
def full_listener():
    """A port that lets connections wait for ever: its queue is full."""
    with contextlib.ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        yield full.getsockname()[1]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    scripts = {name: case.whole for name, case in CASES.items()}
    scripts |= {f"{name}-stream": case.stream for name, case in CASES.items()}
    scripts["elsewhere"] = GOOD_STREAM
    with ScriptedProcess(tmp_path_factory.mktemp("scripted"), scripts) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("faults") / "site") as installation, full_listener() as full_port:
        where = {
            "connect-refused": (LOOPBACK, free_port(), ""),
            "connect-timeout": (LOOPBACK, full_port, ""),
            "name-unknown": ("https://no-such-name.invalid", upstream.port, ""),
            "address-outside": ("http://localhost", upstream.port, 'networks = ["192.0.2.0/24"]\n'),
        }
        for number, (name, case) in enumerate(CASES.items()):
            origin, port, extra = where.get(name, (LOOPBACK, upstream.port, ""))
            for model, total_ms in ((name, 60_000 + number), (f"{name}-stream", 70_000 + number)):
                extra_of_model = case.extra + extra
                if "total_timeout_ms" not in case.extra:  # endpoints that differ share no connections
                    extra_of_model += f"total_timeout_ms = {total_ms}\n"
                installation.deployment(model, port, path=f"/{model}", extra=extra_of_model, origin=origin)
        for number in (1, 2):  # a model with two deployments, both at their limit
            installation.deployment(f"limit-{number}", upstream.port, model="limits", path="/limit")
        installation.start()
        yield installation


@pytest.fixture(scope="module")
def came(running):
    """Everything that is asked: (dialect, case, streamed) to what came of it."""
    return asyncio.run(ask_all(running))


async def ask_all(running) -> dict[tuple[str, str, bool], Came]:
    small, large = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(1)  # large bodies are inspected one at a time
    wanted = [(d, name, streamed) for d in DIALECTS for name in (*CASES, "limits") for streamed in (False, True)]

    async def one(dialect: Dialect, name: str, streamed: bool) -> tuple[str, str, bytes, bool]:
        is_large = name in CASES and CASES[name].large
        model = f"{name}-stream" if streamed and name in CASES else name
        async with large if is_large else small, asyncio.timeout(ANSWER_S_MAX):
            return await ask(running, dialect, model, streamed, "x" * LARGE_BYTES if is_large else "hello")

    answers = await asyncio.gather(*(one(*which) for which in wanted))
    found = {}
    for (dialect, name, streamed), (head, body, ended) in zip(wanted, answers, strict=True):
        identifier = header(head, "x-request-id")
        entries = [item["entry"] for item in json.loads(running.receipt(identifier))["entries"]]
        lines = [line for line in running.log.read_text().splitlines() if identifier in line]
        found[dialect.name, name, streamed] = Came(int(head.split(" ")[1]), head, body, ended, entries, lines)
    return found


async def ask(running, dialect: Dialect, model: str, streamed: bool, content: str) -> tuple[str, bytes, bool]:
    """(head, body, whether it came to its proper end) of one request on a connection of its own."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": content}], "stream": streamed}).encode()
    lines = [
        f"POST {dialect.path.format(model=model)} HTTP/1.1", "host: gateway", "connection: close",
        dialect.key_header.format(key=running.key), "content-type: application/json", f"content-length: {len(body)}",
    ]  # fmt: skip
    reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway_port)
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    rest = await reader.read(-1)
    writer.close()
    if "transfer-encoding: chunked" not in head:
        return head, rest, len(rest) == int(header(head, "content-length"))
    pieces, position = [], 0
    while (end := rest.find(b"\r\n", position)) >= 0 and (size := int(rest[position:end], 16)):
        pieces.append(rest[end + 2 : end + 2 + size])
        position = end + 2 + size + 2
    return head, b"".join(pieces), rest.endswith(b"0\r\n\r\n")


def header(head: str, name: str) -> str:
    return next(line.split(": ", 1)[1] for line in head.split("\r\n") if line.startswith(f"{name}: "))


WHICH = [
    pytest.param(dialect, name, streamed, id=f"{dialect.name}-{name}-{'stream' if streamed else 'whole'}")
    for dialect in DIALECTS
    for name in CASES
    for streamed in (False, True)
]


def told(name: str, streamed: bool) -> Told:
    return CASES[name].told_stream if streamed else CASES[name].told_whole


@pytest.mark.parametrize(("dialect", "name", "streamed"), WHICH)
def test_the_caller_is_told(came, dialect, name, streamed):
    got, expected = came[dialect.name, name, streamed], told(name, streamed)
    assert got.status == expected.status, got.body
    assert LEAK.encode() not in got.body
    assert LEAK not in got.head
    assert got.ended
    for line in CASES[name].answer_headers:
        assert line in got.head
    if expected.code is None:
        require_good(got, name, streamed)
    elif expected.event:
        assert b"[DONE]" not in got.body
        *_, last, nothing = got.body.split(b"\n\n")
        assert nothing == b""
        require_error(
            json.loads(last.removeprefix(b"data: ")), None if "error_event" in expected.code else expected.code
        )
    else:
        passed_on = expected.ended == "complete" and b"as the deployment says" in got.body
        require_error(json.loads(got.body), "y" if passed_on else expected.code)


def require_good(got: Came, name: str, streamed: bool) -> None:
    if not streamed:
        assert got.body.decode() == ANSWER
        return
    assert got.body.rstrip().endswith(b"data: [DONE]")
    if name == "large-event":
        assert got.body.count(b"x") == 160 * 65536
    else:
        assert b"five" in got.body


def require_error(document: dict, code: str | None) -> None:
    error = document["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert "None" not in error.values()
    if code is not None:
        assert error["code"] == code


@pytest.mark.parametrize(("dialect", "name", "streamed"), WHICH)
def test_the_receipt_says_so_too(came, dialect, name, streamed):
    got, expected = came[dialect.name, name, streamed], told(name, streamed)
    (outcome,) = got.outcomes
    error = expected.code if expected.receipt is None else expected.receipt or None
    assert (outcome["ended"], outcome["error"]) == (expected.ended, error)
    assert outcome["written"] == (name not in ("connect-refused", "connect-timeout", "name-unknown", "address-outside"))
    if name == "usage-chunk":
        assert outcome["usage"] == {"prompt": 7, "completion": 3, "source": "upstream"}
    if expected == GOOD and not streamed:
        assert outcome["usage"]["prompt"] == TOKENS["prompt_tokens"]


@pytest.mark.parametrize(("dialect", "name", "streamed"), WHICH)
def test_the_operator_finds_the_reason_under_the_requests_id(came, dialect, name, streamed):
    got, expected = came[dialect.name, name, streamed], told(name, streamed)
    text = "\n".join(got.log)
    assert LEAK not in text
    if expected.code is not None and expected.ended != "complete":
        assert CASES[name].log in text
        assert text or expected.code == "upstream_error_event"


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_when_all_are_at_their_limit_the_caller_hears_it_from_the_last(came, dialect, streamed):
    got = came[dialect.name, "limits", streamed]
    assert got.status == 429
    assert "retry-after: 7" in got.head
    assert [(o["ended"], o["error"]) for o in got.outcomes] == [
        ("upstream_refused", "upstream_status_429"), ("complete", None),
    ]  # fmt: skip


def test_a_redirect_is_never_followed(came, upstream):
    assert came
    assert not [seen for seen in upstream.seen() if any("/elsewhere" in request for request in seen["requests"])]


def test_every_fault_is_counted_once_under_its_code(came, running):
    samples = dict(line.rsplit(" ", 1) for line in get(f"{running.base}/metrics")[1].decode().splitlines())
    faults, errors = Counter(), Counter()
    for (_, name, streamed), got in came.items():
        if name in CASES and (expected := told(name, streamed)).code and expected.ended != "complete":
            faults[expected.code] += 1
        errors.update(outcome["error"] for outcome in got.outcomes if outcome["error"])
    for metric, counted in (("sekisho_faults_total", faults), ("sekisho_attempt_errors_total", errors)):
        assert {key: int(n) for key, n in samples.items() if key.startswith(metric)} == {
            f'{metric}{{code="{code}"}}': n for code, n in counted.items()
        }


def test_nothing_is_left_over(came, running, upstream):
    """No request is in flight, and every connection that can't be used again has been ended."""
    assert came
    assert b"sekisho_requests_in_flight 0" in get(f"{running.base}/metrics")[1]
    expected = {name for name, case in CASES.items() if case.whole and is_used_up(case.whole)}
    expected |= {f"{name}-stream" for name, case in CASES.items() if case.stream and is_used_up(case.stream)}
    expected -= {"address-outside", "address-outside-stream", "name-unknown", "name-unknown-stream"}

    def left() -> set[str]:
        return expected - {request.split("/", 2)[1] for seen in upstream.seen() for request in seen["requests"]}

    until(lambda: not left(), what="the end of all connections")
    assert "Traceback" not in running.log.read_text()


def is_used_up(script: list[dict]) -> bool:
    """Whether a connection is over after this script, and the script would see that."""
    return script[-1] != AGAIN and "sleep" not in script[-1]
