"""Depth 3 of an audit: every decision made again, from its recorded input and the snapshot that the input names.

Decisions with one input are one decision: what does not depend on the request is compared once and remembered by its
digest, so that a million entries cost about a million look-ups.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson

from sekisho.assurance.kinds import (
    CHOSEN_NOT_PERMITTED,
    DECISION_WRONG,
    DENIED_THOUGH_PERMITTED,
    ENGINE_DIFFERS,
    EPOCH_WRONG,
    INPUT_MALFORMED,
    MONITORED_WRONG,
    POLICIES_MISNAMED,
    PRINCIPAL_UNDECLARED,
    REASONS_DIFFER,
    RETENTION_WRONG,
    SCHEMA_DIFFERS,
    SITE_UNKNOWN,
    SNAPSHOT_MISSING,
    SNAPSHOT_UNUSABLE,
)
from sekisho.assurance.rulebook import RuleBook, Rules
from sekisho.assurance.snapshots_in_force import SnapshotsInForce
from sekisho.kernel.ids import is_uuid7, uuid7_time_us
from sekisho.ledger.findings import Findings, Kind
from sekisho.policy.decision_input import from_plain
from sekisho.policy.errors import DecisionInputError, PolicyPartsError
from sekisho.policy.interfaces import RETAIN, SEND_RAW, SEND_REDACTED, Decider, Decision, DecisionInput
from sekisho.policy.monitor import monitored
from sekisho.snapshot.interfaces import SnapshotError, SnapshotMissing

DECISION: Final = "decision"
CHANGE: Final = "change"
CHECKED_MAX: Final = 65_536  # about 40 MB; then those not asked for again are forgotten
_SHOWN_MAX: Final = 3
TOLD_MAX: Final = 10_000  # different things that concern thousands of entries; what comes beyond is told each time
_PSEUDONYMS: Final = ("oidc-", "cert-")

Route = tuple[str, str]  # action, deployment


class Checked(NamedTuple):
    """What is the same for all decisions with equal input and verdicts.

    `problems` are found on each of them. `permitted` and `lifted` (what monitor mode may let pass; None: nothing) are
    as decided here. `rules` is None where there was nothing to decide with: then nothing else counts.
    """

    problems: tuple[tuple[Kind, str], ...]
    permitted: frozenset[Route] = frozenset()
    lifted: frozenset[Route] | None = None
    rules: Rules | None = None
    asked: DecisionInput | None = None


class Reperformance:
    """`see` each entry in the log's order, then `finish`."""

    def __init__(self, findings: Findings, book: RuleBook, *, checked_max: int = CHECKED_MAX) -> None:
        self._checked_max = checked_max
        self._findings = findings
        self._book = book
        self.in_force = SnapshotsInForce(findings)
        self._young: dict[bytes, Checked] = {}
        self._old: dict[bytes, Checked] = {}
        self._told: set[str] = set()
        self.decided = 0  # decisions that were made again
        self.distinct = 0  # of them, those that the engine was asked for
        self.left_out = 0  # for want of a snapshot

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        if envelope["kind"] == CHANGE:
            self.in_force.see_act(envelope)
        if envelope["kind"] != DECISION:
            return
        body = envelope["body"]
        checked = self._checked(body)
        for kind, detail in checked.problems:
            if kind in (SNAPSHOT_MISSING, SNAPSHOT_UNUSABLE, ENGINE_DIFFERS):
                self._tell_once(kind, detail, index, envelope)
            else:
                self._findings.add(kind, detail, index, envelope["id"], envelope.get("request"))
        if checked.rules is None or checked.asked is None:
            self.left_out += 1
            return
        self.decided += 1
        self._require_chosen(index, envelope, checked)
        self._look_at_time(index, envelope, checked.rules, checked.asked)
        if envelope["site"] not in checked.rules.sites:
            self._tell_once(SITE_UNKNOWN, f"{envelope['site']!r:.80}", index, envelope)

    def finish(self) -> None:
        self.in_force.finish()

    # What many decisions share

    def _checked(self, body: Mapping[str, Any]) -> Checked:
        parts = [body.get(name) for name in ("input", "candidates", "policies", "engine", "schema")]
        if RETAIN in body:  # what is kept hangs on where it was sent, too
            parts += [body[RETAIN], body.get("chosen")]
        key = hashlib.sha256(orjson.dumps(parts)).digest()
        checked = self._young.get(key)
        if checked is None:
            checked = self._old.get(key)
            if checked is None:
                checked = self._check(body)
            if len(self._young) >= self._checked_max // 2:
                self._old, self._young = self._young, {}
            self._young[key] = checked
        return checked

    def _check(self, body: Mapping[str, Any]) -> Checked:
        try:
            asked = from_plain(body.get("input"))
        except DecisionInputError as error:
            return Checked(((INPUT_MALFORMED, error.message),))
        try:
            rules = self._book.rules(asked.snapshot)
            if asked.epoch_from and asked.epoch_from not in rules.epoch_ends:
                return Checked(((EPOCH_WRONG, f"nothing begins at {asked.epoch_from} in its snapshot"),))
            decider = self._book.decider(asked.snapshot, asked.epoch_from)
        except SnapshotMissing:
            return Checked(((SNAPSHOT_MISSING, asked.snapshot),))
        except (SnapshotError, PolicyPartsError) as error:
            return Checked(((SNAPSHOT_UNUSABLE, f"{asked.snapshot}: {error.message}"),))
        self.distinct += 1
        decision = decider.decide(asked)
        problems = _differences(body, decision, decider)
        if RETAIN in body:
            problems += _retention_differs(body, asked, decider)
        organisation = asked.principal.organisation
        if asked.principal.id.startswith(_PSEUDONYMS) and organisation not in rules.signing_in:
            problems.append((PRINCIPAL_UNDECLARED, f"{asked.principal.id:.80} of {organisation:.80}"))
        lifted = None
        if organisation in rules.watching(asked.epoch_from):
            watched = monitored(decision, decider.policies)
            lifted = None if watched is None else _routes(watched.permitted_raw, watched.permitted_redacted)
        permitted = _routes(decision.permitted_raw, decision.permitted_redacted)
        return Checked(tuple(problems), permitted, lifted, rules, asked)

    # What is each decision's own

    def _require_chosen(self, index: int, envelope: Mapping[str, Any], checked: Checked) -> None:
        body = envelope["body"]
        chosen, was_monitored = body.get("chosen"), body.get("monitored", False)
        found: tuple[Kind, str] | None = None
        if chosen is None:
            if checked.permitted:
                found = DENIED_THOUGH_PERMITTED, f"permitted: {_shown(checked.permitted)}"
            elif was_monitored is not False:
                found = MONITORED_WRONG, "a denial says that monitor mode let it pass"
        else:
            route = (str(chosen.get("action")), str(chosen.get("deployment"))) if isinstance(chosen, dict) else ("", "")
            if was_monitored is True:
                if checked.permitted or checked.lifted is None or route not in checked.lifted:
                    found = MONITORED_WRONG, f"it was sent to {route[1]:.80} by {route[0]:.20}"
            elif route not in checked.permitted:
                found = CHOSEN_NOT_PERMITTED, f"it was sent to {route[1]:.80} by {route[0]:.20}"
        if found is not None:
            self._findings.add(*found, index, envelope["id"], envelope.get("request"))

    def _look_at_time(self, index: int, envelope: Mapping[str, Any], rules: Rules, asked: DecisionInput) -> None:
        request, at = envelope.get("request"), envelope["at"]
        # The request's id is stamped on its arrival: it was decided on then or later, and recorded at `at`.
        arrived_us = min(at, uuid7_time_us(request)) if isinstance(request, str) and is_uuid7(request) else at
        earliest, latest = rules.epoch_at(arrived_us), rules.epoch_at(at)
        if not earliest <= asked.epoch_from <= latest:
            detail = f"epoch {asked.epoch_from}, where it must be {earliest} to {latest}"
            self._findings.add(EPOCH_WRONG, detail, index, envelope["id"], request)
        if envelope["body"].get("attempt") == 1:  # later ones keep the snapshot of the first
            self.in_force.see_first_attempt(index, envelope, asked.snapshot, arrived_us)

    def _tell_once(self, kind: Kind, detail: str, index: int, envelope: Mapping[str, Any]) -> None:
        """Of what concerns thousands of entries at once, the first."""
        if kind.code + detail not in self._told:
            if len(self._told) < TOLD_MAX:
                self._told.add(kind.code + detail)
            self._findings.add(kind, f"{detail}, from here on", index, envelope["id"], envelope.get("request"))


