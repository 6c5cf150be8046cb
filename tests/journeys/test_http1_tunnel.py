"""The client through a proxy that opens tunnels, refuses, hangs, lies or breaks off."""

import asyncio
from dataclasses import replace

import pytest
import trustme

from journeys.connect_proxy import OPENED, ConnectProxy
from journeys.scripted_upstream import ScriptedUpstream, answer
from journeys.test_http1_client import READ, WAIT, client_of, post, send, serving_context, tls_of
from journeys.uvloop_case import on_uvloop
from sekisho.gateway.http1.errors import UpstreamProxyError, UpstreamTlsError, UpstreamUnreachable
from sekisho.gateway.http1.interfaces import ClientTls, Endpoint, Proxy
from sekisho.kernel.errors import SekishoError

HOST = "engine.example.invalid"  # no resolver knows it: only the proxy does
SCRIPT = [READ, send(answer("hello")), {"again": True}]


def behind(proxy, *, tls=None, proxy_tls=None, authorization=None, **changes):
    route = Proxy("127.0.0.1", proxy.port, proxy_tls, authorization)
    return Endpoint(**{"host": HOST, "port": 443, "tls": tls, "proxy": route, **changes})


def proxy_to(upstream, port=443, tls=None):
    return ConnectProxy(tls, {f"{HOST}:{port}": upstream.port})


async def fails(client, where):
    exchange = client.exchange(where)
    with pytest.raises(UpstreamUnreachable) as caught:
        await post(exchange)
    assert not exchange.written
    assert exchange.peer is None
    assert client.connections == 0
    return caught.value


@on_uvloop
@pytest.mark.parametrize("proxy_by_tls", [False, True])
@pytest.mark.parametrize("upstream_by_tls", [False, True])
async def test_a_tunnel_is_opened_used_again_and_told_of(tmp_path, proxy_by_tls, upstream_by_tls):
    ours, theirs = trustme.CA(), trustme.CA()
    theirs.cert_pem.write_to_path(tmp_path / "proxy.pem")
    tls = tls_of(tmp_path, ours, server_name=HOST) if upstream_by_tls else None
    proxy_tls = ClientTls("proxy.test", str(tmp_path / "proxy.pem")) if proxy_by_tls else None
    context = serving_context(ours, name=HOST) if upstream_by_tls else None
    proxy_context = serving_context(theirs, name="proxy.test") if proxy_by_tls else None
    async with (
        ScriptedUpstream(SCRIPT, ssl=context) as upstream,
        proxy_to(upstream, tls=proxy_context) as proxy,
        client_of() as client,
    ):
        where = behind(proxy, tls=tls, proxy_tls=proxy_tls, authorization=lambda: b"Basic dTpw")
        for reused in (False, True):
            exchange = client.exchange(where)
            assert (await post(exchange)).status == 200
            assert await exchange.read(100) == b"hello"
            assert (exchange.reused, exchange.written) == (reused, True)
            assert exchange.peer[:2] == ("127.0.0.1", proxy.port)
            assert exchange.peer.via == "egress_proxy"
            # The certificate is the upstream's, never the proxy's.
            assert (exchange.peer.certificate is not None) == upstream_by_tls
            assert not upstream_by_tls or HOST.encode() in exchange.peer.certificate
        assert len(proxy.asked) == len(upstream.seen) == 1
        expected = f"CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}:443\r\nproxy-authorization: Basic dTpw\r\n\r\n"
        assert proxy.asked[0].head == expected.encode()
        # What the proxy demands is not told to the upstream, nor what the upstream is told to the proxy's head.
        assert all("proxy-authorization" not in request for request in upstream.seen[0].requests)
        if upstream_by_tls:
            assert b"POST" not in proxy.asked[0].up


@on_uvloop
@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        (407, "[egress_proxy]"),
        (403, "forbid"),
        (502, "can't reach the deployment"),
        (302, "opens no tunnel"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "speaks no HTTP"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "101"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 2000, "no end"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 20_000, "no end"),
        (b"HTTP/1.1 200 OK\nx: y\r\n\r\n", "speaks no HTTP"),
        (OPENED + b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "nobody asked for"),
        ("silent", "in time"),
    ],
)
async def test_a_proxy_that_opens_no_tunnel(behaviour, said):
    async with ScriptedUpstream(SCRIPT) as upstream, proxy_to(upstream) as proxy, client_of() as client:
        proxy.behaviour = behaviour
        where = behind(proxy, connect_timeout_s=0.3 if behaviour == "silent" else 10)
        error = await fails(client, where)
        assert isinstance(error, UpstreamProxyError)
        assert error.phase == "proxy"
        assert said in str(error)
        assert upstream.seen == []
        assert proxy.asked[0].up == b""
        proxy.behaviour = "open"  # and nothing of it is remembered
        assert (await post(client.exchange(where))).status == 200


