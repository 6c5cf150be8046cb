"""A shadow beside the snapshot in force: set and ended by a command, followed by control, which reads the ledger.

It decides nothing and no gateway knows of it. Control takes at most a fifth of one core for it: what it can't keep up
with is passed over, and counted.
"""

import asyncio
import logging
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from sekisho.app.installation import build_declared, snapshot_store
from sekisho.app.observed import rules_with_readings_in_force
from sekisho.app.plan import ProposedDirectory
from sekisho.assurance.plan import FATE
from sekisho.assurance.replay import Replay
from sekisho.assurance.shadow import Changed, ShadowWatch
from sekisho.gateway.metrics import exposition, label
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import RFC3339, Clock, utc
from sekisho.kernel.errors import UsageError
from sekisho.kernel.ids import IdSource
from sekisho.kernel.retrying import Retrying
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.interfaces import EntryDraft, EntryWriter
from sekisho.ledger.log_files import LogFiles
from sekisho.policy.engine import CedarDecider
from sekisho.settings import DataDirectory

LOOK_S: Final = 0.5
STEP_S: Final = 0.1  # of work at a time, before anything else gets its turn
SHARE_MAX: Final = 0.2  # of one core
BEHIND_MAX: Final = 262_144  # entries; further behind than this, newer ones are worth more than a whole account
KEPT_MAX: Final = 100  # differing requests that are named in the status
CAUSES_MAX: Final = 200  # kinds of difference that are told apart; more are counted together
CAUSES_NAMED_MAX: Final = 8  # of one difference: who reads it looks at the first, and the account stays small
OBSERVE_S: Final = 60.0  # between two entries of the ledger: at most 1,440 a day
OBSERVED_MAX: Final = 16  # kinds of change, and requests, that one of them names
IN_FORCE_KEPT: Final = 4  # snapshots that decisions were made under, made ready: a swap has two
_STATE_BYTES_MAX: Final = 1024 * 1024  # several times what all of it takes
FORMAT: Final = "sekisho.shadow/1"
SET: Final = "shadow.set"
OFF: Final = "shadow.off"
OBSERVED: Final = "shadow.differences"
METRICS: Final = {
    "sekisho_shadow_set": ("gauge", "1 while a shadow is set and compared."),
    "sekisho_shadow_decisions_total": ("counter", "Decisions that were compared with the shadow."),
    "sekisho_shadow_differences_total": ("counter", "Those that the shadow would have made otherwise, by change."),
    "sekisho_shadow_skipped_total": ("counter", "Entries that were passed over because control was behind."),
    "sekisho_shadow_unreadable_total": ("counter", "Decisions that could not be compared."),
    "sekisho_shadow_lag_entries": ("gauge", "Published entries that are not looked at yet."),
}

log = logging.getLogger(__name__)


@dataclass(slots=True)
class ShadowState:
    """How it stands with one shadow, as control leaves it in `run/shadow.json`.

    `changes`: "before->after" (fates, or `moved` and `routes`) → requests. `causes`: the same with what makes the
    difference. `listed`: the last that differ. `cursor`: the entry that is looked at next.
    """

    digest: str
    cursor: int
    since_us: int
    decisions: int = 0
    differences: int = 0
    skipped: int = 0
    unreadable: int = 0
    problem: str = ""
    changes: dict[str, int] = field(default_factory=dict)
    causes: dict[str, int] = field(default_factory=dict)
    listed: list[dict[str, Any]] = field(default_factory=list)

    def add(self, changed: Changed) -> None:
        change, causes = change_of(changed), list(changed.key.causes[:CAUSES_NAMED_MAX])
        self.differences += 1
        self.changes[change] = self.changes.get(change, 0) + 1
        cause = f"{change} {','.join(causes)}"
        if cause not in self.causes and len(self.causes) >= CAUSES_MAX:
            cause = f"{change} *"
        self.causes[cause] = self.causes.get(cause, 0) + 1
        named = {"request": changed.request, "change": change, "causes": causes}
        self.listed.append(named | {"organisation": changed.key.organisation, "model": changed.key.model})
        del self.listed[:-KEPT_MAX]


def change_of(changed: Changed) -> str:
    """`raw->denied`; `moved` or `routes` where the fate stays the same."""
    key = changed.key
    return f"{key.before.fate}->{key.after.fate}" if key.change == FATE else key.change


# Setting and ending it


