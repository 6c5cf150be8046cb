"""Keeps a model process: starts it, knows its state, and starts it again when it ends."""

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.capacity.errors import CapacityError, ModelFailed
from sekisho.capacity.llama.failures import how_it_ended, why_not_loaded
from sekisho.capacity.llama.gguf import read_head
from sekisho.capacity.llama.options import EngineOptions
from sekisho.capacity.llama.worker import READY, SOCKET, command

RESTART_S: Final = 1.0  # after a crash; long enough not to spin, short enough that callers' retries find it
LOAD_AGAIN_S: Final = 60.0  # after a failed load: memory may be free by then; a changed file is seen at once
FILE_POLL_S: Final = 1.0
_LOG_BYTES_MAX: Final = 64 * 1024  # of the process's latest output; its reasons are in the last lines
_SOCKET_PATH_MAX: Final = 107  # sun_path of a Unix address, less its closing zero (unix(7))
_READ_BYTES: Final = 64 * 1024

log = logging.getLogger(__name__)


class State(NamedTuple):
    """`word` is "loading", "ready" or "failed"; `reason` says why it failed, in one line."""

    word: str
    reason: str = ""


class ModelProcess:
    """One model process at a time, from `run` until that is cancelled.

    `on_failure` is told each time the model could not be loaded; unless it cancels `run`, loading is tried again when
    the file changes, or after LOAD_AGAIN_S. Use in a `with`, which owns the folder of the socket.
    """

    def __init__(self, options: EngineOptions, requests: int, on_failure: Callable[[CapacityError], None]) -> None:
        self._options = options
        self._requests = requests
        self._on_failure = on_failure
        self._folder = self.socket = Path()  # made by `with`
        self.state = State("loading")
        self._task: asyncio.Task[object] | None = None

    def __enter__(self) -> "ModelProcess":
        self._folder = Path(tempfile.mkdtemp(prefix="sekisho-engine-"))  # 0700: nobody else reaches the model
        self.socket = self._folder / SOCKET
        if len(os.fsencode(self.socket)) > _SOCKET_PATH_MAX:
            self._folder.rmdir()
            raise ModelFailed(f"{self.socket} is too long for a socket", remedy="Set TMPDIR to a shorter path")
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)

    async def run(self) -> None:
        """Keep a process running. Cancelling it ends the process before this returns."""
        self._task = asyncio.current_task()
        while True:
            self.state = State("loading")
            try:
                ended = await self._live()
            except CapacityError as error:
                self.state = State("failed", str(error))
                self._on_failure(error)
                await self._until_another_try_is_due()
            else:
                log.error("%s; starting it again in %.0f s", ended, RESTART_S)
                self.state = State("loading")
                await asyncio.sleep(RESTART_S)

    def stop(self) -> None:
        """End `run` and its process: whoever waits for an answer learns that the model has gone."""
        if self._task is not None:
            self._task.cancel()

    async def _live(self) -> str:
        """Start a process and be with it until it ends. Returns how, or raises ModelFailed if it never was ready."""
        head = await asyncio.to_thread(read_head, self._options.file)
        self.socket.unlink(missing_ok=True)
        process = await asyncio.create_subprocess_exec(
            *command(self._options, head, self.socket, self._requests),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        if process.stdout is None or process.stderr is None:
            raise RuntimeError("the pipes asked for are not there")
        said = bytearray()
        errors = asyncio.create_task(_keep_latest(process.stderr, said))
        try:
            loaded = await self._follow(process.stdout)
            code = await process.wait()
            await errors
        finally:
            errors.cancel()
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # it holds nothing that would have to be put away
            await process.wait()
        text = said.decode(errors="replace")
        if not loaded:
            raise why_not_loaded(self._options.file, code, text)
        return how_it_ended(code, text)

    async def _follow(self, output: asyncio.StreamReader) -> bool:
        """Read standard output to its end; whether the process became ready."""
        loaded = False
        while data := await output.read(_READ_BYTES):
            if not loaded and READY in data:
                loaded = True
                self.state = State("ready")
                log.info("%s is loaded and serves %s", self._options.file, self._options.model)
        return loaded

    async def _until_another_try_is_due(self) -> None:
        before = _stamp(self._options.file)
        waited = 0.0
        while waited < LOAD_AGAIN_S and _stamp(self._options.file) == before:
            await asyncio.sleep(FILE_POLL_S)
            waited += FILE_POLL_S


async def _keep_latest(stream: asyncio.StreamReader, kept: bytearray) -> None:
    """Drain, so that the process never waits for us; nothing is logged, because its lines may quote requests."""
    while data := await stream.read(_READ_BYTES):
        kept += data
        del kept[:-_LOG_BYTES_MAX]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
