"""Requests and answers from bytes: however the bytes are split, the same comes out."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.gateway.http1.answers import INTERIM_MAX, AnswerReader
from sekisho.gateway.http1.chunks import ChunkDecoder
from sekisho.gateway.http1.errors import (
    BodyError,
    BodyTooLarge,
    RequestRefused,
    UpstreamClosed,
    UpstreamError,
    UpstreamInvalid,
    UpstreamTooLarge,
)
from sekisho.gateway.http1.interfaces import ServerLimits
from sekisho.gateway.http1.requests import BETWEEN, IN_BODY, IN_HEAD, RequestReader

LIMITS = ServerLimits(head_bytes_max=400, body_bytes_max=100)
HOST = b"Host: a\r\n"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    points = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(points)]


def feed_all(reader, parts):
    for part in parts:
        reader.feed(part)


def read_all(parts: list[bytes]) -> tuple[list[tuple], bool]:
    """The requests in the parts as a connection reads them, and whether the last one was refused."""
    reader, found = RequestReader(LIMITS), []
    for part in parts:
        try:
            while part:
                whole = reader.feed(part)
                part, reader.rest = reader.rest, b""
                if whole is None:
                    break
                found.append((whole[0][:5], whole[1]))
        except RequestRefused:
            return found, True
    return found, False


def chunked(sizes: list[int]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (n, b"z" * n) for n in sizes if n) + b"0\r\n\r\n"


_one = st.one_of(
    st.integers(0, 3).map(lambda n: b"GET /%d HTTP/1.1\r\n%bX: y\r\n\r\n" % (n, HOST)),
    st.integers(0, 110).map(lambda n: b"POST / HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (HOST, n, b"b" * n)),
    st.lists(st.integers(1, 40), max_size=4).map(
        lambda sizes: b"POST / HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n%b" % (HOST, chunked(sizes))
    ),
    st.sampled_from(
        [
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\n\n",
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
            b"\x16\x03\x01\r\n\r\n",
        ]
    ),
)


@given(st.lists(_one, min_size=1, max_size=4).map(b"".join), st.lists(st.integers(0, 2000), max_size=12))
@settings(max_examples=250, deadline=None)
def test_any_split_gives_the_same_requests(data, cuts):
    assert read_all(pieces(data, cuts)) == read_all([data])


def test_byte_by_byte():
    data = b"POST /a?b HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n%b" % (HOST, chunked([3, 20])) * 2
    found, refused = read_all([data[n : n + 1] for n in range(len(data))])
    assert [body for _, body in found] == [b"z" * 23] * 2
    assert not refused


def test_phases_and_continue():
    reader = RequestReader(LIMITS)
    assert reader.phase == BETWEEN
    assert reader.feed(b"POST / HT") is None
    assert reader.phase == IN_HEAD
    assert reader.feed(b"TP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n") is None
    assert (reader.phase, reader.continue_expected) == (IN_BODY, True)
    assert reader.feed(b"ab")[1] == b"ab"
    assert (reader.phase, reader.continue_expected) == (BETWEEN, False)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /" + b"a" * 400, 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 400 + b"\r\n\r\n", 431),
        (b"GET /\r\n", 400),  # HTTP/0.9: refused at its first line, nobody waits for more
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\n", 400),
        (b"\x16\x03\x01", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 101\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n65\r\n", 413),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n40\r\n" + b"a" * 64 + b"\r\n25\r\n", 413),
    ],
)
def test_refusals_come_as_early_as_they_can(data, status):
    for parts in ([data], [data[n : n + 1] for n in range(len(data))]):
        reader = RequestReader(LIMITS)
        with pytest.raises(RequestRefused) as caught:
            feed_all(reader, parts)
        assert caught.value.status == status


@pytest.mark.parametrize(
    "body",
    [
        b"5;ext=1\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"000000005\r\nhello\r\n0\r\n\r\n",
        b"\r\n",
        b"0\r\nAuthorization: Bearer x\r\n\r\n",
    ],
)
def test_strict_chunks(body):
    for parts in ([body], [body[n : n + 1] for n in range(len(body))]):
        decoder = ChunkDecoder(100, lenient=False)
        with pytest.raises(BodyError):
            feed_all(decoder, parts)


def test_lenient_chunks_pass_over_extensions_and_trailers_within_bounds():
    decoder = ChunkDecoder(100, lenient=True)
    assert decoder.feed(b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\nrest") == b"hello"
    assert decoder.done
    assert decoder.rest == b"rest"
    for hostile in (b"5;" + b"a" * 5000, b"0\r\n" + b"X: %b\r\n" % (b"a" * 4000) * 5):
        with pytest.raises(BodyError):
            ChunkDecoder(100, lenient=True).feed(hostile)
    with pytest.raises(BodyTooLarge):
        ChunkDecoder(4, lenient=True).feed(b"5\r\n")


def read_answer(parts, *, to_head=False, eof=False, head_max=300, body_max=200):
    reader, body = AnswerReader(head_max, body_max, to_head=to_head), b""
    try:
        for part in parts:
            body += reader.feed(part)
        if eof:
            reader.end_of_stream()
    except UpstreamError as error:
        return type(error), error.phase
    return reader.head, body, reader.complete, reader.unsolicited


_answer = st.one_of(
    st.integers(0, 210).map(lambda n: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (n, b"b" * n)),
    st.lists(st.integers(1, 70), max_size=4).map(
        lambda sizes: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(sizes)
    ),
    st.just(b"HTTP/1.1 103 Early\r\nLink: a\r\n\r\nHTTP/1.1 204 None\r\n\r\n"),
    st.integers(0, 210).map(lambda n: b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n" + b"b" * n),
)


@given(_answer, st.sampled_from([b"", b"HTTP/1.1 200 OK\r\n\r\n"]), st.lists(st.integers(0, 999), max_size=10))
@settings(max_examples=250, deadline=None)
def test_any_split_gives_the_same_answer(data, more, cuts):
    assert read_answer(pieces(data + more, cuts), eof=True) == read_answer([data + more], eof=True)


def test_answers_end_where_they_say():
    head = b"HTTP/1.1 200 OK\r\n"
    assert read_answer([head + b"Content-Length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n\r\n"])[1:] == (b"ab", True, True)
    assert read_answer([head + b"Content-Length: 2\r\n\r\n"], to_head=True)[1:] == (b"", True, False)
    assert read_answer([head + b"\r\nabc"])[1:] == (b"abc", False, False)
    assert read_answer([head + b"\r\nabc"], eof=True)[1:] == (b"abc", True, False)
    assert read_answer([head + b"Content-Length: 2\r\n\r\na"], eof=True) == (UpstreamClosed, "body")
    assert read_answer([head], eof=True) == (UpstreamClosed, "head")
    assert read_answer([], eof=True) == (UpstreamClosed, "head")


def test_answers_beyond_their_bounds():
    head = b"HTTP/1.1 200 OK\r\n"
    assert read_answer([head + b"X: " + b"a" * 300]) == (UpstreamTooLarge, "head")
    assert read_answer([head + b"Content-Length: 201\r\n\r\n"]) == (UpstreamTooLarge, "body")
    assert read_answer([head + b"\r\n" + b"a" * 201]) == (UpstreamTooLarge, "body")
    assert read_answer([head + b"Transfer-Encoding: chunked\r\n\r\nc9\r\n"]) == (UpstreamTooLarge, "body")
    assert read_answer([b"HTTP/1.1 100 Continue\r\n\r\n" * (INTERIM_MAX + 1)]) == (UpstreamInvalid, "head")
    assert read_answer([b"HTTP/1.1 101 Switching\r\n\r\n"]) == (UpstreamInvalid, "head")
    assert read_answer([b"SSH-2.0-x\r\n"]) == (UpstreamInvalid, "head")


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\n", b"HTTP/1.1 200 OK\r\nX: y\n", b"HTTP/1.1 200 OK\n\n{}"])
def test_an_answer_with_bare_line_feeds_is_told_at_once_however_it_is_split(data):
    assert read_answer([data]) == (UpstreamInvalid, "head")
    assert read_answer([data[n : n + 1] for n in range(len(data))]) == (UpstreamInvalid, "head")
