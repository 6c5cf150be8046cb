"""The client on real loopback sockets, against an upstream that plays scripts; and both sides joined."""

import asyncio
import contextlib
import socket
import ssl
from ipaddress import ip_network

import pytest
import trustme

from journeys.scripted_upstream import ScriptedUpstream, answer
from journeys.test_http1_server import GET, caller, serving, until
from journeys.uvloop_case import on_uvloop
from sekisho.gateway.http1.client import HttpClient
from sekisho.gateway.http1.errors import (
    UpstreamClosed,
    UpstreamEncoded,
    UpstreamError,
    UpstreamForbiddenAddress,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamTlsError,
    UpstreamTooLarge,
    UpstreamUnreachable,
)
from sekisho.gateway.http1.interfaces import ClientTls, Endpoint

READ = {"read": "request"}
WAIT = {"wait": "eof"}
AGAIN = {"again": True}
CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def send(text, times=1):
    return {"send": text, "times": times}


def endpoint(upstream, **changes):
    return Endpoint(**{"host": "127.0.0.1", "port": upstream.port, "tls": None, **changes})


@contextlib.asynccontextmanager
async def client_of():
    client = HttpClient()
    try:
        yield client
    finally:
        await client.close()
        assert client.connections == 0


async def post(exchange, body=b"{}"):
    return await exchange.send("POST", "/v1/x?y=z", [(b"x-a", b"b")], body)


class Receiver:
    def __init__(self):
        self.body, self.error, self.over = b"", None, asyncio.Event()

    def data(self, chunk):
        assert chunk
        assert not self.over.is_set()
        self.body += chunk

    def end(self):
        assert not self.over.is_set()
        self.over.set()

    def failed(self, error):
        self.error = error
        self.end()

    async def done(self):
        await asyncio.wait_for(self.over.wait(), 10)
        return self.body


@on_uvloop
async def test_requests_reuse_a_connection():
    async with ScriptedUpstream([READ, send(answer("hello")), AGAIN]) as upstream, client_of() as client:
        where = endpoint(upstream)
        for reused in (False, True):
            exchange = client.exchange(where)
            assert (exchange.written, exchange.peer) == (False, None)
            head = await post(exchange)
            assert head.status == 200
            assert await exchange.read(100) == b"hello"
            assert (exchange.written, exchange.reused) == (True, reused)
            assert exchange.peer[:2] == ("127.0.0.1", upstream.port)
            exchange.abort()  # after a complete answer a no-op
        assert client.idle_connections == 1
    assert len(upstream.seen) == 1
    first = upstream.seen[0].requests[0]
    assert first.startswith(
        f"POST /v1/x?y=z HTTP/1.1\r\nhost: 127.0.0.1:{upstream.port}\r\naccept-encoding: identity\r\n"
    )
    assert first.endswith("content-length: 2\r\nx-a: b\r\n\r\n{}")


@pytest.mark.parametrize(
    ("script", "body"),
    [
        ([READ, send(CHUNKED + "2\r\nab\r\n"), {"sleep": 0.02}, send("1;x=y\r\nc\r\n0\r\nx: y\r\n\r\n"), WAIT], b"abc"),
        ([READ, send("HTTP/1.1 200 OK\r\n\r\nab"), {"sleep": 0.02}, send("c"), {"close": True}], b"abc"),
        ([READ, send("HTTP/1.1 100 Continue\r\n\r\n" + answer("abc")), WAIT], b"abc"),
        ([READ, send(answer("abc", "connection: close")), WAIT], b"abc"),
        ([READ, send(answer("", status="204 No Content")), WAIT], b""),
    ],
)
@pytest.mark.parametrize("relayed", [False, True])
@on_uvloop
async def test_bodies_however_they_end(script, body, relayed):
    async with ScriptedUpstream(script) as upstream, client_of() as client:
        exchange = client.exchange(endpoint(upstream))
        await post(exchange)
        if relayed:
            receiver = Receiver()
            exchange.relay_to(receiver)
            assert await receiver.done() == body
            assert receiver.error is None
        else:
            assert await exchange.read(100) == body


