"""Depth 1 of an audit: from the checkpoint's root down to every entry. One pass, memory flat with the log's size.

What is trusted is the checkpoint. A tile is *authentic* when it leads to the hash above it, so damage is named where
it is: an entry that was altered, a tile that was, or (where both are gone) the entries that nothing proves any more.
"""

import itertools
from collections.abc import Generator, Iterator, Sequence
from typing import Final, NamedTuple

from sekisho.ledger.audit_kinds import (
    BUNDLE_DAMAGED,
    ENTRIES_UNPROVEN,
    ENTRY_ALTERED,
    HISTORY_FORKED,
    HISTORY_UNPROVEN,
    ROOT_MISMATCH,
    TILE_DAMAGED,
)
from sekisho.ledger.checkpoint import Checkpoint
from sekisho.ledger.errors import LogUnreadable, ProofInvalid
from sekisho.ledger.findings import ERROR, Findings
from sekisho.ledger.log_files import PublishedFiles
from sekisho.ledger.merkle import HASH_BYTES, complete_root, consistency_proof, leaf_hash, verify_consistency
from sekisho.ledger.reading import entry_id
from sekisho.ledger.tiles import (
    ENTRIES,
    TILE_WIDTH,
    TileName,
    TileNodes,
    decode_bundle,
    edge_root,
    level_count,
    split_hashes,
)

Hashes = list[bytes]
DAMAGED_KEPT_MAX: Final = 10_000  # runs of entries; far more than a person looks at
# In a row, a million entries. A checkpoint may be signed over a size that nobody has: what it promises is looked for
# until so much of it is not there, not for ever.
MISSING_MAX: Final = 4_096


class Piece(NamedTuple):
    """Entries in the log's order from index `first` on. `entries` is None where `size` of them could not be read."""

    first: int
    size: int
    entries: list[bytes] | None


class _EdgeTile(NamedTuple):
    """An unfinished tile: as it is stored, and as what is below it says. None: it can't be known that way."""

    name: TileName
    stored: Hashes | None
    below: Hashes | None


