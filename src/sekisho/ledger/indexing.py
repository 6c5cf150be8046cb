"""Filling an index from the log's entries: when it lags, when it was damaged, and for a log that is a copy."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import orjson

from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.index import INDEX, Index, IndexChange, Seen, see
from sekisho.ledger.interfaces import Lifecycle
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.merkle import tree_root
from sekisho.ledger.tiles import TILE_WIDTH

_BUNDLES: Final = 64  # entries of so many bundles per transaction


def fill_index(
    index: Index,
    files: LogFiles,
    first: int,
    size: int,
    see_entry: Callable[[bytes], Seen],
    root_at: Callable[[int], bytes],
) -> None:
    """Bring an open index from `first` entries up to `size`, in transactions of a bounded number of entries."""
    while first < size:
        end = min(size, (first // TILE_WIDTH + _BUNDLES) * TILE_WIDTH)
        change = IndexChange()
        for leaf, entries in files.entries(first, size):
            if leaf >= end:
                break
            for offset, entry in enumerate(entries):
                change.add(leaf + offset, see_entry(entry))
        index.apply(change, end, root_at(end), 0)
        first = end


def index_copy(root: Path, lifecycle: Lifecycle) -> None:
    """Make the index of a log that was copied to `root` and will not grow: one file, that needs no writer.

    Raises LogUnreadable.
    """
    files = LogFiles(root)
    note = files.checkpoint()
    if note is None:
        raise LogUnreadable(f"{root} holds no checkpoint")
    checkpoint = read_checkpoint(note)
    index = Index(root / INDEX)
    index.discard()
    index.open()
    try:
        nodes = files.nodes(checkpoint.size)
        fill_index(
            index, files, 0, checkpoint.size, lambda entry: see(orjson.loads(entry), lifecycle),
            lambda size: tree_root(size, nodes),
        )  # fmt: skip
    finally:
        index.settle()
        index.close()