@on_uvloop
async def test_a_head_request_has_no_body():
    script = [READ, send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), AGAIN]
    async with ScriptedUpstream(script) as upstream, client_of() as client:
        where = endpoint(upstream)
        for _ in range(2):
            exchange = client.exchange(where)
            await exchange.send("HEAD", "/", [], b"")
            assert await exchange.read(100) == b""
        assert exchange.reused


@pytest.mark.parametrize(
    ("steps", "error", "phase"),
    [
        ([send("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 1\r\n\r\nx")], UpstreamEncoded, "head"),
        ([send("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n")], UpstreamInvalid, "head"),
        ([send("garbage\r\n\r\n")], UpstreamInvalid, "head"),
        ([send("HTTP/1.1 200 OK\r\nx: " + "a" * 70000)], UpstreamTooLarge, "head"),
        ([{"close": True}], UpstreamClosed, "head"),
        ([{"reset": True}], UpstreamClosed, "head"),
        ([WAIT], UpstreamTimeout, "head"),
        ([send("HTTP/1.1 100 Continue\r\n\r\n"), WAIT], UpstreamTimeout, "head"),
        ([send(CHUNKED + "zz\r\n")], UpstreamInvalid, "body"),
        ([send(CHUNKED + "5\r\nhel"), {"close": True}], UpstreamClosed, "body"),
        ([send(CHUNKED + "5\r\nhel"), {"sleep": 0.05}, {"reset": True}], UpstreamClosed, "body"),
        ([send(CHUNKED + "5\r\nhel"), WAIT], UpstreamTimeout, "body"),
        ([send("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n"), WAIT], UpstreamTimeout, "body"),
        ([send("HTTP/1.1 200 OK\r\ncontent-length: 2000\r\n\r\n"), WAIT], UpstreamTooLarge, "body"),
        ([send(CHUNKED + "65\r\n" + "x" * 101), WAIT], UpstreamTooLarge, "body"),
    ],
)
@pytest.mark.parametrize("relayed", [False, True])
@on_uvloop
async def test_each_fault_has_its_error_and_phase(steps, error, phase, relayed):
    async with ScriptedUpstream([READ, *steps]) as upstream, client_of() as client:
        body_max = 100 if relayed else 1000
        where = endpoint(upstream, first_byte_timeout_s=0.3, idle_timeout_s=0.3, body_bytes_max=body_max)
        exchange = client.exchange(where)
        with pytest.raises(UpstreamError) as caught:
            await run(exchange, relayed)
        assert (type(caught.value), caught.value.phase) == (error, phase) or (
            relayed and isinstance(caught.value, UpstreamTooLarge)  # its bound is the lower one
        )
        assert exchange.written
        await upstream.until(lambda seen: seen[0].ended)
        assert client.idle_connections == 0


async def run(exchange, relayed):
    await post(exchange)
    if not relayed:
        await exchange.read(100)
        return
    receiver = Receiver()
    exchange.relay_to(receiver)
    await receiver.done()
    if receiver.error is not None:
        raise receiver.error


@on_uvloop
async def test_a_second_answer_that_nobody_asked_for_ends_the_connection():
    scripts = [READ, send(answer("one") + answer("stray")), WAIT], [READ, send(answer("two")), WAIT]
    async with ScriptedUpstream(*scripts) as upstream, client_of() as client:
        where = endpoint(upstream)
        for expected in (b"one", b"two"):
            exchange = client.exchange(where)
            await post(exchange)
            assert await exchange.read(100) == expected
            assert not exchange.reused


@pytest.mark.parametrize("ending", [{"close": True}, {"reset": True}, send("HTTP/1.1 200 OK\r\n\r\n")])
@on_uvloop
async def test_an_idle_connection_that_ends_or_speaks_is_dropped(ending):
    scripts = [READ, send(answer("one")), {"sleep": 0.05}, ending], [READ, send(answer("two")), WAIT]
    async with ScriptedUpstream(*scripts) as upstream, client_of() as client:
        where = endpoint(upstream)
        first, second = client.exchange(where), client.exchange(where)
        await post(first)
        await first.read(100)
        await until(lambda: client.connections == 0)
        await post(second)
        assert await second.read(100) == b"two"
        assert not second.reused


