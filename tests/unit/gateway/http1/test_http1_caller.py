"""A caller's connection on a transport made of lists: the same answers however its bytes come."""

import asyncio
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.gateway.http1.caller import CallerConnection, Counters
from sekisho.gateway.http1.interfaces import ServerLimits


class Transport:
    def __init__(self):
        self.written, self.ended, self.closing = b"", False, False

    def write(self, data):
        assert not self.closing
        assert not self.ended
        self.written += bytes(data)

    def set_write_buffer_limits(self, high):
        pass

    def get_extra_info(self, name):
        return ("192.0.2.1", 4321) if name == "peername" else None

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return self.closing

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.ended = True

    def close(self):
        self.closing = True

    abort = close


class Host:
    """Answers each request at once with what it was asked."""

    def __init__(self, **limits):
        self.limits, self.counters = ServerLimits(**limits), Counters()
        self.draining, self.date_line, self.time, self.pending = False, b"", 0.0, []

    def now(self):
        return self.time

    def admit(self, connection):
        return True

    def forget(self, connection):
        pass

    def handle(self, request, answer):
        # As a task would: after the connection has taken note of it.
        self.pending.append((request, answer))

    def answer_pending(self):
        while self.pending:
            request, answer = self.pending.pop(0)
            answer.respond(200, [], f"{request.method} {request.path} {request.body.decode()}".encode())

    def refusal(self, status, message, _path):
        return [], b"%d" % status


def converse(parts, **limits):
    host = Host(**limits)
    connection, transport = CallerConnection(host), Transport()
    connection.connection_made(transport)
    for part in parts:
        connection.data_received(part)
        host.answer_pending()
    return transport.written, transport.ended, transport.closing


_request = st.sampled_from(
    [
        b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"HEAD /2 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST /4 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        b"GET /5 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /6 HTTP/1.0\r\n\r\n",
        b"GET /7 HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /8 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    ]
)


@given(st.lists(_request, min_size=1, max_size=5).map(b"".join), st.lists(st.integers(0, 400), max_size=10))
@settings(max_examples=200, deadline=None)
def test_any_split_gives_the_same_answers(data, cuts):
    points = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    parts = [data[a:b] for a, b in itertools.pairwise(points)]
    split, whole = converse(parts), converse([data])
    assert split[0] == whole[0]
    assert any(split[1:]) == any(whole[1:])


def test_nothing_is_answered_after_a_refusal_or_a_close():
    after = b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n"
    for first in (b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):
        written, ended, closing = converse([first + after, after])
        assert b"late" not in written
        assert ended or closing


def test_a_pipelined_flood_behind_one_read_is_cut():
    _, _, closing = converse([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + b"x" * 101], surplus_bytes_max=100)
    assert closing


def test_a_body_that_drips_is_ended_although_it_never_stalls():
    host = Host(body_stall_timeout_s=30.0)
    connection, transport = CallerConnection(host), Transport()
    connection.connection_made(transport)
    connection.data_received(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
    while not transport.ended and host.time < 1000:
        host.time += 5
        connection.data_received(b"x")
        connection.check(host.time)
    assert transport.written.startswith(b"HTTP/1.1 408 ")
    assert host.time < 60


async def test_an_answer_is_given_once():
    host = Host()
    connection, transport = CallerConnection(host), Transport()
    connection.connection_made(transport)
    connection.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    _, answer = host.pending[0]
    answer.start_stream(200, [])
    for again in (lambda: answer.start_stream(200, []), lambda: answer.respond(200, [], b"")):
        try:
            again()
        except RuntimeError:
            continue
        raise AssertionError("a second head was accepted")
    assert answer.write(b"") is True  # would read as the last chunk: not written
    answer.end()
    answer.end()
    answer.write(b"late")
    answer.abort()
    await asyncio.sleep(0)
    assert transport.written.endswith(b"\r\n\r\n0\r\n\r\n")
    assert not transport.closing
