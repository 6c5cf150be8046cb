import asyncio
import contextlib
import json
import os
import subprocess
import sys
import textwrap

import pytest
from write_ahead_fixtures import (
    EIO,
    ENOSPC,
    SEGMENT_BYTES,
    SETTINGS,
    TestDisk,
    body_of,
    draft,
    only_directory,
    open_writer,
    read_all,
    until,
)

from sekisho.kernel import canonical
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import UsageError
from sekisho.kernel.ids import IdSource
from sekisho.ledger import writer as writer_module
from sekisho.ledger.errors import EntryTooLarge, LedgerError, LedgerFull
from sekisho.ledger.interfaces import ENTRY_BYTES_MAX
from sekisho.ledger.wal_reader import WriteAheadReader, writers
from sekisho.ledger.writer import WRITE_AHEAD_FAILED, WriteAheadSettings, WriteAheadWriter


def entries_of(writer):
    return read_all(WriteAheadReader(writer.directory))[0]


async def test_an_entry_is_the_canonical_envelope(tmp_path):
    writer = open_writer(tmp_path)
    await writer.append(draft(b'{"chosen":"a"}', request="0190-r"))
    await writer.append(draft(b"{}", kind="change"))
    first, second = (canonical.decode(entry) for entry in entries_of(writer))
    assert first == {
        "actor": "key:1",
        "at": 1_700_000_000_000_000,
        "body": {"chosen": "a"},
        "id": "0190",
        "kind": "decision",
        "request": "0190-r",
        "seq": 0,
        "site": "tokyo",
        "v": 1,
        "writer": writer.name,
    }
    assert "request" not in second
    assert second["seq"] == 1
    await writer.close()


async def test_order_is_the_order_of_calls_across_both_ways_of_appending(tmp_path):
    writer = open_writer(tmp_path)
    durable = []
    for number in range(100):
        if number % 3:
            durable.append(writer.append(draft(b'{"n":%d}' % number)))
        else:
            writer.append_written(draft(b'{"n":%d}' % number))
    await asyncio.gather(*durable)
    await writer.close()
    entries = [json.loads(entry) for entry in entries_of(writer)]
    assert [(entry["seq"], entry["body"]["n"]) for entry in entries] == [(n, n) for n in range(100)]


async def test_a_future_completes_only_after_the_sync_of_its_batch(tmp_path):
    disk = TestDisk()
    disk.may_sync.clear()
    writer = open_writer(tmp_path, disk)
    durable = writer.append(draft())
    await until(lambda: entries_of(writer))
    await asyncio.sleep(0.05)
    assert not durable.done()
    assert writer.synced_offset == 0
    disk.may_sync.set()
    await durable
    assert disk.syncs == 1
    assert writer.synced_offset == writer.written_offset
    await writer.close()


async def test_what_is_appended_during_a_sync_waits_for_the_next_one(tmp_path):
    disk = TestDisk()
    disk.may_sync.clear()
    writer = open_writer(tmp_path, disk)
    first = writer.append(draft())
    await asyncio.sleep(0.02)  # its sync has begun
    second = writer.append(draft())
    third = writer.append(draft())
    second.cancel()
    disk.may_sync.set()
    await asyncio.gather(first, third)
    assert disk.syncs == 2
    assert len(entries_of(writer)) == 3, "cancelling takes nothing back"
    await writer.close()


async def test_written_entries_are_readable_at_once_and_synced_later(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "SYNC_DELAY_SECONDS_MAX", 0.05)
    disk = TestDisk()
    writer = open_writer(tmp_path, disk)
    writer.append_written(draft())
    assert len(entries_of(writer)) == 1
    assert disk.syncs == 0
    await until(lambda: disk.syncs == 1)
    await until(lambda: writer.synced_offset == writer.written_offset)
    await writer.close()