@on_uvloop
async def test_a_pooled_connection_gone_stale_is_a_failed_attempt_and_not_retried():
    async with ScriptedUpstream([READ, send(answer("one")), READ, {"close": True}]) as upstream, client_of() as client:
        where = endpoint(upstream)
        first, second = client.exchange(where), client.exchange(where)
        await post(first)
        await first.read(100)
        with pytest.raises(UpstreamClosed):
            await post(second)
        assert (second.reused, second.written) == (True, True)
        assert len(upstream.seen) == 1


@on_uvloop
async def test_when_one_idle_connection_was_stale_the_others_are_dropped_too():
    """Each would cost the request an attempt of its few."""
    idle = [READ, {"sleep": 0.1}, send(answer("one")), READ, {"close": True}]
    scripts = idle, idle, idle, [READ, send(answer("two")), WAIT]
    async with ScriptedUpstream(*scripts) as upstream, client_of() as client:
        where = endpoint(upstream)
        exchanges = [client.exchange(where) for _ in range(3)]
        await asyncio.gather(*(post(exchange) for exchange in exchanges))
        for exchange in exchanges:
            await exchange.read(100)
        assert client.idle_connections == 3
        with pytest.raises(UpstreamClosed):
            await post(client.exchange(where))
        assert client.idle_connections == 0
        after = client.exchange(where)
        await post(after)
        assert (await after.read(100), after.reused) == (b"two", False)


@pytest.mark.parametrize("steps", [[send(CHUNKED)], [send(CHUNKED + "1\r\na\r\n")]])
@on_uvloop
async def test_an_answer_that_trickles_comes_to_an_end(steps):
    """None of the other bounds is ever reached."""
    trickle = {"send": "1\r\na\r\n", "times": 10_000, "pause": 0.01}
    async with ScriptedUpstream([READ, *steps, trickle]) as upstream, client_of() as client:
        exchange = client.exchange(endpoint(upstream, total_timeout_s=0.3))
        await post(exchange)
        with pytest.raises(UpstreamTimeout, match="did not come to an end") as caught:
            await exchange.read(1_000_000)
        assert caught.value.phase == "body"
        await upstream.until(lambda seen: seen[0].ended)


@pytest.mark.parametrize("cancelled", [False, True])
@on_uvloop
async def test_abort_before_the_head_is_seen_by_the_upstream(cancelled):
    async with ScriptedUpstream([READ, WAIT]) as upstream, client_of() as client:
        exchange = client.exchange(endpoint(upstream))
        sending = asyncio.ensure_future(post(exchange))
        await upstream.until(lambda seen: seen and seen[0].requests)
        if cancelled:
            sending.cancel()
        else:
            exchange.abort()
        with pytest.raises(asyncio.CancelledError if cancelled else UpstreamClosed):
            await sending
        await upstream.until(lambda seen: seen[0].ended)
        assert client.connections == 0


@on_uvloop
async def test_abort_in_mid_stream_is_seen_by_the_upstream():
    async with ScriptedUpstream([READ, send(CHUNKED + "1\r\na\r\n"), WAIT]) as upstream, client_of() as client:
        exchange, receiver = client.exchange(endpoint(upstream)), Receiver()
        await post(exchange)
        exchange.relay_to(receiver)
        exchange.abort()
        assert not receiver.over.is_set()  # told in the next turn
        assert await receiver.done() == b"a"
        assert isinstance(receiver.error, UpstreamClosed)
        await upstream.until(lambda seen: seen[0].ended)


@on_uvloop
async def test_abort_before_connecting_is_over():
    with socket.socket() as full:  # a listener whose queue is full: connecting hangs
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        where = Endpoint("127.0.0.1", full.getsockname()[1], None)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        async with client_of() as client:
            exchange, early = client.exchange(where), client.exchange(where)
            sending = asyncio.ensure_future(post(exchange))
            await asyncio.sleep(0.05)
            exchange.abort()
            early.abort()
            for attempt in (sending, post(early)):
                with pytest.raises(UpstreamClosed) as caught:
                    await asyncio.wait_for(attempt, 10)
                assert caught.value.phase == "connect"
            assert (exchange.written, exchange.peer) == (False, None)
            slow = client.exchange(Endpoint("127.0.0.1", full.getsockname()[1], None, connect_timeout_s=0.1))
            with pytest.raises(UpstreamUnreachable):
                await post(slow)
        for filler in fillers:
            filler.close()


