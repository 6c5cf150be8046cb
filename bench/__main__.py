"""`make bench` runs every measurement, one after another; `make bench ARGS="gateway --seconds 4"` runs one."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
NAMES = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def main() -> int:
    words = sys.argv[1:]
    if words and words[0] not in NAMES:
        print(f"There is: {', '.join(NAMES)}. Without a name all run.", file=sys.stderr)
        return 2
    places = [HERE.parent / "src", HERE.parent / "tests"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    failed = []
    for name in words[:1] or NAMES:
        print(f"== {name}", flush=True)
        # Each in a process of its own: what one leaves behind in memory must not slow the next.
        if subprocess.run([sys.executable, HERE / f"{name}.py", *words[1:]], env=environment, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
