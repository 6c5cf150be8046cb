"""Snapshots on disk: content-addressed parts, manifests by digest, and which one is in force.

Nothing read from here is trusted: every manifest and part is held against the digest that names it.
"""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec

from sekisho import __version__
from sekisho.catalog.evidence import is_earned
from sekisho.catalog.interfaces import Catalogue, Deployment
from sekisho.inspection.interfaces import Inspector
from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError
from sekisho.kernel.files import sync_directory, write_durable
from sekisho.policy.interfaces import DeciderFactory, PolicyParts, PolicyTitle
from sekisho.snapshot.build import CATALOGUE, ENTITIES, INSPECTION, POLICIES, SCHEMA, BuiltSnapshot
from sekisho.snapshot.epochs import catalogue_at, epoch_bounds
from sekisho.snapshot.errors import SnapshotDamaged, SnapshotMissing
from sekisho.snapshot.interfaces import Snapshot, StoredRules
from sekisho.snapshot.manifest import PART_BYTES_MAX, Manifest, Part, decode, encode
from sekisho.snapshot.observed import (
    AUTHORITY,
    OBSERVATIONS,
    OBSERVED_ENTITIES,
    SITE,
    Observed,
    decode_observed,
    observed_catalogue,
    observed_entities,
)

MANIFEST_BYTES_MAX: Final = 65_536
_CURRENT: Final = "current"
_SHADOW: Final = "shadow"  # the digest that runs beside it, a line
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_REBUILD: Final = "Build or import the snapshot again; other snapshots are not affected"


