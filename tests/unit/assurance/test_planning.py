"""What a plan says of recorded traffic, held against each request looked at by itself."""

import json

import pytest
from hypothesis import HealthCheck, given, settings

from audited_log import FARAWAY, TOKYO, AuditedLog
from planned_log import deployments, planned, policy, read, requests, rules, snapshot, write
from sekisho.assurance.plan import FATE, MOVED, ROUTES, SAME, Bounds, Planner, Recorded
from sekisho.assurance.replay import Replay
from sekisho.assurance.traffic import ids_between, names_persons
from sekisho.catalog.interfaces import MODE_MONITOR, Organisation, PolicyText
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.index import INDEX, IndexReader
from sekisho.ledger.log_files import LogFiles
from sekisho.policy.fate import GONE, NO_DEPLOYMENT, NO_SUCH_MODEL, SENT, Fate
from sekisho.policy.interfaces import PrincipalInput
from support_decide import CLASSES, JURISDICTIONS, catalogue, decision_input, declared, deployment


@pytest.fixture
def log(tmp_path):
    log = AuditedLog(tmp_path / "site")
    yield log
    log.close()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=requests, declared_ones=deployments, chosen=rules)
def test_the_same_declarations_change_nothing(tmp_path_factory, asked, declared_ones, chosen):
    """However the declarations look: what was recorded under them meets the same again."""
    root = tmp_path_factory.mktemp("same")
    texts = tuple(PolicyText(f"policies/{n}.cedar", policy(f"r{n}", rule)) for n, rule in enumerate(chosen))
    log = AuditedLog(root / "site", catalogue(*declared_ones), texts)
    try:
        write(log, asked)
        plan = planned(log, snapshot(root, catalogue(*declared_ones), *(text.text for text in texts)))
    finally:
        log.close()
    assert plan.total().requests == len(asked)
    assert {key.change for key in plan.rows} == {SAME}
    assert (plan.newly_denied, plan.newly_permitted, plan.listed, plan.unreadable) == (0, 0, [], 0)
    # … and as it was recorded, which the gateway's own decision made.
    assert all(key.recorded.fate == key.after.fate for key in plan.rows)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=requests, before=deployments, after=deployments, chosen=rules)
def test_every_planted_change_is_found(tmp_path_factory, asked, before, after, chosen):
    """Each request decided by itself under both: the plan counts exactly those that differ, whatever was planted."""
    root = tmp_path_factory.mktemp("planted")
    log = AuditedLog(root / "site", catalogue(*before))
    proposed = snapshot(root, catalogue(*after), *(policy(f"r{n}", rule) for n, rule in enumerate(chosen)))
    try:
        write(log, asked)
        plan = planned(log, proposed)
        expected = []
        for one in asked:
            routes = []
            for side in (log.snapshot, proposed):
                decision = side.decider.decide_afresh(
                    log.decided(labels_redacted=() if one["redactable"] else one["labels_raw"], **one).input._replace(
                        snapshot=side.digest, epoch_from=side.epoch_from
                    )
                )
                routes.append((set(decision.permitted_raw), set(decision.permitted_redacted)))
            expected.append(routes)
    finally:
        log.close()
    changed = [(was, now) for was, now in expected if was != now]
    assert plan.total(lambda key: key.change != SAME).requests == len(changed) == len(plan.listed)
    assert plan.newly_denied == sum(any(was) and not any(now) for was, now in changed)
    gained = [1 for was, now in changed if (now[0] - was[0]) or (now[1] - was[1])]
    assert plan.newly_permitted == len(gained)


def test_each_change_says_why_by_the_policy_that_makes_it(log, tmp_path):
    log.request(data_class="confidential")
    log.request(data_class="public")
    log.publish()
    rule = policy("no-secrets", "forbid (principal, action, resource) when { context.class_rank >= 2 }")
    plan = planned(log, snapshot(tmp_path, catalogue(TOKYO, FARAWAY), rule))
    (changed,) = plan.listed
    assert (changed.key.before.fate, changed.key.after.fate, changed.key.change) == (Fate.RAW, Fate.DENIED, FATE)
    assert "no-secrets" in changed.key.causes
    assert changed.asked.data_class == "confidential"
    assert plan.newly_denied == 1


