"""The compliance view's speed and memory, over a log of real decisions and outcomes.

Run: `make bench ARGS="compliance [entries]"`; 1,000,000 unless told otherwise. The log is that of `bench/audit.py`. The
view is made in a process of its own, whose peak memory is told.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from audit import build, peak_bytes

ENTRIES = 1_000_000


def view_here(root):
    """In the child: one view; what came of it, and the peak of this process, as JSON."""
    from sekisho.app.compliance import ComplianceAsked, compliance_of
    from sekisho.settings import DataDirectory

    before = peak_bytes()
    start, cpu = time.perf_counter(), time.process_time()
    found = compliance_of(DataDirectory(root), ComplianceAsked())
    told = {"wall": time.perf_counter() - start, "cpu": time.process_time() - cpu, "rows": len(found["rows"])}
    told |= {"decisions": found["decisions"], "size": found["log_size"]}
    print(json.dumps(told | {"peak": peak_bytes(), "before": before}))


def main(arguments):
    if arguments[:1] == ["--child"]:
        view_here(Path(arguments[1]))
        return
    count = int(arguments[0].replace("_", "")) if arguments else ENTRIES
    with tempfile.TemporaryDirectory(prefix="sekisho-bench-") as directory:
        root = Path(directory) / "site"
        build(root, count)
        command = [sys.executable, __file__, "--child", str(root)]
        told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(
        f"{told['size']:,} entries, {told['decisions']:,} decisions, {told['rows']} rows: {told['wall']:.1f} s, "
        f"{told['cpu']:.1f} s of CPU, {told['decisions'] / told['cpu']:,.0f} decisions/s, "
        f"peak {told['peak'] >> 20} MiB ({told['before'] >> 20} before)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
