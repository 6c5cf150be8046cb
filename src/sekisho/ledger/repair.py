"""Repairing a ledger directory: what is damaged, what can be set right, and setting it right.

The rules:

1. Nothing that was answered for is discarded: what can't be read stays aside, in `aside/repair-<time>/`, byte for byte.
2. Nothing is believed that nothing proves: entries of the log by the journal's or the checkpoint's root, entries of a
   write-ahead log by their frame's checksum.
3. No size is signed a second time: a journal is rebuilt at the published size, never below it.
4. What is lost is named entry by entry, and the repair is an entry of the log itself.
5. Every step may be interrupted; the next repair goes on from there.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from sekisho.kernel.clock import Clock, utc
from sekisho.kernel.errors import NoteError
from sekisho.kernel.files import LOOK_S_MAX, FileLock, LockHeld, sync_directory
from sekisho.kernel.notes import NoteVerifier, SignedNote
from sekisho.ledger.checkpoint import Checkpoint
from sekisho.ledger.errors import CheckpointInvalid, LogHalted, LogUnreadable, WriteAheadDamaged
from sekisho.ledger.journal import NEW_NODE, Journal, Source, State, journal_files, read_journal, readable_records
from sekisho.ledger.log_files import CHECKPOINT, LogFiles, archived_directory
from sekisho.ledger.losses import RANGES_MAX, REPAIR
from sekisho.ledger.merge import OwnEntry
from sekisho.ledger.merkle import tree_root
from sekisho.ledger.mirror import tiles_of
from sekisho.ledger.publisher import PUBLISHER, Publisher
from sekisho.ledger.rebuild import Range, Tree, TreeFindings, edge_damage
from sekisho.ledger.salvage import Lost, Trace, lost_between, place_of, readable_runs, traces
from sekisho.ledger.segments import DIRECTORY_MODE, LOCK_NAME
from sekisho.ledger.sources import Position
from sekisho.ledger.storage import Disk, Storage
from sekisho.ledger.tiles import TileName
from sekisho.ledger.wal_reader import START, WriteAheadReader, writers

ASIDE: Final = "aside"
_FROM: Final = "Give another copy of this log with --from, or go on as a new node from a backup"


class DamagedWriter(NamedTuple):
    """A write-ahead log that can't be merged as it is.

    `rest_from`: nobody can know whether there were entries from this number on, since nothing behind the damage is
    readable that would tell. None where the readable ones show its end.
    """

    name: str
    alive: bool
    reason: str
    readable: int  # entries that are not merged yet and can still be
    lost: tuple[Lost, ...]
    traces: tuple[Trace, ...]
    rest_from: int | None


@dataclass(frozen=True, slots=True)
class Findings:
    """What an examination found. `refused` says what stands in the way of repairing, and what to do about it."""

    journal: str | None
    checkpoint: str | None
    tree: TreeFindings
    writers: tuple[DamagedWriter, ...]
    refused: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether there is nothing to repair."""
        found = (self.journal, self.checkpoint, self.tree.rebuildable, self.tree.lost, self.writers, self.refused)
        return not any(found)


class Repaired(NamedTuple):
    """What a repair did: what it kept aside and where, files rebuilt, entries saved from write-ahead logs."""

    findings: Findings
    aside: Path | None
    rebuilt: int
    saved: int


