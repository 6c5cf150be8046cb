"""Kept content on disk. Blocking.

`content/<organisation>/<UTC day of its end>/<end in µs>-<entry>` (0600), sealed; keys in `keys/content/<organisation>`
(0600), one per organisation, made when something is first kept. The day bounds what is looked at to find what is due.

Forgetting an organisation: its key is overwritten and removed, then its directory is renamed aside (`.forgotten-…`),
then the files go. Each step is durable before the next. After the first nothing can be read any more, wherever copies
of the files are; a crash later leaves unreadable files, which forgetting again or `sweep` removes. What is kept later
has a new key.
"""

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.content.errors import ContentKeyUnusable, ContentMissing, ContentNoRoom, ContentUnreadable
from sekisho.content.interfaces import CONTENT_BYTES_MAX, Content, Held
from sekisho.content.sealing import HEADER_BYTES_MAX, KEY_BYTES, seal, unseal
from sekisho.kernel.clock import utc
from sekisho.kernel.files import sync_directory, write_durable
from sekisho.kernel.ids import is_uuid7

FILE_BYTES_MAX: Final = CONTENT_BYTES_MAX + HEADER_BYTES_MAX + 1_024
_ORGANISATION: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NAME: Final = re.compile(r"(\d{1,18})-([0-9a-f-]{36})", re.ASCII)
_FORGOTTEN: Final = ".forgotten-"


class _File(NamedTuple):
    held: Held
    path: Path


class ContentFiles:
    """Any number of processes may write, read and delete at once."""

    def __init__(self, root: Path, keys: Path, *, free_bytes_min: int = 0) -> None:
        """Directories for content and for keys; each is made when it is first needed.

        `free_bytes_min` is what a write leaves free on the disk: without content requests go on, without the ledger
        they don't.
        """
        self._root = root
        self._keys = keys
        self._free_bytes_min = free_bytes_min

    def write(self, content: Content) -> None:
        """Keep it; durable when this returns. Raises OSError, ContentNoRoom, ContentKeyUnusable."""
        self._require_room(len(content.sent) + len(content.answer) + HEADER_BYTES_MAX)
        sealed = seal(content, self._key_to_write(content.organisation))
        path = self._root / content.organisation / _day(content.until) / f"{content.until}-{content.entry}"
        try:
            self._put(path, sealed)
        except FileNotFoundError:  # the directory's last file was deleted just now, and the directory with it
            self._put(path, sealed)

    def held(self, organisation: str | None = None) -> list[Held]:
        """What is kept, of one organisation or all, by organisation and end. Readable or not."""
        found = [file.held for file in self._files(organisation)]
        return sorted(found, key=lambda one: (one.organisation, one.until, one.entry))

    def read(self, entry: str, now_us: int) -> Content:
        """Raises ContentMissing (past its end it is, whatever is on disk) and ContentUnreadable."""
        file = self._find(entry)
        if file.held.until <= now_us:
            raise ContentMissing(f"what was kept of {entry} has reached its end")
        with file.path.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
        content = unseal(data, self._key_to_read(file.held.organisation))
        if (content.organisation, content.entry, content.until) != file.held[:3]:
            raise ContentUnreadable("the file was put under another name", remedy="Restore it from a backup")
        return content

    def find(self, entry: str) -> Held:
        """Raises ContentMissing."""
        return self._find(entry).held

    def due(self, now_us: int) -> list[Held]:
        """What has reached its end."""
        today = _day(now_us)
        return [file.held for file in self._files(None, until_day=today) if file.held.until <= now_us]

    def delete(self, held: Held) -> None:
        """Remove it; durable when this returns. What is gone already is passed over."""
        directory = self._root / held.organisation / _day(held.until)
        try:
            (directory / f"{held.until}-{held.entry}").unlink()
        except FileNotFoundError:
            return
        sync_directory(directory)
        with contextlib.suppress(OSError):  # not empty: another was kept meanwhile, or is not due
            directory.rmdir()

    def require_kept(self, organisation: str) -> None:
        """Raises ContentMissing unless there is something of an organisation to forget: content, or its key."""
        _require_organisation(organisation)
        if not (self._keys / f"{organisation}.key").exists() and not any(self._files(organisation)):
            raise ContentMissing(
                f"nothing is kept of {organisation}", remedy="`sekisho content list` shows of whom something is"
            )

    def forget(self, organisation: str, now_us: int) -> int:
        """Destroy an organisation's key and all that is kept under it; how many there were.

        Raises OSError, and ContentMissing for what can't be an organisation.
        """
        _require_organisation(organisation)
        count = len(list(self._files(organisation)))
        key = self._keys / f"{organisation}.key"
        if key.exists():
            with key.open("r+b") as file:
                file.write(bytes(key.stat().st_size))
                file.flush()
                os.fsync(file.fileno())
            key.unlink()
            for left in self._keys.glob(
                f".{organisation}.key.*.new"
            ):  # by a crash while the key was made: the same key
                left.unlink()
            sync_directory(self._keys)
        directory = self._root / organisation
        if directory.exists():
            directory.rename(self._root / f"{_FORGOTTEN}{organisation}-{secrets.token_hex(6)}")
            sync_directory(self._root)
        self.sweep(now_us)
        return count

    def sweep(self, now_us: int) -> None:
        """Remove what crashes have left: of a forgetting, and of writing what has reached its end since."""
        if not self._root.is_dir():
            return
        today = _day(now_us)
        for entry in self._root.iterdir():
            if entry.name.startswith(_FORGOTTEN):
                _remove_tree(entry)
            elif _ORGANISATION.fullmatch(entry.name):
                for day in _listed(entry):
                    if _DAY.fullmatch(day.name) and day.name < today:
                        _sweep_day(day)

    # -- inside

    def _require_room(self, size: int) -> None:
        state = os.statvfs(self._root.parent)
        free = state.f_bavail * state.f_frsize
        if free < self._free_bytes_min + size:
            raise ContentNoRoom(
                f"{free >> 20} MiB are free, and the ledger needs {self._free_bytes_min >> 20} MiB of them",
                remedy="Free space: requests go on, but their content is not kept",
            )

    def _put(self, path: Path, sealed: bytes) -> None:
        _make_private(path.parent, self._root.parent)
        write_durable(path, sealed, mode=0o600)

    def _find(self, entry: str) -> _File:
        if is_uuid7(entry):
            for file in self._files(None):
                if file.held.entry == entry:
                    return file
        raise ContentMissing(f"nothing is kept under {entry!r:.60}", remedy="`sekisho content list` shows all ids")

    def _files(self, organisation: str | None, until_day: str | None = None) -> Iterator[_File]:
        if not self._root.is_dir():
            return
        for directory in sorted(self._root.iterdir()):
            if not _ORGANISATION.fullmatch(directory.name) or organisation not in (None, directory.name):
                continue
            for day in _listed(directory):
                if _DAY.fullmatch(day.name) and (until_day is None or day.name <= until_day):
                    yield from _files_of(directory.name, day)

    def _key_to_read(self, organisation: str) -> bytes:
        key = _read_key(self._keys / f"{organisation}.key")
        if key is None:
            raise ContentUnreadable(f"the content key of {organisation} was destroyed")
        return key

    def _key_to_write(self, organisation: str) -> bytes:
        """Read each time: a key that was destroyed must not live on in a process."""
        if not _ORGANISATION.fullmatch(organisation):
            raise ContentKeyUnusable(f"{organisation!r:.60} names no organisation")
        path = self._keys / f"{organisation}.key"
        key = _read_key(path)
        if key is not None:
            return key
        _make_private(self._keys, self._keys.parent.parent)
        new = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
        write_durable(new, secrets.token_hex(KEY_BYTES).encode() + b"\n", mode=0o600)
        try:
            # Unlike a rename, a link fails where another process was first: both then use the one that is there.
            with contextlib.suppress(FileExistsError):
                os.link(new, path)
        finally:
            new.unlink()
        sync_directory(self._keys)
        key = _read_key(path)
        if key is None:
            raise ContentKeyUnusable(f"{path} was destroyed while it was being made")
        return key


