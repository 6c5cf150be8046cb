"""Providers as `sekisho providers test` and discovery meet them: the first word of a path says which part is played.

`/PART/v1/…` is answered by PART; a part is a function of the handler and the request's document (None for GET).
"""

import contextlib
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

KEY = "a-key-of-ours-0123"
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
MODELS = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "test"}, {"id": "n"}]}


class ProviderUpstream(ThreadingHTTPServer):
    """Serves `parts` on a free port. `before_first` is called once, before the first request is answered."""

    daemon_threads = True

    def __init__(self, parts: dict, tls: ssl.SSLContext | None = None, before_first=None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.parts = parts
        self.port = self.server_address[1]
        self.seen: list[tuple[str, str, dict | None, dict[str, str]]] = []  # method, path, document, headers
        self.release = threading.Event()
        self.before_first = before_first
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))

    def handle_error(self, request, client_address) -> None:
        """A client that leaves in the middle is no fault of the server's."""

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.release.set()
        self.shutdown()
        self._thread.join()
        self.server_close()

    def of(self, part: str) -> list:
        return [seen for seen in self.seen if seen[1].startswith(f"/{part}/")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ProviderUpstream

    def log_message(self, *_) -> None: ...

    def do_GET(self) -> None:
        self._play(None)

    def do_POST(self) -> None:
        self._play(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _play(self, document) -> None:
        if self.server.before_first is not None:
            self.server.before_first, first = None, self.server.before_first
            first()
        self.server.seen.append((self.command, self.path, document, {k.lower(): v for k, v in self.headers.items()}))
        part = self.server.parts.get(self.path) or self.server.parts.get(self.path.split("/")[1])
        if part is None:
            self.error(404, "no such path")
        else:
            part(self, document)

    def send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def json(self, document, status: int = 200) -> None:
        self.send(status, json.dumps(document).encode())

    def error(self, status: int, message: str) -> None:
        self.json({"error": {"message": message, "type": "x", "param": None, "code": None}}, status)


def answer(model: str) -> dict:
    choice = {"index": 0, "message": {"role": "assistant", "content": "pong"}, "finish_reason": "length"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": USAGE}


def stream(handler: Handler, model: str) -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": model,
             "choices": [{"index": 0, "delta": {"content": "pong"}, "finish_reason": None}]}  # fmt: skip
    events = [json.dumps(chunk), json.dumps({**chunk, "choices": [], "usage": USAGE}), "[DONE]"]
    handler.send(200, "".join(f"data: {event}\n\n" for event in events).encode(), "text/event-stream")


def good(handler: Handler, document) -> None:
    """A provider that does everything right, for the model `m` and whoever has the key."""
    if handler.headers.get("authorization") != f"Bearer {KEY}":
        handler.error(401, f"Incorrect API key provided: {handler.headers.get('authorization', '')[7:]}")
    elif document is None:
        handler.json(MODELS)
    elif document["model"] != "m":
        handler.error(404, f"The model {document['model']} does not exist")
    elif handler.path.endswith("/embeddings"):
        handler.json({"object": "list", "model": "m", "data": [{"index": 0, "embedding": [0.5]}], "usage": USAGE})
    elif document.get("stream"):
        stream(handler, "m")
    else:
        handler.json(answer("m"))


def reasoning(handler: Handler, document) -> None:
    """One that takes max_completion_tokens only."""
    if document is not None and "max_tokens" in document:
        handler.error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    else:
        good(handler, document)


def whole_only(handler: Handler, document) -> None:
    """One that doesn't stream, reports no usage and lists no models."""
    if document is None:
        handler.error(404, "no such path")
    else:
        handler.json({key: value for key, value in answer("other").items() if key != "usage"})


def slow(handler: Handler, document) -> None:
    handler.server.release.wait(30)


def drips(handler: Handler, document) -> None:
    """An answer that begins and never ends, a byte now and then."""
    handler.send_response(200)
    handler.send_header("content-length", "100000")
    handler.end_headers()
    with contextlib.suppress(OSError):
        while not handler.server.release.wait(0.02):
            handler.wfile.write(b" ")


def garbage(handler: Handler, document) -> None:
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    handler.close_connection = True


def page(handler: Handler, document) -> None:
    handler.send(200, b"<html>Welcome</html>", "text/html")


def redirects(handler: Handler, document) -> None:
    handler.send_response(307)
    handler.send_header("location", "https://elsewhere.example/v1/chat/completions")
    handler.send_header("content-length", "0")
    handler.end_headers()


def says(status: int, message: str) -> Callable[[Handler, object], None]:
    return lambda handler, document: handler.error(status, message)


PARTS = {
    "good": good,
    "reasoning": reasoning,
    "whole-only": whole_only,
    "slow": slow,
    "drips": drips,
    "garbage": garbage,
    "page": page,
    "redirects": redirects,
    "limited": says(429, "monthly requests are used up"),
    "broken": says(503, "overloaded"),
    "strict": says(400, "this model has no 'chat'"),
}


def write_key(root: Path, provider: str, key: str = KEY) -> None:
    """The credential where `providers add` says it belongs."""
    path = root / "keys" / "providers" / provider
    path.write_text(key + "\n")
    path.chmod(0o600)
