"""The snapshot, as other contexts see it.

Manifest (canonical JSON): `{"format":1,"parts":[{"layer","name","sha256","size"}…],"software_min":"0.1.0"}`, parts
sorted by (layer, name); no time, no path. Its SHA-256 names the snapshot and stands in every decision.
Layers: `authority` (policies, schema, entities, inspection rules, catalogue) and `site` (observations, and what they
make of the entities).
On disk, under `snapshots/`: `parts/<sha256>`, `<manifest sha256>.json`, and `current` (the digest in force, a line).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from sekisho.catalog.interfaces import Catalogue, Deployment, Organisation
from sekisho.inspection.interfaces import Inspector
from sekisho.policy.interfaces import Decider, PolicyParts
from sekisho.snapshot.epochs import catalogue_at as catalogue_at
from sekisho.snapshot.epochs import epoch_bounds as epoch_bounds
from sekisho.snapshot.epochs import epoch_ends as epoch_ends
from sekisho.snapshot.errors import SnapshotError as SnapshotError
from sekisho.snapshot.errors import SnapshotMissing as SnapshotMissing
from sekisho.snapshot.observed import Observed as Observed


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A loaded snapshot, ready to decide with. A request sees exactly one.

    `epoch_from` and `epoch_until` (µs UTC; until exclusive, None: never) bound the span of time in which nothing
    time-dependent (a fact that expires) changes; past it, ask `SnapshotStore.load` again.
    """

    digest: str
    catalogue: Catalogue
    decider: Decider
    inspector: Inspector
    inspector_aside: Inspector  # of the same rules, for another thread: an inspector belongs to one
    epoch_from: int
    epoch_until: int | None
    deployments: Mapping[str, Deployment]
    deployments_by_model: Mapping[str, tuple[Deployment, ...]]
    organisations: Mapping[str, Organisation]
    class_ranks: Mapping[str, int]  # position in boundary.toml, 0 lowest


@dataclass(frozen=True, slots=True)
class StoredRules:
    """What a stored snapshot decides with, verified part by part: for every epoch, nothing made ready.

    `catalogue` is as `declared` and observed: facts with their ends.
    """

    digest: str
    catalogue: Catalogue
    parts: PolicyParts
    declared: Catalogue
    observed: Observed


class StoredSnapshots(Protocol):
    def rules(self, digest: str) -> StoredRules:
        """The rules of a stored snapshot. Blocking. Raises SnapshotError: SnapshotMissing if it isn't there."""
        ...
