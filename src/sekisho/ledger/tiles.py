"""Tiles of a log (C2SP tlog-tiles): names, widths, entry bundles, and the right edge that grows. Pure."""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.merkle import EMPTY_ROOT, HASH_BYTES, NodeSource, complete_root, leaf_hash, node_hash

TILE_WIDTH: Final = 256  # tlog-tiles: height 8
TILE_BYTES: Final = TILE_WIDTH * HASH_BYTES
ENTRIES: Final = -1  # the level under which entry bundles stand
_LENGTH: Final = struct.Struct(">H")


class TileName(NamedTuple):
    """A tile or (level ENTRIES) an entry bundle, of `width` 1 to 256."""

    level: int
    number: int
    width: int

    @property
    def path(self) -> str:
        """`tile/<L>/<N>[.p/<W>]`, relative to the log's prefix."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        suffix = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{number_path(self.number)}{suffix}"

    @property
    def full(self) -> "TileName":
        return TileName(self.level, self.number, TILE_WIDTH)

    @property
    def partials_directory(self) -> str:
        """Where the partial tiles of this one stand."""
        return f"{self.full.path}.p"


def number_path(number: int) -> str:
    """Groups of three digits, all but the last with `x` before: 1234067 is `x001/x234/067`."""
    groups = [f"{number % 1000:03d}"]
    while number >= 1000:
        number //= 1000
        groups.append(f"x{number % 1000:03d}")
    return "/".join(reversed(groups))


def tile_at(level: int, number: int, size: int) -> TileName:
    """The tile as it stands in a tree of `size`. Raises LogUnreadable where that tree has none."""
    width = min(TILE_WIDTH, level_count(level, size) - number * TILE_WIDTH)
    if width <= 0:
        raise LogUnreadable(f"a tree of {size} has no tile {number} at level {level}")
    return TileName(level, number, width)


def level_count(level: int, size: int) -> int:
    """How many hashes (or, at ENTRIES, entries) a tree of `size` has at a tile level: ⌊size / 256^level⌋."""
    return size >> (8 * max(level, 0))


def partial_tiles(size: int) -> list[TileName]:
    """The partial hash tiles and bundle on the right edge of a tree of `size`; empty tiles do not exist."""
    names = []
    for level in (ENTRIES, *range(size.bit_length() // 8 + 1)):
        number, width = divmod(level_count(level, size), TILE_WIDTH)
        if width:
            names.append(TileName(level, number, width))
    return names


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """An entry bundle: repeated (uint16 BE length ‖ entry)."""
    parts: list[bytes] = []
    pack = _LENGTH.pack
    for entry in entries:
        parts.append(pack(len(entry)))
        parts.append(entry)
    return b"".join(parts)


def decode_bundle(data: bytes) -> list[bytes]:
    """The entries of a bundle. Raises LogUnreadable if it ends within an entry."""
    entries: list[bytes] = []
    offset = 0
    while offset < len(data):
        if offset + 2 > len(data):
            raise LogUnreadable("an entry bundle ends within a length")
        end = offset + 2 + int.from_bytes(data[offset : offset + 2], "big")
        if end > len(data):
            raise LogUnreadable("an entry bundle ends within an entry")
        entries.append(data[offset + 2 : end])
        offset = end
    return entries


def bundle_entry(data: bytes, number: int) -> bytes:
    """The entry at `number` of a bundle. Raises LogUnreadable if it has none."""
    offset = 0
    try:
        for _ in range(number):
            offset += 2 + (data[offset] << 8 | data[offset + 1])
        end = offset + 2 + (data[offset] << 8 | data[offset + 1])
    except IndexError:
        raise LogUnreadable(f"an entry bundle holds no entry {number}") from None
    if end > len(data):
        raise LogUnreadable("an entry bundle ends within an entry")
    return data[offset + 2 : end]


def split_hashes(data: bytes) -> list[bytes]:
    """The hashes of a tile."""
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


TileSource = Callable[[TileName], bytes]


class TileNodes:
    """A `NodeSource` for the tree of `size` over its hash tiles, each read at most once.

    `read` returns the bytes of a tile of exactly the asked width.
    """

    def __init__(self, size: int, read: TileSource) -> None:
        self._size = size
        self._read = read
        self._tiles: dict[TileName, list[list[bytes]]] = {}

    def __call__(self, level: int, index: int) -> bytes:
        tile_level, height = divmod(level, 8)
        number, offset = divmod(index << height, TILE_WIDTH)
        rows = self._rows(tile_at(tile_level, number, self._size))
        if offset >> height >= len(rows[height]):
            raise LogUnreadable(f"a tree of {self._size} has no node {index} at level {level}")
        return rows[height][offset >> height]

    def _rows(self, name: TileName) -> list[list[bytes]]:
        """The tile's hashes, and the seven rows of complete nodes above them within the tile."""
        rows = self._tiles.get(name)
        if rows is None:
            data = self._read(name)
            if len(data) != name.width * HASH_BYTES:
                raise LogUnreadable(f"{name.path} has {len(data)} bytes")
            rows = [split_hashes(data)]
            for _ in range(7):
                row = rows[-1]
                rows.append([node_hash(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)])
            self._tiles[name] = rows
        return rows


