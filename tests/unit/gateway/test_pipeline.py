"""The request path among fakes of its ports: orders, retries, ends."""

import asyncio
import contextlib
import dataclasses
import threading

import msgspec
import orjson
import pytest

from gateway_fakes import FakeResponder, Script, World, asking
from sekisho.gateway.aside import WAITING_MAX, Aside
from sekisho.gateway.attempt import Recorder
from sekisho.gateway.dialects.operations import CHAT, COMPLETIONS, EMBEDDINGS, OPERATIONS
from sekisho.gateway.dialects.surfaces import AZURE, OPENAI, Call
from sekisho.gateway.errors import (
    BadRequest,
    Busy,
    CantSignIn,
    GatewayError,
    NotFound,
    NotPermitted,
    NotServed,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
)
from sekisho.gateway.http1.errors import UpstreamClosed, UpstreamTimeout, UpstreamUnreachable
from sekisho.gateway.http1.interfaces import InboundRequest, Peer
from sekisho.gateway.interfaces import Upstream
from sekisho.gateway.pipeline import LARGE_BODY_BYTES
from sekisho.kernel.errors import SekishoError
from sekisho.ledger.interfaces import CommitmentKeyForgotten

ANSWER = orjson.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
CHAT_CALL = Call(CHAT, OPENAI)
KEY = {b"authorization": b"Bearer sk-good"}
EVENTS = {b"content-type": b"text/event-stream"}
CALLS = [Call(operation, surface) for operation in OPERATIONS for surface in (OPENAI, AZURE)]
every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.operation.name}-{call.surface.name}")
EVENT_STREAM = {b"content-type": b"text/event-stream"}


def event(text: str) -> bytes:
    return b"data: " + orjson.dumps({"choices": [{"delta": {"content": text}}]}) + b"\n\n"


DONE = b"data: [DONE]\n\n"


def stream(*chunks: bytes | Exception) -> Script:
    return Script(chunks=chunks, headers=EVENT_STREAM)


@pytest.mark.parametrize(("field", "sent"), [("received", 0), ("answer", 1)])
async def test_a_key_that_is_destroyed_meanwhile_is_named_to_the_caller_and_in_the_outcome(field, sent) -> None:
    """It is no fault of ours, whether something was sent by then or not."""
    world = World()
    world.script("a", Script(body=ANSWER))
    world.commitments.forgotten.add(field)
    with pytest.raises(CommitmentKeyForgotten):
        await world.chat()
    assert len(world.client.exchanges) == sent
    assert [outcome["error"] for outcome in world.writer.bodies("outcome")] == ["organisation_key_forgotten"] * sent
    assert world.writer.reserved == 0


@every_call
async def test_the_decision_is_durable_before_a_byte_leaves_and_the_outcome_written_before_the_answer(call) -> None:
    world = World()
    world.script("a", Script(body=ANSWER))
    assert await world.ask(call) == 200
    assert world.client.exchanges[0].target == f"/v1{call.operation.path}"
    assert world.writer.bodies("decision")[0]["operation"] == call.operation.name
    assert [step for step in world.trace if not step.startswith("caller")] == [
        "decision", "durable", "send a", "outcome", "written", "end",
    ]  # fmt: skip
    assert world.trace.index("written") < world.trace.index('caller {"choices":[')
    outcome = world.writer.bodies("outcome")[0]
    assert outcome["usage"] == {"prompt": 3, "completion": 4, "source": "upstream"}
    assert outcome["ended"] == "complete"
    assert outcome["peer"]["address"] == "192.0.2.1"
    assert world.writer.reserved == 0


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("01a21113-e2b0-72ac-a15a-ba5ff5ee0d73", True),
        ("01A21113-E2B0-72AC-A15A-BA5FF5EE0D73", False),
        ("order 17 of Taro", False),
        ("3f2504e0-4f89-41d3-9a0c-0305e82c3301", False),
    ],
)
async def test_a_callers_own_id_is_kept_in_the_decision_only_where_it_can_hold_no_text(given, kept) -> None:
    world = World()
    world.script("a", Script(body=ANSWER))
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
    await world.send(CHAT_CALL, body, headers={b"x-request-id": given.encode()})
    decision = world.writer.bodies("decision")[0]
    assert decision.get("caller_request") == (given if kept else None)
    assert orjson.dumps(decision, option=orjson.OPT_SORT_KEYS) == orjson.dumps(decision)  # canonical as written


