"""What callers do wrong on their connection, as steps to play, and the answers that must come.

`<PATH:good>` and `<KEY>` stand for the dialect's path (of the model `good`) and the header that holds the key. What
comes after a refused request is a whole request to the model `smuggled`: nobody may ever read it as one.
"""

from typing import NamedTuple

BODY_BYTES_MAX = 100_000
PAUSE_S = 0.05  # between two drops of what drips: well below every bound


class Fault(NamedTuple):
    """Steps: {"send": text}, {"drip": text} (one character at a time, from the beginning again until it is answered),
    {"end": true} (no more is sent). `statuses` of all answers until the connection ends, and the last one's code.
    """

    steps: list[dict]
    statuses: tuple[int, ...]
    code: str | None = None


def ask(model: str = "good") -> str:
    return f'{{"model":"{model}","messages":[{{"role":"user","content":"hello"}}]}}'


def request(*lines: str, body: str = "", first: str = "POST <PATH:good> HTTP/1.1", host: str = "host: gateway") -> str:
    given = [host] if host else []
    return "\r\n".join([first, *given, "<KEY>", "content-type: application/json", *lines, "", ""]) + body


def whole(model: str = "good", *lines: str) -> str:
    body = ask(model)
    return request(f"content-length: {len(body)}", *lines, body=body, first=f"POST <PATH:{model}> HTTP/1.1")


def chunked(body: str) -> str:
    return f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"


def refused(text: str, status: int = 400, code: str = "http_malformed") -> Fault:
    """With a request behind it, which must not be found."""
    return Fault([{"send": text + whole("smuggled")}], (status,), code)


def answered(text: str, status: int, code: str) -> Fault:
    """An error after which the connection goes on: the next request on it is served."""
    return Fault([{"send": text + whole()}, {"end": True}], (status, 200), code)


LENGTH = f"content-length: {len(ask())}"
CHUNKED = "transfer-encoding: chunked"
SHORT = f"content-length: {len(ask()) - 5}"  # what it leaves over would begin the next request

FAULTS: dict[str, Fault] = {
    # Smuggling: two readers would find different ends of the request.
    "length-and-chunks": refused(request(LENGTH, CHUNKED, body="0\r\n\r\n")),
    "chunks-and-length": refused(request(CHUNKED, LENGTH, body=chunked(ask()))),
    "two-lengths": refused(request(LENGTH, SHORT, body=ask())),
    "length-as-a-list": refused(request(f"{LENGTH}, {len(ask())}", body=ask())),
    "length-with-a-sign": refused(request(f"content-length: +{len(ask())}", body=ask())),
    "length-in-octal": refused(request(f"content-length: 0{len(ask())}", body=ask())),
    "two-codings": refused(request("transfer-encoding: identity, chunked", body=chunked(ask()))),
    "unknown-coding": refused(request("transfer-encoding: xchunked", body=chunked(ask()))),
    "coding-with-a-space": refused(request("transfer-encoding : chunked", LENGTH, body=chunked(ask()))),
    "coding-in-1.0": refused(request(CHUNKED, body=chunked(ask()), first="POST <PATH:good> HTTP/1.0")),
    "folded": refused(request("x-a: b", " content-length: 0", LENGTH, body=ask())),
    "bare-line-feeds": refused(whole().replace("\r\n", "\n")),
    "nul": refused(request(LENGTH, "x-a: b\0c", body=ask())),
    "chunk-extension": refused(request(CHUNKED, body=f"{len(ask()):x};a=b\r\n{ask()}\r\n0\r\n\r\n")),
    "chunk-without-end": refused(request(CHUNKED, body=f"{len(ask()) - 5:x}\r\n{ask()}\r\n0\r\n\r\n")),
    "trailer": refused(request(CHUNKED, body=f"{len(ask()):x}\r\n{ask()}\r\n0\r\nauthorization: x\r\n\r\n")),
    "no-host": refused(request(LENGTH, body=ask(), host="")),
    "two-hosts": refused(request(LENGTH, "host: other", body=ask())),
    "two-keys": refused(request(LENGTH, "<KEY>", body=ask())),
    "absolute-target": refused(request(LENGTH, body=ask(), first="POST http://other<PATH:good> HTTP/1.1")),
    "connect": refused(request(first="CONNECT other:443 HTTP/1.1")),
    "http-0.9": refused("GET <PATH:good>\r\n\r\n"),
    "http-2": refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "tls": refused("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
    "proxy-protocol": refused("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"),
    # Bounds.
    "long-header": refused(request(LENGTH, f"x-a: {'a' * 40_000}", body=ask()), 431, "http_head_too_large"),
    "many-headers": refused(request(LENGTH, *["x-a: b"] * 200, body=ask()), 431, "http_head_too_large"),
    "endless-target": Fault([{"send": "GET /" + "a" * 40_000}], (431,), "http_head_too_large"),
    "large-body": refused(request("content-length: 9999999999"), 413, "http_body_too_large"),
    "large-chunks": refused(request(CHUNKED, body="ffffff\r\n"), 413, "http_body_too_large"),
    "gzip": refused(request(LENGTH, "content-encoding: gzip", body=ask()), 415, "http_encoding"),
    "miracle": refused(request(LENGTH, "expect: a-miracle", body=ask()), 417, "http_expectation"),
    # Slowness.
    "head-stops": Fault([{"send": whole()[:40]}], (408,), "http_timeout"),
    "head-drips": Fault([{"send": "POST <PATH:good> HTTP/1.1\r\n"}, {"drip": "x-a: b\r\n"}], (408,), "http_timeout"),
    "body-stops": Fault([{"send": whole()[:-1]}], (408,), "http_timeout"),
    "body-drips": Fault([{"send": request("content-length: 90000")}, {"drip": " "}], (408,), "http_timeout"),
    "idle": Fault([], ()),
    "idle-after-one": Fault([{"send": whole()}], (200,)),
    # Pipelining.
    "pipelined": Fault([{"send": whole() + whole() + whole()}, {"end": True}], (200, 200, 200)),
    "pipelined-garbage": Fault([{"send": whole() + "\0garbage" + whole("smuggled")}], (200, 400), "http_malformed"),
    "pipelined-flood": Fault([{"send": request("content-length: 0", first="GET /healthz HTTP/1.1") * 2000}], ()),
    # What became a request.
    "not-json": answered(request("content-length: 5", body="{nope"), 400, "invalid_json"),
    "not-a-chat": answered(request("content-length: 16", body='{"model":"good"}'), 400, "invalid_request"),
    "not-json-at-all": answered(whole().replace("application/json", "text/plain", 1), 415, "unsupported_media_type"),
    "unknown-model": answered(whole("other"), 404, "model_not_found"),
    "not-there": answered(whole().replace("<PATH:good>", "<NOTHING>", 1), 404, "not_found"),
    "wrong-method": answered(whole().replace("POST", "DELETE", 1), 405, "method_not_allowed"),
    "no-key": answered(whole().replace("<KEY>", "x-nothing: x", 1), 401, "invalid_api_key"),
    "wrong-key": answered(whole().replace("<KEY>", "<WRONG-KEY>", 1), 401, "invalid_api_key"),
    "forbidden": answered(whole("good", "x-sekisho-residency: US"), 403, "not_permitted"),
    "unknown-class": answered(whole("good", "x-sekisho-data-class: secret"), 400, "invalid_request"),
}  # fmt: skip
