"""The server on real loopback sockets, spoken to in raw bytes."""

import asyncio
import contextlib
import json
import logging
import socket
import ssl
import struct

import pytest
import trustme

from journeys.uvloop_case import on_uvloop
from sekisho.gateway.http1.interfaces import ServerLimits
from sekisho.gateway.http1.server import HttpServer
from sekisho.gateway.http1.tls import server_tls_context

GET = b"GET /x?y HTTP/1.1\r\nHost: a\r\n\r\n"


def refusal(status, message, _path):
    body = json.dumps({"error": {"code": status, "message": message}}).encode()
    return [(b"content-type", b"application/json")], body


@contextlib.asynccontextmanager
async def serving(handler, *, tls=None, send_buffer=0, **limits):
    sock = socket.socket()
    if send_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)  # inherited by accepted sockets
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    server = HttpServer(handler, ServerLimits(**limits), refusal=refusal, tls=tls)
    await server.start(sock)
    server.port = port
    try:
        yield server
    finally:
        await server.stop(0)


async def echo(request, responder):
    responder.respond(200, [(b"x-path", request.path.encode())], request.body or b"nothing")


async def caller(server, **options):
    return await asyncio.open_connection("127.0.0.1", server.port, **options)


async def ask(server, data, **options):
    """Send `data`, return everything until the server closes."""
    reader, writer = await caller(server, **options)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(-1), 10)
    writer.close()
    return answer


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def one_answer(reader):
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head, await asyncio.wait_for(reader.readexactly(length), 10)


@on_uvloop
async def test_requests_share_a_connection_and_come_in_order():
    order = []

    async def slow_first(request, responder):
        await asyncio.sleep(0.05 if request.path == "/1" else 0)
        order.append(request.path)
        responder.respond(200, [], request.path.encode())

    async with serving(slow_first) as server:
        data = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in (1, 2, 3))
        reader, writer = await caller(server)
        writer.write(data)
        assert [(await one_answer(reader))[1] for _ in range(3)] == [b"/1", b"/2", b"/3"]
        writer.close()
    assert order == ["/1", "/2", "/3"]
    assert server.counters.requests == 3


@on_uvloop
async def test_what_a_handler_is_given():
    seen = []

    async def note(request, responder):
        seen.append(request)
        responder.respond(204, [], b"")

    async with serving(note) as server:
        data = b"POST /a%20b?c=d?e HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await ask(server, data + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"content-length" not in answer
    assert b"connection: close\r\n\r\n" in answer
    (request,) = seen
    assert (request.method, request.path, request.query, request.body) == ("POST", "/a%20b", "c=d?e", b"abcde")
    assert request.peer.address == "127.0.0.1"


@on_uvloop
async def test_head_and_http_1_0():
    async def stream(request, responder):
        if request.path == "/whole":
            responder.respond(200, [], b"body")
            return
        responder.start_stream(200, [])
        responder.write(b"one")
        responder.write(b"two")
        responder.end()

    async with serving(stream) as server:
        close = b"Host: a\r\nConnection: close\r\n\r\n"
        head = await ask(server, b"HEAD /whole HTTP/1.1\r\n" + close)
        assert b"content-length: 4" in head
        assert head.endswith(b"\r\n\r\n")
        assert (await ask(server, b"HEAD / HTTP/1.1\r\n" + close)).endswith(b"\r\n\r\n")
        chunked = await ask(server, b"GET / HTTP/1.1\r\n" + close)
        assert chunked.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")
        old = await ask(server, b"GET / HTTP/1.0\r\n\r\n")
        assert b"chunked" not in old
        assert old.endswith(b"connection: close\r\n\r\nonetwo")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx", 415),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 1\r\n\r\nx", 417),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 40_000 + b"\r\n\r\n", 431),
    ],
)
@on_uvloop
async def test_a_refusal_is_told_and_ends_the_connection(data, status):
    """What was smuggled behind the refused request is never answered."""
    async with serving(echo) as server:
        answer = await ask(server, data + GET)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"\r\n\r\n") == 1
    assert b"connection: close" in answer
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == status
    assert server.counters.requests == 0
    assert server.counters.requests_refused == 1


@on_uvloop
async def test_a_refusal_reaches_a_caller_that_goes_on_sending():
    async with serving(echo, body_bytes_max=1000) as server:
        reader, writer = await caller(server)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)
        answer = await asyncio.wait_for(reader.read(-1), 10)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")