class Edge:
    """The right edge of a growing log: the hashes of each level's last, unfinished tile, and its entries.

    That is all a log needs to grow: appending never reads an old tile. `append` returns the tiles that became full.
    """

    def __init__(self) -> None:
        self.size = 0
        self.entries: list[bytes] = []
        self._levels: list[list[bytes]] = []

    @classmethod
    def load(cls, size: int, read: TileSource) -> "Edge":
        """The edge of a tree of `size` from its partial tiles. Raises LogUnreadable if they don't fit together."""
        edge = cls()
        edge.size = size
        edge._levels = [[] for _ in range(size.bit_length() // 8 + 1)]
        for name in partial_tiles(size):
            if name.level == ENTRIES:
                edge.entries = decode_bundle(read(name))
            else:
                edge._levels[name.level] = split_hashes(read(name))
            if len(edge.entries if name.level == ENTRIES else edge._levels[name.level]) != name.width:
                raise LogUnreadable(f"{name.path} does not hold {name.width} items")
        # The hashes are held against a root by whoever has one; the entries go into wider bundles as they are.
        if edge.entries and list(map(leaf_hash, edge.entries)) != edge._levels[0]:
            raise LogUnreadable(f"the entries of the last bundle at {size} entries are not those of its hash tile")
        return edge

    def copy(self) -> "Edge":
        """An independent edge of the same tree."""
        edge = Edge()
        edge.size, edge.entries = self.size, list(self.entries)
        edge._levels = [list(hashes) for hashes in self._levels]
        return edge

    def append(self, entries: Sequence[bytes]) -> list[tuple[TileName, bytes]]:
        """Append; returns the tiles and bundles that became full, in order, with their bytes."""
        full: list[tuple[TileName, bytes]] = []
        offset = 0
        while offset < len(entries):
            chunk = entries[offset : offset + TILE_WIDTH - len(self.entries)]
            offset += len(chunk)
            self.entries.extend(chunk)
            if not self._levels:
                self._levels.append([])
            self._levels[0].extend(map(leaf_hash, chunk))
            self.size += len(chunk)
            if len(self.entries) == TILE_WIDTH:
                full.extend(self._complete())
        return full

    def _complete(self) -> Iterator[tuple[TileName, bytes]]:
        last = self.size // TILE_WIDTH - 1
        yield TileName(ENTRIES, last, TILE_WIDTH), encode_bundle(self.entries)
        self.entries = []
        level = 0
        while len(self._levels[level]) == TILE_WIDTH:
            hashes, self._levels[level] = self._levels[level], []
            number = level_count(level, self.size) // TILE_WIDTH - 1
            yield TileName(level, number, TILE_WIDTH), b"".join(hashes)
            level += 1
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(complete_root(hashes))

    def partials(self, size: int | None = None) -> list[tuple[TileName, bytes]]:
        """The partial tiles and bundle of the tree as it is, or was at an earlier `size`, that are not yet full."""
        found: list[tuple[TileName, bytes]] = []
        for name in partial_tiles(self.size if size is None else size):
            if level_count(name.level, self.size) // TILE_WIDTH != name.number:
                continue  # full by now
            if name.level == ENTRIES:
                found.append((name, encode_bundle(self.entries[: name.width])))
            else:
                found.append((name, b"".join(self._levels[name.level][: name.width])))
        return found

    def root(self) -> bytes:
        """The root over all leaves."""
        return edge_root(self._levels)


def edge_root(levels: Sequence[Sequence[bytes]]) -> bytes:
    """The root of a tree from its right edge: the hashes of each level's unfinished tile, level 0 first.

    Each level's complete subtrees are folded from the right.
    """
    result: bytes | None = None
    for hashes in levels:
        end = len(hashes)
        while end:
            width = end & -end  # the rightmost complete subtree among these
            part = complete_root(hashes[end - width : end])
            result = part if result is None else node_hash(part, result)
            end -= width
    return EMPTY_ROOT if result is None else result


def node_source(entries: Sequence[bytes]) -> NodeSource:
    """A `NodeSource` over entries held in memory (for audits of a piece, and for tests)."""
    hashes = [leaf_hash(entry) for entry in entries]
    return lambda level, index: complete_root(hashes[index << level : (index + 1) << level])
