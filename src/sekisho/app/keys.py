"""Key files of an installation: Ed25519 private keys (PKCS #8, PEM) and the organisations' HMAC keys, mode 0600."""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from sekisho.kernel.cosignatures import CosignatureSigner
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.files import write_durable
from sekisho.kernel.notes import NoteSigner
from sekisho.ledger.commitments import Commitment, Salts, commit

_ORGANISATION_KEY_BYTES: Final = 32
_FILE_BYTES_MAX: Final = 16 * 1024


def create_signing_key(path: Path, name: str) -> NoteSigner:
    """Make a key and write it; never over one that is there."""
    return NoteSigner(name, _create_key(path))


def load_signing_key(path: Path, name: str) -> NoteSigner:
    """Raises SekishoError for a file that others can read, or that is no Ed25519 key."""
    return NoteSigner(name, _load_key(path))


def create_witness_key(path: Path, name: str) -> CosignatureSigner:
    """As `create_signing_key`: a key of its own, because cosignatures don't bear their signer's name."""
    return CosignatureSigner(name, _create_key(path))


def load_witness_key(path: Path, name: str) -> CosignatureSigner:
    """Raises as `load_signing_key`."""
    return CosignatureSigner(name, _load_key(path))


def _create_key(path: Path) -> Ed25519PrivateKey:
    if path.exists():
        raise SekishoError(f"{path} exists already", remedy="A signing key is never replaced by making another")
    key = Ed25519PrivateKey.generate()
    write_durable(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    return key


def _load_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(_read_secret(path), password=None)
    except ValueError as error:
        raise SekishoError(f"{path} is not a private key: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SekishoError(f"{path} is not an Ed25519 key")
    return key


class OrganisationKeys:
    """The keys that salt content commitments, one per organisation; read when first needed, then kept.

    Implements the ledger's Commitments. Destroying an organisation's file (and restarting) unlinks its entries from
    any text; they still verify.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys: dict[str, bytes] = {}
        self._salts: dict[str, Salts] = {}

    def ensure(self, organisations: list[str]) -> None:
        """Make the keys that are missing."""
        for name in organisations:
            path = self._path(name)
            if not path.exists():
                write_durable(path, secrets.token_hex(_ORGANISATION_KEY_BYTES).encode() + b"\n", mode=0o600)

    def commit(self, organisation: str, entry_id: str, field: str, data: bytes) -> dict[str, int | str]:
        return commit(self._of(organisation).of(entry_id, field), data)

    def stream(self, organisation: str, entry_id: str, field: str) -> Commitment:
        return Commitment(self._of(organisation).of(entry_id, field))

    def _of(self, organisation: str) -> Salts:
        salts = self._salts.get(organisation)
        if salts is None:
            salts = self._salts[organisation] = Salts(self.key(organisation))
        return salts

    def key(self, organisation: str) -> bytes:
        """Raises SekishoError if the organisation has no key here."""
        key = self._keys.get(organisation)
        if key is None:
            path = self._path(organisation)
            try:
                key = bytes.fromhex(_read_secret(path).decode())
            except (UnicodeDecodeError, ValueError):
                key = b""
            if len(key) != _ORGANISATION_KEY_BYTES:
                raise SekishoError(f"{path} does not hold an organisation's key")
            self._keys[organisation] = key
        return key

    def _path(self, organisation: str) -> Path:
        return self._directory / f"{organisation}.key"


def _read_secret(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise SekishoError(f"{path} can be read by others", remedy=f"chmod 600 {path}")
            return file.read(_FILE_BYTES_MAX)
    except FileNotFoundError:
        raise SekishoError(f"{path} is missing", remedy="Restore it from your backup of keys/") from None
