"""Callers that leave, don't read or are slow: the upstream stops working for them, and nobody else notices."""

import contextlib
import json
import os
import socket
import struct
from pathlib import Path

import pytest

from journeys.installation import Installation, get, openai_client, until
from journeys.playing_upstream import PlayingUpstream
from journeys.published_log import require_log_holds, require_well_formed

# What one caller that takes nothing may cost the gateway: its write buffer (256 KiB high-water mark, and the piece
# that went over it), the upstream's last reads, and the allocator's slack.
BYTES_PER_CALLER_MAX = 1024 * 1024
NOT_READING = 24
DIALECTS = {
    "openai": ("/v1/chat/completions", "authorization: Bearer"),
    "azure": ("/openai/deployments/{model}/chat/completions?api-version=2024-10-21", "api-key:"),
}


@pytest.fixture(scope="module")
def upstream():
    with PlayingUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("callers") / "site") as installation:
        for part in ("chat", "silent", "half", "started", "flood"):
            installation.deployment(part, upstream.port, path=f"/{part}")
        with not_accepting() as (unconnected, untaken):
            installation.deployment("unconnected", unconnected)
            installation.deployment("untaken", untaken)
            installation.start()
            yield installation


@pytest.fixture(scope="module")
def left():
    """Ids of requests whose callers left while the deployment worked on them, and the status that it had answered."""
    return []


@contextlib.contextmanager
def not_accepting():
    """Two ports where nobody takes anything: one whose queue is full, one that connects and has a small buffer."""
    with contextlib.ExitStack() as sockets:
        listeners = [sockets.enter_context(socket.socket()) for _ in range(2)]
        for listener, queue in zip(listeners, (0, 64), strict=True):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            listener.bind(("127.0.0.1", 0))
            listener.listen(queue)
        for _ in range(4):
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listeners[0].getsockname())
        yield tuple(listener.getsockname()[1] for listener in listeners)


def ask(
    running,
    model: str,
    *,
    stream: bool,
    receive_buffer: int = 0,
    unsent: int = 0,
    dialect: str = "openai",
    size: int = 1,
) -> socket.socket:
    """A connection on which all of a request but its last `unsent` bytes was sent; `size`: of the question."""
    question = {"role": "user", "content": "x" * size}
    body = json.dumps({"model": model, "stream": stream, "messages": [question]}).encode()
    path, key = DIALECTS[dialect]
    head = (
        f"POST {path.format(model=model)} HTTP/1.1\r\nhost: gateway\r\n{key} {running.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    request = head.encode() + body
    connection = socket.socket()
    connection.settimeout(30)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", running.gateway_port))
    connection.sendall(request[: len(request) - unsent])
    return connection


def leave(connection: socket.socket, how: str) -> None:
    if how == "half-close":  # the gateway can't tell it from one that is gone, and must not wait for ever
        connection.shutdown(socket.SHUT_WR)
        assert not connection.recv(1)
    if how == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        piece = connection.recv(4096)
        assert piece, data
        data += piece
    return data


def attempts(running, ended: str) -> int:
    """How many have ended so, by the gateway's own count."""
    line = f'sekisho_attempts_total{{ended="{ended}"}} '
    return next((int(text[len(line) :]) for text in metrics(running) if text.startswith(line)), 0)


def in_flight(running) -> int:
    return next(int(text.split(" ")[1]) for text in metrics(running) if text.startswith("sekisho_requests_in_flight "))


def metrics(running) -> list[str]:
    return get(f"{running.base}/metrics")[1].decode().splitlines()


def require_rest(running) -> None:
    """No request is left, and the next one is served."""
    until(lambda: in_flight(running) == 0, what="the end of all requests")
    with openai_client(running) as client:
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "x"}])


def outcome(running, request_id: str) -> dict:
    entries = [item["entry"] for item in json.loads(running.receipt(request_id))["entries"]]
    return next(entry["body"] for entry in entries if entry["kind"] == "outcome")


every_way = pytest.mark.parametrize("how", ["close", "reset", "half-close"])
every_dialect = pytest.mark.parametrize("dialect", DIALECTS)


@every_way
@every_dialect
@pytest.mark.parametrize("stream", [False, True])
def test_one_that_leaves_before_the_head(running, upstream, left, how, dialect, stream):
    before = len(upstream.of("silent"))
    connection = ask(running, "silent", stream=stream, dialect=dialect)
    until(lambda: len(upstream.of("silent")) > before, what="the upstream's sight of the request")
    seen = upstream.of("silent")[-1]
    assert not seen.left.is_set()
    leave(connection, how)
    assert seen.left.wait(20), "the upstream goes on working for nobody"
    left.append((seen.headers["x-request-id"], None))
    require_rest(running)


@every_way
@every_dialect
def test_one_that_leaves_in_the_middle_of_a_whole_answer(running, upstream, left, how, dialect):
    before = len(upstream.of("half"))
    connection = ask(running, "half", stream=False, dialect=dialect)
    until(lambda: len(upstream.of("half")) > before and upstream.of("half")[-1].sent, what="half of the answer")
    seen = upstream.of("half")[-1]
    leave(connection, how)
    assert seen.left.wait(20), "the upstream goes on working for nobody"
    left.append((seen.headers["x-request-id"], 200))
    require_rest(running)


@every_way
@every_dialect
@pytest.mark.parametrize(("model", "size"), [("unconnected", 1), ("untaken", 8 * 1024 * 1024)])
def test_one_that_leaves_while_its_request_is_on_the_way(running, how, dialect, model, size):
    """To a deployment that nobody can connect to, and to one that takes no more of it."""
    before = attempts(running, "caller_left")
    connection = ask(running, model, stream=False, dialect=dialect, size=size)
    until(lambda: in_flight(running) == 1, what="the attempt")
    leave(connection, how)
    until(lambda: attempts(running, "caller_left") == before + 1, what="the outcome")
    require_rest(running)


