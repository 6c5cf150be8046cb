"""Recorded inputs held against rules that they were not decided under. Pure."""

from typing import Self

from sekisho.catalog.interfaces import MODE_MONITOR, Catalogue
from sekisho.policy.fate import NO_SUCH_MODEL, Fate, Met, met
from sekisho.policy.interfaces import Decider, DeciderFactory, DecisionInput
from sekisho.snapshot.interfaces import Snapshot, StoredRules, catalogue_at, epoch_bounds


class Replay:
    """Rules in one epoch, as what a recorded request would meet. Belongs to one thread, as its decider does.

    Class, residency and labels are taken as they stand in the input: what they were made from is not recorded.
    """

    def __init__(self, snapshot: Snapshot, *, without: frozenset[str] = frozenset()) -> None:
        """`without`: deployments that are taken not to be there."""
        self._hold(snapshot.digest, snapshot.epoch_from, snapshot.catalogue, snapshot.decider)
        self._without = without

    @classmethod
    def of_rules(cls, stored: StoredRules, make_decider: DeciderFactory, now_us: int) -> tuple[Self, int | None]:
        """Of stored rules, in the epoch that holds `now_us`, and where that ends (None: never). Nothing that inspects
        is made ready. Raises PolicyError for rules that don't decide."""
        self = cls.__new__(cls)
        epoch_from, until = epoch_bounds(stored.catalogue, now_us)
        decider = make_decider(stored.parts, snapshot=stored.digest, epoch_from=epoch_from)
        self._hold(stored.digest, epoch_from, catalogue_at(stored.catalogue, epoch_from), decider)
        self._without = frozenset()
        return self, until

    def _hold(self, digest: str, epoch_from: int, catalogue: Catalogue, decider: Decider) -> None:
        self._digest, self._epoch_from, self._decider = digest, epoch_from, decider
        self._models = frozenset(one.name for one in catalogue.models)
        self._watching = frozenset(one.name for one in catalogue.organisations if one.mode == MODE_MONITOR)

    def met(self, recorded: DecisionInput) -> Met:
        """What it would meet now. Never raises for what is in it: what does not fit these rules is denied."""
        if recorded.model not in self._models:
            return Met(Fate.NO_MODEL, causes=(NO_SUCH_MODEL,))
        decision = self._decider.decide(recorded._replace(snapshot=self._digest, epoch_from=self._epoch_from))
        watching = recorded.principal.organisation in self._watching
        return met(decision, self._decider.policies, watching=watching, without=self._without)
