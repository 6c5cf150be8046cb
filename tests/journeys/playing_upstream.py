"""An upstream with many parts to play: the first word of a request's path says which, and each request is kept.

A deployment declared with the path "/flood" is answered by `flood`, and so on; see `PARTS`.
"""

import base64
import contextlib
import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from journeys.installation import until

SOCKET_TIMEOUT_S = 60  # a script that waits for longer has failed


@dataclass
class Seen:
    """One request: what came, how many bytes of the answer the kernel took, and how the connection ended."""

    part: str
    headers: dict[str, str]
    body: bytes
    target: str
    sent: int = 0
    left: threading.Event = field(default_factory=threading.Event)  # the other end closed or reset the connection

    @property
    def document(self):
        return json.loads(self.body)


class PlayingUpstream:
    """Listens on `port` of 127.0.0.1. `release` lets the parts that wait for it go on."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self.seen: list[Seen] = []
        self.release = threading.Event()
        self._threads: list[threading.Thread] = []
        self._connections: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "PlayingUpstream":
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # it has ended already
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def of(self, part: str) -> list[Seen]:
        return [seen for seen in list(self.seen) if seen.part == part]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(SOCKET_TIMEOUT_S)
            self._connections.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            seen = None
            try:
                while (seen := read_request(connection)) is not None:
                    self.seen.append(seen)
                    if not PARTS[seen.part](self, connection, seen):
                        return
            except OSError:
                if seen is not None:
                    seen.left.set()
            finally:
                self._connections.discard(connection)


def read_request(connection: socket.socket) -> Seen | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    request_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(1 << 20)
    target = request_line.split(" ")[1]
    return Seen(target.split("/")[1], headers, body, target)


def is_taken(connection: socket.socket) -> bool:
    """Whether the other side, on this machine, has read all that was sent: its receive queue (proc_pid_net(5))."""
    here, there = connection.getsockname()[1], connection.getpeername()[1]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, remote, _, queues = line.split()[1:5]
        if (int(local.split(":")[1], 16), int(remote.split(":")[1], 16)) == (there, here):
            return int(queues.split(":")[1], 16) == 0
    return True  # it has left


def await_leave(connection: socket.socket, seen: Seen) -> None:
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    seen.left.set()


def chunk(text: str) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def event(document: dict) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def whole(document: dict, status: str = "200 OK", *headers: str) -> bytes:
    body = json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status}", "content-type: application/json", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
DONE = b"data: [DONE]\n\n"


def chat(upstream: PlayingUpstream, connection: socket.socket, seen: Seen) -> bool:
    """A model as applications know it: it answers, calls a forced tool, and repeats what the tool said."""
    asked = seen.document
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    message = {"role": "assistant", "content": "five by five"}
    finish = "stop"
    if asked["messages"][-1]["role"] == "tool":
        message["content"] = f"The tool said {asked['messages'][-1]['content']}"
    elif isinstance(asked.get("tool_choice"), dict):
        function = {"name": asked["tool_choice"]["function"]["name"], "arguments": '{"city":"大阪"}'}
        message = {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": function}
        ]}  # fmt: skip
        finish = "tool_calls"
    base = {"id": "c", "created": 1, "model": asked["model"]}
    if not asked.get("stream"):
        choice = {"index": 0, "message": message, "finish_reason": finish}
        connection.sendall(whole({**base, "object": "chat.completion", "choices": [choice], "usage": usage}))
        return True
    connection.sendall(STREAM_HEAD)
    base["object"] = "chat.completion.chunk"
    if message.get("tool_calls"):
        deltas = [{"tool_calls": [{"index": 0, **message["tool_calls"][0]}]}]
    else:
        deltas = [{"content": word} for word in ("five ", "by ", "five")]
    for delta in deltas:
        connection.sendall(event({**base, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}))
    connection.sendall(event({**base, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}))
    if (asked.get("stream_options") or {}).get("include_usage"):
        connection.sendall(event({**base, "choices": [], "usage": usage}))
    connection.sendall(DONE)
    return False


def serves(upstream: PlayingUpstream, connection: socket.socket, seen: Seen) -> bool:
    """Every operation, at OpenAI's paths and at Azure's."""
    path = seen.target.partition("?")[0]
    if path.endswith("/chat/completions"):
        return chat(upstream, connection, seen)
    if path.endswith("/completions"):
        return completions(connection, seen)
    vector = [0.5, -0.25]
    wants_base64 = seen.document.get("encoding_format") == "base64"
    embedding = base64.b64encode(struct.pack("<2f", *vector)).decode() if wants_base64 else vector
    asked = seen.document["input"]
    data = [
        {"object": "embedding", "index": index, "embedding": embedding}
        for index in range(1 if isinstance(asked, str) else len(asked))
    ]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    connection.sendall(whole({"object": "list", "data": data, "model": "e", "usage": usage}))
    return True


def completions(connection: socket.socket, seen: Seen) -> bool:
    base = {"id": "cmpl-1", "object": "text_completion", "created": 1, "model": seen.document["model"]}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}

    def choice(text: str, finish: str | None) -> dict:
        return {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}

    if not seen.document.get("stream"):
        connection.sendall(whole({**base, "choices": [choice("five by five", "stop")], "usage": usage}))
        return True
    connection.sendall(STREAM_HEAD)
    for text, finish in (("five ", None), ("by ", None), ("five", "stop")):
        connection.sendall(event({**base, "choices": [choice(text, finish)], "usage": None}))
    if (seen.document.get("stream_options") or {}).get("include_usage"):
        connection.sendall(event({**base, "choices": [], "usage": usage}))
    connection.sendall(DONE)
    return False


def plays(upstream: PlayingUpstream, connection: socket.socket, seen: Seen) -> bool:
    """What the request's `play` says, in base64 so that nobody on the way reads it: {"events" or "whole", "end"}.

    `end` of a stream: "done", "cut" (no [DONE]), or "wait" (for the other end to leave).
    """
    play = json.loads(base64.b64decode(seen.document["play"]))
    if "whole" in play:
        connection.sendall(whole(play["whole"]))
        return True
    connection.sendall(STREAM_HEAD)
    for document in play["events"]:
        connection.sendall(event(document))
    if play["end"] == "done":
        connection.sendall(DONE)
    elif play["end"] == "wait":
        await_leave(connection, seen)
    return False


def silent(upstream, connection, seen) -> bool:
    """Takes the request and never says a word."""
    await_leave(connection, seen)
    return False


def half(upstream, connection, seen) -> bool:
    """Half of a whole answer, and silence."""
    sent = connection.send(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
    until(lambda: is_taken(connection), what="the reading of half the answer")
    seen.sent = sent
    await_leave(connection, seen)
    return False


def started(upstream, connection, seen) -> bool:
    """A stream that begins, and goes on only after `release`, to its proper end. Not to be streamed: half an answer."""
    if not seen.document.get("stream"):
        return half(upstream, connection, seen)
    connection.sendall(STREAM_HEAD + chunk("begun"))
    connection.settimeout(0.05)
    while not upstream.release.is_set():
        try:
            if not connection.recv(65536):
                break
        except TimeoutError:
            continue
    else:
        connection.settimeout(SOCKET_TIMEOUT_S)
        connection.sendall(chunk(" and finished") + DONE)
        return False
    seen.left.set()
    return False


def held(upstream, connection, seen) -> bool:
    """A whole answer, but only after `release`."""
    upstream.release.wait(SOCKET_TIMEOUT_S)
    return chat(upstream, connection, seen)


def flood(upstream, connection, seen) -> bool:
    """A stream without end, as fast as it is taken."""
    piece = chunk("x" * 8192) * 8
    connection.sendall(STREAM_HEAD)
    while not upstream.release.is_set():
        seen.sent += connection.send(piece[seen.sent % len(piece) :])
    return False


def says(data: bytes) -> Callable[[PlayingUpstream, socket.socket, Seen], bool]:
    """Bytes, and the end of the connection."""

    def part(upstream, connection, seen) -> bool:
        connection.sendall(data)
        return False

    return part


def openai_error(status: str, message: str, *headers: str) -> bytes:
    return whole({"error": {"message": message, "type": "x", "param": None, "code": None}}, status, *headers)


HTML = b"<html><body>Welcome to the wrong server</body></html>"
PARTS: dict[str, Callable[[PlayingUpstream, socket.socket, Seen], bool]] = {
    "chat": chat,
    "serves": serves,
    "plays": plays,
    "silent": silent,
    "half": half,
    "started": started,
    "held": held,
    "flood": flood,
    "breaks": says(STREAM_HEAD + chunk("begun")),
    "limit": says(openai_error("429 Too Many Requests", "slow down", "retry-after: 7")),
    "refuses": says(openai_error("400 Bad Request", "this model has no 'seed'")),
    "not-there": says(
        b"HTTP/1.1 404 Not Found\r\ncontent-type: text/html\r\ncontent-length: %d\r\n\r\n" % len(HTML) + HTML
    ),
}
