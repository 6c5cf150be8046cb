"""The bytes of a write-ahead log: segments, and the frames in them (pure).

A log is one logical run of bytes, cut into segments of equal size; logical offset = segment number x segment size
+ offset in the segment. A segment begins with a header; frames follow, each aligned to 8 bytes; the rest is zeros.
A frame is a batch of entries: a header, then a payload of repeated (u32 length, entry bytes). Integers are
little-endian.

Invariants, which the writer keeps and the reader checks:

1. A segment's size, header and name are synced before its first frame is written.
2. A frame never spans segments. The next frame begins where the last one ended (aligned), or, where it did not fit,
   at the start of the next segment; nothing marks that, for the chain shows that nothing is missing between.
3. Every frame carries its writer's random mark and its own logical offset: bytes in an entry, or in a block that the
   file system gave us from another file, can't pass for a frame.
4. Sequence numbers have no gap: a frame's `seq` is the last frame's `seq` plus its number of entries.
5. chain = SHA-256(last frame's chain ‖ header fields ‖ payload), from 32 zero bytes: a frame can't be left out,
   repeated or replaced unnoticed, as long as the chain's end is known from elsewhere.
6. `synced` is the end of the last frame known to be synced when this frame was written. It is never beyond the
   frame's own offset and always lies on the border of a frame.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from sekisho.ledger.interfaces import ENTRY_BYTES_MAX

MARK_BYTES: Final = 16
CHAIN_START: Final = bytes(32)
FORMAT_VERSION: Final = 1
ALIGNMENT: Final = 8

_MAGIC: Final = b"SEKISHOW"
_SEGMENT_FIELDS: Final = struct.Struct("<8sIIQQ16s")  # magic, version, zero, segment size, segment number, mark
_FRAME_FIELDS: Final = struct.Struct("<16sQQQII")  # mark, offset, seq, synced, payload bytes, entries
_CRC: Final = struct.Struct("<II")  # CRC-32, zero
_LENGTH: Final = struct.Struct("<I")

SEGMENT_HEADER_BYTES: Final = _SEGMENT_FIELDS.size + _CRC.size
FRAME_HEADER_BYTES: Final = _FRAME_FIELDS.size + len(CHAIN_START) + _CRC.size
# A batch is hashed and written on the writer's event loop: 1 MiB holds the loop for about a millisecond.
FRAME_PAYLOAD_MAX: Final = 1024 * 1024
# What an entry costs at most beside its own bytes: a frame to itself, its length and the alignment.
ENTRY_OVERHEAD_MAX: Final = FRAME_HEADER_BYTES + _LENGTH.size + ALIGNMENT - 1

_Bytes: TypeAlias = bytes | memoryview


class SegmentHeader(NamedTuple):
    segment_bytes: int
    number: int
    mark: bytes


class Frame(NamedTuple):
    """A whole frame: its checksum is right, its mark and its offset are its own. Its chain is not checked yet."""

    offset: int  # logical, where it stands
    end: int  # logical, where the next one stands if it fits there
    seq: int  # of its first entry
    synced: int
    entries: tuple[bytes, ...]
    chain: bytes
    fields: bytes
    payload: _Bytes

    def continues(self, seq: int, chain: bytes) -> bool:
        """Whether this frame is the one after a frame with that chain, whose entries ended before `seq`."""
        return self.seq == seq and self.chain == _chain(chain, self.fields, self.payload)


def entry_cost(entry_bytes: int) -> int:
    """Bytes that an entry takes in a frame of its own; in company it takes less."""
    return (entry_bytes + ENTRY_OVERHEAD_MAX) // ALIGNMENT * ALIGNMENT


ENTRY_COST_MAX: Final = FRAME_HEADER_BYTES + -(-(_LENGTH.size + ENTRY_BYTES_MAX) // ALIGNMENT) * ALIGNMENT


def encode_segment_header(header: SegmentHeader) -> bytes:
    fields = _SEGMENT_FIELDS.pack(_MAGIC, FORMAT_VERSION, 0, header.segment_bytes, header.number, header.mark)
    return fields + _CRC.pack(zlib.crc32(fields), 0)


def decode_segment_header(data: bytes) -> SegmentHeader | None:
    """The header at the start of a segment, or None if it is not a whole one of our format."""
    if len(data) < SEGMENT_HEADER_BYTES:
        return None
    magic, version, _, segment_bytes, number, mark = _SEGMENT_FIELDS.unpack_from(data)
    header = SegmentHeader(segment_bytes, number, mark)
    if magic != _MAGIC or version != FORMAT_VERSION:
        return None
    return header if encode_segment_header(header) == data[:SEGMENT_HEADER_BYTES] else None


def fitting(entries: Sequence[bytes], start: int, room: int) -> int:
    """How many of `entries` from `start` on fit into one frame that takes at most `room` bytes, aligned."""
    left = min(room // ALIGNMENT * ALIGNMENT - FRAME_HEADER_BYTES, FRAME_PAYLOAD_MAX)
    end = start
    while end < len(entries) and (left := left - _LENGTH.size - len(entries[end])) >= 0:
        end += 1
    return end - start


def encode_frame(
    entries: Sequence[bytes], *, mark: bytes, offset: int, seq: int, synced: int, chain: bytes
) -> tuple[bytes, bytes]:
    """The frame's bytes, padded to the alignment, and its chain; `chain` is that of the frame before."""
    pack_length = _LENGTH.pack
    pieces: list[bytes] = []
    for entry in entries:
        pieces += (pack_length(len(entry)), entry)
    payload = b"".join(pieces)
    fields = _FRAME_FIELDS.pack(mark, offset, seq, synced, len(payload), len(entries))
    own_chain = _chain(chain, fields, payload)
    checksum = zlib.crc32(payload, zlib.crc32(own_chain, zlib.crc32(fields)))
    padding = bytes(-len(payload) % ALIGNMENT)
    return b"".join((fields, own_chain, _CRC.pack(checksum, 0), payload, padding)), own_chain


