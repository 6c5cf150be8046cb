"""Runs an installation's processes and starts them again, with back-off, when they end.

Children run in sessions of their own, so that Ctrl-C reaches the supervisor alone and it can stop them in order:
gateways first (requests in flight finish within their bound), then engines, then control, which merges what the
gateways wrote last. Each child's standard input is a pipe that only the supervisor holds: when it dies, however it
dies, the children read end-of-file and stop.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from sekisho.kernel.errors import SekishoError

_BACKOFF_S_MIN: Final = 0.2
_BACKOFF_S_MAX: Final = 10.0
_HEALTHY_AFTER_S: Final = 30.0  # a child that lived so long starts again at the smallest back-off
_POLL_S: Final = 0.1
_STOP_MARGIN_S: Final = 5.0  # beyond a child's own bound, then it is killed
_BACKLOG: Final = 2048

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Child:
    """A process to keep alive. `stop_order`: lower stops first. `stop_bound_s`: how long it may take to.

    `pass_fds` are inherited, and the supervisor's to close when it stops children of this order.
    """

    name: str
    arguments: Sequence[str]
    stop_order: int
    stop_bound_s: float
    pass_fds: tuple[int, ...] = ()
    hears_hangup: bool = False  # SIGHUP is passed on to it
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float = 0.0  # not before


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; raises SekishoError if the address can't be had. Children inherit it, so that requests
    that arrive while one of them is being restarted wait instead of failing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise SekishoError(
            f"can't listen on {host}:{port}: {error.strerror}",
            remedy="Stop what listens there, or change `listen` in sekisho.toml",
        ) from None
    listener.setblocking(False)
    return listener


class Supervisor:
    """Keeps children alive until `stop` is asked for (SIGINT, SIGTERM)."""

    def __init__(self, children: Sequence[Child]) -> None:
        self._children = list(children)
        self._stopping = False
        self._hangup = False

    def run(self, each_poll: Callable[[], None]) -> None:
        """Returns when all children have ended after a stop. `each_poll` runs about ten times a second.

        SIGHUP is passed on to the children. Where standard error is a terminal, though, it says that the terminal
        has gone: then it stops, as SIGTERM does.
        """
        handlers = {number: signal.signal(number, self._ask_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        hangup = self._ask_stop if sys.stderr.isatty() else self._ask_hangup
        handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, hangup)
        try:
            while not self._stopping:
                for child in self._children:
                    self._keep(child)
                if self._hangup:
                    self._hangup = False
                    self._pass_hangup_on()
                each_poll()
                time.sleep(_POLL_S)
        finally:
            self._stop_all()
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _ask_stop(self, *_: object) -> None:
        self._stopping = True

    def _ask_hangup(self, *_: object) -> None:
        self._hangup = True

    def _pass_hangup_on(self) -> None:
        for child in self._children:
            if child.process is not None and child.hears_hangup:
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(signal.SIGHUP)

    def _keep(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is not None:
            code = child.process.poll()
            if code is None:
                return
            _close_pipe(child)
            child.process = None
            if now - child.started_at > _HEALTHY_AFTER_S:
                child.failures = 0
            delay = min(_BACKOFF_S_MIN * 2**child.failures, _BACKOFF_S_MAX)
            child.failures = min(child.failures + 1, 16)
            child.start_at = now + delay
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            log.error("%s ended (%s); starting it again in %.1f s", child.name, how, delay)
        if now >= child.start_at:
            self._start(child)

    def _start(self, child: Child) -> None:
        try:
            with _hangups_held_back():
                child.process = subprocess.Popen(
                    [sys.executable, *child.arguments],
                    stdin=subprocess.PIPE,
                    pass_fds=child.pass_fds,
                    start_new_session=True,
                )
        except OSError as error:  # no memory or no process to be had just now: the others go on
            child.start_at = time.monotonic() + _BACKOFF_S_MAX
            log.error("%s can't be started: %s; trying again in %.0f s", child.name, error, _BACKOFF_S_MAX)
            return
        child.started_at = time.monotonic()
        log.info("started %s, process %d", child.name, child.process.pid)

    def _stop_all(self) -> None:
        for order in sorted({child.stop_order for child in self._children}):
            batch = [child for child in self._children if child.stop_order == order and child.process is not None]
            for child in batch:
                if child.process is not None:
                    with contextlib.suppress(ProcessLookupError):
                        child.process.terminate()
            # The address closes with the last holder of its socket: callers are refused now and don't wait in vain.
            for inherited in {fd for child in self._children if child.stop_order == order for fd in child.pass_fds}:
                os.close(inherited)
            deadline = time.monotonic() + max((child.stop_bound_s for child in batch), default=0) + _STOP_MARGIN_S
            for child in batch:
                _await_end(child, deadline)


@contextlib.contextmanager
def _hangups_held_back() -> Iterator[None]:
    """Children inherit the mask: a SIGHUP waits until one is ready to hear it (`app.process.on_hangup`). It would end
    one that is still being loaded."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _await_end(child: Child, deadline: float) -> None:
    if child.process is None:
        return
    try:
        child.process.wait(timeout=max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        log.error("%s did not stop in its time and is killed", child.name)
        child.process.kill()
        child.process.wait()
    _close_pipe(child)


def _close_pipe(child: Child) -> None:
    if child.process is not None and child.process.stdin is not None:
        child.process.stdin.close()
