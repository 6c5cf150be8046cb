"""The request path while its operator acts: emergency stops at every step, and organisations that only watch."""

import dataclasses

import orjson
import pytest

from gateway_fakes import FakeDecider, Script, World
from sekisho.catalog.interfaces import MODE_MONITOR, Organisation
from sekisho.gateway.declared import Declarations
from sekisho.gateway.entries import DecisionEncoder
from sekisho.gateway.errors import Busy, NotPermitted, OrganisationStopped, Stopped
from sekisho.identity.interfaces import KeyChanges, Stop
from sekisho.policy.interfaces import SEND_RAW, Decision, PolicyTitle, Verdict

ANSWER = orjson.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})


def stop(world, kind, name):
    world.halts.apply(KeyChanges(0, (), (Stop(kind, name, "", 1, None, 1),)))


# -- stops


async def test_for_a_stopped_organisation_nothing_is_decided_or_sent() -> None:
    world = World()
    stop(world, "organisation", "default")
    with pytest.raises(OrganisationStopped) as raised:
        await world.chat()
    assert not raised.value.has_receipt
    assert (world.client.exchanges, world.writer.entries) == ([], [])


@pytest.mark.parametrize(("kind", "name"), [("deployment", "a"), ("provider", "p")])
async def test_what_is_stopped_is_not_chosen(kind, name) -> None:
    world = World(raw=("a", "b"))
    world.script("b", Script(body=ANSWER))
    stop(world, kind, name)
    if kind == "deployment":
        assert await world.chat() == 200
        assert [one["chosen"]["deployment"] for one in world.writer.bodies("decision")] == ["b"]
        return
    with pytest.raises(Stopped):  # both are of that provider
        await world.chat()
    assert (world.client.exchanges, world.writer.entries) == ([], [])


async def test_a_denial_stays_a_denial_whatever_is_stopped() -> None:
    world = World(raw=())
    stop(world, "provider", "p")
    with pytest.raises(NotPermitted):
        await world.chat()


@pytest.mark.parametrize(
    ("kind", "name", "error"), [("deployment", "a", Stopped), ("organisation", "default", OrganisationStopped)]
)
async def test_a_stop_that_comes_while_the_decision_is_made_durable_is_in_time(kind, name, error) -> None:
    world = World()
    world.script("a", Script(body=ANSWER))
    append = world.writer.append

    def stopped_meanwhile(draft, reservation=None):
        durable = append(draft, reservation)
        stop(world, kind, name)
        return durable

    world.writer.append = stopped_meanwhile
    with pytest.raises(error) as raised:
        await world.chat()
    assert raised.value.has_receipt
    assert world.client.exchanges == []
    outcome = world.writer.bodies("outcome")[0]
    assert (outcome["ended"], outcome["written"]) == ("stopped", False)
    assert world.writer.reserved == 0


async def test_what_is_stopped_before_it_answered_goes_elsewhere_if_it_may() -> None:
    world = World(raw=("a", "b"))
    for name in "ab":
        world.script(name, Script(body=ANSWER))
    append, first = world.writer.append, []

    def stopped_meanwhile(draft, reservation=None):
        if not first:
            first.append(orjson.loads(draft.body)["chosen"]["deployment"])
            stop(world, "deployment", first[0])
        return append(draft, reservation)

    world.writer.append = stopped_meanwhile
    assert await world.chat() == 200
    chosen = [one["chosen"]["deployment"] for one in world.writer.bodies("decision")]
    assert sorted(chosen) == ["a", "b"]
    assert [exchange.endpoint.host for exchange in world.client.exchanges] == [chosen[1]]
    assert [one["ended"] for one in world.writer.bodies("outcome")] == ["stopped", "complete"]


async def test_one_that_is_stopped_between_its_head_and_its_stream_leaves_no_watch_behind() -> None:
    world = World()
    world.script("a", Script(headers={b"content-type": b"text/event-stream"}, chunks=[b""]))
    exchange = world.client.exchange

    def stopping(endpoint):
        made = exchange(endpoint)
        send = made.send

        async def then_stop(*arguments):
            head = await send(*arguments)
            stop(world, "deployment", "a")
            return head

        made.send = then_stop
        return made

    world.client.exchange = stopping
    with pytest.raises(Stopped):
        await world.chat(stream=True)
    assert world.keys.watchers == []
    assert [one["ended"] for one in world.writer.bodies("outcome")] == ["stopped"]


# -- monitor mode


