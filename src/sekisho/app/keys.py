"""Key files of an installation: Ed25519 private keys (PKCS #8, PEM) and the organisations' HMAC keys, mode 0600."""

import hashlib
import json
import os
import secrets
import stat
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from sekisho.kernel.cosignatures import CosignatureSigner
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.files import FileLock, LockHeld, sync_directory, write_durable
from sekisho.kernel.notes import NoteSigner, NoteVerifier, Signer
from sekisho.kernel.words import alternatives
from sekisho.ledger.checkpoint import make_enrolment, open_enrolment
from sekisho.ledger.commitments import Commitment, Salts, commit
from sekisho.ledger.interfaces import CommitmentKeyForgotten, CommitmentKeyMissing, StagedKey
from sekisho.settings import DataDirectory

FOLLOW_INTERVAL_S: Final = 0.25  # as long as a revocation may go unseen: two looks at the directory cost 5 µs
_ORGANISATION_KEY_BYTES: Final = 32
_FILE_BYTES_MAX: Final = 16 * 1024
_ROTATION_LOCK: Final = "rotate.lock"


def create_signing_key(path: Path, name: str) -> NoteSigner:
    """Make a key and write it; never over one that is there."""
    return NoteSigner(name, _create_key(path))


def load_signing_key(path: Path, name: str) -> NoteSigner:
    """Raises SekishoError for a file that others can read, or that is no Ed25519 key."""
    return NoteSigner(name, _load_key(path))


def parse_signing_key(data: bytes, name: str, where: str) -> NoteSigner:
    """The key in a file's `data`, found `where`. Raises SekishoError if it is no Ed25519 key."""
    return NoteSigner(name, _parse_key(data, where))


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
    return _parse_key(_read_secret(path), str(path))


