"""An installation's ledger, joined: its publisher, its keys' public halves, its status, repair and archive."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sekisho.app.clock import command_clock
from sekisho.app.keys import LogKeyFiles, load_signing_key, log_verifier, require_own_ledger
from sekisho.gateway.entries import GatewayLifecycle
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.files import FileLock, LockHeld
from sekisho.kernel.ids import IdSource
from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger.archive import Archiving, archive
from sekisho.ledger.publisher import Identity, Publisher
from sekisho.ledger.repair import Findings, Repair, Repaired
from sekisho.ledger.status import LedgerStatus, read_status
from sekisho.ledger.wal_reader import START, writers
from sekisho.settings import DataDirectory, Settings, load_settings

_ROTATION_S_MAX: Final = 30.0  # control merges each second, and after a backlog within some
_ROTATION_LOOK_S: Final = 0.1


def make_publisher(directory: DataDirectory, settings: Settings, clock: Clock, ids: IdSource) -> Publisher:
    """The installation's publisher, not yet started. Raises SekishoError if its key can't be read, or if the ledger's
    directory is not its own."""
    require_own_ledger(directory, settings.installation.origin)
    keys = LogKeyFiles(directory, settings.installation.origin)
    return Publisher(
        directory.ledger,
        Identity(keys.current(), settings.installation.site, keys),
        GatewayLifecycle(),
        clock,
        ids,
        sources=writers,
        beginning=START,
    )


@contextmanager
def told_of_sqlite() -> Iterator[None]:
    """SQLite's errors as SekishoError: a disk that is full or fails, for whose own errors OSError is."""
    try:
        yield
    except sqlite3.Error as error:
        raise SekishoError(
            f"SQLite: {error}", remedy="Look at the free space and the disk, then give the command again"
        ) from error


def ledger_status(root: Path) -> LedgerStatus:
    """How the ledger is doing; beside whatever runs."""
    directory, settings = DataDirectory(root), load_settings(root)
    return read_status(
        directory.ledger,
        [log_verifier(directory)],
        reserve_bytes=settings.ledger.free_reserve_bytes,
        now_us=command_clock(directory).now_us(),
    )


def examine_ledger(root: Path, copies: Sequence[Path]) -> Findings:
    """What a repair would do. Raises LockHeld while control runs."""
    directory = DataDirectory(root)
    load_settings(root)
    return Repair(directory.ledger, [log_verifier(directory)], command_clock(directory), copies).examine()


def repair_ledger(root: Path, copies: Sequence[Path]) -> Repaired:
    """Repair it. Raises LockHeld, LogHalted."""
    directory, settings = DataDirectory(root), load_settings(root)
    clock = command_clock(directory)
    repair = Repair(directory.ledger, [log_verifier(directory)], clock, copies)
    with told_of_sqlite():
        return repair.repair(lambda: make_publisher(directory, settings, clock, IdSource()))


def rotate_log_key(root: Path, site_key: Path | None) -> NoteVerifier:
    """Replace the log's key; returns the new one's public half, once it signs.

    Under a running control it does that within a second; else it is done here. `site_key` is where the site's key is,
    if not in the installation. Raises SekishoError.
    """
    directory, settings = DataDirectory(root), load_settings(root)
    origin = settings.installation.origin
    site_name = NoteVerifier.parse(directory.site_vkey.read_text()).name
    site = load_signing_key(site_key or directory.site_key, site_name)
    if site.verifier.vkey != directory.site_vkey.read_text().strip():
        raise SekishoError(
            f"that key is not the one of {directory.site_vkey}", remedy="Name the site's own: --site-key"
        )
    keys = LogKeyFiles(directory, origin)
    new = keys.stage(site, IdSource().new(command_clock(directory).now_us()), "operator")
    deadline = time.monotonic() + _ROTATION_S_MAX
    while directory.next_log.exists():
        if time.monotonic() > deadline:
            raise SekishoError(
                "the new key is staged, and control has not taken it over yet",
                remedy="See its log and `sekisho ledger status`; it does so at its next merge",
            )
        if FileLock.is_held(directory.ledger / "publish.lock"):
            time.sleep(_ROTATION_LOOK_S)
            continue
        merge_here(directory, settings)
    return new


def merge_here(directory: DataDirectory, settings: Settings) -> None:
    """One merge in this process, for when control does not run; nothing if it has just started."""
    publisher = make_publisher(directory, settings, command_clock(directory), IdSource())
    try:
        with told_of_sqlite():
            publisher.start()
            publisher.merge_once()
    except LockHeld:
        return
    finally:
        publisher.close()


def archive_ledger(root: Path, cold: Path, keep: int) -> Archiving:
    """Move older entry bundles to `cold`, which becomes a whole copy of the log; works while it is published."""
    directory = DataDirectory(root)
    load_settings(root)
    return archive(directory.ledger, cold, log_verifier(directory), keep=keep)
