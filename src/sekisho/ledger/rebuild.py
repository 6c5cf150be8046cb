"""Finding what is damaged in a log's tiles and entry bundles, and rebuilding it from what is left.

A root that is trusted (the journal's, or a signed checkpoint's) says what the tree must be. Hashes are first settled
against it: a bundle's entries, a hash tile and the tile above it are witnesses of one another. Then every file is
compared with what follows from the settled hashes. An entry counts only if its hash is the settled one, so what is
rebuilt is exactly what was lost, from wherever it came: the journal, another copy of the log, the archive.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.merkle import HASH_BYTES, complete_root, leaf_hash, tree_root
from sekisho.ledger.tiles import (
    ENTRIES,
    TILE_WIDTH,
    Edge,
    TileName,
    decode_bundle,
    encode_bundle,
    split_hashes,
    tile_at,
)

DISPUTES_MAX: Final = 8  # tiles with two possible contents and nothing above to say which: 256 trees are tried

Range = tuple[int, int]  # leaves [first, end)
Write = Callable[[TileName, bytes], None]


class TreeFindings(NamedTuple):
    """What a check of a tree of `size` found.

    `holds`: the settled hashes lead to the root, so that the rest can be relied on. `rebuildable` are files that are
    missing or wrong, whose right bytes are known. `lost` are leaves whose entries nothing readable holds.
    """

    size: int
    holds: bool
    rebuildable: tuple[TileName, ...]
    lost: tuple[Range, ...]


class Tree:
    """A log's tree as its files should have it. Reads `root` and `copies`, and `logged` (entries by leaf)."""

    def __init__(
        self, root: Path, size: int, tree: bytes, *, logged: Mapping[int, bytes], copies: Sequence[Path] = ()
    ) -> None:
        self._root = root
        self._size = size
        self._tree = tree
        self._logged = logged
        self._sources = [LogFiles(root), *map(LogFiles, copies)]
        self._settled: dict[int, bytes | None] = {}  # of tiles where there was a question; None: hashes unknown
        self._above: list[bytes] = []  # the root of each full tile of level 0
        self._edge: list[bytes] = []  # the hashes of the last, partial one
        self._holds = self._settle()

    def check(self) -> TreeFindings:
        """Look at every file; writes nothing."""
        wrong: list[TileName] = []
        lost = self._visit(lambda name, _: wrong.append(name)) if self._holds else ()
        return TreeFindings(self._size, self._holds, tuple(wrong), lost)

    def rebuild(self, write: Write) -> tuple[Range, ...]:
        """Hand every file that is missing or wrong to `write`, with its right bytes; the leaves that stay lost."""
        if not self._holds:
            raise LogUnreadable("what is left of the tiles does not lead to the log's root")
        return self._visit(write)

    def entries(self) -> Iterator[bytes]:
        """Every entry, in order, from wherever it can be read. Raises LogUnreadable at one that is lost."""
        for name in _tiles(ENTRIES, self._size):
            candidates = list(self._bundles(name))
            for offset, wanted in enumerate(self._hashes(name, candidates)):
                leaf = name.number * TILE_WIDTH + offset
                entry = self._entry(leaf, offset, wanted, candidates)
                if entry is None:
                    raise LogUnreadable(f"entry {leaf} is lost")
                yield entry

    # Settling the hashes

    def _settle(self) -> bool:
        disputes: list[tuple[int, list[bytes]]] = []
        for name in _tiles(ENTRIES, self._size):
            options = list(dict.fromkeys(self._hash_options(name)))
            if len(options) != 1 and name.width == TILE_WIDTH and (parent := self._parent(name.number)) is not None:
                options = [option for option in options if complete_root(split_hashes(option)) == parent]
                if not options:
                    self._settled[name.number] = None
                    self._above.append(parent)
                    continue
            if not options:
                return False
            if len(options) > 1:
                disputes.append((name.number, options))
            self._choose(name, options[0])
        if len(disputes) > DISPUTES_MAX:
            return False
        numbers = [number for number, _ in disputes]
        for choice in itertools.product(*(options for _, options in disputes)):
            for number, option in zip(numbers, choice, strict=True):
                self._choose(tile_at(ENTRIES, number, self._size), option)
                self._settled[number] = option
            if tree_root(self._size, self._node) == self._tree:
                return True
        return False

    def _choose(self, name: TileName, hashes: bytes) -> None:
        if name.width < TILE_WIDTH:
            self._edge = split_hashes(hashes)
            return
        above = complete_root(split_hashes(hashes))
        if name.number < len(self._above):
            self._above[name.number] = above
        else:
            self._above.append(above)

    def _hash_options(self, name: TileName) -> Iterator[bytes]:
        """What the leaves of a bundle may hash to, by each witness there is."""
        if (known := self._settled.get(name.number)) is not None:
            yield known
            return
        for entries in self._bundles(name):
            if len(entries) == name.width:
                yield b"".join(map(leaf_hash, entries))
        for source in self._sources:
            data = _read(source, TileName(0, name.number, name.width))
            if data is not None and len(data) == name.width * HASH_BYTES:
                yield data

    def _parent(self, number: int) -> bytes | None:
        """The hash that the tile above has of a full tile of level 0."""
        above, offset = divmod(number, TILE_WIDTH)
        name = tile_at(1, above, self._size)
        for source in self._sources:
            data = _read(source, name)
            if data is not None and len(data) == name.width * HASH_BYTES:
                return data[offset * HASH_BYTES : (offset + 1) * HASH_BYTES]
        return None

    def _node(self, level: int, index: int) -> bytes:
        if level >= 8:
            return complete_root(self._above[index << (level - 8) : (index + 1) << (level - 8)])
        first = (index << level) % TILE_WIDTH  # only the last, partial tile is asked below level 8
        return complete_root(self._edge[first : first + (1 << level)])

    # Visiting the files

    def _visit(self, write: Write) -> tuple[Range, ...]:
        lost: list[Range] = []
        for name in _tiles(ENTRIES, self._size):
            self._visit_bundle(name, write, lost)
        hashes = self._above
        level = 1
        while hashes:
            for first in range(0, len(hashes), TILE_WIDTH):
                row = hashes[first : first + TILE_WIDTH]
                self._compare(TileName(level, first // TILE_WIDTH, len(row)), b"".join(row), write)
            full = len(hashes) // TILE_WIDTH
            hashes = [complete_root(hashes[n * TILE_WIDTH : (n + 1) * TILE_WIDTH]) for n in range(full)]
            level += 1
        return tuple(lost)

    def _visit_bundle(self, name: TileName, write: Write, lost: list[Range]) -> None:
        first = name.number * TILE_WIDTH
        if name.number in self._settled and self._settled[name.number] is None:
            _add(lost, first, first + name.width)
            return
        candidates = list(self._bundles(name))
        hashes = self._hashes(name, candidates)
        self._compare(TileName(0, name.number, name.width), b"".join(hashes), write)
        entries = [self._entry(first + offset, offset, wanted, candidates) for offset, wanted in enumerate(hashes)]
        found = [entry for entry in entries if entry is not None]
        if len(found) == len(entries):
            self._compare(name, encode_bundle(found), write)
            return
        for offset, entry in enumerate(entries):
            if entry is None:
                _add(lost, first + offset, first + offset + 1)

    def _hashes(self, name: TileName, candidates: Sequence[Sequence[bytes]]) -> list[bytes]:
        if name.width < TILE_WIDTH:
            return self._edge
        settled = self._settled.get(name.number)
        if settled is not None:
            return split_hashes(settled)
        wanted = self._above[name.number]
        for entries in candidates:
            hashes = list(map(leaf_hash, entries))
            if len(hashes) == TILE_WIDTH and complete_root(hashes) == wanted:
                return hashes
        options = (split_hashes(option) for option in self._hash_options(name))
        return next(option for option in options if complete_root(option) == wanted)

    def _entry(self, leaf: int, offset: int, wanted: bytes, candidates: Sequence[Sequence[bytes]]) -> bytes | None:
        for entries in candidates:
            if offset < len(entries) and leaf_hash(entries[offset]) == wanted:
                return entries[offset]
        logged = self._logged.get(leaf)
        return logged if logged is not None and leaf_hash(logged) == wanted else None

    def _bundles(self, name: TileName) -> Iterator[list[bytes]]:
        for source in self._sources:
            data = _read(source, name)
            if data is not None:
                yield _decode(data)
        if pieced := self._pieced(name):
            yield pieced

    def _pieced(self, name: TileName) -> list[bytes]:
        """The bundle as far as the journal and narrower partial ones have it, each going on where another ends."""
        first = name.number * TILE_WIDTH
        narrower: list[bytes] = []
        for source in self._sources:
            for path in (source.root / name.partials_directory).glob("[0-9]*"):
                narrower = max(narrower, _decode(path.read_bytes())[: name.width], key=len)
        entries: list[bytes] = []
        for offset in range(name.width):
            entry = self._logged.get(first + offset) or (narrower[offset] if offset < len(narrower) else None)
            if entry is None:
                break
            entries.append(entry)
        return entries

    def _compare(self, name: TileName, right: bytes, write: Write) -> None:
        if _read(self._sources[0], name) != right:
            write(name, right)


def edge_damage(files: LogFiles, size: int, root: bytes) -> str | None:
    """What is wrong with the tiles that a tree of `size` and `root` grows from. Raises OSError."""
    try:
        edge = Edge.load(size, files.tile)
    except LogUnreadable as error:
        return error.message
    return None if edge.root() == root else f"the tiles do not lead to the root at {size} entries"


def _tiles(level: int, size: int) -> Iterator[TileName]:
    for number in range(-(-size // TILE_WIDTH)):
        yield tile_at(level, number, size)


def _read(source: LogFiles, name: TileName) -> bytes | None:
    try:
        return source.tile(name)
    except (LogUnreadable, NotADirectoryError, IsADirectoryError):
        return None


def _decode(data: bytes) -> list[bytes]:
    """A bundle's entries, up to where it breaks off."""
    try:
        return decode_bundle(data)
    except LogUnreadable:
        entries, offset = [], 0
        while offset + 2 <= len(data):
            end = offset + 2 + int.from_bytes(data[offset : offset + 2], "big")
            if end > len(data):
                break
            entries.append(data[offset + 2 : end])
            offset = end
        return entries


def _add(ranges: list[Range], first: int, end: int) -> None:
    if ranges and ranges[-1][1] == first:
        ranges[-1] = (ranges[-1][0], end)
    else:
        ranges.append((first, end))
