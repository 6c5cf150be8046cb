"""A log's own checkpoints with the cosignatures that witnesses gave for them: `cosigned/<size>`, beside the tiles.

They are beside the publisher's checkpoint, never in its way: whoever serves a checkpoint, or proves against one, looks
here for the cosignatures that are there. Nothing in here is needed: witnesses can be asked again.
"""

import contextlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.kernel.cosignatures import TIME_BYTES, CosignatureVerifier
from sekisho.kernel.errors import NoteError
from sekisho.kernel.files import FileLock, LockHeld
from sekisho.kernel.notes import SignatureLine, SignedNote, format_signature, parse_signatures
from sekisho.ledger.checkpoint import Checkpoint
from sekisho.ledger.errors import CheckpointInvalid, WitnessBusy
from sekisho.ledger.storage import Disk

COSIGNED: Final = "cosigned"
NEWEST_KEPT: Final = 4  # a receipt made while one checkpoint gathers cosignatures still finds those of the one before
NOTE_BYTES_MAX: Final = 64 << 10  # 64 signature lines of 200 bytes, several times over
_LOCK_WAIT_S: Final = 5.0  # held for reading and writing some small files


class CosignedNote(NamedTuple):
    """A checkpoint of ours, its note, and who signed it (log and witnesses, by name and key id), in order."""

    checkpoint: Checkpoint
    note: str
    signers: tuple[tuple[str, bytes], ...]

    @property
    def cosignatures(self) -> int:
        """How many lines are not the log's own."""
        return sum(name != self.checkpoint.origin for name, _ in self.signers)

    def bears(self, witness: CosignatureVerifier) -> bool:
        """Whether there is a line of `witness`. All here were verified when they came."""
        return (witness.name, witness.key_id) in self.signers


class CosignedNotes:
    """The notes under a ledger directory. Blocking; any number of processes read, writers take a lock."""

    def __init__(self, ledger: Path) -> None:
        self._root = ledger / COSIGNED

    def add(self, note: str, lines: str, witnesses: Collection[CosignatureVerifier]) -> None:
        """Keep cosignatures of `note`, a published checkpoint; both have been verified. A witness's later line replaces
        its earlier one, never the other way round.

        `witnesses` are those declared: it is their cosignatures that decide which other notes stay. Raises OSError,
        WitnessBusy, NoteError.
        """
        size = str(_taken_apart(note).checkpoint.size)
        self._root.mkdir(exist_ok=True)
        try:
            lock = FileLock(self._root / "lock").acquire_within(_LOCK_WAIT_S)
        except LockHeld:
            raise WitnessBusy("another process adds cosignatures", remedy="Try again in a moment") from None
        with lock:
            Disk().put(self._root / size, _merged(self.with_cosignatures(note), parse_signatures(lines)).encode())
            self._prune(witnesses)

    def with_cosignatures(self, note: str) -> str:
        """A published checkpoint's note, with the cosignatures that are here for exactly its text."""
        signed = SignedNote.parse(note)
        held = self._read(str(_taken_apart(note).checkpoint.size))
        if held is None:
            return note
        theirs = SignedNote.parse(held.note)
        return _merged(note, theirs.signatures) if theirs.text == signed.text else note

    def covering(self, published: str, size_min: int) -> str:
        """The note to prove leaves below `size_min` against: that with the most cosignatures, of these the newest.

        `published` is the note of the published checkpoint, whose size is at least `size_min`. Only notes that its
        log's keys signed as well count, so that none outlives a change of the log's key.
        """
        now = _taken_apart(published)
        own = {signer for signer in now.signers if signer[0] == now.checkpoint.origin}
        best = now
        for found in self.notes():
            fits = found.checkpoint.origin == now.checkpoint.origin and own <= set(found.signers)
            if found.checkpoint.size == now.checkpoint.size:
                fits = fits and found.checkpoint == now.checkpoint
            # The newest comes first: one further back has to bear more.
            if fits and size_min <= found.checkpoint.size <= now.checkpoint.size:
                best = found if found.cosignatures > best.cosignatures else best
        return best.note

    def notes(self) -> Iterator[CosignedNote]:
        """Every note, the newest first. What can't be read is passed over: it proves nothing."""
        for size in self._sizes():
            found = self._read(size)
            if found is not None:
                yield found

    def _sizes(self) -> list[str]:
        try:
            names = [path.name for path in self._root.iterdir()]
        except FileNotFoundError:
            return []
        return sorted((name for name in names if name.isascii() and name.isdigit()), key=int, reverse=True)

    def _read(self, size: str) -> CosignedNote | None:
        try:
            with (self._root / size).open("rb") as stream:
                found = _taken_apart(stream.read(NOTE_BYTES_MAX).decode())
        except (OSError, UnicodeDecodeError, NoteError, CheckpointInvalid):
            return None
        return found if str(found.checkpoint.size) == size else None

    def _prune(self, witnesses: Collection[CosignatureVerifier]) -> None:
        """Keep the newest, the newest that each witness cosigned, and the newest of those with the most witnesses."""
        found = list(self.notes())
        counts = [sum(one.bears(witness) for witness in witnesses) for one in found]
        stay = [*found[:NEWEST_KEPT], found[counts.index(max(counts))]]
        for witness in witnesses:
            stay += [one for one in found if one.bears(witness)][:1]
        kept = {one.checkpoint.size for one in stay}
        for size in self._sizes():
            if int(size) not in kept:
                with contextlib.suppress(FileNotFoundError):
                    (self._root / size).unlink()


def _taken_apart(note: str) -> CosignedNote:
    """Raises NoteError or CheckpointInvalid."""
    signed = SignedNote.parse(note)
    signers = tuple((line.name, line.key_id) for line in signed.signatures)
    return CosignedNote(Checkpoint.parse(signed.text), note, signers)


def _merged(note: str, lines: Collection[SignatureLine]) -> str:
    """`note` with one line of each signer: of a witness's two the later, so that none is replaced by a replayed one."""
    signed = SignedNote.parse(note)
    by_signer: dict[tuple[str, bytes], SignatureLine] = {}
    for line in (*signed.signatures, *lines):
        signer = line.name, line.key_id
        by_signer[signer] = max(by_signer.get(signer, line), line, key=_time)
    block = "".join(format_signature(*line) for line in by_signer.values())
    parse_signatures(block)  # raises NoteError beyond the bound on lines
    return f"{signed.text}\n{block}"


def _time(line: SignatureLine) -> bytes:
    """A cosignature begins with its time, big-endian. A log's own two lines are equal, whatever they begin with."""
    return line.signature[:TIME_BYTES]
