"""Signed notes and their keys (C2SP signed-note), Ed25519 signatures; cosignatures stand in `kernel.cosignatures`.

A note is text ending in a newline, an empty line, and one signature line per signer:
`— <name> base64(keyID[4] ‖ signature)`.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sekisho.kernel.errors import NoteError

ED25519: Final = 0x01
COSIGNATURE: Final = 0x04
SIGNATURE_TYPES: Final = {  # signed-note, "Signature types": those that a person may meet in a key
    ED25519: "an Ed25519 key (type 01)",
    COSIGNATURE: "an Ed25519 cosigner's key (type 04)",
    0x06: "an ML-DSA-44 cosigner's key (type 06), which this version can't check",
}
AROUND_KEY: Final = " \t\r\n"  # what may stand around a key in a file; no more, so that all verifiers read the same
KEY_BYTES: Final = 32  # of an Ed25519 public key
SIGNATURES_MAX: Final = 64  # C2SP asks for at least 16; more would only cost the verifier time
_FIELD: Final = 2**255 - 19  # of Curve25519 (RFC 8032)
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
# y of the curve's points of order 1, 2, 4 and 8. Under such a key one signature fits any text.
_SMALL_ORDER: Final = frozenset({0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8})
_DASH: Final = "— "


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """A public key under a name; its text form is a *vkey*: `name+hex(keyID)+base64(type ‖ key)`."""

    name: str
    public_key: bytes  # 32 bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256(name ‖ 0A ‖ type ‖ key), the first four bytes."""
        return derive_key_id(self.name, ED25519, self.public_key)

    @property
    def vkey(self) -> str:
        return format_vkey(self.name, ED25519, self.public_key)

    @classmethod
    def parse(cls, vkey: str) -> "NoteVerifier":
        """Read a vkey; raises NoteError unless it is well-formed, Ed25519 and its key id is its own."""
        return cls(*parse_vkey(vkey.strip(AROUND_KEY), ED25519))

    def verify(self, text: str, signature: bytes) -> None:
        """Raises NoteError unless `signature` (64 bytes) is this key's over `text`."""
        verify_ed25519(self.public_key, signature, text.encode(), f"the signature of {self.name}")


class Signer(Protocol):
    """Whoever can sign under a name: a key file here, or a device that never lets the key out (PKCS#11)."""

    @property
    def verifier(self) -> NoteVerifier: ...

    def signature(self, text: str) -> bytes:
        """Ed25519 over the text's bytes: 64 bytes. May block; raises NoteError or OSError if it can't sign now."""
        ...


def sign_note(text: str, signers: Iterable[Signer]) -> str:
    """The whole note: `text` (which ends in a newline), the empty line and a signature line of each signer."""
    require_text(text)
    keys = ((signer, signer.verifier) for signer in signers)
    lines = [format_signature(key.name, key.key_id, signer.signature(text)) for signer, key in keys]
    return f"{text}\n{''.join(lines)}"


class NoteSigner:
    """A private key under a name, in memory. Raises NoteError if the name can't stand in a note."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        require_name(name)
        self._private_key = private_key
        self.verifier = NoteVerifier(name, private_key.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The whole note, with our signature line alone."""
        return sign_note(text, [self])

    def signature(self, text: str) -> bytes:
        return self._private_key.sign(text.encode())


class SignatureLine(NamedTuple):
    """One signature line, nothing verified."""

    name: str
    key_id: bytes  # 4 bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A note taken apart, nothing verified yet."""

    text: str
    signatures: tuple["SignatureLine", ...]

    @classmethod
    def parse(cls, note: str) -> "SignedNote":
        """Raises NoteError for anything but a note with at least one well-formed signature line."""
        text, separator, block = note.rpartition("\n\n")
        if not separator or not block.endswith("\n"):
            raise NoteError("not a signed note")
        text += "\n"
        require_text(text)
        return cls(text, parse_signatures(block))

    def verified_by(self, verifiers: Iterable[NoteVerifier]) -> tuple[NoteVerifier, ...]:
        """Those of `verifiers` that signed; raises NoteError if a line of one of them does not verify.

        Lines of keys we don't know are passed over (signed-note, "Verifying"); whether the keys found are enough is
        the caller's question.
        """
        found: list[NoteVerifier] = []
        for verifier in verifiers:
            for signature in self.signatures_of(verifier.name, verifier.key_id):
                verifier.verify(self.text, signature)
                if verifier not in found:
                    found.append(verifier)
        return tuple(found)

    def signatures_of(self, name: str, key_id: bytes) -> tuple[bytes, ...]:
        """What stands behind this name and key id, both of which must fit (signed-note, "Signatures")."""
        return tuple(line.signature for line in self.signatures if line.name == name and line.key_id == key_id)