def set_shadow(directory: DataDirectory, tree: Path, actor: str, clock: Clock) -> str:
    """Build the snapshot of a tree of declarations and name it the shadow; its digest. The act becomes an entry.

    Raises DeclarationsRefused for mistakes, UsageError for a tree that is none, SekishoError.
    """
    if not tree.is_dir():
        raise UsageError(f"{tree} is no directory of declarations", remedy="Name one with --declarations")
    store = snapshot_store(directory)
    digest = store.save(build_declared(ProposedDirectory(directory.root, tree))[1])
    Replay.of_rules(store.rules(digest), CedarDecider, clock.now_us())  # what can't be decided with is no shadow
    _tell(directory, actor, clock, {"act": SET, "shadow": digest})
    if store.shadow() != digest:
        directory.shadow_state.unlink(missing_ok=True)  # an account of an earlier time would go on where that ended
    store.set_shadow(digest)
    return digest


def end_shadow(directory: DataDirectory, actor: str, clock: Clock) -> str | None:
    """End it; the digest of what it was, None where there is none. The act becomes an entry."""
    store = snapshot_store(directory)
    digest = store.shadow()
    if digest is not None:
        _tell(directory, actor, clock, {"act": OFF, "shadow": digest})
        store.set_shadow(None)
        directory.shadow_state.unlink(missing_ok=True)
    return digest


def _tell(directory: DataDirectory, actor: str, clock: Clock, body: dict[str, str]) -> None:
    with closing(SqlIdentity(directory.state, clock)) as register, register.transaction(writes=True) as connection:
        register.tell(connection, clock.now_us(), actor, encode(body))


def shadow_state(directory: DataDirectory) -> ShadowState | None:
    """What control last left of a shadow; None where it left nothing that can be read. It is a note, no evidence."""
    try:
        with directory.shadow_state.open("rb") as file:
            return msgspec.json.decode(file.read(_STATE_BYTES_MAX), type=ShadowState)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def shadow_status(directory: DataDirectory) -> dict[str, Any]:
    """How it stands with the shadow, as JSON values (docs/plan.md). Raises SnapshotError."""
    digest, state = snapshot_store(directory).shadow(), shadow_state(directory)
    if state is None or state.digest != digest:  # of one before
        return {"format": FORMAT, "shadow": digest, "compared": False}
    since = utc(state.since_us, RFC3339)
    return {"format": FORMAT, "shadow": digest, "compared": True, **asdict(state), "since": since}


# Following it, in control