@pytest.mark.parametrize("stores", [False, True])
@pytest.mark.parametrize("fields", [{}, {"store": True}, {"store": False}])
async def test_what_leaves_asks_no_provider_to_keep_it_and_is_what_was_committed_to(stores, fields) -> None:
    world = World()
    snapshot = world.in_force.snapshot
    deployments = {"a": msgspec.structs.replace(snapshot.deployments["a"], stores_by_default=stores)}
    world.in_force = world.in_force._replace(snapshot=dataclasses.replace(snapshot, deployments=deployments))
    world.script("a", Script(body=ANSWER))
    assert await world.ask(CHAT_CALL, **fields) == 200
    sent = world.client.exchanges[0].sent
    assert orjson.loads(sent).get("store", "absent") == (False if stores or fields else "absent")
    assert world.writer.bodies("decision")[0]["sent"]["bytes"] == len(sent)


async def test_g1_while_the_decision_is_not_durable_the_upstream_is_not_even_connected() -> None:
    world = World()
    world.writer.durable = False
    world.script("a", Script(body=ANSWER))
    task = asyncio.create_task(world.chat())
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.writer.bodies("decision")
    assert world.client.exchanges == []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.client.exchanges == []
    assert world.writer.bodies("outcome")[0]["ended"] == "caller_left"
    assert world.writer.bodies("outcome")[0]["written"] is False


@every_call
async def test_a_denial_is_recorded_durably_before_it_is_said(call) -> None:
    world = World(raw=())
    with pytest.raises(NotPermitted, match=r"Because\."):
        await world.ask(call)
    assert world.trace == ["decision", "durable"]
    assert world.writer.bodies("decision")[0]["chosen"] is None
    assert world.writer.bodies("decision")[0]["operation"] == call.operation.name
    assert world.metrics.denied == 1


@pytest.mark.parametrize("raw", [("a",), ()])
async def test_when_the_ledger_is_full_nothing_is_sent_and_nothing_denied_without_record(raw: tuple[str, ...]) -> None:
    world = World(raw=raw)
    world.writer.full = True
    with pytest.raises(Unavailable) as caught:
        await world.chat()
    assert caught.value.retry_after_s == 1
    assert world.client.exchanges == []
    assert world.trace == []


@every_call
async def test_the_redacted_body_leaves_where_only_that_is_permitted(call) -> None:
    world = World(raw=(), redacted=("b",))
    world.script("b", Script(body=ANSWER))
    await world.ask(call, "my SECRET")
    sent = world.client.exchanges[0].sent
    assert b"SECRET" not in sent
    assert b"[secret]" in sent
    assert orjson.loads(sent)["model"] == "b-m"
    assert world.writer.bodies("decision")[0]["chosen"] == {"action": "sendRedacted", "deployment": "b"}
    assert world.responder.headers[b"x-sekisho-labels"] == b"secret"


async def test_a_failure_before_the_first_byte_is_tried_elsewhere_with_a_decision_of_its_own() -> None:
    world = World(raw=("a", "b"))
    world.script("a", Script(error=UpstreamUnreachable("refused", phase="connect")))
    world.script("b", Script(error=UpstreamUnreachable("refused", phase="connect")))
    with pytest.raises(UpstreamFailed):
        await world.chat()
    decisions, outcomes = world.writer.bodies("decision"), world.writer.bodies("outcome")
    assert [d["attempt"] for d in decisions] == [1, 2]
    assert {d["chosen"]["deployment"] for d in decisions} == {"a", "b"}
    assert [o["ended"] for o in outcomes] == ["upstream_failed"] * 2
    assert [o["decision"] for o in outcomes] == [e.id for e in world.writer.entries if e.kind == "decision"]
    assert world.writer.reserved == 0


