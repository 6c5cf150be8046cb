"""Audit of a published log, depth 1: integrity. Reads a directory of static files and trusts only the log's key."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger.checkpoint import Checkpoint, open_checkpoint
from sekisho.ledger.errors import AuditFinding, CheckpointInvalid, LogUnreadable
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.tiles import Edge, TileName


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """What held: the checkpoint, and how many entries and tiles were read."""

    checkpoint: Checkpoint
    tiles: int

    @property
    def size(self) -> int:
        return self.checkpoint.size


def audit_integrity(root: Path, verifier: NoteVerifier, *, earlier: Checkpoint | None = None) -> IntegrityReport:
    """Check a whole log under `root`. Raises AuditFinding at the first thing that does not hold.

    1. The checkpoint is signed by `verifier`, whose name is its origin.
    2. Each entry bundle has its width, is not malformed, and each hash tile is what the bundles below it lead to.
    3. The root over everything is the checkpoint's.
    4. The tree at the size of `earlier`, a checkpoint seen before, has that checkpoint's root.
    """
    files = LogFiles(root)
    try:
        note = files.checkpoint()
        if note is None:
            raise AuditFinding("there is no checkpoint")
        checkpoint = open_checkpoint(note, verifier)  # 1
        return _audit(files, checkpoint, earlier)
    except (CheckpointInvalid, LogUnreadable) as error:
        raise AuditFinding(error.message) from None


def _audit(files: LogFiles, checkpoint: Checkpoint, earlier: Checkpoint | None) -> IntegrityReport:
    if earlier is not None and (earlier.origin != checkpoint.origin or earlier.size > checkpoint.size):
        raise AuditFinding(f"the log of {checkpoint.size} entries does not extend the one seen before")
    edge = Edge()
    tiles = 0
    if earlier is not None:
        _require_root(edge, earlier)
    for entries in _until(files, checkpoint.size, earlier.size if earlier else 0):
        for name, data in edge.append(entries):
            _require_tile(files, name, data)  # 2
            tiles += 1
        if earlier is not None:
            _require_root(edge, earlier)  # 4
    for name, data in edge.partials():
        _require_tile(files, name, data)  # 2
        tiles += 1
    _require_root(edge, checkpoint)  # 3
    return IntegrityReport(checkpoint, tiles)


def _until(files: LogFiles, size: int, stop: int) -> Iterator[list[bytes]]:
    """The entries a bundle at a time, and split where `stop` entries are reached."""
    for first, entries in files.entries(0, size):
        if first < stop < first + len(entries):
            yield entries[: stop - first]
            yield entries[stop - first :]
        else:
            yield entries


def _require_tile(files: LogFiles, name: TileName, data: bytes) -> None:
    # A bundle is compared too: its bytes must be the one encoding of its entries.
    if files.tile(name) != data:
        raise AuditFinding(f"{name.path} is not what the entries lead to")


def _require_root(edge: Edge, checkpoint: Checkpoint) -> None:
    if edge.size == checkpoint.size and edge.root() != checkpoint.root:
        raise AuditFinding(f"the entries do not lead to the root at {checkpoint.size} entries")
