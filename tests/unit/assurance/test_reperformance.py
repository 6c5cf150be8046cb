"""Audit depth 3: every decision is made again; whatever was decided, chosen or named otherwise is found."""

import msgspec
import pytest

from audited_log import FARAWAY, START_US, TOKYO, AuditedLog, ready
from sekisho.app.audit import AuditAsked, Auditor
from sekisho.assurance.reperformance import Reperformance
from sekisho.assurance.rulebook import RuleBook
from sekisho.catalog.interfaces import MODE_MONITOR, Fact, Grade, Organisation, PolicyText
from sekisho.gateway.routing import Route
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import UsageError
from sekisho.ledger.audit import entries_of
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.findings import Findings
from sekisho.ledger.log_files import LogFiles
from sekisho.policy.engine import CedarDecider
from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED, PrincipalInput
from sekisho.snapshot.interfaces import SnapshotMissing
from support_decide import catalogue, declared, deployment

HOUR_US = 3_600_000_000
ENDS_US = START_US + HOUR_US
ABROAD = {"data_class": "confidential", "residency": ("US",)}  # permitted nowhere


@pytest.fixture
def log(tmp_path):
    log = AuditedLog(tmp_path / "site")
    log.create_key()
    return log


def audit(log, **options):
    log.publish()
    log.close()
    return Auditor(log.clock).audit(AuditAsked(str(log.root), depth=3, **options))


def codes(report):
    return [(one.kind.code, one.index) for one in report.findings.sorted()]


def forged(log, change, **asked):
    """A request whose decision is changed before the log signs it."""
    decision = log.decision(log.arrival(), **asked)
    change(decision["body"])
    log.write(decision)
    if decision["body"]["chosen"] is not None:
        log.write(log.outcome(decision))


def test_an_honest_log_is_decided_again_each_input_once(tmp_path):
    log = ready(tmp_path / "site", 200)
    report = audit(log)
    assert codes(report) == []
    assert report.depth == 3
    assert report.counts["decisions_made_again"] == report.kinds["decision"] > 200
    assert report.counts["decisions_distinct"] == 12
    assert report.counts["decisions_left_out"] == 0


def test_a_planted_permission_is_found_and_named(log):
    """What a coerced operator might do: the verdict and the choice forged, everything signed with the log's own key."""

    def permit(body):
        for group in body["candidates"]:
            group |= {"permitted": True, "reasons": [0]}
        body["chosen"] = {"action": "sendRaw", "deployment": "faraway"}
        body["sent"] = body["received"]
        body["policies"] = {"0": body["policies"].get("0", "jp-residency.permit")}

    log.request()
    forged(log, permit, **ABROAD)
    report = audit(log)
    found = codes(report)
    assert ("decision_wrong", 3) in found
    assert ("chosen_not_permitted", 3) in found
    assert {index for _, index in found} == {3}
    wrong = next(one for one in report.findings.kept if one.kind.code == "decision_wrong")
    assert "faraway by sendRaw: permitted recorded, denied decided" in wrong.detail
    assert wrong.id is not None
    assert wrong.request is not None


def test_a_choice_that_was_not_permitted_is_found_where_the_verdicts_are_honest(log):
    forged(log, lambda body: body["chosen"].update(deployment="faraway"), data_class="confidential")
    assert codes(audit(log)) == [("chosen_not_permitted", 1)]


def test_a_denial_of_what_is_permitted_is_found(log):
    forged(log, lambda body: body.update(chosen=None, sent=None))
    assert codes(audit(log)) == [("denied_though_permitted", 1)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda body: body["candidates"][0].update(reasons=[]), "reasons_differ"),
        (lambda body: body["policies"].update({"0": "another"}), "policies_misnamed"),
        (lambda body: body.update(schema="00" * 32), "schema_differs"),
        (lambda body: body["input"].update(residency=["US", "JP"]), "input_malformed"),
        (lambda body: body["input"].update(epoch_from=17), "epoch_wrong"),
        (lambda body: body.update(candidates="none"), "decision_wrong"),
        (lambda body: body.update(engine={"name": "cedarpy", "version": "0"}), "engine_differs"),
        (lambda body: body.update(monitored=True), "monitored_wrong"),
    ],
)
def test_whatever_else_of_a_decision_is_not_as_decided_is_found(log, change, code):
    forged(log, change)
    assert code in {found for found, _ in codes(audit(log))}


def test_an_input_that_was_changed_after_deciding_is_found(log):
    """Labels taken away, so that the decision looks right to a reader."""
    forged(log, lambda body: body["input"].update(labels_raw=[]), labels_raw=("secret.private_key",), redactable=False)
    assert [found for found, _ in codes(audit(log))] == [
        "decision_wrong",
        "denied_though_permitted",
        "policies_misnamed",
    ]


