"""Rounds of probes: recorded before anything follows, in force where facts change, and never the end of control."""

import asyncio
import json
import shutil

import msgspec
import pytest

from gateway_fakes import FakeWriter
from sekisho.app import prober
from sekisho.app.installation import Listen, build_declared, create_installation, snapshot_store, store_declarations
from sekisho.app.observed import observed_now
from sekisho.app.prober import Prober, methods_of
from sekisho.app.probing import Taken
from sekisho.app.providers import declared_catalogue
from sekisho.app.round import Asked, Came, run_round
from sekisho.catalog.evidence import LIGHT_ANSWER, LIGHT_CONNECT, NETWORKS, TLS_PIN
from sekisho.catalog.interfaces import Grade, Reading
from sekisho.catalog.observations import about
from sekisho.console.interfaces import Panel
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.ids import IdSource
from sekisho.settings import DataDirectory, ProbeSettings

SETTINGS = ProbeSettings(interval_seconds=900, valid_seconds=1_800)
SECOND_US = 1_000_000
HEAD = "2|apnic|20261124|1|19830613|20261124|+1000\n"


class Clock:
    def __init__(self):
        self.us = 1_790_000_000 * SECOND_US

    def now_us(self):
        return self.us


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    directory = DataDirectory(tmp_path_factory.mktemp("prober") / "site")
    create_installation(directory.root, Listen())
    return directory


class World:
    """A prober over an installation; `reads` makes what a round reads of the only deployment, `manual-local`."""

    def __init__(self, root):
        self.directory = DataDirectory(root)
        self.store = snapshot_store(self.directory)
        self.writer = FakeWriter([])
        self.clock = Clock()
        self.exchanging = asyncio.Lock()
        self.recorded = []
        self.chosen = None  # no round yet
        self.reads = {}
        self.failed = {}
        self.trouble = ""
        self.during = lambda: None
        self.prober = self.new()

    def new(self, settings=SETTINGS):
        return Prober(
            self.directory, settings, "local", self.store, self.writer, self.record, self.exchanging,
            self.clock, IdSource(), self.probe,
        )  # fmt: skip

    async def record(self, before, after):
        self.recorded.append((before, after, self.store.current(), len(self.writer.entries)))

    async def probe(self, asked):
        self.chosen = list(asked.deployments)
        self.during()
        catalogue = self.store.catalogue(asked.snapshot)
        site, chosen = catalogue.sites[0], [one for one in catalogue.deployments if one.name in asked.deployments]
        taken = [
            Taken(one.name, method, None if method in self.failed else self.reading(one, site, method),
                  self.failed.get(method, ""), self.failed.get(method, ""))
            for one in chosen
            for method in sorted({*self.reads, *self.failed})
        ]  # fmt: skip
        return Came(tuple(taken), "apnic 2026-11-24", self.trouble)

    def reading(self, deployment, site, method):
        now_us = self.clock.us
        until = now_us + SETTINGS.valid_seconds * SECOND_US
        return Reading(deployment.name, method, about(deployment, site), now_us, until, **self.reads[method])

    def facts(self):
        declared = declared_catalogue(self.directory)
        return observed_now(self.store, declared, self.clock.us).deployments[0].facts

    def entries(self, kind="observation"):
        return [json.loads(one.body) for one in self.writer.entries if one.kind == kind]


@pytest.fixture
def world(template, tmp_path):
    return World(shutil.copytree(template.root, tmp_path / "site"))


JAPAN = {"values": {"network": ("JP",)}, "evidence": {"addresses": 1}}
ABROAD = {"values": {"network": ("US",)}, "evidence": {"addresses": 1}}
FAR = {"contradicts": True, "evidence": {"us": 900}}