@pytest.mark.parametrize("ended", [False, True])
async def test_nothing_is_sent_once_more_under_an_epoch_that_has_ended_meanwhile(ended) -> None:
    """What permitted it may be what has ended: an exemption, a fact. A caller that asks again is decided anew."""
    world = World(raw=("a", "b"))
    clock = SteppedClock()
    world.use(Recorder(world.writer, clock, world.ids, world.metrics))
    snapshot = dataclasses.replace(world.in_force.snapshot, epoch_until=clock.time_us + 1_000)
    world.in_force = world.in_force._replace(snapshot=snapshot)

    class Failing(Script):
        @property
        def error(self):
            clock.time_us += 1_000 if ended else 0
            return UpstreamTimeout("no answer", phase="head")

        @error.setter
        def error(self, value):
            pass

    world.script("a", Failing())
    world.script("b", Failing())
    with pytest.raises(UpstreamFailed) as caught:
        await world.chat()
    assert caught.value.has_receipt
    assert [decision["attempt"] for decision in world.writer.bodies("decision")] == ([1] if ended else [1, 2])
    assert len(world.writer.bodies("outcome")) == len(world.client.exchanges) == (1 if ended else 2)
    assert world.writer.reserved == 0


class SteppedClock:
    def __init__(self) -> None:
        self.time_us = 1_700_000_000_000_000

    def now_us(self) -> int:
        return self.time_us


async def test_a_stale_pooled_connection_is_a_failed_attempt_and_the_deployment_stays_in_the_choice() -> None:
    world = World()
    world.script("a", Script(error=UpstreamClosed("closed", phase="head"), reused=True), Script(body=ANSWER))
    assert await world.chat() == 200
    assert [d["chosen"]["deployment"] for d in world.writer.bodies("decision")] == ["a", "a"]
    assert [o["ended"] for o in world.writer.bodies("outcome")] == ["upstream_failed", "complete"]


@pytest.mark.parametrize(("status", "told"), [(200, 0), (401, 1), (403, 0), (500, 0)])
async def test_a_401_and_nothing_else_tells_the_credential_that_it_was_refused(status: int, told: int) -> None:
    world = World()
    refusals: list[None] = []
    upstream = world.in_force.upstreams["a"]
    assert isinstance(upstream, Upstream)
    world.in_force.upstreams["a"] = upstream._replace(refused=lambda: refusals.append(None))
    world.script("a", Script(status=status, body=ANSWER))
    with contextlib.suppress(UpstreamFailed):
        await world.chat()
    assert len(refusals) == told


async def test_without_a_valid_token_nothing_is_sent_and_the_reason_stays_here() -> None:
    world = World()
    world.in_force.upstreams["a"] = CantSignIn("there is no valid token", detail="inner details")
    with pytest.raises(UpstreamFailed, match="no valid token") as caught:
        await world.chat()
    assert caught.value.code == "deployment_without_token"
    assert b"inner details" not in caught.value.body()
    (outcome,) = world.writer.bodies("outcome")
    assert (outcome["ended"], outcome["error"]) == ("not_sent", "deployment_without_token")
    assert world.client.exchanges == []


@pytest.mark.parametrize("status", [301, 401, 403, 500, 503])
async def test_what_the_caller_cannot_mend_is_502_and_the_upstreams_words_stay_here(status: int) -> None:
    world = World()
    world.script("a", Script(status=status, body=b"<html>secret words</html>"))
    with pytest.raises(UpstreamFailed) as caught:
        await world.chat()
    assert caught.value.status == 502
    assert b"secret words" not in caught.value.body()
    assert world.client.exchanges[0].aborted
    assert world.writer.bodies("outcome")[0]["ended"] == "upstream_refused"


async def test_an_upstreams_429_goes_to_the_caller_with_its_retry_after_when_there_is_no_other() -> None:
    world = World()
    world.script("a", Script(429, b'{"error":{"message":"slow"}}', headers={b"retry-after": b"7"}))
    assert await world.chat() == 429
    assert world.responder.headers[b"retry-after"] == b"7"
    error = orjson.loads(world.responder.body)["error"]
    assert error == {"message": "slow", "type": None, "param": None, "code": None}


