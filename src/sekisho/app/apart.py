"""A command of ours in a process of its own, one at a time: what would hold up publishing in control's own process."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from sekisho.console.errors import TooMany
from sekisho.kernel.errors import SekishoError

PROGRAM: Final = (sys.executable, "-m", "sekisho")
EXIT_USAGE: Final = 2  # of a command: its words are off
NICENESS: Final = 10  # gateways on this machine go first
_SAID_MAX: Final = 2_000  # characters of a failed command's last words


class Made(NamedTuple):
    """`said`: the command's last words on its standard error, without its name."""

    code: int
    printed: bytes
    said: str


class Apart:
    """Any thread; blocking. `command` is one of `sekisho`, `what` it makes is told to people."""

    def __init__(self, program: Sequence[str], command: str, what: str, seconds_max: float) -> None:
        self._program = program
        self._command = command
        self._what = what
        self._seconds_max = seconds_max
        self._one = threading.Lock()
        self._ending = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    @contextmanager
    def turn(self, wait_s: float) -> Iterator[None]:
        """Raises TooMany where another's is not over in time."""
        if not self._one.acquire(timeout=wait_s):
            raise TooMany(f"another {self._what} is being made", remedy="Ask again when it is done")
        try:
            yield
        finally:
            self._one.release()

    def run(self, words: Sequence[str]) -> Made:
        """Within a turn. Raises SekishoError for what takes too long, and where control ends."""
        with self._ending:
            self._require_open()
            self._process = process = subprocess.Popen(
                [*self._program, self._command, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        try:
            printed, said = process.communicate(timeout=self._seconds_max)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            problem = f"the {self._what} took more than {self._seconds_max:g} s"
            raise SekishoError(problem, remedy=f"sekisho {self._command} DIR") from None
        self._require_open()
        text = said.decode(errors="replace").strip().rpartition(f"sekisho {self._command}: ")[2]
        return Made(process.returncode, printed, text.removeprefix("error: ")[-_SAID_MAX:])

    def close(self) -> None:
        """End what is being made, so that whoever waits for it does not hold up the end of control."""
        with self._ending:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _require_open(self) -> None:
        if self._closed:
            raise SekishoError("control is ending", remedy="Ask again when it runs")
