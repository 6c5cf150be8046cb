"""Depth 3 of an audit: acts that needed approval bear one that holds, from the log and its snapshots alone.

1. The rules are those of a snapshot that was in force when the act was done (`SnapshotsInForce`). An approval names
   whose rules demanded it, and that must have been one of them.
2. The act's entry bears an approval if those rules demand one, and none if they don't.
3. The approval holds as `identity.approvals.require_approval` says: signed over the act's canonical bytes by as many
   persons as the rule names, the asker not counted, in force at that time, for this log's origin, with the parameters
   that the entry tells. Its keys are of persons whom entries of this log enrolled, and who were not retired by then.
   After a restoration the new log only tells whom the old one had enrolled; each of those is for a person to look at.
4. Nothing was approved twice by one approval.

An act reaches the log by way of an outbox, and so does what it hangs on, in whatever order relays gave them: times
decide, as in `ledger.actors`. So acts are set aside on disk and looked at in the end.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from sekisho.assurance.kinds import (
    APPROVAL_INVALID,
    APPROVAL_MISSING,
    APPROVAL_USED_AGAIN,
    PERSON_CARRIED,
    RULES_UNKNOWN,
    SNAPSHOT_MISSING,
    SNAPSHOT_UNUSABLE,
)
from sekisho.assurance.rulebook import RuleBook
from sekisho.assurance.snapshots_in_force import ACT_US, SnapshotsInForce
from sekisho.catalog.interfaces import APPROVABLE_ACTS, ApprovalRule
from sekisho.identity.acts import KEY, NAME, PERSON_ENROL, parameters_told
from sekisho.identity.approvals import Approval, Wanted, approval_of_record, require_approval
from sekisho.identity.errors import ApprovalError
from sekisho.identity.interfaces import PersonKey
from sekisho.identity.persons import PERSON_CARRY, PERSON_RETIRE, is_weak
from sekisho.kernel.ids import packed, unpacked
from sekisho.ledger.findings import Findings, Kind
from sekisho.ledger.spool import Spool
from sekisho.snapshot.interfaces import SnapshotError, SnapshotMissing

CHANGE: Final = "change"
RESTORE: Final = "ledger.restore"  # tells of persons' keys in the same moment
APPROVAL: Final = "approval"  # of an entry's body
KEYS_KEPT_MAX: Final = 100_000  # ten times what a register holds; about 40 MB. A key beyond them counts as unknown
_KEY_LENGTH: Final = 64  # of a public key in hex
_BUFFER_BYTES: Final = 64 * 1024  # of acts, before they go to disk
_LENGTH: Final = struct.Struct(">I")
_USE: Final = struct.Struct(">16sQ16s")  # the approved act's id, the entry's index, the entry's id


class _Enrolled(NamedTuple):
    person: str
    at: int
    leaf: int


class _Done(NamedTuple):
    """An act as its entry tells of it."""

    leaf: int
    id: str
    at: int
    body: Mapping[str, Any]


class ApprovedActs:
    """`see` each entry in the log's order, then `finish`. `directory` must not exist; it is the caller's to remove.

    `in_force` hears of activations from somebody else, and knows them all by `finish`. `origin` is the log's. Memory
    grows with persons' keys, up to a bound.
    """

    def __init__(
        self, findings: Findings, book: RuleBook, in_force: SnapshotsInForce, origin: str, directory: Path
    ) -> None:
        self._findings = findings
        self._book = book
        self._in_force = in_force
        self._origin = origin
        directory.mkdir(mode=0o700)
        self._path = directory / "acts"
        self._buffer = bytearray()
        self._used = Spool(directory / "used", _USE.size)
        self._enrolled: dict[str, _Enrolled] = {}
        self._retired: dict[str, int] = {}
        self._told: set[str] = set()
        self._restored_at: int | None = None
        self.looked_at = 0  # acts under a rule, or that say they were
        self.left_out = 0  # of all, those of which nobody can say whether they were

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        if envelope["kind"] != CHANGE:
            return
        body, at = envelope["body"], envelope["at"]
        act, key = body.get("act"), body.get("key")
        if act == RESTORE:
            self._restored_at = at
        elif act == PERSON_ENROL:
            self._see_enrolment(index, at, key, body.get("person"))
        elif act == PERSON_CARRY:
            counts = self._restored_at is not None and 0 <= at - self._restored_at <= ACT_US
            if counts:
                self._see_enrolment(index, at, key, body.get("person"))
            detail = f"{body.get('person')!r:.80}, key {key!r:.80}"
            detail += "" if counts else ": no restoration explains it, and it does not count"
            self._findings.add(PERSON_CARRIED, detail, index, envelope["id"])
        elif act == PERSON_RETIRE and isinstance(key, str) and len(self._retired) < KEYS_KEPT_MAX:
            self._retired[key[:_KEY_LENGTH]] = min(at, self._retired.get(key, at))
        if act in APPROVABLE_ACTS or APPROVAL in body:
            record = orjson.dumps([index, envelope["id"], at, body])
            self._buffer += _LENGTH.pack(len(record)) + record
            if len(self._buffer) >= _BUFFER_BYTES:
                self._flush()

    def finish(self) -> None:
        for done in self._set_aside():
            if APPROVAL in done.body:
                self.looked_at += 1
                self._require_holds(done)
            else:
                self._require_undemanded(done)
        for records in self._used.partitions():
            self._look_for_twins(records)

    # As they come

    def _see_enrolment(self, index: int, at: int, key: object, person: object) -> None:
        if not isinstance(key, str) or not isinstance(person, str) or len(self._enrolled) >= KEYS_KEPT_MAX:
            return
        if KEY.fullmatch(key) and NAME.fullmatch(person) and not is_weak(bytes.fromhex(key)):
            self._enrolled.setdefault(key, _Enrolled(person, at, index))  # a key belongs to one person for ever

    def _flush(self) -> None:
        with self._path.open("ab") as file:
            file.write(self._buffer)
        self._buffer.clear()

    def _set_aside(self) -> Iterator[_Done]:
        self._flush()
        with self._path.open("rb") as file:
            while header := file.read(_LENGTH.size):
                yield _Done(*orjson.loads(file.read(_LENGTH.unpack(header)[0])))

    # In the end

    def _require_undemanded(self, done: _Done) -> None:
        """It bears no approval: of the snapshots that may have been in force, one at least demands none."""
        digests = self._in_force.at(done.at)
        if not digests:
            self.left_out += 1
            self._tell_once(RULES_UNKNOWN, f"the first is {done.body['act']}", done)
            return
        demanded: list[ApprovalRule] = []
        for digest in digests:
            rules = self._rules(digest, done)
            if rules is None:
                self.left_out += 1
                return
            demanded += [rule for rule in rules if rule.act == done.body["act"]]
        if len(demanded) == len(digests):
            self.looked_at += 1
            rule = demanded[-1]
            detail = f"{rule.act}, under {digests[-1][:16]}: {rule.needed} of {', '.join(rule.approvers)}"
            self._findings.add(APPROVAL_MISSING, detail[:400], done.leaf, done.id)

    def _require_holds(self, done: _Done) -> None:
        act, record = done.body.get("act"), done.body[APPROVAL]
        try:
            approval = approval_of_record(record)
            used = packed(approval.act.id)
            self._used.add(used, _USE.pack(used, done.leaf, packed(done.id)))
            digest, needed = record["snapshot"], record["needed"]
            digests = self._in_force.at(done.at)
            if not isinstance(digest, str) or (digests and digest not in digests):
                raise ApprovalError(f"the snapshot that it names, {digest!r:.80}, was not in force")
            rules = self._rules(digest, done)
            if rules is None:
                self.left_out += 1
                return
            wanted = Wanted(str(act), parameters_told(done.body), self._origin)
            approved = require_approval(wanted, [approval], rules, self._persons(approval, done), now_us=done.at)
            if approved is not None and (type(needed) is not int or needed != approved.needed):
                raise ApprovalError(f"it says that {needed!r:.20} were needed, and the rule says {approved.needed}")
        except ApprovalError as error:
            self._findings.add(APPROVAL_INVALID, f"{act!r:.80}: {error.message:.300}", done.leaf, done.id)

    def _rules(self, digest: str, done: _Done) -> tuple[ApprovalRule, ...] | None:
        """None, with a finding, where they can't be read."""
        try:
            return self._book.rules(digest).stored.catalogue.approvals
        except SnapshotMissing:
            self._tell_once(SNAPSHOT_MISSING, f"{digest}, whose rules say which acts need approval", done)
        except SnapshotError as error:
            self._tell_once(SNAPSHOT_UNUSABLE, f"{digest}: {error.message}", done)
        return None

    def _persons(self, approval: Approval, done: _Done) -> list[PersonKey]:
        """Of the keys that signed, those that this log had enrolled by then."""
        found: list[PersonKey] = []
        for signature in approval.signatures:
            enrolled = self._enrolled.get(signature.key)
            if enrolled is not None and (enrolled.at <= done.at or enrolled.leaf < done.leaf):
                retired = self._retired.get(signature.key)
                found.append(PersonKey(enrolled.person, signature.key, enrolled.at, retired))
        return found

    def _look_for_twins(self, records: Iterable[bytes]) -> None:
        first: dict[bytes, int] = {}
        for record in records:
            act, leaf, identifier = _USE.unpack(record)
            if act in first:
                detail = f"entry {first[act]} bears it too"
                self._findings.add(APPROVAL_USED_AGAIN, detail, leaf, unpacked(identifier))
            else:
                first[act] = leaf

    def _tell_once(self, kind: Kind, detail: str, done: _Done) -> None:
        """Of what concerns many acts at once, the first."""
        if kind.code + detail not in self._told:
            self._told.add(kind.code + detail)
            self._findings.add(kind, f"{detail}, from here on", done.leaf, done.id)