LIMITS = {
    b"retry-after-ms": b"7000", b"x-should-retry": b"true", b"openai-processing-ms": b"12",
    b"x-ratelimit-remaining-tokens": b"0", b"x-ratelimit-reset-requests": b"6m0s",
}  # fmt: skip


@pytest.mark.parametrize("status", [200, 400, 429])
async def test_an_upstreams_limits_and_timings_reach_the_caller_and_its_other_headers_stay(status: int) -> None:
    world = World()
    private = {b"set-cookie": b"x", b"x-request-id": b"theirs", b"server": b"nginx", b"openai-organization": b"o"}
    body = ANSWER if status == 200 else b'{"error":{"message":"slow"}}'
    world.script("a", Script(status, body, headers=LIMITS | private))
    assert await world.chat() == status
    headers = world.responder.headers
    assert {name: headers[name] for name in LIMITS} == LIMITS
    assert headers[b"x-request-id"] == headers[b"x-sekisho-receipt"]
    assert not {b"set-cookie", b"server", b"openai-organization"} & set(headers)


async def test_a_streams_limits_reach_the_caller() -> None:
    world = World()
    world.script("a", Script(chunks=(event("a"), DONE), headers=EVENT_STREAM | LIMITS))
    assert await world.chat(stream=True) == 200
    assert {name: world.responder.headers[name] for name in LIMITS} == LIMITS


async def test_when_every_deployment_is_at_its_limit_the_last_429_is_the_answer() -> None:
    world = World(raw=("a",), redacted=("b",))
    world.script("a", Script(429, b"{}"))
    world.script("b", Script(429, b"{}", headers={b"retry-after": b"7"}))
    assert await world.chat("SECRET") == 429
    assert world.responder.headers[b"retry-after"] == b"7"


@every_call
@pytest.mark.parametrize("status", [400, 409, 413, 422, 429])
async def test_an_error_that_concerns_the_caller_passes_and_html_never_does(call: Call, status: int) -> None:
    world = World()
    world.script(
        "a", Script(status, b'{"error":{"message":"no","param":"None"}}'), Script(status, b"<html>None</html>")
    )
    assert await world.ask(call) == status
    error = orjson.loads(world.responder.body)["error"]
    assert error == {"message": "no", "type": None, "param": None, "code": None}
    world.responder = type(world.responder)(world.trace)
    assert await world.ask(call) == status
    assert b"html" not in world.responder.body
    assert b"None" not in world.responder.body
    assert orjson.loads(world.responder.body)["error"]["message"]
    assert [o["ended"] for o in world.writer.bodies("outcome")] == ["complete", "complete"]


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_operation_that_a_deployment_lacks_is_tried_elsewhere_and_said(status: int) -> None:
    call = Call(EMBEDDINGS, OPENAI)
    world = World(raw=("a", "b"))
    world.script("a", Script(status, b"<html>"), Script(body=ANSWER))
    world.script("b", Script(status, b'{"detail":"Not Found"}'))
    with pytest.raises(NotServed, match=f"does not serve embeddings.*{status}") as caught:
        await world.ask(call)
    assert caught.value.status == 404
    assert b"html" not in caught.value.body()
    assert [o["ended"] for o in world.writer.bodies("outcome")] == ["upstream_refused"] * 2
    # It is not thought ill of for it: what it serves, it is asked at once.
    assert [world.pipeline._router._load(name).failures for name in ("a", "b")] == [0, 0]


async def test_what_a_deployment_says_of_an_operation_is_not_logged(caplog) -> None:
    world = World()
    world.script("a", Script(404, b'{"error":{"message":"my private words"}}'))
    with pytest.raises(NotServed, match="my private words"):
        await world.ask(Call(COMPLETIONS, OPENAI))
    assert "my private words" not in caplog.text


async def test_an_upstreams_429_is_tried_elsewhere_first() -> None:
    world = World(raw=("a",), redacted=("b",))
    world.script("a", Script(429, b"{}"))
    world.script("b", Script(body=ANSWER))
    assert await world.chat("SECRET") == 200


