"""Callers that leave, don't read or are slow: the upstream stops working for them, and nobody else notices."""

import json
import os
import socket
import struct
from pathlib import Path

import pytest

from journeys.installation import Installation, openai_client, until
from journeys.playing_upstream import PlayingUpstream

# What one caller that takes nothing may cost the gateway: its write buffer (256 KiB high-water mark, and the piece
# that went over it), the upstream's last reads, and the allocator's slack.
BYTES_PER_CALLER_MAX = 1024 * 1024
NOT_READING = 24


@pytest.fixture(scope="module")
def upstream():
    with PlayingUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("callers") / "site") as installation:
        for part in ("chat", "silent", "started", "flood"):
            installation.deployment(part, upstream.port, path=f"/{part}")
        installation.start()
        yield installation


def ask(running, model: str, *, stream: bool, receive_buffer: int = 0, whole: bool = True) -> socket.socket:
    body = json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": "x"}]}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {running.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    connection = socket.socket()
    connection.settimeout(30)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", running.gateway_port))
    connection.sendall(head.encode() + (body if whole else body[:-1]))
    return connection


def leave(connection: socket.socket, how: str) -> None:
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


def outcome(running, request_id: str) -> dict:
    entries = [item["entry"] for item in json.loads(running.receipt(request_id))["entries"]]
    return next(entry["body"] for entry in entries if entry["kind"] == "outcome")


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stream", [False, True])
def test_one_that_leaves_before_the_head(running, upstream, how, stream):
    before = len(upstream.of("silent"))
    connection = ask(running, "silent", stream=stream)
    until(lambda: len(upstream.of("silent")) > before, what="the upstream's sight of the request")
    seen = upstream.of("silent")[-1]
    assert not seen.left.is_set()
    leave(connection, how)
    assert seen.left.wait(20), "the upstream goes on working for nobody"
    ended = outcome(running, seen.headers["x-request-id"])
    assert (ended["ended"], ended["written"], ended["status"]) == ("caller_left", True, None)
    assert ended["usage"]["source"] == "estimated"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_one_that_leaves_in_mid_stream(running, upstream, how):
    connection = ask(running, "started", stream=True)
    head = read_until(connection, b"begun").decode().lower()
    seen = upstream.of("started")[-1]
    assert f"x-request-id: {seen.headers['x-request-id']}" in head
    assert not seen.left.is_set()
    leave(connection, how)
    assert seen.left.wait(20), "the upstream goes on working for nobody"
    ended = outcome(running, seen.headers["x-request-id"])
    assert (ended["ended"], ended["status"]) == ("caller_left", 200)
    assert ended["usage"]["completion"] > 0
    assert ended["answer"]["bytes"] > len("begun")


def test_one_that_leaves_before_its_request_is_whole_reaches_nobody(running, upstream):
    before = len(upstream.seen)
    ask(running, "chat", stream=False, whole=False).close()
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
