"""Depth 3 of an audit: whatever was permitted by way of an exemption, somebody had approved exactly that exemption.

1. The log tells of the grant, with an approval whose signatures are good, for this log's origin.
2. What was approved is what the snapshot decides with: the same digest, and the same words for whom, what, until when.
3. It was granted before the decision.
Whether the approval met the rules, by persons who were enrolled, is looked at for every act alike, elsewhere.

A grant comes by way of the outbox and may stand behind what hangs on it, so all is held together in the end.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sekisho.assurance.kinds import EXEMPTION_UNGRANTED
from sekisho.assurance.rulebook import RuleBook
from sekisho.catalog.exemptions import grant_parameters
from sekisho.identity.acts import EXEMPTION_GRANT
from sekisho.identity.approvals import approval_of_record
from sekisho.identity.errors import ApprovalError
from sekisho.kernel import canonical
from sekisho.ledger.findings import Findings
from sekisho.policy.exemptions import exemption_rows
from sekisho.snapshot.interfaces import SnapshotError

CHANGE: Final = "change"
DECISION: Final = "decision"
KEPT_MAX: Final = 10_000  # grants, and uses of one exemption under one snapshot; about 20 MB
SKEW_US: Final = 5_000_000  # processes of one machine stamp their entries by clocks of their own


class _Grant(NamedTuple):
    at: int
    parameters: Mapping[str, Any]


class _Use(NamedTuple):
    """The first decision, by its time, that stands on an exemption as a snapshot has it."""

    at: int
    leaf: int
    id: str
    request: str | None


class GrantedExemptions:
    """`see` each entry in the log's order, then `finish`. `origin` is the log's."""

    def __init__(self, findings: Findings, book: RuleBook, origin: str) -> None:
        self._findings = findings
        self._book = book
        self._origin = origin
        self._grants: dict[str, _Grant] = {}
        self._left_out = 0  # grants that found no room
        self._uses: dict[tuple[str, str], _Use] = {}
        self._beyond: _Use | None = None  # the first use that found no room

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        body = envelope["body"]
        if envelope["kind"] == CHANGE and body.get("act") == EXEMPTION_GRANT:
            self._see_grant(index, envelope)
        elif envelope["kind"] == DECISION and isinstance(body.get("exemptions"), dict):
            asked = body.get("input")
            snapshot = asked.get("snapshot") if isinstance(asked, dict) else None
            use = _Use(envelope["at"], index, envelope["id"], envelope.get("request"))
            for name in body["exemptions"]:
                key = (str(snapshot)[:64], str(name)[:64])
                if key in self._uses or len(self._uses) < KEPT_MAX:
                    self._uses[key] = min(use, self._uses.get(key, use))
                else:
                    self._beyond = self._beyond or use

    def finish(self) -> None:
        for (snapshot, name), use in self._uses.items():
            problem = self._problem(snapshot, name, use)
            if problem is not None:
                self._findings.add(
                    EXEMPTION_UNGRANTED, f"{name}: {problem}, from here on", use.leaf, use.id, use.request
                )

        if self._beyond is not None:
            detail = f"more than {KEPT_MAX} exemptions are used: those from here on were not looked at"
            self._findings.add(EXEMPTION_UNGRANTED, detail, self._beyond.leaf, self._beyond.id, self._beyond.request)

    def _see_grant(self, index: int, envelope: Mapping[str, Any]) -> None:
        body = envelope["body"]
        parameters = {key: value for key, value in body.items() if key not in ("act", "approval")}
        try:
            act = approval_of_record(body.get("approval")).act if isinstance(body.get("approval"), dict) else None
        except ApprovalError as error:
            self._findings.add(
                EXEMPTION_UNGRANTED, f"the approval does not hold: {error.message:.200}", index, envelope["id"]
            )
            return
        if (
            act is None
            or act.act != EXEMPTION_GRANT
            or dict(act.parameters) != parameters
            or act.origin != self._origin
        ):
            self._findings.add(EXEMPTION_UNGRANTED, "the approval is not for what was granted", index, envelope["id"])
            return
        grant = _Grant(envelope["at"], parameters)
        if len(self._grants) < KEPT_MAX:
            self._grants.setdefault(act.parameters["sha256"], grant)
        else:
            self._left_out += 1

    def _problem(self, snapshot: str, name: str, use: _Use) -> str | None:
        try:
            stored = self._book.rules(snapshot).stored
        except SnapshotError:
            return None  # its decisions can't be made again either, and that is told
        declared = next((one for one in stored.catalogue.exemptions if one.name == name), None)
        # The bytes that decide, as they were compiled: not what they are said to be.
        rows = canonical.decode(stored.parts.policies).get("exemptions", [])
        row = next((one for one in rows if one["name"] == name), None)
        if declared is None or row not in canonical.decode(canonical.encode(exemption_rows(stored.catalogue))):
            return "the snapshot decides with another exemption than it declares"
        grant = self._grants.get(declared.sha256)
        if grant is None:
            more = f", but {self._left_out} grants were not looked at" if self._left_out else ""
            return f"no grant of it is in this log{more}"
        if grant.parameters != grant_parameters(declared):
            return "it covers something else than what was approved"
        if grant.at > use.at + SKEW_US:
            return "it was granted after it was used"
        return None
