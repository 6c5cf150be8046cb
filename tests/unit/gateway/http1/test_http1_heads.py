"""Heads: what is refused, and that what is accepted reads the same to other parsers."""

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.gateway.http1 import heads
from sekisho.gateway.http1.errors import RequestRefused, UpstreamInvalid
from sekisho.gateway.http1.interfaces import ServerLimits

LIMITS = ServerLimits(headers_max=10, body_bytes_max=1000)


def request(*lines: bytes, first: bytes = b"POST /v1/x?q=1 HTTP/1.1", host: bool = True) -> bytes:
    return b"\r\n".join([first, *([b"Host: gateway:8400"] if host else []), *lines, b"", b""])


def refused(raw: bytes) -> int:
    with pytest.raises(RequestRefused) as caught:
        heads.parse_request(raw, LIMITS)
    return caught.value.status


def test_a_usual_head_is_read():
    head = heads.parse_request(
        request(b"Content-Length: 12", b"X-A:  b c \t", b"X-Empty:", b"Accept: a", b"accept: b"), LIMITS
    )
    assert head[:3] == ("POST", "/v1/x", "q=1")
    assert head.length == 12
    assert head.keep_alive
    assert head.headers[b"x-a"] == b"b c"
    assert head.headers[b"x-empty"] == b""
    assert head.headers[b"accept"] == b"a, b"