class Denier(FakeDecider):
    """Denies `a` by one policy, which may be one that is always enforced."""

    def __init__(self, *, always=False, errors=()) -> None:
        super().__init__((), ())
        self.policies = (PolicyTitle("test.rule", "Rule", "規則", "forbid", "test.cedar", always),)
        self.errors = errors

    def decide(self, decision_input):
        verdicts = (Verdict("a", SEND_RAW, False, (0,), self.errors),)
        return Decision(decision_input, verdicts, (), (), b"{}", b"[]")


def watching(decider, mode=MODE_MONITOR):
    world = World()
    organisation = Organisation("default", "D", mode=mode, monitor_until=None)
    snapshot = dataclasses.replace(world.in_force.snapshot, decider=decider, organisations={"default": organisation})
    world.in_force = world.in_force._replace(snapshot=snapshot, declarations=Declarations(snapshot))
    world.script("a", Script(body=ANSWER))
    return world


async def test_what_policy_denies_is_sent_and_stamped_everywhere() -> None:
    world = watching(Denier())
    assert await world.chat() == 200
    decision = world.writer.bodies("decision")[0]
    assert (decision["monitored"], decision["chosen"]["deployment"]) == (True, "a")
    assert world.responder.headers[b"x-sekisho-monitored"] == b"would-deny"
    assert (world.metrics.monitored, world.metrics.denied) == (1, 0)


class Exempting(FakeDecider):
    """Permits `a` by an exemption, and `b` without."""

    exemptions = {"trial": "cd" * 32}  # noqa: RUF012 - the port asks for a mapping

    def decide(self, decision_input):
        verdicts = (
            Verdict("a", SEND_RAW, True, (0,), (), (0,), ("trial",)),
            Verdict("b", SEND_RAW, True, (0,), ()),
        )
        permitted = tuple(one.deployment for one in verdicts if one.deployment in self.raw)
        return Decision(decision_input, verdicts, permitted, (), b"{}", b"[]")


@pytest.mark.parametrize("mode", [MODE_MONITOR, "enforce"])
@pytest.mark.parametrize(("deployment", "header"), [("a", b"trial"), ("b", None)])
async def test_what_an_exemption_permits_says_so_and_is_not_monitored(mode, deployment, header) -> None:
    decider = Exempting((deployment,), ())
    world = watching(decider, mode)
    world.in_force = world.in_force._replace(encoder=DecisionEncoder(decider))
    world.script(deployment, Script(body=ANSWER))
    assert await world.chat() == 200
    assert world.responder.headers.get(b"x-sekisho-exemption") == header
    assert b"x-sekisho-monitored" not in world.responder.headers
    decision = world.writer.bodies("decision")[0]
    assert decision["exemptions"] == {"trial": "cd" * 32}
    assert decision["monitored"] is False


@pytest.mark.parametrize(
    ("decider", "mode"),
    [(Denier(), "enforce"), (Denier(always=True), MODE_MONITOR), (Denier(errors=("undecided",)), MODE_MONITOR)],
    ids=["enforced", "always", "error"],
)
async def test_what_monitor_mode_never_lifts(decider, mode) -> None:
    world = watching(decider, mode)
    with pytest.raises(NotPermitted):
        await world.chat()
    assert world.client.exchanges == []
    assert world.writer.bodies("decision")[0]["monitored"] is False


@pytest.mark.parametrize("demand", [{"residency": ("JP",)}, {"data_class": "public"}])
async def test_what_the_key_itself_demands_is_never_lifted(demand) -> None:
    world = watching(Denier())
    world.keys.principal = world.keys.principal._replace(**demand)
    with pytest.raises(NotPermitted):
        await world.chat()
    assert world.client.exchanges == []


async def test_a_stop_holds_in_monitor_mode() -> None:
    world = watching(Denier())
    stop(world, "deployment", "a")
    with pytest.raises(Stopped):
        await world.chat()
    assert world.client.exchanges == []


async def test_only_what_is_sent_counts_as_let_pass(caplog) -> None:
    busy, halted = watching(Denier()), watching(Denier())
    busy.in_flight_max = 0
    busy.use(busy.pipeline._recorder)
    with pytest.raises(Busy):
        await busy.chat()
    stop(halted, "deployment", "a")
    with pytest.raises(Stopped):
        await halted.chat()
    assert (busy.metrics.monitored, halted.metrics.monitored) == (0, 0)
    assert "sent though" not in caplog.text