async def test_what_one_turn_appends_batched_is_one_frame_that_is_written_before_anyone_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "SYNC_DELAY_SECONDS_MAX", 0.05)
    disk = TestDisk()
    writer = open_writer(tmp_path, disk)
    written = [writer.append_batched(draft(b'{"n":%d}' % number)) for number in range(3)]
    assert not entries_of(writer)
    written[0].add_done_callback(lambda _: seen.append(len(entries_of(writer))))
    written[1].cancel()
    seen = []
    await asyncio.gather(written[0], written[2])
    assert seen == [3], "cancelling takes nothing back"
    one_by_one = open_writer(tmp_path / "other")
    for number in range(3):
        one_by_one.append_written(draft(b'{"n":%d}' % number))
    assert writer.written_offset < one_by_one.written_offset, "one frame, not three"
    assert disk.syncs == 0
    await until(lambda: writer.synced_offset == writer.written_offset)
    await writer.close()
    await one_by_one.close()


async def test_who_waits_for_a_batched_write_hears_that_it_failed(tmp_path, monkeypatch):
    writer = open_writer(tmp_path, TestDisk())

    def fail(*_):
        raise OSError(EIO, "broken")

    await until(lambda: (writer.directory / "00000001.seg").exists())  # nothing else writes meanwhile
    written = writer.append_batched(draft())
    monkeypatch.setattr(os, "pwrite", fail)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)  # the turn itself fails too
    with pytest.raises(LedgerError):
        await written


async def test_closing_writes_what_was_appended_batched_in_the_same_turn(tmp_path):
    writer = open_writer(tmp_path)
    written = writer.append_batched(draft())
    await writer.close()
    await written
    assert len(entries_of(writer)) == 1


async def test_a_written_entry_is_synced_with_the_next_batch(tmp_path):
    writer = open_writer(tmp_path)
    writer.append_written(draft())
    await writer.append(draft())
    assert writer.synced_offset == writer.written_offset
    await writer.close()


async def test_close_syncs_and_releases(tmp_path):
    disk = TestDisk()
    writer = open_writer(tmp_path, disk)
    reader = WriteAheadReader(writer.directory)
    assert reader.try_lock() is None
    writer.append_written(draft())
    pending = writer.append(draft())
    await writer.close()
    await writer.close()
    assert pending.done()
    assert writer.synced_offset == writer.written_offset
    with pytest.raises(LedgerError):
        writer.append(draft())
    reader.try_lock().release()
    assert len(read_all(reader, dead=True)[0]) == 2


async def test_close_during_a_sync_waits_for_what_came_after_it(tmp_path):
    disk = TestDisk()
    disk.may_sync.clear()
    writer = open_writer(tmp_path, disk)
    first = writer.append(draft())
    await asyncio.sleep(0.02)
    second = writer.append(draft())
    closing = asyncio.ensure_future(writer.close())
    await asyncio.sleep(0.02)
    assert not closing.done()
    disk.may_sync.set()
    await closing
    assert first.done()
    assert second.done()
    assert disk.syncs == 2


@pytest.mark.parametrize("what", ["sync_error", "write", "short"])
async def test_a_failed_sync_or_write_ends_the_process(tmp_path, monkeypatch, what, caplog):
    disk = TestDisk()
    writer = open_writer(tmp_path, disk)
    await writer.append(draft())
    await until(lambda: (writer.directory / "00000001.seg").exists())
    if what == "sync_error":
        disk.sync_error = EIO
    elif what == "write":
        monkeypatch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(EIO, "no")))
    else:
        monkeypatch.setattr(os, "pwrite", lambda _, data, __: len(data) - 1)
    durable = None
    with contextlib.suppress(LedgerError):  # a failed write is told at once, a failed sync is not known yet
        durable = writer.append(draft())
        if what != "sync_error":
            writer.append_written(draft())
    await until(lambda: disk.ended_with)
    await asyncio.sleep(0.02)
    assert disk.ended_with == [WRITE_AHEAD_FAILED]
    assert durable is None or not durable.done()
    assert any(record.levelname == "CRITICAL" for record in caplog.records)
    with pytest.raises(LedgerError):
        writer.append(draft())
    monkeypatch.undo()


