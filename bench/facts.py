"""What facts cost: reading the registries' files, telling an address's country, and taking readings over.

    PYTHONPATH=src:tests python bench/facts.py

The files are made here with a fixed seed, of the size that all five registries publish together: 290,000 blocks of
IPv4 and 330,000 of IPv6.
"""

import ipaddress
import random
import time
import tracemalloc

import msgspec

from sekisho.app.observed import composed
from sekisho.catalog.delegations import Delegations
from sekisho.catalog.evidence import MANAGEMENT_API
from sekisho.catalog.interfaces import ManagedIdentitySignIn, Management, Reading
from sekisho.catalog.observations import about, kept
from sekisho.policy.check import compile_policies
from sekisho.snapshot.build import build_snapshot
from support_decide import LABELS, catalogue, declared, deployment

V4, V6 = 290_000, 330_000
COUNTRIES = ("AU", "BR", "CN", "DE", "IN", "JP", "KR", "US")
DEPLOYMENTS = 1_000
LOOKUPS = 200_000


def registry(chance: random.Random) -> bytes:
    lines = [f"2|nro|20261124|{V4 + V6}|19830613|20261124|+0000"]
    address = int(ipaddress.IPv4Address("1.0.0.0"))
    for _ in range(V4):
        count = 1 << chance.randrange(8, 14)
        code = chance.choice(COUNTRIES)
        lines.append(f"apnic|{code}|ipv4|{ipaddress.IPv4Address(address)}|{count}|20110412|allocated|A92D9378")
        address += count
    block = 0x2001_0000 << 96
    for _ in range(V6):
        code = chance.choice(COUNTRIES)
        lines.append(f"apnic|{code}|ipv6|{ipaddress.IPv6Address(block)}|48|20110412|allocated|A92D9378")
        block += 1 << 82
    return ("\n".join(lines) + "\n").encode()


def timed(name: str, count: int, work) -> None:
    began = time.perf_counter()
    work()
    took = time.perf_counter() - began
    print(f"{name:52} {took * 1e3:10.0f} ms {took / count * 1e6:10.2f} µs each")


def main() -> None:
    chance = random.Random(20261124)
    data = registry(chance)
    lines = data.splitlines(keepends=True)
    made = []
    timed(
        f"read {len(data) / 1e6:.0f} MB, {V4 + V6} blocks", V4 + V6, lambda: made.append(Delegations([("nro", lines)]))
    )
    tracemalloc.start()
    kept_now = Delegations([("nro", lines)])
    now, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"{'memory kept':52} {now / 1e6:10.1f} MB {now / kept_now.records:10.1f} bytes each")
    found = made[0]
    addresses = [ipaddress.IPv4Address(chance.randrange(1 << 24, 200 << 24)) for _ in range(LOOKUPS)]
    timed("tell an address's block and country", LOOKUPS, lambda: [found.find(one) for one in addresses])

    api = Management("azure", "/r", "d", ManagedIdentitySignIn("r", "u"), "https://m.example", "2024-10-01")
    names = [f"d-{number:04}" for number in range(DEPLOYMENTS)]
    every = [
        msgspec.structs.replace(deployment(name, processing=declared("JP")), management=api, model="m")
        for name in names
    ]  # fmt: skip
    whole = catalogue(*every)
    built = build_snapshot(
        whole, (), inspection_rules=b'{"rules":[]}', labels=LABELS, compile_policies=compile_policies
    )
    readings = [
        Reading(one.name, MANAGEMENT_API, about(one, whole.sites[0]), 0, 10**9, values={"processing": ("JP",)})
        for one in every
    ]
    timed(f"hold {DEPLOYMENTS} readings against those in force", DEPLOYMENTS, lambda: kept(readings, readings, 0))
    timed("compose the site's layer", DEPLOYMENTS, lambda: composed(built, whole, readings, "home"))


if __name__ == "__main__":
    main()
