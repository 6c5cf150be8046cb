"""Where the publisher reads entries from: write-ahead logs of this data directory, seen through ports."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from sekisho.kernel.files import FileLock


class Position(NamedTuple):
    """A place between two frames: its logical offset, the sequence number that comes next, the chain up to here."""

    offset: int
    seq: int
    chain: bytes


class Batch(NamedTuple):
    """Entries in order, and the position after them."""

    entries: tuple[bytes, ...]
    position: Position


class WriteAheadSource(Protocol):
    """One writer's log. Entries come in the order written, each at exactly one position."""

    @property
    def name(self) -> str: ...

    def read(self, position: Position, *, bytes_max: int) -> Batch:
        """Whole valid frames after `position`, at least one where there is one; empty when there is none yet."""
        ...

    def try_lock(self) -> FileLock | None:
        """The lock of a writer whose process has ended, or None while it lives."""
        ...

    def read_dead(self, position: Position, *, bytes_max: int) -> Batch:
        """As `read`, with the lock held: a torn tail is kept aside and ends the log; damage elsewhere raises."""
        ...

    def release(self, position: Position) -> int:
        """Nothing below `position` will be asked for again; returns the bytes given back."""
        ...

    def remove(self) -> None:
        """The writer is closed and its entries are durable elsewhere."""
        ...


Sources = Callable[[Path], Sequence[WriteAheadSource]]  # the logs under the ledger directory, in a stable order