class IntegrityWalk:
    """`pieces` reads the whole log once, and adds to `findings` what does not hold; `tiles` counts the files read.

    `damaged` are the entries that are not as committed to, by index, as runs [first, end) in order: the first of them.
    """

    def __init__(
        self, files: PublishedFiles, checkpoint: Checkpoint, findings: Findings, *, with_entries: bool = True
    ) -> None:
        """Without entries the hash tiles alone are looked at, and no piece is given."""
        self._with_entries = with_entries
        self._files = files
        self._checkpoint = checkpoint
        self._findings = findings
        self.tiles = 0
        self.damaged: list[tuple[int, int]] = []
        self._missing = 0  # in a row, of what the walk ends in: bundles, or the lowest tiles

    def pieces(self) -> Iterator[Piece]:
        size = self._checkpoint.size
        names = [
            TileName(level, *divmod(level_count(level, size), TILE_WIDTH))
            for level in range(size.bit_length() // 8 + 1)
        ]
        stored = [self._stored(name) if name.width else [] for name in names]
        known = [hashes for hashes in stored if hashes is not None]
        authentic = len(known) == len(stored) and edge_root(known) == self._checkpoint.root
        edge: list[_EdgeTile] = []
        for name, hashes in reversed(list(zip(names, stored, strict=True))):  # the log's order is the top level first
            if name.width:
                below = yield from self._below(name, hashes, authentic)
                edge.append(_EdgeTile(name, hashes, below))
        edge.reverse()
        if not authentic:  # else everything below was held against the edge one by one
            self._settle_edge(edge)

    def require_extends(self, earlier: Checkpoint) -> None:
        """A checkpoint seen before must be of a beginning of this log: proved (RFC 9162 section 2.1.4)."""
        checkpoint = self._checkpoint
        if earlier.origin != checkpoint.origin or earlier.size > checkpoint.size:
            detail = f"the log of {checkpoint.size} entries does not extend the one seen before, of {earlier.size}"
            self._findings.add(HISTORY_FORKED, detail)
            return
        if earlier.size == 0:
            return
        damaged = self._findings.count(ERROR) > 0  # then a proof that fails may be the damage's, not the history's
        try:
            nodes = TileNodes(checkpoint.size, self._files.tile)
            proof = consistency_proof(earlier.size, checkpoint.size, nodes)
            verify_consistency(earlier.size, checkpoint.size, earlier.root, checkpoint.root, proof)
        except (LogUnreadable, ProofInvalid, OSError) as error:
            kind = HISTORY_UNPROVEN if damaged else HISTORY_FORKED
            detail = f"the root at {earlier.size} entries is not the one seen before ({error})"
            self._findings.add(kind, detail, earlier.size - 1)

    # Downwards

    def _full(self, name: TileName, expected: bytes | None) -> Generator[Piece, None, bytes | None]:
        """A full tile and all below it; its root. `expected` is authentic, or None where the tiles above are not."""
        if self._missing > MISSING_MAX:
            yield Piece(_first(name), name.width << (8 * name.level), None)
            return None
        stored = self._stored(name)
        root = None if stored is None else complete_root(stored)
        authentic = root is not None and root == expected
        below = yield from self._below(name, stored, authentic)
        if authentic:
            return expected
        root_below = None if below is None else complete_root(below)
        if stored is not None and (expected is not None or root_below not in (None, root)):
            self._findings.add(TILE_DAMAGED, f"{name.path} is not what the hashes around it lead to", _first(name))
        if expected is None:
            return root if root_below is None else root_below
        if root_below != expected:
            first, count = _first(name), name.width << (8 * name.level)
            self._findings.add(ENTRIES_UNPROVEN, f"entries {first} to {first + count - 1}, below {name.path}", first)
        return expected

    def _below(self, name: TileName, stored: Hashes | None, authentic: bool) -> Generator[Piece, None, Hashes | None]:
        """The hashes of a tile as what is below it gives them, None if a part is lost."""
        if name.level == 0:
            return (yield from self._bundle(name, stored if authentic else None))
        below: list[bytes | None] = []
        for offset in range(name.width):
            child = TileName(name.level - 1, name.number * TILE_WIDTH + offset, TILE_WIDTH)
            below.append((yield from self._full(child, stored[offset] if authentic and stored is not None else None)))
        found = [one for one in below if one is not None]
        return found if len(found) == len(below) else None

    def _bundle(self, tile: TileName, authentic: Hashes | None) -> Generator[Piece, None, Hashes | None]:
        if not self._with_entries:
            return None
        name = TileName(ENTRIES, tile.number, tile.width)
        first = _first(tile)
        try:
            entries = decode_bundle(self._files.tile(name))
            if len(entries) != name.width:
                raise LogUnreadable(f"{name.path} holds {len(entries)} entries, not {name.width}")
        except (LogUnreadable, OSError) as error:
            self._findings.add(BUNDLE_DAMAGED, f"{name.path}: {error}; {name.width} entries from here on", first)
            self._note_damaged(first, first + name.width)
            self._count_missing(first)
            yield Piece(first, name.width, None)
            return None
        self.tiles += 1
        self._missing = 0
        hashes = [leaf_hash(entry) for entry in entries]
        if authentic is not None and hashes != authentic:
            self._name_altered(name, entries, hashes, authentic)
        yield Piece(first, len(entries), entries)
        return hashes

    def _name_altered(self, name: TileName, entries: Hashes, hashes: Hashes, authentic: Hashes) -> None:
        for offset, (entry, found, wanted) in enumerate(zip(entries, hashes, authentic, strict=True)):
            if found != wanted:
                index = name.number * TILE_WIDTH + offset
                self._findings.add(ENTRY_ALTERED, f"in {name.path}, at place {offset}", index, entry_id(entry))
                self._note_damaged(index, index + 1)

    def _note_damaged(self, first: int, end: int) -> None:
        if self.damaged and self.damaged[-1][1] == first:
            self.damaged[-1] = (self.damaged[-1][0], end)
        elif len(self.damaged) < DAMAGED_KEPT_MAX:
            self.damaged.append((first, end))

    # At the right edge

    def _settle_edge(self, edge: Sequence[_EdgeTile]) -> None:
        """The stored edge does not lead to the root: find the tiles that are to blame, or say that none can be."""
        choices = [[hashes for hashes in (tile.stored, tile.below) if hashes is not None] for tile in edge]
        for chosen in itertools.product(*choices):  # at most 2 for each of 8 levels
            if edge_root(chosen) == self._checkpoint.root:
                break
        else:
            size = self._checkpoint.size
            self._findings.add(ROOT_MISMATCH, f"neither the tiles nor the entries lead to the root at {size} entries")
            return
        for tile, hashes in zip(edge, chosen, strict=True):
            if tile.stored is not None and tile.stored != hashes:
                self._findings.add(TILE_DAMAGED, f"{tile.name.path} is not what leads to the root", _first(tile.name))
            if tile.below is not None and tile.below != hashes:
                self._blame_below(tile, hashes)

    def _blame_below(self, tile: _EdgeTile, authentic: Hashes) -> None:
        for offset, (found, wanted) in enumerate(zip(tile.below or (), authentic, strict=True)):
            if found != wanted:
                count = 1 << (8 * tile.name.level)
                first = _first(tile.name) + offset * count
                detail = f"entries {first} to {first + count - 1}, below {tile.name.path}"
                self._findings.add(ENTRY_ALTERED if count == 1 else ENTRIES_UNPROVEN, detail, first)
                self._note_damaged(first, first + count)
                self.damaged.sort()

    # Reading

    def _stored(self, name: TileName) -> Hashes | None:
        try:
            data = self._files.tile(name)
            if len(data) != name.width * HASH_BYTES:
                raise LogUnreadable(f"it has {len(data)} bytes, not {name.width * HASH_BYTES}")
        except (LogUnreadable, OSError) as error:
            self._findings.add(TILE_DAMAGED, f"{name.path}: {error}", _first(name))
            if not self._with_entries and name.level == 0:
                self._count_missing(_first(name))
            return None
        self.tiles += 1
        if not self._with_entries:
            self._missing = 0
        return split_hashes(data)

    def _count_missing(self, index: int) -> None:
        self._missing += 1
        if self._missing == MISSING_MAX + 1:
            detail = f"{self._missing} files in a row can't be read: what comes then is not looked for"
            self._findings.add(ENTRIES_UNPROVEN, detail, index)


def _first(name: TileName) -> int:
    """The index of the first entry below a hash tile."""
    return (name.number * TILE_WIDTH) << (8 * name.level)