def _parse_key(data: bytes, where: str) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(data, password=None)
    except ValueError as error:
        raise SekishoError(f"{where} is not a private key: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SekishoError(f"{where} is not an Ed25519 key")
    return key


class _Held(NamedTuple):
    """An organisation's key in memory: the file it is of, and until when nobody looks at that again (monotonic)."""

    key: bytes
    salts: Salts
    file: tuple[int, int]
    fresh_until_s: float


class OrganisationKeys:
    """The keys that salt content commitments, one file per organisation; read when first needed, then kept.

    Implements the ledger's Commitments. A key that was forgotten is forgotten by every process within
    `FOLLOW_INTERVAL_S`: NAME.forgotten, written first, says that NAME.key does not count any more, there or not.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[str, _Held] = {}

    def ensure(self, organisations: Sequence[str]) -> None:
        """Make the keys that are missing, but none that was forgotten."""
        for name in organisations:
            if not self._path(name).exists() and not self._forgotten(name).exists():
                self._write(name)

    def forget(self, organisation: str) -> None:
        """Destroy the key, durably. May be called again. Raises UsageError if there is none of that name."""
        self.require_known(organisation)
        path, marker = self._path(organisation), self._forgotten(organisation)
        write_durable(marker, b"This organisation's commitment key was destroyed.\n", mode=0o600)
        if path.exists():
            # What a file system keeps of old blocks is beyond us; the file's own are overwritten before it goes.
            with path.open("r+b") as file:
                file.write(bytes(path.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            path.unlink()
            sync_directory(self._directory)
        self._held.pop(organisation, None)

    def renew(self, organisation: str) -> None:
        """Make a new key for an organisation whose key was forgotten. Raises UsageError for any other."""
        self.require_forgotten(organisation)
        self._write(organisation)
        self._forgotten(organisation).unlink()
        sync_directory(self._directory)

    def require_known(self, organisation: str) -> None:
        """Raises UsageError unless the organisation has, or had, a key."""
        known = {path.stem for suffix in ("key", "forgotten") for path in self._directory.glob(f"*.{suffix}")}
        if organisation not in known:
            there = alternatives(organisation, known) or "none"
            raise UsageError(f"no organisation {organisation!r} has a key here (there is: {there})")

    def require_forgotten(self, organisation: str) -> None:
        """Raises UsageError unless the organisation's key was forgotten."""
        if not self._forgotten(organisation).exists():
            raise UsageError(
                f"the key of {organisation!r} was not forgotten", remedy="There is nothing to renew; forget it first"
            )

    def commit(self, organisation: str, entry_id: str, field: str, data: bytes) -> dict[str, int | str]:
        return commit(self._of(organisation).salts.of(entry_id, field), data)

    def stream(self, organisation: str, entry_id: str, field: str) -> Commitment:
        return Commitment(self._of(organisation).salts.of(entry_id, field))

    def key(self, organisation: str) -> bytes:
        """Raises CommitmentKeyForgotten, CommitmentKeyMissing, or SekishoError for a file that holds no key."""
        return self._of(organisation).key

    def _of(self, organisation: str) -> _Held:
        held = self._held.get(organisation)
        if held is None or time.monotonic() >= held.fresh_until_s:
            held = self._held[organisation] = self._look(organisation, held)
        return held

    def _look(self, organisation: str, held: _Held | None) -> _Held:
        """The key as its file is now. It is dropped from memory if it is forgotten."""
        until = time.monotonic() + FOLLOW_INTERVAL_S
        path = self._path(organisation)
        if self._forgotten(organisation).exists():
            self._held.pop(organisation, None)
            raise CommitmentKeyForgotten(
                f"the commitment key of the organisation {organisation} was destroyed",
                remedy="The operator can give it a new one: sekisho keys renew",
            )
        try:
            status = path.stat()
        except FileNotFoundError:
            raise CommitmentKeyMissing(f"{path} is missing", remedy="Restore it from your backup of keys/") from None
        file = (status.st_ino, status.st_mtime_ns)
        if held is not None and held.file == file:
            return held._replace(fresh_until_s=until)
        try:
            key = bytes.fromhex(_read_secret(path).decode())
        except (UnicodeDecodeError, ValueError):
            key = b""
        if len(key) != _ORGANISATION_KEY_BYTES:
            raise SekishoError(f"{path} does not hold an organisation's key")
        return _Held(key, Salts(key), file, until)

    def _write(self, organisation: str) -> None:
        write_durable(self._path(organisation), secrets.token_hex(_ORGANISATION_KEY_BYTES).encode() + b"\n", mode=0o600)

    def _path(self, organisation: str) -> Path:
        return self._directory / f"{organisation}.key"

    def _forgotten(self, organisation: str) -> Path:
        return self._directory / f"{organisation}.forgotten"


def log_verifier(directory: DataDirectory) -> NoteVerifier:
    """The key that the site has enrolled for its log now. Raises SekishoError."""
    try:
        site = NoteVerifier.parse(directory.site_vkey.read_text())
        return open_enrolment(directory.enrolment.read_text(), site).log
    except FileNotFoundError as error:
        if (directory.ledger / "journal").is_dir() or not directory.site_vkey.exists():
            remedy = "It alone is gone: put it back from a backup, which has it in ledger/ or files/"
        else:
            remedy = (
                f"Is the disk of {directory.ledger} mounted? If the ledger is lost, restore a backup, which makes a new"
                " node: begun anew under its old name, the log would sign a second history"
            )
        raise SekishoError(f"{error.filename} is not there", remedy=remedy) from None
    except UnicodeDecodeError as error:
        raise SekishoError(
            f"site.vkey or ledger/enrolment can't be read: {error}", remedy="Restore it from a backup"
        ) from None


def require_own_ledger(directory: DataDirectory, origin: str) -> None:
    """Before anything is written to the ledger's directory: that it is this log's. Raises SekishoError.

    A disk that is not mounted leaves an empty directory. A log begun there would sign sizes that are signed already,
    and what was recorded there would be hidden once the disk is back. The enrolment, which only `init` and `restore`
    bring, tells the two apart.
    """
    enrolled = log_verifier(directory).name
    if enrolled != origin:
        raise SekishoError(
            f"{directory.ledger} is the ledger of {enrolled}, and {directory.settings} names {origin}",
            remedy="Is another disk mounted there?",
        )


class LogKeyFiles:
    """The log's key in `keys/`, and the one that is to take its place. Implements the ledger's KeyRotation.

    `log-next.json` is written last and removed last: while it is there, a rotation is under way.
    """

    def __init__(self, directory: DataDirectory, origin: str) -> None:
        self._directory = directory
        self._origin = origin

    def current(self) -> NoteSigner:
        """Raises SekishoError."""
        return load_signing_key(self._directory.log_key, self._origin)

    def stage(self, site: Signer, entry_id: str, actor: str) -> NoteVerifier:
        """Make the next key, and the enrolment by which `site` will have it. Raises UsageError if one waits already."""
        under_way = UsageError(
            "a rotation is under way already", remedy="It is finished by control; start `sekisho up`, or wait"
        )
        try:
            # Two at once could leave the key of the one with the enrolment of the other.
            with FileLock(self._directory.ledger / _ROTATION_LOCK):
                if self._directory.next_log.exists():
                    raise under_way
                return self._stage(site, entry_id, actor)
        except LockHeld:
            raise under_way from None

    def _stage(self, site: Signer, entry_id: str, actor: str) -> NoteVerifier:
        self._directory.next_log_key.unlink(missing_ok=True)  # of a command that broke off before it was staged
        signer = create_signing_key(self._directory.next_log_key, self._origin)
        enrolment = make_enrolment(site, self._origin, signer.verifier)
        staged = {"actor": actor, "enrolment": enrolment, "id": entry_id}
        write_durable(self._directory.next_log, json.dumps(staged).encode(), mode=0o600)
        return signer.verifier

    def staged(self) -> StagedKey | None:
        try:
            staged = json.loads(_read_secret(self._directory.next_log))
        except SekishoError:
            if self._directory.next_log.exists():
                raise
            return None
        if not self._directory.next_log_key.exists():  # `advance` broke off behind its last step but one
            sync_directory(self._directory.keys)  # it may have broken off at this very step
            self._directory.next_log.unlink()
            return None
        signer = load_signing_key(self._directory.next_log_key, self._origin)
        if signer.verifier.vkey not in staged["enrolment"].split("\n"):  # a log must never go on with a key that is not
            raise SekishoError(
                f"{self._directory.next_log_key} is not the key that {self._directory.next_log} enrols",
                remedy="Remove both, and give the command again; the present key stays in force",
            )
        return StagedKey(signer, staged["id"], staged["actor"])

    def advance(self) -> None:
        directory = self._directory
        staged = json.loads(_read_secret(directory.next_log))
        before = directory.enrolment.read_bytes()
        if before != staged["enrolment"].encode():
            directory.former_enrolments.mkdir(exist_ok=True)
            kept = directory.former_enrolments / hashlib.sha256(before).hexdigest()[:16]
            write_durable(kept, before)
            sync_directory(directory.ledger)
        # Written anew though it may be there: an advance that broke off may not have made it durable.
        write_durable(directory.enrolment, staged["enrolment"].encode())
        os.rename(directory.next_log_key, directory.log_key)  # and the old key is gone
        sync_directory(directory.keys)
        directory.next_log.unlink()
        sync_directory(directory.keys)


def _read_secret(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise SekishoError(f"{path} can be read by others", remedy=f"chmod 600 {path}")
            return file.read(_FILE_BYTES_MAX)
    except FileNotFoundError:
        raise SekishoError(f"{path} is missing", remedy="Restore it from your backup of keys/") from None
