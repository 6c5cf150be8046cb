"""Backing up an installation while it runs.

A backup is a directory: `backup.json` (what is in it, by SHA-256), `files/` (settings, declarations, snapshots,
the registries' files), `state.sqlite`, `ledger/` (the log up to a checkpoint), and, if asked for, `keys.sealed`. It
appears under its name when it is whole and was verified.

What makes it consistent, in this order:

1. the register of keys, by SQLite's online backup: a moment of it;
2. the log is waited for until it covers that moment: an act that waited in the register's outbox is in the copy of the
   register, or in the copy of the log, or in both (then a restore drops the first);
3. the log at a checkpoint: it proves itself.

The log's signing key is never in it: a restored installation is a new node with a log of its own, so that no size of
the old one can be signed twice, whatever was published after the backup.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sekisho.app.clock import command_clock
from sekisho.app.keys import log_verifier
from sekisho.app.ledger import merge_here, told_of_sqlite
from sekisho.app.sealed import seal, unseal
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.files import FileLock, LockHeld, sync_directory, write_durable
from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.browse import LogBrowser
from sekisho.ledger.checkpoint import Checkpoint, open_checkpoint, open_enrolment
from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.mirror import copy_log
from sekisho.settings import DataDirectory, Settings, load_settings

FORMAT: Final = 1
MANIFEST: Final = "backup.json"
_FIELDS: Final = {"files", "left_out", "made_at_us", "origin", "root", "site_vkey", "size", "with_keys"}
FILES: Final = "files"
STATE: Final = "state.sqlite"
LEDGER: Final = "ledger"
SEALED: Final = "keys.sealed"
_COVERED_S_MAX: Final = 60.0  # control merges each second; a backlog of a minute is something to look at first
_LOOK_S: Final = 0.2
_MERGES: Final = 2  # that must end before what was written is in the log for certain
_READS_MAX: Final = 3  # a rotation of the log's key is over in one
_READ_BYTES: Final = 1 << 20
# What signs for this machine alone: a second witness with the same key could cosign a second history.
_SECRETS_LEFT_OUT: Final = ("log.key", "log-next.key", "log-next.json", "witness.key")
_CONTENT_KEYS: Final = "content"  # kept content is in no backup, and is deleted by deleting its key


class Backup(NamedTuple):
    """What a backup holds."""

    manifest: dict[str, Any]
    digest: bytes  # of the manifest's file; the sealed keys are bound to it


def back_up(root: Path, target: Path, passphrase: str | None) -> Backup:
    """Back up the installation in `root` to the new directory `target`, keys sealed with `passphrase` included.

    Raises UsageError if `target` is there, LockHeld while another backup to it is made, LogUnreadable if the log does
    not follow, SekishoError, OSError; then nothing is left of it.
    """
    directory, settings = DataDirectory(root), load_settings(root)
    if root.resolve() in target.resolve().parents:
        raise UsageError(f"{target} lies in the installation", remedy="Name one elsewhere, best on another disk")
    with _making(target) as partial:
        backup = _back_up(directory, settings, partial, passphrase)
        partial.rename(target)
        sync_directory(target.parent)
    return backup


@contextmanager
def _making(target: Path) -> Iterator[Path]:
    """The directory that a backup is made in, until it bears its name. Raises as `back_up`."""
    _require_absent(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire()
    except LockHeld:
        raise LockHeld(
            f"another backup to {target} is being made", remedy="Wait for it, or name another directory"
        ) from None
    with lock:
        try:
            _require_absent(target)  # another one may have come to its end since the first look
            if partial.exists():
                shutil.rmtree(partial)  # of a backup that was killed
            partial.mkdir(mode=0o700)
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # it would fill the disk; the first error is the one to tell
            raise
        finally:
            lock.path.unlink()


def _require_absent(target: Path) -> None:
    if target.exists():
        raise UsageError(f"{target} is there already", remedy="Name a directory that does not exist")


def _back_up(directory: DataDirectory, settings: Settings, partial: Path, passphrase: str | None) -> Backup:
    _copy_register(directory.state, partial / STATE)
    _await_coverage(directory, settings)
    # Keys before the marks of forgotten ones, which are made first: what is forgotten meanwhile is marked in the copy.
    secrets = {} if passphrase is None else _secrets(directory, settings)
    left_out = _copy_files(directory, settings, partial / FILES)
    checkpoint = _copy_ledger(directory, partial / LEDGER)
    manifest = {
        "files": _digests(partial),
        "format": FORMAT,
        "left_out": left_out,
        "made_at_us": command_clock(directory).now_us(),
        "origin": settings.installation.origin,
        "root": checkpoint.root.hex(),
        "site_vkey": directory.site_vkey.read_text().strip(),
        "size": checkpoint.size,
        "with_keys": passphrase is not None,
    }
    data = json.dumps(manifest, indent=1, ensure_ascii=False, sort_keys=True).encode()
    if passphrase is not None:
        sealed = seal(secrets, passphrase, hashlib.sha256(data).digest())
        write_durable(partial / SEALED, sealed, mode=0o600)
    write_durable(partial / MANIFEST, data)
    return verify_backup(partial, passphrase)


def verify_backup(target: Path, passphrase: str | None) -> Backup:
    """Read all of a backup. Raises SekishoError, or AuditFinding, for anything missing, altered or beside.

    Without its passphrase this finds what a disk did, not what a person did: the seal is what tells of that.
    """
    try:
        data = (target / MANIFEST).read_bytes()
        manifest = json.loads(data)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise UsageError(f"{target} is no backup: it has no readable {MANIFEST}") from None
    if not isinstance(manifest, dict) or "format" not in manifest:
        raise UsageError(f"{target} is no backup: its {MANIFEST} does not say what is in it")
    if manifest["format"] != FORMAT:
        raise SekishoError(f"the backup has format {manifest['format']!r:.40}", remedy="Use a newer version of Sekisho")
    if missing := _FIELDS - manifest.keys():
        raise SekishoError(f"the backup's {MANIFEST} lacks {', '.join(sorted(missing))}", remedy="Use another backup")
    digest = hashlib.sha256(data).digest()
    if passphrase is not None and manifest["with_keys"]:
        unseal((target / SEALED).read_bytes(), passphrase, digest)
    found = _digests(target)
    if found != manifest["files"]:
        odd = sorted(name for name in {*found, *manifest["files"]} if found.get(name) != manifest["files"].get(name))
        raise SekishoError(f"the backup is damaged: {', '.join(odd[:10])}", remedy="Use another one")
    site = NoteVerifier.parse(manifest["site_vkey"])
    log = open_enrolment((target / LEDGER / "enrolment").read_text(), site).log
    checkpoint = audit_integrity(target / LEDGER, log).checkpoint
    if (checkpoint.size, checkpoint.root.hex()) != (manifest["size"], manifest["root"]):
        raise SekishoError("the backup's log is not the one that it names")
    with (
        told_of_sqlite(),
        closing(sqlite3.connect(f"{(target / STATE).absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as register,
    ):
        problem = register.execute("PRAGMA integrity_check").fetchone()[0]
    if problem != "ok":
        raise SekishoError(f"the backup's register is damaged: {problem}", remedy="Use another backup")
    return Backup(manifest, digest)


def _copy_register(source: Path, target: Path) -> None:
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with told_of_sqlite(), closing(sqlite3.connect(source)) as living, closing(sqlite3.connect(target)) as copy:
        living.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    _sync_file(target)


def _await_coverage(directory: DataDirectory, settings: Settings) -> None:
    """Until everything that was written before now is published.

    No clock is asked: ours need not be the publisher's. Of two merges that end after now, the second began after now,
    and so has read what was written before.
    """
    deadline = time.monotonic() + _COVERED_S_MAX
    browser = LogBrowser(directory.ledger)
    try:
        seen, ended = browser.published_until_us(), 0
        while True:
            looked = browser.published_until_us()
            if looked not in (None, seen):
                seen, ended = looked, ended + 1
            if ended == _MERGES:
                return
            if time.monotonic() > deadline:
                raise LogUnreadable(
                    "control does not publish what was written", remedy="See its log and `sekisho ledger status`"
                )
            if FileLock.is_held(directory.ledger / "publish.lock"):
                time.sleep(_LOOK_S)
                continue
            merge_here(directory, settings)
    finally:
        browser.close()


def _copy_files(directory: DataDirectory, settings: Settings, target: Path) -> list[str]:
    """Everything but keys, ledger and register; returns what is left out: models' weights, and what the settings name
    outside of the installation."""
    gateway = settings.gateway
    named = [one for one in (gateway.tls_certificate_file, gateway.tls_client_ca_file) if one]
    wanted = [
        directory.settings,
        directory.format,
        directory.site_vkey,
        *(directory.root / one for one in named if _is_inside(directory, one)),
    ]
    wanted += sorted(directory.organisation_keys.glob("*.forgotten"))  # no secrets: so that no key is made again
    in_force = directory.snapshots / "current"
    _copy(in_force, target / in_force.relative_to(directory.root))  # before its parts are listed: they are all there
    for tree in (directory.declarations, directory.snapshots, directory.issuer_keys, directory.registry):
        wanted += sorted(path for path in tree.rglob("*") if path.is_file() and not path.name.startswith("."))
    for path in wanted:
        if path != in_force and path.is_file():
            _copy(path, target / path.relative_to(directory.root))
    outside = [one for one in (*named, gateway.tls_key_file) if one and not _is_inside(directory, one)]
    return sorted({*outside, *(engine.file for engine in settings.engines.values() if engine.file)})


def _is_inside(directory: DataDirectory, named: str) -> bool:
    """Whether a file that the settings name, relative to the installation or not, is in it."""
    return directory.root.resolve() in (directory.root / named).resolve().parents


def _copy_ledger(directory: DataDirectory, target: Path) -> Checkpoint:
    files = LogFiles(directory.ledger)
    for _ in range(_READS_MAX):
        enrolment, verifier, note = directory.enrolment.read_bytes(), log_verifier(directory), files.checkpoint()
        if directory.enrolment.read_bytes() == enrolment:  # else the log's key was replaced in between
            break
    if note is None:
        raise LogUnreadable("nothing is published yet", remedy="Run `sekisho up` once")
    checkpoint = open_checkpoint(note, verifier)
    target.mkdir()
    copy_log(files, checkpoint, note, target)
    write_durable(target / "enrolment", enrolment)
    for tree in (directory.former_enrolments, directory.former_logs):
        for path in sorted(tree.rglob("*")):
            if path.is_file():
                _copy(path, target / path.relative_to(directory.ledger))
    return checkpoint


def _secrets(directory: DataDirectory, settings: Settings) -> dict[str, bytes]:
    """By path: what is in keys/, the log's key apart, and the TLS key."""
    found = (path for path in directory.keys.rglob("*") if path.is_file() and path.name not in _SECRETS_LEFT_OUT)
    paths = [path for path in found if _CONTENT_KEYS not in path.relative_to(directory.keys).parts[:-1]]
    if settings.gateway.tls_key_file and _is_inside(directory, settings.gateway.tls_key_file):
        paths.append(directory.root / settings.gateway.tls_key_file)
    return {str(path.relative_to(directory.root)): path.read_bytes() for path in paths}


def _digests(target: Path) -> dict[str, str]:
    """SHA-256 of every file but the manifest, the seal, and the log's tiles, which its root proves."""
    found = {}
    for path in sorted(target.rglob("*")):
        name = path.relative_to(target).as_posix()
        if path.is_file() and name not in (MANIFEST, SEALED) and not name.startswith(f"{LEDGER}/tile/"):
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while piece := file.read(_READ_BYTES):
                    digest.update(piece)
            found[name] = digest.hexdigest()
    return found


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    _sync_file(target)


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    sync_directory(path.parent)
