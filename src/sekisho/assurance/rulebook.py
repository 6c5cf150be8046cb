"""The rules of each snapshot that a log names, read when first needed and a few kept."""

import bisect
from collections import OrderedDict
from typing import Final

from sekisho.catalog.interfaces import MODE_MONITOR
from sekisho.policy.interfaces import Decider, DeciderFactory
from sekisho.snapshot.interfaces import SnapshotError, StoredRules, StoredSnapshots, catalogue_at, epoch_ends

RULES_KEPT: Final = 8  # a log goes from one snapshot to the next; a large one takes tens of megabytes
DECIDERS_KEPT: Final = 4
REFUSED_KEPT: Final = 1_000  # snapshots that can't be had: asked for once, not for each of a million decisions


class Rules:
    """A snapshot's rules, with what an audit asks of its catalogue."""

    def __init__(self, stored: StoredRules) -> None:
        catalogue = stored.catalogue
        self.stored = stored
        self.epoch_ends = epoch_ends(catalogue)
        self.sites = frozenset(site.name for site in catalogue.sites)
        self.providers = {deployment.name: deployment.provider for deployment in catalogue.deployments}
        self.upstream_models = {deployment.name: deployment.upstream_model for deployment in catalogue.deployments}
        self.signing_in = frozenset(one.name for one in catalogue.organisations if one.issuers or one.certificates)

    def epoch_at(self, instant_us: int) -> int:
        """The start of the epoch that holds an instant."""
        place = bisect.bisect_right(self.epoch_ends, instant_us)
        return self.epoch_ends[place - 1] if place else 0

    def watching(self, epoch_from: int) -> frozenset[str]:
        """The organisations in monitor mode, in that epoch."""
        organisations = catalogue_at(self.stored.catalogue, epoch_from).organisations
        return frozenset(one.name for one in organisations if one.mode == MODE_MONITOR)


class RuleBook:
    """Raises SnapshotError for snapshots that aren't there or are damaged, PolicyError for those that don't decide."""

    def __init__(self, snapshots: StoredSnapshots, make_decider: DeciderFactory) -> None:
        self._snapshots = snapshots
        self._make_decider = make_decider
        self._rules: OrderedDict[str, Rules] = OrderedDict()
        self._refused: dict[str, SnapshotError] = {}
        self._deciders: OrderedDict[tuple[str, int], Decider] = OrderedDict()

    def rules(self, digest: str) -> Rules:
        rules = self._rules.get(digest)
        if rules is None:
            rules = self._rules[digest] = Rules(self._stored(digest))
            if len(self._rules) > RULES_KEPT:
                self._rules.popitem(last=False)
        else:
            self._rules.move_to_end(digest)
        return rules

    def _stored(self, digest: str) -> StoredRules:
        refused = self._refused.get(digest)
        if refused is not None:
            raise refused.with_traceback(None)
        try:
            return self._snapshots.rules(digest)
        except SnapshotError as error:
            if len(self._refused) < REFUSED_KEPT:
                self._refused[digest] = error
            raise

    def decider(self, digest: str, epoch_from: int) -> Decider:
        key = (digest, epoch_from)
        decider = self._deciders.get(key)
        if decider is None:
            parts = self.rules(digest).stored.parts
            decider = self._deciders[key] = self._make_decider(parts, snapshot=digest, epoch_from=epoch_from)
            if len(self._deciders) > DECIDERS_KEPT:
                self._deciders.popitem(last=False)
        else:
            self._deciders.move_to_end(key)
        return decider
