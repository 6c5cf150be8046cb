"""Copying a published log to another directory, so that the copy is a whole log at every moment that it has a
checkpoint: tiles and bundles first, durable, then the checkpoint. The source may grow meanwhile.
"""

from collections.abc import Iterator
from pathlib import Path

from sekisho.ledger.checkpoint import Checkpoint, read_checkpoint
from sekisho.ledger.log_files import CHECKPOINT, LogFiles
from sekisho.ledger.storage import Disk, Storage
from sekisho.ledger.tiles import ENTRIES, TILE_WIDTH, TileName, level_count, partial_tiles, tile_at


def copy_log(source: LogFiles, checkpoint: Checkpoint, note: str, target: Path, storage: Storage | None = None) -> int:
    """Copy the tree of `checkpoint`, whose signed form is `note`, to `target`; how many files were written.

    Full tiles that the copy's own checkpoint covers are not copied again: they were durable before it. Others may have
    been cut short by a power cut. Raises LogUnreadable, OSError.
    """
    covered = _size_of(target)
    disk = storage or Disk()
    written = []
    for name in tiles_of(checkpoint.size):
        path = target / name.path
        if name.width == TILE_WIDTH and name.number < level_count(name.level, covered) // TILE_WIDTH:
            continue
        disk.put(path, source.tile(name))
        written.append(path)
    disk.sync(written, target)
    disk.replace(target / CHECKPOINT, note.encode())
    return len(written)


def _size_of(target: Path) -> int:
    note = LogFiles(target).checkpoint()
    return 0 if note is None else read_checkpoint(note).size


def tiles_of(size: int) -> Iterator[TileName]:
    """The bundles and hash tiles of a tree of `size`, each at its width in it."""
    for level in (ENTRIES, *range(size.bit_length() // 8 + 1)):
        for number in range(level_count(level, size) // TILE_WIDTH):
            yield tile_at(level, number, size)
    yield from partial_tiles(size)
