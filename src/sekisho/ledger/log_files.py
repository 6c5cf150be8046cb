"""Reading a published log from its directory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.merkle import HASH_BYTES
from sekisho.ledger.tiles import (
    ENTRIES,
    TILE_WIDTH,
    TileName,
    TileNodes,
    bundle_entry,
    decode_bundle,
    encode_bundle,
    tile_at,
)

CHECKPOINT: Final = "checkpoint"
ARCHIVED: Final = "archived"  # names the cold directory that older entry bundles were moved to
_ARCHIVED_BYTES_MAX: Final = 16 * 1024


def archived_directory(root: Path) -> Path | None:
    """Where older entry bundles of the log under `root` are, if they were moved. Raises LogUnreadable."""
    try:
        with (root / ARCHIVED).open("rb") as file:
            return Path(json.loads(file.read(_ARCHIVED_BYTES_MAX))["directory"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise LogUnreadable(f"{root / ARCHIVED} can't be read", remedy='It says {"directory": "…"}') from None


class LogFiles:
    """Tiles and bundles under a directory. A partial tile that has gone is cut from the full one that replaced it.

    Entry bundles that were archived are read through from where they are.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def checkpoint(self) -> str | None:
        """The published checkpoint note, or None before the first."""
        try:
            return (self.root / CHECKPOINT).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise LogUnreadable("the checkpoint is not UTF-8") from None

    def tile(self, name: TileName) -> bytes:
        """The bytes of a tile or bundle at exactly this width. Raises LogUnreadable."""
        data = self._read(name.path)
        if data is None and name.width < TILE_WIDTH:
            data = self._read(name.full.path)
            if data is not None:
                if name.level == ENTRIES:
                    data = encode_bundle(decode_bundle(data)[: name.width])
                else:
                    data = data[: name.width * HASH_BYTES]
        if data is None and name.level == ENTRIES:
            data = self._archived(name)
        if data is None:
            raise LogUnreadable(f"{name.path} is missing")
        return data

    def _archived(self, name: TileName) -> bytes | None:
        cold = archived_directory(self.root)
        if cold is None:
            return None
        try:
            data = (cold / name.full.path).read_bytes()
        except FileNotFoundError:
            raise LogUnreadable(
                f"{name.full.path} is not in the archive {cold}", remedy="Is that directory mounted and whole?"
            ) from None
        return data if name.width == TILE_WIDTH else encode_bundle(decode_bundle(data)[: name.width])

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

    def _read(self, path: str) -> bytes | None:
        try:
            return (self.root / path).read_bytes()
        except FileNotFoundError:
            return None
