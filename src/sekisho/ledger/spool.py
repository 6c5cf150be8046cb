"""Records of one size, set aside on disk and given back in groups: memory stays flat whatever the log's size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

PARTITIONS: Final = 256  # a million records of 51 bytes: 200 KB a partition; a thousand million: 200 MB
_BUFFER_BYTES: Final = 16 * 1024  # of a partition, before it goes to disk: 4 MiB in all


class Spool:
    """Records with equal keys come back in one partition, in the order in which they were added.

    `directory` is made, and is the caller's to remove. Raises OSError where the disk is full.
    """

    def __init__(self, directory: Path, record_bytes: int) -> None:
        directory.mkdir(mode=0o700)
        self._directory = directory
        self._record_bytes = record_bytes
        self._buffers = [bytearray() for _ in range(PARTITIONS)]
        self._written: set[int] = set()
        self.count = 0

    def add(self, key: bytes, record: bytes) -> None:
        # Python's hash of bytes is keyed with a secret of the process: nobody can aim all records at one partition.
        number = hash(key) % PARTITIONS
        buffer = self._buffers[number]
        buffer += record
        self.count += 1
        if len(buffer) >= _BUFFER_BYTES:
            with self._path(number).open("ab") as file:
                file.write(buffer)
            self._written.add(number)
            buffer.clear()

    def partitions(self) -> Iterator[Iterator[bytes]]:
        """Each partition's records. To be called once, after the last `add`."""
        width = self._record_bytes
        for number, buffer in enumerate(self._buffers):
            data = bytes(buffer)
            if number in self._written:
                path = self._path(number)
                data = path.read_bytes() + data
                path.unlink()
            yield _records(data, width)

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:03d}"


def _records(data: bytes, width: int) -> Iterator[bytes]:
    return (data[start : start + width] for start in range(0, len(data), width))