class Repair:
    """Examines and repairs the ledger under `root`, whose checkpoints one of `verifiers` signs.

    `copies` are directories with copies of this log (a mirror, the archive, a backup): what they hold counts only
    where it leads to the root.
    """

    def __init__(
        self,
        root: Path,
        verifiers: Sequence[NoteVerifier],
        clock: Clock,
        copies: Sequence[Path] = (),
        storage: Storage | None = None,
    ) -> None:
        self._root = root
        self._storage = storage or Disk()
        self._verifiers = verifiers
        self._clock = clock
        self._copies = copies
        self._state: State | None = None  # what the journal says, if it can be relied on
        self._tree: Tree | None = None

    def examine(self) -> Findings:
        """Find what is damaged; changes nothing. Raises LockHeld while a publisher runs."""
        if FileLock.is_held(self._root / "publish.lock"):
            raise LockHeld("control is running and publishes this log", remedy="Stop `sekisho up` first, then repair")
        return self._examine()

    def repair(self, make_publisher: Callable[[], Publisher]) -> Repaired:
        """Set right what can be; `make_publisher` makes one for this log, which is started and closed again.

        Raises LockHeld, LogHalted for what can't be repaired here, and OSError.
        """
        lock = FileLock(self._root / "publish.lock")
        try:
            lock.acquire_within(LOOK_S_MAX)
        except LockHeld:
            raise LockHeld("control is running and publishes this log", remedy="Stop `sekisho up` first") from None
        with lock:
            findings = self._examine()
            if findings.refused:
                raise LogHalted("; ".join(findings.refused))
            if findings.clean:
                return Repaired(findings, None, 0, 0)
            aside = _Aside(self._root, self._clock.now_us())
            rebuilt = self._repair_tree(findings, aside)
            if findings.checkpoint is not None:
                aside.keep(self._root / CHECKPOINT)
                (self._root / CHECKPOINT).unlink(missing_ok=True)
            if findings.journal is not None or findings.tree.rebuildable:
                self._begin_journal(findings, aside)
        publisher = make_publisher()
        publisher.start()
        try:
            saved = self._repair_writers(findings, aside, publisher)
            if rebuilt or findings.journal or findings.checkpoint or findings.tree.lost:
                publisher.record(_told_of_log(findings, aside.name, rebuilt))
            publisher.merge_once()
        finally:
            publisher.close()
        return Repaired(findings, aside.path, rebuilt, saved)

    # Examining

    def _examine(self) -> Findings:
        refused: list[str] = []
        cold = archived_directory(self._root)
        if cold is not None and not cold.is_dir():
            refused.append(f"the archive {cold}, which has the older entries, is not there. Mount it first")
        journal, state = self._examine_journal()
        checkpoint, problem = self._examine_checkpoint()
        if state is not None and checkpoint is not None and checkpoint.size > state.size:
            journal = f"it ends at {state.size} entries, and {checkpoint.size} are published"
            state = None
        if state is None and checkpoint is None and (journal or problem):
            refused.append(f"neither the journal nor the checkpoint can be relied on. {_FROM}")
        if state is not None and checkpoint is None and read_journal(self._root / "journal").torn_bytes:
            refused.append(
                "the journal's last record can't be read, and no checkpoint tells whether it was published. Going on"
                f" could sign a size twice. {NEW_NODE}"
            )
        edge = self._examine_beginning() if state is not None else None
        tree, found = self._examine_tree(state, checkpoint, problem or edge)
        if not found.holds:
            refused.append(f"what is left of the tiles does not lead to the root at {found.size} entries. {_FROM}")
        elif self._is_other_history(state, checkpoint, found):
            refused.append(f"what is published is of another history than this disk's. {NEW_NODE}")
        elif (journal or edge) is not None and found.lost:
            refused.append(f"the journal can't be rebuilt while entries of the log are lost. {_FROM}")
        rebuilding = journal is not None and not refused
        if rebuilding:
            state = self._rebuilt_state(*_known(None, checkpoint), tree)
        self._state, self._tree = state, tree
        damaged = self._examine_writers(state, everyone=rebuilding) if state is not None else ()
        refused += [
            f"{one.name} is damaged, and its process still runs. Stop the gateway (`sekisho up`) first"
            for one in damaged
            if one.alive
        ]
        return Findings(journal or edge, problem, found, damaged, tuple(refused))

    def _examine_journal(self) -> tuple[str | None, State | None]:
        """What is wrong with it, or the state it holds."""
        reading = read_journal(self._root / "journal")
        if reading.damaged_at is not None:
            return f"it is damaged at byte {reading.damaged_at}", None
        if reading.last is None and ((self._root / CHECKPOINT).exists() or (self._root / "tile").exists()):
            return "it is missing", None
        return None, reading.last or State()

    def _examine_beginning(self) -> str | None:
        """What is wrong with the tiles that a start goes on from, where the journal has grown since. A journal that
        begins at the state it ends with needs them no more."""
        first, last, *_ = read_journal(self._root / "journal")
        if first is None or last is None or first.size == last.size:
            return None
        damage = edge_damage(LogFiles(self._root), first.size, first.root)
        return None if damage is None else f"what it begins from can't be read: {damage}"

    def _examine_checkpoint(self) -> tuple[Checkpoint | None, str | None]:
        try:
            note = LogFiles(self._root).checkpoint()
            if note is None:
                return None, None
            signed = SignedNote.parse(note)
            if not signed.verified_by(self._verifiers):
                return None, "this log's key has not signed it"
            return Checkpoint.parse(signed.text), None
        except (LogUnreadable, CheckpointInvalid, NoteError) as error:
            return None, error.message

    def _examine_tree(
        self, state: State | None, checkpoint: Checkpoint | None, problem: str | None
    ) -> tuple[Tree, TreeFindings]:
        """At the journal's size. But where a crash came between a merge and its checkpoint, what is beyond that is
        written by the publisher's start; if what is published is whole, there is nothing to repair."""
        logged = self._logged()
        size, root = _known(state, checkpoint)
        published, published_root = _known(None, checkpoint)
        if state is not None and problem is None and published < size:
            tree = Tree(self._root, published, published_root, logged=logged, copies=self._copies)
            found = tree.check()
            if found == TreeFindings(published, True, (), ()):
                return tree, found
        tree = Tree(self._root, size, root, logged=logged, copies=self._copies)
        return tree, tree.check()

    def _is_other_history(self, state: State | None, checkpoint: Checkpoint | None, found: TreeFindings) -> bool:
        """Whether the published root can't be this log's: told only by tiles that are all right."""
        if state is None or checkpoint is None or found.rebuildable or found.size != state.size:
            return False
        return tree_root(checkpoint.size, LogFiles(self._root).nodes(state.size)) != checkpoint.root

    def _logged(self) -> dict[int, bytes]:
        """Entries by leaf, as the journal still has them."""
        found: dict[int, bytes] = {}
        for path in journal_files(self._root / "journal"):
            for state, entries in readable_records(path):
                first = state.size - len(entries)
                found.update((first + offset, entry) for offset, entry in enumerate(entries))
        return found

    def _rebuilt_state(self, size: int, root: bytes, tree: Tree) -> State:
        """The journal's state at `size`, from what the log's entries say of their writers."""
        following: dict[str, int] = {}
        for envelope in map(orjson.loads, tree.entries()):
            following[envelope["writer"]] = max(following.get(envelope["writer"], 0), envelope["seq"] + 1)
        # The place in a writer's log is not known any more; its next number is, and that is what a salvage goes by.
        sources = {
            reader.name: Source(Position(0, following.get(reader.name, 0), START.chain), following.get(reader.name, 0))
            for reader in writers(self._root)
        }
        return State(size, root, sources, frozenset(), following.get(PUBLISHER, 0), 0)

    def _examine_writers(self, state: State, *, everyone: bool) -> tuple[DamagedWriter, ...]:
        damaged = []
        for reader in writers(self._root):
            if reader.name in state.closed:
                continue
            alive = FileLock.is_held(reader.directory / LOCK_NAME)
            source = state.sources.get(reader.name, Source(START, 0))
            damage = None if everyone else reader.survey(source.position, bytes_max=sys.maxsize).damage
            if everyone or damage is not None:
                damaged.append(_damaged_writer(reader, source.next_seq, damage, alive=alive))
        return tuple(damaged)

    # Repairing

    def _repair_tree(self, findings: Findings, aside: "_Aside") -> int:
        if self._tree is None or not findings.tree.rebuildable:
            return 0
        storage = self._storage
        written: list[Path] = []

        def write(name: TileName, data: bytes) -> None:
            path = self._root / name.path
            aside.keep(path)
            storage.put(path, data)
            written.append(path)

        self._tree.rebuild(write)
        storage.sync(written, self._root)
        return len(written)

    def _begin_journal(self, findings: Findings, aside: "_Aside") -> None:
        """Anew at the state that is known: what a damaged file holds beside is in the tiles or the write-ahead logs."""
        if self._state is None:
            raise AssertionError("an examination that refused nothing knows the state")
        for path in journal_files(self._root / "journal"):
            aside.keep(path)
        # A file that the old journal could have brought back must not be lost to a power cut once that has gone.
        there = [self._root / name.path for name in tiles_of(self._state.size)]
        self._storage.sync([path for path in there if path.exists()], self._root)
        journal = Journal(self._root / "journal", self._storage)
        journal.create(self._state)
        journal.close()

    def _repair_writers(self, findings: Findings, aside: "_Aside", publisher: Publisher) -> int:
        saved = 0
        for damaged in findings.writers:
            reader = WriteAheadReader(self._root / "wal" / damaged.name)
            lock = reader.try_lock()
            if lock is None:
                raise LockHeld(f"{damaged.name} is being written by a process", remedy="Stop `sekisho up` first")
            with lock:
                aside.keep(reader.directory)
                runs = readable_runs(reader.directory, publisher.merged_to(damaged.name).next_seq)
                publisher.salvage(reader, runs, _told_of_writer(damaged, aside.name))
                saved += damaged.readable
        return saved