def test_a_snapshot_that_is_not_there_leaves_its_decisions_out_and_says_so(log, tmp_path):
    log.request()
    log.request()
    (tmp_path / "empty").mkdir()
    report = audit(log, snapshots=tmp_path / "empty")
    assert codes(report) == [("snapshot_missing", 1)]
    assert report.counts["decisions_left_out"] == 2
    assert report.left_out == 2


def test_a_snapshot_that_was_changed_is_not_decided_with(log):
    log.request()
    part = next((log.root / "snapshots" / "parts").iterdir())
    for part in (log.root / "snapshots" / "parts").iterdir():
        if b"permit" in part.read_bytes():
            part.write_bytes(part.read_bytes().replace(b"forbid", b"permit"))
    assert codes(audit(log)) == [("snapshot_unusable", 1)]


def test_facts_that_had_ended_are_found(tmp_path):
    ending = deployment("osaka", processing=Fact(("JP",), Grade.DECLARED, expires=ENDS_US), storage=declared("JP"))
    log = AuditedLog(tmp_path / "site", catalogue(ending, FARAWAY))
    log.create_key()
    log.request()  # 1: before the end
    log.clock.time_us = ENDS_US + HOUR_US
    log.request()  # 3: after it, with the decider of before
    log.snapshot = log.store.load(log.snapshot.digest, log.clock.time_us)
    log.request()  # with the one of now
    assert codes(audit(log)) == [("epoch_wrong", 3)]


def test_facts_that_had_not_ended_yet_may_not_be_taken_for_ended(tmp_path):
    ending = deployment("osaka", processing=Fact(("JP",), Grade.DECLARED, expires=ENDS_US), storage=declared("JP"))
    log = AuditedLog(tmp_path / "site", catalogue(ending, FARAWAY))
    log.create_key()
    log.snapshot = log.store.load(log.snapshot.digest, ENDS_US + HOUR_US)
    log.request()
    assert codes(audit(log)) == [("epoch_wrong", 1)]


def test_a_request_that_crossed_the_end_of_a_fact_may_have_been_decided_on_either_side(tmp_path):
    ending = deployment("osaka", processing=Fact(("JP",), Grade.DECLARED, expires=ENDS_US), storage=declared("JP"))
    log = AuditedLog(tmp_path / "site", catalogue(ending))
    log.create_key()
    log.clock.time_us = ENDS_US - 500_000
    request = log.arrival()
    log.clock.time_us = ENDS_US + 500_000
    log.request(request)
    assert codes(audit(log)) == []


def test_requests_under_a_replaced_snapshot_are_found_but_not_those_that_were_under_way(log):
    first = log.snapshot
    second = log.install(catalogue(TOKYO))
    log.activate(second)
    old, log.snapshot = log.snapshot, first
    log.clock.time_us += 30_000_000
    log.request()  # within the time that gateways take
    log.clock.time_us += 60_000_000
    log.request()  # too late
    log.snapshot = old
    log.request()
    log.publish()
    assert [code for code, _ in codes(audit(log))] == ["snapshot_superseded"]


def watching(until):
    watched = Organisation("default", "Default", mode=MODE_MONITOR, monitor_until=until)
    return msgspec.structs.replace(catalogue(FARAWAY), organisations=(watched,))


def test_what_monitor_mode_let_pass_holds_only_where_the_organisation_watches(tmp_path):
    log = AuditedLog(tmp_path / "site", watching(ENDS_US))
    log.create_key()
    route = Route("faraway", SEND_RAW)
    denied = {"data_class": "confidential", "residency": ("JP",)}
    assert not log.decided(**denied).permitted_raw
    log.write(passed := log.decision(log.arrival(), monitored=True, route=route, **denied))
    log.write(log.outcome(passed))
    assert codes(audit(log)) == []


def test_monitor_mode_lifts_a_denial_only_where_the_rules_of_it_say(tmp_path):
    log = AuditedLog(tmp_path / "site", watching(ENDS_US))
    log.create_key()
    denied = {"data_class": "confidential", "residency": ("JP",)}
    log.write(passed := log.decision(log.arrival(), monitored=True, route=Route("nowhere", SEND_RAW), **denied))
    log.write(log.outcome(passed))
    assert codes(audit(log)) == [("monitored_wrong", 1)]


def test_monitor_mode_that_nobody_declared_is_found(log):
    route = Route("faraway", SEND_RAW)
    denied = {"data_class": "confidential", "residency": ("JP",), "model": "m"}
    log.write(passed := log.decision(log.arrival(), monitored=True, route=route, **denied))
    log.write(log.outcome(passed))
    assert codes(audit(log)) == [("monitored_wrong", 1)]


KEEP = """
@id("keep") @title("t") @title_ja("題") @retain_days("30")
permit (principal in Organisation::"default", action == Action::"retain", resource == Deployment::"tokyo")
when { !context.labels.contains(Label::"jp.my_number") };
"""


@pytest.fixture
def keeping(tmp_path):
    log = AuditedLog(tmp_path / "site", catalogue(TOKYO, FARAWAY), (PolicyText("policies/keep.cedar", KEEP),))
    log.create_key()
    return log


