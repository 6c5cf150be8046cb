"""How fast the write-ahead log is on this disk: `python bench/write_ahead.py [DIRECTORY]`, about 20 seconds.

Durable appends per second by batch size, beside SQLite (WAL, synchronous=FULL; a transaction per batch) and a plain
pwrite + fdatasync of the same bytes on the same disk; the cost of the calls; and the latency of a durable append at
1,000 per second, on an idle loop and on a busy one.
"""

import asyncio
import contextlib
import os
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from sekisho.kernel.clock import SystemClock
from sekisho.kernel.ids import IdSource
from sekisho.ledger.errors import LedgerFull
from sekisho.ledger.interfaces import EntryDraft
from sekisho.ledger.writer import WriteAheadWriter

BODY = b'{"x":"%b"}' % (b"y" * 1016)
DRAFT = EntryDraft("decision", "0190d3c5-8e3b-7000-8000-000000000000", 1_764_000_000_000_000, "key:abc", BODY)
SECONDS_PER_LINE = 0.7
BATCHES = (1, 16, 64, 256)


async def room(writer):
    while writer.full:
        await asyncio.sleep(0.002)


async def appends_per_second(writer, batch):
    """Two callers, each with `batch` appends in flight: one batch gathers while the other is synced."""
    started = time.perf_counter()

    async def caller():
        count = 0
        while time.perf_counter() - started < SECONDS_PER_LINE:
            for durable in [writer.append(DRAFT) for _ in range(batch)]:
                await durable
            count += batch
        return count

    counts = await asyncio.gather(caller(), caller())
    return sum(counts) / (time.perf_counter() - started)


def plain_per_second(directory, batch):
    path, data = directory / "plain", bytes(batch * 1200)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(descriptor, 0, 1 << 28)
    os.fsync(descriptor)
    started, count, offset = time.perf_counter(), 0, 0
    while (elapsed := time.perf_counter() - started) < SECONDS_PER_LINE:
        os.pwrite(descriptor, data, offset % (1 << 27))
        os.fdatasync(descriptor)
        offset += len(data)
        count += batch
    os.close(descriptor)
    path.unlink()
    return count / elapsed


def sqlite_per_second(directory, batch):
    """The entries alone, in a table without an index: the least that a log in SQLite would do."""
    connection = sqlite3.connect(directory / "plain.sqlite", isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "CREATE TABLE log (entry BLOB)"):
        connection.execute(statement)
    rows = [(bytes(1200),)] * batch
    started, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < SECONDS_PER_LINE:
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO log VALUES (?)", rows)
        connection.execute("COMMIT")
        count += batch
    connection.close()
    for path in directory.glob("plain.sqlite*"):
        path.unlink()
    return count / elapsed


async def call_cost_us(writer, call, count=2000):
    await room(writer)
    started = time.perf_counter()
    for _ in range(count):
        call(DRAFT)
    cost = (time.perf_counter() - started) / count * 1e6
    await writer.append(DRAFT)
    return cost


async def latencies_ms(writer, busy, per_second=1000, seconds=1.5):
    """p50 and p99 of append until durable; `busy` has the loop compute, as handlers would, about 60 % of the time."""
    found, tasks, stop = [], set(), False

    async def one():
        started = time.perf_counter()
        await writer.append(DRAFT)
        found.append((time.perf_counter() - started) * 1e3)

    async def compute():
        while not stop:
            until = time.perf_counter() + 300e-6
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0.0001)

    computing = [asyncio.ensure_future(compute())] if busy else []
    started, sent = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - started) < seconds:
        while sent < elapsed * per_second:
            tasks.add(asyncio.ensure_future(one()))
            sent += 1
        await asyncio.sleep(0.0005)
    await asyncio.gather(*tasks)
    stop = True
    await asyncio.gather(*computing)
    found.sort()
    return found[len(found) // 2], found[len(found) * 99 // 100]


def syncs_ms(directory, count=500):
    descriptor = os.open(directory / "syncs", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(descriptor, 0, 1 << 20)
    os.fsync(descriptor)
    found = []
    for number in range(count):
        os.pwrite(descriptor, bytes(1200), number * 1200)
        started = time.perf_counter()
        os.fdatasync(descriptor)
        found.append((time.perf_counter() - started) * 1e3)
    os.close(descriptor)
    found.sort()
    return found[count // 2], found[count * 99 // 100]


@contextlib.asynccontextmanager
async def fresh_log(root):
    writer = WriteAheadWriter.open(root / os.urandom(4).hex(), site="bench", clock=SystemClock(), ids=IdSource())
    try:
        await room(writer)
        yield writer
    finally:
        await writer.close()


async def measure(root):
    print("durable appends of 1 KB per second\n  batch        log     SQLite      plain   CPU of the log")
    for batch in BATCHES:
        async with fresh_log(root) as writer:
            plain, sqlite, cpu = plain_per_second(root, batch), sqlite_per_second(root, batch), time.process_time()
            started = time.perf_counter()
            try:
                rate = await appends_per_second(writer, batch)
            except LedgerFull as error:
                print(f"  {batch:5}  {error}")
                continue
            share = (time.process_time() - cpu) / (time.perf_counter() - started)
            print(f"  {batch:5} {rate:10,.0f} {sqlite:10,.0f} {plain:10,.0f}   {share:.0%}")
    async with fresh_log(root) as writer:
        print(f"\nappend          {await call_cost_us(writer, writer.append):6.1f} µs a call")
        print(f"append_written  {await call_cost_us(writer, writer.append_written):6.1f} µs a call")
    print(
        "\nmilliseconds                       p50     p99\n  fdatasync alone             {:8.2f}{:8.2f}".format(
            *syncs_ms(root)
        )
    )
    for name, busy in (("idle loop", False), ("busy loop", True)):
        for interval in (0.005, 0.0005) if busy else (0.005,):
            sys.setswitchinterval(interval)
            async with fresh_log(root) as writer:
                p50, p99 = await latencies_ms(writer, busy)
                print(f"  1,000/s {name}, switch {interval * 1e3:3.1f} {p50:8.2f}{p99:8.2f}")
    sys.setswitchinterval(0.005)


def main():
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else ".") as directory:
        asyncio.run(measure(Path(directory)))


if __name__ == "__main__":
    main()
