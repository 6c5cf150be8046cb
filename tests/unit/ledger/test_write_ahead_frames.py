import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sekisho.ledger import frames
from sekisho.ledger.interfaces import ENTRY_BYTES_MAX
from sekisho.ledger.room import Room, RoomReservation, reservation_cost

MARK = bytes(range(16))
ENTRIES = st.lists(st.binary(max_size=300), min_size=1, max_size=8)


def encode(entries, *, offset=4096, seq=7, synced=4000, chain=frames.CHAIN_START, mark=MARK):
    return frames.encode_frame(entries, mark=mark, offset=offset, seq=seq, synced=synced, chain=chain)


@given(entries=ENTRIES, seq=st.integers(0, 2**63), chain=st.binary(min_size=32, max_size=32), before=st.binary())
def test_a_frame_reads_back(entries, seq, chain, before):
    data, own_chain = encode(entries, seq=seq, chain=chain)
    frame = frames.decode_frame(before + data, len(before), mark=MARK, offset=4096)
    assert frame.entries == tuple(entries)
    assert (frame.offset, frame.end, frame.seq, frame.synced) == (4096, 4096 + len(data), seq, 4000)
    assert frame.chain == own_chain
    assert frame.continues(seq, chain)
    assert not frame.continues(seq + 1, chain)
    assert not frame.continues(seq, bytes(32) if chain != bytes(32) else bytes([1]) * 32)
    assert len(data) % frames.ALIGNMENT == 0
    assert frames.frame_bytes(data, mark=MARK, offset=4096) == len(data)
    assert len(data) <= sum(frames.entry_cost(len(entry)) for entry in entries)


@given(entries=ENTRIES, data=st.data())
def test_any_flipped_bit_is_seen(entries, data):
    frame, _ = encode(entries)
    covered = frames.FRAME_HEADER_BYTES + sum(4 + len(entry) for entry in entries)  # the padding says nothing
    bit = data.draw(st.integers(0, covered * 8 - 1))
    broken = bytearray(frame)
    broken[bit // 8] ^= 1 << bit % 8
    assert frames.decode_frame(bytes(broken), 0, mark=MARK, offset=4096) is None


@given(entries=ENTRIES, data=st.data())
def test_a_frame_cut_short_is_none(entries, data):
    frame, _ = encode(entries)
    end = frames.FRAME_HEADER_BYTES + sum(4 + len(entry) for entry in entries)
    length = data.draw(st.integers(0, end - 1))
    assert frames.decode_frame(frame[:length], 0, mark=MARK, offset=4096) is None


def test_a_frame_is_only_one_in_its_own_place_and_log():
    frame, _ = encode([b"entry"])
    assert frames.decode_frame(frame, 0, mark=MARK, offset=4096)
    assert frames.decode_frame(frame, 0, mark=MARK, offset=8192) is None
    assert frames.decode_frame(frame, 0, mark=bytes(16), offset=4096) is None


def test_a_frame_never_claims_that_itself_was_synced():
    assert frames.decode_frame(encode([b"x"], synced=4096)[0], 0, mark=MARK, offset=4096)
    assert frames.decode_frame(encode([b"x"], synced=4104)[0], 0, mark=MARK, offset=4096) is None


def test_a_number_of_entries_that_does_not_fit_the_payload_is_refused():
    frame, _ = encode([b"ab", b"cd"])
    payload = frame[frames.FRAME_HEADER_BYTES :]
    fields = frames._FRAME_FIELDS.pack(MARK, 4096, 7, 4000, 12, 3)
    chain = frames._chain(bytes(32), fields, payload[:12])
    crc = frames._CRC.pack(frames.zlib.crc32(fields + chain + payload[:12]), 0)
    assert frames.decode_frame(fields + chain + crc + payload, 0, mark=MARK, offset=4096) is None
    right = frames._FRAME_FIELDS.pack(MARK, 4096, 7, 4000, 12, 2)
    chain = frames._chain(bytes(32), right, payload[:12])
    crc = frames._CRC.pack(frames.zlib.crc32(right + chain + payload[:12]), 0)
    assert frames.decode_frame(right + chain + crc + payload, 0, mark=MARK, offset=4096)


def test_a_payload_beyond_the_bound_is_not_even_read():
    fields = frames._FRAME_FIELDS.pack(MARK, 4096, 7, 4000, frames.FRAME_PAYLOAD_MAX + 1, 1)
    assert frames.frame_bytes(fields + bytes(40), mark=MARK, offset=4096) is None


@given(batches=st.lists(ENTRIES, min_size=1, max_size=5), gaps=st.lists(st.binary(max_size=40), min_size=5, max_size=5))
def test_frames_are_found_whatever_lies_between(batches, gaps):
    data, at, chain = b"", 0, frames.CHAIN_START
    for entries, gap in zip(batches, gaps, strict=False):
        gap += MARK[: len(gap) % 17]  # a mark alone is no frame
        frame, chain = encode(entries, offset=1000 + len(data) + len(gap), synced=0, chain=chain)
        data += gap + frame
        at += 1
    found = list(frames.find_frames(data, mark=MARK, offset=1000))
    assert [frame.entries for frame in found] == [tuple(entries) for entries in batches[:at]]


@given(sizes=st.lists(st.integers(0, 400), min_size=1, max_size=20), room=st.integers(0, 3000))
def test_fitting_takes_as_many_as_fit(sizes, room):
    entries = [bytes(size) for size in sizes]
    count = frames.fitting(entries, 0, room)
    if count:
        assert len(encode(entries[:count])[0]) <= room
    if count < len(entries):
        assert len(encode(entries[: count + 1])[0]) > room


def test_fitting_bounds_a_frame():
    entries = [bytes(60_000)] * 40
    count = frames.fitting(entries, 0, 1 << 30)
    assert 60_004 * count <= frames.FRAME_PAYLOAD_MAX < 60_004 * (count + 1)


@pytest.mark.parametrize("size", [0, 1, 4, 5, 100, ENTRY_BYTES_MAX])
def test_the_cost_of_an_entry_is_that_of_a_frame_of_its_own(size):
    assert (
        len(encode([bytes(size)])[0])
        == frames.entry_cost(size)
        <= min(frames.ENTRY_COST_MAX, size + frames.ENTRY_OVERHEAD_MAX)
    )


def test_a_segment_header_reads_back_and_any_flipped_bit_is_seen():
    header = frames.SegmentHeader(1 << 24, 12, os.urandom(16))
    data = frames.encode_segment_header(header)
    assert len(data) == frames.SEGMENT_HEADER_BYTES
    assert frames.decode_segment_header(data + b"more") == header
    assert frames.decode_segment_header(data[:-1]) is None
    for bit in range(len(data) * 8):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        assert frames.decode_segment_header(bytes(broken)) is None, bit


SEGMENT_BYTES = 256 * 1024
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["append", "reserve", "spend", "release", "write", "grow"]), st.integers(1, ENTRY_BYTES_MAX)
    ),
    max_size=60,
)


