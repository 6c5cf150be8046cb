"""What every long-running process does alike: its log, its end."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Final

_FORMAT: Final = "%(asctime)s %(process_role)s %(levelname)s %(message)s"


class _OneLine(logging.Formatter):
    """What a message quotes may hold line ends and escape sequences: they are shown, not obeyed."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        text = super().formatMessage(record)
        return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def configure_log(role: str) -> None:
    """Lines on standard error: time, role and process id, level, message."""
    handler = logging.StreamHandler(sys.stderr)
    name = f"{role}[{os.getpid()}]"

    def add_role(record: logging.LogRecord) -> bool:
        record.process_role = name
        return True

    handler.addFilter(add_role)
    handler.setFormatter(_OneLine(_FORMAT))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def stop_event(*, with_parent: bool) -> asyncio.Event:
    """Set by SIGINT and SIGTERM, and, `with_parent`, when standard input (the supervisor's pipe) ends."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if with_parent:
        # A thread, because a pipe given as standard input may be anything; it ends with the process.
        threading.Thread(target=_wait_for_parent, args=(loop, stop), name="parent", daemon=True).start()
    return stop


def on_hangup(act: Callable[[], None]) -> None:
    """Do `act` on SIGHUP, whose default would be to end the process in mid-request. A supervisor may have it held back
    until now (`supervisor`)."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, act)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def _wait_for_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(0, 4096):
        pass
    loop.call_soon_threadsafe(stop.set)
