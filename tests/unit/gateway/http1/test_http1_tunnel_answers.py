"""What a tunnel makes of the bytes that a proxy answers with, however they are cut. The transport is a fake."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.gateway.http1.errors import UpstreamProxyError
from sekisho.gateway.http1.interfaces import Endpoint, Proxy
from sekisho.gateway.http1.tunnel import HEAD_BYTES_MAX, Tunnel

OPENED = b"HTTP/1.1 200 Connection established\r\nvia: 1.1 proxy\r\n\r\n"


class Transport:
    def __init__(self):
        self.written = b""
        self.aborted = False
        self.protocol = None

    def write(self, data):
        self.written += data

    def abort(self):
        self.aborted = True

    def is_closing(self):
        return self.aborted

    def set_protocol(self, protocol):
        self.protocol = protocol


class Connection:
    transport = None

    def connection_made(self, transport):
        self.transport = transport


def tunnel(host="engine.example", authorization=None):
    made = Tunnel(Endpoint(host, 443, None), Proxy("proxy.example", 3128), authorization)
    made.connection_made(Transport())
    return made


def fed(*pieces):
    made = tunnel()
    for piece in pieces:
        made.data_received(piece)
    return made


@pytest.mark.parametrize(
    ("host", "authorization", "head"),
    [
        ("engine.example", None, b"CONNECT engine.example:443 HTTP/1.1\r\nhost: engine.example:443\r\n\r\n"),
        (
            "::1", b"Basic eDp5",
            b"CONNECT [::1]:443 HTTP/1.1\r\nhost: [::1]:443\r\nproxy-authorization: Basic eDp5\r\n\r\n",
        ),
    ],
)  # fmt: skip
async def test_it_asks_for_the_deployments_name_and_port(host, authorization, head):
    assert tunnel(host, authorization).transport.written == head


@given(st.sets(st.integers(1, len(OPENED) - 1)))
def test_an_answer_opens_it_wherever_it_is_cut(cuts):
    async def check():
        marks = [0, *sorted(cuts), len(OPENED)]
        made = fed(*(OPENED[begin:end] for begin, end in pairwise(marks)))
        assert made.opened.done()
        assert made.opened.exception() is None
        connection = Connection()
        made.hand_over(connection, made.transport)
        assert made.transport.protocol is connection
        assert connection.transport is made.transport

    asyncio.run(check())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "answered 403 for engine.example:443: its rules forbid the way there"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "mend `user` and `password`"),
        (b"HTTP/1.1 504 Gateway Timeout\r\n\r\n", "does not answer it"),
        (b"HTTP/1.1 301 Moved\r\nlocation: http://other.example\r\n\r\n", "answered 301"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "answered 101"),
        (b"HTTP/2 200\r\n\r\n", "speaks no HTTP"),
        (OPENED + b"x", "bytes that nobody asked for"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (HEAD_BYTES_MAX // 25 + 1), "has no end"),
        (b"x" * (HEAD_BYTES_MAX + 1), "has no end"),
    ],
)
async def test_every_other_answer_ends_it_with_a_reason(answer, said):
    made = fed(answer)
    assert made.transport.aborted
    with pytest.raises(UpstreamProxyError, match="proxy") as raised:
        await made.opened
    assert said in str(raised.value)
    assert raised.value.phase == "proxy"


async def test_bytes_after_the_answer_are_never_taken_for_the_deployments():
    made = fed(OPENED, b"HTTP/1.1 200 OK\r\n\r\n")
    assert made.transport.aborted
    with pytest.raises(UpstreamProxyError, match="nobody asked for"):
        made.hand_over(Connection(), made.transport)


async def test_a_proxy_that_leaves_without_an_answer_is_said_so():
    made = tunnel()
    made.connection_lost(None)
    with pytest.raises(UpstreamProxyError, match="ended the connection unasked"):
        await made.opened