class Shadowing:
    """Belongs to control's loop."""

    def __init__(self, directory: DataDirectory, writer: EntryWriter, clock: Clock, ids: IdSource) -> None:
        self._directory = directory
        self._store = snapshot_store(directory)
        self._files = LogFiles(directory.ledger)
        self._writer = writer
        self._clock = clock
        self._ids = ids
        self._state: ShadowState | None = None
        # The shadow that is made ready, the snapshot in force whose readings it has, and until when.
        self._loaded: tuple[str, str | None, int | None] | None = None
        self._watch: ShadowWatch | None = None
        self._in_force: dict[tuple[str, int], Replay] = {}
        self._lag = 0
        self._untold: list[Changed] = []
        self._untold_changes: dict[str, int] = {}
        self._told_at = 0.0

    async def run(self) -> None:
        """Until cancelled. What goes wrong is told and tried again: a shadow must not end who publishes."""
        following = Retrying(log, "the shadow can't be followed")
        while True:
            worked_s = 0.0
            with following:
                began = time.monotonic()
                await asyncio.to_thread(self._step)
                worked_s = time.monotonic() - began
                await self._observe()
            await asyncio.sleep(max(LOOK_S, worked_s / SHARE_MAX) if not self._lag else worked_s / SHARE_MAX)

    def metrics(self) -> bytes:
        """In Prometheus' text format (version 0.0.4); empty while there is no shadow."""
        state = self._state
        if state is None:
            return b""
        changes = [(label("change", change), count) for change, count in sorted(state.changes.items())]
        samples: dict[str, list[tuple[str, float]]] = {
            "sekisho_shadow_set": [("", 1)],
            "sekisho_shadow_decisions_total": [("", state.decisions)],
            "sekisho_shadow_differences_total": [(text, float(count)) for text, count in changes],
            "sekisho_shadow_skipped_total": [("", state.skipped)],
            "sekisho_shadow_unreadable_total": [("", state.unreadable)],
            "sekisho_shadow_lag_entries": [("", self._lag)],
        }
        lines = [line for name, values in samples.items() for line in exposition(name, *METRICS[name], values)]
        return ("\n".join(lines) + "\n").encode()

    def _step(self) -> None:
        """Take over which shadow is set, then look at some entries. Blocking."""
        state = self._follow()
        if state is None or self._watch is None:
            self._lag = 0
            return
        size = self._size()
        state.cursor = min(state.cursor, size)  # a log that was made anew begins again
        if size - state.cursor > BEHIND_MAX:
            state.skipped += size - BEHIND_MAX // 2 - state.cursor
            state.cursor = size - BEHIND_MAX // 2
        began, before = time.monotonic(), state.cursor
        for first, entries in self._files.entries(state.cursor, size) if state.cursor < size else ():
            self._take(state, self._watch, entries)
            state.cursor = first + len(entries)
            if time.monotonic() - began >= STEP_S:
                break
        self._lag = size - state.cursor
        if state.cursor != before:
            self._leave(state)

    def _take(self, state: ShadowState, watch: ShadowWatch, entries: list[bytes]) -> None:
        seen = watch.see(entries)
        state.decisions += seen.decisions
        state.unreadable += seen.unreadable
        state.problem = watch.problem
        for changed in seen.changed:
            state.add(changed)
            change = change_of(changed)
            self._untold_changes[change] = self._untold_changes.get(change, 0) + 1
            if len(self._untold) < OBSERVED_MAX:
                self._untold.append(changed)

    def _follow(self) -> ShadowState | None:
        digest = self._store.shadow()
        if digest is None:
            if self._state is not None:
                log.info("the shadow %s has ended", self._state.digest[:16])
                self._directory.shadow_state.unlink(missing_ok=True)
            self._state = self._loaded = self._watch = None
            return None
        now_us, current, loaded = self._clock.now_us(), self._store.current(), self._loaded
        if loaded is None or loaded[:2] != (digest, current) or (loaded[2] is not None and now_us >= loaded[2]):
            rules = rules_with_readings_in_force(self._store, digest)
            shadow, until = Replay.of_rules(rules, CedarDecider, now_us)
            self._watch, self._loaded = ShadowWatch(shadow, self._replay), (digest, current, until)
        if self._state is None or self._state.digest != digest:
            self._untold, self._untold_changes = [], {}  # of one before
            left = shadow_state(self._directory)  # a process before this one left it: the account goes on
            self._state = left if left is not None and left.digest == digest else self._begin(digest, now_us)
            log.info("the shadow %s is compared from entry %d on", digest[:16], self._state.cursor)
        return self._state

    def _begin(self, digest: str, now_us: int) -> ShadowState:
        state = ShadowState(digest, self._size(), now_us)
        self._leave(state)
        return state

    def _replay(self, digest: str, epoch_from: int) -> Replay:
        replay = self._in_force.get((digest, epoch_from))
        if replay is None:
            if len(self._in_force) >= IN_FORCE_KEPT:
                del self._in_force[next(iter(self._in_force))]
            replay, _ = Replay.of_rules(self._store.rules(digest), CedarDecider, epoch_from)
            self._in_force[digest, epoch_from] = replay
        return replay

    def _size(self) -> int:
        note = self._files.checkpoint()
        return 0 if note is None else read_checkpoint(note).size

    def _leave(self, state: ShadowState) -> None:
        """Whole, and not durable: it is a note, and gateways wait for the same disk to record."""
        path = self._directory.shadow_state
        path.parent.mkdir(exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(msgspec.json.encode(state))
        new.replace(path)

    async def _observe(self) -> None:
        """Tell the ledger of differences, ids and verdicts only, at most once in OBSERVE_S."""
        now_s = time.monotonic()
        if self._state is None:
            self._untold, self._untold_changes = [], {}
        if not self._untold or (self._told_at and now_s - self._told_at < OBSERVE_S) or self._state is None:
            return
        changes = sorted(self._untold_changes.items(), key=lambda item: (-item[1], item[0]))
        body = {
            "changes": [{"change": change, "requests": count} for change, count in changes[:OBSERVED_MAX]],
            "differences": sum(self._untold_changes.values()),
            "observed": OBSERVED,
            "requests": [{"change": change_of(one), "request": one.request} for one in self._untold],
            "shadow": self._state.digest,
        }
        now_us = self._clock.now_us()
        await self._writer.append(EntryDraft("observation", self._ids.new(now_us), now_us, "control", encode(body)))
        self._untold, self._untold_changes, self._told_at = [], {}, now_s
