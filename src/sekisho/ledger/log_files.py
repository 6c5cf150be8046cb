"""Reading a published log from its files."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.merkle import HASH_BYTES
from sekisho.ledger.tiles import (
    ENTRIES,
    TILE_BYTES,
    TILE_WIDTH,
    TileName,
    TileNodes,
    bundle_entry,
    decode_bundle,
    encode_bundle,
    tile_at,
)

CHECKPOINT: Final = "checkpoint"
ENROLMENT: Final = "enrolment"
NOTE_BYTES_MAX: Final = 64 * 1024  # of a checkpoint with the most signatures that a note may hold
BUNDLE_BYTES_MAX: Final = TILE_WIDTH * (2 + 65_535)
ARCHIVED: Final = "archived"  # names the cold directory that older entry bundles were moved to
_ARCHIVED_BYTES_MAX: Final = 16 * 1024
_BUNDLES: Final = "tile/entries/"


def archived_directory(root: Path) -> Path | None:
    """Where older entry bundles of the log under `root` are, if they were moved. Raises LogUnreadable."""
    try:
        with (root / ARCHIVED).open("rb") as file:
            return Path(json.loads(file.read(_ARCHIVED_BYTES_MAX))["directory"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise LogUnreadable(f"{root / ARCHIVED} can't be read", remedy='It says {"directory": "…"}') from None


class PublishedFiles(ABC):
    """A published log as files, wherever they are. A partial tile that has gone is cut from the full one that
    replaced it (tlog-tiles)."""

    @abstractmethod
    def read(self, path: str, bytes_max: int) -> bytes | None:
        """The file at `path` (relative to the log's prefix), None if there is none; of a longer one, its first
        `bytes_max` + 1 bytes, so that it shows. Raises LogUnreadable or OSError if it can't be read."""

    def note(self, path: str) -> str | None:
        """A small text file, such as the checkpoint. Raises LogUnreadable for what can't be a note."""
        data = self.read(path, NOTE_BYTES_MAX)
        if data is None:
            return None
        try:
            if len(data) <= NOTE_BYTES_MAX:
                return data.decode()
        except UnicodeDecodeError:
            raise LogUnreadable(f"the {path} is not UTF-8") from None
        raise LogUnreadable(f"the {path} is larger than {NOTE_BYTES_MAX >> 10} KiB")

    def checkpoint(self) -> str | None:
        """The published checkpoint note, or None before the first."""
        return self.note(CHECKPOINT)

    def tile(self, name: TileName) -> bytes:
        """The bytes of a tile or bundle at exactly this width. Raises LogUnreadable."""
        bytes_max = BUNDLE_BYTES_MAX if name.level == ENTRIES else TILE_BYTES
        data = self.read(name.path, bytes_max)
        if data is None and name.width < TILE_WIDTH:
            data = self.read(name.full.path, bytes_max)
            if data is not None:
                if name.level == ENTRIES:
                    data = encode_bundle(decode_bundle(data)[: name.width])
                else:
                    data = data[: name.width * HASH_BYTES]
        if data is None:
            raise LogUnreadable(f"{name.path} is missing")
        return data

    def nodes(self, size: int) -> TileNodes:
        """The nodes of the tree of `size`."""
        return TileNodes(size, self.tile)

    def entry(self, index: int, size: int) -> bytes:
        """An entry's bytes, in the tree of `size`."""
        number, offset = divmod(index, TILE_WIDTH)
        return bundle_entry(self.tile(tile_at(ENTRIES, number, size)), offset)

    def entries(self, first: int, size: int) -> Iterator[tuple[int, list[bytes]]]:
        """The entries [first, size), a bundle at a time: (index of the first one, entries)."""
        while first < size:
            number, offset = divmod(first, TILE_WIDTH)
            name = tile_at(ENTRIES, number, size)
            entries = decode_bundle(self.tile(name))
            if len(entries) != name.width:
                raise LogUnreadable(f"{name.path} holds {len(entries)} entries")
            yield first, entries[offset:]
            first = number * TILE_WIDTH + name.width


class LogFiles(PublishedFiles):
    """The log under a directory. Entry bundles that were archived are read through from where they are."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, path: str, bytes_max: int) -> bytes | None:
        data = _read(self.root / path, bytes_max)
        if data is not None:
            return data
        archived = self.archived(path)
        if archived is None:
            return None
        data = _read(archived, bytes_max)
        if data is None and ".p/" not in path:  # archived are full ones
            raise LogUnreadable(f"{archived} is not there", remedy="Is the archive mounted and whole?")
        return data

    def archived(self, path: str) -> Path | None:
        """Where an entry bundle would be if it was archived; None for anything else. Raises LogUnreadable."""
        cold = archived_directory(self.root) if path.startswith(_BUNDLES) else None
        return None if cold is None else cold / path


def _read(path: Path, bytes_max: int) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(bytes_max + 1)
    except FileNotFoundError:
        return None
