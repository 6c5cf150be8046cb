"""Cosignatures of checkpoints (C2SP tlog-cosignature), the Ed25519 kind: signature type 04.

A cosignature is a signature line of a note. Its signature is a big-endian u64 timestamp (POSIX seconds) ‖ the 64
bytes of an Ed25519 signature over `cosignature/v1\ntime <timestamp>\n` ‖ the note's text. It says: as of that time,
this is the largest consistent tree that the cosigner has seen of the log.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import (
    AROUND_KEY,
    COSIGNATURE,
    SignedNote,
    derive_key_id,
    format_signature,
    format_vkey,
    parse_signatures,
    parse_vkey,
    require_name,
    require_text,
    verify_ed25519,
)

TIME_BYTES: Final = 8
SIGNATURE_BYTES: Final = TIME_BYTES + 64
TIME_MAX: Final = 2**63 - 1  # tlog-cosignature, "Format"


@dataclass(frozen=True, slots=True)
class CosignatureVerifier:
    """A cosigner's public key under its name. The message does not hold the name: no two cosigners share a key."""

    name: str
    public_key: bytes  # 32 bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256(name ‖ 0A ‖ 04 ‖ key), the first four bytes."""
        return derive_key_id(self.name, COSIGNATURE, self.public_key)

    @property
    def vkey(self) -> str:
        return format_vkey(self.name, COSIGNATURE, self.public_key)

    @classmethod
    def parse(cls, vkey: str) -> "CosignatureVerifier":
        """Read a vkey; raises NoteError unless it is a well-formed Ed25519 cosigner's and its key id is its own."""
        return cls(*parse_vkey(vkey.strip(AROUND_KEY), COSIGNATURE))

    def verify(self, text: str, signature: bytes) -> int:
        """The time (POSIX seconds) at which this key cosigned `text`. Raises NoteError unless it did."""
        what = f"the cosignature of {self.name}"
        if len(signature) != SIGNATURE_BYTES:
            raise NoteError(f"{what} is not {SIGNATURE_BYTES} bytes")
        time = int.from_bytes(signature[:TIME_BYTES], "big")
        if time > TIME_MAX:
            raise NoteError(f"{what} bears an impossible time")
        verify_ed25519(self.public_key, signature[TIME_BYTES:], _message(text, time), what)
        return time


class CosignatureSigner:
    """A cosigner's private key under its name. Raises NoteError if the name can't stand in a note."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        require_name(name)
        self._private_key = private_key
        self.verifier = CosignatureVerifier(name, private_key.public_key().public_bytes_raw())

    def cosign(self, text: str, time: int) -> str:
        """Our signature line over a note's `text` as of `time` (POSIX seconds), its newline included.

        That the tree is consistent with all that was cosigned before is the caller's promise to keep.
        Raises ValueError for a time outside of 0 to TIME_MAX.
        """
        require_text(text)
        if not 0 <= time <= TIME_MAX:
            raise ValueError(f"{time} is no time of a cosignature")
        signature = time.to_bytes(TIME_BYTES, "big") + self._private_key.sign(_message(text, time))
        return format_signature(self.verifier.name, self.verifier.key_id, signature)


@dataclass(frozen=True, slots=True)
class Cosignature:
    """Whose cosignature holds, and of when (POSIX seconds; the latest, if it cosigned more than once)."""

    cosigner: CosignatureVerifier
    time: int


def cosigned_by(note: SignedNote, verifiers: Iterable[CosignatureVerifier]) -> tuple[Cosignature, ...]:
    """The cosignatures of `verifiers` on `note`; raises NoteError if a line of one of them does not verify.

    Lines of cosigners we don't know are passed over; whether those found are enough is the caller's question
    (`ledger.tlog_policy`).
    """
    found = []
    for verifier in verifiers:
        times = [verifier.verify(note.text, line) for line in note.signatures_of(verifier.name, verifier.key_id)]
        if times:
            found.append(Cosignature(verifier, max(times)))
    return tuple(found)


def add_signatures(note: str, block: str) -> str:
    """`note` with the signature lines of `block` (as a witness answers them) behind its own, each line once.

    Raises NoteError if either is malformed or the note would hold too many signatures; verifies nothing.
    """
    SignedNote.parse(note)
    parse_signatures(block)
    present = set(note.rpartition("\n\n")[2].split("\n"))
    added = [line for line in dict.fromkeys(block[:-1].split("\n")) if line not in present]
    extended = note + "".join(f"{line}\n" for line in added)
    SignedNote.parse(extended)
    return extended


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()