@on_uvloop
async def test_addresses_outside_the_declared_networks_are_not_connected_to():
    async with ScriptedUpstream([READ, send(answer("x")), WAIT]) as upstream, client_of() as client:
        for host in ("127.0.0.1", "localhost"):
            exchange = client.exchange(endpoint(upstream, host=host, networks=(ip_network("10.0.0.0/8"),)))
            with pytest.raises(UpstreamForbiddenAddress):
                await post(exchange)
            assert not exchange.written
        assert upstream.seen == []
        inside = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
        await post(client.exchange(endpoint(upstream, host="localhost", networks=inside)))
        assert len(upstream.seen) == 1


@on_uvloop
async def test_nobody_there_and_no_such_name():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with client_of() as client:
        for host in ("127.0.0.1", "no-such-name.invalid"):
            exchange = client.exchange(Endpoint(host, port, None))
            with pytest.raises(UpstreamUnreachable) as caught:
                await post(exchange)
            assert (caught.value.phase, exchange.written) == ("connect", False)


@on_uvloop
async def test_a_large_request_is_written_as_the_upstream_takes_it():
    body = b"b" * 3_000_000
    async with ScriptedUpstream([READ, send(answer("ok")), WAIT]) as upstream, client_of() as client:
        exchange = client.exchange(endpoint(upstream))
        sending = asyncio.ensure_future(post(exchange, body))
        await sending
        assert await exchange.read(100) == b"ok"
        assert upstream.seen[0].requests[0].endswith("\r\n\r\n" + body.decode())
        assert client.idle_connections == 1


@on_uvloop
async def test_an_early_answer_ends_the_writing_and_the_connection():
    script = [{"read": "head"}, send(answer("too big", status="413 Content Too Large")), {"sleep": 0.2}, WAIT]
    async with ScriptedUpstream(script, receive_buffer=65536) as upstream, client_of() as client:
        exchange = client.exchange(endpoint(upstream))
        head = await post(exchange, b"b" * 30_000_000)
        assert (head.status, await exchange.read(100)) == (413, b"too big")
        await upstream.until(lambda seen: seen[0].ended)
        assert upstream.seen[0].received < 30_000_000
        assert client.connections == 0


@on_uvloop
async def test_an_upstream_that_takes_nothing_is_a_timeout():
    async with ScriptedUpstream([{"sleep": 60}], receive_buffer=65536) as upstream, client_of() as client:
        exchange = client.exchange(endpoint(upstream, idle_timeout_s=0.3))
        with pytest.raises(UpstreamTimeout) as caught:
            await post(exchange, b"b" * 30_000_000)
        assert (caught.value.phase, exchange.written) == ("write", True)


@on_uvloop
async def test_pause_holds_the_upstream_back_and_stops_its_clock():
    """100 MB towards someone who has paused: the upstream gets rid of what kernels buffer, and no more."""
    flood = send("10000\r\n" + "z" * 65536 + "\r\n", times=1526)
    script = [READ, send(CHUNKED), flood, send("0\r\n\r\n"), WAIT]
    async with ScriptedUpstream(script) as upstream, client_of() as client:
        exchange, receiver = client.exchange(endpoint(upstream, idle_timeout_s=0.3)), Receiver()
        await post(exchange)
        exchange.pause()
        exchange.relay_to(receiver)
        await asyncio.sleep(0.8)  # longer than the idle bound
        assert not receiver.over.is_set()
        assert len(receiver.body) <= 1024 * 1024
        assert upstream.seen[0].sent < 20_000_000
        receiver.data = lambda chunk: None
        exchange.resume()
        await receiver.done()
        assert receiver.error is None


def tls_of(tmp_path, authority, **changes):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return ClientTls(**{"server_name": "localhost", "ca_file": str(tmp_path / "ca.pem"), **changes})


