"""What goes wrong between the gateway and a deployment, as scripts to play, and what must come of each.

docs/faults.md tells users the same; tests/unit/test_fault_pages.py holds its codes to those of the gateway.
"""

import json
import re
from typing import NamedTuple

LEAK = "upstream-inner-secret"  # stands in what a deployment says and nobody else may hear
TOKENS = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
ANSWER = json.dumps({"choices": [{"index": 0, "message": {"role": "assistant", "content": "five"}}], "usage": TOKENS})
LARGE_BYTES = 8 * 1024 * 1024  # more than the sockets between us and an upstream that takes nothing hold

READ = {"read": "body"}
WAIT = {"wait": "eof"}
CLOSE = {"close": True}
RESET = {"reset": True}
CUT = {"cut": True}
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
    """`whole` and `stream`: scripts after the request's head was read. `log`: words of the line for the operator.

    `listener`: where the deployment is (see `LISTENERS`). `tls`: the authority that it is trusted by, and the name that
    it must prove. `written`: whether a byte of the request left.
    """

    whole: list[dict]
    stream: list[dict]
    told_whole: Told
    told_stream: Told
    log: str
    extra: str = ""  # lines of the deployment's declaration
    large: bool = False
    answer_headers: tuple[str, ...] = ()  # lines that the caller must get
    listener: str = "plain"
    tls: tuple[str, str] | None = None
    written: bool = True


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
# A listener named here plays its script at once; the others play what a request's path names.
SPEAKS_AT_ONCE = {
    "says-http": [send(head("400 Bad Request", "content-length: 0")), CLOSE],
    "mute": [WAIT],
    "resets": [RESET],
}
LISTENERS = ("plain", "tls", "tls-expired", "tls-mutual", *SPEAKS_AT_ONCE)


def relayed(script: list[dict]) -> bytes | None:
    """The bytes of a good stream that the caller must get, as they are; None where the script frames them in chunks."""
    text = "".join(step["send"] * step.get("times", 1) for step in script if "send" in step)
    if "chunked" in text:
        return None
    body = text[text.index("text/event-stream") :].split("\r\n\r\n", 1)[1]
    return body[: re.search(r"data: ?\[DONE\](\r\n|\n|\r){2}", body).end()].encode("latin-1")


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


def in_stream(steps: list[dict], told: Told, log: str = "") -> Case:
    """A fault that only a stream can have."""
    return Case(GOOD_WHOLE, [READ, *steps], GOOD, told, log)


def in_whole(body: str, code: str, log: str) -> Case:
    """A fault that only a whole answer can have."""
    return Case([READ, send(answer("200 OK", body, JSON)), AGAIN], GOOD_STREAM, failed(code), GOOD, log)


def unconnected(code: str, log: str, listener: str = "plain", **more) -> Case:
    """A fault before a byte of the request has left."""
    return alike([], failed(code), log, listener=listener, written=False, **more)


def tool(fields: str) -> str:
    return f'data: {{"choices":[{{"index":0,"delta":{{"tool_calls":[{{"index":0,{fields}}}]}}}}]}}\n\n'


def status(line: str, body: str, told: Told, log: str, *lines: str, pass_on: tuple[str, ...] = ()) -> Case:
    return alike([READ, send(answer(line, body, *lines)), AGAIN], told, log, answer_headers=pass_on)


def refused(code: int) -> Told:
    return Told(502, f"upstream_status_{code}", "upstream_refused")


def callers(code: int) -> Told:
    """An answer that concerns the caller: it is passed on, or ours stands in its place if it can't be."""
    return Told(code, f"upstream_status_{code}", "complete", receipt="")


QUICK = "first_byte_timeout_ms = 300\nidle_timeout_ms = 300\n"
ENDLESS = "total_timeout_ms = 700\n"
ENGINES = ("engines", "engine.test")
LIMITS = ("x-ratelimit-remaining-tokens: 9", "x-ratelimit-reset-requests: 6m0s", "openai-processing-ms: 12")
NOT_THERE = Told(404, "operation_not_served", "upstream_refused", receipt="upstream_status_404")
ERROR = json.dumps({"error": {"message": "as the deployment says", "type": "x", "param": None, "code": "y"}})

