"""The publisher's speed on one core: entries merged and published, proofs and receipts made and verified, per second;
memory while the log grows; how long after its request a receipt is there.

Run: `make bench ARGS="publisher [entries]"`. Takes about fifteen seconds.
"""

import asyncio
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import IdSource
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.checkpoint import make_enrolment
from sekisho.ledger.interfaces import EntryDraft
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.merkle import inclusion_proof, leaf_hash, verify_inclusion
from sekisho.ledger.publisher import Identity, Publisher
from sekisho.ledger.reader import COMPLETE, LogReader
from sekisho.ledger.receipts import build_receipt
from sekisho.ledger.verify import verify_receipt
from sekisho.ledger.wal_reader import START, writers
from sekisho.ledger.writer import WriteAheadWriter

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit" / "ledger"))
from ledger_fakes import ORGANISATION_KEY, ORIGIN, Decisions, World

ROUNDS = 400
PORTIONS = 12  # of the log, each by a writer of its own, so that what grows is the log and not the bench
RECEIPTS = 20


def merge(world, entries):
    """Entries in portions; prints the rate and the memory; returns some of the requests."""
    publisher = world.publisher()
    picked, sizes, spent_s, cpu_s, memory = [], [], 0.0, 0.0, []
    for _ in range(PORTIONS):
        writer = world.writer()
        requests = [world.request(writer) for _ in range(entries // PORTIONS // 2)]
        picked += requests[:: max(1, len(requests) * PORTIONS // ROUNDS)]
        sizes.append(sum(map(len, writer.entries)) / len(writer.entries))
        start, cpu = time.perf_counter(), time.process_time()
        while publisher.merge_once() or publisher.backlog:
            pass
        spent_s, cpu_s = spent_s + time.perf_counter() - start, cpu_s + time.process_time() - cpu
        writer.alive = False
        publisher.merge_once()
        memory.append((publisher.size, resident_mb()))
    publisher.close()
    size = publisher.size
    print(f"merge and publish: {size / spent_s:,.0f} entries/s of {sum(sizes) / PORTIONS:,.0f} bytes", end=" ")
    print(f"({size / cpu_s:,.0f} per CPU second)")
    shown = [memory[number] for number in (PORTIONS // 4, PORTIONS // 2, PORTIONS - 1)]
    print("memory:", ", ".join(f"{mb:,.0f} MB at {entries:,} entries" for entries, mb in shown))
    return picked


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def prove(world, picked):
    """Receipts and single proofs, made and verified."""
    reader = LogReader(world.root)
    start = time.perf_counter()
    states = [reader.state(request, world.clock.now_us()) for request in picked]
    print(f"prove: {2 * len(picked) / (time.perf_counter() - start):,.0f} entries/s, 2 per receipt, from the disk")
    note = make_enrolment(world.site_key, ORIGIN, world.log_key.verifier)
    site = world.site_key.verifier
    files = [
        build_receipt(request, site, note, state.entries, ORGANISATION_KEY)
        for request, state in zip(picked, states, strict=True)
    ]
    start = time.perf_counter()
    for data in files:
        verify_receipt(data, trusted=[site])
    print(f"verify: {len(files) / (time.perf_counter() - start):,.0f} receipts/s")
    report = audit_integrity(world.root, world.log_key.verifier)
    log, root = LogFiles(world.root), report.checkpoint.root
    nodes = log.nodes(report.size)
    leaves = range(0, report.size, max(1, report.size // ROUNDS))
    start = time.perf_counter()
    proofs = [inclusion_proof(leaf, report.size, nodes) for leaf in leaves]
    print(f"inclusion proofs: {len(proofs) / (time.perf_counter() - start):,.0f}/s made", end=", ")
    hashes = [leaf_hash(log.entry(leaf, report.size)) for leaf in leaves]
    start = time.perf_counter()
    for leaf, found, proof in zip(leaves, hashes, proofs, strict=True):
        verify_inclusion(leaf, report.size, found, proof, root)
    print(f"{len(proofs) / (time.perf_counter() - start):,.0f}/s verified")
    reader.close()


def audit_and_recover(world):
    start = time.perf_counter()
    report = audit_integrity(world.root, world.log_key.verifier)
    print(f"audit (integrity): {report.size / (time.perf_counter() - start):,.0f} entries/s")
    start = time.perf_counter()
    publisher = world.publisher()
    print(f"recovery: {time.perf_counter() - start:.2f} s")
    publisher.close()


async def receipts_after(root):
    """Seconds from a request's decision to its receipt, beside a publisher that runs as control does."""
    world, clock, ids = World(root), SystemClock(), IdSource()
    publisher = Publisher(
        root, Identity(world.log_key, "tokyo"), Decisions(), clock, ids, sources=writers, beginning=START
    )
    publisher.start()
    stop = threading.Event()
    thread = threading.Thread(target=publisher.run, args=(stop,), daemon=True)
    thread.start()
    writer = WriteAheadWriter.open(root, site="tokyo", clock=clock, ids=ids)
    reader, found = LogReader(root), []
    for number in range(RECEIPTS):
        while writer.full:
            await asyncio.sleep(0.002)
        started, request, decision = time.perf_counter(), ids.new(clock.now_us()), ids.new(clock.now_us())
        draft = EntryDraft("decision", decision, clock.now_us(), "key:1", b'{"chosen":{"deployment":"a"}}', request)
        await writer.append(draft)
        body = b'{"decision":"%b"}' % decision.encode()
        writer.append_written(EntryDraft("outcome", ids.new(clock.now_us()), clock.now_us(), "key:1", body, request))
        while reader.state(request, clock.now_us()).state != COMPLETE:
            await asyncio.sleep(0.01)
        found.append(time.perf_counter() - started)
        await asyncio.sleep(number / RECEIPTS * 0.3)  # else each would come just after a merge
    stop.set()
    thread.join()
    await writer.close()
    publisher.close()
    reader.close()
    found.sort()
    print(f"receipt there after: {found[len(found) // 2]:.2f} s (median), {found[-1]:.2f} s (the longest)")


def main():
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    with tempfile.TemporaryDirectory(dir=".") as directory:
        world = World(Path(directory) / "ledger")
        picked = merge(world, entries)
        prove(world, picked)
        audit_and_recover(world)
        asyncio.run(receipts_after(Path(directory) / "live"))


if __name__ == "__main__":
    main()