@on_uvloop
async def test_interim_answers_and_a_length_are_passed_over():
    """RFC 9110 section 9.3.6: an answer to CONNECT has no body, whatever its head says."""
    async with ScriptedUpstream(SCRIPT) as upstream, proxy_to(upstream) as proxy, client_of() as client:
        proxy.behaviour = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 204 Yes\r\ncontent-length: 7\r\n\r\n"
        exchange = client.exchange(behind(proxy, first_byte_timeout_s=0.1))
        with pytest.raises(SekishoError):
            await post(exchange)  # this proxy copies nothing; that it was written to is what counts
        assert exchange.written


@on_uvloop
async def test_what_the_tunnel_ends_in_must_prove_itself(tmp_path):
    """A proxy that leads elsewhere gets nothing: the certificate is checked inside the tunnel."""
    ours, other = trustme.CA(), trustme.CA()
    async with (
        ScriptedUpstream(SCRIPT, ssl=serving_context(other, name=HOST)) as upstream,
        proxy_to(upstream) as proxy,
        client_of() as client,
    ):
        error = await fails(client, behind(proxy, tls=tls_of(tmp_path, ours, server_name=HOST)))
        assert isinstance(error, UpstreamTlsError)
        assert error.phase == "connect"
        assert not any(connection.requests for connection in upstream.seen)
        proxy.after = b"not TLS at all"
        (tmp_path / "other").mkdir()
        error = await fails(client, behind(proxy, tls=tls_of(tmp_path / "other", other, server_name=HOST)))
        assert isinstance(error, UpstreamProxyError)


@on_uvloop
async def test_a_handshake_that_hangs_inside_the_tunnel_ends_in_time(tmp_path):
    async with ScriptedUpstream([WAIT]) as upstream, proxy_to(upstream) as proxy, client_of() as client:
        where = behind(proxy, tls=tls_of(tmp_path, trustme.CA(), server_name=HOST), connect_timeout_s=0.3)
        error = await fails(client, where)
        assert error.phase == "connect"
        assert "in time" in str(error)


@on_uvloop
async def test_a_proxy_that_is_not_there_or_proves_nothing_is_the_proxys_fault(tmp_path):
    ours = trustme.CA()
    ours.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ClientTls("proxy.test", str(tmp_path / "ca.pem"))
    async with client_of() as client:
        async with ConnectProxy(serving_context(trustme.CA(), name="proxy.test")) as proxy:
            untrusted = await fails(client, behind(proxy, proxy_tls=tls))
        gone = await fails(client, behind(proxy))
        unknown = await fails(client, replace(behind(proxy), proxy=Proxy("proxy.example.invalid", 1)))
    for error in (untrusted, gone, unknown):
        assert isinstance(error, UpstreamProxyError)


@on_uvloop
async def test_a_proxy_without_its_credentials_is_not_even_called():
    def missing():
        raise SekishoError("the credential file keys/proxy can't be read")

    async with ConnectProxy() as proxy, client_of() as client:
        error = await fails(client, behind(proxy, authorization=missing))
        assert isinstance(error, UpstreamProxyError)
        assert proxy.asked == []


@on_uvloop
async def test_nothing_is_shared_between_identities_proxies_and_directness():
    async with (
        ScriptedUpstream(SCRIPT) as upstream,
        proxy_to(upstream) as one,
        proxy_to(upstream) as two,
        client_of() as client,
    ):
        direct = Endpoint("127.0.0.1", upstream.port, None)
        for where in (
            behind(one),
            behind(one, identity=b"a"),
            behind(one, identity=b"b"),
            behind(two),
            direct,
            Endpoint("127.0.0.1", upstream.port, None, identity=b"a"),
        ):
            exchange = client.exchange(where)
            await post(exchange)
            assert not exchange.reused
            await exchange.read(100)
        assert client.idle_connections == 6
        # The same by value is the same pool, though.
        again = client.exchange(behind(one, identity=b"b"))
        await post(again)
        assert again.reused


@on_uvloop
async def test_leaving_while_the_tunnel_is_being_opened_cuts_it(tmp_path):
    async with ScriptedUpstream([WAIT]) as upstream, proxy_to(upstream) as proxy, client_of() as client:
        for behaviour, tls in (("silent", None), ("open", tls_of(tmp_path, trustme.CA(), server_name=HOST))):
            proxy.behaviour = behaviour
            asked = len(proxy.asked)
            sending = asyncio.create_task(post(client.exchange(behind(proxy, tls=tls))))
            async with asyncio.timeout(10):
                while len(proxy.asked) == asked or not proxy.asked[-1].head or (tls and not proxy.asked[-1].up):
                    await asyncio.sleep(0.01)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            async with asyncio.timeout(10):
                while proxy._tasks:
                    await asyncio.sleep(0.01)
        assert client.connections == 0
