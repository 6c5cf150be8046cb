"""What the publisher asks of a disk, as a port, so that tests can break each write."""

import contextlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from sekisho.kernel.files import sync_directory, write_durable


class AppendFile(Protocol):
    """A file that only grows."""

    def append(self, data: bytes) -> None:
        """Durable when this returns. After an error nobody may append again: its pages are in an unknown state."""
        ...

    def close(self) -> None: ...


class Storage(Protocol):
    """Writes of the publisher; each raises OSError. Reading is done with plain files."""

    def replace(self, path: Path, data: bytes) -> None:
        """All or nothing, durable when this returns."""
        ...

    def put(self, path: Path, data: bytes) -> None:
        """All or nothing for readers, *not* durable; makes the directories above."""
        ...

    def sync(self, paths: Iterable[Path], root: Path) -> None:
        """Files that were `put`, and their names up to the directory `root`, are durable when this returns."""
        ...

    def append_to(self, path: Path) -> AppendFile:
        """Open an existing file for appending."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file, or a directory with what is in it. Not durable. What is not there is no error."""
        ...


class Disk:
    """The file system."""

    def replace(self, path: Path, data: bytes) -> None:
        write_durable(path, data)

    def put(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}.new")  # one publisher at a time: the lock sees to it
        try:
            descriptor = _create(temporary)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = _create(temporary)
        try:
            _write_all(descriptor, data)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)

    def sync(self, paths: Iterable[Path], root: Path) -> None:
        directories: set[Path] = set()
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            directory = path.parent
            while directory not in directories:
                directories.add(directory)
                if directory == root:
                    break
                directory = directory.parent
        for directory in sorted(directories):
            sync_directory(directory)

    def append_to(self, path: Path) -> AppendFile:
        return _DiskAppendFile(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC))

    def remove(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


class _DiskAppendFile:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def append(self, data: bytes) -> None:
        _write_all(self._descriptor, data)
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
