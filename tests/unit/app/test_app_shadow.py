"""Control's following of a shadow: where it begins and goes on, what it passes over, what it tells the ledger."""

import asyncio
import json

import msgspec
import pytest

from audited_log import AuditedLog
from sekisho.app import shadow as shadowing
from sekisho.app.observed import composed
from sekisho.app.shadow import KEPT_MAX, METRICS, OBSERVED_MAX, Shadowing, ShadowState, shadow_state, shadow_status
from sekisho.assurance.plan import Recorded, RowKey
from sekisho.assurance.shadow import Changed
from sekisho.catalog.evidence import MANAGEMENT_API
from sekisho.catalog.interfaces import ManagedIdentitySignIn, Management, PolicyText, Reading
from sekisho.catalog.observations import about
from sekisho.inspection.rules import rules_bytes
from sekisho.kernel.errors import SekishoError
from sekisho.policy.check import compile_policies
from sekisho.policy.fate import Fate, Met
from sekisho.settings import DataDirectory
from sekisho.snapshot.build import build_snapshot
from support_decide import LABELS, catalogue, declared, deployment

RULE = """@id("no-secrets") @title("No secrets") @title_ja("秘密禁止")
forbid (principal, action, resource) when { context.class_rank >= 2 };"""
TOKYO = deployment("tokyo", processing=declared("JP"), storage=declared("JP"))


class Journal:
    """A writer that keeps what is appended; `full` refuses."""

    def __init__(self):
        self.bodies = []
        self.full = False

    def append(self, draft, reservation=None):
        if self.full:
            raise SekishoError("the ledger is full")
        self.bodies.append(json.loads(draft.body) | {"kind": draft.kind})
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


@pytest.fixture
def log(tmp_path):
    log = AuditedLog(tmp_path / "site", catalogue(TOKYO))
    built = build_snapshot(
        catalogue(TOKYO),
        (PolicyText("policies/s.cedar", RULE),),
        inspection_rules=rules_bytes(("jp",)),
        labels=LABELS,
        compile_policies=compile_policies,
    )
    plain = build_snapshot(
        catalogue(TOKYO), (), inspection_rules=rules_bytes(("jp",)), labels=LABELS, compile_policies=compile_policies
    )
    log.store.save(plain)
    log.snapshot = log.store.load(plain.digest, 0)
    log.shadow = log.store.save(built)
    log.request()
    log.publish()
    yield log
    log.close()


def follower(log, journal=None):
    return Shadowing(DataDirectory(log.root), journal or Journal(), log.clock, log.ids)


async def look(one):
    """One turn of its loop."""
    one._step()
    await one._observe()


async def test_it_begins_where_the_log_ends_and_tells_once_a_minute(log):
    journal = Journal()
    one = follower(log, journal)
    await look(one)
    assert shadow_state(DataDirectory(log.root)) is None
    assert one.metrics() == b""
    log.store.set_shadow(log.shadow)
    await look(one)
    names = [log.request(data_class=data_class) for data_class in ("confidential", "public", "restricted")]
    log.publish()
    await look(one)
    state = shadow_state(DataDirectory(log.root))
    assert (state.digest, state.decisions, state.differences, state.unreadable) == (log.shadow, 3, 2, 0)
    assert state.changes == {"raw->denied": 2}
    assert [named["request"] for named in state.listed] == [names[0], names[2]]
    assert journal.bodies == [
        {
            "changes": [{"change": "raw->denied", "requests": 2}],
            "differences": 2,
            "kind": "observation",
            "observed": "shadow.differences",
            "requests": [
                {"change": "raw->denied", "request": names[0]},
                {"change": "raw->denied", "request": names[2]},
            ],
            "shadow": log.shadow,
        }
    ]
    for _ in range(OBSERVED_MAX + 1):
        log.request(data_class="confidential")
    log.publish()
    await look(one)
    assert len(journal.bodies) == 1  # within the minute
    one._told_at -= shadowing.OBSERVE_S
    await look(one)
    assert journal.bodies[1]["differences"] == OBSERVED_MAX + 1
    assert len(journal.bodies[1]["requests"]) == OBSERVED_MAX
    text = one.metrics().decode()
    assert 'sekisho_shadow_differences_total{change="raw->denied"} 19.0' in text
    assert all(f"# TYPE {name} " in text for name in METRICS)


async def test_a_new_process_goes_on_and_nothing_is_counted_twice(log):
    log.store.set_shadow(log.shadow)
    one = follower(log)
    await look(one)
    log.request(data_class="confidential")
    log.publish()
    await look(one)
    log.request(data_class="confidential")
    log.publish()
    again = follower(log)
    await look(again)
    state = shadow_state(DataDirectory(log.root))
    assert (state.decisions, state.differences) == (2, 2)


async def test_what_control_is_too_far_behind_for_is_passed_over_and_counted(log, tmp_path):
    log.store.set_shadow(log.shadow)
    one = follower(log)
    await look(one)
    one._state.cursor -= shadowing.BEHIND_MAX  # as though that many entries had come
    cursor = one._state.cursor
    one._size = lambda: cursor + shadowing.BEHIND_MAX + 1
    one._files = NoEntries()
    one._step()
    assert one._state.skipped == shadowing.BEHIND_MAX // 2 + 1
    assert one._state.cursor == cursor + shadowing.BEHIND_MAX // 2 + 1


class NoEntries:
    def entries(self, first, size):
        return iter(())


