"""Files that are there after a crash, or were never there."""

import contextlib
import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import Final, Self

from sekisho.kernel.errors import SekishoError

LOOK_S_MAX: Final = 0.03  # several times what it takes to look whether a lock is held
_LOCK_LOOK_S: Final = 0.01


class LockHeld(SekishoError):
    """Another process holds the lock."""


def write_durable(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Replace `path` by `data`, all or nothing, durable when this returns.

    Raises OSError; then the old file stands or, where it was the name that could not be made durable, one of the two.
    The directory is opened before anything is written: an I/O error on it that happened in between is reported to
    this descriptor, and would be lost to one opened later.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            os.fchmod(descriptor, mode)  # the process's umask may have taken bits away, never add any
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
        os.fsync(directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    finally:
        os.close(directory)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class FileLock:
    """An exclusive `flock`, held until `release` or the end of the process, however it ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> Self:
        """Take the lock at once, or raise LockHeld."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise LockHeld(f"{self.path} is held by another process") from None
        self._descriptor = descriptor
        return self

    def acquire_within(self, seconds: float) -> Self:
        """Take the lock, waiting for it at most so long, or raise LockHeld. For what is held for moments. Blocking."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self.acquire()
            except LockHeld:
                if time.monotonic() >= deadline:
                    raise
            time.sleep(_LOCK_LOOK_S)

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @staticmethod
    def is_held(path: Path) -> bool:
        """Whether a process holds the lock at `path`. Changes nothing; what is not there is not held.

        It is asked for, shared, and given back at once: whoever wants it in those microseconds is refused, unless it
        is `acquire_within` a moment.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def __enter__(self) -> Self:
        return self if self._descriptor is not None else self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
