"""Loops that must not end: each step is tried again and again, and what keeps going wrong is told once."""

import logging
from types import TracebackType

from sekisho.kernel.errors import SekishoError


class Retrying:
    """`with` around a step of such a loop: no Exception leaves it, and the log is told when what goes wrong changes.

    `trouble` says in words what went wrong with the last step; empty: nothing. What a person can mend is told as it
    is, anything else as a fault of ours, in the log with its traceback. The step must be one that can be taken again,
    and something else must show that it fails: an age, a state.
    """

    def __init__(self, log: logging.Logger, complaint: str) -> None:
        self._log = log
        self._complaint = complaint
        self.trouble = ""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if error is None:
            self.trouble = ""
        if not isinstance(error, Exception):
            return False
        expected = isinstance(error, SekishoError | OSError)
        trouble = str(error) or repr(error) if expected else f"a fault of the program, {error!r}"
        if trouble != self.trouble:
            self._log.error("%s: %s", self._complaint, trouble, exc_info=None if expected else error)
        self.trouble = trouble
        return True
