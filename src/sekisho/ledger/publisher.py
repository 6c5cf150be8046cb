"""The publisher: merges the write-ahead logs of a data directory into its one log, signs and publishes it.

Whoever holds `ledger/publish.lock` is the publisher. A merge goes through these steps, in this order; a crash between
any two is made good by the next start, which runs the same steps from the journal:

1. the journal's record: the only commit point;
2. tiles and entry bundles (not yet durable: the journal brings them back);
3. the index;
4. the checkpoint, signed after a look at the one that is published;
5. the write-ahead logs give back what was merged, closed writers are removed;
6. now and then: tiles made durable, the journal begun anew.

After any error in between, this object is spent: the process ends and a new one recovers. Nothing is tried twice.

What a process before this one wrote can be read, and may not be on the disk all the same: it may have died before its
sync, and a sync that failed is not made good by a later one, since the kernel takes those pages for clean. So recovery
writes all that the journal holds once more, and the checkpoint, makes that durable and begins the journal anew, before
it signs anything.
"""

import dataclasses
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from sekisho.kernel.clock import Clock
from sekisho.kernel.files import LOOK_S_MAX, FileLock, sync_directory
from sekisho.kernel.ids import IdSource
from sekisho.kernel.notes import SignedNote, Signer
from sekisho.ledger.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from sekisho.ledger.errors import CheckpointInvalid, LedgerFormatError, LogHalted, LogUnreadable
from sekisho.ledger.index import INDEX, Index, IndexDamaged
from sekisho.ledger.indexing import fill_index
from sekisho.ledger.interfaces import KeyRotation, Lifecycle, StagedKey
from sekisho.ledger.journal import NEW_NODE, REPAIR, Journal, Source, State
from sekisho.ledger.log_files import CHECKPOINT, LogFiles
from sekisho.ledger.merge import Intake, Interruptions, Merge, OwnEntry, Taken, assemble, collect
from sekisho.ledger.merkle import tree_root
from sekisho.ledger.salvage import Run
from sekisho.ledger.sources import Position, Sources, WriteAheadSource
from sekisho.ledger.storage import Disk, Storage
from sekisho.ledger.tiles import TILE_WIDTH, Edge, TileName, partial_tiles

FORMAT: Final = "1\n"  # of the whole ledger directory
MERGE_BYTES_MAX: Final = 16 << 20  # bounds a merge's memory (about six times as much) and a journal record
JOURNAL_BYTES_MAX: Final = 64 << 20  # bounds recovery (some seconds) and what stands on disk twice
INTERVAL_SECONDS: Final = 1.0
PUBLISHER: Final = "publisher"  # the writer's name in the publisher's own entries
_WRONG_DISK: Final = (
    "This data directory is a clone or an old copy of a log that went on elsewhere. Go on there, or restore a backup,"
    " which makes a new node; if its files are damaged, `sekisho ledger repair` says so"
)


_Result = TypeVar("_Result")


class Identity(NamedTuple):
    """Who signs, and where: the log's key, the site that stands in our own entries, and how the key is replaced."""

    signer: Signer
    site: str
    rotation: KeyRotation | None = None