async def test_a_round_is_recorded_and_what_changes_comes_in_force_after_an_entry(world):
    before = world.store.current()
    world.reads = {NETWORKS: JAPAN}
    done = await world.prober.round()
    assert done.changed == world.store.current() != before
    assert world.recorded == [
        (before, done.changed, before, 1)
    ]  # the observation first, then the change, then it is so
    assert world.facts()["network"].grade is Grade.OBSERVED
    [entry] = world.entries()
    assert entry["observed"] == "deployment.probe"
    assert entry["deployment"] == "manual-local"
    [row] = entry["readings"]
    assert (row["method"], row["values"], row["contradicts"]) == (NETWORKS, {"network": ["JP"]}, False)


async def test_rounds_that_read_the_same_change_nothing_until_half_of_the_time_is_over(world):
    world.reads = {NETWORKS: JAPAN}
    first = (await world.prober.round()).changed
    world.clock.us += SETTINGS.valid_seconds * SECOND_US // 2 - 1
    assert (await world.prober.round()).changed is None
    world.clock.us += 2
    again = (await world.prober.round()).changed
    assert again is not None
    assert again != first
    assert len(world.entries()) == 3


async def test_what_reads_nothing_new_makes_no_snapshot(world):
    before = world.store.current()
    world.reads = {NETWORKS: {"evidence": {"not global": 1}}, LIGHT_CONNECT: {"evidence": {"loopback": 1}}}
    assert (await world.prober.round()).changed is None
    assert world.store.current() == before
    assert world.recorded == []


async def test_a_contradiction_counts_at_once_and_is_told(world, caplog):
    world.reads = {LIGHT_CONNECT: FAR}
    assert (await world.prober.round()).changed is not None
    assert world.facts()["processing"].value == ("unknown",)
    assert any(
        "a probe contradicts what is declared: manual-local: processing" in one.message for one in caplog.records
    )
    panel = world.prober.shown_on(Panel("ready", (), 0, ()))
    assert panel.contradicted == ("manual-local: processing: light-connect: 0.9 ms; declared: JP",)
    assert b"sekisho_facts_lowered 1" in world.prober.metrics()
    world.failed = {LIGHT_CONNECT: "unreachable"}
    world.clock.us += 10 * SETTINGS.valid_seconds * SECOND_US
    assert (await world.prober.round()).changed is None  # no answer heals nothing
    assert world.facts()["processing"].value == ("unknown",)
    world.failed, world.reads = {}, {LIGHT_CONNECT: {"evidence": {"us": 9_000}}}
    assert (await world.prober.round()).changed is None  # nor does an answer that takes its time
    assert world.facts()["processing"].value == ("unknown",)
    path = world.directory.declarations / "deployments" / "manual-local.toml"
    path.write_text(path.read_text().replace("127.0.0.1:8402", "127.0.0.1:8409"))
    world.store.activate(store_declarations(world.directory))
    assert (await world.prober.round()).changed is not None  # another declaration, and nothing against it
    assert world.facts()["processing"].value == ("JP",)
    assert world.prober.shown_on(panel).contradicted == ()


async def test_addresses_that_say_nothing_do_not_heal_what_others_said(world):
    """Whoever answers for a name could have it lead to an address more, that no registry knows, and be home again."""
    path = world.directory.declarations / "deployments" / "manual-local.toml"
    text = path.read_text()
    path.write_text(
        text.replace("[facts]", '[facts]\nnetwork = ["JP"]')
        if "[facts]" in text
        else text + '\n[facts]\nnetwork = ["JP"]\n'
    )
    world.store.activate(store_declarations(world.directory))
    world.reads = {NETWORKS: ABROAD}
    await world.prober.round()
    assert world.facts()["network"].value == ("JP", "US")
    for silent in ({"evidence": {"not global": 1}}, {"values": {"network": ("JP", "unknown")}}):
        world.reads = {NETWORKS: silent}
        assert (await world.prober.round()).changed is None
        assert world.facts()["network"].value == ("JP", "US")
    world.reads = {NETWORKS: JAPAN}
    await world.prober.round()
    assert world.facts()["network"].grade is Grade.OBSERVED
    world.reads = {NETWORKS: {"evidence": {"not global": 1}}}
    await world.prober.round()
    assert world.facts()["network"].grade is Grade.DECLARED  # what raised, silence ends


