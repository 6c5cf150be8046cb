"""Approvals and persons' private keys in files. Blocking."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from sekisho.identity.approvals import FILE_BYTES_MAX, Approval, read_approval
from sekisho.identity.errors import ApprovalRefused, PersonKeyUnusable
from sekisho.kernel.files import write_durable

_KEY_BYTES_MAX: Final = 16 * 1024


def read_approvals(paths: Iterable[Path]) -> list[Approval]:
    """The approvals in files. Raises ApprovalRefused, whose message names the file, and OSError."""
    return [read_approval_file(path) for path in paths]


def read_approval_file(path: Path) -> Approval:
    """The same of one file."""
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    try:
        return read_approval(data)
    except ApprovalRefused as error:
        raise type(error)(f"{path}: {error.message}", remedy=error.remedy) from None


def write_approval_file(path: Path, approval: Approval) -> None:
    """Replace the file, all or nothing. Raises OSError."""
    write_durable(path, approval.encode())


def read_key_file(path: Path, *, private: bool) -> bytes:
    """A key file's bytes. Raises PersonKeyUnusable for a private one that others can read, and OSError."""
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if private and mode & 0o077:
            raise PersonKeyUnusable(f"{path} can be read by others", remedy=f"chmod 600 {path}")
        data = file.read(_KEY_BYTES_MAX + 1)
    if len(data) > _KEY_BYTES_MAX:
        raise PersonKeyUnusable(f"{path} is no key file: it is larger than {_KEY_BYTES_MAX} bytes")
    return data


def write_key_files(path: Path, private: bytes, public: bytes) -> Path:
    """Write a new private key (0600) and, beside it, the public one; never over a file that is there.

    Returns the public file's path. Raises PersonKeyUnusable, and OSError.
    """
    beside = path.with_name(f"{path.name}.pub")
    for one in (path, beside):
        if one.exists():
            raise PersonKeyUnusable(f"{one} exists already", remedy="Name a new file: a key is never replaced")
    write_durable(path, private, mode=0o600)
    write_durable(beside, public)
    return beside