async def test_what_broke_is_told_without_our_addresses() -> None:
    world = World()
    world.script("a", Script(error=UpstreamUnreachable("10.1.2.3:443 refused", phase="connect")))
    with pytest.raises(UpstreamFailed) as caught:
        await world.chat()
    assert b"10.1.2.3" not in caught.value.body()


async def test_a_deployment_that_is_not_set_up_is_a_recorded_attempt_that_sent_nothing() -> None:
    world = World()
    world.in_force.upstreams["a"] = SekishoError("the credential file /secret is missing")
    with pytest.raises(UpstreamFailed) as caught:
        await world.chat()
    assert b"/secret" not in caught.value.body()
    assert world.client.exchanges == []
    assert world.writer.bodies("outcome")[0]["ended"] == "not_sent"


async def test_good_events_before_garbage_in_one_chunk_reach_the_caller() -> None:
    world = World()
    world.script("a", stream(event("a") + b"data: garbage\n\n"))
    await world.chat(stream=True)
    assert world.responder.body.startswith(event("a"))
    assert b"[DONE]" not in world.responder.body


async def test_a_large_body_is_read_beside_the_loop_by_an_inspector_of_its_own() -> None:
    world = World(raw=(), redacted=("b",))
    world.script("b", Script(body=ANSWER))
    await world.chat("SECRET" + "x" * LARGE_BODY_BYTES)
    snapshot = world.in_force.snapshot
    assert snapshot.inspector.threads == set()  # type: ignore[attr-defined]
    assert len(snapshot.inspector_aside.threads) == 1  # type: ignore[attr-defined]
    assert threading.get_ident() not in snapshot.inspector_aside.threads  # type: ignore[attr-defined]
    assert b"SECRET" not in world.client.exchanges[0].sent
    world.pipeline.close()


async def test_what_is_wrong_with_a_large_body_is_said_as_of_a_small_one() -> None:
    world = World()
    body = b'{"model":"m","messages":"' + b"x" * LARGE_BODY_BYTES + b'"}'
    with pytest.raises(BadRequest):
        await world.send(CHAT_CALL, body)
    world.pipeline.close()


