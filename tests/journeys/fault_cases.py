"""What goes wrong between the gateway and a deployment, as scripts to play, and what must come of each.

docs/faults.md tells users the same; tests/unit/test_fault_documents.py holds the two together.
"""

import json
from typing import NamedTuple

LEAK = "upstream-inner-secret"  # stands in what a deployment says and nobody else may hear
TOKENS = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
ANSWER = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "five"}}], "usage": TOKENS})
LARGE_BYTES = 8 * 1024 * 1024  # more than the sockets between us and an upstream that takes nothing hold

READ = {"read": "body"}
WAIT = {"wait": "eof"}
CLOSE = {"close": True}
RESET = {"reset": True}
AGAIN = {"again": True}


class Told(NamedTuple):
    """What comes of a fault: the answer's status and code (None: a good one), how the attempt ended and its error.

    `event`: the status was 200 and a stream had begun, so the code comes in an error event, without `[DONE]`.
    """

    status: int
    code: str | None = None
    ended: str = "upstream_failed"
    event: bool = False
    receipt: str | None = None  # the error in the receipt, where it is not `code`


class Case(NamedTuple):
    """`whole` and `stream`: scripts after the request's head was read. `log`: words of the line for the operator."""

    whole: list[dict]
    stream: list[dict]
    told_whole: Told
    told_stream: Told
    log: str
    extra: str = ""  # lines of the deployment's declaration
    large: bool = False
    answer_headers: tuple[str, ...] = ()  # lines that the caller must get


def send(text: str, **how) -> dict:
    return {"send": text, **how}


def head(status: str, *lines: str) -> str:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""])


def answer(status: str, body: str, *lines: str) -> str:
    return head(status, f"content-length: {len(body)}", *lines) + body


def event(text: str = "five") -> str:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return f"data: {json.dumps({'choices': [choice]}, ensure_ascii=False)}\n\n".encode().decode("latin-1")


JSON = "content-type: application/json"
HTML = "content-type: text/html"
SSE = head("200 OK", "content-type: text/event-stream")
CHUNKED = head("200 OK", "content-type: text/event-stream", "transfer-encoding: chunked")
CHUNKED_JSON = head("200 OK", JSON, "transfer-encoding: chunked")
DONE = "data: [DONE]\n\n"
INTERIM = head("100 Continue") + head("103 Early Hints", "link: </x>")
CHUNK = f"{len(event()):x}\r\n{event()}\r\n"
PAGE = f"<html>{LEAK}</html>"
GOOD = Told(200, ended="complete")
GOOD_STREAM = [READ, send(SSE + event() + DONE), CLOSE]
GOOD_WHOLE = [READ, send(answer("200 OK", ANSWER, JSON)), AGAIN]


def failed(code: str, status: int = 502) -> Told:
    return Told(status, code)


def broken(code: str) -> Told:
    return Told(200, code, event=True)


def alike(steps: list[dict], told: Told, log: str, **more) -> Case:
    """A fault that comes before the body, so that it is the same for whole answers and streams."""
    return Case(steps, steps, told, told, log, **more)


def in_body(whole: list[dict], stream: list[dict], code: str, log: str, status: int = 502, **more) -> Case:
    """A fault in the middle of the body: an error for a whole answer, an error event for a stream."""
    return Case([READ, *whole], [READ, *stream], failed(code, status), broken(code), log, **more)


def in_stream(steps: list[dict], told: Told, log: str) -> Case:
    """A fault that only a stream can have."""
    return Case(GOOD_WHOLE, [READ, *steps], GOOD, told, log)


def status(line: str, body: str, told: Told, log: str, *lines: str, pass_on: tuple[str, ...] = ()) -> Case:
    return alike([READ, send(answer(line, body, *lines)), AGAIN], told, log, answer_headers=pass_on)


def refused(code: int) -> Told:
    return Told(502, f"upstream_status_{code}", "upstream_refused")


def callers(code: int) -> Told:
    """An answer that concerns the caller: it is passed on, or ours stands in its place if it can't be."""
    return Told(code, f"upstream_status_{code}", "complete", receipt="")


QUICK = "first_byte_timeout_ms = 300\nidle_timeout_ms = 300\n"
ENDLESS = "total_timeout_ms = 700\n"
ERROR = json.dumps({"error": {"message": "as the deployment says", "type": "x", "param": None, "code": "y"}})

