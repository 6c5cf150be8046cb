"""What the request path hands over to be kept, and that it does nothing at all where no policy keeps."""

import orjson
import pytest

from gateway_fakes import Script, World
from sekisho.content.interfaces import CONTENT_BYTES_MAX, Content
from sekisho.gateway.attempt import Recorder
from sekisho.gateway.errors import NotPermitted, UpstreamFailed
from sekisho.gateway.http1.errors import UpstreamClosed
from sekisho.gateway.keeping import DAY_US, Keeping
from sekisho.kernel.clock import SystemClock
from sekisho.policy.interfaces import Retention

ANSWER = orjson.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
CONTENT = Content("default", "e", "r", 1, b"x", b"")
EVENT_STREAM = {b"content-type": b"text/event-stream"}
EVENT = b"data: " + orjson.dumps({"choices": [{"delta": {"content": "x"}}]}) + b"\n\n"
DONE = b"data: [DONE]\n\n"


class Kept(list):
    """A Keeper that keeps in memory."""

    room = 1 << 40

    def __init__(self):
        self.taken = 0
        self.lost = []

    def take(self, size):
        if self.taken + size > self.room:
            return False
        self.taken += size
        return True

    def release(self, size):
        self.taken -= size

    def keep(self, content):
        self.release(len(content.sent) + len(content.answer))
        self.append(content)

    def lose(self, request, reason):
        self.lost.append(reason)


MONTH = Retention(30, (0,))


def keeping_world(kept=MONTH, **options):
    world = World(**options)
    world.kept = Kept()
    decider = world.in_force.snapshot.decider
    decider.retains, decider.kept = True, kept
    world.keeper = world.kept
    world.use(Recorder(world.writer, SystemClock(), world.ids, world.metrics))
    return world


async def test_a_request_and_its_answer_are_handed_over_after_the_outcome():
    world = keeping_world()
    world.script("a", Script(body=ANSWER))
    await world.chat("hello")
    (content,) = world.kept
    (decision,) = [entry for entry in world.writer.entries if entry.kind == "decision"]
    assert (content.organisation, content.entry) == ("default", decision.id)
    assert content.request == decision.request
    assert content.until == decision.at + 30 * DAY_US
    assert content.sent == world.client.exchanges[0].sent
    assert content.answer == world.responder.body == ANSWER
    assert orjson.loads(decision.body)["retain"] == {"days": 30, "reasons": [0]}
    assert orjson.loads(decision.body)["policies"] == {"0": "test.rule"}


async def test_a_stream_is_kept_as_the_caller_got_it():
    world = keeping_world()
    world.script("a", Script(chunks=[EVENT, EVENT, DONE], headers=EVENT_STREAM))
    await world.chat(stream=True)
    (content,) = world.kept
    assert content.answer == world.responder.body == EVENT + EVENT + DONE


async def test_what_leaves_redacted_is_kept_redacted_and_asked_about_so():
    world = keeping_world(raw=(), redacted=("a",))
    world.script("a", Script(body=ANSWER))
    await world.chat("my SECRET")
    (content,) = world.kept
    assert b"SECRET" not in content.sent
    assert world.in_force.snapshot.decider.labels == ()


async def test_each_attempt_is_kept_under_its_own_decision():
    world = keeping_world(raw=("a", "b"))
    for name in "ab":
        world.script(name, Script(error=UpstreamClosed("closed", phase="body")), Script(body=ANSWER))
    with pytest.raises(UpstreamFailed):
        await world.chat()
    assert {content.entry for content in world.kept} == {
        entry.id for entry in world.writer.entries if entry.kind == "decision"
    }
    assert all(content.answer == b"" for content in world.kept)


async def test_nothing_is_kept_of_what_was_denied():
    world = keeping_world(raw=())
    with pytest.raises(NotPermitted):
        await world.chat()
    assert world.kept == []
    assert "retain" not in world.writer.bodies("decision")[0]


async def test_nothing_is_kept_where_policy_says_no():
    world = keeping_world(kept=None)
    world.script("a", Script(body=ANSWER))
    await world.chat()
    assert world.kept == []
    assert "retain" not in world.writer.bodies("decision")[0]


async def test_where_no_policy_keeps_nobody_is_asked_and_nothing_is_gathered():
    """The fake decider fails the test if it is asked."""
    world = keeping_world()
    world.in_force.snapshot.decider.retains = False
    world.script("a", Script(body=ANSWER), Script(chunks=[EVENT, DONE], headers=EVENT_STREAM))
    await world.chat()
    assert world.kept == []
    assert "retain" not in world.writer.bodies("decision")[0]


async def test_nothing_is_kept_of_what_did_not_leave():
    world = keeping_world()
    world.keys.live = False
    with pytest.raises(Exception, match="revoked"):
        await world.chat()
    assert world.kept == []


def test_what_is_too_large_is_not_kept_at_all():
    kept = Kept()
    whole = Keeping(kept, CONTENT)
    whole.add(bytes(CONTENT_BYTES_MAX - 1))
    whole.done(written=True)
    whole.done(written=True)
    assert len(kept) == 1
    too_large = Keeping(kept, CONTENT)
    too_large.add(bytes(CONTENT_BYTES_MAX))
    too_large.add(b"x")
    too_large.done(written=True)
    assert (len(kept), kept.lost, kept.taken) == (1, ["too_large"], 0)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_what_finds_no_room_is_not_kept_at_all(room):
    kept = Kept()
    kept.room = room
    keeping = Keeping(kept, CONTENT)
    keeping.add(b"y")
    keeping.add(b"z")
    keeping.done(written=True)
    assert (kept, kept.lost, kept.taken) == ([], ["behind"], 0)


def test_what_was_not_sent_gives_its_room_back():
    kept = Kept()
    keeping = Keeping(kept, CONTENT)
    keeping.done(written=False)
    assert (kept, kept.lost, kept.taken) == ([], [], 0)
