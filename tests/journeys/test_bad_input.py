"""Requests that are wrong in every way: each has its status, an error that helps, a line in the log.

The gateway serves on afterwards, and nothing wrong reaches an upstream. Upstreams that are wrong: test_faults.py.
"""

import gzip
import json
import socket
import threading

import pytest

from journeys.installation import Installation, free_port, sekisho, until
from journeys.playing_upstream import PlayingUpstream

BODY_BYTES_MAX = 200_000
ASK = b'{"model":"chat","messages":[{"role":"user","content":"hello"}]}'


@pytest.fixture(scope="module")
def upstream():
    with PlayingUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("bad") / "site") as installation:
        for part in ("chat", "held"):
            installation.deployment(part, upstream.port, path=f"/{part}")
        for name in ("down-1", "down-2"):
            installation.deployment(name, free_port(), model="down")
        installation.setting("gateway", "body_bytes_max", BODY_BYTES_MAX)
        installation.setting("gateway", "in_flight_max", 2)
        installation.start()
        yield installation


class Answered:
    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b"\r\n\r\n")
        status_line, *lines = head.decode().split("\r\n")
        self.status = int(status_line.split(" ")[1])
        self.headers = dict(line.lower().split(": ", 1) for line in lines)

    @property
    def error(self) -> dict:
        return json.loads(self.body)["error"]


def send(running, body=ASK, *headers: str, key: str | None = "", target="POST /v1/chat/completions", length=None):
    """One raw request on a connection of its own. `key`: "" the installation's, None: none."""
    lines = [f"{target} HTTP/1.1", "host: gateway", "connection: close", *headers]
    if key is not None:
        lines.append(f"authorization: Bearer {key or running.key}")
    if not any(header.lower().startswith("content-type") for header in headers):
        lines.append("content-type: application/json")
    lines.append(f"content-length: {len(body) if length is None else length}")
    with socket.create_connection(("127.0.0.1", running.gateway_port), timeout=30) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        data = b""
        while piece := connection.recv(65536):
            data += piece
    return Answered(data)


def check(running, answered, status, *words):
    """The shape of an error, an id that leads to its line in the log, and a gateway that serves on."""
    assert answered.status == status, answered.body
    error = answered.error
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"]
    assert error["code"]
    for word in words:
        assert word in error["message"], error["message"]
    assert "Traceback" not in answered.body.decode()
    assert ".py" not in answered.body.decode()
    request_id = answered.headers["x-request-id"]
    lines = until(
        lambda: [line for line in running.log.read_text().splitlines() if f"{request_id}: {status} " in line],
        what=f"a line about {request_id}",
    )
    assert len(lines) == 1, lines
    assert running.key not in running.log.read_text()
    assert send(running).status == 200
    return error


def nested(levels: int) -> bytes:
    return b'{"model":"chat","messages":[{"role":"user","content":"x"}],"a":' + b"[" * levels + b"]" * levels + b"}"


def about(**fields) -> bytes:
    document = {"model": "chat", "messages": [{"role": "user", "content": "hello"}], **fields}
    return json.dumps({name: value for name, value in document.items() if value is not ...}).encode()


@pytest.mark.parametrize(
    ("body", "param", "word"),
    [
        (b"", None, "not valid JSON"),
        (b'{"model":"chat","messages":[', None, "not valid JSON"),
        (b"[]", None, "not a JSON object"),
        (b"null", None, "not a JSON object"),
        (b"NaN", None, "not valid JSON"),
        (b'{"model":"chat","messages":[{"role":"user","content":"\xff\xfe"}]}', None, "not valid JSON"),
        (b'{"model":"chat","messages":[{"role":"user","content":"\\ud800"}]}', None, "not valid JSON"),
        (b"[" * 100_000, None, "not valid JSON"),
        (b'{"a":' * 30_000 + b"1" + b"}" * 30_000, None, "not valid JSON"),
        (about(seed=2**64), None, "beyond 64 bits"),
        (about(seed=10**400), None, ""),
        (about(model=...), "model", "name of a model"),
        (about(model=7), "model", "name of a model"),
        (about(model="m" * 1000), "model", "name of a model"),
        (about(messages=...), "messages", "at least one message"),
        (about(messages=[]), "messages", "at least one message"),
        (about(messages="hello"), "messages", "at least one message"),
        (about(messages=["hello"]), "messages[0]", "'role'"),
        (about(messages=[{"content": "hello"}]), "messages[0]", "'role'"),
        (about(stream="yes"), "stream", "true or false"),
        (about(max_tokens=-1), "max_tokens", "positive"),
        (about(max_completion_tokens=1.5), "max_completion_tokens", "positive"),
        (about(max_tokens=True), "max_tokens", "positive"),
    ],
)  # fmt: skip
def test_bodies_that_can_not_be_served(running, upstream, body, param, word):
    answered = send(running, body)
    before = len(upstream.seen)
    error = check(running, answered, 400, word)
    assert error["param"] == param
    assert len(upstream.seen) == before + 1  # the good request after it