def test_what_may_be_kept_is_decided_again_on_the_labels_of_what_was_sent(keeping):
    number = {"labels_raw": ("jp.my_number",)}
    keeping.request(data_class="confidential")
    keeping.write(redacted := keeping.decision(keeping.arrival(), route=Route("tokyo", SEND_REDACTED), **number))
    keeping.write(keeping.outcome(redacted))
    keeping.write(raw := keeping.decision(keeping.arrival(), route=Route("tokyo", SEND_RAW), **number))
    keeping.write(keeping.outcome(raw))
    assert redacted["body"]["retain"]["days"] == 30
    assert "retain" not in raw["body"]
    assert codes(audit(keeping)) == []


def test_a_gateway_may_keep_less_than_it_may(keeping):
    forged(keeping, lambda body: (body.pop("retain"), body["policies"].pop(keep_index(keeping))))
    assert codes(audit(keeping)) == []


def keep_index(log):
    return str(next(number for number, one in enumerate(log.snapshot.decider.policies) if one.id == "keep"))


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["retain"].update(days=3650),
        lambda body: body["retain"].update(days="30"),
        lambda body: body["retain"].update(more=1),
        lambda body: body.update(retain=None),
        lambda body: body.update(retain=[30]),
        lambda body: body["chosen"].update(deployment="faraway"),
        lambda body: body.update(chosen=None, sent=None),
    ],
)
def test_a_planted_retention_is_found(keeping, change):
    """Each beside an honest one with the same input: what was decided for that is not taken for this."""
    keeping.request(data_class="public")
    forged(keeping, change, data_class="public")
    found = codes(audit(keeping))
    assert ("retention_wrong", 3) in found
    assert {index for _, index in found} == {3}


def test_a_retention_that_nothing_permits_is_found(log):
    forged(log, lambda body: body.update(retain={"days": 30, "reasons": []}))
    assert codes(audit(log)) == [("retention_wrong", 1)]


def test_content_with_labels_that_forbid_keeping_it_is_found(keeping):
    days = {"days": 30, "reasons": [int(keep_index(keeping))]}

    def keep(body):
        body["retain"] = days
        body["policies"] |= {keep_index(keeping): "keep"}

    forged(keeping, keep, labels_raw=("jp.my_number",), route=Route("tokyo", SEND_RAW))
    assert ("retention_wrong", 1) in codes(audit(keeping))


def test_a_site_that_is_not_declared_is_named_once(log):
    for _ in range(3):
        decision = log.decision(log.arrival()) | {"site": "elsewhere"}
        log.write(decision)
        log.write(log.outcome(decision) | {"site": "elsewhere"})
    found = [code for code, _ in codes(audit(log))]
    assert found.count("site_unknown") == 1


def test_a_caller_by_token_needs_an_organisation_that_declares_an_issuer(log):
    log.request(principal=PrincipalInput("oidc-abc", "default", ("caller",)))
    assert [code for code, _ in codes(audit(log))] == ["principal_undeclared"]


def test_the_memo_forgets_without_changing_what_is_found(tmp_path):
    log = ready(tmp_path / "site", 120)
    forged(log, lambda body: body.update(schema="00" * 32))
    size = log.publish()
    findings = Findings()
    book = RuleBook(log.store, CedarDecider)
    reperformance = Reperformance(findings, book, checked_max=4)
    files = LogFiles(log.ledger)
    checkpoint = read_checkpoint(files.checkpoint())
    for index, envelope in entries_of(files, checkpoint, findings):
        reperformance.see(index, envelope)
    reperformance.finish()
    assert [(one.kind.code, one.index) for one in findings.kept] == [("schema_differs", size - 2)]
    assert reperformance.distinct > 12


def test_depth_three_is_left_out_only_where_nobody_asked_for_it(log, tmp_path):
    log.request()
    log.publish()
    log.close()
    trust = (log.site_key.verifier,)
    report = Auditor(SystemClock()).audit(AuditAsked(str(log.ledger), trust=trust))
    assert (report.depth, [code for code, _ in report.gaps]) == (2, ["snapshots"])
    with pytest.raises(UsageError, match="snapshots"):
        Auditor(SystemClock()).audit(AuditAsked(str(log.ledger), trust=trust, depth=3))
    snapshots = log.root / "snapshots"
    assert Auditor(SystemClock()).audit(AuditAsked(str(log.ledger), trust=trust, snapshots=snapshots)).depth == 3


def test_a_snapshot_that_can_not_be_had_is_asked_for_once():
    asked = []

    class Snapshots:
        def rules(self, digest):
            asked.append(digest)
            raise SnapshotMissing(f"{digest} is not there", remedy="Look elsewhere")

    book = RuleBook(Snapshots(), CedarDecider)
    for _ in range(3):
        with pytest.raises(SnapshotMissing, match="is not there"):
            book.rules("ab" * 32)
    assert asked == ["ab" * 32]
