"""G1 with a log whose syncs never return: no connection, no byte; a caller that leaves ends it cleanly."""

import asyncio
import random
import socket
import threading

import pytest

from gateway_fakes import FakeCommitments, World
from journeys.scripted_upstream import ScriptedUpstream, answer
from sekisho.app.gateway import Refusals
from sekisho.gateway.attempt import Recorder
from sekisho.gateway.http1.client import HttpClient
from sekisho.gateway.http1.interfaces import Endpoint, ServerLimits
from sekisho.gateway.http1.server import HttpServer
from sekisho.gateway.interfaces import ReceiptAnswer, Upstream
from sekisho.gateway.pipeline import Pipeline
from sekisho.gateway.routing import Router
from sekisho.gateway.surface import Surface
from sekisho.kernel.clock import SystemClock
from sekisho.ledger.wal_reader import START, WriteAheadReader
from sekisho.ledger.writer import Disk, WriteAheadSettings, WriteAheadWriter

CALLERS = 5
SETTINGS = WriteAheadSettings(segment_bytes=256 * 1024, free_reserve_bytes=1024)
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer sk-good\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


class StuckSync:
    """A disk's sync that returns only when `free` is set; `asked` is set when one was begun."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.asked = threading.Event()

    def __call__(self, _descriptor: int) -> None:
        self.asked.set()
        self.free.wait()


class NoReceipts:
    async def receipt(self, request_id: str, organisation: str) -> ReceiptAnswer:
        return ReceiptAnswer("unknown")


class Gateway:
    """The real pipeline, server, client and write-ahead log; the decision permits the one deployment `a`."""

    def __init__(self, root, upstream_port: int, sync) -> None:
        self.world = world = World()
        clock = SystemClock()
        endpoint = Endpoint("127.0.0.1", upstream_port, None)
        world.in_force.upstreams["a"] = Upstream(endpoint, {"chat": "/v1/chat/completions"}, ())
        self.writer = WriteAheadWriter.open(
            root, site="s", clock=clock, ids=world.ids, settings=SETTINGS, disk=Disk(sync=sync)
        )
        self.client = HttpClient()
        pipeline = Pipeline(
            keys=world.keys,
            in_force=lambda: world.in_force,
            recorder=Recorder(self.writer, clock, world.ids, world.metrics),
            commitments=FakeCommitments(),
            client=self.client,
            router=Router(random.Random(1)),
            in_flight_max=100,
            explain=lambda _, __: [],
            halts=world.halts,
        )
        surface = Surface(
            pipeline=pipeline,
            receipts=NoReceipts(),
            in_force=lambda: world.in_force,
            metrics=world.metrics,
            clock=clock,
            ids=world.ids,
            readiness=list,
            gauges=dict,
        )
        self.server = HttpServer(surface, ServerLimits(), refusal=Refusals(clock, world.ids, world.metrics))

    async def __aenter__(self) -> "Gateway":
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        await self.server.start(listener)
        return self

    async def __aexit__(self, *_) -> None:
        await self.server.stop(0)
        await self.client.close()
        await self.writer.close()


async def happens(condition, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("denied", [False, True], ids=["permitted", "denied"])
async def test_while_nothing_becomes_durable_nothing_leaves_and_nothing_is_answered(tmp_path, denied):
    sync = StuckSync()
    script = [{"read": "request"}, {"send": answer('{"choices":[]}')}, {"again": True}]
    async with ScriptedUpstream(script) as upstream, Gateway(tmp_path, upstream.port, sync) as gateway:
        if denied:
            gateway.world.in_force.snapshot.decider.raw = ()
        try:
            callers = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(CALLERS)]
            for _, writer in callers:
                writer.write(REQUEST)
            await happens(lambda: gateway.writer.entries == CALLERS and sync.asked.is_set())
            # The loop has come to rest: it turns, and there is nothing left for it to do but wait for the sync.
            for _ in range(200):
                await asyncio.sleep(0)
            await asyncio.sleep(0.2)
            assert upstream.seen == []
            assert gateway.world.metrics.in_flight == CALLERS
            for reader, _ in callers:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.01):
                        await reader.read(1)
            for _, writer in callers:
                writer.close()
            await happens(lambda: gateway.world.metrics.in_flight == 0)
            assert upstream.seen == []
            # Each permitted decision has its outcome, written though not synced: the caller left, nothing was sent.
            assert gateway.writer.entries == (CALLERS if denied else 2 * CALLERS)
            assert dict(gateway.world.metrics.attempts) == ({} if denied else {"caller_left": CALLERS})
        finally:
            sync.free.set()
    assert upstream.seen == []


async def test_once_the_sync_returns_the_request_goes_on(tmp_path):
    """The counterpart: what holds it back is the sync alone."""
    sync = StuckSync()
    script = [{"read": "request"}, {"send": answer('{"choices":[]}')}, {"again": True}]
    async with ScriptedUpstream(script) as upstream, Gateway(tmp_path, upstream.port, sync) as gateway:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(REQUEST)
            await happens(sync.asked.is_set)
            assert upstream.seen == []
        finally:
            sync.free.set()
        async with asyncio.timeout(10):
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert len(upstream.seen) == 1
        writer.close()
        directory = gateway.writer.directory
    entries = WriteAheadReader(directory).read_dead(START, bytes_max=1 << 20).entries
    assert [b'"kind":"outcome"' in entry for entry in entries] == [False, True]