async def test_what_is_not_recorded_is_not_in_force(world):
    before = world.store.current()
    world.reads = {LIGHT_CONNECT: FAR}
    world.writer.full = True
    with pytest.raises(SekishoError, match="disk is full"):
        await world.prober.round()
    assert world.store.current() == before
    world.writer.full = False
    assert (await world.prober.round()).changed is not None


async def test_failures_are_recorded_by_code_and_never_in_words(world):
    world.failed = {NETWORKS: "no-registry"}
    await world.prober.round()
    assert world.entries()[0]["readings"] == [{"failed": "no-registry", "method": NETWORKS}]
    word = json.loads(world.directory.probes_state.read_text())
    assert word["failed"] == [["manual-local", NETWORKS, "no-registry"]]
    assert b"sekisho_probe_failures 1" in world.prober.metrics()


async def test_declarations_that_came_in_force_meanwhile_are_kept(world):
    """A round takes seconds: the snapshot it began with may be another one at its end."""

    def declare():
        (world.directory.declarations / "models" / "x.toml").write_text('title = "X"\n')
        world.store.activate(store_declarations(world.directory))

    world.during = declare
    world.reads = {NETWORKS: JAPAN}
    await world.prober.round()
    current = world.store.current()
    assert [model.name for model in world.store.catalogue(current).models] == ["manual", "x"]
    assert len(world.store.observed(current).readings) == 1


async def test_a_change_of_declarations_takes_along_what_was_lowered(world):
    world.reads = {LIGHT_CONNECT: FAR, NETWORKS: JAPAN}
    await world.prober.round()
    path = world.directory.declarations / "deployments" / "manual-local.toml"
    path.write_text(path.read_text().replace("127.0.0.1:8402", "127.0.0.1:8409"))
    world.store.activate(store_declarations(world.directory))
    facts = world.facts()
    assert facts["processing"].value == ("unknown",)  # read at the old address, and still not healed
    assert facts["network"].grade is Grade.UNKNOWN  # what raised was read of another declaration
    assert build_declared(world.directory)[1].digest == world.store.current()


async def test_readings_of_a_deployment_that_is_gone_are_gone(world):
    world.reads = {LIGHT_CONNECT: FAR}
    await world.prober.round()
    (world.directory.declarations / "deployments" / "manual-local.toml").unlink()
    world.store.activate(store_declarations(world.directory))
    assert world.store.observed(world.store.current()).readings == ()


async def test_a_damaged_snapshot_does_not_stand_in_the_way_of_the_next(world, caplog):
    world.reads = {LIGHT_CONNECT: FAR}
    await world.prober.round()
    (world.directory.snapshots / f"{world.store.current()}.json").write_bytes(b"{}")
    assert store_declarations(world.directory) != world.store.current()
    assert any("lost until they have looked again" in one.message for one in caplog.records)


async def test_a_prober_that_starts_tells_what_was_lowered_before(world):
    world.reads = {LIGHT_CONNECT: FAR}
    await world.prober.round()
    later = world.new()
    running = asyncio.create_task(later.run())
    async with asyncio.timeout(20):
        while not later.lowered:
            await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_rounds_go_on_whatever_fails_and_begin_when_asked(world, monkeypatch, caplog):
    monkeypatch.setattr(prober, "HURRY_S", 0.0)
    failing = [SekishoError("no luck"), OSError("no disk"), ZeroDivisionError("a fault")]

    def fail():
        if failing:
            raise failing.pop(0)

    world.during = fail
    running = asyncio.create_task(world.prober.run())
    async with asyncio.timeout(20):
        while not world.prober.rounds:
            world.prober.look_now()
            await asyncio.sleep(0.005)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    told = [one.message for one in caplog.records if one.levelname == "ERROR"]
    assert [word in "".join(told) for word in ("no luck", "no disk", "a fault of the program")] == [True] * 3