async def test_a_segment_that_cannot_be_closed_ends_the_process(tmp_path, monkeypatch, caplog):
    """Raised where it happens, in a callback, the error would be seen by nobody, and every append would wait on."""
    disk = TestDisk()
    writer = open_writer(tmp_path, disk)
    await until(lambda: (writer.directory / "00000001.seg").exists())
    first, close = writer._descriptor, os.close

    def broken(descriptor):
        if descriptor == first:
            raise OSError(EIO, os.strerror(EIO))
        close(descriptor)

    monkeypatch.setattr(os, "close", broken)
    for _ in range(SEGMENT_BYTES // 60_000 + 1):
        await until(lambda: not writer.full)
        writer.append(draft(body_of(60_000)))
    await until(lambda: disk.ended_with)
    assert disk.ended_with == [WRITE_AHEAD_FAILED]
    assert any("closing a segment failed" in record.message for record in caplog.records)
    monkeypatch.undo()


async def test_the_exit_is_real(tmp_path):
    program = textwrap.dedent("""
        import asyncio, os, pathlib, sys
        from sekisho.kernel.clock import SystemClock
        from sekisho.kernel.ids import IdSource
        from sekisho.ledger.interfaces import EntryDraft
        from sekisho.ledger.writer import Disk, WriteAheadWriter

        def refuse(descriptor):
            raise OSError(5, "no")

        async def main():
            disk = Disk(sync=refuse)
            root = pathlib.Path(sys.argv[1])
            writer = WriteAheadWriter.open(root, site="s", clock=SystemClock(), ids=IdSource(), disk=disk)
            await writer.append(EntryDraft("decision", "1", 1, "a", b"{}"))
            print("durable?")

        asyncio.run(main())
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", program, str(tmp_path)], env=environment, capture_output=True)
    assert child.returncode == WRITE_AHEAD_FAILED
    assert child.stdout == b""


async def test_an_entry_that_is_too_large_changes_nothing(tmp_path):
    writer = open_writer(tmp_path)
    with pytest.raises(EntryTooLarge):
        writer.append(draft(body_of(ENTRY_BYTES_MAX)))
    with pytest.raises(EntryTooLarge):
        writer.append_written(draft(body_of(ENTRY_BYTES_MAX)))
    await writer.append(draft())
    assert [json.loads(entry)["seq"] for entry in entries_of(writer)] == [0]
    await writer.close()


async def test_the_largest_entry_passes(tmp_path):
    writer = open_writer(tmp_path)
    envelope = len(json.dumps(canonical.decode(b"{}")))
    await writer.append(draft(b"{}"))
    envelope = len(entries_of(writer)[0]) - 2
    await writer.append(draft(body_of(ENTRY_BYTES_MAX - envelope)))
    assert len(entries_of(writer)[1]) == ENTRY_BYTES_MAX
    await writer.close()


async def test_entries_go_on_over_many_segments(tmp_path):
    writer = open_writer(tmp_path)
    count = 0
    while writer.written_offset < 5 * SEGMENT_BYTES:
        await until(lambda: not writer.full)  # this disk syncs faster than it makes segments of this size
        await asyncio.gather(*(writer.append(draft(body_of(3000 + n))) for n in range(20)))
        count += 20
    await writer.close()
    assert [json.loads(entry)["seq"] for entry in entries_of(writer)] == list(range(count))


async def test_without_allocation_nothing_is_appended_and_it_recovers_by_itself(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    disk = TestDisk(allocation_error=ENOSPC)
    writer = open_writer(tmp_path, disk)
    assert writer.full
    with pytest.raises(LedgerFull):
        writer.reserve(1000)
    with pytest.raises(LedgerFull):
        writer.append(draft())
    await asyncio.sleep(0.1)
    assert os.listdir(writer.directory) == ["lock"], "a failed segment gives its space back"
    assert [record.levelname for record in caplog.records] == ["WARNING"], "said once, not each second"
    disk.allocation_error = 0
    await until(lambda: not writer.full)
    await writer.append(draft())
    await writer.close()
    assert not disk.ended_with


async def _fill(writer):
    for size in (1000, 10):
        full = None
        while full is None:
            try:
                await writer.append(draft(body_of(size)))
            except LedgerFull as error:
                full = error
    raise full


async def test_reserved_room_survives_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    disk = TestDisk()
    writer = open_writer(tmp_path, disk)
    await until(lambda: not writer.full)
    reservations = [writer.reserve(3000) for _ in range(10)]
    disk.allocation_error = ENOSPC
    with pytest.raises(LedgerFull):
        await _fill(writer)
    for reservation in reservations:
        writer.append(draft(body_of(1000)), reservation)
        writer.append_written(draft(body_of(1000)), reservation)
        reservation.release()
        reservation.release()
    disk.allocation_error = 0
    await until(lambda: not writer.full)
    await writer.close()
    assert len(entries_of(writer)) == writer.entries
    assert not disk.ended_with


async def test_admission_stops_while_the_publisher_could_not_drain(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    disk = TestDisk()
    writer = open_writer(tmp_path, disk)
    reservation = writer.reserve(2000)
    await writer.append(draft(body_of(10_000)))
    disk.free = 2 * writer.unmerged_bytes + SETTINGS.free_reserve_bytes - 1
    assert writer.full
    with pytest.raises(LedgerFull):
        writer.append(draft())
    writer.append_written(draft(), reservation)  # what was admitted finds its room
    disk.free = 1 << 40
    assert not writer.full
    await writer.append(draft())
    await writer.close()


async def test_a_process_may_start_in_that_state(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    disk = TestDisk(free=0)
    writer = open_writer(tmp_path, disk)
    assert writer.full
    assert os.listdir(writer.directory) == ["lock"]
    disk.free = 1 << 40
    await until(lambda: not writer.full)
    await writer.append(draft())
    await writer.close()


async def test_released_segments_count_as_merged(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "SAMPLE_SECONDS", 0.0)
    writer = open_writer(tmp_path)
    while writer.written_offset < 3 * SEGMENT_BYTES:
        await until(lambda: not writer.full)
        await writer.append(draft(body_of(60_000)))
    reader = WriteAheadReader(writer.directory)
    before = writer.unmerged_bytes
    assert before == writer.written_offset
    assert reader.release(read_all(reader)[1]) == 3 * SEGMENT_BYTES
    assert not writer.full
    assert writer.unmerged_bytes == before - 3 * SEGMENT_BYTES
    await writer.append(draft())
    await writer.close()


async def test_an_entry_larger_than_its_reservation_needs_room_beside(tmp_path):
    disk = TestDisk()
    writer = open_writer(tmp_path, disk)
    await until(lambda: not writer.full)
    disk.allocation_error = ENOSPC
    small = writer.reserve(10)
    await writer.append(draft(body_of(500)), small)  # there is room beside
    another = writer.reserve(10)
    with pytest.raises(LedgerFull):
        await _fill(writer)
    with pytest.raises(LedgerFull):
        writer.append(draft(body_of(500)), another)
    disk.allocation_error = 0
    await writer.close()


async def test_many_reservations_make_the_log_grow(tmp_path):
    writer = open_writer(tmp_path)
    reservations = []
    for _ in range(40):
        await until(lambda: not writer.full)
        reservations.append(writer.reserve(ENTRY_BYTES_MAX))
    for reservation in reservations:
        await writer.append(draft(body_of(60_000)), reservation)
    await writer.close()
    assert len(entries_of(writer)) == 40


async def test_a_reservation_of_something_else_is_a_mistake(tmp_path):
    writer = open_writer(tmp_path)

    class Other:
        def release(self):
            pass

    with pytest.raises(TypeError):
        writer.append(draft(), Other())
    await writer.close()


async def test_a_directory_that_cannot_be_made(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "mkdir", lambda *_: (_ for _ in ()).throw(OSError(ENOSPC, "no space")))
    with pytest.raises(LedgerFull):
        open_writer(tmp_path)
    monkeypatch.undo()
    (tmp_path / "wal").write_bytes(b"a file")
    with pytest.raises(LedgerError) as raised:
        open_writer(tmp_path)
    assert not isinstance(raised.value, LedgerFull)


async def test_a_log_that_is_being_made_is_not_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "sync_directory", lambda _: (_ for _ in ()).throw(OSError(ENOSPC, "no")))
    with pytest.raises(LedgerFull):
        open_writer(tmp_path)
    assert os.listdir(tmp_path / "wal") == []
    (tmp_path / "wal" / ".w-half").mkdir()
    assert writers(tmp_path) == []
    monkeypatch.undo()
    writer = open_writer(tmp_path)
    assert [reader.name for reader in writers(tmp_path)] == [writer.name]
    await writer.close()


async def test_descriptors_do_not_pass_to_children_and_are_closed(tmp_path):
    writer = open_writer(tmp_path)
    await until(lambda: (writer.directory / "00000001.seg").exists())
    await writer.append(draft())
    held = _descriptors_below(tmp_path)
    assert len(held) >= 2, "the lock and a segment"
    assert not any(os.get_inheritable(number) for number in held)
    await writer.close()
    assert not _descriptors_below(tmp_path)


def _descriptors_below(root):
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
            if os.readlink(f"/proc/self/fd/{number}").startswith(f"{root}/"):
                found.append(int(number))
    return found


@pytest.mark.parametrize("site", ["", 'to"kyo', "東京", "a b"])
async def test_a_site_that_json_would_escape_is_refused(tmp_path, site):
    with pytest.raises(UsageError):
        WriteAheadWriter.open(tmp_path, site=site, clock=SystemClock(), ids=IdSource())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("segment_bytes", [0, 4096, SEGMENT_BYTES + 1])
def test_segments_have_a_least_size_and_an_alignment(segment_bytes):
    with pytest.raises(UsageError):
        WriteAheadSettings(segment_bytes=segment_bytes)


def test_the_lock_goes_with_the_process(tmp_path):
    program = textwrap.dedent("""
        import asyncio, pathlib, sys
        from sekisho.kernel.clock import SystemClock
        from sekisho.kernel.ids import IdSource
        from sekisho.ledger.interfaces import EntryDraft
        from sekisho.ledger.writer import WriteAheadWriter

        async def main():
            writer = WriteAheadWriter.open(pathlib.Path(sys.argv[1]), site="s", clock=SystemClock(), ids=IdSource())
            await writer.append(EntryDraft("decision", "1", 1, "a", b"{}"))
            writer.append_written(EntryDraft("outcome", "2", 2, "a", b"{}"))
            print("ready", flush=True)
            await asyncio.sleep(60)

        asyncio.run(main())
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], env=environment, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"ready\n"
        reader = WriteAheadReader(only_directory(tmp_path))
        assert reader.try_lock() is None
        assert len(read_all(reader)[0]) == 2
        child.kill()
        child.wait()
    with reader.try_lock():
        assert len(read_all(reader, dead=True)[0]) == 2, "a kill takes nothing that was written"
        assert reader.try_lock() is None


async def test_the_disk_budget_that_is_used_rises_before_anything_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(writer_module, "SAMPLE_SECONDS", 0.0)
    disk = TestDisk(free=100 << 20)
    writer = open_writer(tmp_path, disk)
    await writer.append(draft(body_of(60_000)))
    assert 0 < writer.budget_used < 0.01
    disk.free = 4 * writer.unmerged_bytes + SETTINGS.free_reserve_bytes
    assert 0.5 < writer.budget_used < 1
    writer.reserve(100).release()
    disk.free = writer.unmerged_bytes
    assert writer.budget_used == 1.0
    await writer.close()


@pytest.mark.parametrize("which", ["the segment's", "the directory's"])
@pytest.mark.parametrize("number", [ENOSPC, EIO])
async def test_a_sync_that_fails_while_a_segment_is_made_ends_the_process(tmp_path, monkeypatch, which, number):
    """Also one that fails for want of space: waiting for space mends an allocation, not a sync."""
    disk, sync, left = TestDisk(), os.fsync, [1 if which == "the segment's" else 2]

    def fails(descriptor):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    writer = open_writer(tmp_path, disk)
    await until(lambda: writer._making is None)
    monkeypatch.setattr(os, "fsync", fails)
    for _ in range(2 * SEGMENT_BYTES // 60_000):  # until another one is needed
        with contextlib.suppress(LedgerError):
            appended = writer.append(draft(body_of(60_000)))
            await until(lambda: appended.done() or disk.ended_with)  # noqa: B023 - what has ended answers nobody
    await until(lambda: left[0] <= 0 and writer._making is None)
    assert disk.ended_with == [WRITE_AHEAD_FAILED]
