"""Takes changed declarations over while control runs: watched, left to settle, built apart, put in force at once.

1. Watch: a fingerprint of names, sizes and times about each second, in a thread.
2. Settle: a changed tree must look the same for SETTLE_S, and git must not be at work on it. A checkout or an editor
   that is half done is not taken.
3. Build: apart from control. What has mistakes is refused: the snapshot in force stays, each mistake is said once.
4. Look again: if the tree changed during the build, what was built is forgotten.
5. Record the change, durably, then name the snapshot current: workers follow within a quarter of a second. In this
   order a crash in between leaves an entry too many and never a change without one.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from sekisho.app.build import Built, build_apart
from sekisho.app.installation import snapshot_store
from sekisho.catalog.interfaces import Mistake
from sekisho.catalog.watch import fingerprint, git_lock
from sekisho.console.interfaces import BUILDING, CHANGED, FAILED, GIT, IN_FORCE, REFUSED
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.files import write_durable
from sekisho.kernel.retrying import Retrying
from sekisho.settings import DataDirectory

WATCH_S: Final = 1.0  # between two looks
WATCH_SHARE_MAX: Final = 0.05  # of one core: a large tree is looked at less often
SETTLE_S: Final = 1.0  # longer than any pause in the middle of a save or a checkout on a disk that works
RETRY_S: Final = 5.0  # after a failure that is not the declarations' own (a full disk, say)
MISTAKES_SHOWN_MAX: Final = 20  # in the log and in the status; `sekisho check` shows all

log = logging.getLogger(__name__)

Record = Callable[[str | None, str], Awaitable[None]]  # (before, after): durable when it returns; raises SekishoError


class Look(NamedTuple):
    """A tree as it looks, and whether git is changing it."""

    fingerprint: bytes
    git: bool


class Reloader:
    """Belongs to control's loop."""

    def __init__(
        self,
        directory: DataDirectory,
        record: Record,
        *,
        build: Callable[[DataDirectory], Awaitable[Built]] = build_apart,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`changed` is called when another snapshot has come in force."""
        self._directory = directory
        self._store = snapshot_store(directory)
        self._record = record
        self._build = build
        self._state = CHANGED
        self._mistakes: tuple[Mistake, ...] = ()
        self._said: frozenset[Mistake] = frozenset()
        self._trouble = ""
        self._settled: bytes | None = None  # the fingerprint that is dealt with: in force, or refused
        self._seen: bytes | None = None
        self._seen_at = 0.0
        self._retry_at = 0.0
        self.exchanging = asyncio.Lock()  # held while a snapshot comes in force: probes put some in force too
        self._changed = changed
        self._asked = 0  # how often `look_now` was called: what it asks for while a build runs must not be lost
        self._hurry = asyncio.Event()

    @property
    def state(self) -> str:
        """IN_FORCE, CHANGED, GIT, BUILDING, REFUSED or FAILED."""
        return self._state

    @property
    def mistake_count(self) -> int:
        return len(self._mistakes)

    def mistakes(self) -> tuple[str, ...]:
        """What keeps the declarations on disk from being in force, a line each, at most MISTAKES_SHOWN_MAX and one."""
        lines = [f"{one.file}: {one.key}: {one.problem}" for one in self._mistakes[:MISTAKES_SHOWN_MAX]]
        if len(self._mistakes) > MISTAKES_SHOWN_MAX:
            lines.append(f"and {len(self._mistakes) - MISTAKES_SHOWN_MAX} more: sekisho check")
        return tuple([self._trouble] if self._trouble else lines)

    def look_now(self) -> None:
        """Look at once instead of within a second, also at what was refused before. The settling time stays."""
        self._settled = None
        self._asked += 1
        self._retry_at = 0.0
        self._hurry.set()

    async def run(self) -> None:
        """Until cancelled. What is there at the start must settle like every change: somebody may be writing it."""
        looking = Retrying(log, "the declarations can't be looked at, the snapshot in force stays")
        while True:
            seconds = WATCH_S
            with looking:
                look, cost_s = await asyncio.to_thread(self._look)
                seconds = max(WATCH_S, cost_s / WATCH_SHARE_MAX)
                await self._consider(look)
            if looking.trouble:
                # Nothing is settled while it can't be seen: what is there afterwards is built, and the state told anew.
                self._trouble, self._state, self._settled = looking.trouble, FAILED, None
                self._retry_at = time.monotonic() + RETRY_S
            try:
                async with asyncio.timeout(seconds):
                    await self._hurry.wait()
            except TimeoutError:
                continue
            self._hurry.clear()

    def _look(self) -> tuple[Look, float]:
        """How the tree looks, and how many seconds the look took."""
        began = time.monotonic()
        tree = self._directory.declarations
        look = Look(fingerprint(tree), git_lock(tree) is not None)
        return look, time.monotonic() - began

    async def _consider(self, look: Look) -> None:
        now_s = time.monotonic()
        if look.fingerprint == self._settled:
            return
        if look.fingerprint != self._seen:
            self._seen, self._seen_at, self._state, self._retry_at = look.fingerprint, now_s, CHANGED, 0.0
            return
        if look.git:
            if self._state != GIT:
                log.info("the declarations changed; waiting for git, which holds index.lock")
            self._state = GIT
            return
        if now_s - self._seen_at >= SETTLE_S and now_s >= self._retry_at:
            await self._take(look.fingerprint)

    async def _take(self, looked: bytes) -> None:
        self._state, asked = BUILDING, self._asked
        try:
            before = await asyncio.to_thread(self._store.current)
            built = await self._build(self._directory)
            after, _ = await asyncio.to_thread(self._look)
            if after.fingerprint != looked:
                self._state = CHANGED
                return
            if built.digest is None:
                self._refuse(built.mistakes)
            elif not await self._put_in_force(before, built.digest):
                self._state = CHANGED
                return
            await asyncio.to_thread(self._tell_workers)
        except (SekishoError, OSError) as error:
            if str(error) != self._trouble:  # tried again and again, said once
                log.error("the declarations can't be put in force, the snapshot in force stays: %s", error)
            self._trouble, self._state, self._retry_at = str(error), FAILED, time.monotonic() + RETRY_S
            return
        self._trouble, self._settled, self._seen = "", looked if asked == self._asked else None, looked

    async def _put_in_force(self, before: str | None, digest: str) -> bool:
        """Whether it is in force now. Not if another one came meanwhile, whose readings the build didn't know."""
        async with self.exchanging:
            if await asyncio.to_thread(self._store.current) != before:
                return False
            if digest != before:
                await self._record(before, digest)
                await asyncio.to_thread(self._store.activate, digest)
        if digest != before:
            log.info("snapshot %s is in force", digest[:16])
            self._changed()
        elif self._mistakes:
            log.info("the declarations hold no mistakes any more; snapshot %s stays in force", digest[:16])
        self._state, self._mistakes, self._said = IN_FORCE, (), frozenset()
        return True

    def _refuse(self, mistakes: tuple[Mistake, ...]) -> None:
        count = len(mistakes)
        log.error(
            "the declarations hold %d mistake%s; the snapshot in force stays. `sekisho check` shows all",
            count,
            "" if count == 1 else "s",
        )
        new = [one for one in mistakes if one not in self._said]
        for one in new[:MISTAKES_SHOWN_MAX]:
            log.error("%s: %s %s → %s", one.file, one.key, one.problem, one.remedy)
        self._state, self._mistakes, self._said = REFUSED, mistakes, frozenset(mistakes)

    def _tell_workers(self) -> None:
        """Leave word for gateways, which say it in `/readyz` and `/metrics`."""
        self._directory.run.mkdir(exist_ok=True)
        word = json.dumps({"mistakes": len(self._mistakes)}).encode()
        path = self._directory.declarations_state
        if not path.exists() or path.read_bytes() != word:
            write_durable(path, word)


def mistakes_on_disk(directory: DataDirectory) -> int:
    """What control has last said of the declarations: how many mistakes keep them from being in force; 0: none known.

    It is a note for people: one that can't be read means nothing.
    """
    try:
        count = json.loads(directory.declarations_state.read_bytes())["mistakes"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0
    return count if type(count) is int and count >= 0 else 0