async def test_nothing_is_looked_at_where_probes_are_disabled(world):
    await world.new(ProbeSettings(enabled=False)).run()
    assert world.chosen is None


async def test_what_is_stopped_is_left_alone(world):
    register = SqlIdentity(world.directory.state, world.clock)
    register.set_stop("deployment", "manual-local", "test", "operator")
    register.close()
    await world.prober.round()
    assert world.chosen == []


async def test_more_deployments_than_one_round_holds_take_turns(world, monkeypatch):
    monkeypatch.setattr(prober, "PROBED_MAX", 2)
    everyone = tuple("abcde")
    turns = [world.prober._turn(everyone) for _ in range(3)]
    assert turns == [["a", "b"], ["c", "d"], ["e", "a"]]


def test_by_itself_control_sends_no_request():
    assert LIGHT_ANSWER not in methods_of(ProbeSettings())
    assert methods_of(ProbeSettings(answers=True)) == {*methods_of(ProbeSettings()), LIGHT_ANSWER}
    assert TLS_PIN in methods_of(ProbeSettings())


async def test_requests_for_an_answer_are_in_the_ledger_before_the_round_begins(world):
    asking = world.new(ProbeSettings(answers=True))
    seen = []
    world.during = lambda: seen.extend(world.entries("change"))
    await asking.round()
    assert seen == [{"act": "provider.test", "deployment": "manual-local", "provider": "local"}]
    world.writer.full, world.chosen = True, None
    with pytest.raises(SekishoError, match="disk is full"):
        await asking.round()
    assert world.chosen is None  # nothing left


async def test_a_registrys_file_that_cant_be_read_is_told_once(world, caplog):
    world.trouble = "registry/x: line 1 is not the head"
    for _ in range(3):
        await world.prober.round()
    assert sum("line 1 is not the head" in one.message for one in caplog.records) == 1


def test_a_round_apart_looks_at_what_was_asked_and_goes_on_without_the_registry(world):
    path = world.directory.declarations / "deployments" / "manual-local.toml"
    path.write_text(
        path.read_text().replace("http://127.0.0.1:8402", "https://1.0.16.1").replace("127.0.0.0/8", "::/0")
    )
    digest = store_declarations(world.directory)
    world.directory.registry.mkdir()
    file = world.directory.registry / "apnic"
    file.write_text(HEAD + "apnic|JP|ipv4|1.0.16.0|4096|20110412|allocated|A\n")
    asked = Asked(digest, "local", ("manual-local", "gone"), frozenset({NETWORKS}), 1_800)
    came = run_round(world.directory, asked, {})
    assert [(one.deployment, one.method) for one in came.taken] == [("manual-local", NETWORKS)]
    assert came.taken[0].reading.values == {"network": ("JP",)}
    assert (came.registry, came.trouble) == ("apnic 2026-11-24", "")
    assert msgspec.json.decode(msgspec.json.encode(came), type=Came) == came  # as it comes back
    file.write_text("nonsense")
    came = run_round(world.directory, asked, {})
    assert came.taken[0].failed == "no-registry"
    assert "line 1 is not the head" in came.trouble


def test_a_stop_that_is_set_during_a_round_is_seen_before_each_request(world):
    """Control looked before the round began, which may be an hour ago. (No unit test opens a socket: one that asked
    would fail otherwise.)"""
    register = SqlIdentity(world.directory.state, world.clock)
    register.set_stop("deployment", "manual-local", "test", "operator")
    register.close()
    asked = Asked(world.store.current(), "local", ("manual-local",), frozenset({LIGHT_ANSWER}), 1_800)
    [one] = run_round(world.directory, asked, {}).taken
    assert one.reading is None
    assert "an operator has stopped it" in one.detail
