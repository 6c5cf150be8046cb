"""Snapshots that stand elsewhere, fetched when they are first asked for: what deciding again needs of them."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sekisho.snapshot.build import CATALOGUE, ENTITIES, POLICIES, SCHEMA
from sekisho.snapshot.errors import SnapshotDamaged, SnapshotMissing
from sekisho.snapshot.interfaces import StoredRules
from sekisho.snapshot.manifest import decode, is_digest
from sekisho.snapshot.store import MANIFEST_BYTES_MAX, SnapshotStore

NEEDED: Final = (CATALOGUE, ENTITIES, POLICIES, SCHEMA)
PART_BYTES_MAX: Final = 128 << 20  # of a part from afar, held in memory: large installations' have tens of megabytes
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
        """Nothing that a log or a server names becomes a path, or is kept, but what has the digest asked for."""
        if not is_digest(digest):
            raise SnapshotMissing(f"{digest[:80]!r} is not the digest of a snapshot")
        manifest = self._read(f"{digest}.json", MANIFEST_BYTES_MAX)
        if manifest is None:
            raise SnapshotMissing(f"the snapshot {digest} is not there")
        if hashlib.sha256(manifest).hexdigest() != digest:
            raise SnapshotDamaged(f"the manifest {digest}.json is another's")
        for part in decode(manifest, self._software).parts:
            if part.name in NEEDED:
                if part.size > PART_BYTES_MAX:
                    raise SnapshotDamaged(
                        f"the part {part.name} of the snapshot {digest} is larger than {PART_BYTES_MAX >> 20} MiB",
                        remedy="Get the site's snapshots as files, and name them with --snapshots",
                    )
                data = self._read(f"parts/{part.sha256}", part.size)
                if data is None:
                    raise SnapshotMissing(f"the part {part.name} of the snapshot {digest} is not there")
                if hashlib.sha256(data).hexdigest() != part.sha256:
                    raise SnapshotDamaged(f"the part {part.name} of the snapshot {digest} is another's")
                (self._directory / "parts" / part.sha256).write_bytes(data)
        (self._directory / f"{digest}.json").write_bytes(manifest)
