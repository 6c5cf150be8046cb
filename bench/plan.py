"""How long a plan takes over a ledger of real decisions and outcomes, and how much memory.

Run: `make bench ARGS="plan [decisions]"`; 1,000,000 decisions (about) unless told otherwise, to be planned in two
minutes on one core. The log is made as for `audit`, which takes longer than the plan. The plan runs in a process of its
own, whose peak memory is told; the proposal forbids a class, so that a fifth of the requests change.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from audit import build, peak_bytes
from sekisho.assurance.plan import Planner
from sekisho.assurance.replay import Replay
from sekisho.assurance.traffic import Traffic, ids_between
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.index import INDEX, IndexReader
from sekisho.ledger.log_files import LogFiles
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.snapshot.build import build_snapshot
from sekisho.snapshot.store import SnapshotStore

TARGET_S = 120.0  # for a million decisions
RULE = """@id("bench.no-confidential") @title("t") @title_ja("t")
forbid (principal, action, resource) when { context.class_rank == 2 };"""


def plan_here(root):
    """In the child: one plan; what came of it as JSON."""
    from audited_log import FARAWAY, TOKYO
    from sekisho.catalog.interfaces import PolicyText
    from support_decide import LABELS, PlainInspector, catalogue

    store = SnapshotStore(root / "snapshots", make_inspector=PlainInspector, make_decider=CedarDecider)
    (digest,) = (path.stem for path in (root / "snapshots").glob("*.json"))
    rules = (PolicyText("policies/bench.cedar", RULE),)
    built = build_snapshot(
        catalogue(TOKYO, FARAWAY),
        rules,
        inspection_rules=b'{"rules":[]}',
        labels=LABELS,
        compile_policies=compile_policies,
    )
    before = peak_bytes()
    start, cpu = time.perf_counter(), time.process_time()
    planner = Planner(Replay(store.load(digest, 0)), Replay(store.assemble(built, 0)))
    window = (0, 2**52)
    index = IndexReader(root / "ledger" / INDEX)
    first, _ = index.leaves_between(*ids_between(*window))
    index.close()
    files = LogFiles(root / "ledger")
    traffic = Traffic(planner, *window, by_person=False)
    for number, entries in files.entries(first, read_checkpoint(files.checkpoint()).size):
        traffic.see(number, entries)
    plan = planner.plan
    told = {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu, "peak": peak_bytes()}
    told |= {"before": before, "requests": plan.total().requests, "distinct": plan.distinct}
    print(json.dumps(told | {"denied": plan.newly_denied, "unreadable": plan.unreadable}))


def main():
    words = sys.argv[1:]
    if words[:1] == ["--child"]:
        plan_here(Path(words[1]))
        return
    decisions = int(words[0]) if words else 1_000_000
    with tempfile.TemporaryDirectory(dir=".") as directory:
        root = Path(directory) / "site"
        root.mkdir()
        build(root, decisions * 2)  # at most: denials have no outcome
        child = [sys.executable, __file__, "--child", str(root)]
        done = subprocess.run(child, capture_output=True, text=True, check=True, env=os.environ)
        told = json.loads(done.stdout)
        assert told["unreadable"] == 0, told
        assert told["denied"] > 0, told
        rate = told["requests"] / told["cpu"]
        print(
            f"planned {told['requests']:,} decisions ({told['distinct']:,} distinct inputs, {told['denied']:,} newly "
            f"denied) in {told['wall']:.1f} s ({told['cpu']:.1f} CPU-s, {rate:,.0f}/s); a million take "
            f"{1_000_000 / rate:.0f} s of {TARGET_S:.0f}; peak {told['peak'] >> 20} MiB, of which "
            f"{told['before'] >> 20} MiB before it began"
        )


if __name__ == "__main__":
    main()
