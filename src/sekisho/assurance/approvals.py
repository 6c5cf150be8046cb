"""Acts that rules put under approval, held against the rules, the persons and the signatures of the log alone.

1. An approval that an entry bears is for that act, in this installation, and was in force then (`require_approval`).
2. The persons are those whose enrolment, and not whose retirement, the log tells of before it.
3. Its rules are those of the snapshot that it names, which was in force at about that time.
4. No approval serves two acts.
5. An act without one was demanded none by the snapshots that may have been in force then.
"""

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sekisho.assurance.kinds import (
    APPROVAL_INVALID,
    APPROVAL_MISSING,
    APPROVAL_SUPERSEDED,
    APPROVER_UNKNOWN,
    SNAPSHOT_MISSING,
)
from sekisho.assurance.rulebook import RuleBook
from sekisho.assurance.snapshots_in_force import SnapshotsInForce
from sekisho.catalog.interfaces import ApprovalRule
from sekisho.identity.acts import CONTENT_FORGET, EVERYTHING, KINDS, PERSON_ENROL
from sekisho.identity.approvals import Approval, Wanted, approval_of_record, require_approval
from sekisho.identity.errors import ApprovalError, ApprovalInsufficient, ApprovalNotAsked
from sekisho.identity.interfaces import PersonKey
from sekisho.ledger.findings import Findings
from sekisho.snapshot.interfaces import SnapshotError

CHANGE: Final = "change"
PERSON_RETIRE: Final = "person.retire"
PERSONS_MAX: Final = 10_000  # as many keys as the register holds; what a hostile log enrols beyond is unknown
USED_MAX: Final = 65_536  # approvals remembered, the newest: one lasts for a month at the most
WAITING_MAX: Final = 1_000  # acts whose snapshot is looked for later; then it is looked for at once
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class _Done(NamedTuple):
    """An act, and the snapshot that its approval names; None: it bears none."""

    leaf: int
    id: str
    at: int
    act: str
    snapshot: str | None


class ApprovalAudit:
    """An Observer: `see` each entry in the log's order, then `finish`. `origin` is the log's."""

    def __init__(self, findings: Findings, book: RuleBook, origin: str) -> None:
        self._findings = findings
        self._book = book
        self._origin = origin
        self._in_force = SnapshotsInForce(findings)
        self._persons: dict[str, PersonKey] = {}
        self._used: OrderedDict[str, str] = OrderedDict()  # act id → id of the entry that it served
        self._waiting: list[_Done] = []  # an activation may stand behind the acts under it: another process wrote it
        self._told: set[str] = set()

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        if envelope["kind"] != CHANGE:
            return
        self._in_force.see_act(envelope)
        body = envelope["body"]
        act = body.get("act")
        if isinstance(act, str) and act in KINDS:
            self._see_approvable(index, envelope, act)
        key, person = body.get("key"), body.get("person")
        if not isinstance(key, str) or not isinstance(person, str):
            return
        if act == PERSON_ENROL and len(self._persons) < PERSONS_MAX:
            self._persons.setdefault(key, PersonKey(person, key, envelope["at"], None))
        elif act == PERSON_RETIRE and key in self._persons:
            self._persons[key] = self._persons[key]._replace(retired_at=envelope["at"])

    def finish(self) -> None:
        for done in self._waiting:
            self._look_at_snapshot(done)
        self._waiting.clear()

    def _see_approvable(self, index: int, envelope: Mapping[str, Any], act: str) -> None:
        record, snapshot = envelope["body"].get("approval"), None
        if record is not None:
            snapshot = record.get("snapshot") if isinstance(record, dict) else None
            if not isinstance(snapshot, str) or not _DIGEST.fullmatch(snapshot):
                self._findings.add(APPROVAL_INVALID, f"{act}: it names no snapshot", index, envelope["id"])
                return
            self._check(index, envelope, act, record, snapshot)
        self._waiting.append(_Done(index, envelope["id"], envelope["at"], act, snapshot))
        if len(self._waiting) > WAITING_MAX:
            self._look_at_snapshot(self._waiting.pop(0))

    def _check(self, index: int, envelope: Mapping[str, Any], act: str, record: dict[str, Any], snapshot: str) -> None:
        rules = self._rules(snapshot, index, envelope["id"])
        if rules is None:
            return
        live = [one for one in self._persons.values() if one.retired_at is None]
        wanted = Wanted(act, _parameters(act, envelope["body"]), self._origin)
        approval: Approval | None = None
        try:
            approval = approval_of_record(record)
            approved = require_approval(wanted, [approval], rules, live, now_us=envelope["at"])
        except ApprovalError as error:
            unknown = approval is not None and any(one.key not in self._persons for one in approval.signatures)
            lacks_persons = unknown and isinstance(error, ApprovalInsufficient | ApprovalNotAsked)
            kind = APPROVER_UNKNOWN if lacks_persons else APPROVAL_INVALID
            self._findings.add(kind, f"{act}: {error.message:.300}", index, envelope["id"])
            return
        if approved is None or approved.needed != record["needed"]:
            self._findings.add(APPROVAL_INVALID, f"{act}: it says that another number is needed", index, envelope["id"])
        before = self._used.setdefault(approval.act.id, envelope["id"])
        if before != envelope["id"]:
            self._findings.add(APPROVAL_INVALID, f"{act}: it served {before} before", index, envelope["id"])
        if len(self._used) > USED_MAX:
            self._used.popitem(last=False)

    def _look_at_snapshot(self, done: _Done) -> None:
        near = self._in_force.near(done.at)
        if near is None:
            return  # the log does not tell what was in force then
        if done.snapshot is not None:
            if done.snapshot not in near:
                self._findings.add(APPROVAL_SUPERSEDED, f"{done.act}: {done.snapshot[:16]}", done.leaf, done.id)
            return
        found = [self._rules(digest, done.leaf, done.id) for digest in near]
        if all(rules is not None and any(rule.act == done.act for rule in rules) for rules in found):
            self._findings.add(APPROVAL_MISSING, f"{done.act}, under {near[-1][:16]}", done.leaf, done.id)

    def _rules(self, digest: str, index: int, identifier: str) -> tuple[ApprovalRule, ...] | None:
        try:
            if _DIGEST.fullmatch(digest):
                return self._book.rules(digest).stored.catalogue.approvals
        except SnapshotError:
            if digest not in self._told:
                self._told.add(digest)
                self._findings.add(SNAPSHOT_MISSING, f"{digest}, for approvals, from here on", index, identifier)
        return None


def _parameters(act: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What of an entry's body are the act's parameters."""
    found = {name: body.get(name) for name in KINDS[act].parameters}
    if act == CONTENT_FORGET and found["entry"] is None:
        found["entry"] = EVERYTHING
    return found