def test_a_deployment_that_is_gone_and_a_model_that_is_gone(log, tmp_path):
    log.request()
    log.publish()
    elsewhere = deployment("osaka", processing=declared("JP"), storage=declared("JP"))
    (moved,) = planned(log, snapshot(tmp_path, catalogue(FARAWAY, elsewhere))).rows
    assert (moved.change, moved.recorded.route[1], moved.causes) == (MOVED, "tokyo", (GONE,))
    (nowhere,) = planned(log, snapshot(tmp_path, catalogue())).rows
    assert (nowhere.after.fate, nowhere.causes) == (Fate.DENIED, (NO_DEPLOYMENT,))
    without = catalogue()
    without = type(without)(**{f: getattr(without, f) for f in without.__struct_fields__} | {"models": ()})
    (unknown,) = planned(log, snapshot(tmp_path, without)).rows
    assert (unknown.after.fate, unknown.causes) == (Fate.NO_MODEL, (NO_SUCH_MODEL,))


def test_a_new_deployment_widens_where_requests_might_go(log, tmp_path):
    log.request()
    log.publish()
    osaka = deployment("osaka", processing=declared("JP"), storage=declared("JP"))
    plan = planned(log, snapshot(tmp_path, catalogue(TOKYO, FARAWAY, osaka)))
    (key,) = plan.rows
    assert (key.change, key.gained) == (ROUTES, (("sendRaw", "osaka"),))
    assert (plan.newly_denied, plan.newly_permitted) == (0, 1)
    assert plan.permitted_at() == {"osaka": (0, 1), "tokyo": (1, 1)}


def test_without_a_deployment_what_stays_is_decided_as_before(log):
    everywhere = deployment("osaka", processing=declared("JP"), storage=declared("US"))
    log.install(catalogue(TOKYO, everywhere))
    log.request(data_class="public")
    log.request(data_class="confidential")  # must be stored at home: tokyo alone will do
    log.publish()
    plan = planned(log, log.snapshot, without=frozenset({"tokyo"}))
    fates = {key.after.fate: row.requests for key, row in plan.rows.items()}
    assert fates == {Fate.RAW: 1, Fate.DENIED: 1}
    unserved = plan.total(lambda key: key.after.fate not in SENT)
    assert (unserved.requests, unserved.prompt, unserved.completion, unserved.readings) == (1, 3, 4, 1)


def test_retries_are_one_request_and_tokens_of_all_attempts_count(log):
    log.request(failures=2)
    log.publish()
    plan = planned(log, log.snapshot)
    total = plan.total()
    assert (total.requests, plan.retries, total.prompt, total.readings) == (1, 2, 9, 3)