def serving_context(issuer, client_authority=None, name="localhost"):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert(name).configure_cert(context)
    if client_authority is not None:
        client_authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@on_uvloop
async def test_tls_trusts_the_declared_authority_alone(tmp_path):
    ours, other = trustme.CA(), trustme.CA()
    tls = tls_of(tmp_path, ours)
    script = [READ, send(answer("secret")), WAIT]
    async with client_of() as client:
        async with ScriptedUpstream(script, ssl=serving_context(ours)) as upstream:
            exchange = client.exchange(endpoint(upstream, tls=tls))
            await post(exchange)
            assert await exchange.read(100) == b"secret"
            assert b"localhost" in exchange.peer.certificate
        for context in (serving_context(other), serving_context(ours, name="elsewhere.example")):
            async with ScriptedUpstream(script, ssl=context) as upstream:
                exchange = client.exchange(endpoint(upstream, tls=tls))
                with pytest.raises(UpstreamTlsError):
                    await post(exchange)
                assert not exchange.written
        missing = ClientTls("localhost", ca_file=str(tmp_path / "missing.pem"))
        with pytest.raises(UpstreamTlsError):
            await post(client.exchange(endpoint(upstream, tls=missing)))


@on_uvloop
async def test_changed_authority_files_count_once_they_were_looked_at(tmp_path):
    old, new = trustme.CA(), trustme.CA()
    tls = tls_of(tmp_path, old)
    script = [READ, send(answer("x")), WAIT]
    async with ScriptedUpstream(script, ssl=serving_context(new)) as upstream, client_of() as client:
        where = endpoint(upstream, tls=tls)
        with pytest.raises(UpstreamTlsError):
            await post(client.exchange(where))
        tls_of(tmp_path, new)
        assert await client.reload_tls_files() == []
        assert (await post(client.exchange(where))).status == 200