class Publisher:
    """One log's publisher. Blocking; one thread at a time.

    `sources` lists the write-ahead logs under `root`; `beginning` is their position before the first entry.
    """

    def __init__(
        self,
        root: Path,
        identity: Identity,
        lifecycle: Lifecycle,
        clock: Clock,
        ids: IdSource,
        *,
        sources: Sources,
        beginning: Position,
        storage: Storage | None = None,
        journal_bytes_max: int = JOURNAL_BYTES_MAX,
    ) -> None:
        self._root = root
        self._signer = identity.signer
        self._rotation = identity.rotation
        self._introduced: Signer | None = None  # signs beside the present key while it takes its place
        self._lifecycle = lifecycle
        self._clock = clock
        self._sources = sources
        self._beginning = beginning
        self._storage = storage or Disk()
        self._journal_bytes_max = journal_bytes_max
        self._interruptions = Interruptions(PUBLISHER, identity.site, lifecycle, clock, ids)
        self._files = LogFiles(root)
        self._lock = FileLock(root / "publish.lock")
        self._journal = Journal(root / "journal", self._storage)
        self._index = Index(root / INDEX)
        self._state = State()
        self._edge = Edge()
        self._unsynced: set[TileName] = set()
        self._released: dict[str, Position] = {}
        self._usable = False
        self.backlog = False

    @property
    def size(self) -> int:
        """How many entries are merged."""
        return self._state.size

    def start(self) -> None:
        """Take the lock and recover. Raises LockHeld, LogHalted, LedgerFormatError, OSError."""
        for directory in (self._root, self._root / "wal", self._root / "journal"):
            directory.mkdir(parents=True, exist_ok=True)
        self._lock.acquire_within(LOOK_S_MAX)
        try:
            self._require_format()
            self._recover()
        except BaseException:
            self.close()
            raise
        self._usable = True

    def merge_once(self) -> int:
        """One merge; returns how many entries it added. `backlog` tells whether there is more at once.

        Raises LogHalted, WriteAheadDamaged, OSError, sqlite3.OperationalError; then this publisher is spent.
        """
        return self._at_work(self._merge)

    def _at_work(self, work: Callable[[], _Result]) -> _Result:
        """Do `work`; if anything interrupts it, this publisher is spent."""
        if not self._usable:
            raise LogHalted("the publisher is not running", remedy="Start it anew; recovery sets right what broke off")
        self._usable = False
        result = work()
        self._usable = True
        return result

    def record(self, entry: OwnEntry) -> None:
        """Log and publish an entry of the publisher's own; nothing if its id is in the log. Raises as `merge_once`."""
        self._at_work(lambda: self._take(Intake(own=[entry]), self._state.watermark_us))

    def salvage(self, source: WriteAheadSource, runs: Iterable[Run], told: OwnEntry) -> int:
        """Log what could be read of a dead writer whose log is damaged, `told` with the first of it, and
        close it; how many entries that added.

        For the holder of that writer's lock, who has kept a copy: the directory is removed. `runs` begin where the log
        was merged to, and may leave gaps. A crash in between leaves the rest to the next salvage. Raises as
        `merge_once`.
        """
        return self._at_work(lambda: self._salvage(source, runs, told))

    def merged_to(self, writer: str) -> Source:
        """Where a write-ahead log was merged to."""
        return self._state.sources.get(writer, Source(self._beginning, 0))

    def run(self, stop: threading.Event) -> None:
        """Merge about once a second, at once while there is a backlog, until `stop`; errors travel."""
        while not stop.is_set():
            self.merge_once()
            if not self.backlog:
                stop.wait(INTERVAL_SECONDS)

    def close(self) -> None:
        """Let go of everything; what is merged stays."""
        self._usable = False
        self._journal.close()
        self._index.close()
        self._lock.release()

    # Recovery

    def _require_format(self) -> None:
        path = self._root / "format"
        if not path.exists():
            self._storage.replace(path, FORMAT.encode())
        elif (found := path.read_bytes()) != FORMAT.encode():
            raise LedgerFormatError(
                f"the ledger is in format {found[:20]!r}, this version reads {FORMAT.encode()!r}",
                remedy=f"Use the version of Sekisho that wrote it, or a newer one. {path} itself may be damaged",
            )

    def _recover(self) -> None:
        if self._journal.exists():
            self._replay()
        elif self._published() is not None or (self._root / "tile").exists():
            raise LogHalted("there is a published log but no journal", remedy=_WRONG_DISK)
        self._require_published_is_ours()
        self._begin_journal()
        self._recover_index()
        self._publish(self._state)

    def _replay(self) -> None:
        """Bring back the edge and the tiles from the journal; its roots prove the way."""
        records = self._journal.replay()
        self._state = next(records).state
        try:
            self._edge = Edge.load(self._state.size, self._files.tile)
        except LogUnreadable as error:
            raise LogHalted(f"the log's right edge can't be read: {error.message}", remedy=REPAIR) from None
        self._require_root(self._state)
        sizes: list[int] = []
        full: list[TileName] = []
        for state, entries in records:
            for name, data in self._edge.append(entries):
                self._put(name, data)
                full.append(name)
            self._state = state
            self._require_root(state)
            sizes.append(state.size)
        for size in sizes:  # the widths that may be in a published checkpoint
            for name, data in self._edge.partials(size):
                self._put(name, data)
        self._drop_partials([name for name in full if (self._root / name.partials_directory).exists()])

    def _require_root(self, state: State) -> None:
        if self._edge.size != state.size or self._edge.root() != state.root:
            raise LogHalted(f"the tiles do not lead to the journal's root at {state.size} entries", remedy=REPAIR)

    def _put(self, name: TileName, data: bytes) -> None:
        self._storage.put(self._root / name.path, data)
        self._unsynced.add(name)

    def _require_published_is_ours(self) -> None:
        published = self._published()
        if published is None:
            if self._journal.torn:
                raise LogHalted(
                    "the journal's last record can't be read, and there is no checkpoint that tells whether it was"
                    " published: going on could sign a size twice",
                    remedy=NEW_NODE,
                )
            return
        if published.size > self._state.size:
            raise LogHalted(
                f"the published log has {published.size} entries, this disk {self._state.size}", remedy=_WRONG_DISK
            )
        if self._files_root(published.size) != published.root:
            raise LogHalted(f"the published root at {published.size} entries is not ours", remedy=_WRONG_DISK)
        # Who wrote it may have died before it was durable. Without it nobody could tell later what was published.
        self._storage.replace(self._root / CHECKPOINT, (self._root / CHECKPOINT).read_bytes())

    def _files_root(self, size: int) -> bytes:
        # Over the tiles of the tree as it is now: an older size has its subtrees in it, but not all of its tiles.
        if size == self._state.size:
            return self._state.root
        return tree_root(size, self._files.nodes(self._state.size))

    def _recover_index(self) -> None:
        try:
            size, root = self._index.open()
            if size > self._state.size or (root or State().root) != self._files_root(size):
                raise IndexDamaged
        except (IndexDamaged, LogUnreadable):
            self._index.discard()
            size, _ = self._index.open()
        self._fill_index(size)

    def _fill_index(self, first: int) -> None:
        """Bring the index from `first` entries up to the tree."""
        interruptions = self._interruptions
        fill_index(
            self._index,
            self._files,
            first,
            self._state.size,
            lambda entry: interruptions.see(interruptions.read(entry)),
            self._files_root,
        )
        self._index.apply(None, self._state.size, self._state.root, self._state.watermark_us)

    # Merging

    def _merge(self) -> int:
        staged = self._rotation.staged() if self._rotation is not None else None
        if staged is not None:
            self._rotate(staged)
        now_us = self._clock.now_us()
        sources = self._sources(self._root)
        closed = self._still_closed({source.name for source in sources})
        if closed != self._state.closed:
            self._state = dataclasses.replace(self._state, closed=closed)
        intake = collect(sources, self._state, closed, self._beginning, MERGE_BYTES_MAX)
        try:
            self.backlog = not intake.drained
            added = self._take(intake, now_us if intake.drained else self._state.watermark_us)
        finally:
            for lock in intake.locks:
                lock.release()
        if self._journal.bytes > self._journal_bytes_max:
            self._begin_journal()
        return added

    def _take(self, intake: Intake, watermark_us: int) -> int:
        """Commit and publish an intake; how many entries it adds."""
        merge = self._assemble(intake)
        state = dataclasses.replace(
            self._state,
            sources=merge.sources,
            closed=self._state.closed | {source.name for source in intake.ended},
            publisher_seq=merge.publisher_seq,
            watermark_us=watermark_us,
        )
        if merge.entries or state.sources != self._state.sources or state.closed != self._state.closed:
            self._commit(merge, state)
        else:
            self._state = state
            self._index.apply(None, state.size, state.root, state.watermark_us)
        self._give_back(intake)
        return len(merge.entries)

    def _salvage(self, source: WriteAheadSource, runs: Iterable[Run], told: OwnEntry) -> int:
        added = used = 0
        taken: list[Taken] = []
        own = [told]  # with the first merge: after a crash, the next salvage knows nothing of gaps before that place
        position = self.merged_to(source.name).position
        for run in runs:
            taken.append(Taken(source.name, run.first_seq, list(run.entries), run.position))
            used, position = used + sum(map(len, run.entries)), run.position
            if used >= MERGE_BYTES_MAX:
                added += self._take(Intake(taken=taken, own=own), self._state.watermark_us)
                taken, used, own = [], 0, []
        taken.append(Taken(source.name, position.seq, [], position))
        return added + self._take(Intake(taken=taken, ended=[source], own=own), self._state.watermark_us)

    def _give_back(self, intake: Intake) -> None:
        for source in intake.living:
            position = self._state.sources[source.name].position
            if self._released.get(source.name) != position:
                source.release(position)
                self._released[source.name] = position
        for source in (*intake.ended, *intake.closed):
            source.remove()
            self._released.pop(source.name, None)

    def _still_closed(self, present: set[str]) -> frozenset[str]:
        """Closed writers whose directories might come back after a power cut, so that nobody merges them again."""
        closed = self._state.closed
        if closed and not closed & present:
            sync_directory(self._root / "wal")
            return frozenset()
        return closed

    def _assemble(self, intake: Intake) -> Merge:
        try:
            return assemble(intake, self._state, self._index, self._interruptions, self._entry)
        except IndexDamaged:
            self._rebuild_index()
            return assemble(intake, self._state, self._index, self._interruptions, self._entry)

    def _entry(self, leaf: int) -> bytes:
        return self._files.entry(leaf, self._state.size)

    def _commit(self, merge: Merge, state: State) -> None:
        edge = self._edge.copy()
        full = edge.append(merge.entries)
        state = dataclasses.replace(state, size=edge.size, root=edge.root())
        self._journal.append(state, merge.entries)
        before, self._edge, self._state = self._state, edge, state
        if merge.entries:
            self._write_tiles(full, before.size)
        try:
            self._index.apply(merge.change, state.size, state.root, state.watermark_us)
        except IndexDamaged:
            self._rebuild_index()
        self._publish(state)

    def _write_tiles(self, full: list[tuple[TileName, bytes]], size_before: int) -> None:
        for name, data in (*full, *self._edge.partials()):
            self._put(name, data)
        finished = {name for name, _ in full}
        self._drop_partials([name.full for name in partial_tiles(size_before) if name.full in finished])

    def _drop_partials(self, full: list[TileName]) -> None:
        """Remove the partials of tiles that are full by now."""
        if not full:
            return
        self._sync(full)  # a partial may be all that is durable of its tile
        for name in full:
            self._storage.remove(self._root / name.partials_directory)
        gone = {(name.level, name.number) for name in full}
        self._unsynced = {n for n in self._unsynced if n.width == TILE_WIDTH or (n.level, n.number) not in gone}

    def _sync(self, names: list[TileName]) -> None:
        self._storage.sync([self._root / name.path for name in names], self._root)

    def _rebuild_index(self) -> None:
        self._index.discard()
        self._index.open()
        self._fill_index(0)

    def _begin_journal(self) -> None:
        """Everything the journal holds is published; make it durable there, then begin the next file."""
        self._sync(sorted(self._unsynced, key=lambda name: (name.level, name.number, name.width)))
        self._unsynced.clear()
        self._journal.create(self._state)

    # Publishing

    def _published(self) -> Checkpoint | None:
        note = self._files.checkpoint()
        if note is None:
            return None
        try:
            return open_checkpoint(note, self._signer.verifier)
        except CheckpointInvalid as error:
            raise LogHalted(f"the published checkpoint is not this log's: {error}", remedy=_WRONG_DISK) from None

    def _publish(self, state: State) -> None:
        """Sign and publish, unless it is: never two roots for one size, never a smaller tree."""
        published = self._published()
        if published is not None:
            if published.size > state.size or (published.size == state.size and published.root != state.root):
                raise LogHalted(
                    f"another log of {published.size} entries was published under this origin", remedy=_WRONG_DISK
                )
            if published.size == state.size:
                return
        self._put_checkpoint(Checkpoint(self._signer.verifier.name, state.size, state.root))

    def _put_checkpoint(self, checkpoint: Checkpoint) -> None:
        signers = [self._signer] if self._introduced is None else [self._signer, self._introduced]
        self._storage.replace(self._root / CHECKPOINT, sign_checkpoint(checkpoint, *signers).encode())

    def _rotate(self, staged: StagedKey) -> None:
        """Replace the log's key. A crash leaves the old key in force or the new one, and both fit what is published.

        1. An entry tells of the new key; the checkpoint that covers it is signed by both.
        2. Enrolment and key files advance.
        3. From here on the new key signs alone.
        """
        self._introduced = staged.signer
        body = {
            "act": "ledger.key.rotate",
            "origin": self._signer.verifier.name,
            "vkey": staged.signer.verifier.vkey,
            "vkey_before": self._signer.verifier.vkey,
        }
        told = OwnEntry("change", staged.actor, body, staged.entry_id)
        self._take(Intake(own=[told]), self._state.watermark_us)
        published = self._published()
        if published is None:
            raise LogHalted("the published checkpoint has gone", remedy=_WRONG_DISK)
        if not SignedNote.parse(self._files.checkpoint() or "").verified_by([staged.signer.verifier]):
            self._put_checkpoint(published)  # the same root: a crash came between the entry and its checkpoint
        if self._rotation is not None:
            self._rotation.advance()
        self._signer, self._introduced = staged.signer, None