def test_only_requests_that_arrived_in_the_window_are_taken(log):
    log.request()
    begin = log.clock.time_us = (log.clock.time_us // 1000 + 5) * 1000
    inside = log.request()
    end = log.clock.time_us = (log.clock.time_us // 1000 + 5) * 1000
    log.request()
    log.publish()
    plan = planned(log, log.snapshot, (begin, end))
    assert plan.total().requests == 1
    reader = IndexReader(log.ledger / INDEX)
    try:
        first, last = reader.leaves_between(*ids_between(begin, end))
        files = LogFiles(log.ledger)
        size = read_checkpoint(files.checkpoint()).size
        assert {json.loads(files.entry(leaf, size))["request"] for leaf in range(first, last + 1)} == {inside}
        assert reader.leaves_between(*ids_between(0, 1_000_000)) is None
    finally:
        reader.close()


def test_without_an_index_nobody_knows_where_a_time_lies(tmp_path):
    with pytest.raises(LogUnreadable, match="no index"):
        IndexReader(tmp_path / INDEX).leaves_between(*ids_between(0, 1))


def test_records_that_are_none_are_counted_and_the_first_are_named(log):
    def forge(envelope):
        if envelope["kind"] == "decision":
            envelope["body"]["input"].pop("residency")
        return envelope

    log.request()
    log.forge = forge
    for _ in range(12):
        log.request(data_class="public")
    log.publish()
    plan = planned(log, log.snapshot)
    assert (plan.total().requests, plan.unreadable, len(plan.problems)) == (1, 12, 10)
    assert "unknown or missing keys" in plan.problems[0]


def test_monitor_mode_is_told_apart_from_a_permit(log, tmp_path):
    log.request(residency=("SG",))
    log.publish()
    watched = catalogue(TOKYO, FARAWAY)
    watching = Organisation("default", "Default", mode=MODE_MONITOR, monitor_until=2**50)
    watched = type(watched)(
        **{f: getattr(watched, f) for f in watched.__struct_fields__} | {"organisations": (watching,)}
    )
    plan = planned(log, snapshot(tmp_path, watched))
    (key,) = plan.rows
    assert (key.before.fate, key.after.fate) == (Fate.DENIED, Fate.MONITORED)
    assert (plan.newly_denied, plan.newly_permitted) == (0, 1)


def test_what_is_remembered_is_bounded_and_nothing_goes_uncounted(log, tmp_path):
    asked = [
        {"data_class": data_class, "residency": residency, "labels_raw": labels}
        for data_class in CLASSES
        for residency in (("JP",), (*JURISDICTIONS, "anywhere"))
        for labels in ((), ("opaque",))
    ]
    for one in asked:
        log.request(labels_redacted=one["labels_raw"], redactable=False, **one)
    log.publish()
    proposed = snapshot(tmp_path, catalogue(FARAWAY))
    plan = read(log, Planner(Replay(log.snapshot), Replay(proposed), Bounds(groups=4, rows=2, listed=3, open=1)))
    exact = planned(log, proposed)
    assert plan.total().requests == len(asked)
    assert plan.newly_denied == exact.newly_denied > 0
    assert (plan.changed, plan.newly_permitted) == (exact.changed, exact.newly_permitted)
    assert plan.changed == exact.total(lambda key: key.change != SAME).requests
    assert (exact.summed, plan.summed > 0) == (0, True)
    assert len(plan.listed) == 3


def test_what_becomes_possible_is_counted_when_rows_are_full(log, tmp_path):
    """A pipeline that fails on what is newly permitted must not pass because of many kinds of requests."""
    for model in ("m", "n"):
        for data_class in CLASSES:
            log.request(model=model, data_class=data_class)
    log.publish()
    osaka = deployment("osaka", processing=declared("JP"), storage=declared("JP"))
    proposed = snapshot(tmp_path, catalogue(TOKYO, FARAWAY, osaka))
    plan = read(log, Planner(Replay(log.snapshot), Replay(proposed), Bounds(rows=1)))
    exact = planned(log, proposed)
    assert plan.newly_permitted == exact.newly_permitted > 1
    assert plan.changed == exact.changed


def test_another_gateways_requests_are_held_against_what_it_did(tmp_path):
    planner = Planner(None, Replay(snapshot(tmp_path, catalogue(TOKYO))))
    for number, (asked, fate) in enumerate(
        [(decision_input(), Fate.RAW), (decision_input(model="gone"), Fate.RAW), (decision_input(), Fate.DENIED)]
    ):
        planner.take(str(number), None, asked, lambda asked=asked: asked, Recorded(fate))
        planner.used(str(number), 1, 2)
    plan = planner.plan
    assert (plan.newly_denied, plan.newly_permitted) == (1, 1)
    assert sorted(key.change for key in plan.rows) == [FATE, FATE, SAME]
    assert plan.total().completion == 6


def test_persons_are_told_apart_only_where_a_policy_does(log, tmp_path):
    for number in range(5):
        log.request(principal=PrincipalInput(f"key-{number}", "default", ("caller",)))
    log.publish()
    plain = snapshot(tmp_path, catalogue(TOKYO, FARAWAY))
    together = read(log, Planner(Replay(log.snapshot), Replay(plain)), by_person=False)
    assert (together.distinct, together.total().requests) == (1, 5)
    rule = policy("not-them", 'forbid (principal == Principal::"key-3", action, resource)')
    one = snapshot(tmp_path, catalogue(TOKYO, FARAWAY), rule)
    assert planned(log, one).newly_denied == 1
    parts = log.store.rules(log.snapshot.digest).parts
    assert not names_persons(parts.policies)
    assert names_persons(rule.encode())


def test_facts_that_have_ended_count_as_ended_and_others_as_they_are(log, tmp_path):
    """Both sides are as they stand now: an end that has passed is a rule's doing, and no fault."""
    log.request()
    log.publish()
    ending = deployment("tokyo", processing=declared("JP", expires=5_000), storage=declared("JP"))
    staying = deployment("osaka", processing=declared("JP"), storage=declared("JP"))
    (key,) = planned(log, snapshot(tmp_path, catalogue(ending), now_us=6_000)).rows
    assert (key.after.fate, key.causes) == (Fate.DENIED, ("jp-residency.processing",))
    (key,) = planned(log, snapshot(tmp_path, catalogue(ending, staying), now_us=6_000)).rows
    assert (key.after.routes, key.change) == ((("sendRaw", "osaka"),), MOVED)