def _differences(body: Mapping[str, Any], decision: Decision, decider: Decider) -> list[tuple[Kind, str]]:
    """What of a recorded decision is not as the engine decides."""
    problems: list[tuple[Kind, str]] = []
    recorded = body.get("candidates")
    if orjson.dumps(recorded) != decision.candidates_bytes:
        before, now = _permissions(recorded), _permissions(orjson.loads(decision.candidates_bytes))
        if before != now:
            changed = sorted(route for route in before.keys() | now.keys() if before.get(route) != now.get(route))
            told = [f"{d} by {a}: {_said(before, (a, d))} recorded, {_said(now, (a, d))} decided" for a, d in changed]
            more = f" and {len(told) - _SHOWN_MAX} more" if len(told) > _SHOWN_MAX else ""
            problems.append((DECISION_WRONG, "; ".join(one[:200] for one in told[:_SHOWN_MAX]) + more))
        else:
            problems.append((REASONS_DIFFER, f"decided: {decision.candidates_bytes.decode():.300}"))
    indexes = {reason for verdict in decision.verdicts for reason in verdict.reasons}
    indexes.update(number for number in _reasons(body.get(RETAIN)) if 0 <= number < len(decider.policies))
    named = {str(number): decider.policies[number].id for number in sorted(indexes)}
    if body.get("policies") != named:
        problems.append((POLICIES_MISNAMED, f"they are {named!r:.300}"))
    if body.get("schema") != decider.schema_digest:
        problems.append((SCHEMA_DIFFERS, f"it is {decider.schema_digest}"))
    if body.get("engine") != dict(decider.engine):
        problems.append((ENGINE_DIFFERS, f"{body.get('engine')!r:.100}, here {dict(decider.engine)!r:.100}"))
    return problems


