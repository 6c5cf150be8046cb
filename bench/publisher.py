"""The publisher's speed on one core: entries merged and published, receipts proved and verified, per second.

Run: `make bench ARGS="publisher [entries]"`. Takes about ten seconds.
"""

import sys
import tempfile
import time
from pathlib import Path

from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.checkpoint import make_enrolment
from sekisho.ledger.reader import LogReader
from sekisho.ledger.receipts import build_receipt
from sekisho.ledger.verify import verify_receipt

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit" / "ledger"))
from ledger_fakes import ORGANISATION_KEY, ORIGIN, World

ROUNDS = 400


def main():
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 60_000
    with tempfile.TemporaryDirectory(dir=".") as directory:
        world = World(Path(directory) / "ledger")
        writer = world.writer()
        requests = [world.request(writer) for _ in range(entries // 2)]
        size = sum(map(len, writer.entries)) // len(writer.entries)
        publisher = world.publisher()
        start, cpu = time.perf_counter(), time.process_time()
        while publisher.merge_once() or publisher.backlog:
            pass
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        print(
            f"merge and publish: {entries / wall:,.0f} entries/s of {size} bytes ({entries / cpu:,.0f} per CPU second)"
        )
        reader = LogReader(world.root)
        picked = requests[:: max(1, len(requests) // ROUNDS)]
        start = time.perf_counter()
        states = [reader.state(request, world.clock.now_us()) for request in picked]
        print(f"prove: {2 * len(picked) / (time.perf_counter() - start):,.0f} entries/s, 2 per receipt")
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
        start = time.perf_counter()
        report = audit_integrity(world.root, world.log_key.verifier)
        print(f"audit (integrity): {report.size / (time.perf_counter() - start):,.0f} entries/s")
        start = time.perf_counter()
        publisher.close()
        publisher = world.publisher()
        print(f"recovery: {time.perf_counter() - start:.2f} s")
        publisher.close()
        reader.close()


if __name__ == "__main__":
    main()
