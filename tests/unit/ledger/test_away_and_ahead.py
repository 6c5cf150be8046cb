"""The publisher was away for an hour under load; it was ahead of a writer's sync when power went; clocks jumped."""

import itertools
import shutil

import pytest
from ledger_fakes import World
from repair_fixtures import DECISION, Site
from test_ledger_publisher import remember, require_exactly_once, restart
from write_ahead_fixtures import SEGMENT_BYTES, TestDisk, draft, open_writer, until

from sekisho.kernel import canonical
from sekisho.ledger import frames
from sekisho.ledger.interfaces import EntryDraft
from sekisho.ledger.publisher import MERGE_BYTES_MAX
from sekisho.ledger.segments import segment_numbers
from sekisho.ledger.status import read_status
from sekisho.ledger.writer import free_bytes

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
BODY_BYTES = 40_000
PAGE = 4096


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "ledger")


def status(site, reserve_bytes=0):
    return read_status(site.root, [site.log_key.verifier], reserve_bytes=reserve_bytes, now_us=site.clock.now_us())


async def test_an_hour_without_a_publisher_is_told_and_caught_up_with(site):
    """Many segments, more than one merge's share: the budget warns while it fills; nothing is lost, in order."""
    site.publish()
    writer = open_writer(site.root)
    count = MERGE_BYTES_MAX * 5 // 4 // BODY_BYTES
    began_us = site.clock.now_us()
    body = canonical.encode({"x": "y" * BODY_BYTES})
    for number in range(count):
        await until(lambda: not writer.full)
        at_us = began_us + number * HOUR_US // count
        await writer.append(EntryDraft("change", site.ids.new(at_us), at_us, "tester", body))
    site.clock.time_us = began_us + HOUR_US
    unmerged = writer.unmerged_bytes
    assert unmerged > 60 * SEGMENT_BYTES
    found = status(site, reserve_bytes=free_bytes(site.root) - 3 * unmerged)
    assert found.lag_entries == count
    assert [words.split(":")[0] for words in found.warnings] == [
        f"{found.disk.used_percent} % of the disk budget is used",
        f"entries wait for {HOUR_US // 1_000_000} s to be merged",
    ]
    publisher = site.make_publisher()
    publisher.start()
    merges = []
    while not merges or publisher.backlog:
        merges.append(publisher.merge_once())
    assert len(merges) > 1, "it was one merge's work: the test shows nothing"
    assert sum(merges) == count
    assert len(segment_numbers(writer.directory)) <= 2, "merged segments were not given back"
    assert (status(site).warnings, status(site).damage) == ((), ())
    publisher.close()
    assert [entry["seq"] for entry in site.logged()] == list(range(count))
    await writer.close()


@pytest.mark.parametrize("merged", range(6))
async def test_what_was_merged_before_it_was_synced_stays_whatever_a_power_cut_leaves_of_it(site, tmp_path, merged):
    """The publisher reads what a living writer has written, synced or not. Then the power is cut: every subset of the
    pages that nobody had synced, one after another. The log goes on, no number is missing, the decision is closed."""
    disk = TestDisk()
    writer = open_writer(site.root, disk)
    await writer.append(draft(b"{}", identifier=site.ids.new(site.clock.now_us()), kind="change"))
    durable = writer.synced_offset
    disk.may_sync.clear()
    for number in range(5):
        if merged == number:
            site.publish()
        now_us = site.clock.now_us()
        body = DECISION if number == 0 else canonical.encode({"x": "y" * 2500})
        kind, request = ("decision", site.ids.new(now_us)) if number == 0 else ("change", None)
        writer.append_written(draft(body, identifier=site.ids.new(now_us), kind=kind, request=request))
    if merged == 5:
        site.publish()
    pages = range(durable // PAGE, -(-writer.written_offset // PAGE))
    assert 2 <= len(pages) <= 6
    original, name = site.root, writer.name
    site.root = tmp_path / "left"
    for lost in itertools.chain.from_iterable(itertools.combinations(pages, n) for n in range(len(pages) + 1)):
        shutil.copytree(original, site.root)
        segment = site.root / "wal" / name / "00000000.seg"
        data = bytearray(segment.read_bytes())
        for page in lost:
            start = max(page * PAGE, durable, frames.SEGMENT_HEADER_BYTES)
            data[start : (page + 1) * PAGE] = bytes((page + 1) * PAGE - start)
        segment.write_bytes(data)
        site.publish()
        entries = site.logged()
        mine = [entry["seq"] for entry in entries if entry["writer"] == name]
        assert mine == list(range(len(mine)))
        assert len(mine) >= 1 + merged
        opened = [entry["id"] for entry in entries if entry["kind"] == "decision"]
        assert [entry["body"]["decision"] for entry in entries if entry["kind"] == "outcome"] == opened
        assert not (site.root / "wal" / name).exists()
        assert status(site).damage == ()
        shutil.rmtree(site.root)
    disk.may_sync.set()
    await writer.close()


@pytest.mark.parametrize("jumps", [(DAY_US, -DAY_US), (-DAY_US, DAY_US), (-DAY_US, -DAY_US), (DAY_US, DAY_US)])
def test_a_clock_that_jumps_changes_no_order_and_loses_nothing(tmp_path, jumps):
    world = World(tmp_path / "ledger")
    everything = []
    keep = world.writer
    world.writer = lambda name=None: remember(keep(name), everything)
    publisher = world.publisher()
    for jump in jumps:
        for _ in range(2):
            world.request(world.writer("w1"), failures=1)
            doomed = world.writer()
            world.request(doomed, outcome=False)
            world.clock.time_us += jump // 2
            publisher.merge_once()
            doomed.alive = False
        publisher = restart(world)
        publisher.merge_once()
    publisher.merge_once()
    require_exactly_once(world, everything)
