"""What a witness reads and how it judges (C2SP tlog-witness, `add-checkpoint`). Pure; `witness_book` keeps the record.

A request is `old <n>`, at most 63 hashes in base64 (one a line), an empty line, and a signed checkpoint.
"""

import base64
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import NoteVerifier, SignedNote, format_signature
from sekisho.ledger.checkpoint import Checkpoint, parse_decimal, parse_hash
from sekisho.ledger.errors import (
    CheckpointInvalid,
    OriginUnknown,
    ProofInvalid,
    ProofRefused,
    RequestMalformed,
    SignatureRefused,
    SizeConflict,
)
from sekisho.ledger.merkle import EMPTY_ROOT, PROOF_HASHES_MAX, verify_consistency

REQUEST_BYTES_MAX: Final = 256 << 10  # 63 hashes and 64 signature lines of ML-DSA-44 (3.3 KB each)
_OLD: Final = "old "


class Head(NamedTuple):
    """A tree as it was cosigned last."""

    size: int
    root: bytes


NOTHING: Final = Head(0, EMPTY_ROOT)  # of a log that was never cosigned


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request taken apart; nothing in it is verified. `text` is the note's, its extension lines included."""

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: Checkpoint
    note: SignedNote

    @property
    def text(self) -> str:
        return self.note.text

    @classmethod
    def parse(cls, body: bytes) -> "AddCheckpoint":
        """Raises RequestMalformed for anything but a well-formed request."""
        if len(body) > REQUEST_BYTES_MAX:
            raise RequestMalformed(f"a request of more than {REQUEST_BYTES_MAX >> 10} KiB")
        try:
            head, separator, note_text = body.decode().partition("\n\n")
            if not separator:
                raise RequestMalformed("no empty line stands between the proof and the checkpoint")
            old_line, *hashes = head.split("\n")
            if not old_line.startswith(_OLD):
                raise RequestMalformed("the first line is not: old <size>")
            if len(hashes) > PROOF_HASHES_MAX:
                raise RequestMalformed(f"a proof of more than {PROOF_HASHES_MAX} hashes")
            note = SignedNote.parse(note_text)
            return cls(
                parse_decimal(old_line.removeprefix(_OLD)),
                tuple(map(parse_hash, hashes)),
                checkpoint_of(note.text),
                note,
            )
        except UnicodeDecodeError:
            raise RequestMalformed("the request is not UTF-8") from None
        except (CheckpointInvalid, NoteError) as error:
            raise RequestMalformed(error.message) from None


def format_request(old_size: int, proof: Sequence[bytes], note: str) -> bytes:
    """The body of an add-checkpoint request."""
    lines = [f"{_OLD}{old_size}", *(base64.b64encode(one).decode() for one in proof)]
    return ("\n".join(lines) + f"\n\n{note}").encode()


def verify_origin(request: AddCheckpoint, keys: Collection[NoteVerifier]) -> str:
    """Demand that a key of the origin signed; returns the signature lines of those that did.

    `keys` are those trusted for the request's origin: none raises OriginUnknown. Raises SignatureRefused if none of
    them signed, or the line of one does not verify (tlog-witness: 403 for both).
    """
    if not keys:
        raise OriginUnknown("this log is not witnessed here", remedy="Its key must be declared: declarations/logs/")
    try:
        signed = request.note.verified_by(keys)
    except NoteError as error:
        raise SignatureRefused(error.message) from None
    if not signed:
        raise SignatureRefused(f"no key that is trusted for {request.checkpoint.origin} signed the checkpoint")
    # One line of each key: with Ed25519 two that verify are equal, or one of them was made to fill the file.
    return "".join(
        format_signature(key.name, key.key_id, request.note.signatures_of(key.name, key.key_id)[0]) for key in signed
    )


def is_split(checkpoint: Checkpoint, head: Head) -> bool:
    """Whether a signed checkpoint and what was cosigned prove by themselves that the log has two histories."""
    return checkpoint.size == head.size and checkpoint.root != head.root


def verify_extends(request: AddCheckpoint, head: Head) -> None:
    """Demand that the checkpoint extends `head`, the tree cosigned last; its signature has been verified.

    Raises RequestMalformed, SizeConflict or ProofRefused, in the order of tlog-witness.
    """
    old_size, checkpoint = request.old_size, request.checkpoint
    if old_size > checkpoint.size:
        raise RequestMalformed(f"from size {old_size} to a smaller one, {checkpoint.size}")
    if old_size != head.size:
        raise SizeConflict(head.size)
    if is_split(checkpoint, head):
        raise ProofRefused(f"this is not the root of {head.size} entries")  # cosigned before, or of the empty tree
    if old_size == 0:  # everything extends the empty tree, so there is nothing to prove
        if request.proof:
            raise ProofRefused("a proof from size 0, where none is possible")
        return
    try:
        verify_consistency(old_size, checkpoint.size, head.root, checkpoint.root, request.proof)
    except ProofInvalid as error:
        raise ProofRefused(error.message) from None


def checkpoint_of(text: str) -> Checkpoint:
    """The three lines that matter. Other logs may have extension lines behind them, which are not empty."""
    lines = text.split("\n")
    if any(not line for line in lines[:-1]):
        raise CheckpointInvalid("a checkpoint with an empty line")
    return Checkpoint.parse("\n".join([*lines[:3], ""]))
