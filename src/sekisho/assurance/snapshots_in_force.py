"""Which snapshot was in force when, as the log's own entries tell, and whether requests were decided under it. Pure."""

import bisect
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sekisho.assurance.kinds import SNAPSHOT_SUPERSEDED
from sekisho.ledger.findings import Findings

ACTIVATE: Final = "snapshot.activate"
TAKEN_OVER_US: Final = 60_000_000  # gateways follow in about a second; a large snapshot takes longer to load
ACT_US: Final = 10_000_000  # from reading the rules to the act itself, which may wait 5 s for the register
WAITING_MAX: Final = 10_000


class _Use(NamedTuple):
    arrived_us: int
    at: int
    snapshot: str
    leaf: int
    id: str
    request: str


class SnapshotsInForce:
    """Activations may stand in the log after the first decisions under them: another process wrote them. What can't
    be told at once waits for the end."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._times: list[int] = []
        self._digests: list[str] = []
        self._waiting: list[_Use] = []
        self._initial: str | None = None  # what was in force before the first activation

    def see_act(self, envelope: Mapping[str, Any]) -> None:
        body = envelope["body"]
        if body.get("act") == ACTIVATE and isinstance(body.get("snapshot"), str):
            place = bisect.bisect_right(self._times, envelope["at"])
            if place == 0:
                before = body.get("before")
                self._initial = before if isinstance(before, str) else None
            self._times.insert(place, envelope["at"])
            self._digests.insert(place, body["snapshot"])

    def see_first_attempt(self, index: int, envelope: Mapping[str, Any], snapshot: str, arrived_us: int) -> None:
        use = _Use(arrived_us, envelope["at"], snapshot, index, envelope["id"], envelope["request"])
        if not self._fits(use) and len(self._waiting) < WAITING_MAX:
            self._waiting.append(use)

    def at(self, instant_us: int) -> tuple[str, ...]:
        """Those whose rules may have counted for an act of that time, the oldest first; empty where the log does not
        tell. To be asked in the end, when all activations are known."""
        first = bisect.bisect_right(self._times, instant_us - ACT_US) - 1
        found = self._digests[max(0, first) : bisect.bisect_right(self._times, instant_us)]
        return (self._initial, *found) if first < 0 and self._times and self._initial is not None else tuple(found)

    def finish(self) -> None:
        for use in self._waiting:
            if not self._fits(use):
                place = bisect.bisect_right(self._times, use.arrived_us - TAKEN_OVER_US) - 1
                late_us = use.arrived_us - self._times[place]
                detail = f"under {use.snapshot[:16]}, {late_us / 1_000_000:.0f} s after {self._digests[place][:16]}"
                self._findings.add(SNAPSHOT_SUPERSEDED, detail, use.leaf, use.id, use.request)

    def _fits(self, use: _Use) -> bool:
        first = bisect.bisect_right(self._times, use.arrived_us - TAKEN_OVER_US) - 1
        if first < 0:
            return True  # before the log tells of any: the one that the installation was made with
        end = bisect.bisect_right(self._times, use.at)
        return use.snapshot in self._digests[first:end]