@on_uvloop
async def test_expect_100_continue():
    async with serving(echo) as server:
        reader, writer = await caller(server)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert (await one_answer(reader))[1] == b"ok"
        writer.close()


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET / HT", b"HTTP/1.1 408 "),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc", b"HTTP/1.1 408 "),
        (b"", b""),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 "),
    ],
)
@on_uvloop
async def test_callers_that_fall_silent_are_let_go(data, expected):
    limits = {"head_timeout_s": 0.1, "body_stall_timeout_s": 0.1, "idle_timeout_s": 0.1}
    async with serving(echo, **limits) as server:
        answer = await ask(server, data)
        await until(lambda: server.connections == 0)
    assert answer.startswith(expected)
    assert (answer == b"") == (expected == b"")


@on_uvloop
async def test_a_head_that_drips_does_not_live_forever():
    async with serving(echo, head_timeout_s=0.2) as server:
        reader, writer = await caller(server)
        writer.write(b"GET / HTTP/1.1\r\n")
        reading = asyncio.ensure_future(reader.read(-1))
        while not reading.done():
            writer.write(b"X-A: b\r\n")
            await asyncio.sleep(0.02)
        assert (await reading).startswith(b"HTTP/1.1 408 ")
        writer.close()


@on_uvloop
async def test_a_connection_too_many():
    async with serving(echo, connections_max=1) as server:
        _, first = await caller(server)
        await until(lambda: server.connections == 1)
        answer = await ask(server, GET)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in answer
        assert server.counters.connections_refused == 1
        first.close()
        await until(lambda: server.connections == 0)
        assert (await ask(server, GET[:-2] + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


class Waiting:
    """A handler that waits until it is cancelled."""

    def __init__(self, start_first=False):
        self.started, self.cancelled, self.start_first = asyncio.Event(), asyncio.Event(), start_first

    async def __call__(self, request, responder):
        if self.start_first:
            responder.start_stream(200, [])
            responder.write(b"first")
        self.started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            responder.write(b"nobody listens")  # a no-op
            responder.abort()
            raise


@pytest.mark.parametrize("start_first", [False, True])
@pytest.mark.parametrize("reset", [False, True])
@on_uvloop
async def test_a_caller_that_leaves_cancels_its_request(start_first, reset):
    handler = Waiting(start_first)
    async with serving(handler) as server:
        _, writer = await caller(server)
        writer.write(GET)
        await asyncio.wait_for(handler.started.wait(), 10)
        if reset:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()
        await asyncio.wait_for(handler.cancelled.wait(), 10)
        assert server.counters.callers_left == 1
        await until(lambda: server.requests_in_flight == 0)


@on_uvloop
async def test_surplus_is_bounded_while_a_request_is_answered():
    handler = Waiting()
    async with serving(handler, surplus_bytes_max=1000) as server:
        reader, writer = await caller(server)
        writer.write(GET)
        await asyncio.wait_for(handler.started.wait(), 10)
        writer.write(b"x" * 2000)
        await asyncio.wait_for(handler.cancelled.wait(), 10)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read(-1) == b""
        writer.close()


@on_uvloop
async def test_a_handler_that_fails(caplog):
    async def fails(request, responder):
        if request.path == "/late":
            responder.start_stream(200, [])
            responder.write(b"part")
        if request.path != "/silent":
            raise RuntimeError("on purpose")

    async with serving(fails) as server:
        with caplog.at_level(logging.ERROR):
            answers = {
                path: await ask(server, b"GET /%b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path)
                for path in (b"early", b"silent", b"late")
            }
    assert answers[b"early"].startswith(b"HTTP/1.1 500 ")
    assert b"on purpose" not in answers[b"early"]
    assert answers[b"silent"].startswith(b"HTTP/1.1 500 ")
    assert answers[b"late"].endswith(b"4\r\npart\r\n")  # no last chunk
    assert "on purpose" in caplog.text


@on_uvloop
async def test_abort_is_no_clean_end_in_http_1_0_either():
    async def cut(request, responder):
        responder.start_stream(200, [])
        responder.write(b"part")
        await asyncio.sleep(0.05)
        responder.abort()

    async with serving(cut) as server:
        with pytest.raises(ConnectionResetError):
            await ask(server, b"GET / HTTP/1.0\r\n\r\n")
        assert (await ask(server, GET)).endswith(b"4\r\npart\r\n")


@on_uvloop
async def test_write_says_stop_and_the_buffer_stays_bounded():
    """A caller that takes nothing: what we hold stays near the mark, and in the end it is dropped."""
    stopped, cancelled = asyncio.Event(), asyncio.Event()

    async def flood(request, responder):
        responder.start_stream(200, [])
        while responder.write(b"x" * 65536):
            await asyncio.sleep(0)
        stopped.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serving(flood, write_buffer_bytes=200_000, write_stall_timeout_s=0.3) as server:
        _, writer = await caller(server, limit=1024)
        writer.write(GET)
        await asyncio.wait_for(stopped.wait(), 10)
        assert 200_000 < server.buffered_bytes() <= 200_000 + 65_536 + 16
        await asyncio.wait_for(cancelled.wait(), 10)
        await until(lambda: server.connections == 0)
        assert server.counters.timeouts == 1
        writer.transport.abort()


@on_uvloop
async def test_a_slow_caller_gets_everything():
    """`on_writable` is called each time the buffer has drained."""
    size = 5_000_000

    async def paced(request, responder):
        writable = asyncio.Event()
        responder.on_writable(writable.set)
        responder.start_stream(200, [])
        for _ in range(size // 50_000):
            if not responder.write(b"y" * 50_000):
                writable.clear()
                await writable.wait()
        responder.end()

    async with serving(paced, write_buffer_bytes=100_000, write_stall_timeout_s=5) as server:
        answer = await ask(server, GET[:-2] + b"Connection: close\r\n\r\n", limit=4096)
    assert answer.count(b"y") == size
    assert answer.endswith(b"0\r\n\r\n")


@on_uvloop
async def test_stop_lets_requests_finish_within_the_grace():
    started, go_on = asyncio.Event(), asyncio.Event()

    async def waits(request, responder):
        started.set()
        await go_on.wait()
        responder.respond(200, [], b"done")

    async with serving(waits) as server:
        idle_reader, idle = await caller(server)
        reader, writer = await caller(server)
        writer.write(GET)
        await asyncio.wait_for(started.wait(), 10)
        stopping = asyncio.ensure_future(server.stop(10))
        assert await asyncio.wait_for(idle_reader.read(-1), 10) == b""
        with pytest.raises(ConnectionError):
            await caller(server)
        go_on.set()
        answer = await asyncio.wait_for(reader.read(-1), 10)
        await asyncio.wait_for(stopping, 10)
        assert b"connection: close" in answer
        assert answer.endswith(b"done")
        idle.close()
        writer.close()


@on_uvloop
async def test_stop_cuts_what_does_not_finish():
    handler = Waiting()
    async with serving(handler) as server:
        _, writer = await caller(server)
        writer.write(GET)
        await asyncio.wait_for(handler.started.wait(), 10)
        await asyncio.wait_for(server.stop(0.05), 10)
        assert handler.cancelled.is_set()
        assert (server.connections, server.requests_in_flight) == (0, 0)
        writer.close()


@on_uvloop
async def test_tls_with_demanded_client_certificates(tmp_path):
    authority, stranger = trustme.CA(), trustme.CA()
    leaf = authority.issue_cert("localhost")
    leaf.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = server_tls_context(tmp_path / "server.pem", tmp_path / "server.pem", tmp_path / "ca.pem")

    def towards(issuer):
        client = ssl.create_default_context()
        authority.configure_trust(client)
        if issuer is not None:
            issuer.issue_cert("caller@example.org").configure_cert(client)
        return client

    seen = []

    async def note(request, responder):
        seen.append(request.peer.certificate)
        await echo(request, responder)

    async with serving(note, tls=context) as server:
        data = GET[:-2] + b"Connection: close\r\n\r\n"
        answer = await ask(server, data, ssl=towards(authority), server_hostname="localhost")
        assert answer.startswith(b"HTTP/1.1 200 ")
        for issuer in (None, stranger):
            # In TLS 1.3 the caller's handshake may be over before it is refused: then it just gets nothing.
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                assert await ask(server, data, ssl=towards(issuer), server_hostname="localhost") == b""
    assert len(seen) == 1
    assert b"caller@example.org" in seen[0]
