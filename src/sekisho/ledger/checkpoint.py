"""Checkpoints (C2SP tlog-checkpoint), proofs of entries (tlog-proof) and the log's enrolment. Pure.

The enrolment is a note of the *site identity* key that says which key signs for which origin; auditors pin the site
key alone, and a replaced machine brings a new log without asking them.
"""

import base64
import hashlib
from dataclasses import dataclass
from typing import Final

from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import NoteVerifier, SignedNote, Signer, decode_base64, sign_note
from sekisho.ledger.errors import CheckpointInvalid
from sekisho.ledger.merkle import HASH_BYTES, PROOF_HASHES_MAX, SIZE_MAX

PROOF_HEADER: Final = "c2sp.org/tlog-proof@v1"
ENROLMENT_HEADER: Final = "sekisho.enrolment/v1"
_DIGITS_MAX: Final = 19  # of 2**63 - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a log commits to: its origin, size and root (32 bytes)."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note's text: three lines, no extensions, no timestamp."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read the text of a checkpoint note. Raises CheckpointInvalid for anything but the three lines."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0]:
            raise CheckpointInvalid("a checkpoint has three lines: origin, size and root")
        return cls(lines[0], parse_decimal(lines[1]), parse_hash(lines[2]))


def sign_checkpoint(checkpoint: Checkpoint, *signers: Signer) -> str:
    """The signed note. Each key's name is the origin (tlog-checkpoint)."""
    for signer in signers:
        if signer.verifier.name != checkpoint.origin:
            raise CheckpointInvalid(f"the key {signer.verifier.name} does not sign for {checkpoint.origin}")
    return sign_note(checkpoint.text, signers)


def open_checkpoint(note: str, verifier: NoteVerifier) -> Checkpoint:
    """The checkpoint in `note`. Raises CheckpointInvalid unless `verifier`, named as the origin, signed it."""
    text = _open(note, verifier, "checkpoint")
    checkpoint = Checkpoint.parse(text)
    if checkpoint.origin != verifier.name:
        raise CheckpointInvalid(f"the checkpoint is of the origin {checkpoint.origin}, not {verifier.name}")
    return checkpoint


def read_checkpoint(note: str) -> Checkpoint:
    """The checkpoint in `note`, its signatures not looked at: for our own files, never for a stranger's."""
    try:
        return Checkpoint.parse(SignedNote.parse(note).text)
    except NoteError as error:
        raise CheckpointInvalid(f"the checkpoint is malformed: {error}") from None


@dataclass(frozen=True, slots=True)
class EntryProof:
    """A tlog-proof taken apart: the leaf's index, its sibling hashes (the leaf's first), the checkpoint note."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str

    @property
    def text(self) -> str:
        lines = [PROOF_HEADER, f"index {self.index}", *(base64.b64encode(h).decode() for h in self.hashes)]
        return "\n".join(lines) + f"\n\n{self.checkpoint}"

    @classmethod
    def parse(cls, text: str) -> "EntryProof":
        """Read a tlog-proof. Raises CheckpointInvalid for an `extra` line (we write none) and anything malformed."""
        head, separator, note = text.partition("\n\n")
        lines = head.split("\n")
        if not separator or not note or len(lines) < 2 or lines[0] != PROOF_HEADER:
            raise CheckpointInvalid("not a tlog-proof")
        if not lines[1].startswith("index "):
            raise CheckpointInvalid("the second line of a tlog-proof is its index")
        if len(lines) - 2 > PROOF_HASHES_MAX:
            raise CheckpointInvalid("a tlog-proof with too many hashes")
        return cls(parse_decimal(lines[1].removeprefix("index ")), tuple(map(parse_hash, lines[2:])), note)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Which log key signs for which origin."""

    origin: str
    log: NoteVerifier


def make_enrolment(site: Signer, origin: str, log: NoteVerifier) -> str:
    """The note by which a site's identity key enrols a log. The log key's name must be the origin."""
    if log.name != origin or "\n" in origin:
        raise CheckpointInvalid(f"the log key is named {log.name}, its origin is {origin}")
    return sign_note(f"{ENROLMENT_HEADER}\n{origin}\n{log.vkey}\n", [site])


def open_enrolment(note: str, site: NoteVerifier) -> Enrolment:
    """Raises CheckpointInvalid unless `site` signed it and the log key bears the origin's name."""
    lines = _open(note, site, "enrolment").split("\n")
    if len(lines) != 4 or lines[0] != ENROLMENT_HEADER or lines[3]:
        raise CheckpointInvalid("not an enrolment")
    try:
        log = NoteVerifier.parse(lines[2])
    except NoteError as error:
        raise CheckpointInvalid(f"the enrolled log key is malformed: {error}") from None
    if log.vkey != lines[2] or log.name != lines[1]:
        raise CheckpointInvalid("the enrolled log key does not bear the origin's name")
    return Enrolment(lines[1], log)


def origin_hash(origin: str) -> str:
    """SHA-256 of an origin, in lower-case hex: how tlog-witness names a log in a path."""
    return hashlib.sha256(origin.encode()).hexdigest()


def parse_decimal(text: str) -> int:
    """A non-negative number without sign, spaces or leading zeros, at most 2**63 - 1."""
    if not text.isascii() or not text.isdigit() or (text[0] == "0" and text != "0") or len(text) > _DIGITS_MAX:
        raise CheckpointInvalid(f"{text[:32]!r} is not a decimal number")
    number = int(text)
    if number > SIZE_MAX:
        raise CheckpointInvalid("a number beyond 63 bits")
    return number


def _open(note: str, verifier: NoteVerifier, what: str) -> str:
    try:
        signed = SignedNote.parse(note)
        if not signed.verified_by([verifier]):
            raise CheckpointInvalid(f"the {what} is not signed by {verifier.name}")
    except NoteError as error:
        raise CheckpointInvalid(f"the {what} does not verify: {error.message}") from None
    return signed.text


def parse_hash(text: str) -> bytes:
    """A hash (32 bytes) in canonical base64."""
    try:
        data = decode_base64(text)
    except NoteError as error:
        raise CheckpointInvalid(f"a hash is malformed: {error.message}") from None
    if len(data) != HASH_BYTES:
        raise CheckpointInvalid("a hash is 32 bytes")
    return data