async def test_only_so_many_large_bodies_wait() -> None:
    aside, gate = Aside(), threading.Event()
    waiting = [asyncio.create_task(aside.admit(gate.wait)) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await aside.admit(gate.wait)
    gate.set()
    assert all(await asyncio.gather(*waiting))
    assert await aside.admit(lambda: 7) == 7
    aside.close()


async def test_however_many_large_answers_wait_none_is_thrown_away() -> None:
    count = WAITING_MAX + 8
    world = World(in_flight_max=count)
    world.script("a", *[Script(body=b'{"x":"' + b"y" * LARGE_BODY_BYTES + b'"}')] * count)
    gate = threading.Event()
    holding = asyncio.create_task(world.pipeline._aside.run(gate.wait))
    statuses = []

    async def one() -> None:
        request = InboundRequest(
            "POST", "/", "", dict(KEY), orjson.dumps(asking(CHAT, "hi")), Peer("127.0.0.1", 1, None)
        )
        statuses.append(await world.pipeline.serve(CHAT_CALL, world.ids.new(1), request, FakeResponder([])))

    asked = [asyncio.create_task(one()) for _ in range(count)]
    while len(world.client.exchanges) < count:
        await asyncio.sleep(0)
    for _ in range(5):
        await asyncio.sleep(0)
    assert statuses == []
    gate.set()
    await asyncio.gather(*asked, holding)
    assert statuses == [200] * count
    assert {outcome["ended"] for outcome in world.writer.bodies("outcome")} == {"complete"}


# -- what the caller is told of when something was recorded, and what is recorded of what it is told


async def test_whatever_ends_a_request_that_has_a_decision_names_its_receipt() -> None:
    revoked, faulty, full = World(), World(), World(raw=("a", "b"))
    revoked.keys.live = False
    faulty.script("a", Script(error=RuntimeError("a bug")))
    for name in "ab":
        full.script(name, Script(error=UpstreamUnreachable("refused", phase="connect")))
    reserve = full.writer.reserve

    def full_then(bytes_max):
        full.writer.full = len(full.writer.entries) > 0
        return reserve(bytes_max)

    full.writer.reserve = full_then
    for world, code in ((revoked, "key_revoked"), (faulty, "internal"), (full, "ledger_full")):
        with pytest.raises(GatewayError) as caught:
            await world.chat()
        assert (caught.value.code, caught.value.has_receipt) == (code, True)
        assert len(world.writer.bodies("outcome")) == 1
        assert world.writer.reserved == 0


@pytest.mark.parametrize("stream", [False, True])
async def test_rules_that_end_between_deciding_and_answering_are_no_revocation(stream) -> None:
    """Callers with tokens hang on the catalogue in force, which may be none just now."""
    world = World()
    world.script("a", Script(headers=EVENTS if stream else {}, chunks=[b""]))

    def over(*_):
        raise Unavailable("a fact has ended", code="epoch_over")

    if stream:
        world.keys.watch = over
    else:
        world.keys.is_live = over
    with pytest.raises(Unavailable) as caught:
        await world.chat(stream=stream)
    assert caught.value.code == "epoch_over"
    outcome = world.writer.bodies("outcome")[0]
    assert (outcome["ended"], outcome["error"]) == ("upstream_failed" if stream else "not_sent", "epoch_over")


@pytest.mark.parametrize("well", ["a", "b"])
async def test_a_fault_that_may_pass_is_told_rather_than_that_another_lacks_the_operation(well) -> None:
    world = World(raw=("a", "b"))
    world.script(well, Script(status=404, body=b'{"error":{"message":"no such path"}}'))
    world.script("ab".replace(well, ""), Script(error=UpstreamUnreachable("refused", phase="connect")))
    with pytest.raises(UpstreamFailed) as caught:
        await world.chat()
    assert len(world.client.exchanges) == 2
    assert (caught.value.status, caught.value.code) == (502, "upstream_connect")


async def test_a_timeout_is_504() -> None:
    world = World()
    world.script("a", Script(error=UpstreamTimeout("silence", phase="head")))
    with pytest.raises(UpstreamFailed) as caught:
        await world.chat()
    assert caught.value.status == 504


async def test_garbage_for_an_answer_is_502() -> None:
    world = World()
    world.script("a", Script(body=b"<html>"))
    with pytest.raises(UpstreamFailed):
        await world.chat()
    assert world.writer.bodies("outcome")[0]["error"] == "upstream_invalid"


async def test_a_caller_that_leaves_before_the_head_aborts_the_upstream() -> None:
    world = World()
    world.script("a", Script(hang=True))
    task = asyncio.create_task(world.chat())
    while not world.client.exchanges or not world.client.exchanges[0].written:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.client.exchanges[0].aborted
    outcome = world.writer.bodies("outcome")[0]
    assert (outcome["ended"], outcome["written"]) == ("caller_left", True)
    assert outcome["usage"]["source"] == "estimated"


async def test_a_stream_is_relayed_and_its_end_comes_after_the_outcome() -> None:
    world = World()
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6}}\n\n'
    parts = b": ping\n\n" + event("a") + event("b") + usage + DONE
    world.script("a", stream(parts[:30], parts[30:31], parts[31:]))
    assert await world.chat(stream=True) == 200
    assert world.responder.body == parts
    last = max(i for i, step in enumerate(world.trace) if step.startswith("caller"))
    assert world.trace.index("outcome") < last
    assert world.writer.bodies("outcome")[0]["usage"] == {"prompt": 5, "completion": 6, "source": "upstream"}
    assert world.writer.bodies("outcome")[0]["answer"]["bytes"] == len(parts)
    assert world.keys.watchers == []


async def test_a_stream_without_usage_is_counted_by_us() -> None:
    world = World()
    world.script("a", stream(event("abcdefgh"), DONE))
    await world.chat(stream=True)
    assert world.writer.bodies("outcome")[0]["usage"]["completion"] == 2
    assert world.writer.bodies("outcome")[0]["usage"]["source"] == "estimated"


