"""Recorded inputs held against rules that they were not decided under. Pure."""

from sekisho.catalog.interfaces import MODE_MONITOR
from sekisho.policy.fate import NO_SUCH_MODEL, Fate, Met, met
from sekisho.policy.interfaces import DecisionInput
from sekisho.snapshot.interfaces import Snapshot


class Replay:
    """A snapshot, in one epoch, as what a recorded request would meet. Belongs to one thread, as its decider does.

    Class, residency and labels are taken as they stand in the input: what they were made from is not recorded.
    """

    def __init__(self, snapshot: Snapshot, *, without: frozenset[str] = frozenset()) -> None:
        """`without`: deployments that are taken not to be there."""
        self.snapshot = snapshot
        self._without = without

    def met(self, recorded: DecisionInput) -> Met:
        """What it would meet now. Never raises for what is in it: what does not fit these rules is denied."""
        snapshot = self.snapshot
        if recorded.model not in snapshot.deployments_by_model:
            return Met(Fate.NO_MODEL, causes=(NO_SUCH_MODEL,))
        asked = recorded._replace(snapshot=snapshot.digest, epoch_from=snapshot.epoch_from)
        organisation = snapshot.organisations.get(asked.principal.organisation)
        watching = organisation is not None and organisation.mode == MODE_MONITOR
        decider = snapshot.decider
        return met(decider.decide(asked), decider.policies, watching=watching, without=self._without)
