"""Taking changed declarations over under load: how long it takes, and what requests see of it.

A tree of 10,000 files (5,000 models, a deployment each), one of which changes again and again while requests come at
a steady pace; any that is not answered with 200 ends the run. One worker has one core; control, the build and the load
share the other. Loopback only, bounded in time.

    python bench/reload.py [--files 10000] [--reloads 4] [--rate 300]
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
import urllib.request
from pathlib import Path

import gateway as bench
import variants


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--reloads", type=int, default=4)
    parser.add_argument("--rate", type=int, default=300)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {int(bench.OTHER_CORE)})
    with tempfile.TemporaryDirectory(prefix="sekisho-bench-") as temporary, contextlib.ExitStack() as running:
        upstream, port, control, unused = (bench.free_port() for _ in range(4))
        root, key = bench.installation(Path(temporary), upstream, unused, port, control)
        variants.declare(root, upstream, arguments.files // 2)
        begun = time.perf_counter()
        bench.put_in_force(root)
        print(f"{arguments.files:,} files: first built and put in force in {time.perf_counter() - begun:.1f} s")
        running.enter_context(
            bench.nginx(Path(temporary) / "upstream", bench.upstream_conf(upstream), bench.OTHER_CORE)
        )
        running.enter_context(bench.process([*variants.SEKISHO, "control", str(root)], bench.OTHER_CORE))
        worker = running.enter_context(bench.process([*variants.SEKISHO, "gateway", str(root)], bench.GATEWAY_CORE))
        bench.await_ready(f"http://127.0.0.1:{port}/readyz")
        before = variants.resident_mib(worker.pid)
        took, samples = asyncio.run(reloads(root, port, key, arguments))
        print(f"from a change to its being in force in the worker, s: {', '.join(f'{s:.1f}' for s in took)}; "
              f"median {statistics.median(took):.1f}")  # fmt: skip
        p50, p99, worst = (samples[len(samples) * part // 1000] * 1000 for part in (500, 990, 999))
        print(f"{len(samples):,} requests at {arguments.rate}/s meanwhile, none failed: "
              f"p50 {p50:.1f}, p99 {p99:.1f}, p99.9 {worst:.1f} ms")  # fmt: skip
        print(f"the worker: {before:.0f} MiB before, {variants.resident_mib(worker.pid):.0f} MiB after")


async def reloads(root: Path, port: int, key: str, arguments: argparse.Namespace) -> tuple[list[float], list[float]]:
    """Seconds that each change took, and the latencies, sorted, of the requests that came meanwhile."""
    samples: list[float] = []
    over = asyncio.Event()

    async def load() -> None:
        while not over.is_set():
            samples.extend(await bench.paced(port, key, arguments.rate, 5))

    loading = asyncio.create_task(load())
    path = root / "declarations" / "models" / "m0.toml"
    took = []
    for number in range(arguments.reloads):
        before = await asyncio.to_thread(in_force, port)
        begun = time.perf_counter()
        path.write_text(f'title = "Changed {number}"\n')
        while not loading.done() and await asyncio.to_thread(in_force, port) == before:
            await asyncio.sleep(0.1)
        took.append(time.perf_counter() - begun)
    over.set()
    await loading
    return took, sorted(samples)


def in_force(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=30) as answer:
        return str(json.load(answer)["snapshot"])


if __name__ == "__main__":
    main()