CASES: dict[str, Case] = {
    # Connecting. What listens where is set up by the test.
    "connect-refused": unconnected("upstream_connect", "can't be reached"),
    "connect-timeout": unconnected("upstream_connect", "within 0.3 s", extra="connect_timeout_ms = 300\n"),
    "name-unknown": unconnected("upstream_connect", "does not resolve"),
    "address-outside": unconnected("upstream_address", "outside its declared networks"),
    "one-address-outside": unconnected("upstream_address", "outside its declared networks"),
    # TLS.
    "tls": Case(GOOD_WHOLE, GOOD_STREAM, GOOD, GOOD, "", listener="tls", tls=ENGINES),
    "tls-untrusted": unconnected("upstream_tls", "certificate verify failed", "tls", tls=("strangers", "engine.test")),
    "tls-wrong-name": unconnected("upstream_tls", "certificate verify failed", "tls", tls=("engines", "other.test")),
    "tls-expired": unconnected("upstream_tls", "certificate verify failed", "tls-expired", tls=ENGINES),
    "tls-to-http": unconnected("upstream_tls", "TLS with 127.0.0.1 failed", "says-http", tls=ENGINES),
    "tls-to-silence": unconnected(
        "upstream_connect", "within 0.3 s", "mute", tls=ENGINES, extra="connect_timeout_ms = 300\n"
    ),
    "tls-reset": unconnected("upstream_connect", "can't be reached", "resets", tls=ENGINES),
    # TLS 1.3 lets a client begin before the server has looked at its certificate.
    "tls-without-ours": alike(
        [], failed("upstream_head"), "demands a client certificate", listener="tls-mutual", tls=ENGINES
    ),
    "tls-cut": in_body(
        [send(head("200 OK", JSON) + ANSWER), CUT, WAIT], [send(SSE + event()), CUT, WAIT],
        "upstream_body", "was lost", listener="tls", tls=ENGINES,
    ),
    # Writing.
    "takes-nothing": alike([{"sleep": 60}], failed("upstream_timeout", 504), "takes no more", extra=QUICK, large=True),
    "resets-while-taking": alike([RESET], failed("upstream_write"), "was lost", large=True),
    "refuses-while-taking": alike(
        [send(answer("413 Content Too Large", ERROR, JSON)), READ, AGAIN], callers(413), "", large=True
    ),
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
    "gzip-framing": alike(
        [READ, send(head("200 OK", JSON, "transfer-encoding: gzip, chunked") + "\x1f\x8b\x08"), WAIT],
        failed("upstream_invalid"), "transfer-encoding",
    ),
    "bare-line-feeds": alike(
        [READ, send(f"HTTP/1.1 200 OK\ncontent-length: {len(ANSWER)}\n\n{ANSWER}"), WAIT],
        failed("upstream_invalid"), "not HTTP/1.1",
    ),
    "http-2": alike(
        [READ, send("\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x80"), WAIT], failed("upstream_invalid"), "not HTTP/1.1"
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
    **{
        f"redirects-{code}": status(f"{code} Oh", "", refused(code), f"status {code}", "location: /elsewhere/chat")
        for code in (301, 302, 303, 307, 308)
    },
    "accepted": status("202 Accepted", "{}", refused(202), "status 202", JSON),
    "wants-money": status("402 Payment Required", ERROR, refused(402), "status 402", JSON),
    "refuses-credentials": status("401 Unauthorized", LEAK, refused(401), "refused our credentials", HTML),
    "forbids": status("403 Forbidden", json.dumps({"error": {"message": LEAK}}), refused(403), "credentials", JSON),
    "no-content": alike([READ, send(head("204 No Content")), AGAIN], refused(204), "status 204"),
    "fails-with-html": status("500 Internal Server Error", PAGE, refused(500), "status 500", HTML),
    **{f"fails-{code}": status(f"{code} Oh", "", refused(code), f"status {code}") for code in (502, 504, 529)},
    "overloaded": status("503 Service Unavailable", PAGE, refused(503), "status 503", HTML, "retry-after: 9"),
    "limit": status(
        "429 Too Many Requests", ERROR, callers(429), "", JSON, "retry-after: 7", "retry-after-ms: 6500",
        "x-should-retry: true",
        pass_on=("retry-after: 7", "retry-after-ms: 6500", "x-should-retry: true"),
    ),
    "limit-bare": status("429 Too Many Requests", PAGE, callers(429), "", HTML),
    "refuses": status("400 Bad Request", ERROR, callers(400), "", JSON),
    "refuses-with-html": status("422 Unprocessable Content", PAGE, callers(422), "", HTML),
    "not-there": status("404 Not Found", PAGE, NOT_THERE, "operation_not_served", HTML),
    "tells-its-limits": status(
        "200 OK", ANSWER, GOOD, "", JSON, *LIMITS, f"x-internal: {LEAK}", "x-request-id: theirs", pass_on=LIMITS
    )._replace(stream=GOOD_STREAM),
    "http-1.0": Case(
        [READ, send(f"HTTP/1.0 200 OK\r\n{JSON}\r\n\r\n{ANSWER}"), CLOSE],
        [READ, send((SSE + event() + DONE).replace("HTTP/1.1", "HTTP/1.0")), CLOSE], GOOD, GOOD, "",
    ),
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
    "odd-chunks": Case(
        [READ, send(CHUNKED_JSON + f"{len(ANSWER):x};a=b\r\n{ANSWER}\r\n0\r\nx-sum: 1\r\n\r\n"), AGAIN],
        [READ, send(CHUNKED + CHUNK + f"{len(DONE):X};a\r\n{DONE}\r\n0\r\nx-sum: 1\r\n\r\n", split=1, pause=0), AGAIN],
        GOOD, GOOD, "",
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
    "nothing": in_whole("", "upstream_invalid", "not a JSON object"),
    "a-list": in_whole("[]", "upstream_invalid", "not a JSON object"),
    "deep-json": in_whole("[" * 100_000, "upstream_invalid", "not a JSON object"),
    "json-for-a-stream": Case(
        GOOD_WHOLE, GOOD_WHOLE, GOOD, failed("upstream_invalid"), "did not stream as it was asked to"
    ),
    "stream-for-json": Case(
        GOOD_STREAM, GOOD_STREAM, failed("upstream_invalid"), GOOD, "streamed although it was not asked to"
    ),
    "error-with-200": in_whole(
        json.dumps({"error": {"message": LEAK}}), "upstream_error_answer", "reported an error with status 200"
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
    "fields-and-lines": in_stream(
        [send(SSE + "event: message\nid: 1\nretry: 9\n" + event() + 'data: {"choices":\ndata:[]}\n\n' + DONE), CLOSE],
        GOOD,
    ),
    "byte-order-mark": in_stream([send(SSE + "\xef\xbb\xbf\n\n" + event() + DONE), CLOSE], GOOD),
    "tool-deltas": in_stream(
        [send(SSE + tool('"id":"call_1","function":{"name":"f","arguments":""}') + event()),
         send(tool('"function":{"arguments":"{\\"a\\""}') + tool('"function":{"arguments":":1}"}') + DONE), CLOSE],
        GOOD,
    ),
    "after-done": in_stream([send(SSE + event() + DONE + event(LEAK)), CLOSE], GOOD, ""),
    "large-event": in_stream(
        [send(SSE + 'data: {"choices":[{"delta":{"content":"'), send("x" * 65536, times=160),
         send('"}}]}\n\n' + DONE), CLOSE], GOOD, "",
    ),
    "no-done": in_stream([send(SSE + event()), CLOSE], broken("upstream_incomplete"), "upstream_incomplete"),
    "done-unfinished": in_stream(
        [send(SSE + event() + "data: [DONE]\n"), CLOSE], broken("upstream_incomplete"), "upstream_incomplete"
    ),
    "half-an-event": in_stream([send(SSE + event() + "data: {"), CLOSE], broken("upstream_incomplete"), "incomplete"),
    "no-event": in_stream([send(SSE), CLOSE], failed("upstream_incomplete"), "ended before it was complete"),
    "bad-event": in_stream([send(SSE + event() + "data: {no\n\n" + DONE), WAIT], broken("upstream_invalid"), "invalid"),
    "bad-text": in_stream(
        [send(SSE + event() + 'data: {"a":"\xff"}\n\n' + DONE), WAIT], broken("upstream_invalid"), "not JSON"
    ),
    "deep-event": in_stream(
        [send(SSE + event() + "data: " + "[" * 100_000 + "\n\n" + DONE), WAIT], broken("upstream_invalid"), "not JSON"
    ),
    "bad-first-event": in_stream([send(SSE + "data: {no\n\n" + DONE), WAIT], failed("upstream_invalid"), "not JSON"),
    "error-event": in_stream(
        [send(SSE + event() + f"data: {ERROR}\n\n" + DONE), WAIT], broken("upstream_error_event"), "its stream ends"
    ),
    "error-first": in_stream(
        [send(SSE + f'data: {{"error":{{"message":"{LEAK}"}}}}\n\n' + DONE), WAIT],
        failed("upstream_error_event"), "instead of an answer",
    ),
}  # fmt: skip
