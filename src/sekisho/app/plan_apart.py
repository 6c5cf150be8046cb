"""Plans asked for over HTTP: `sekisho plan` in a process of its own, one at a time.

Policies compile and millions of entries are read there, which in control's own process would hold up publishing.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sekisho.app.apart import EXIT_USAGE, PROGRAM, Apart
from sekisho.console.errors import PlanRefused
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory

PLANNED_S_MAX: Final = 600.0  # some forty million decisions on a core of its own; for more there is the command


class PlansApart:
    """Any thread; blocking."""

    def __init__(self, directory: DataDirectory, program: Sequence[str] = PROGRAM) -> None:
        self._apart = Apart(program, "plan", "plan", PLANNED_S_MAX)
        self._root = str(directory.root)
        self._tree = directory.run / "plan"  # one at a time, so that a crash leaves at most one behind
        self.close = self._apart.close

    def __call__(self, declarations: Mapping[str, str] | None, words: tuple[str, ...]) -> dict[str, Any]:
        """See `console.interfaces.Plan`."""
        with self._apart.turn(wait_s=0):
            try:
                shutil.rmtree(self._tree, ignore_errors=True)
                if declarations is not None:
                    _write(self._tree, declarations)
                    words = (f"--declarations={self._tree}", *words)
                made = self._apart.run((self._root, "--json", "--quiet", *words))
            finally:
                shutil.rmtree(self._tree, ignore_errors=True)
        if made.code == EXIT_USAGE:
            raise PlanRefused(made.said)
        if made.code != 0 and not made.printed:  # mistakes in declarations are told as a plan is
            raise SekishoError(f"the plan could not be made: {made.said}")
        found: dict[str, Any] = json.loads(made.printed)
        return found


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