async def test_a_stream_of_completions_is_counted_by_its_texts() -> None:
    world = World()
    world.script("a", stream(b'data: {"choices":[{"text":"abcdefgh"}],"usage":null}\n\n', DONE))
    await world.ask(Call(COMPLETIONS, OPENAI), stream=True)
    assert world.writer.bodies("outcome")[0]["usage"]["completion"] == 2


async def test_what_azure_and_others_send_before_and_after_the_text_passes_as_it_is() -> None:
    world = World()
    filtered = b'data: {"choices":[],"id":"","model":"","prompt_filter_results":[{"prompt_index":0}]}\n\n'
    text = b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}\n\n'
    tool = b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}\n\n'
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":6}}\n\n'
    world.script("a", stream(filtered, text, tool, usage, DONE))
    await world.chat(
        stream=True,
    )
    assert world.responder.body == filtered + text + tool + usage + DONE
    assert world.writer.bodies("outcome")[0]["usage"] == {"prompt": 5, "completion": 6, "source": "upstream"}


async def test_embeddings_use_no_completion_tokens_reported_or_not() -> None:
    world = World()
    reported = orjson.dumps({"data": [{"embedding": "AAAA"}], "usage": {"prompt_tokens": 2, "total_tokens": 2}})
    world.script("a", Script(body=reported), Script(body=b'{"data":[{"embedding":[0.1]}]}'))
    await world.ask(Call(EMBEDDINGS, OPENAI))
    assert world.responder.body == reported
    world.responder = type(world.responder)(world.trace)
    await world.ask(Call(EMBEDDINGS, OPENAI))
    first, second = (outcome["usage"] for outcome in world.writer.bodies("outcome"))
    assert first == {"prompt": 2, "completion": 0, "source": "upstream"}
    assert (second["completion"], second["source"]) == (0, "estimated")
    assert [d["completion_tokens_max"] for d in world.writer.bodies("decision")] == [0, 0]


async def test_a_large_answer_is_read_beside_the_loop_and_goes_on_as_it_is() -> None:
    world = World()
    answer = orjson.dumps({"data": "x" * LARGE_BODY_BYTES, "usage": {"prompt_tokens": 2}})
    world.script("a", Script(body=answer))
    await world.ask(Call(EMBEDDINGS, OPENAI))
    assert world.responder.body == answer
    assert world.writer.bodies("outcome")[0]["usage"]["prompt"] == 2
    world.pipeline.close()


@every_call
async def test_a_break_in_mid_stream_is_said_in_the_callers_dialect(call: Call) -> None:
    world = World()
    world.script("a", stream(event("a"), UpstreamClosed("cut", phase="body")))
    await world.ask(call, stream=True)
    error = orjson.loads(world.responder.body.removeprefix(event("a")).removeprefix(b"data: "))["error"]
    assert error["code"] == {"openai": "upstream_body", "azure": "BadGateway"}[call.surface.name]
    assert b"[DONE]" not in world.responder.body


@pytest.mark.parametrize(
    "broken",
    [
        stream(event("a"), UpstreamClosed("cut", phase="body")),
        stream(event("a")),
        stream(event("a"), b"data: {half"),
        stream(event("a"), b"data: not json\n\n", DONE),
        stream(event("a"), b"data: []\n\n", DONE),
    ],
)
async def test_a_stream_that_breaks_ends_in_an_error_event_without_done(broken: Script) -> None:
    world = World()
    world.script("a", broken)
    await world.chat(stream=True)
    events = world.responder.body.split(b"\n\n")
    assert events[0] + b"\n\n" == event("a")
    assert orjson.loads(events[1].removeprefix(b"data: "))["error"]["message"]
    assert b"[DONE]" not in world.responder.body
    assert events[2:] == [b""]
    assert world.writer.bodies("outcome")[0]["ended"] == "upstream_failed"
    assert world.responder.ended


