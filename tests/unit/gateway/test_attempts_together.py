"""A request is never seen ended between two of its attempts, wherever a merge falls; nor is an outcome ever late."""

import asyncio
import json

import pytest

from gateway_fakes import Script, World
from sekisho.gateway.attempt import Recorder
from sekisho.gateway.entries import GatewayLifecycle
from sekisho.gateway.errors import GatewayError, UpstreamFailed
from sekisho.gateway.http1.errors import UpstreamClosed, UpstreamUnreachable
from sekisho.kernel.clock import SystemClock
from sekisho.ledger.wal_reader import START, WriteAheadReader
from sekisho.ledger.writer import WriteAheadSettings, WriteAheadWriter

SETTINGS = WriteAheadSettings(segment_bytes=256 * 1024, free_reserve_bytes=1024)
STREAM = {b"content-type": b"text/event-stream"}
FAILURES = {
    "unreachable": Script(error=UpstreamUnreachable("refused", phase="connect")),
    "stale": Script(error=UpstreamClosed("closed", phase="head"), reused=True),
    "status 503": Script(status=503),
    "status 429": Script(status=429),
    "status 404": Script(status=404, body=b"<html>"),
    "no JSON": Script(body=b"<html>"),
    "stream broken before its first event": Script(chunks=(UpstreamClosed("broke", phase="body"),), headers=STREAM),
    "stream ended before its first event": Script(headers=STREAM),
}


def world_on(tmp_path):
    """A world whose log is a real one: (world, writer)."""
    world = World(raw=("a", "b"))
    clock = SystemClock()
    writer = WriteAheadWriter.open(tmp_path, site="s", clock=clock, ids=world.ids, settings=SETTINGS)
    world.use(Recorder(writer, clock, world.ids, world.metrics))
    return world, writer


def in_turn(world, scripts) -> None:
    """The scripts are played in this order, whichever deployment is asked."""
    world.client.scripts = {"a": scripts, "b": scripts}


def frames(directory) -> list[list[dict]]:
    """The entries of each frame: a merge takes whole frames."""
    reader, position, found = WriteAheadReader(directory), START, []
    while (batch := reader.read(position, bytes_max=1)).entries:
        found.append([json.loads(entry) for entry in batch.entries])
        position = batch.position
    return found


def seen_ended_after(found: list[list[dict]]) -> list[bool]:
    """After each frame, whether every decision so far has its outcome."""
    lifecycle, left, ended = GatewayLifecycle(), set(), []
    for entries in found:
        for entry in entries:
            left.discard(lifecycle.closes(entry))
            if lifecycle.opens(entry):
                left.add(entry["id"])
        ended.append(not left)
    return ended


@pytest.mark.parametrize("failure", FAILURES)
async def test_a_merge_never_falls_between_a_failure_and_the_next_attempt(tmp_path, failure):
    world, writer = world_on(tmp_path)
    stream = failure.startswith("stream")
    good = Script(chunks=(b'data: {"choices":[]}\n\n', b"data: [DONE]\n\n"), headers=STREAM)
    scripts = [FAILURES[failure], good if stream else Script(body=b'{"choices":[]}')]
    in_turn(world, scripts)
    assert await world.chat(stream=stream) == 200
    await writer.close()
    found = frames(writer.directory)
    kinds = [entry["kind"] for entries in found for entry in entries]
    assert kinds == ["decision", "outcome", "decision", "outcome"]
    assert seen_ended_after(found) == [False] * (len(found) - 1) + [True]
    entries = [entry for frame in found for entry in frame]
    assert entries[1]["body"]["next"] == entries[2]["id"]  # so nobody can show the request without what followed
    assert "next" not in entries[3]["body"]
    assert list(entries[1]["body"]) == sorted(entries[1]["body"])  # canonical


async def test_no_decision_is_named_as_next_that_does_not_fit_an_entry(tmp_path, monkeypatch):
    world, writer = world_on(tmp_path)
    in_turn(world, [FAILURES["status 503"], Script(body=b'{"choices":[]}')])

    def append(draft, reservation=None):
        done = writer_append(draft, reservation)
        monkeypatch.setattr("sekisho.gateway.pipeline.DECISION_BYTES_MAX", len(draft.body) - 1)  # the next is as large
        return done

    writer_append = writer.append
    writer.append = append
    with pytest.raises(GatewayError):
        await world.chat()
    await writer.close()
    entries = [entry for frame in frames(writer.directory) for entry in frame]
    assert [entry["kind"] for entry in entries] == ["decision", "outcome"]
    assert "next" not in entries[1]["body"]


@pytest.mark.parametrize("failure", FAILURES)
async def test_the_last_outcome_is_written_before_the_caller_is_told(tmp_path, failure):
    world, writer = world_on(tmp_path)
    in_turn(world, [FAILURES[failure]] * 8)
    if failure == "status 429":  # when all are at their limit, the last one's answer is the caller's
        assert await world.chat() == 429
    else:
        with pytest.raises(UpstreamFailed):
            await world.chat(stream=failure.startswith("stream"))
    # No turn of the loop has passed since: nothing waits to be written.
    assert seen_ended_after(frames(writer.directory))[-1]
    await writer.close()


async def test_the_outcome_is_written_too_when_the_ledger_takes_no_further_decision(tmp_path):
    world = World(raw=("a", "b"))

    class FullAfterwards(Script):
        @property
        def error(self):
            world.writer.full = True
            return UpstreamUnreachable("refused", phase="connect")

        @error.setter
        def error(self, _): ...

    in_turn(world, [FullAfterwards()])
    with pytest.raises(Exception, match="ledger"):
        await world.chat()
    assert [entry.kind for entry in world.writer.entries] == ["decision", "outcome"]
    assert world.writer.reserved == 0


async def test_a_caller_that_leaves_during_the_second_attempt_leaves_nothing_open(tmp_path):
    world, writer = world_on(tmp_path)
    in_turn(world, [Script(status=503), Script(hang=True)])
    asking = asyncio.create_task(world.chat())
    async with asyncio.timeout(10):
        while len(world.client.exchanges) < 2:
            await asyncio.sleep(0.005)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    found = frames(writer.directory)
    assert [e["body"]["ended"] for entries in found for e in entries if e["kind"] == "outcome"] == [
        "upstream_refused",
        "caller_left",
    ]
    assert seen_ended_after(found)[-1]
    await writer.close()