@pytest.mark.parametrize(
    "raw",
    [
        request(first=b"GET /"),  # HTTP/0.9
        request(first=b"GET / HTTP/2.0"),
        request(first=b"GET  / HTTP/1.1"),
        request(first=b"GET / HTTP/1.1 "),
        request(first=b"GET\t/ HTTP/1.1"),
        request(first=b" GET / HTTP/1.1"),
        request(first=b"get / HTTP/1.1"),
        request(first=b"GET http://other/ HTTP/1.1"),
        request(first=b"OPTIONS * HTTP/1.1"),
        request(first=b"CONNECT /x HTTP/1.1"),
        request(first=b"CONNECT host:80 HTTP/1.1"),
        request(first=b"NOSUCHMETHOD / HTTP/1.1"),
        request(first=b"GET /a\x80b HTTP/1.1"),
        request(first=b"GET /a#b HTTP/1.1"),
        b"\r\n" + request(),
        request(host=False),
        request(b"Host: again"),
        request(b"Host: a b", host=False),
        request(b"Host: user@gateway", host=False),
        request(b"Host: a, b", host=False),
        request(b"Host:", host=False),
        request(b"Authorization: a", b"Authorization: b"),
        request(b"X-Unknown: a", b"X-Unknown: a"),
        request(b"Content-Length: 5", b"Content-Length: 5"),
        request(b"Content-Length: 5, 5"),
        request(b"Content-Length: 002"),
        request(b"Content-Length: +5"),
        request(b"Content-Length: -5"),
        request(b"Content-Length: 0x5"),
        request(b"Content-Length: "),
        request(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
        request(b"Transfer-Encoding: chunked", b"Content-Length: 5"),
        request(b"Transfer-Encoding: identity, chunked"),
        request(b"Transfer-Encoding: gzip, chunked"),
        request(b"Transfer-Encoding: chunked, chunked"),
        request(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
        request(b"Transfer-Encoding: xchunked"),
        request(b"Transfer-Encoding: identity"),
        request(b"Transfer-Encoding: chunked", first=b"POST / HTTP/1.0"),
        request(b"Transfer-Encoding : chunked"),
        request(b" folded: value"),
        request(b"X-A: b", b" folded"),
        request(b"X-A: b\n c"),
        request(b"X-A: b\r c"),
        request(b"X-A: b\x00c"),
        request(b"X-A: \xe3\x81\x82"),
        request(b"X(A): b"),
        request(b": b"),
        request(b"no colon"),
    ],
)  # fmt: skip
def test_what_readers_dispute_is_refused(raw):
    assert refused(raw) == 400


def test_each_other_refusal_has_its_status():
    assert refused(request(b"Content-Length: 1001")) == 413
    assert refused(request(*[b"X-%d: 1" % n for n in range(10)])) == 431
    assert refused(request(b"Content-Encoding: gzip")) == 415
    assert refused(request(b"Expect: a-miracle")) == 417


def test_expectation_close_and_upgrade():
    assert heads.parse_request(request(b"Expect: 100-Continue", b"Content-Length: 1"), LIMITS).expects_continue
    assert not heads.parse_request(request(b"Connection: x, Close"), LIMITS).keep_alive
    old = heads.parse_request(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n", LIMITS)
    assert (old.keep_alive, old.http_1_0, old.expects_continue) == (False, True, False)
    offer = heads.parse_request(request(b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3"), LIMITS)
    assert offer.length == 3  # an upgrade is not taken: the body is a body


class Llhttp:
    """What llhttp reads in a head, names in lower case, values stripped (it keeps white space behind them)."""

    def __init__(self, parser_type, raw):
        self.headers, self.target, self.complete = [], b"", False
        self.parser = parser_type(self)
        try:
            self.parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            self.complete = True

    def on_url(self, url):
        self.target += url

    def on_header(self, name, value):
        self.headers.append((name.lower(), value.strip()))

    def on_headers_complete(self):
        self.complete = True


def assert_others_read_alike(raw, ours):
    other = h11.Connection(h11.SERVER)
    other.receive_data(raw)
    event = other.next_event()
    llhttp = Llhttp(httptools.HttpRequestParser, raw)
    target = ours.path + ("?" + ours.query if b"?" in event.target else "")
    assert event.target == llhttp.target == target.encode()
    assert event.method == llhttp.parser.get_method() == ours.method.encode()
    assert dict(event.headers) == dict(llhttp.headers) == ours.headers
    assert len(event.headers) == len(llhttp.headers) == len(ours.headers)
    assert llhttp.complete


@pytest.mark.parametrize("method", ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"])
def test_each_method_reads_alike(method):
    raw = request(b"Connection: Upgrade", b"Upgrade: h2c", first=f"{method} /? HTTP/1.1".encode())
    assert_others_read_alike(raw, heads.parse_request(raw, LIMITS))


_token = st.text("abcXYZ019-_!~", min_size=1, max_size=8)
_value = st.text(" \t!\"#$%&'()*+,-./09:;<=>?@AZ[]^_`az{|}~", max_size=12)


@given(st.lists(st.tuples(_token, _value), max_size=6, unique_by=lambda pair: pair[0].lower()))
@settings(max_examples=150, deadline=None)
def test_what_we_accept_others_read_alike(pairs):
    raw = request(*[f"x-{name}:{value}".encode() for name, value in pairs])
    assert_others_read_alike(raw, heads.parse_request(raw, LIMITS))


@given(st.binary(max_size=6), st.integers(0, 200), st.integers(0, 6))
@settings(max_examples=300, deadline=None)
def test_any_damage_is_refused_or_others_agree(noise, position, dropped):
    """Differential: a damaged head that still passes is read by h11 and llhttp in the same way."""
    good = request(b"Content-Length: 7", b"X-A: b")
    raw = good[: position % len(good)] + noise + good[position % len(good) + dropped :]
    try:
        ours = heads.parse_request(raw, LIMITS)
    except RequestRefused:
        return
    assert_others_read_alike(raw, ours)


def answer(*lines: bytes, first: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([first, *lines, b"", b""])


@pytest.mark.parametrize(
    "raw",
    [
        answer(first=b"HTTP/2 200"),
        answer(first=b"HTTP/1.1 099 x"),
        answer(first=b"HTTP/1.1 20 x"),
        answer(b"Content-Length: 1", b"Content-Length: 1"),
        answer(b"Content-Length: 01"),
        answer(b"Content-Length: 1", b"Transfer-Encoding: chunked"),
        answer(b"Transfer-Encoding: gzip"),
        answer(b"Transfer-Encoding: gzip, chunked"),
        answer(b"Transfer-Encoding: chunked", first=b"HTTP/1.0 200 OK"),
        answer(b"Content-Encoding: gzip", b"Content-Length: 1"),
        answer(b"X: a", b" folded"),
        answer(b"X: a\x01"),
        answer(b"Content-Type: a", b"Content-Type: b"),
    ],
)
def test_answers_we_do_not_accept(raw):
    with pytest.raises(UpstreamInvalid):
        heads.parse_answer(raw, to_head=False)


@given(st.binary(max_size=6), st.integers(0, 200), st.integers(0, 6))
@settings(max_examples=300, deadline=None)
def test_any_damage_to_an_answer_is_refused_or_llhttp_agrees(noise, position, dropped):
    good = answer(b"Content-Length: 7", b"X-A:  b\t", b"Content-Type: text/plain")
    raw = good[: position % len(good)] + noise + good[position % len(good) + dropped :]
    try:
        ours = heads.parse_answer(raw, to_head=False)
    except UpstreamInvalid:
        return
    llhttp = Llhttp(httptools.HttpResponseParser, raw)
    assert llhttp.complete
    assert llhttp.parser.get_status_code() == ours.status
    assert llhttp.headers == list(ours.headers.items())


def test_where_answers_end():
    def length(*lines, first=b"HTTP/1.1 200 OK", to_head=False):
        return heads.parse_answer(answer(*lines, first=first), to_head=to_head).length

    assert length(b"Content-Length: 5") == 5
    assert length(b"Content-Length: 5", to_head=True) == 0
    assert length(b"Content-Length: 5", first=b"HTTP/1.1 304 x") == 0
    assert length(first=b"HTTP/1.1 204 x") == 0
    assert length(b"transfer-encoding: Chunked") == heads.CHUNKED
    assert length() == heads.UNTIL_EOF


def test_when_an_answers_connection_is_kept():
    keeps = [
        heads.parse_answer(raw, to_head=False).keep_alive
        for raw in (
            answer(b"Content-Length: 0"),
            answer(b"Content-Length: 0", b"Connection: close"),
            answer(b"Content-Length: 0", first=b"HTTP/1.0 200 OK"),
            answer(),
        )
    ]
    assert keeps == [True, False, False, False]
    assert heads.parse_answer(answer(b"X: \xe3\x81", b"Set-Cookie: a", b"Set-Cookie: b"), to_head=False).headers == {
        b"x": b"\xe3\x81",
        b"set-cookie": b"a, b",
    }