def _retention_differs(body: Mapping[str, Any], asked: DecisionInput, decider: Decider) -> list[tuple[Kind, str]]:
    """What of a recorded retention is not as the engine decides. (None recorded is none: a gateway may keep less.)"""
    chosen, recorded = body.get("chosen"), body[RETAIN]
    decided = None
    if isinstance(chosen, dict) and chosen.get("action") in (SEND_RAW, SEND_REDACTED):
        labels = asked.labels_raw if chosen["action"] == SEND_RAW else asked.labels_redacted
        retention = decider.retention(asked, str(chosen.get("deployment")), labels)
        decided = None if retention is None else {"days": retention.days, "reasons": list(retention.reasons)}
    if decided is None:
        return [(RETENTION_WRONG, f"recorded: {orjson.dumps(recorded).decode():.100}; decided: nothing may be kept")]
    if orjson.dumps(recorded) != orjson.dumps(decided):
        told = f"recorded: {orjson.dumps(recorded).decode():.100}; decided: {orjson.dumps(decided).decode():.100}"
        return [(RETENTION_WRONG, told)]
    return []


def _reasons(retain: Any) -> list[int]:
    """The indexes of policies in what may be anything."""
    reasons = retain.get("reasons") if isinstance(retain, dict) else None
    return [one for one in reasons if type(one) is int] if isinstance(reasons, list) else []


def _permissions(candidates: Any) -> dict[Route, bool]:
    """Route → permitted, of what may be anything."""
    found: dict[Route, bool] = {}
    for group in candidates if isinstance(candidates, list) else ():
        if isinstance(group, dict) and isinstance(group.get("deployments"), list):
            for deployment in group["deployments"]:
                found[str(group.get("action")), str(deployment)] = group.get("permitted") is True
    return found


def _said(permissions: dict[Route, bool], route: Route) -> str:
    return {True: "permitted", False: "denied", None: "no candidate"}[permissions.get(route)]


def _routes(raw: tuple[str, ...], redacted: tuple[str, ...]) -> frozenset[Route]:
    return frozenset([*((SEND_RAW, name) for name in raw), *((SEND_REDACTED, name) for name in redacted)])


def _shown(routes: frozenset[Route]) -> str:
    return ", ".join(sorted(deployment for _, deployment in routes)[:_SHOWN_MAX])
