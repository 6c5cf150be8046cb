"""A witness's record: the checkpoint that it cosigned last of each log. What it never signs follows from this.

Invariants, over any crash and any number of processes:

1. A cosignature leaves only when the record holds its checkpoint, durably.
2. The record of a log never goes back: it changes under one lock, from the checkpoint just read to one that extends
   it. So no two roots of one size are ever cosigned.
3. Times of one log's cosignatures never go back, so that "the largest tree as of then" stays true.
4. After a failed write nothing is signed any more until the process starts anew: what the disk holds is not known.

`DIR/format`, `DIR/lock`, `DIR/<SHA-256 of the origin>` (the note, with the log's signatures and our cosignature, as
`GET …/checkpoint` gives it), `DIR/<the same>.known`: empty, written behind the log's first record, so that one that is
lost later is missed, and `DIR/<the same>.split`: two signed checkpoints that prove a log has two histories.
"""

import logging
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.kernel.clock import Clock
from sekisho.kernel.cosignatures import CosignatureSigner, cosigned_by
from sekisho.kernel.errors import NoteError
from sekisho.kernel.files import FileLock, LockHeld, sync_directory
from sekisho.kernel.notes import NoteVerifier, SignedNote
from sekisho.ledger.checkpoint import Checkpoint, origin_hash
from sekisho.ledger.errors import CheckpointInvalid, WitnessBusy, WitnessHalted, WitnessRefused
from sekisho.ledger.storage import Disk, Storage
from sekisho.ledger.witness import (
    NOTHING,
    REQUEST_BYTES_MAX,
    AddCheckpoint,
    Head,
    checkpoint_of,
    is_split,
    verify_extends,
    verify_origin,
)

FORMAT: Final = "1\n"
LOCK_WAIT_S: Final = 5.0  # another process holds it for one durable write
REPEAT_US: Final = 5_000_000  # a checkpoint that was cosigned so lately gets the same cosignature, without a write
_ORIGIN_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KNOWN: Final = ".known"
_GONE: Final = (
    "A witness that forgot could cosign two histories. Restore the directory as it last was; if that can't be, move"
    " keys/witness.key and witness/ away: a new witness is made, whose key others have to declare"
)

log = logging.getLogger(__name__)


class _Record(NamedTuple):
    note: str
    head: Head
    time: int  # of our cosignature, POSIX seconds


def begin(root: Path) -> FileLock:
    """Make the directory, durably, for a witness whose key is then made under the lock that this returns held.

    In this order a key without a record shows that a record was lost. Raises WitnessHalted if there is a record
    already, whose key is gone; WitnessBusy; OSError.
    """
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    lock = _acquire(root)
    try:
        if has_records(root):
            raise WitnessHalted(f"the witness's record {root} is of a key that is gone", remedy=_GONE)
        Disk().replace(root / "format", FORMAT.encode())
        sync_directory(root.parent)
    except BaseException:
        lock.release()
        raise
    return lock


def has_records(root: Path) -> bool:
    """Whether a witness has cosigned anything here. Raises OSError."""
    return root.is_dir() and any(_ORIGIN_HASH.match(path.name) for path in root.iterdir())


def _acquire(root: Path) -> FileLock:
    try:
        return FileLock(root / "lock").acquire_within(LOCK_WAIT_S)
    except LockHeld:
        raise WitnessBusy("another process holds the witness's record", remedy="Try again in a moment") from None