class _Aside:
    """The folder that a repair keeps things in, made when there is something to keep."""

    def __init__(self, root: Path, now_us: int) -> None:
        self._root = root
        self.name = utc(now_us, "repair-%Y%m%dT%H%M%SZ")
        self._path = root / ASIDE / self.name
        self._kept = False

    @property
    def path(self) -> Path | None:
        return self._path if self._kept else None

    def keep(self, path: Path) -> None:
        """A copy of a file, or of a directory's files, under its place in the ledger; durable when this returns."""
        if not path.exists():
            return
        files = [path] if path.is_file() else sorted(one for one in path.iterdir() if one.name != LOCK_NAME)
        for file in files:
            target = self._path / file.relative_to(self._root)
            if target.exists():
                continue  # from a repair of the same second that broke off
            target.parent.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
            partial = target.with_name(f".{target.name}.new")  # what bears the name is whole, whenever we break off
            with file.open("rb") as source, partial.open("wb") as copy:
                shutil.copyfileobj(source, copy)
                copy.flush()
                os.fsync(copy.fileno())
            partial.rename(target)
            for directory in target.parents:
                sync_directory(directory)
                if directory == self._root:
                    break
        self._kept = True


def _known(state: State | None, checkpoint: Checkpoint | None) -> tuple[int, bytes]:
    if state is not None:
        return state.size, state.root
    if checkpoint is not None:
        return checkpoint.size, checkpoint.root
    return 0, State().root


