"""How much a write-ahead log can still take (pure arithmetic).

The promise: whatever was claimed fits into what is allocated, in any order, however it is batched into frames.

An entry costs at most `frames.entry_cost` (a frame to itself; in company less). Leaving a segment wastes less than
the cost of the entry that did not fit, so at most ENTRY_COST_MAX - 1; only segments that have another allocated
behind them are ever left. Hence claims of up to

    remainder of this segment + segments ahead x (segment - header - (ENTRY_COST_MAX - 1))

always fit: placing an entry lowers both sides by the same, and leaving a segment lowers the right side by its
waste and raises it by at least as much.
"""

from typing import Final

from sekisho.ledger.frames import ENTRY_COST_MAX, ENTRY_OVERHEAD_MAX, SEGMENT_HEADER_BYTES

ENTRIES_PER_RESERVATION: Final = 2  # an entry and its sequel; each may have to stand in a frame of its own


BUDGET_ALARM: Final = 0.5  # of the budget: time to act while everything still works


def budget_bytes(free: int, reserve: int, unmerged: int) -> int:
    """How much may be unmerged, on a disk with `free` bytes, before a writer refuses.

    It refuses where free space is below twice the unmerged bytes and the reserve; each further byte lowers the one and
    raises the other.
    """
    return max(0, unmerged + (free - reserve - 2 * unmerged) // 3)


class Room:
    """What is allocated, and what of it is claimed: by entries not yet written, and by reservations. Bytes."""

    def __init__(self, segment_bytes: int) -> None:
        self._capacity = segment_bytes - SEGMENT_HEADER_BYTES
        self._capacity_ahead = self._capacity - (ENTRY_COST_MAX - 1)
        self.remainder = 0  # of the segment being written
        self.ahead = 0  # segments
        self.queued = 0
        self.reserved = 0

    @property
    def free(self) -> int:
        """What may still be claimed."""
        return self.remainder + self.ahead * self._capacity_ahead - self.queued - self.reserved

    def roll(self) -> None:
        """The next segment is being written from now on; the first one, if there was none."""
        self.ahead -= 1
        self.remainder = self._capacity


class RoomReservation:
    """See `interfaces.Reservation`. Holds room for `bytes_max` bytes of entries and what framing them costs."""

    __slots__ = ("_room", "left")

    def __init__(self, room: Room, bytes_max: int) -> None:
        self._room = room
        self.left = reservation_cost(bytes_max)
        room.reserved += self.left

    def spend(self, cost: int) -> None:
        """Turn up to `cost` bytes of it into a claim of queued entries; the rest of `cost` is claimed newly."""
        from_reserved = min(cost, self.left)
        self.left -= from_reserved
        self._room.reserved -= from_reserved
        self._room.queued += cost

    def release(self) -> None:
        self._room.reserved -= self.left
        self.left = 0


def reservation_cost(bytes_max: int) -> int:
    return bytes_max + ENTRIES_PER_RESERVATION * ENTRY_OVERHEAD_MAX
