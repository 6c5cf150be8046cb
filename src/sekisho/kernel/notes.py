"""Signed notes and their keys (C2SP signed-note), Ed25519 signatures only.

A note is text ending in a newline, an empty line, and one signature line per signer:
`— <name> base64(keyID[4] ‖ signature)`.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sekisho.kernel.errors import NoteError

ED25519: Final = 0x01
SIGNATURES_MAX: Final = 64  # C2SP asks for at least 16; more would only cost the verifier time
_DASH: Final = "— "


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """A public key under a name; its text form is a *vkey*: `name+hex(keyID)+base64(type ‖ key)`."""

    name: str
    public_key: bytes  # 32 bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256(name ‖ 0A ‖ type ‖ key), the first four bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([ED25519]) + self.public_key).digest()[:4]

    @property
    def vkey(self) -> str:
        encoded = base64.b64encode(bytes([ED25519]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, vkey: str) -> "NoteVerifier":
        """Read a vkey; raises NoteError unless it is well-formed, Ed25519 and its key id is its own."""
        parts = vkey.strip().split("+", 2)  # base64 may hold '+', names may not
        if len(parts) != 3 or not _is_name(parts[0]):
            raise NoteError("not a vkey", remedy="A vkey reads name+key id+base64 of the key")
        key = decode_base64(parts[2])
        if len(key) != 33 or key[0] != ED25519:
            raise NoteError("the vkey is not an Ed25519 key")
        verifier = cls(parts[0], key[1:])
        if verifier.vkey != vkey.strip():
            raise NoteError("the vkey's key id does not belong to its key")
        return verifier

    def verify(self, text: str, signature: bytes) -> None:
        """Raises NoteError unless `signature` (64 bytes) is this key's over `text`."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            raise NoteError(f"the signature of {self.name} does not verify") from None


class Signer(Protocol):
    """Whoever can sign under a name: a key file here, or a device that never lets the key out (PKCS#11)."""

    @property
    def verifier(self) -> NoteVerifier: ...

    def signature(self, text: str) -> bytes:
        """Ed25519 over the text's bytes: 64 bytes. May block; raises NoteError or OSError if it can't sign now."""
        ...


def sign_note(text: str, signers: Iterable[Signer]) -> str:
    """The whole note: `text` (which ends in a newline), the empty line and a signature line of each signer."""
    _require_text(text)
    lines = []
    for signer in signers:
        encoded = base64.b64encode(signer.verifier.key_id + signer.signature(text)).decode()
        lines.append(f"{_DASH}{signer.verifier.name} {encoded}\n")
    return f"{text}\n{''.join(lines)}"


class NoteSigner:
    """A private key under a name, in memory. Raises NoteError if the name can't stand in a note."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        if not _is_name(name):
            raise NoteError(f"{name!r} can't name a key", remedy="Key names hold no spaces and no '+'")
        self._private_key = private_key
        self.verifier = NoteVerifier(name, private_key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The whole note, with our signature line alone."""
        return sign_note(text, [self])

    def signature(self, text: str) -> bytes:
        return self._private_key.sign(text.encode())


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A note taken apart, nothing verified yet: its text, and (name, key id, signature) of each line."""

    text: str
    signatures: tuple[tuple[str, bytes, bytes], ...]

    @classmethod
    def parse(cls, note: str) -> "SignedNote":
        """Raises NoteError for anything but a note with at least one well-formed signature line."""
        text, separator, block = note.rpartition("\n\n")
        if not separator or not block.endswith("\n"):
            raise NoteError("not a signed note")
        text += "\n"
        _require_text(text)
        lines = block[:-1].split("\n")
        if len(lines) > SIGNATURES_MAX:
            raise NoteError(f"a note with more than {SIGNATURES_MAX} signatures")
        return cls(text, tuple(_parse_signature(line) for line in lines))

    def verified_by(self, verifiers: Iterable[NoteVerifier]) -> tuple[NoteVerifier, ...]:
        """Those of `verifiers` that signed; raises NoteError if a line of one of them does not verify.

        Lines of keys we don't know are passed over (signed-note, "Verifying"); whether the keys found are enough is
        the caller's question.
        """
        found: list[NoteVerifier] = []
        for verifier in verifiers:
            for name, key_id, signature in self.signatures:
                if name == verifier.name and key_id == verifier.key_id:
                    verifier.verify(self.text, signature)
                    if verifier not in found:
                        found.append(verifier)
        return tuple(found)


def decode_base64(text: str) -> bytes:
    """Canonical standard base64 only: another spelling of the same bytes raises NoteError."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise NoteError("base64 that is not canonical")
    return data


def _parse_signature(line: str) -> tuple[str, bytes, bytes]:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator or not _is_name(name):
        raise NoteError("a malformed signature line")
    signature = decode_base64(encoded)
    if len(signature) < 5:
        raise NoteError("a signature line without a signature")
    return name, signature[:4], signature[4:]


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() or ord(c) < 0x20 for c in name)


def _require_text(text: str) -> None:
    if not text.endswith("\n") or any(ord(c) < 0x20 and c != "\n" for c in text):
        raise NoteError("a note's text ends in a newline and holds no other control characters")