CASES: dict[str, Case] = {
    # Connecting. What listens where is set up by the test.
    "connect-refused": alike([], failed("upstream_connect"), "can't be reached"),
    "connect-timeout": alike([], failed("upstream_connect"), "within 0.3 s", extra="connect_timeout_ms = 300\n"),
    "name-unknown": alike([], failed("upstream_connect"), "does not resolve"),
    "address-outside": alike([], failed("upstream_address"), "outside its declared networks"),
    # Writing.
    "takes-nothing": alike([{"sleep": 60}], failed("upstream_timeout", 504), "takes no more", extra=QUICK, large=True),
    "resets-while-taking": alike([RESET], failed("upstream_write"), "was lost", large=True),
    # The head.
    "silent": alike([READ, WAIT], failed("upstream_timeout", 504), "did not answer in time", extra=QUICK),
    "head-drips": alike(
        [READ, send("HTTP/1.1 200 OK\r\nx: "), send("y", times=10_000, pause=0.05)],
        failed("upstream_timeout", 504), "did not answer in time", extra=QUICK,
    ),
    "closes-before-head": alike([READ, CLOSE], failed("upstream_head"), "before it answered"),
    "resets-before-head": alike([READ, RESET], failed("upstream_head"), "was lost"),
    "half-a-head": alike(
        [READ, send("HTTP/1.1 200 OK\r\nconte"), CLOSE], failed("upstream_head"), "before it answered"
    ),
    "not-http": alike([READ, send("SSH-2.0-OpenSSH_9.2\r\n\r\n"), WAIT], failed("upstream_invalid"), "not HTTP/1.1"),
    "long-head": alike(
        [READ, send("HTTP/1.1 200 OK\r\n"), send("x" * 99 + ": y\r\n", times=1000), WAIT],
        failed("upstream_too_large"), "head is longer",
    ),
    "two-lengths": alike(
        [READ, send(head("200 OK", "content-length: 2", "content-length: 3") + "{}"), WAIT],
        failed("upstream_invalid"), "content-length comes twice",
    ),
    "length-and-chunks": alike(
        [READ, send(head("200 OK", "content-length: 2", "transfer-encoding: chunked") + "{}"), WAIT],
        failed("upstream_invalid"), "transfer-encoding",
    ),
    "gzip": alike(
        [READ, send(answer("200 OK", "\x1f\x8b\x08", JSON, "content-encoding: gzip")), WAIT],
        failed("upstream_encoding"), "content-encoding that we did not ask for",
    ),
    "switches-protocols": alike(
        [READ, send(head("101 Switching Protocols", "upgrade: h2c")), WAIT],
        failed("upstream_invalid"), "switches protocols",
    ),
    "endless-interim": alike(
        [READ, send(head("102 Processing"), times=1000), WAIT], failed("upstream_invalid"), "never comes to its answer"
    ),
    "interim": Case(
        [READ, send(INTERIM + answer("200 OK", ANSWER, JSON)), AGAIN],
        [READ, send(INTERIM + SSE + event() + DONE), CLOSE],
        GOOD, GOOD, "",
    ),
    # Statuses.
    "redirects": status("307 Temporary Redirect", "", refused(307), "status 307", "location: /elsewhere/chat"),
    "refuses-credentials": status("401 Unauthorized", LEAK, refused(401), "refused our credentials", HTML),
    "forbids": status("403 Forbidden", json.dumps({"error": {"message": LEAK}}), refused(403), "credentials", JSON),
    "no-content": alike([READ, send(head("204 No Content")), AGAIN], refused(204), "status 204"),
    "fails-with-html": status("500 Internal Server Error", PAGE, refused(500), "status 500", HTML),
    "overloaded": status("503 Service Unavailable", PAGE, refused(503), "status 503", HTML, "retry-after: 9"),
    "limit": status(
        "429 Too Many Requests", ERROR, callers(429), "", JSON, "retry-after: 7", "retry-after-ms: 6500",
        "x-should-retry: true",
        pass_on=("retry-after: 7", "retry-after-ms: 6500", "x-should-retry: true"),
    ),
    "limit-bare": status("429 Too Many Requests", PAGE, callers(429), "", HTML),
    "refuses": status("400 Bad Request", ERROR, callers(400), "", JSON),
    "refuses-with-html": status("404 Not Found", PAGE, callers(404), "", HTML),
    # The body.
    "short": in_body(
        [send(head("200 OK", JSON, "content-length: 100") + "{"), CLOSE],
        [send(head("200 OK", "content-type: text/event-stream", "content-length: 999") + event()), CLOSE],
        "upstream_body", "in the middle of its answer",
    ),
    "resets-in-body": in_body(
        [send(head("200 OK", JSON, "content-length: 100") + "{"), {"sleep": 0.2}, RESET],
        [send(SSE + event()), {"sleep": 0.2}, RESET],
        "upstream_body", "was lost",
    ),
    "long": Case(
        [READ, send(answer("200 OK", ANSWER, JSON) + answer("200 OK", LEAK)), WAIT],
        [READ, send(answer("200 OK", event() + DONE, "content-type: text/event-stream") + LEAK), WAIT],
        GOOD, GOOD, "",
    ),
    "cut-chunks": in_body(
        [send(CHUNKED_JSON + "64\r\n{"), CLOSE], [send(CHUNKED + CHUNK + "64\r\nx"), CLOSE],
        "upstream_body", "in the middle of its answer",
    ),
    "bad-chunks": in_body(
        [send(CHUNKED_JSON + "zz\r\n"), WAIT], [send(CHUNKED + CHUNK), {"sleep": 0.2}, send("zz\r\n"), WAIT],
        "upstream_invalid", "malformed chunk size",
    ),
    "stalls": in_body(
        [send(head("200 OK", JSON, "content-length: 100") + "{"), WAIT], [send(SSE + event()), WAIT],
        "upstream_timeout", "stopped in the middle", 504, extra=QUICK,
    ),
    "trickles": in_body(
        [send(head("200 OK", JSON)), send(" ", times=10_000, pause=0.02)],
        [send(SSE + event()), send(": ping\n\n", times=10_000, pause=0.02)],
        "upstream_timeout", "did not come to an end", 504, extra=ENDLESS,
    ),
    "endless": in_body(
        [send(head("200 OK", JSON)), send(" " * 65536, times=1100), WAIT],
        [send(SSE + event() + "data: "), send("x" * 65536, times=400), WAIT],
        "upstream_too_large", "bytes",
    ),
    "not-json": alike([READ, send(answer("200 OK", PAGE, HTML)), AGAIN], failed("upstream_invalid"), "failed: "),
    "json-for-a-stream": Case(
        GOOD_WHOLE, GOOD_WHOLE, GOOD, failed("upstream_invalid"), "did not stream as it was asked to"
    ),
    "stream-for-json": Case(
        GOOD_STREAM, GOOD_STREAM, failed("upstream_invalid"), GOOD, "streamed although it was not asked to"
    ),
    "error-with-200": Case(
        [READ, send(answer("200 OK", json.dumps({"error": {"message": LEAK}}), JSON)), AGAIN], GOOD_STREAM,
        failed("upstream_error_answer"), GOOD, "reported an error with status 200",
    ),
    # Streams.
    "every-byte": in_stream([send(SSE + event("五") + event() + DONE, split=1, pause=0), CLOSE], GOOD, ""),
    "crlf": in_stream([send(SSE + (event() + DONE).replace("\n", "\r\n")), CLOSE], GOOD, ""),
    "cr": in_stream([send(SSE + (event() + DONE).replace("\n", "\r")), CLOSE], GOOD, ""),
    "pings": in_stream(
        [send(SSE + ": ping\n\n"), {"sleep": 0.05}, send(":\n\n" + event() + ": ping\n\ndata:\n\n" + DONE), CLOSE],
        GOOD, "",
    ),
    "usage-chunk": in_stream(
        [send(SSE + 'data: {"choices":[{"index":0,"delta":{"content":"five"}}],"usage":null}\n\n'),
         send(f'data: {{"choices":[],"usage":{json.dumps(TOKENS)}}}\n\n' + DONE), CLOSE], GOOD, "",
    ),
    "after-done": in_stream([send(SSE + event() + DONE + event(LEAK)), CLOSE], GOOD, ""),
    "large-event": in_stream(
        [send(SSE + 'data: {"choices":[{"delta":{"content":"'), send("x" * 65536, times=160),
         send('"}}]}\n\n' + DONE), CLOSE], GOOD, "",
    ),
    "no-done": in_stream([send(SSE + event()), CLOSE], broken("upstream_incomplete"), "upstream_incomplete"),
    "half-an-event": in_stream([send(SSE + event() + "data: {"), CLOSE], broken("upstream_incomplete"), "incomplete"),
    "no-event": in_stream([send(SSE), CLOSE], failed("upstream_incomplete"), "ended before it was complete"),
    "bad-event": in_stream([send(SSE + event() + "data: {no\n\n" + DONE), WAIT], broken("upstream_invalid"), "invalid"),
    "bad-text": in_stream(
        [send(SSE + event() + 'data: {"a":"\xff"}\n\n' + DONE), WAIT], broken("upstream_invalid"), "not JSON"
    ),
    "bad-first-event": in_stream([send(SSE + "data: {no\n\n" + DONE), WAIT], failed("upstream_invalid"), "not JSON"),
    "error-event": in_stream(
        [send(SSE + event() + f"data: {ERROR}\n\n" + DONE), WAIT], broken("upstream_error_event"), ""
    ),
}  # fmt: skip