@every_dialect
@pytest.mark.parametrize("stream", [False, True])
def test_one_that_leaves_after_its_answer_was_whole_had_it(running, dialect, stream):
    before = attempts(running, "complete")
    connection = ask(running, "chat", stream=stream, dialect=dialect)
    until(lambda: attempts(running, "complete") == before + 1, what="the answer")
    leave(connection, "reset")
    require_rest(running)


@every_way
@every_dialect
def test_one_that_leaves_in_mid_stream(running, upstream, left, how, dialect):
    connection = ask(running, "started", stream=True, dialect=dialect)
    head = read_until(connection, b"begun").decode().lower()
    seen = upstream.of("started")[-1]
    assert f"x-request-id: {seen.headers['x-request-id']}" in head
    assert not seen.left.is_set()
    leave(connection, how)
    assert seen.left.wait(20), "the upstream goes on working for nobody"
    left.append((seen.headers["x-request-id"], 200))
    require_rest(running)


@every_dialect
@pytest.mark.parametrize("unsent", [1, 80, 200])  # in the body, at its beginning, in the head
def test_one_that_leaves_before_its_request_is_whole_reaches_nobody(running, upstream, dialect, unsent):
    before = len(upstream.seen)
    ask(running, "chat", stream=False, unsent=unsent, dialect=dialect).close()
    with openai_client(running) as client:
        client.chat.completions.create(model="chat", messages=[{"role": "user", "content": "x"}])
    assert len(upstream.seen) == before + 1


def resident_bytes(process: int) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class AtRest:
    """True once nothing has flowed for ten looks in a row; `until` leaves 50 ms between two."""

    def __init__(self, flows) -> None:
        self._flows = flows
        self._sent: list[int] = []
        self._looks = 0

    def __call__(self) -> bool:
        sent = [seen.sent for seen in self._flows]
        self._looks = self._looks + 1 if sent == self._sent and all(sent) else 0
        self._sent = sent
        return self._looks >= 10


def test_those_that_do_not_read_cost_little_and_hold_up_nobody(running, upstream):
    with openai_client(running) as client:
        question = {"model": "chat", "messages": [{"role": "user", "content": "x"}]}
        for _ in range(20):  # what a worker allocates once is allocated now
            client.chat.completions.create(**question)
        gateway = running.children()["gateway"]
        before = resident_bytes(gateway)
        callers = [ask(running, "flood", stream=True, receive_buffer=4096) for _ in range(NOT_READING)]
        until(lambda: len(upstream.of("flood")) == NOT_READING, what="all floods")
        flows = upstream.of("flood")
        until(AtRest(flows), 60, "the floods' standing still")
        grown = resident_bytes(gateway) - before
        print(f"{grown / NOT_READING:.0f} bytes per caller that does not read")
        assert grown <= NOT_READING * BYTES_PER_CALLER_MAX
        # Others are served meanwhile, whole and streamed.
        for _ in range(20):
            assert client.chat.completions.create(**question).choices[0].message.content == "five by five"
        with client.chat.completions.create(**question, stream=True) as stream:
            assert len(list(stream)) == 4
    # Once they read, what waited comes, and the upstream flows again. A flow's number does not tell its caller.
    waiting = sum(seen.sent for seen in flows)
    until(lambda: all(caller.recv(1 << 20) for caller in callers) and sum(seen.sent for seen in flows) > waiting)
    for caller in callers:
        caller.close()
    for seen in flows:
        assert seen.left.wait(20), "a flood without a reader"
    assert outcome(running, flows[-1].headers["x-request-id"])["ended"] == "caller_left"


def test_a_slow_one_gets_everything(running, upstream):
    """Bytes drip out of a small window; the stream is still whole and in order."""
    connection = ask(running, "chat", stream=True, receive_buffer=2048)
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        data += connection.recv(7)
    connection.close()
    events = [line for line in data.split(b"\r\n") if line.startswith(b"data: ")]
    assert events
    assert data.index(b"five ") < data.index(b"by ") < data.index(b"[DONE]")


def test_each_decision_has_one_outcome_and_says_who_ended_it(running, left):
    assert "Traceback" not in running.log.read_text()
    assert running.stop() == 0
    evidence = require_well_formed(require_log_holds(running.root))
    outcomes = {
        identifier: evidence.outcomes[decisions[-1]["id"]]["body"]
        for identifier, decisions in evidence.decisions.items()
    }
    for identifier, status in left:
        ended = outcomes[identifier]
        assert (ended["ended"], ended["written"], ended["status"]) == ("caller_left", True, status)
        assert ended["usage"]["source"] == "estimated"
    deployments = {
        (chose(decisions[-1]), outcomes[identifier]["ended"]) for identifier, decisions in evidence.decisions.items()
    }
    leaving = {(name, "caller_left") for name in ("silent", "half", "started", "flood", "unconnected", "untaken")}
    assert deployments == leaving | {("chat", "complete")}
    streams = [outcomes[i] for i, found in evidence.decisions.items() if chose(found[-1]) == "started"]
    assert all(ended["usage"]["completion"] > 0 and ended["answer"]["bytes"] > len("begun") for ended in streams)
    unconnected = [outcomes[i] for i, found in evidence.decisions.items() if chose(found[-1]) == "unconnected"]
    assert all(ended["peer"] is None and not ended["written"] for ended in unconnected)


def chose(decision: dict) -> str:
    return decision["body"]["chosen"]["deployment"]
