"""Decisions of the ledger held against a shadow."""

from hypothesis import HealthCheck, given, settings

from audited_log import FARAWAY, TOKYO, AuditedLog
from planned_log import deployments, planned, policy, requests, snapshot, write
from sekisho.assurance.replay import Replay
from sekisho.assurance.shadow import ShadowWatch
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.log_files import LogFiles
from sekisho.policy.engine import CedarDecider
from sekisho.policy.fate import Fate
from sekisho.snapshot.interfaces import SnapshotMissing
from support_decide import catalogue, declared, deployment

RULE = policy("no-secrets", "forbid (principal, action, resource) when { context.class_rank >= 2 }")


def in_force(log):
    return lambda digest, epoch_from: Replay.of_rules(log.store.rules(digest), CedarDecider, epoch_from)[0]


def entries(log):
    files = LogFiles(log.ledger)
    return [entry for _, some in files.entries(0, read_checkpoint(files.checkpoint()).size) for entry in some]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=requests, before=deployments, after=deployments)
def test_it_finds_what_a_plan_finds(tmp_path_factory, asked, before, after):
    root = tmp_path_factory.mktemp("shadow")
    log = AuditedLog(root / "site", catalogue(*before))
    shadow = snapshot(root, catalogue(*after))
    try:
        write(log, asked)
        seen = ShadowWatch(Replay(shadow), in_force(log)).see(entries(log))
        plan = planned(log, shadow)
    finally:
        log.close()
    assert seen.decisions == plan.total().requests
    assert [(one.request, one.key) for one in seen.changed] == [(one.request, one.key) for one in plan.listed]
    assert seen.unreadable == 0


def test_decisions_under_two_snapshots_are_each_held_against_their_own(tmp_path):
    log = AuditedLog(tmp_path / "site")
    try:
        log.request(data_class="confidential")
        osaka = deployment("osaka", processing=declared("JP"), storage=declared("JP"))
        log.install(catalogue(osaka))  # where the shadow has it, too
        log.request(data_class="public")
        log.publish()
        watch = ShadowWatch(Replay(snapshot(tmp_path, catalogue(osaka), RULE)), in_force(log), remembered_max=2)
        seen = watch.see(entries(log))
    finally:
        log.close()
    assert seen.decisions == 2
    (changed,) = seen.changed  # the second meets the same
    assert (changed.key.before.fate, changed.key.after.fate) == (Fate.RAW, Fate.DENIED)


def test_what_cannot_be_compared_is_counted_and_the_rest_goes_on(tmp_path):
    log = AuditedLog(tmp_path / "site")
    try:
        log.request(data_class="confidential")
        log.request(data_class="public", failures=1)
        log.publish()

        def missing(digest, epoch_from):
            raise SnapshotMissing(f"the snapshot {digest} is not there")

        watch = ShadowWatch(Replay(snapshot(tmp_path, catalogue(TOKYO, FARAWAY))), missing)
        seen = watch.see([*entries(log), b'{"kind":"decision"', b'{"body":{},"kind":"decision"}'])
    finally:
        log.close()
    assert (seen.decisions, seen.unreadable) == (0, 4)  # a retry is no request of its own
    assert watch.problem
