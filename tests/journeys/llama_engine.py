"""`sekisho engine serve` as a process of its own, for journeys."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from journeys.installation import ENVIRONMENT, SEKISHO, get, until

LOADED_S = 60


class LlamaEngine:
    """One engine on a free port. `log` holds what it wrote. Use it in a `with`."""

    def __init__(self, model: Path, log: Path, *arguments: object, **options) -> None:
        self.log = log
        with log.open("wb") as file:
            command = [*SEKISHO, "engine", "serve", str(model), "--listen", "127.0.0.1:0", *map(str, arguments)]
            self.process = subprocess.Popen(command, stdout=file, stderr=file, env=ENVIRONMENT, **options)
        until(lambda: b"listens on" in log.read_bytes() or self.process.poll() is not None, LOADED_S, "the address")
        self.url = next(iter(line.split()[-1] for line in log.read_text().splitlines() if "listens on" in line), "")

    def ready(self) -> "LlamaEngine":
        until(lambda: get(f"{self.url}/healthz")[0] == 200, LOADED_S, f"the model; see {self.log}")
        return self

    def model_process(self) -> int:
        """The id of the process that holds the model."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (model,) = (int(child) for child in children)
        return model

    def stop(self, number: int = signal.SIGTERM) -> int:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        if self.process.stdin is not None:
            self.process.stdin.close()
        return self.process.wait(LOADED_S)

    def __enter__(self) -> "LlamaEngine":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