def _damaged_writer(
    reader: WriteAheadReader, next_seq: int, damage: WriteAheadDamaged | None, *, alive: bool
) -> DamagedWriter:
    readable = end = 0
    for run in readable_runs(reader.directory, next_seq):
        readable += len(run.entries)
        end = run.position.offset
    lost = lost_between(reader.name, next_seq, readable_runs(reader.directory, next_seq))
    found = traces(reader.directory, lost) if lost else []
    rest_from = None
    if damage is not None and place_of(damage) >= end:
        rest_from = next_seq + readable + sum(gap.end - gap.first for gap in lost)
    reason = "its place was in the journal" if damage is None else damage.message
    return DamagedWriter(reader.name, alive, reason, readable, tuple(lost), tuple(found), rest_from)


def _told_of_writer(damaged: DamagedWriter, kept: str) -> OwnEntry:
    ranges = [(gap.first, gap.end) for gap in damaged.lost]
    body = {"act": REPAIR, "kept": kept, "rest_from": damaged.rest_from, "writer": damaged.name, **_ranges(ranges)}
    return OwnEntry("change", "operator", body)


def _told_of_log(findings: Findings, kept: str, rebuilt: int) -> OwnEntry:
    body = {
        "act": REPAIR,
        "checkpoint": findings.checkpoint is not None,
        "journal": findings.journal is not None,
        "kept": kept,
        "rebuilt": rebuilt,
        **_ranges(findings.tree.lost),
    }
    return OwnEntry("change", "operator", body)


def _ranges(ranges: Iterable[Range]) -> dict[str, Any]:
    """Lost numbers, as [first, end) pairs: sequence numbers of a writer, or leaves of the log."""
    all_of_them = list(ranges)
    return {
        "lost": [list(pair) for pair in all_of_them[:RANGES_MAX]],
        "lost_count": sum(end - first for first, end in all_of_them),
    }
