"""However a stream's bytes are split on their way, the caller gets the same, and the same is recorded."""

import asyncio
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_fakes import Script, World
from sekisho.gateway.dialects.operations import CHAT
from sekisho.gateway.dialects.surfaces import AZURE, OPENAI, Call
from sekisho.gateway.errors import UpstreamFailed

EVENTS = [
    b'data: {"choices":[{"delta":{"content":"five"}}]}',
    b'data: {"choices":[{"delta":{"content":"\xe4\xba\x94"}}],"usage":null}',
    b'event: x\nid: 1\ndata: {"choices":\ndata: []}',
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6}}',
    b": ping",
    b"data:",
    b"",
    b'data: {"error":{"message":"boom"}}',
    b"data: {no",
    b"data: []",
    b"data: \xff",
]
DONE = b"data: [DONE]"


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    newline = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    events = draw(st.lists(st.sampled_from(EVENTS), max_size=6))
    if draw(st.booleans()):
        events.insert(draw(st.integers(0, len(events))), DONE)
    stream = b"".join(event.replace(b"\n", newline) + newline * 2 for event in events)
    return stream[: draw(st.integers(0, len(stream)))] if draw(st.booleans()) else stream


async def relayed(call: Call, chunks: list[bytes]) -> tuple[object, ...]:
    world = World()
    world.script("a", Script(chunks=tuple(chunks), headers={b"content-type": b"text/event-stream"}))
    try:
        told: object = await world.ask(call, stream=True)
    except UpstreamFailed as error:
        told = error.code
    (outcome,) = world.writer.bodies("outcome")
    recorded = [outcome[name] for name in ("ended", "error", "usage", "answer", "written")]
    return told, world.responder.body, world.responder.ended, recorded, dict(world.metrics.attempt_errors)


@given(streams(), st.lists(st.integers(0, 400), max_size=12), st.sampled_from([OPENAI, AZURE]))
@settings(max_examples=300, deadline=None)
def test_any_split_of_a_stream_comes_to_the_same(stream, cuts, surface):
    points = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    chunks = [stream[a:b] for a, b in itertools.pairwise(points)]
    call = Call(CHAT, surface)
    one = asyncio.run(relayed(call, [stream] if stream else []))
    assert asyncio.run(relayed(call, chunks)) == one
    assert asyncio.run(relayed(call, [stream[n : n + 1] for n in range(len(stream))])) == one
    told, body, _, (ended, *_), _ = one
    assert (b"[DONE]" in body) == (ended == "complete")  # nothing but a whole stream looks complete
    assert (told == 200) == bool(body)
