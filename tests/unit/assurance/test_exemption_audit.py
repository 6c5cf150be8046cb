"""What was permitted by way of an exemption, somebody had approved exactly so; anything else is found."""

import msgspec
import pytest

from approval_world import an_act, approved, enrolled
from audited_log import FARAWAY, ORIGIN, TOKYO, AuditedLog
from sekisho.app.audit import AuditAsked, Auditor
from sekisho.assurance import exemptions
from sekisho.catalog.exemptions import grant_parameters
from sekisho.catalog.interfaces import ApprovalRule, Exemption
from sekisho.identity.acts import EXEMPTION_GRANT, told
from sekisho.identity.persons import enrolled_body
from sekisho.kernel import canonical
from support_decide import catalogue

HOUR_US = 3_600_000_000
EXEMPTION = Exemption(
    name="trial",
    sha256="cd" * 32,
    organisation="default",
    policies=("jp-residency.processing",),
    classes=("internal",),
    until=1_800_000_000_000_000,
    why="w",
    compensating_control="c",
    deployments=("faraway",),
)
OTHER = msgspec.structs.replace(EXEMPTION, name="other", sha256="ef" * 32)
PEOPLE = ("s-001", "s-002")
RULED = {
    "approvals": (ApprovalRule(act=EXEMPTION_GRANT, approvers=PEOPLE, needed=1),),
    "exemptions": (EXEMPTION,),
}


@pytest.fixture
def log(tmp_path):
    log = AuditedLog(tmp_path / "site", msgspec.structs.replace(catalogue(FARAWAY, TOKYO), **RULED))
    log.activate(log.snapshot.digest)
    log.create_key()
    for person in enrolled(*PEOPLE):
        log.write(log.envelope("change", canonical.decode(enrolled_body(person, None))), log.control)
    return log


def grant(log, exemption=EXEMPTION, parameters=None, origin=ORIGIN, change=lambda body: body):
    """The entry of a grant; `parameters` of the act that was approved, if it was another."""
    now_us = log.clock.now_us()
    given = dict(grant_parameters(exemption))
    act = an_act(
        act=EXEMPTION_GRANT, parameters=parameters or given, asked_at=now_us, valid_until=now_us + HOUR_US,
        origin=origin, id=log.ids.new(now_us),
    )  # fmt: skip
    signatures = canonical.decode(approved(PEOPLE[1], act=act).encode())["signatures"]
    record = {"act": act.as_object(), "needed": 1, "signatures": signatures, "snapshot": log.snapshot.digest}
    body = change(canonical.decode(told(EXEMPTION_GRANT, given, record)))
    log.write(log.envelope("change", body, "control"), log.control)


def audit(log):
    log.publish()
    log.close()
    report = Auditor(log.clock).audit(AuditAsked(str(log.root), depth=3))
    return [(one.kind.code, one.detail) for one in report.findings.sorted()]


def test_a_use_of_what_was_approved_holds(log):
    grant(log)
    decision = log.decision(log.arrival())
    assert decision["body"]["exemptions"] == {"trial": "cd" * 32}
    log.write(decision)
    log.write(log.outcome(decision))
    assert audit(log) == []


def test_a_use_without_a_grant_is_found_once(log):
    log.request()
    log.request()
    assert audit(log) == [("exemption_ungranted", "trial: no grant of it is in this log, from here on")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"exemption": msgspec.structs.replace(EXEMPTION, classes=("public",))}, "than what was approved"),
        ({"parameters": dict(grant_parameters(EXEMPTION)) | {"classes": "public"}}, "not for what was granted"),
        ({"origin": "another.example/log"}, "not for what was granted"),
        ({"change": lambda body: {k: v for k, v in body.items() if k != "approval"}}, "not for what was granted"),
        ({"change": lambda body: body | {"approval": body["approval"] | {"signatures": [
            one | {"signature": "A" * 86 + "=="} for one in body["approval"]["signatures"]]}}}, "does not hold"),
    ],
)  # fmt: skip
def test_a_grant_that_is_not_of_it_is_found(log, options, said):
    grant(log, **options)
    log.request()
    found = audit(log)
    # Whether an approval holds is looked at for every act alike, too.
    assert {code for code, _ in found} - {"approval_invalid", "approval_missing"} == {"exemption_ungranted"}
    assert any(said in detail for _, detail in found)


def test_a_grant_after_the_fact_is_found(log):
    log.request()
    log.clock.time_us += HOUR_US
    grant(log)
    log.request()
    assert audit(log) == [("exemption_ungranted", "trial: it was granted after it was used, from here on")]


def test_a_use_beyond_its_end_is_found(log):
    grant(log)
    log.clock.time_us = EXEMPTION.until + HOUR_US
    decision = log.decision(log.arrival())  # by the epoch before the end
    assert decision["body"]["exemptions"]
    log.write(decision)
    log.write(log.outcome(decision))
    assert [code for code, _ in audit(log)] == ["epoch_wrong"]


def test_a_grant_under_rules_that_ask_for_nobody_is_found(log):
    """The signatures are good, and of nobody whom a rule names."""
    grant(log)
    log.activate(log.install(msgspec.structs.replace(catalogue(FARAWAY, TOKYO), exemptions=(OTHER,))))
    grant(log, OTHER)
    log.request()
    ((code, detail),) = audit(log)
    assert code == "approval_invalid"
    assert "nothing demands an approval" in detail


def test_an_exemption_that_a_decision_hides_or_makes_up_is_found(log):
    grant(log)
    decision = log.decision(log.arrival())
    del decision["body"]["exemptions"]
    log.write(decision)
    log.write(log.outcome(decision))
    assert [code for code, _ in audit(log)] == ["exemptions_misnamed"]


def test_a_snapshot_that_decides_with_more_than_it_declares_is_found(log):
    grant(log)
    snapshot = log.snapshot.digest
    manifest = canonical.decode((log.root / "snapshots" / f"{snapshot}.json").read_bytes())
    parts = log.root / "snapshots" / "parts"
    built = {(part["layer"], part["name"]): (parts / part["sha256"]).read_bytes() for part in manifest["parts"]}
    wide = built["authority", "policies.json"].replace(b'"classes":["internal"]', b'"classes":["internal","public"]')
    assert wide != built["authority", "policies.json"]
    log.install_parts({**built, ("authority", "policies.json"): wide})
    log.request(data_class="public")
    assert audit(log) == [
        ("exemption_ungranted", "trial: the snapshot decides with another exemption than it declares, from here on")
    ]


def test_what_finds_no_room_is_told(log, monkeypatch):
    monkeypatch.setattr(exemptions, "KEPT_MAX", 1)
    grant(log, OTHER)
    grant(log)
    log.request()
    log.install(msgspec.structs.replace(catalogue(FARAWAY, TOKYO), exemptions=(OTHER,)))
    log.request()
    found = audit(log)
    assert {code for code, _ in found} == {"exemption_ungranted"}
    assert [detail.split(": ")[1] for _, detail in found] == [
        "no grant of it is in this log, but 1 grants were not looked at, from here on",
        "those from here on were not looked at",
    ]
