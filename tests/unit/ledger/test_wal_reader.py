import asyncio
import json
import os
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from write_ahead_fixtures import MIB, SEGMENT_BYTES, body_of, crash_copy, draft, open_writer, read_all, until

from sekisho.kernel.files import FileLock
from sekisho.ledger import frames
from sekisho.ledger.errors import WriteAheadDamaged
from sekisho.ledger.segments import segment_name
from sekisho.ledger.wal_reader import START, WriteAheadReader, writers

PAGE = 4096
FIXTURE_SAFE = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


class Log:
    """A dead writer's log, made by `frames` alone so that its marks are known: which frames stand where."""

    def __init__(self, directory, sizes, synced_every, segment_bytes=SEGMENT_BYTES, seed=0):
        self.directory = directory
        directory.mkdir(parents=True)
        (directory / "lock").touch()
        self.segment_bytes, self.mark = segment_bytes, random.Random(seed).randbytes(16)
        self.segments = [self._new(0)]
        self.frames, self.entries = [], []  # frames: (offset, end, synced, number of entries up to its end)
        local, synced, chain = frames.SEGMENT_HEADER_BYTES, 0, frames.CHAIN_START
        for index, batch in enumerate(sizes):
            entries = [b"%d:" % (len(self.entries) + n) + bytes([97 + n % 26]) * size for n, size in enumerate(batch)]
            if frames.fitting(entries, 0, segment_bytes - local) != len(entries):
                self.segments.append(self._new(len(self.segments)))
                local = frames.SEGMENT_HEADER_BYTES
            offset = (len(self.segments) - 1) * segment_bytes + local
            data, chain = frames.encode_frame(
                entries, mark=self.mark, offset=offset, seq=len(self.entries), synced=synced, chain=chain
            )
            self.segments[-1][local : local + len(data)] = data
            local += len(data)
            self.entries += entries
            self.frames.append((offset, offset + len(data), synced, len(self.entries)))
            if (index + 1) % synced_every == 0:
                synced = offset + len(data)
        self.segments.append(self._new(len(self.segments)))  # the one ahead
        self.save()

    def _new(self, number):
        segment = bytearray(self.segment_bytes)
        header = frames.SegmentHeader(self.segment_bytes, number, self.mark)
        segment[: frames.SEGMENT_HEADER_BYTES] = frames.encode_segment_header(header)
        return segment

    def save(self):
        for number, segment in enumerate(self.segments):
            (self.directory / segment_name(number)).write_bytes(segment)

    def flat(self, offset):
        """(segment, offset in it)."""
        return self.segments[offset // self.segment_bytes], offset % self.segment_bytes

    def expected(self, broken):
        """What the rule says when the frames with these indexes can't be read: (entries, "torn" | "damaged")."""
        first = min(broken)
        readable = self.frames[first - 1][3] if first else 0
        offset = self.frames[first - 1][1] if first else 0
        marks = [frame[2] for index, frame in enumerate(self.frames) if index not in broken]
        return self.entries[:readable], "damaged" if max(marks, default=0) > offset else "torn"

    def check(self, broken, bytes_max=MIB):
        entries, verdict = self.expected(broken)
        reader = WriteAheadReader(self.directory)
        if verdict == "torn":
            found, position = read_all(reader, dead=True)
            assert found == entries
            return position
        found = []
        with pytest.raises(WriteAheadDamaged) as raised:
            read_into(found, reader, bytes_max, dead=True)
        assert found == entries
        assert "sekisho ledger repair" in str(raised.value)
        assert not list(self.directory.glob("torn-*"))
        return None


def read_into(found, reader, bytes_max, *, dead=False):
    position = START
    while (batch := (reader.read_dead if dead else reader.read)(position, bytes_max=bytes_max)).entries:
        found += batch.entries
        position = batch.position


SIZES = st.lists(st.lists(st.integers(0, 9000), min_size=1, max_size=6), min_size=1, max_size=25)


def fresh(tmp_path):
    return Path(tmp_path / os.urandom(6).hex() / "wal" / "w-x")


@settings(max_examples=40, deadline=None, suppress_health_check=FIXTURE_SAFE)
@given(sizes=SIZES, bytes_max=st.integers(1, 2 * MIB), every=st.integers(1, 5))
def test_what_was_written_reads_back_whatever_the_portion(tmp_path, sizes, bytes_max, every):
    log = Log(fresh(tmp_path), sizes, every)
    reader = WriteAheadReader(log.directory)
    live, position = read_all(reader, bytes_max=bytes_max)
    dead, end = read_all(reader, bytes_max=bytes_max, dead=True)
    assert live == dead == log.entries
    assert position == end
    assert position.offset == log.frames[-1][1]
    assert position.seq == len(log.entries)
    assert not list(log.directory.glob("torn-*"))


@settings(max_examples=20, deadline=None, suppress_health_check=FIXTURE_SAFE)
@given(sizes=SIZES, bytes_max=st.integers(1, 50_000))
def test_a_portion_is_about_what_was_asked_for(tmp_path, sizes, bytes_max):
    log = Log(fresh(tmp_path), sizes, 1)
    batch = WriteAheadReader(log.directory).read(START, bytes_max=bytes_max)
    largest = max(end - offset for offset, end, _, _ in log.frames)
    assert batch.entries
    assert sum(map(len, batch.entries)) <= bytes_max + largest


@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURE_SAFE)
@given(sizes=SIZES, every=st.integers(1, 6), data=st.data())
def test_a_flipped_bit_is_torn_or_damaged_never_an_entry(tmp_path, sizes, every, data):
    log = Log(fresh(tmp_path), sizes, every)
    index = data.draw(st.integers(0, len(log.frames) - 1))
    offset = log.frames[index][0]
    first = log.frames[index - 1][3] if index else 0
    covered = frames.FRAME_HEADER_BYTES + sum(4 + len(entry) for entry in log.entries[first : log.frames[index][3]])
    place = data.draw(st.integers(0, covered - 1))
    segment, local = log.flat(offset + place)
    segment[local] ^= 1 << data.draw(st.integers(0, 7))
    log.save()
    log.check({index}, data.draw(st.sampled_from([1, 10_000, 4 * MIB])))