class WitnessBook:
    """The record of one witness key. Blocking; any number of threads and processes may have one over the directory."""

    def __init__(self, root: Path, signer: CosignatureSigner, clock: Clock, storage: Storage | None = None) -> None:
        """Raises WitnessHalted if the directory is gone although there is a key, or of a format not known here."""
        self._root = root
        self._signer = signer
        self._clock = clock
        self._storage = storage or Disk()
        self._durable: dict[Path, tuple[str, int]] = {}  # notes that this object has seen through, and when cosigned
        self._broken = ""
        self.splits = 0  # signed contradictions that were met
        try:
            found = (root / "format").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise WitnessHalted(f"the witness's record {root} is gone", remedy=_GONE) from None
        if found != FORMAT:
            raise WitnessHalted(
                f"the witness's record is in format {found.strip()[:20]!r}", remedy="Use a newer Sekisho"
            )

    @property
    def vkey(self) -> str:
        return self._signer.verifier.vkey

    def add_checkpoint(self, request: AddCheckpoint, keys: Collection[NoteVerifier]) -> str:
        """Cosign; returns our signature lines when the record is durable. `keys` are those trusted for the origin.

        Raises WitnessRefused (of the kind that says why), WitnessBusy, WitnessHalted, OSError.
        """
        log_lines = verify_origin(request, keys)
        with self._locked():
            record = self._read(request.checkpoint.origin)
            head = NOTHING if record is None else record.head
            try:
                verify_extends(request, head)
            except WitnessRefused:
                if record is not None and is_split(request.checkpoint, head):
                    self._keep_split(request, log_lines, record)
                raise
            repeated = self._repeated(request, record)
            return repeated if repeated is not None else self._cosign(request, log_lines, record)

    def checkpoint(self, hashed: str) -> str | None:
        """The note that was cosigned last, with the log's signatures and ours, by `origin_hash`; None: nothing was.

        Durable when it is given, like every cosignature: what another process wrote, or one that crashed, may be in
        the file and not yet on the disk. Raises WitnessBusy, WitnessHalted, OSError.
        """
        path = self._root / hashed
        if not _ORIGIN_HASH.fullmatch(hashed) or not path.exists():
            return None
        with self._locked():
            note = self._parse(path).note
            if self._durable.get(path, ("", 0))[0] != note:
                self._written(lambda: self._storage.sync([path], self._root))
                self._durable[path] = (note, 0)
            return note

    def heads(self) -> dict[str, Head]:
        """What was cosigned last, by origin. Raises WitnessHalted for a record that is damaged."""
        found = {}
        for path in sorted(self._root.iterdir()):
            if _ORIGIN_HASH.fullmatch(path.name):
                record = self._parse(path)
                found[record.note.partition("\n")[0]] = record.head
        return found

    def _cosign(self, request: AddCheckpoint, log_lines: str, record: _Record | None) -> str:
        now_s = self._clock.now_us() // 1_000_000
        lines = self._signer.cosign(request.text, now_s if record is None else max(now_s, record.time))
        note = f"{request.text}\n{log_lines}{lines}"
        path = self._path(request.checkpoint.origin)
        self._written(lambda: self._storage.replace(path, note.encode()))
        known = path.with_suffix(_KNOWN)
        if not known.exists():
            self._written(lambda: self._storage.replace(known, b""))
        self._durable[path] = (note, self._clock.now_us())
        return lines

    def _written(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            self._broken = str(error)
            raise

    def _repeated(self, request: AddCheckpoint, record: _Record | None) -> str | None:
        """Our lines of just now, for what is cosigned already: who sends a log's checkpoint again costs us no write."""
        if record is None or request.checkpoint.size != record.head.size:
            return None
        note, at_us = self._durable.get(self._path(request.checkpoint.origin), ("", 0))
        same = note == record.note and SignedNote.parse(note).text == request.text
        if not same or self._clock.now_us() - at_us > REPEAT_US:
            return None
        start = f"— {self._signer.verifier.name} "
        return "".join(f"{line}\n" for line in note.split("\n") if line.startswith(start))

    def _keep_split(self, request: AddCheckpoint, log_lines: str, record: _Record) -> None:
        """Two signed roots of one size prove the log's fault to anybody. One such pair of each log is kept and told."""
        self.splits += 1
        origin = request.checkpoint.origin
        path = self._path(origin).with_suffix(".split")
        if path.exists():
            return
        proof = f"{record.note}\n{request.text}\n{log_lines}"
        try:
            self._storage.replace(path, proof.encode())
            told = f"both stand in {path}"
        except OSError as error:  # it is refused all the same, and what proves it is not lost with the disk
            told = f"they could not be written to {path} ({error}), and are:\n{proof}"
        log.critical(
            "the log %s has two histories: it signed two roots for %d entries; %s", origin, record.head.size, told
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock = _acquire(self._root)
        try:
            if self._broken:
                raise WitnessHalted(
                    f"writing the witness's record failed: {self._broken}",
                    remedy="Look at the disk, then start again; cosignatures given before are safe",
                )
            yield
        finally:
            lock.release()

    def _path(self, origin: str) -> Path:
        return self._root / origin_hash(origin)

    def _read(self, origin: str) -> _Record | None:
        path = self._path(origin)
        try:
            return self._parse(path)
        except FileNotFoundError:
            if path.with_suffix(_KNOWN).exists():
                raise WitnessHalted(f"the witness's record {path} is gone", remedy=_GONE) from None
            return None

    def _parse(self, path: Path) -> _Record:
        """Raises WitnessHalted unless it is a note that we cosigned: anything else could be an older or forged one."""
        try:
            with path.open("rb") as stream:
                text = stream.read(REQUEST_BYTES_MAX * 2).decode()
            note = SignedNote.parse(text)
            cosignatures = cosigned_by(note, [self._signer.verifier])
            checkpoint: Checkpoint = checkpoint_of(note.text)
        except (UnicodeDecodeError, NoteError, CheckpointInvalid) as error:
            raise WitnessHalted(f"the witness's record {path} is damaged: {error}", remedy=_GONE) from None
        if not cosignatures or path != self._path(checkpoint.origin):
            raise WitnessHalted(f"the witness's record {path} is not one that this key cosigned", remedy=_GONE)
        return _Record(text, Head(checkpoint.size, checkpoint.root), cosignatures[0].time)
