"""Reading the published log while it grows, from any process: what it knows of a request, with proofs.

No file locks, no need for a running publisher. The checkpoint is read first and everything is proved against it; what
stands beyond it does not count yet.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sekisho.kernel.ids import is_uuid7, uuid7_time_us
from sekisho.ledger.checkpoint import Checkpoint, EntryProof, read_checkpoint
from sekisho.ledger.cosigned import CosignedNotes
from sekisho.ledger.errors import LogUnreadable, ProofInvalid
from sekisho.ledger.index import INDEX, IndexReader
from sekisho.ledger.interfaces import ProvenEntry, ReceiptState
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.merkle import inclusion_proof, leaf_hash, verify_inclusion
from sekisho.ledger.tiles import TileNodes

COMPLETE: Final = "complete"
PENDING: Final = "pending"
UNKNOWN: Final = "unknown"
READ_ATTEMPTS_MAX: Final = 3  # a partial tile may give way to the full one between two looks at the directory
DECIDE_US_MAX: Final = 5_000_000  # a request's first entry follows its id (stamped on arrival) within this
FUTURE_US_MAX: Final = 60_000_000  # ids stamped further ahead than clocks of one site drift are not ours
REQUEST_ENTRIES_MAX: Final = 256  # far more than a request's attempts and outcomes


class LogReader:
    """Reads the log under `root`. Blocking; safe to call from several threads."""

    def __init__(self, root: Path) -> None:
        self._files = LogFiles(root)
        self._index = IndexReader(root / INDEX)
        self._cosigned = CosignedNotes(root)

    def state(self, request_id: str, now_us: int) -> ReceiptState:
        """What the log knows of a request (design: every decision of it closed is *complete*).

        *pending*: an entry is open, or beyond the checkpoint, or the request may be newer than what is merged; with
        the first entry, if that is published.
        *unknown*: none of these. Raises LogUnreadable if files are missing or damaged.
        """
        for attempt in range(READ_ATTEMPTS_MAX):
            try:
                return self._state(request_id, now_us)
            except LogUnreadable:
                if attempt == READ_ATTEMPTS_MAX - 1:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._index.close()

    def _state(self, request_id: str, now_us: int) -> ReceiptState:
        if not is_uuid7(request_id):
            return ReceiptState(UNKNOWN)
        note = self._files.checkpoint()
        rows = self._index.request(request_id)
        if rows is None or note is None:
            return ReceiptState(_absent(request_id, 0, now_us))
        if not rows.leaves:
            return ReceiptState(_absent(request_id, rows.covered.watermark_us, now_us))
        checkpoint = read_checkpoint(note)
        if rows.covered.size < checkpoint.size:
            # It is being brought up to the log again; what it has of this request may not be all.
            return ReceiptState(PENDING)
        if rows.is_open or rows.leaves[-1] >= checkpoint.size:
            # Whose it is can be told as soon as the first entry is published.
            first = [leaf for leaf in rows.leaves[:1] if leaf < checkpoint.size]
            return ReceiptState(PENDING, self._prove_all(first, note))
        if len(rows.leaves) > REQUEST_ENTRIES_MAX:
            raise LogUnreadable(f"the index holds {len(rows.leaves)} entries for one request")
        # What witnesses have cosigned is worth more to who verifies than what is newest.
        cosigned = self._cosigned.covering(note, rows.leaves[-1] + 1)
        try:
            return ReceiptState(COMPLETE, self._prove_all(rows.leaves, cosigned))
        except LogUnreadable:
            if cosigned == note:
                raise
            # It was of another history, which a copied directory may hold: what is published now must still do.
            return ReceiptState(COMPLETE, self._prove_all(rows.leaves, note))

    def _prove_all(self, leaves: Iterable[int], note: str) -> tuple[ProvenEntry, ...]:
        checkpoint = read_checkpoint(note)
        nodes = self._files.nodes(checkpoint.size)
        return tuple(self._prove(leaf, checkpoint, note, nodes) for leaf in leaves)

    def _prove(self, leaf: int, checkpoint: Checkpoint, note: str, nodes: TileNodes) -> ProvenEntry:
        entry = self._files.entry(leaf, checkpoint.size)
        hashes = inclusion_proof(leaf, checkpoint.size, nodes)
        try:
            # Ours to check: a damaged tile must not leave as a receipt that fails with its reader.
            verify_inclusion(leaf, checkpoint.size, leaf_hash(entry), hashes, checkpoint.root)
        except ProofInvalid as error:
            raise LogUnreadable(
                f"entry {leaf} and its tiles do not lead to the root: {error.message}",
                remedy="Restore the tiles from a copy of the log",
            ) from None
        return ProvenEntry(entry, leaf, EntryProof(leaf, tuple(hashes), note).text)


def _absent(request_id: str, watermark_us: int, now_us: int) -> str:
    stamped_us = uuid7_time_us(request_id)
    if stamped_us > now_us + FUTURE_US_MAX:
        return UNKNOWN
    return PENDING if stamped_us + DECIDE_US_MAX >= watermark_us else UNKNOWN