@on_uvloop
async def test_a_rotated_client_certificate_retires_the_connections_made_with_the_old_one(tmp_path):
    ours, callers = trustme.CA(), trustme.CA()
    mine = tmp_path / "me.pem"
    callers.issue_cert("old@example.org").private_key_and_cert_chain_pem.write_to_path(mine)
    script = [READ, send(answer("known")), READ, send(CHUNKED + "2\r\nab\r\n"), READ]
    async with ScriptedUpstream(script, ssl=serving_context(ours, callers)) as upstream, client_of() as client:
        tls = tls_of(tmp_path, ours, client_certificate_file=str(mine), client_key_file=str(mine))
        where = endpoint(upstream, tls=tls)
        first = client.exchange(where)
        await post(first)
        await first.read(100)
        # A file that vanishes, or is half written, changes nothing and is told of.
        content = mine.read_bytes()
        for broken in (b"", content[: len(content) // 2], None):
            mine.unlink() if broken is None else mine.write_bytes(broken)
            assert len(await client.reload_tls_files()) == 1
            assert client.idle_connections == 1
        callers.issue_cert("new@example.org").private_key_and_cert_chain_pem.write_to_path(mine)
        under_way = client.exchange(where)
        await post(under_way)
        assert under_way.reused
        assert await client.reload_tls_files() == []
        second = client.exchange(where)
        await post(second)
        assert not second.reused
        await second.read(100)
        assert client.idle_connections == 1
        # What was under way when the files changed goes on.
        gathered = Receiver()
        under_way.relay_to(gathered)
        assert gathered.body == b"ab"
        assert gathered.error is None
        under_way.abort()
        assert len(upstream.seen) == 2


@on_uvloop
async def test_a_demanded_client_certificate(tmp_path):
    ours, callers = trustme.CA(), trustme.CA()
    callers.issue_cert("gateway@example.org").private_key_and_cert_chain_pem.write_to_path(tmp_path / "me.pem")
    mine = str(tmp_path / "me.pem")
    script = [READ, send(answer("known")), WAIT]
    async with ScriptedUpstream(script, ssl=serving_context(ours, callers)) as upstream, client_of() as client:
        tls = tls_of(tmp_path, ours, client_certificate_file=mine, client_key_file=mine)
        exchange = client.exchange(endpoint(upstream, tls=tls))
        await post(exchange)
        assert await exchange.read(100) == b"known"
        # Without one, TLS 1.3 connects first and is lost then: an error all the same, and one that says why.
        with pytest.raises((UpstreamClosed, UpstreamTlsError)) as caught:
            await post(client.exchange(endpoint(upstream, tls=tls_of(tmp_path, ours))))
        assert "certificate" in str(caught.value)


@on_uvloop
async def test_a_body_cut_without_tls_closing_is_not_a_clean_end(tmp_path):
    """A truncation attack on a body that ends with its connection."""
    authority = trustme.CA()
    script = [READ, send("HTTP/1.1 200 OK\r\n\r\npart"), {"sleep": 0.1}, {"reset": True}]
    async with ScriptedUpstream(script, ssl=serving_context(authority)) as upstream, client_of() as client:
        exchange = client.exchange(endpoint(upstream, tls=tls_of(tmp_path, authority)))
        await post(exchange)
        with pytest.raises(UpstreamClosed):
            await exchange.read(100)


class Relay:
    """From an exchange to a responder with back-pressure, as the pipeline joins them."""

    def __init__(self, exchange, responder):
        self.exchange, self.responder, self.over = exchange, responder, asyncio.Event()
        responder.on_writable(exchange.resume)

    def data(self, chunk):
        if not self.responder.write(chunk):
            self.exchange.pause()

    def end(self):
        self.responder.end()
        self.over.set()

    def failed(self, error):
        self.responder.abort()
        self.over.set()


@contextlib.asynccontextmanager
async def relaying(upstream, **limits):
    async with client_of() as client:
        where = endpoint(upstream)

        async def handler(request, responder):
            exchange = client.exchange(where)
            try:
                head = await exchange.send("GET", request.path, [], b"")
                responder.start_stream(head.status, [])
                relay = Relay(exchange, responder)
                exchange.relay_to(relay)
                await relay.over.wait()
            finally:
                exchange.abort()

        async with serving(handler, **limits) as server:
            yield server


@on_uvloop
async def test_a_caller_that_does_not_read_holds_its_upstream_back_and_our_memory_down():
    flood = send("10000\r\n" + "z" * 65536 + "\r\n", times=1526)  # 100 MB
    script, bound = [READ, send(CHUNKED), flood, send("0\r\n\r\n"), WAIT], 200_000
    async with ScriptedUpstream(script) as upstream, relaying(upstream, write_buffer_bytes=bound) as server:
        _, writer = await caller(server, limit=1024)
        writer.write(GET)
        sent = -1
        async with asyncio.timeout(10):
            while not upstream.seen or sent != upstream.seen[0].sent or not server.buffered_bytes():
                sent = upstream.seen[0].sent if upstream.seen else -1
                await asyncio.sleep(0.2)
        # One read of 256 KiB may still be on its way when the mark is passed.
        assert server.buffered_bytes() <= 200_000 + 256 * 1024 + 1024
        assert sent < 40_000_000  # the rest of it is in kernel buffers of four sockets
        writer.transport.abort()
        await upstream.until(lambda seen: seen[0].ended)


@pytest.mark.parametrize("steps", [[], [send(CHUNKED + "1\r\na\r\n")]])
@on_uvloop
async def test_a_caller_that_leaves_aborts_its_upstream(steps):
    async with ScriptedUpstream([READ, *steps, WAIT]) as upstream, relaying(upstream) as server:
        _, writer = await caller(server)
        writer.write(GET)
        await upstream.until(lambda seen: seen and seen[0].requests)
        writer.close()
        await upstream.until(lambda seen: seen[0].ended)


@on_uvloop
async def test_an_upstream_that_breaks_is_no_clean_end_for_the_caller():
    script = [READ, send(CHUNKED + "4\r\npart\r\n"), {"close": True}]
    async with ScriptedUpstream(script) as upstream, relaying(upstream) as server:
        reader, writer = await caller(server)
        writer.write(GET)
        assert (await asyncio.wait_for(reader.read(-1), 10)).endswith(b"4\r\npart\r\n")
        writer.close()
