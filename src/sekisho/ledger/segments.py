"""Segment files of a write-ahead log: their names, and making one so that it is there whole or not at all."""

import contextlib
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sekisho.ledger.frames import SegmentHeader, encode_segment_header

LOCK_NAME: Final = "lock"
WRITERS_DIRECTORY: Final = "wal"
TORN_DIRECTORY: Final = "torn"
WRITER_NAME: Final = re.compile(r"w-[0-9a-f-]{36}", re.ASCII)
_SEGMENT_NAME: Final = re.compile(r"(\d{8,})\.seg", re.ASCII)
# Entries hold ids and labels, no content; they are for the installation's own user and group all the same.
FILE_MODE: Final = 0o640
DIRECTORY_MODE: Final = 0o750


def segment_name(number: int) -> str:
    return f"{number:08}.seg"


def segment_numbers(directory: Path) -> list[int]:
    """The numbers of the segments that exist in a writer's directory, ascending. Raises OSError."""
    return sorted(int(match[1]) for name in os.listdir(directory) if (match := _SEGMENT_NAME.fullmatch(name)))


class SyncFailed(OSError):
    """A sync failed, for whatever reason: what is on the disk can't be known any more."""


def is_disk_full(error: OSError) -> bool:
    """Whether more space would mend it. A sync that found none is not mended: what it dropped is gone."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) and not isinstance(error, SyncFailed)


def create_segment(directory: Path, header: SegmentHeader, allocate: Callable[[int, int, int], None]) -> int:
    """Make a segment of its full size, durable under its name; its descriptor. Blocks (milliseconds).

    Raises OSError, SyncFailed among them; then nothing is left of it, because ext4 keeps what an allocation got before
    it failed.
    The directory is opened first: an I/O error on it would be lost to a descriptor opened later.
    """
    path = directory / segment_name(header.number)
    temporary = directory / f".{path.name}.new"
    directory_descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
        try:
            allocate(descriptor, 0, header.segment_bytes)
            encoded = encode_segment_header(header)
            if os.pwrite(descriptor, encoded, 0) != len(encoded):
                raise OSError(errno.EIO, "short write", str(temporary))
            _sync(descriptor, temporary)
            os.rename(temporary, path)
            _sync(directory_descriptor, directory)
        except BaseException:
            os.close(descriptor)
            for name in (temporary, path):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name)
            raise
    finally:
        os.close(directory_descriptor)
    return descriptor


def _sync(descriptor: int, path: Path) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise SyncFailed(error.errno, error.strerror, str(path)) from None
