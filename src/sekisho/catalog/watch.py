"""What a tree of declarations looks like from outside: enough to see that it changed, without reading a file."""

import hashlib
import os
import stat
from pathlib import Path
from typing import Final

from sekisho.catalog.declarations import KINDS
from sekisho.catalog.files import FILES_MAX, is_passed_over
from sekisho.catalog.layers import LAYERS_MAX, POLICIES

_GIT_LOCK: Final = Path(".git", "index.lock")  # git holds it while it changes a work tree


def fingerprint(tree: Path) -> bytes:
    """A digest of names, sizes, inodes and times (mtime and ctime, ns) of all that `read_declarations` would look at.

    Two equal ones, taken with some time in between, mean that nothing was written meanwhile. One `stat` per file:
    about 4 µs each. What can't be listed counts as empty, so that a tree that vanishes is a change too.
    """
    digest = hashlib.blake2b(digest_size=16)
    directories = [tree]
    layers = tree / POLICIES  # which holds directories in turn
    while directories:
        directory = directories.pop()
        try:
            with os.scandir(directory) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError:
            digest.update(f"{directory.name}\0unreadable\0".encode("utf-8", "surrogateescape"))
            continue
        digest.update(f"{directory.name}\0".encode("utf-8", "surrogateescape"))  # whose entries these are
        within = []
        for entry in entries[: FILES_MAX + 1]:  # with more the tree is refused, whatever they are
            if is_passed_over(entry.name):
                continue
            status = _status(entry)
            is_directory = status is not None and stat.S_ISDIR(status.st_mode)
            read = is_directory and (entry.name in (*KINDS, POLICIES) if directory == tree else directory == layers)
            digest.update(_looks(entry, status, read))
            within += [Path(entry.path)] if read else []
        directories += within[: len(KINDS) + LAYERS_MAX + 1]  # likewise
    return digest.digest()


def git_lock(tree: Path) -> Path | None:
    """The lock of a git operation that is changing the tree just now, if there is one."""
    for root in (tree, tree.parent):
        if (root / _GIT_LOCK).exists():
            return root / _GIT_LOCK
    return None


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:  # it has just gone, or leads nowhere
        return None


def _looks(entry: "os.DirEntry[str]", status: os.stat_result | None, read: bool) -> bytes:
    """`read`: it is a directory that is read by itself, whose times change with every file that an editor saves."""
    looks: tuple[int, ...] = ()
    if status is not None:
        looks = (status.st_ino,) if read else (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
    return f"{entry.name}\0{looks}\0".encode("utf-8", "surrogateescape")
