"""Looking back through the published log, newest first, a bounded piece at a time. No proofs: `reader` makes those."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.index import INDEX, IndexReader
from sekisho.ledger.interfaces import PublishedEntry
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.tiles import ENTRIES, TILE_WIDTH, decode_bundle, tile_at

BUNDLES_KEPT: Final = 4  # a request's entries lie near one another; a bundle is at most 16 MiB, usually half of one


class LogBrowser:
    """Implements `PublishedLog` over a ledger directory. Blocking; safe to call from several threads: it keeps nothing
    between calls but the index's connection."""

    def __init__(self, root: Path) -> None:
        self._files = LogFiles(root)
        self._index = IndexReader(root / INDEX)

    def size(self) -> int:
        note = self._files.checkpoint()
        return 0 if note is None else read_checkpoint(note).size

    def back_from(self, leaf: int, bundles_max: int) -> Iterator[PublishedEntry]:
        size = self.size()
        end = min(leaf, size)
        for _ in range(bundles_max):
            if end <= 0:
                return
            number = (end - 1) // TILE_WIDTH
            first = number * TILE_WIDTH
            entries = decode_bundle(self._files.tile(tile_at(ENTRIES, number, size)))
            if len(entries) < end - first:
                raise LogUnreadable(f"entry bundle {number} holds {len(entries)} entries")
            for offset in range(end - first - 1, -1, -1):
                yield PublishedEntry(first + offset, entries[offset])
            end = first

    def of_requests(self, requests: list[str], entries_max: int) -> dict[str, list[PublishedEntry]]:
        size = self.size()
        bundles: dict[int, list[bytes]] = {}
        found: dict[str, list[PublishedEntry]] = {}
        for request in requests:
            rows = self._index.request(request)
            leaves = () if rows is None else rows.leaves[:entries_max]
            found[request] = [PublishedEntry(leaf, self._entry(leaf, size, bundles)) for leaf in leaves if leaf < size]
        return found

    def watermark_us(self) -> int | None:
        covered = self._index.covered()
        return None if covered is None else covered.watermark_us

    def published_until_us(self) -> int | None:
        """As the watermark, of what the checkpoint covers; None while a merge is on its way into it."""
        covered = self._index.covered()  # before the checkpoint, which follows it
        return None if covered is None or covered.size > self.size() else covered.watermark_us

    def close(self) -> None:
        self._index.close()

    def _entry(self, leaf: int, size: int, bundles: dict[int, list[bytes]]) -> bytes:
        number, offset = divmod(leaf, TILE_WIDTH)
        entries = bundles.get(number)
        if entries is None:
            entries = bundles[number] = decode_bundle(self._files.tile(tile_at(ENTRIES, number, size)))
            if len(bundles) > BUNDLES_KEPT:
                del bundles[next(iter(bundles))]  # the first one read
        if offset >= len(entries):
            raise LogUnreadable(f"entry bundle {number} holds {len(entries)} entries")
        return entries[offset]
