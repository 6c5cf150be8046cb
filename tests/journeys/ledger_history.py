"""Lives of a ledger, in processes of their own that a test can break anywhere.

What a process answers for it tells in a file, line by line: `durable` entries by their ids, `published` sizes and
roots. As a program this module forks a process for each line on its standard input (a life's name, and the
installation's directory); what a life needs is imported by then, so that hundreds of lives take minutes.
"""

import asyncio
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from journeys.installation import ENVIRONMENT, SOURCE
from sekisho.app.keys import LogKeyFiles, load_signing_key
from sekisho.gateway.entries import GatewayLifecycle
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.ids import IdSource
from sekisho.kernel.notes import NoteVerifier, SignedNote
from sekisho.ledger.checkpoint import Checkpoint
from sekisho.ledger.errors import LedgerFull
from sekisho.ledger.interfaces import EntryDraft
from sekisho.ledger.publisher import Identity, Publisher
from sekisho.ledger.room import RoomReservation
from sekisho.ledger.wal_reader import START, writers
from sekisho.ledger.writer import WriteAheadSettings, WriteAheadWriter
from sekisho.settings import DataDirectory, load_settings

SETTINGS = WriteAheadSettings(segment_bytes=256 * 1024, free_reserve_bytes=1024)
LIFE_SECONDS_MAX = 60  # a hundred times what it takes
SITE = "tokyo"
JOURNAL_BYTES_MAX = 96 * 1024  # the journal begins anew a few times in a life
ENDED = 4  # exit code: an error that was told in a line; any other exception ends the process as Python does, with 1
REQUESTS_AT_ONCE = 8
ROOM_SECONDS_MAX = 10  # a full disk is tried again each second
_BIG = "x" * 30_000


class Told:
    """What the process says that holds. `writev`, because nothing else of it makes that call: it is never broken."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def say(self, **what: Any) -> None:
        os.writev(self._descriptor, [json.dumps(what).encode() + b"\n"])

    def published(self, directory: DataDirectory) -> None:
        size, root = published(directory)
        self.say(published=[size, root])


def published(directory: DataDirectory) -> tuple[int, str]:
    """Size and root of the checkpoint that anybody can see."""
    note = (directory.ledger / "checkpoint").read_text()
    checkpoint = Checkpoint.parse(SignedNote.parse(note).text)
    return checkpoint.size, checkpoint.root.hex()


def make_publisher(directory: DataDirectory, origin: str) -> Publisher:
    """As the product's, but for the journal's length."""
    keys = LogKeyFiles(directory, origin)
    return Publisher(
        directory.ledger, Identity(keys.current(), SITE, keys), GatewayLifecycle(), SystemClock(), IdSource(),
        sources=writers, beginning=START, journal_bytes_max=JOURNAL_BYTES_MAX,
    )  # fmt: skip


def origin_of(directory: DataDirectory) -> str:
    return load_settings(directory.root).installation.origin


@dataclass
class Life:
    """One process's part of the story."""

    directory: DataDirectory
    told: Told
    origin: str
    clock: SystemClock = field(default_factory=SystemClock)
    ids: IdSource = field(default_factory=IdSource)

    def writer(self) -> WriteAheadWriter:
        return WriteAheadWriter.open(
            self.directory.ledger, site=SITE, clock=self.clock, ids=self.ids, settings=SETTINGS
        )

    def publisher(self) -> Publisher:
        publisher = make_publisher(self.directory, self.origin)
        publisher.start()
        self.told.published(self.directory)
        return publisher

    def merge(self, publisher: Publisher) -> None:
        publisher.merge_once()
        self.told.published(self.directory)

    async def requests(self, writer: WriteAheadWriter, count: int, fill: str = "") -> None:
        """Decisions, all at once, then their outcomes, which are durable a moment later."""
        reservations = [await self._reserve(writer) for _ in range(count)]
        drafts = [self._decision(fill) for _ in range(count)]
        decided = [writer.append(draft, held) for draft, held in zip(drafts, reservations, strict=True)]
        for draft, durable in zip(drafts, decided, strict=True):
            await durable
            self.told.say(durable=draft.id)
        outcomes = [self._draft("outcome", {"decision": d.id, "ended": "complete"}, d.request) for d in drafts]
        ended = [writer.append(draft, held) for draft, held in zip(outcomes, reservations, strict=True)]
        for held in reservations:
            held.release()
        for draft, durable in zip(outcomes, ended, strict=True):
            await durable
            self.told.say(durable=draft.id)

    async def _reserve(self, writer: WriteAheadWriter) -> RoomReservation:
        """Room for a request, once the log has grown enough; its callers are answered 503 meanwhile."""
        deadline = asyncio.get_running_loop().time() + ROOM_SECONDS_MAX
        while True:
            try:
                return writer.reserve(80_000)
            except LedgerFull:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(0.005)

    async def left_open(self, writer: WriteAheadWriter) -> None:
        draft = self._decision("")
        await writer.append(draft)
        self.told.say(durable=draft.id)

    async def acts(self, writer: WriteAheadWriter, count: int) -> None:
        drafts = [self._draft("change", {"act": "test"}, None) for _ in range(count)]
        for draft, durable in [(draft, writer.append(draft)) for draft in drafts]:
            await durable
            self.told.say(durable=draft.id)

    def rotate(self) -> None:
        """Have the log's key replaced at the next merge."""
        site = NoteVerifier.parse(self.directory.site_vkey.read_text()).name
        keys = LogKeyFiles(self.directory, self.origin)
        keys.stage(load_signing_key(self.directory.site_key, site), self.ids.new(self.clock.now_us()), "operator")

    def _decision(self, fill: str) -> EntryDraft:
        body = {
            "attempt": 1, "chosen": {"action": "sendRaw", "deployment": "a"}, "completion_tokens_max": 1,
            "fill": fill, "sent": {"bytes": 1},
        }  # fmt: skip
        return self._draft("decision", body, self.ids.new(self.clock.now_us()))

    def _draft(self, kind: str, body: dict[str, Any], request: str | None) -> EntryDraft:
        now_us = self.clock.now_us()
        return EntryDraft(kind, self.ids.new(now_us), now_us, "key:1", encode(body), request)