async def test_facts_of_a_shadow_end_for_it_when_they_end(log):
    until = log.clock.time_us + 60_000_000
    ending = deployment("tokyo", processing=declared("JP", expires=until), storage=declared("JP"))
    shadow = build_snapshot(
        catalogue(ending), (), inspection_rules=rules_bytes(("jp",)), labels=LABELS, compile_policies=compile_policies
    )
    log.store.set_shadow(log.store.save(shadow))
    one = follower(log)
    await look(one)
    log.request()
    log.publish()
    await look(one)
    assert shadow_state(DataDirectory(log.root)).differences == 0
    log.clock.time_us = until
    log.request()
    log.publish()
    await look(one)
    state = shadow_state(DataDirectory(log.root))
    assert (state.decisions, state.changes) == (2, {"raw->denied": 1})
    assert state.listed[0]["causes"] == ["jp-residency.processing"]


async def test_a_shadow_goes_by_what_probes_have_read_by_now_and_not_when_it_was_set(log):
    """The same declarations never differ from themselves, whatever is probed meanwhile."""
    api = Management("azure", "/r", "d", ManagedIdentitySignIn("r", "u"), "https://m.example", "2024-10-01")
    probed = catalogue(msgspec.structs.replace(TOKYO, management=api))
    plain = build_snapshot(
        probed, (), inspection_rules=rules_bytes(("jp",)), labels=LABELS, compile_policies=compile_policies
    )
    far = log.clock.time_us + 3_600_000_000
    about_tokyo = about(probed.deployments[0], probed.sites[0])
    reading = Reading("tokyo", MANAGEMENT_API, about_tokyo, 0, far, values={"processing": ("JP",)})
    elsewhere = Reading("tokyo", MANAGEMENT_API, about_tokyo, 0, far, values={"processing": ("US",)}, contradicts=True)

    def in_force(*readings):
        digest = log.store.save(composed(plain, probed, readings, "home"))
        log.store.activate(digest)
        log.snapshot = log.store.load(digest, log.clock.time_us)
        return digest

    log.store.set_shadow(in_force(reading))
    one = follower(log)
    await look(one)
    for readings in ((elsewhere,), (), (reading,)):
        in_force(*readings)
        log.request()
        log.publish()
        await look(one)
    state = shadow_state(DataDirectory(log.root))
    assert (state.decisions, state.differences, state.unreadable) == (3, 0, 0)


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b'{"digest":"d","cursor":"0","since_us":0}', b"\xff"])
async def test_an_account_that_cannot_be_read_begins_anew(log, left):
    log.store.set_shadow(log.shadow)
    one = follower(log)
    await look(one)
    one._directory.shadow_state.write_bytes(left)
    assert shadow_state(one._directory) is None
    assert shadow_status(one._directory) == {"format": "sekisho.shadow/1", "shadow": log.shadow, "compared": False}
    again = follower(log)
    await look(again)
    assert shadow_status(one._directory)["digest"] == log.shadow


async def test_the_end_of_a_shadow_is_followed_and_another_begins_anew(log):
    log.store.set_shadow(log.shadow)
    one = follower(log)
    await look(one)
    log.request(data_class="confidential")
    log.publish()
    await look(one)
    log.store.set_shadow(None)
    await look(one)
    assert shadow_state(DataDirectory(log.root)) is None
    log.store.set_shadow(log.snapshot.digest)
    await look(one)
    assert shadow_state(DataDirectory(log.root)).decisions == 0


async def test_a_shadow_that_is_gone_or_a_full_ledger_end_nobody(log, caplog):
    log.store.set_shadow(log.shadow)
    journal = Journal()
    one = follower(log, journal)
    await look(one)
    log.request(data_class="confidential")
    log.publish()
    journal.full = True
    with pytest.raises(SekishoError):
        await look(one)
    journal.full = False
    await look(one)
    assert journal.bodies[0]["differences"] == 1  # kept until it can be told
    (log.root / "snapshots" / "shadow").write_text("nonsense")
    running = asyncio.create_task(one.run())
    while "can't be followed" not in caplog.text:
        await asyncio.sleep(0)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_what_it_names_is_bounded_and_all_is_counted():
    state = ShadowState("d", 0, 0)
    for number in range(shadowing.CAUSES_MAX + KEPT_MAX):
        after = Met(Fate.DENIED, causes=(f"policy-{number}",))
        state.add(Changed(str(number), RowKey("o", "m", Met(Fate.RAW), after, Recorded(Fate.RAW))))
    assert len(state.listed) == KEPT_MAX
    assert len(state.causes) == shadowing.CAUSES_MAX + 1
    assert sum(state.causes.values()) == state.differences == shadowing.CAUSES_MAX + KEPT_MAX


def test_an_account_of_many_policies_with_long_names_can_be_read_back(tmp_path):
    state = ShadowState("d", 0, 0)
    for number in range(shadowing.CAUSES_MAX + KEPT_MAX):
        causes = tuple(f"{number}-{policy}-{'x' * 60}" for policy in range(200))
        state.add(
            Changed(str(number), RowKey("o", "m", Met(Fate.RAW), Met(Fate.DENIED, causes=causes), Recorded(Fate.RAW)))
        )
    directory = DataDirectory(tmp_path)
    directory.run.mkdir()
    directory.shadow_state.write_bytes(msgspec.json.encode(state))
    assert shadow_state(directory) == state
