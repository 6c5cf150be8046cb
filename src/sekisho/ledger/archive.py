"""Moving old entry bundles to a cold directory.

The cold directory is a whole log of its own (tiles, bundles and checkpoint in C2SP form, and its enrolment): any static
file server can serve it, any audit can check it. Here, `ledger/archived` names it, and entries are read through from
there. Hash tiles stay here as well, so proofs need the cold directory for nothing but the entries.

In this order, each step durable before the next: the copy; its audit; `ledger/archived`; only then the bundles here
are removed. A crash in between leaves every bundle in at least one place, and the next archiving goes on.
"""

import json
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.kernel.errors import UsageError
from sekisho.kernel.files import FileLock, LockHeld
from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.checkpoint import open_checkpoint
from sekisho.ledger.errors import AuditFinding, LogUnreadable
from sekisho.ledger.journal import read_journal
from sekisho.ledger.log_files import ARCHIVED, CHECKPOINT, ENROLMENT, LogFiles, archived_directory
from sekisho.ledger.mirror import copy_log
from sekisho.ledger.segments import TORN_DIRECTORY
from sekisho.ledger.storage import Disk, Storage
from sekisho.ledger.tiles import ENTRIES, TILE_WIDTH, TileName

KEEP_DEFAULT: Final = 1_000_000  # newest entries that stay here: what consoles and callers still ask for
_LOCK: Final = "archive.lock"


class Archiving(NamedTuple):
    """What an archiving did: entries that the copy holds, files it wrote, bundles and bytes that left this disk."""

    size: int
    written: int
    moved: int
    moved_bytes: int


def archive(
    root: Path, cold: Path, verifier: NoteVerifier, *, keep: int = KEEP_DEFAULT, storage: Storage | None = None
) -> Archiving:
    """Bring the copy in `cold` up to date, then remove entry bundles here but those of the newest `keep` entries.

    Works while the log is published. Raises UsageError if `cold` can't be used, LockHeld while another archiving runs,
    LogUnreadable, AuditFinding if the copy does not hold (then nothing is removed), OSError.
    """
    _require_usable(root, cold)
    lock = FileLock(root / _LOCK)
    try:
        lock.acquire()
    except LockHeld:
        raise LockHeld("another archiving of this ledger runs", remedy="Wait for it") from None
    with lock:
        files = LogFiles(root)
        # In this order: if the log's key is replaced in between, the checkpoint is signed by both.
        enrolment, note = files.note(ENROLMENT), files.checkpoint()
        if note is None:
            raise LogUnreadable("nothing is published yet", remedy="Run `sekisho up` once")
        checkpoint = open_checkpoint(note, verifier)
        cold.mkdir(parents=True, exist_ok=True)
        disk = storage or Disk()
        written = copy_log(files, checkpoint, note, cold, disk)
        if enrolment is not None:
            disk.replace(cold / ENROLMENT, enrolment.encode())
        _require_copy_holds(cold, verifier)
        _keep_torn(root, cold, disk)
        disk.replace(root / ARCHIVED, json.dumps({"directory": str(cold.resolve())}).encode() + b"\n")
        moved, moved_bytes = _remove_bundles(root, _movable(root, checkpoint.size, keep), disk)
        return Archiving(checkpoint.size, written, moved, moved_bytes)


def _require_copy_holds(cold: Path, verifier: NoteVerifier) -> None:
    try:
        audit_integrity(cold, verifier)
    except AuditFinding as error:
        raise AuditFinding(
            f"the copy in {cold} does not hold: {error.message}",
            remedy=f"Nothing was removed here. Remove {cold / CHECKPOINT} and archive again: what is still here is then"
            " copied anew; what is only there must come from another copy",
        ) from None


def _require_usable(root: Path, cold: Path) -> None:
    cold, root = cold.resolve(), root.resolve()
    if cold == root or root in cold.parents or cold in root.parents:
        raise UsageError(f"{cold} is not apart from the ledger", remedy="Name a directory elsewhere, on another disk")
    before = archived_directory(root)
    if before is not None and before != cold:
        raise UsageError(
            f"older entries are archived in {before} already",
            remedy=f"Name that one; if it was moved, say where in {root / ARCHIVED}",
        )
    if cold.exists() and any(cold.iterdir()) and not (cold / "tile").exists():
        raise UsageError(f"{cold} holds something else", remedy="Name an empty directory")


def _movable(root: Path, size: int, keep: int) -> int:
    """How many bundles may go: none that the publisher still has to sync, or would write again from its journal."""
    begin = read_journal(root / "journal").first
    durable = 0 if begin is None else begin.size
    return max(0, min(size - keep, durable)) // TILE_WIDTH


def _remove_bundles(root: Path, count: int, disk: Storage) -> tuple[int, int]:
    moved = moved_bytes = 0
    for number in range(count):
        path = root / TileName(ENTRIES, number, TILE_WIDTH).path
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            continue  # by an earlier archiving
        disk.remove(path)
        moved, moved_bytes = moved + 1, moved_bytes + size
    return moved, moved_bytes


def _keep_torn(root: Path, cold: Path, disk: Storage) -> None:
    """What merged write-ahead logs left behind: pieces that were torn. The logs themselves go when they are merged."""
    torn = root / TORN_DIRECTORY
    if not torn.is_dir():
        return
    pieces = sorted(torn.iterdir())
    for piece in pieces:
        disk.put(cold / TORN_DIRECTORY / piece.name, piece.read_bytes())
    disk.sync([cold / TORN_DIRECTORY / piece.name for piece in pieces], cold)
    for piece in pieces:
        disk.remove(piece)
