"""Snapshots that stand elsewhere, fetched when they are first asked for: what deciding again needs of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from sekisho.snapshot.build import CATALOGUE, ENTITIES, POLICIES, SCHEMA
from sekisho.snapshot.errors import SnapshotMissing
from sekisho.snapshot.interfaces import StoredRules
from sekisho.snapshot.manifest import decode
from sekisho.snapshot.observed import OBSERVATIONS, OBSERVED_ENTITIES
from sekisho.snapshot.store import MANIFEST_BYTES_MAX, SnapshotStore

NEEDED: Final = (CATALOGUE, ENTITIES, OBSERVATIONS, OBSERVED_ENTITIES, POLICIES, SCHEMA)
Read = Callable[[str, int], bytes | None]  # (path below `snapshots/`, bytes at most) -> the file, None: not there


class FetchedSnapshots:
    """Implements StoredSnapshots. `directory` holds what was fetched; `store` is over it and believes none of it."""

    def __init__(self, read: Read, directory: Path, store: SnapshotStore, *, software: str) -> None:
        self._read = read
        self._directory = directory
        self._store = store
        self._software = software
        (directory / "parts").mkdir(mode=0o700, parents=True)

    def rules(self, digest: str) -> StoredRules:
        """As `StoredSnapshots` says; what `read` raises travels."""
        try:
            return self._store.rules(digest)
        except SnapshotMissing:
            self._fetch(digest)
        return self._store.rules(digest)

    def _fetch(self, digest: str) -> None:
        manifest = self._read(f"{digest}.json", MANIFEST_BYTES_MAX)
        if manifest is None:
            raise SnapshotMissing(f"the snapshot {digest} is not there")
        for part in decode(manifest, self._software).parts:
            if part.name in NEEDED:
                data = self._read(f"parts/{part.sha256}", part.size)
                if data is None:
                    raise SnapshotMissing(f"the part {part.name} of the snapshot {digest} is not there")
                (self._directory / "parts" / part.sha256).write_bytes(data)
        (self._directory / f"{digest}.json").write_bytes(manifest)
