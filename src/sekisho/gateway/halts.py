"""What ends requests from outside: emergency stops, and rules that were replaced too long ago.

One per worker, on its loop. Every attempt that may be sending or answering stands in `Halts` as a `Passage`; what
ends it is told by calling `Passage.end`.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from sekisho.gateway.entries import Ended
from sekisho.gateway.errors import GatewayError, organisation_stopped, stopped, superseded
from sekisho.gateway.interfaces import InForce
from sekisho.identity.interfaces import KeyChanges
from sekisho.identity.stops import Stops

OUTLIVES_S: Final = 3_600.0  # an hour: longer than nearly every stream, short enough that new rules soon rule alone

log = logging.getLogger(__name__)


class Halt(NamedTuple):
    """Why a passage ends: what the caller is told, and what the outcome says."""

    error: GatewayError
    ended: Ended


End = Callable[[Halt], None]


class Passage:
    """One attempt under way. `end` is called at most once, and may be exchanged as the attempt goes on."""

    __slots__ = ("_superseded_at", "deployment", "end", "in_force", "organisation", "provider")

    def __init__(self, organisation: str, deployment: str, provider: str, in_force: InForce, end: End) -> None:
        self.organisation = organisation
        self.deployment = deployment
        self.provider = provider
        self.in_force = in_force
        self.end = end
        self._superseded_at: float | None = None

    def outlives(self, current: InForce | None, now_s: float, bound_s: float) -> bool:
        """Whether it has run for longer than `bound_s` since its rules were seen to be replaced, or to be over."""
        if self.in_force is current:
            return False
        if self._superseded_at is None:
            self._superseded_at = now_s
        return now_s - self._superseded_at >= bound_s


class Halts:
    """See the module. Implements the follower's AppliesChanges."""

    def __init__(self, outlives_s: float = OUTLIVES_S) -> None:
        self._stops = Stops()
        self._outlives_s = outlives_s
        self._passages: set[Passage] = set()

    @property
    def stops_set(self) -> int:
        return self._stops.count()

    def apply(self, changes: KeyChanges) -> None:
        """Take over stops that were set or lifted; what runs through a newly stopped thing ends now."""
        new = self._stops.apply(changes)
        for stop in new:
            log.warning("the %s %s is stopped", stop.kind, stop.name)
        if new:
            self._end((passage, halt) for passage in self._passages if (halt := self.why(passage)) is not None)

    def end_outliving(self, current: InForce | None, now_s: float) -> None:
        """End what has run for too long under other rules than the `current` ones (None: there are none just now).

        Asked again and again; `now_s` is monotonic.
        """
        bound_s = self._outlives_s
        self._end(
            (passage, Halt(superseded(), Ended.SUPERSEDED))  # one each: an error is raised by one task
            for passage in self._passages
            if passage.outlives(current, now_s, bound_s)
        )

    def require_organisation(self, name: str) -> None:
        """Raises OrganisationStopped."""
        if self._stops.organisation(name):
            raise organisation_stopped(name)

    def stopped(self, deployments: Iterable[tuple[str, str]]) -> frozenset[str]:
        """The names of those of `deployments`, given as (name, provider), to which nothing may be sent now."""
        return self._stops.of(deployments)

    def enter(self, passage: Passage) -> Passage:
        self._passages.add(passage)
        return passage

    def leave(self, passage: Passage) -> None:
        self._passages.discard(passage)

    def why(self, passage: Passage) -> Halt | None:
        """Why it must not go on, if a stop says so."""
        if self._stops.organisation(passage.organisation):
            return Halt(organisation_stopped(passage.organisation), Ended.STOPPED)
        if self._stops.deployment(passage.deployment, passage.provider):
            return Halt(stopped(), Ended.STOPPED)
        return None

    def _end(self, ending: Iterable[tuple[Passage, Halt]]) -> None:
        """Raises ExceptionGroup, after every one was told, with what telling raised."""
        failures: list[Exception] = []
        for passage, halt in list(ending):
            self._passages.discard(passage)
            try:
                passage.end(halt)
            except Exception as error:  # noqa: BLE001 - one passage's fault must not keep another alive
                failures.append(error)
        if failures:
            raise ExceptionGroup("passages that were to end failed", failures)