def decode_base64(text: str) -> bytes:
    """Canonical standard base64 only: another spelling of the same bytes raises NoteError."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("not base64") from None
    if base64.b64encode(data).decode() != text:
        raise NoteError("base64 that is not canonical")
    return data


def derive_key_id(name: str, kind: int, public_key: bytes) -> bytes:
    """The recommended key id: SHA-256(name ‖ 0A ‖ type ‖ key)[:4]. `kind` is the signature type's byte."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([kind]) + public_key).digest()[:4]


def format_vkey(name: str, kind: int, public_key: bytes) -> str:
    """`name+hex(keyID)+base64(type ‖ key)`."""
    encoded = base64.b64encode(bytes([kind]) + public_key).decode()
    return f"{name}+{derive_key_id(name, kind, public_key).hex()}+{encoded}"


def parse_vkey(vkey: str, kind: int) -> tuple[str, bytes]:
    """Name and public key (32 bytes) of a vkey of this signature type. Raises NoteError for any other text."""
    parts = vkey.split("+", 2)  # base64 may hold '+', names may not
    if len(parts) != 3 or not _is_name(parts[0]):
        raise NoteError("not a vkey", remedy="A vkey reads name+key id+base64 of the key")
    key = decode_base64(parts[2])
    if not key or key[0] != kind:
        found = SIGNATURE_TYPES.get(key[0], f"a key of type {key[0]:02x}") if key else "nothing"
        raise NoteError(f"the vkey is not {SIGNATURE_TYPES[kind]}, but {found}")
    if len(key) != 1 + KEY_BYTES:
        raise NoteError(f"the vkey is not {SIGNATURE_TYPES[kind]}: its key has {len(key) - 1} bytes")
    if format_vkey(parts[0], kind, key[1:]) != vkey:
        raise NoteError("the vkey's key id does not belong to its key")
    if int.from_bytes(key[1:], "little") % 2**255 % _FIELD in _SMALL_ORDER:
        raise NoteError("the vkey's key is of small order: it would vouch for anything")
    return parts[0], key[1:]


def format_signature(name: str, key_id: bytes, signature: bytes) -> str:
    """A signature line, its newline included."""
    return f"{_DASH}{name} {base64.b64encode(key_id + signature).decode()}\n"


def parse_signatures(block: str) -> tuple[SignatureLine, ...]:
    """One or more signature lines, each ending in a newline. Raises NoteError for anything else."""
    if not block.endswith("\n"):
        raise NoteError("a signature line that does not end")
    lines = block[:-1].split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise NoteError(f"a note with more than {SIGNATURES_MAX} signatures")
    return tuple(map(_parse_signature, lines))


def verify_ed25519(public_key: bytes, signature: bytes, message: bytes, what: str) -> None:
    """Raises NoteError, naming `what`, unless `signature` is the key's over `message` (RFC 8032)."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise NoteError(f"{what} does not verify") from None


def require_name(name: str) -> None:
    """Raises NoteError unless `name` can stand in a note and a vkey."""
    if not _is_name(name):
        raise NoteError(f"{name!r} can't name a key", remedy="Key names hold no spaces and no '+'")


def require_text(text: str) -> None:
    """Raises NoteError unless `text` can be a note's."""
    if not text.endswith("\n") or any(ord(c) < 0x20 and c != "\n" for c in text):
        raise NoteError("a note's text ends in a newline and holds no other control characters")


def _parse_signature(line: str) -> SignatureLine:
    name, separator, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not separator or not _is_name(name):
        raise NoteError("a malformed signature line")
    signature = decode_base64(encoded)
    if len(signature) < 5:
        raise NoteError("a signature line without a signature")
    return SignatureLine(name, signature[:4], signature[4:])


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() or ord(c) < 0x20 for c in name)