class SnapshotStore:
    """`snapshots/` of a data directory. One process writes (control), many read. Blocking; call it off the loop."""

    def __init__(
        self,
        root: Path,
        *,
        make_inspector: Callable[[bytes], Inspector],
        make_decider: DeciderFactory,
        software: str = __version__,
    ) -> None:
        """`make_inspector` gets the canonical inspection rules. The directory is made by the first `save`."""
        self._root = root
        self._parts = root / "parts"
        self._make_inspector = make_inspector
        self._make_decider = make_decider
        self._software = software

    def save(self, built: BuiltSnapshot) -> str:
        """Store a snapshot and return its digest; durable when this returns. It is not in force yet (`activate`).

        The manifest is written last: a crash leaves parts without a manifest, never the other way round. Raises
        OSError if something can't be written, SnapshotTooNew or SnapshotDamaged for a manifest we couldn't load.
        """
        manifest = decode(built.manifest, self._software)
        given = {(layer, name): data for (layer, name), data in built.parts.items()}
        if given.keys() != {(part.layer, part.name) for part in manifest.parts}:
            raise SnapshotDamaged("the manifest and the parts given don't match", remedy=_REBUILD)
        self._parts.mkdir(parents=True, exist_ok=True)
        for part in manifest.parts:
            data = given[part.layer, part.name]
            _require(data, part)
            if not self._holds(part):
                write_durable(self._parts / part.sha256, data)
        sync_directory(self._root.parent)
        write_durable(self._root / f"{built.digest}.json", built.manifest)
        return built.digest

    def activate(self, digest: str) -> None:
        """Put a stored snapshot in force; durable when this returns. Raises as `load` if it can't be used."""
        manifest = self._manifest(digest)
        for part in manifest.parts:
            self._part(part)
        write_durable(self._root / _CURRENT, f"{digest}\n".encode())

    def current(self) -> str | None:
        """The digest in force, or None before the first `activate`. Raises SnapshotDamaged for anything else there."""
        return self._named(_CURRENT)

    def shadow(self) -> str | None:
        """The digest of the shadow, which decides nothing, or None. Raises SnapshotDamaged for anything else there."""
        return self._named(_SHADOW)

    def set_shadow(self, digest: str | None) -> None:
        """Name a stored snapshot the shadow, or none; durable when this returns. Raises as `load`."""
        if digest is None:
            (self._root / _SHADOW).unlink(missing_ok=True)
            sync_directory(self._root)
            return
        for part in self._manifest(digest).parts:
            self._part(part)
        write_durable(self._root / _SHADOW, f"{digest}\n".encode())

    def _named(self, name: str) -> str | None:
        try:
            text = self._read(self._root / name, 128).decode("ascii", "replace")
        except SnapshotMissing:
            return None
        digest = text.removesuffix("\n")
        if not _DIGEST.fullmatch(digest):
            raise SnapshotDamaged(f"{name} doesn't name a snapshot", remedy=_REBUILD)
        return digest

    def load(self, digest: str, now_us: int) -> Snapshot:
        """The snapshot, verified part by part, ready for the epoch that holds `now_us` (µs UTC).

        Raises SnapshotMissing, SnapshotDamaged, SnapshotTooNew, or PolicyPartsError. Nothing on disk changes.
        """
        manifest = self._manifest(digest)
        for name in (CATALOGUE, ENTITIES, INSPECTION, POLICIES, SCHEMA):
            manifest.part(name)  # raises if it isn't there
        return self._assemble(digest, {(part.layer, part.name): self._part(part) for part in manifest.parts}, now_us)

    def assemble(self, built: BuiltSnapshot, now_us: int) -> Snapshot:
        """The same of a snapshot that was built and not stored. Nothing on disk is read or changed."""
        return self._assemble(built.digest, built.parts, now_us)

    def built(self, digest: str) -> BuiltSnapshot:
        """A stored snapshot's bytes; raises as `load`."""
        manifest = self._manifest(digest)
        return BuiltSnapshot(encode(manifest), {(part.layer, part.name): self._part(part) for part in manifest.parts})

    def catalogue(self, digest: str) -> Catalogue:
        """The catalogue of a stored snapshot as it was declared, ended facts included; raises as `load`."""
        return decode_catalogue(self._part(self._manifest(digest).part(CATALOGUE)))

    def observed(self, digest: str) -> Observed:
        """What a stored snapshot holds of this site's probes; raises as `load`."""
        manifest = self._manifest(digest)
        return decode_observed(self._of_site(manifest, OBSERVATIONS), self._of_site(manifest, OBSERVED_ENTITIES))

    def policy_titles(self, digest: str) -> tuple[PolicyTitle, ...]:
        """The policies of a stored snapshot as people know them, by index; raises as `load`."""
        part = self._part(self._manifest(digest).part(POLICIES))
        try:
            rows = canonical.decode(part)["policies"]
            return tuple(_policy_title(row) for row in rows)
        except (CanonicalError, KeyError, TypeError) as error:
            raise SnapshotDamaged(f"the policies can't be read: {error}", remedy=_REBUILD) from None

    def rules(self, digest: str) -> StoredRules:
        """As `StoredSnapshots` says."""
        manifest = self._manifest(digest)
        parts = {(part.layer, part.name): self._part(part) for part in manifest.parts if part.name != INSPECTION}
        for name in (CATALOGUE, ENTITIES, POLICIES, SCHEMA):
            manifest.part(name)
        return stored_rules(digest, parts)

    def _of_site(self, manifest: Manifest, name: str) -> bytes | None:
        return next((self._part(part) for part in manifest.parts if (part.layer, part.name) == (SITE, name)), None)

    def _assemble(self, digest: str, parts: Mapping[tuple[str, str], bytes], now_us: int) -> Snapshot:
        every, policy_parts = rules_of(parts)
        epoch_from, epoch_until = epoch_bounds(every, now_us)
        catalogue = catalogue_at(every, epoch_from)
        inspection = parts[AUTHORITY, INSPECTION]
        by_model: dict[str, tuple[Deployment, ...]] = {model.name: () for model in catalogue.models}
        for deployment in catalogue.deployments:
            by_model[deployment.model] = (*by_model.get(deployment.model, ()), deployment)
        return Snapshot(
            digest=digest,
            catalogue=catalogue,
            decider=self._make_decider(policy_parts, snapshot=digest, epoch_from=epoch_from),
            inspector=self._make_inspector(inspection),
            inspector_aside=self._make_inspector(inspection),
            epoch_from=epoch_from,
            epoch_until=epoch_until,
            deployments=MappingProxyType({item.name: item for item in catalogue.deployments}),
            deployments_by_model=MappingProxyType(by_model),
            organisations=MappingProxyType({item.name: item for item in catalogue.organisations}),
            class_ranks=MappingProxyType({item.name: rank for rank, item in enumerate(catalogue.boundary.classes)}),
        )

    def _manifest(self, digest: str) -> Manifest:
        if not _DIGEST.fullmatch(digest):
            raise SnapshotMissing(f"{digest[:80]!r} is not the digest of a snapshot")
        data = self._read(self._root / f"{digest}.json", MANIFEST_BYTES_MAX)
        if hashlib.sha256(data).hexdigest() != digest:
            raise SnapshotDamaged(f"the manifest {digest}.json was changed", remedy=_REBUILD)
        return decode(data, self._software)

    def _part(self, part: Part) -> bytes:
        data = self._read(self._parts / part.sha256, min(part.size, PART_BYTES_MAX))
        _require(data, part)
        return data

    def _holds(self, part: Part) -> bool:
        """Whether the part is there whole; a damaged one is written again."""
        try:
            self._part(part)
        except (SnapshotMissing, SnapshotDamaged):
            return False
        return True

    def _read(self, path: Path, size_max: int) -> bytes:
        """At most one byte more than `size_max`, so that a longer file shows."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise SnapshotMissing(f"{path.name} isn't among the snapshots", remedy=_REBUILD) from None
        with open(descriptor, "rb") as stream:
            return stream.read(size_max + 1)


def _require(data: bytes, part: Part) -> None:
    if len(data) != part.size or hashlib.sha256(data).hexdigest() != part.sha256:
        raise SnapshotDamaged(f"the part {part.layer}/{part.name} is not what the manifest says", remedy=_REBUILD)


def stored_rules(digest: str, parts: Mapping[tuple[str, str], bytes]) -> StoredRules:
    """Of a snapshot's parts. Raises SnapshotDamaged."""
    entities = observed_entities(parts[AUTHORITY, ENTITIES], parts.get((SITE, OBSERVED_ENTITIES)))
    policy_parts = PolicyParts(parts[AUTHORITY, POLICIES], parts[AUTHORITY, SCHEMA], entities)
    observed = decode_observed(parts.get((SITE, OBSERVATIONS)), parts.get((SITE, OBSERVED_ENTITIES)))
    declared = decode_catalogue(parts[AUTHORITY, CATALOGUE])
    return StoredRules(digest, observed_catalogue(declared, observed.facts), policy_parts, declared, observed)