@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURE_SAFE)
@given(sizes=SIZES, every=st.integers(1, 6), data=st.data())
def test_zeroed_pages_anywhere(tmp_path, sizes, every, data):
    log = Log(fresh(tmp_path), sizes, every)
    before = [bytes(segment) for segment in log.segments]
    for _ in range(data.draw(st.integers(1, 4))):
        segment = data.draw(st.sampled_from(log.segments))
        page = data.draw(st.integers(0, len(segment) // PAGE - 1)) * PAGE
        start = max(page, frames.SEGMENT_HEADER_BYTES)
        segment[start : page + PAGE] = bytes(page + PAGE - start)
    log.save()
    broken = {
        index
        for index, (offset, end, _, _) in enumerate(log.frames)
        if log.flat(offset)[0][offset % log.segment_bytes :][: end - offset]
        != before[offset // log.segment_bytes][offset % log.segment_bytes :][: end - offset]
    }
    if broken:
        log.check(broken)
    else:
        assert read_all(WriteAheadReader(log.directory), dead=True)[0] == log.entries


@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURE_SAFE)
@given(sizes=SIZES, synced_frames=st.integers(0, 25), seed=st.integers(0, 10**6))
def test_unsynced_pages_persist_in_any_order(tmp_path, sizes, synced_frames, seed):
    """A power cut: every page of synced frames is there, of the others any subset. Never damaged, nothing lost."""
    log = Log(fresh(tmp_path), sizes, 10**9)  # no frame claims more than nothing
    synced_frames = min(synced_frames, len(log.frames))
    durable_end = log.frames[synced_frames - 1][1] if synced_frames else 0
    chance = random.Random(seed)
    for number, segment in enumerate(log.segments):
        for page in range(0, len(segment), PAGE):
            start = max(number * log.segment_bytes + page, durable_end) - number * log.segment_bytes
            start = max(start, frames.SEGMENT_HEADER_BYTES)
            if start < page + PAGE and chance.random() < 0.4:
                segment[start : page + PAGE] = bytes(page + PAGE - start)
    log.save()
    found, position = read_all(WriteAheadReader(log.directory), dead=True)
    assert len(found) >= (log.frames[synced_frames - 1][3] if synced_frames else 0)
    assert found == log.entries[: len(found)]
    _check_kept_aside(log, position)


def _check_kept_aside(log, position):
    """What stands from `position` on is in the torn files, byte for byte."""
    kept = {int(path.name.removeprefix("torn-")): path.read_bytes() for path in log.directory.glob("torn-*")}
    for number, segment in enumerate(log.segments):
        start = max(position.offset - number * log.segment_bytes, frames.SEGMENT_HEADER_BYTES)
        rest = bytes(segment[start:]) if start < log.segment_bytes else b""
        assert kept.pop(number * log.segment_bytes + start, b"") == rest.rstrip(b"\0")
    assert not kept


@pytest.mark.parametrize("length", [0, 1, frames.SEGMENT_HEADER_BYTES - 1, 5000, SEGMENT_BYTES - 1])
def test_a_file_cut_short_is_damaged(tmp_path, length):
    """Its size was synced before its first frame was written (invariant 1)."""
    log = Log(fresh(tmp_path), [[1000]] * 20, 5)
    os.truncate(log.directory / segment_name(0), length)
    with pytest.raises(WriteAheadDamaged) as raised:
        read_all(WriteAheadReader(log.directory), dead=True)
    assert raised.value.path.name == segment_name(0)


def test_the_place_of_damage_is_told(tmp_path):
    log = Log(fresh(tmp_path), [[60_000]] * 8, 1)
    offset = log.frames[5][0]
    segment, local = log.flat(offset)
    segment[local + 100] ^= 1
    log.save()
    with pytest.raises(WriteAheadDamaged) as raised:
        read_all(WriteAheadReader(log.directory), dead=True)
    assert raised.value.path == log.directory / segment_name(offset // log.segment_bytes)
    assert raised.value.offset == log.frames[4][1] % log.segment_bytes


def test_a_missing_segment_is_damage(tmp_path):
    log = Log(fresh(tmp_path), [[60_000]] * 12, 1)
    for number in (0, 1):
        log.save()
        (log.directory / segment_name(number)).unlink()
        with pytest.raises(WriteAheadDamaged):
            read_all(WriteAheadReader(log.directory), dead=True)


def test_a_segment_of_another_log_is_damage(tmp_path):
    log = Log(fresh(tmp_path), [[60_000]] * 8, 1)
    other = Log(fresh(tmp_path), [[60_000]] * 8, 1, seed=1)
    (log.directory / segment_name(1)).write_bytes(bytes(other.segments[1]))
    with pytest.raises(WriteAheadDamaged):
        read_all(WriteAheadReader(log.directory))


def test_a_whole_frame_that_does_not_continue_the_chain_is_damage(tmp_path):
    """Somebody replaced an entry, and made mark, place, sequence and checksum fit."""
    log = Log(fresh(tmp_path), [[10], [10], [10]], 1)
    offset, end, synced, _ = log.frames[1]
    forged, _ = frames.encode_frame(
        [b"1:" + b"z" * 10], mark=log.mark, offset=offset, seq=1, synced=synced, chain=bytes(32)
    )
    segment, local = log.flat(offset)
    assert len(forged) == end - offset
    segment[local : local + len(forged)] = forged
    log.save()
    reader = WriteAheadReader(log.directory)
    batch = reader.read(START, bytes_max=MIB)
    assert batch.entries == (log.entries[0],)
    with pytest.raises(WriteAheadDamaged):
        reader.read(batch.position, bytes_max=MIB)


def test_content_cannot_pass_for_a_frame(tmp_path):
    """A torn frame whose payload holds a whole frame of the same log, from another place."""
    log = Log(fresh(tmp_path), [[10], [10]], 1)
    inner, _ = frames.encode_frame([b"false"], mark=log.mark, offset=8, seq=1, synced=8, chain=bytes(32))
    segment, local = log.flat(log.frames[1][0])
    segment[local : local + 400] = bytes(400)
    segment[local + 104 : local + 104 + len(inner)] = inner
    log.save()
    found, _ = read_all(WriteAheadReader(log.directory), dead=True)
    assert found == log.entries[:1]


def test_a_live_log_with_a_frame_half_written_gives_what_is_before_it(tmp_path):
    log = Log(fresh(tmp_path), [[10]] * 5 + [[5000]], 1)
    offset, _, _, _ = log.frames[5]
    segment, local = log.flat(offset)
    whole = bytes(segment)
    segment[local + 3000 :] = bytes(len(segment) - local - 3000)
    log.save()
    reader = WriteAheadReader(log.directory)
    found, position = read_all(reader)
    assert found == log.entries[:5]
    segment[:] = whole
    log.save()
    assert read_all(reader, position)[0] == log.entries[5:]


def test_a_live_log_shows_damage_once_a_later_segment_proves_it(tmp_path):
    log = Log(fresh(tmp_path), [[60_000]] * 8, 1)
    index = max(n for n, frame in enumerate(log.frames) if frame[0] < SEGMENT_BYTES)
    segment, local = log.flat(log.frames[index][0])
    segment[local] ^= 1
    log.save()
    reader = WriteAheadReader(log.directory)
    found = []
    with pytest.raises(WriteAheadDamaged):
        read_into(found, reader, 4 * MIB)
    assert found == log.entries[:index]


def test_release_deletes_only_what_is_wholly_below(tmp_path):
    log = Log(fresh(tmp_path), [[60_000]] * 12, 1)
    reader = WriteAheadReader(log.directory)
    assert reader.release(START) == 0
    position = START
    found = []
    while (batch := reader.read(position, bytes_max=1)).entries:
        found += batch.entries
        position = batch.position
        reader.release(position)
        left = sorted(path.name for path in log.directory.glob("*.seg"))
        assert left[0] == segment_name(position.offset // SEGMENT_BYTES)
    assert found == log.entries
    assert reader.read_dead(position, bytes_max=1).entries == ()


def test_remove_keeps_what_was_torn(tmp_path):
    log = Log(fresh(tmp_path), [[10], [5000]], 1)
    segment, local = log.flat(log.frames[1][0])
    segment[local + 2000] ^= 1
    log.save()
    (log.directory / ".00000002.seg.new").touch()
    reader = WriteAheadReader(log.directory)
    read_all(reader, dead=True)
    reader.remove()
    root = log.directory.parent.parent
    assert list((root / "wal").iterdir()) == []
    (kept,) = (root / "torn").iterdir()
    assert kept.name == f"w-x-torn-{log.frames[1][0]}"
    assert kept.read_bytes() == bytes(segment[local:]).rstrip(b"\0")


def test_remove_goes_on_after_a_crash_half_way(tmp_path):
    log = Log(fresh(tmp_path), [[10]], 1)
    for path in log.directory.iterdir():
        path.unlink()
    WriteAheadReader(log.directory).remove()
    assert not log.directory.exists()


def test_no_log_yet(tmp_path):
    assert writers(tmp_path) == []
    log = Log(fresh(tmp_path), [[10]], 1)
    for path in log.directory.glob("*.seg"):
        path.unlink()
    reader = WriteAheadReader(log.directory)  # a writer that never got a segment
    assert reader.read(START, bytes_max=1) == reader.read_dead(START, bytes_max=1) == ((), START)
    assert reader.release(START) == 0


def test_a_lock_that_is_held_is_not_given(tmp_path):
    log = Log(fresh(tmp_path), [[10]], 1)
    reader = WriteAheadReader(log.directory)
    with FileLock(log.directory / "lock"):
        assert reader.try_lock() is None
    lock = reader.try_lock()
    assert lock is not None
    lock.release()


async def test_a_reader_follows_a_living_writer(tmp_path):
    """Many appends of both kinds over several segments, read while they are written; then a crash, and the rest."""
    writer = open_writer(tmp_path)
    reader, chance = WriteAheadReader(writer.directory), random.Random(1)
    found, position, durable = [], START, []
    for _ in range(150):
        await until(lambda: not writer.full)
        for _ in range(chance.randrange(1, 6)):
            body = body_of(chance.randrange(8, 4000))
            if chance.random() < 0.3:
                writer.append_written(draft(body))
            else:
                durable.append(writer.append(draft(body)))
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        batch = reader.read(position, bytes_max=chance.choice([1, 3000, MIB]))
        found += batch.entries
        position = batch.position
        assert position.offset <= writer.written_offset
    await asyncio.gather(*durable)
    crashed = crash_copy(tmp_path, tmp_path / "copy")
    found += read_all(crashed, position, dead=True)[0]
    await writer.close()
    assert [json.loads(entry)["seq"] for entry in found] == list(range(writer.entries))
    assert writer.written_offset > 2 * SEGMENT_BYTES
    marks = [
        frame.synced
        for number in range(3)
        for frame in frames.find_frames(
            (writer.directory / segment_name(number)).read_bytes(),
            mark=reader._shape.mark,
            offset=number * SEGMENT_BYTES,
        )
    ]
    assert all(a <= b for a, b in pairwise(marks))
    assert marks[-1] > 0