@settings(max_examples=300)
@given(steps=STEPS)
def test_what_was_claimed_always_fits(steps):
    """Any sequence of claims, then, with no more segments, everything claimed is placed, sequel by sequel."""
    room = Room(SEGMENT_BYTES)
    room.ahead = 1
    room.roll()
    queue, reservations = [], []

    def write():
        entries, start = list(queue), 0
        queue.clear()
        room.queued = 0
        while start < len(entries):
            count = frames.fitting(entries, start, room.remainder)
            if count == 0:
                assert room.ahead > 0, "a claim that was granted found no room"
                room.roll()
                continue
            room.remainder -= len(encode(entries[start : start + count])[0])
            start += count
        assert room.free >= 0

    def spend(reservation, size):
        cost = frames.entry_cost(size)
        if cost - reservation.left <= room.free:
            reservation.spend(cost)
            queue.append(bytes(size))

    for step, size in steps:
        if step == "append" and frames.entry_cost(size) <= room.free:
            room.queued += frames.entry_cost(size)
            queue.append(bytes(size))
        elif step == "reserve" and reservation_cost(size) <= room.free:
            reservations.append((RoomReservation(room, size), size))
        elif step == "spend" and reservations:
            spend(reservations[size % len(reservations)][0], size // 3)
        elif step == "release" and reservations:
            reservations.pop(size % len(reservations))[0].release()
        elif step == "write":
            write()
        elif step == "grow" and room.ahead < 2:
            room.ahead += 1
        assert room.free >= 0
    for reservation, size in reservations:
        if reservation.left == reservation_cost(size):  # untouched: an entry and its sequel fit whatever happened
            for part in (size // 2, size - size // 2):
                before = len(queue)
                spend(reservation, part)
                assert len(queue) == before + 1
                write()
        reservation.release()
    write()
    assert room.reserved == 0