def rules_of(parts: Mapping[tuple[str, str], bytes]) -> tuple[Catalogue, PolicyParts]:
    """Of a snapshot's parts: the catalogue as declared and observed, facts with their ends, and what decides.

    Raises SnapshotDamaged.
    """
    rules = stored_rules("", parts)
    return rules.catalogue, rules.parts


def decode_catalogue(data: bytes) -> Catalogue:
    """Strictly: exactly the fields that we write, in canonical form, and no grade that nothing earns."""
    try:
        catalogue = msgspec.convert(canonical.decode(data), Catalogue)
    except (CanonicalError, msgspec.ValidationError) as error:
        raise SnapshotDamaged(f"the catalogue part can't be read: {error}", remedy=_REBUILD) from None
    facts = [one.facts for one in catalogue.deployments] + [one.facts for one in catalogue.providers]
    for name, fact in (row for of_one in facts for row in of_one.items()):
        if not is_earned(name, fact):
            raise SnapshotDamaged(f"a fact {name} has a grade that nothing earns", remedy=_REBUILD)
    return catalogue


def _policy_title(row: Mapping[str, Any]) -> PolicyTitle:
    return PolicyTitle(
        row["id"],
        row["title"],
        row["title_ja"],
        row["effect"],
        row["file"],
        "enforce" in row,
        row.get("retain_days"),
    )