def test_nesting_that_a_parser_takes_is_not_taken_for_read(running, upstream):
    """Deeper than anybody reads it is `opaque`: at home it may go, and the label says so."""
    answered = send(running, nested(200))
    assert answered.status == 200
    assert "opaque" in answered.headers["x-sekisho-labels"]
    before = len(upstream.seen)
    answered = send(running, nested(500))  # orjson reads this and can't write it
    assert len(upstream.seen) == before
    check(running, answered, 400, "nested", "250")


def test_content_of_an_odd_type_is_the_upstreams_to_judge(running, upstream):
    for content in (None, 7, {"a": "b"}, [None, 7, "x", {"type": "new"}]):
        assert send(running, about(messages=[{"role": "user", "content": content}])).status == 200
        assert upstream.seen[-1].document["messages"][0]["content"] == content


def test_an_unknown_model_and_unknown_paths(running):
    error = check(running, send(running, about(model="gpt-9")), 404, "gpt-9", "/v1/models")
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    check(running, send(running, target="POST /v1/images/generations"), 404, "/v1/images/generations")
    check(running, send(running, target="GET /v1/../../etc/passwd"), 404)
    check(running, send(running, target="DELETE /v1/chat/completions"), 405, "POST")
    check(running, send(running, b"", target="GET /receipts/../state.sqlite"), 400, "x-sekisho-receipt")
    check(running, send(running, b"", target="GET /receipts/0197f0a0-0000-7000-8000-000000000000"), 404)


def test_keys(running):
    check(running, send(running, key=None), 401)
    check(running, send(running, key="sk-unknown"), 401)
    check(running, send(running, ASK, "authorization: Basic dXNlcjpwYXNz", key=None), 401)
    check(running, send(running, ASK, "api-key: sk-another"), 401)
    revoked = sekisho("keys", "create", "--name", "short-lived", running.root).stdout.strip()
    until(lambda: send(running, key=revoked).status == 200, what="the new key")
    listed = json.loads(sekisho("keys", "list", "--json", running.root).stdout)
    sekisho("keys", "revoke", next(key["id"] for key in listed if key["name"] == "short-lived"), running.root)
    until(lambda: send(running, key=revoked).status == 401, 5, what="the revocation")
    check(running, send(running, key=revoked), 401, "revoked")


def test_media_types_codings_and_bodies_beyond_the_bound(running):
    check(running, send(running, b"model=chat", "content-type: application/x-www-form-urlencoded"), 415, "JSON")
    check(running, send(running, gzip.compress(ASK), "content-encoding: gzip"), 415, "content-encoding")
    check(running, send(running, b"x" * (BODY_BYTES_MAX + 1)), 413, str(BODY_BYTES_MAX), "body_bytes_max")
    check(running, send(running, b"", length=10**14), 413)
    check(running, send(running, b"", length=-1), 400)
    check(running, send(running, ASK, f"x-long: {'x' * 40_000}"), 431, "headers")
    assert send(running, ASK.ljust(BODY_BYTES_MAX)).status == 200  # exactly the bound


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        (["x-sekisho-data-class: secret"], ["'secret'", "public, internal, confidential, restricted"]),
        (["x-sekisho-data-class: "], ["''"]),
        (["x-sekisho-data-class: public", "x-sekisho-data-class: public"], ["x-sekisho-data-class", "twice"]),
        (["x-sekisho-residency: JP", "X-Sekisho-Residency: US"], ["x-sekisho-residency", "twice"]),
        (["x-sekisho-residency: Japan"], ["'Japan'"]),
        (["x-sekisho-residency: JP,,US"], ["''"]),
    ],
)
def test_declarations_in_headers_are_read_strictly(running, headers, words):
    error = check(running, send(running, ASK, *headers), 400, *words)
    assert len(error["message"]) < 500


def test_nothing_permitted(running, upstream):
    answered = send(running, ASK, "x-sekisho-residency: US")
    check(running, answered, 403, "nothing in common")
    assert answered.headers["x-sekisho-receipt"] == answered.headers["x-request-id"]
    decision = json.loads(running.receipt(answered.headers["x-sekisho-receipt"]))["entries"][0]["entry"]
    assert decision["body"]["chosen"] is None


def outcomes(running, answered) -> list[tuple[str, str]]:
    entries = [item["entry"] for item in json.loads(running.receipt(answered.headers["x-request-id"]))["entries"]]
    return [(entry["body"]["ended"], entry["body"]["error"]) for entry in entries if entry["kind"] == "outcome"]


def test_all_deployments_down(running):
    answered = send(running, about(model="down"))
    check(running, answered, 502, "no connection to the deployment")
    assert outcomes(running, answered) == [("upstream_failed", "upstream_connect")] * 2


def test_too_much_at_once(running, upstream):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(send(running, about(model="held")))) for _ in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: len(upstream.of("held")) == 2, what="two requests in flight")
    refused = send(running)
    upstream.release.set()
    for thread in threads:
        thread.join()
    check(running, refused, 429, "Try again")
    assert refused.headers["retry-after"]
    assert [answered.status for answered in answers] == [200, 200]


def test_the_log_holds_no_fault_of_ours_and_no_content(running):
    text = running.log.read_text()
    assert "Traceback" not in text
    assert "hello" not in text