async def history(life: Life) -> None:
    """Writers that come and go, segments that fill up, merges, a journal that begins anew, a key that is replaced, a
    publisher that starts again, a tile that becomes full."""
    publisher = life.publisher()
    writer, doomed = life.writer(), life.writer()
    await life.requests(writer, 3)
    await life.left_open(doomed)
    life.merge(publisher)
    await doomed.close()
    for _ in range(3):
        await life.requests(writer, 4, _BIG)
        life.merge(publisher)
    life.rotate()
    life.merge(publisher)
    publisher.close()
    publisher = life.publisher()
    await life.acts(writer, 240)
    life.merge(publisher)
    await life.left_open(writer)
    await writer.close()
    life.merge(publisher)
    life.merge(publisher)
    publisher.close()


async def writing(life: Life) -> None:
    """Requests, as many as it takes, for a test that kills."""
    writer = life.writer()
    while True:
        await life.requests(writer, REQUESTS_AT_ONCE, "x" * 500)


async def publishing(life: Life) -> None:
    """Merges, as many as it takes, for a test that kills."""
    publisher = life.publisher()
    while True:
        life.merge(publisher)
        await asyncio.sleep(0)


LIVES = {"history": history, "writing": writing, "publishing": publishing}


def live(name: str, root: Path) -> int:
    """A life in this process, once SIGUSR1 lets it begin; its exit code."""
    directory = DataDirectory(root)
    try:
        life = Life(directory, Told(told_path(root)), origin_of(directory))
        signal.sigwait({signal.SIGUSR1})
        asyncio.run(LIVES[name](life))
    except (SekishoError, OSError, sqlite3.Error) as error:
        print(f"ended: {error}", file=sys.stderr, flush=True)
        return ENDED
    return 0


def told_path(root: Path) -> Path:
    return root.with_name(f"{root.name}.told")


def said_path(root: Path) -> Path:
    return root.with_name(f"{root.name}.said")


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    for line in sys.stdin:
        name, _, directory = line.rstrip("\n").partition(" ")
        root = Path(directory)
        said = os.open(said_path(root), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        child = os.fork()
        if child == 0:
            os.dup2(said, 2)
            os._exit(live(name, root))
        os.close(said)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


class Lives:
    """Starts lives, from a test. One at a time."""

    def __init__(self) -> None:
        environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join((SOURCE, str(Path(__file__).parents[1])))}
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def begin(self, name: str, root: Path) -> int:
        """The process of a life over `root`, which waits for SIGUSR1."""
        self._process.stdin.write(f"{name} {root}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def ended(self, process: int) -> int:
        """Its exit code, negative for a signal. Raises AssertionError if it hangs."""
        if not select.select([self._process.stdout], [], [], LIFE_SECONDS_MAX)[0]:
            os.kill(process, signal.SIGKILL)
            self._process.stdout.readline()
            raise AssertionError("it hangs")
        return int(self._process.stdout.readline())


if __name__ == "__main__":
    main()
