"""Plans asked for over HTTP: `sekisho plan` in a process of its own, one at a time.

Policies compile and millions of entries are read there, which in control's own process would hold up publishing.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sekisho.console.errors import PlanRefused, TooMany
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory

PLANNED_S_MAX: Final = 600.0  # some forty million decisions on a core of its own; for more there is the command
NICENESS: Final = 10  # gateways on this machine go first
_EXIT_USAGE: Final = 2
_SAID_MAX: Final = 2_000  # characters of a failed plan's last words


class PlansApart:
    """Any thread; blocking."""

    def __init__(self, directory: DataDirectory, program: Sequence[str] = (sys.executable, "-m", "sekisho")) -> None:
        self._command = (*program, "plan", str(directory.root), "--json", "--quiet")
        self._tree = directory.run / "plan"  # one at a time, so that a crash leaves at most one behind
        self._one = threading.Lock()
        self._ending = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def __call__(self, declarations: Mapping[str, str] | None, words: tuple[str, ...]) -> dict[str, Any]:
        """See `console.interfaces.Plan`."""
        if not self._one.acquire(blocking=False):
            raise TooMany("another plan is being made", remedy="Ask again when it is done")
        try:
            shutil.rmtree(self._tree, ignore_errors=True)
            if declarations is not None:
                _write(self._tree, declarations)
                words = (f"--declarations={self._tree}", *words)
            code, made, said = self._made(words)
        finally:
            shutil.rmtree(self._tree, ignore_errors=True)
            self._one.release()
        if self._closed:
            raise _ending()
        if code == _EXIT_USAGE:
            raise PlanRefused(said)
        if code != 0 and not made:  # mistakes in declarations are told as a plan is
            raise SekishoError(f"the plan could not be made: {said}")
        found: dict[str, Any] = json.loads(made)
        return found

    def close(self) -> None:
        """End what is being made, so that whoever waits for it does not hold up the end of control."""
        with self._ending:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def _made(self, words: tuple[str, ...]) -> tuple[int, bytes, str]:
        """(exit code, what it printed, what it said)."""
        command = [*self._command, *words]
        with self._ending:
            if self._closed:
                raise _ending()
            self._process = process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        try:
            made, said = process.communicate(timeout=PLANNED_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise SekishoError(f"the plan took more than {PLANNED_S_MAX:.0f} s", remedy="sekisho plan DIR") from None
        text = said.decode(errors="replace").strip().rpartition("sekisho plan: ")[2]
        return process.returncode, made, text[-_SAID_MAX:]


def _ending() -> SekishoError:
    return SekishoError("control is ending", remedy="Ask again when it runs")


def _write(tree: Path, declarations: Mapping[str, str]) -> None:
    """Raises PlanRefused for names that can't stand beside one another."""
    tree.parent.mkdir(exist_ok=True)
    tree.mkdir(mode=0o700)
    for name, text in declarations.items():
        path = tree / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            raise PlanRefused(f"{name!r} would be a file beneath a file, or a directory as well") from None
