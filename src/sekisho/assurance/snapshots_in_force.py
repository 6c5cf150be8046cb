"""Which snapshot was in force when, as the log's own entries tell, and whether requests were decided under it. Pure.

Memory is bounded: beyond ACTIVATIONS_MAX the oldest activations are forgotten, and the log counts as not telling of the
time before those that are left.
"""

import bisect
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sekisho.assurance.kinds import SNAPSHOT_SUPERSEDED
from sekisho.ledger.findings import Findings

ACTIVATE: Final = "snapshot.activate"
TAKEN_OVER_US: Final = 60_000_000  # gateways follow in about a second; a large snapshot takes longer to load
ACT_US: Final = 10_000_000  # from reading the rules to the act itself, which may wait 5 s for the register
ACTIVATIONS_MAX: Final = 262_144  # about 40 MB; seven years of one each quarter of an hour, as probes may make them
WAITING_MAX: Final = 65_536  # requests, about 30 MB; activations stand within seconds of the decisions under them
_DIGEST_LENGTH: Final = 64  # a longer text is no digest, and is not kept whole


class _Use(NamedTuple):
    arrived_us: int
    at: int
    snapshot: str
    leaf: int
    id: str
    request: str


class SnapshotsInForce:
    """Activations may stand in the log after the first decisions under them: another process wrote them. What can't
    be told at once waits, WAITING_MAX others at most."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._times: list[int] = []
        self._digests: list[str] = []
        self._waiting: deque[_Use] = deque()
        self._initial: str | None = None  # what was in force before the first activation

    def see_act(self, envelope: Mapping[str, Any]) -> None:
        body = envelope["body"]
        if body.get("act") == ACTIVATE and isinstance(body.get("snapshot"), str):
            place = bisect.bisect_right(self._times, envelope["at"])
            if place == 0:
                before = body.get("before")
                self._initial = before[:_DIGEST_LENGTH] if isinstance(before, str) else None
            self._times.insert(place, envelope["at"])
            self._digests.insert(place, body["snapshot"][:_DIGEST_LENGTH])
            if len(self._times) > ACTIVATIONS_MAX:
                self.finish()  # while it can be told
                gone = len(self._times) // 2
                del self._times[:gone], self._digests[:gone]
                self._initial = None

    def see_first_attempt(self, index: int, envelope: Mapping[str, Any], snapshot: str, arrived_us: int) -> None:
        name = snapshot[:_DIGEST_LENGTH]
        use = _Use(arrived_us, envelope["at"], name, index, envelope["id"], envelope["request"])
        if not self._fits(use):
            self._waiting.append(use)
            if len(self._waiting) > WAITING_MAX:
                self._tell(self._waiting.popleft())

    def at(self, instant_us: int) -> tuple[str, ...]:
        """Those whose rules may have counted for an act of that time, the oldest first; empty where the log does not
        tell. To be asked in the end, when all activations are known."""
        first = bisect.bisect_right(self._times, instant_us - ACT_US) - 1
        found = self._digests[max(0, first) : bisect.bisect_right(self._times, instant_us)]
        return (self._initial, *found) if first < 0 and self._times and self._initial is not None else tuple(found)

    def finish(self) -> None:
        while self._waiting:
            self._tell(self._waiting.popleft())

    def _tell(self, use: _Use) -> None:
        if self._fits(use):
            return
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
