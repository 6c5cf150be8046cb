"""Restoring an installation from a backup, here or on another machine: always as a new node.

Nobody can know what the original published after the backup, or whether it still runs. So a restored copy never goes on
with the old log: it has a log key and an origin of its own, enrolled by the site's key, and begins at zero. The old log
comes along as `ledger/former/`, read-only: receipts of its requests are made from there as before. The new log's first
entry names it, by its origin, size and root.

A directory is in one of three states, in this order:

1. empty, or not there;
2. `.restoring` is in it, locked while a restore works: one that broke off (a kill, a full disk) left the rest, and the
   next one clears it away;
3. `sekisho.toml` is in it, written last, when all the rest is durable: an installation, never restored over.
"""

import os
import re
import secrets
import shutil
import sqlite3
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sekisho.app.backup import FILES, LEDGER, SEALED, STATE, verify_backup
from sekisho.app.installation import activation_body, snapshot_store
from sekisho.app.keys import OrganisationKeys, create_signing_key, load_signing_key, parse_signing_key
from sekisho.app.sealed import unseal
from sekisho.gateway.entries import GatewayLifecycle
from sekisho.identity.persons import carried_body
from sekisho.identity.persons_sql import SqlPersons
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.files import FileLock, LockHeld, sync_directory, write_durable
from sekisho.kernel.notes import NoteSigner, NoteVerifier
from sekisho.ledger.checkpoint import make_enrolment
from sekisho.ledger.index import INDEX
from sekisho.ledger.indexing import index_copy
from sekisho.settings import FILE, FORMAT, DataDirectory

RESTORING: Final = ".restoring"
_IDS_PER_LOOK: Final = 500  # SQLite bounds the variables of a statement


class Restored(NamedTuple):
    """The new log's origin, the old one's, and what of the installation was not in the backup."""

    origin: str
    origin_before: str
    made_at_us: int
    left_out: tuple[str, ...]
    new_organisation_keys: tuple[str, ...]


def restore(backup: Path, root: Path, *, passphrase: str | None, site_key: Path | None) -> Restored:
    """Make an installation in `root`, which must be empty, not exist or hold a restore that broke off, of what `backup`
    holds.

    The site's key is needed, to enrol the new log: out of the backup's sealed keys (`passphrase`), or from the file
    `site_key`. Raises UsageError, LockHeld while another restore works there, SekishoError for a backup that does not
    hold or a disk that does not take it.
    """
    _require_free(root)
    manifest, digest = verify_backup(backup, passphrase)
    if passphrase is not None and not manifest["with_keys"]:
        raise UsageError("the backup holds no keys", remedy="Leave the passphrase out, and give --site-key")
    sealed = {} if passphrase is None else unseal((backup / SEALED).read_bytes(), passphrase, digest)
    site = _site_key(sealed, site_key, manifest)
    try:
        with _restoring(root):
            return _restore(backup, DataDirectory(root), manifest, sealed, site)
    except (OSError, sqlite3.Error) as error:
        raise SekishoError(
            f"the restore broke off, and {root} is no installation yet: {error}",
            remedy="Set that right, and give the same command again: it begins anew",
        ) from error


def _restore(
    backup: Path, directory: DataDirectory, manifest: Mapping[str, Any], sealed: Mapping[str, bytes], site: NoteSigner
) -> Restored:
    before: str = manifest["origin"]
    origin = f"{before.rpartition('/')[0]}/{secrets.token_hex(4)}"
    settings = _settings(backup / FILES, before, origin)
    _make_directories(directory)
    _put_files(backup / FILES, directory)
    for name, data in sealed.items():
        path = directory.root / name
        if directory.root.resolve() not in path.resolve().parents:
            raise SekishoError(f"the backup holds a key outside the installation: {name}")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durable(path, data, mode=0o600)
    made = tuple(_ensure_organisation_keys(directory))
    former = _put_former_log(backup / LEDGER, directory)
    log = create_signing_key(directory.log_key, origin)
    write_durable(directory.enrolment, make_enrolment(site, origin, log.verifier).encode())
    _put_register(backup / STATE, directory, former, manifest)
    write_durable(directory.settings, settings)  # last: without it this is no installation
    return Restored(origin, before, manifest["made_at_us"], tuple(manifest["left_out"]), made)


def _require_free(root: Path) -> None:
    """Raises UsageError unless it is in state 1 or 2."""
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise UsageError(f"{root} is not a directory", remedy="Name a new one") from None
    if names and (RESTORING not in names or FILE in names):
        raise UsageError(f"{root} is not empty", remedy="Name a new directory; nothing is restored over another")


@contextmanager
def _restoring(root: Path) -> Iterator[None]:
    """From state 1 or 2 to state 3, if what is done within does not raise. Raises LockHeld, OSError."""
    root.mkdir(mode=0o750, parents=True, exist_ok=True)  # as `init` makes it
    lock = FileLock(root / RESTORING)
    try:
        lock.acquire()
    except LockHeld:
        raise LockHeld(f"another restore works in {root}", remedy="Wait for it, or name another directory") from None
    with lock:
        _require_free(root)  # another one may have come to its end since the first look
        sync_directory(root)
        for path in root.iterdir():
            if path.name != RESTORING:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield
        (root / RESTORING).unlink()
        sync_directory(root)


