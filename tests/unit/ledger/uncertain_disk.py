"""A disk that knows, of everything it was asked to write, what a power cut may leave of it.

Implements `storage.Storage` over real files. The rules are the strictest that a file system may follow: what was not
synced is there, is there in part, or is not there, each file independently of every other one, so in any order; a name
that was removed may come back; and what a *failed* sync covered may be missing after any later sync, as the kernel
takes those pages for clean.
"""

import os
import random
import shutil
from pathlib import Path

from ledger_fakes import DiskBroke

Contents = bytes | None  # None: no such file


class QuickDisk:
    """Writes as `storage.Disk` does, and syncs nothing: power is never really cut here."""

    def replace(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_bytes(data)
        os.rename(temporary, path)

    def put(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.replace(path, data)

    def sync(self, paths, root: Path) -> None:
        for path in paths:
            assert path.is_file()

    def append_to(self, path: Path) -> "QuickFile":
        return QuickFile(path)

    def remove(self, path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


class QuickFile:
    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, data: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(data)

    def close(self) -> None:
        pass


class UncertainDisk:
    """Its operation number `break_at` fails, before it happened or (`persisted`) after everybody could see it."""

    def __init__(self, break_at: int | None = None, *, persisted: bool = False) -> None:
        self._disk = QuickDisk()
        self._break_at = break_at
        self._persisted = persisted
        self.count = 0
        self.others: dict[Path, list[Contents]] = {}  # what may be there in place of what is there now
        self._doomed: set[Path] = set()  # of which a sync failed

    def inherit(self, before: "UncertainDisk") -> "UncertainDisk":
        """Go on where the disk of a process that ended left off: the page cache is the same."""
        self.others, self._doomed = before.others, before._doomed
        return self

    # Storage

    def replace(self, path: Path, data: bytes) -> None:
        def seen() -> None:
            self._may_be(path, contents(path))
            self._disk.replace(path, data)

        self._do(seen)
        self._is_durable(path)

    def put(self, path: Path, data: bytes) -> None:
        def seen() -> None:
            self._may_be(path, contents(path), b"", data[: len(data) // 2])
            self._doomed.discard(path)  # a new file under the old name
            self._disk.put(path, data)

        self._do(seen)

    def sync(self, paths, root: Path) -> None:
        paths = list(paths)
        try:
            self._do(lambda: self._disk.sync(paths, root))
        except DiskBroke:
            self._doomed.update(path for path in paths if path in self.others)
            raise
        for path in set(paths) - self._doomed:
            self.others.pop(path, None)

    def append_to(self, path: Path) -> "UncertainFile":
        return UncertainFile(self, path)

    def remove(self, path: Path) -> None:
        def seen() -> None:
            for file in [path] if path.is_file() else sorted(path.rglob("*")):
                self._may_be(file, contents(file))
            self._disk.remove(path)

        self._do(seen)

    # What is certain, and what is not

    def _do(self, seen) -> None:
        self.count += 1
        broken = self.count - 1 == self._break_at
        if not broken or self._persisted:
            seen()
        if broken:
            raise DiskBroke("injected")

    def _may_be(self, path: Path, *others: Contents) -> None:
        self.others.setdefault(path, []).extend(others)

    def _is_durable(self, path: Path) -> None:
        self.others.pop(path, None)
        self._doomed.discard(path)

    # Power cuts

    def images(self, chance: random.Random, count: int) -> list[dict[Path, Contents]]:
        """Some of what a power cut may leave: the extremes, each file alone against all others, then any mixture."""
        now = {path: contents(path) for path in self.others}
        oldest = {path: others[0] for path, others in self.others.items()}
        found = [now, oldest]
        for path, others in self.others.items():
            found += [{**now, path: other} for other in others] + [{**oldest, path: now[path]}]
        chance.shuffle(found)
        mixtures = [
            {path: chance.choice([now[path], *others]) for path, others in self.others.items()} for _ in range(count)
        ]
        return (found + mixtures)[:count]


class UncertainFile:
    """What the journal is appended to."""

    def __init__(self, disk: UncertainDisk, path: Path) -> None:
        self._disk, self._path = disk, path
        self._file = disk._disk.append_to(path)

    def append(self, data: bytes) -> None:
        disk, before = self._disk, contents(self._path)
        try:
            disk._do(lambda: self._file.append(data))
        except DiskBroke:
            if contents(self._path) == before:
                self._file.append(data[: len(data) * 2 // 3])  # torn
            disk._may_be(self._path, before, before + data[: len(data) // 3])
            disk._doomed.add(self._path)
            raise
        # Nothing heals what a sync has failed for: zeros stay where that was lost.
        others = disk.others.get(self._path, [])
        disk.others.update({self._path: [(other or b"").ljust(len(before), b"\0") + data for other in others]})
        if not others:
            del disk.others[self._path]

    def close(self) -> None:
        self._file.close()


def contents(path: Path) -> Contents:
    return path.read_bytes() if path.is_file() else None


def leave(image: dict[Path, Contents]) -> None:
    """Make the files what an image says, as the machine finds them when it starts again."""
    for path, data in image.items():
        if data is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
