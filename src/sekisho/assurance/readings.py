"""Depth 3 of an audit: what a snapshot takes for observed, the log tells that probes have read.

1. Each reading in a snapshot that came in force stands in an `observation` of control's, before it came in force; or it
   stood in the snapshot before it already.
2. The facts, and what policies see of them, are what these readings make of the declarations, and nothing else.
3. A snapshot with readings that is decided under came in force by the log.

A restored installation begins with what it had: its readings stand in the log before it.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from sekisho.assurance.kinds import OBSERVED_UNSUPPORTED
from sekisho.assurance.rulebook import RuleBook
from sekisho.assurance.snapshots_in_force import ACTIVATE
from sekisho.catalog.interfaces import ObservedFact, Reading
from sekisho.catalog.observations import as_recorded, observed_facts
from sekisho.ledger.findings import Findings
from sekisho.policy.entities import observed_part
from sekisho.snapshot.interfaces import SnapshotError, StoredRules

OBSERVATION: Final = "observation"
CHANGE: Final = "change"
DECISION: Final = "decision"
CONTROL: Final = "control"  # what others read (`sekisho probe`) puts nothing in force
RESTORE: Final = "ledger.restore"
BEFORE_KEPT: Final = 64  # snapshots whose readings are known: a new one is made of the one in force
LATEST_MAX: Final = 200_000  # (deployment, method): far more than can be declared; about 40 MB
USED_MAX: Final = 10_000  # snapshots that are decided under, and did not come in force yet

Key = tuple[str, str]  # (deployment, method)


class _Use(NamedTuple):
    leaf: int
    id: str
    request: str | None


class SupportedReadings:
    """`see` each entry in the log's order, then `finish`. What control writes stands in its order."""

    def __init__(self, findings: Findings, book: RuleBook) -> None:
        self._findings = findings
        self._book = book
        self._latest: dict[Key, bytes] = {}  # what control has read last, by its digest
        self._held: OrderedDict[str, frozenset[bytes] | None] = OrderedDict()  # None: the snapshot could not be had
        self._in_force: set[str] = set()
        self._used: dict[str, _Use] = {}
        self._beyond: _Use | None = None  # the first that found no room
        self._is_restored = False

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        body, kind = envelope["body"], envelope["kind"]
        if kind == OBSERVATION and envelope["actor"] == CONTROL:
            self._see_observation(body)
        elif kind == CHANGE and body.get("act") == RESTORE:
            self._is_restored = True
        elif kind == CHANGE and body.get("act") == ACTIVATE and isinstance(body.get("snapshot"), str):
            self._see_activation(index, envelope, body["snapshot"], body.get("before"))
        elif kind == DECISION and isinstance(body.get("input"), dict):
            snapshot = str(body["input"].get("snapshot"))[:64]
            if snapshot in self._in_force or snapshot in self._used:
                return
            use = _Use(index, envelope["id"], envelope.get("request"))
            if len(self._used) < USED_MAX:
                self._used[snapshot] = use
            elif self._beyond is None:
                self._beyond = use

    def finish(self) -> None:
        for snapshot, use in self._used.items():
            if snapshot in self._in_force:
                continue
            try:
                stored = self._book.rules(snapshot).stored
            except SnapshotError:
                continue  # its decisions can't be made again either, and that is told
            if stored.observed.readings:
                detail = f"{snapshot}: the log does not tell that it came in force"
                self._findings.add(OBSERVED_UNSUPPORTED, detail, *use)
        if self._beyond is not None:
            detail = f"more than {USED_MAX} snapshots did not come in force: those from here on were not looked at"
            self._findings.add(OBSERVED_UNSUPPORTED, detail, *self._beyond)

    def _see_observation(self, body: Mapping[str, Any]) -> None:
        deployment, rows = body.get("deployment"), body.get("readings")
        for row in rows if isinstance(rows, list) else ():
            if not isinstance(row, dict) or "failed" in row:
                continue
            key = (str(deployment), str(row.get("method")))
            if key in self._latest or len(self._latest) < LATEST_MAX:  # what is beyond supports nothing
                self._latest[key] = _digest(key[0], row)

    def _see_activation(self, index: int, envelope: Mapping[str, Any], snapshot: str, before: Any) -> None:
        self._in_force.add(snapshot)
        begins, self._is_restored = self._is_restored and before == snapshot, False
        held: frozenset[bytes] | None = None
        try:
            stored = self._book.rules(snapshot).stored
        except SnapshotError:
            pass  # told where something was decided under it; the next one may have any of its readings
        else:
            readings = stored.observed.readings
            held = frozenset(_of_reading(one) for one in readings)
            carried = self._held.get(before, frozenset()) if isinstance(before, str) else frozenset()
            problem = None
            if not begins and carried is not None:
                problem = self._unsupported(readings, carried)
            problem = problem or _underived(stored)
            if problem is not None:
                self._findings.add(OBSERVED_UNSUPPORTED, f"{snapshot}: {problem}", index, envelope["id"])
        self._held[snapshot] = held
        self._held.move_to_end(snapshot)
        if len(self._held) > BEFORE_KEPT:
            self._held.popitem(last=False)

    def _unsupported(self, readings: tuple[Reading, ...], carried: frozenset[bytes]) -> str | None:
        for one in readings:
            digest = _of_reading(one)
            if digest != self._latest.get((one.deployment, one.method)) and digest not in carried:
                return f"no entry tells of what {one.method} has read of {one.deployment}"
        return None


def _underived(stored: StoredRules) -> str | None:
    """What of a snapshot's facts does not follow from its readings.

    By this version's rules: one that changes them must know the older ones by the snapshot's format.
    """
    observed = stored.observed
    expected = observed_facts(stored.declared, observed.readings, observed.site)
    if _plain(expected) != _plain(observed.facts):
        return "its facts are not what its readings make of the declarations"
    if observed.entities != (observed_part(stored.declared, observed.facts) if observed.readings else b""):
        return "policies see other facts than it observes"
    return None


def _plain(facts: Mapping[tuple[str, str], ObservedFact]) -> dict[tuple[str, str], ObservedFact]:
    """Without the words in which the evidence is told, which another version of this software may choose otherwise."""
    return {key: msgspec.structs.replace(fact, source="") for key, fact in facts.items()}


def _of_reading(reading: Reading) -> bytes:
    return _digest(reading.deployment, as_recorded(reading))


def _digest(deployment: str, row: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(orjson.dumps([deployment, row], option=orjson.OPT_SORT_KEYS)).digest()