async def test_an_error_event_of_the_upstream_never_ends_in_done() -> None:
    world = World()
    world.script("a", stream(event("a"), b'data: {"error":{"message":"boom"}}\n\n' + DONE))
    await world.chat(stream=True)
    assert b"boom" in world.responder.body
    assert b"[DONE]" not in world.responder.body


async def test_a_stream_that_breaks_before_its_first_event_is_tried_elsewhere() -> None:
    world = World(raw=("a",), redacted=("b",))
    world.script("a", stream(b"data: ha", UpstreamClosed("cut", phase="body")))
    world.script("b", stream(event("b"), DONE))
    assert await world.chat("SECRET", stream=True) == 200
    assert world.responder.body == event("b") + DONE
    assert [o["ended"] for o in world.writer.bodies("outcome")] == ["upstream_failed", "complete"]


async def test_a_caller_that_leaves_in_mid_stream_aborts_the_upstream_and_is_counted() -> None:
    world = World()
    world.script("a", stream(event("abcd"), b""))
    task = asyncio.create_task(world.chat(stream=True))
    while not world.responder.body:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert world.client.exchanges[0].aborted
    outcome = world.writer.bodies("outcome")[0]
    assert outcome["ended"] == "caller_left"
    assert outcome["usage"]["completion"] == 1
    assert outcome["answer"]["bytes"] == len(event("abcd"))


async def test_revoking_the_key_ends_its_stream_with_an_error_event() -> None:
    world = World()
    world.script("a", stream(event("abcd"), b""))
    task = asyncio.create_task(world.chat(stream=True))
    while not world.responder.body:
        await asyncio.sleep(0)
    world.keys.watchers[0]("key-k1")
    await task
    assert b"revoked" in world.responder.body
    assert b"[DONE]" not in world.responder.body
    assert world.client.exchanges[0].aborted
    assert world.writer.bodies("outcome")[0]["ended"] == "revoked"


async def test_a_key_revoked_before_its_stream_began_is_refused_not_streamed_to() -> None:
    world = World()
    world.script("a", stream(b""))
    task = asyncio.create_task(world.chat(stream=True))
    while not world.keys.watchers:
        await asyncio.sleep(0)
    world.keys.watchers[0]("key-k1")
    with pytest.raises(Unauthenticated):
        await task
    assert not world.responder.started
    assert world.client.exchanges[0].aborted
    assert world.writer.bodies("outcome")[0]["ended"] == "revoked"
    assert world.keys.watchers == []


async def test_a_key_revoked_while_its_decision_is_being_written_sends_nothing() -> None:
    world = World()
    world.script("a", Script(body=ANSWER))
    world.keys.live = False
    with pytest.raises(Unauthenticated):
        await world.chat()
    assert world.client.exchanges == []
    assert world.writer.bodies("outcome")[0]["ended"] == "revoked"


async def test_a_slow_caller_pauses_its_own_upstream_until_it_reads_again() -> None:
    world = World()
    world.responder.slow = True
    world.script("a", stream(event("a"), b""))
    task = asyncio.create_task(world.chat(stream=True))
    while not world.responder.body:
        await asyncio.sleep(0)
    assert world.client.exchanges[0].paused
    world.responder.writable()
    assert not world.client.exchanges[0].paused
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_answers_before_a_decision_leave_no_entry() -> None:
    world = World(in_flight_max=0)
    with pytest.raises(Unauthenticated):
        await world.chat(key=b"Bearer sk-bad")
    with pytest.raises(Busy):
        await world.chat()
    world.in_force.snapshot.deployments_by_model.clear()  # type: ignore[attr-defined]
    with pytest.raises(NotFound):
        await world.chat()
    assert world.writer.entries == []


async def test_the_decisions_input_holds_what_was_declared_and_found() -> None:
    world = World()
    world.script("a", Script(body=ANSWER))
    await world.chat("SECRET")
    decision_input = world.in_force.snapshot.decider.inputs[0]  # type: ignore[attr-defined]
    assert decision_input.labels_raw == ("secret",)
    assert decision_input.labels_redacted == ()
    assert decision_input.residency == ("JP",)
    assert decision_input.data_class == "public"
    assert decision_input.snapshot == "2" * 64