def frame_bytes(header: bytes, *, mark: bytes, offset: int) -> int | None:
    """How long the frame is whose header this is, or None where no frame of ours stands at `offset`."""
    if len(header) < FRAME_HEADER_BYTES or not header.startswith(mark):
        return None
    _, own_offset, _, _, payload_bytes, _ = _FRAME_FIELDS.unpack_from(header)
    if own_offset != offset or payload_bytes > FRAME_PAYLOAD_MAX:
        return None
    return _aligned(FRAME_HEADER_BYTES + int(payload_bytes))


def decode_frame(data: _Bytes, at: int, *, mark: bytes, offset: int) -> Frame | None:
    """The frame that stands whole at `data[at:]`, which is logical `offset`; None if there is none."""
    header = bytes(data[at : at + FRAME_HEADER_BYTES])
    if frame_bytes(header, mark=mark, offset=offset) is None:
        return None
    _, _, seq, synced, payload_bytes, count = _FRAME_FIELDS.unpack_from(header)
    start = at + FRAME_HEADER_BYTES
    payload = data[start : start + payload_bytes]
    checksum, zero = _CRC.unpack_from(header, FRAME_HEADER_BYTES - _CRC.size)
    covered = header[: FRAME_HEADER_BYTES - _CRC.size]
    if len(payload) != payload_bytes or zero or checksum != zlib.crc32(payload, zlib.crc32(covered)):
        return None
    entries = _split(payload)
    if entries is None or len(entries) != count or synced > offset:
        return None
    fields, chain = header[: _FRAME_FIELDS.size], covered[_FRAME_FIELDS.size :]
    end = offset + _aligned(FRAME_HEADER_BYTES + payload_bytes)
    return Frame(offset, end, seq, synced, entries, chain, fields, payload)


def find_frames(data: bytes, *, mark: bytes, offset: int) -> Iterator[Frame]:
    """Every whole frame in `data`, which begins at logical `offset`, whatever lies between them."""
    at = data.find(mark)
    while at >= 0:
        if frame := decode_frame(data, at, mark=mark, offset=offset + at):
            yield frame
            at = data.find(mark, at + frame.end - frame.offset)
        else:
            at = data.find(mark, at + 1)


def _split(payload: _Bytes) -> tuple[bytes, ...] | None:
    entries: list[bytes] = []
    at, end = 0, len(payload)
    while at < end:
        if end - at < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(payload, at)
        at += _LENGTH.size
        if length > end - at:
            return None
        entries.append(bytes(payload[at : at + length]))
        at += length
    return tuple(entries)


def _chain(previous: bytes, fields: bytes, payload: _Bytes) -> bytes:
    digest = hashlib.sha256(previous + fields)
    digest.update(payload)
    return digest.digest()


def _aligned(length: int) -> int:
    return (length + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