def _require_organisation(organisation: str) -> None:
    if not _ORGANISATION.fullmatch(organisation):
        raise ContentMissing(f"{organisation!r:.60} names no organisation")


def _files_of(organisation: str, day: Path) -> Iterator[_File]:
    for path in _listed(day):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            with contextlib.suppress(FileNotFoundError):
                yield _File(Held(organisation, match[2], int(match[1]), path.stat().st_size), path)


def _listed(directory: Path) -> list[Path]:
    """What is in it, sorted; nothing if another process removed or renamed it just now."""
    try:
        return sorted(directory.iterdir())
    except FileNotFoundError:
        return []


def _remove_tree(root: Path) -> None:
    """Remove a directory that nothing is put into any more. Another process may be at it too."""
    for directory, _, names in os.walk(root, topdown=False):
        for name in names:
            Path(directory, name).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(directory)


def _sweep_day(day: Path) -> None:
    """Remove files that were never finished from a day that is over, and the day if nothing else is in it."""
    left = list(day.glob(".*.new"))
    for path in left:
        path.unlink(missing_ok=True)
    if left:
        with contextlib.suppress(FileNotFoundError):  # another process has removed the day as well
            sync_directory(day)
    with contextlib.suppress(OSError):  # not empty: what is left is due, and told of before it goes
        day.rmdir()


def _read_key(path: Path) -> bytes | None:
    """The key, or None if there is none. Raises ContentKeyUnusable."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ContentKeyUnusable(f"{path} can be read by others", remedy=f"chmod 600 {path}")
            text = file.read(4 * KEY_BYTES)
    except FileNotFoundError:
        return None
    try:
        key = bytes.fromhex(text.decode())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ContentKeyUnusable(f"{path} holds no key", remedy="Restore it from your backup of keys/")
    return key


def _make_private(directory: Path, above: Path) -> None:
    """Make a directory and those between it and `above`, for the owner alone, their names durable."""
    missing = [one for one in (directory, *directory.parents) if one.is_relative_to(above) and not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        sync_directory(one.parent)


def _day(at_us: int) -> str:
    return utc(at_us, "%Y-%m-%d")