def _site_key(sealed: Mapping[str, bytes], file: Path | None, manifest: Mapping[str, Any]) -> NoteSigner:
    """Raises UsageError if there is none, or it is another site's."""
    site = NoteVerifier.parse(manifest["site_vkey"])
    if file is not None:
        signer = load_signing_key(file, site.name)
    elif (data := sealed.get("keys/site.key")) is not None:
        signer = parse_signing_key(data, site.name, "keys/site.key of the backup")
    else:
        raise UsageError(
            "the site's key is needed to enrol the new log",
            remedy="Give the passphrase of a backup made --with-keys, or the key itself: --site-key FILE",
        )
    if signer.verifier != site:
        raise UsageError(f"that is not the key of the site {site.name}", remedy="Give the one that site.vkey is of")
    return signer


def _make_directories(directory: DataDirectory) -> None:
    for path in (directory.ledger, directory.write_ahead, directory.run, directory.former_logs):
        path.mkdir(parents=True, exist_ok=True)
    write_durable(directory.format, f"{FORMAT}\n".encode())
    for path in (directory.keys, directory.organisation_keys):
        path.mkdir(mode=0o700, exist_ok=True)


def _put_files(source: Path, directory: DataDirectory) -> None:
    for path in sorted(source.rglob("*")):
        target = directory.root / path.relative_to(source)
        if path.is_file() and target not in (directory.settings, directory.format):
            target.parent.mkdir(parents=True, exist_ok=True)
            write_durable(target, path.read_bytes())


def _ensure_organisation_keys(directory: DataDirectory) -> list[str]:
    """New ones where the backup brought none: what was committed with the old ones stays unlinked."""
    declared = {path.stem for path in (directory.declarations / "organisations").glob("*.toml")}
    there = {path.stem for path in directory.organisation_keys.iterdir()}
    OrganisationKeys(directory.organisation_keys).ensure(sorted(declared - there))
    return sorted(declared - there)


def _put_former_log(source: Path, directory: DataDirectory) -> Path:
    """The old log, with an index of its own, beside those that it had before."""
    before = source / directory.former_logs.name
    if before.is_dir():
        shutil.copytree(before, directory.former_logs, dirs_exist_ok=True)
    number = 1 + len(list(directory.former_logs.iterdir()))
    target = directory.former_logs / f"{number:04d}"
    shutil.copytree(source, target, ignore=lambda at, _: [before.name] if Path(at) == source else [])
    index_copy(target, GatewayLifecycle())
    _sync_tree(directory.former_logs)
    sync_directory(directory.ledger)
    return target


def _sync_tree(root: Path) -> None:
    """Make all that is under a directory durable. Raises OSError."""
    for at, _, files in os.walk(root, onerror=_raise):
        for name in files:
            with (Path(at) / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(at))


def _raise(error: OSError) -> None:
    raise error


def _put_register(source: Path, directory: DataDirectory, former: Path, manifest: Mapping[str, Any]) -> None:
    """The register; acts that waited in its outbox and are in the old log already are not told again."""
    write_durable(directory.state, source.read_bytes(), mode=0o600)
    clock = SystemClock()
    with closing(SqlIdentity(directory.state, clock)) as register:
        while waiting := [entry.id for entry in register.pending(_IDS_PER_LOOK)]:
            told = _logged(former, waiting)
            register.relayed(tuple(told))
            if len(told) < len(waiting):
                break
        body = {
            "act": "ledger.restore",
            "origin_before": manifest["origin"],
            "root": manifest["root"],
            "size": manifest["size"],
        }
        in_force, persons = snapshot_store(directory).current(), SqlPersons(register, clock)
        with register.transaction(writes=True) as connection:
            register.tell(connection, clock.now_us(), "operator", encode(body))
            if in_force is not None:  # it was and it is: without this the new log would not tell
                register.tell(connection, clock.now_us(), "operator", activation_body(in_force, in_force))
            for key in persons.keys_in(connection):
                if key.retired_at is None:
                    register.tell(connection, clock.now_us(), "operator", carried_body(key))


def _logged(former: Path, identifiers: list[str]) -> list[str]:
    marks = ",".join("?" * len(identifiers))
    with closing(sqlite3.connect(f"{(former / INDEX).absolute().as_uri()}?mode=ro", uri=True)) as index:
        rows = index.execute(f"SELECT id FROM entries WHERE id IN ({marks})", identifiers)  # noqa: S608  # marks
        return [row[0] for row in rows]


def _settings(source: Path, before: str, origin: str) -> bytes:
    """The settings of the backup, with the new log's origin in place of the old one's. Raises SekishoError."""
    text = (source / FILE).read_text(encoding="utf-8")
    named = rf"""\borigin(\s*)=(\s*)(["']){re.escape(before)}\3"""
    changed = re.sub(named, rf"origin\1=\2\g<3>{origin}\3", text)
    try:
        found = tomllib.loads(changed)["installation"]["origin"]
    except (tomllib.TOMLDecodeError, KeyError, TypeError):
        found = None
    if found != origin:
        raise SekishoError(
            f"the backup's {FILE} does not name its log, {before}, as [installation] origin",
            remedy="Use another backup",
        )
    return changed.encode()
