"""How a ledger directory is doing. Read-only; works beside every process that writes it.

What is read at one moment and what at the next may differ by a merge: a finding counts only if a second look, from the
journal as it is then, says the same.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from sekisho.kernel.errors import NoteError
from sekisho.kernel.files import FileLock
from sekisho.kernel.notes import NoteVerifier, SignedNote
from sekisho.ledger import clock_watch
from sekisho.ledger.checkpoint import Checkpoint
from sekisho.ledger.clock_watch import ClockState
from sekisho.ledger.errors import CheckpointInvalid, LogUnreadable
from sekisho.ledger.index import INDEX, IndexReader
from sekisho.ledger.journal import Source, State, journal_files, read_journal
from sekisho.ledger.log_files import CHECKPOINT, LogFiles, archived_directory
from sekisho.ledger.merkle import tree_root
from sekisho.ledger.mirror import tiles_of
from sekisho.ledger.publisher import FORMAT
from sekisho.ledger.rebuild import edge_damage
from sekisho.ledger.repair import ASIDE
from sekisho.ledger.room import BUDGET_ALARM, budget_bytes
from sekisho.ledger.segments import LOCK_NAME, TORN_DIRECTORY
from sekisho.ledger.tiles import ENTRIES, TILE_BYTES, TILE_WIDTH
from sekisho.ledger.wal_reader import START, WriteAheadReader, writers
from sekisho.ledger.writer import free_bytes

SURVEY_BYTES_MAX: Final = 256 << 20  # of unmerged entries that are counted, per writer: about a second of reading
LAG_ALARM_US: Final = 60_000_000  # control merges each second; a minute without means that it does not run or is stuck
_LOOKS_MAX: Final = 5  # a log under load moves between looks; damage stands still


class WriterStatus(NamedTuple):
    """One write-ahead log. `counted` is False where only the first SURVEY_BYTES_MAX of what is unmerged were read."""

    name: str
    alive: bool
    allocated_bytes: int
    unmerged_entries: int
    unmerged_bytes: int
    counted: bool
    oldest_unmerged_us: int | None
    written_at_us: int | None
    damage: str | None


class DiskBudget(NamedTuple):
    """What unmerged entries may take until requests are refused: each of them needs room twice more to be merged."""

    free_bytes: int
    reserve_bytes: int
    unmerged_bytes: int
    budget_bytes: int

    @property
    def used_percent(self) -> int:
        return 100 if self.budget_bytes <= 0 else min(100, self.unmerged_bytes * 100 // self.budget_bytes)


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """`published` and `merged` count entries; times are µs UTC; `damage` and `warnings` are sentences.

    All that was written before the watermark is merged. `synced_at_us` is when the last merge became durable; what
    writers have written is, at the latest a second after `written_at_us`.
    """

    origin: str | None
    publisher_runs: bool
    published: int
    published_at_us: int | None
    merged: int
    watermark_us: int | None
    synced_at_us: int | None
    writers: tuple[WriterStatus, ...]
    sizes: dict[str, int]  # bytes by kind of file
    disk: DiskBudget
    clock: ClockState | None
    archive: str | None
    aside: tuple[str, ...]
    damage: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def lag_entries(self) -> int:
        """Written, and not in a checkpoint yet."""
        return self.merged - self.published + sum(writer.unmerged_entries for writer in self.writers)

    @property
    def oldest_unmerged_us(self) -> int | None:
        return min((w.oldest_unmerged_us for w in self.writers if w.oldest_unmerged_us is not None), default=None)

    def as_object(self) -> dict[str, Any]:
        """For programs: JSON values only."""
        return {
            "archive": self.archive,
            "aside": list(self.aside),
            "clock": None if self.clock is None else {**self.clock.as_object(), "suspect": self.clock.suspect},
            "damage": list(self.damage),
            "disk": {**self.disk._asdict(), "used_percent": self.disk.used_percent},
            "lag_entries": self.lag_entries,
            "merged": self.merged,
            "oldest_unmerged_us": self.oldest_unmerged_us,
            "origin": self.origin,
            "published": self.published,
            "published_at_us": self.published_at_us,
            "publisher_runs": self.publisher_runs,
            "sizes": self.sizes,
            "synced_at_us": self.synced_at_us,
            "warnings": list(self.warnings),
            "watermark_us": self.watermark_us,
            "writers": [writer._asdict() for writer in self.writers],
        }


def read_status(root: Path, verifiers: list[NoteVerifier], *, reserve_bytes: int, now_us: int) -> LedgerStatus:
    """Look at the ledger under `root`. `reserve_bytes` is the writers' setting. Raises OSError."""
    before: LedgerStatus | None = None
    for _ in range(_LOOKS_MAX):
        try:
            status = _look(root, verifiers, reserve_bytes, now_us)
        except FileNotFoundError:
            continue  # a writer was closed, or a journal begun anew, between two looks of this one
        if not status.damage or (before is not None and before.damage == status.damage):
            return status
        before = status
    if before is None:
        raise LogUnreadable("the ledger changes faster than it can be looked at", remedy="Try again")
    return before


def _look(root: Path, verifiers: list[NoteVerifier], reserve_bytes: int, now_us: int) -> LedgerStatus:
    damage: list[str] = []
    checkpoint = _checkpoint(root, verifiers, damage)  # before the journal, which is never behind it
    first, state = _states(root, damage)
    _require_format(root, damage)
    _require_edges(root, first, checkpoint, damage)
    _require_agreement(root, checkpoint, state, damage)
    found = tuple(_writer(reader, state) for reader in writers(root) if reader.name not in state.closed)
    damage += [f"write-ahead log {writer.name}: {writer.damage}" for writer in found if writer.damage]
    _require_index(root, damage)
    sizes = _sizes(root, 0 if checkpoint is None else checkpoint.size, damage)
    unmerged = sum(writer.unmerged_bytes for writer in found)
    free = free_bytes(root)
    disk = DiskBudget(free, reserve_bytes, unmerged, budget_bytes(free, reserve_bytes, unmerged))
    runs = FileLock.is_held(root / "publish.lock")
    cold = archived_directory(root)
    status = LedgerStatus(
        origin=None if checkpoint is None else checkpoint.origin,
        publisher_runs=runs,
        published=0 if checkpoint is None else checkpoint.size,
        published_at_us=_changed_us(root / CHECKPOINT),
        merged=state.size,
        watermark_us=state.watermark_us or None,
        synced_at_us=max(
            (time for path in journal_files(root / "journal") if (time := _changed_us(path))), default=None
        ),
        writers=found,
        sizes=sizes,
        disk=disk,
        clock=_clock(root, damage),
        archive=None if cold is None else str(cold),
        aside=tuple(_aside(root)),
        damage=tuple(damage),
        warnings=(),
    )
    return _with_warnings(status, now_us)


def _with_warnings(status: LedgerStatus, now_us: int) -> LedgerStatus:
    warnings = []
    if status.disk.used_percent >= BUDGET_ALARM * 100:
        warnings.append(
            f"{status.disk.used_percent} % of the disk budget is used: free space, and see that control runs"
        )
    oldest = status.oldest_unmerged_us
    if oldest is not None and now_us - oldest > LAG_ALARM_US:
        warnings.append(f"entries wait for {(now_us - oldest) // 1_000_000} s to be merged: see that control runs")
    if status.archive is not None and not Path(status.archive).is_dir():
        warnings.append(f"the archive {status.archive} is not there: older entries can't be read")
    if status.clock is not None and status.clock.suspect:
        seconds = status.clock.ahead_us / 1e6
        warnings.append(
            f"the clock is suspect: it shows {abs(seconds):.1f} s {'more' if seconds > 0 else 'less'} than elapsed time"
            f" vouches for. Set it right; if it is right: sekisho ledger settle-clock --ahead {seconds:.0f}"
        )
    return dataclasses.replace(status, warnings=tuple(warnings))


def _checkpoint(root: Path, verifiers: list[NoteVerifier], damage: list[str]) -> Checkpoint | None:
    try:
        note = LogFiles(root).checkpoint()
        if note is None:
            return None
        signed = SignedNote.parse(note)
        if not signed.verified_by(verifiers):
            damage.append("the published checkpoint is not signed by this log's key")
            return None
        return Checkpoint.parse(signed.text)
    except (LogUnreadable, CheckpointInvalid, NoteError) as error:
        damage.append(f"the published checkpoint can't be read: {error.message}")
        return None


def _states(root: Path, damage: list[str]) -> tuple[State, State]:
    """What the journal begins from and what it ends with."""
    reading = read_journal(root / "journal")
    if reading.damaged_at is not None:
        damage.append(f"the journal is damaged at byte {reading.damaged_at}")
    return reading.first or State(), reading.last or State()


def _require_format(root: Path, damage: list[str]) -> None:
    try:
        found = (root / "format").read_bytes()
    except FileNotFoundError:
        return  # the next start writes it
    if found != FORMAT.encode():
        damage.append(f"the ledger's format is {found[:20]!r}, this version reads {FORMAT.encode()!r}")


def _require_edges(root: Path, first: State, checkpoint: Checkpoint | None, damage: list[str]) -> None:
    """What a start goes on from must be there, and so must what is published at the right edge."""
    files = LogFiles(root)
    found = [edge_damage(files, first.size, first.root)]
    if checkpoint is not None and checkpoint.size != first.size:
        found.append(edge_damage(files, checkpoint.size, checkpoint.root))
    damage += [f"the log's right edge is damaged: {one}" for one in found if one is not None]


def _require_agreement(root: Path, checkpoint: Checkpoint | None, state: State, damage: list[str]) -> None:
    if checkpoint is None or damage:
        return
    if checkpoint.size > state.size:
        damage.append(f"{checkpoint.size} entries are published, and the journal has {state.size}")
        return
    try:
        files = LogFiles(root)
        root_there = state.root
        if checkpoint.size != state.size:
            root_there = tree_root(checkpoint.size, files.nodes(checkpoint.size))
        if root_there != checkpoint.root:
            damage.append(f"the published root at {checkpoint.size} entries is not the log's")
        elif checkpoint.size:
            tree = tree_root(checkpoint.size, files.nodes(checkpoint.size))
            if tree != checkpoint.root:
                damage.append(f"the hash tiles do not lead to the published root at {checkpoint.size} entries")
    except LogUnreadable as error:
        damage.append(error.message)


def _clock(root: Path, damage: list[str]) -> ClockState | None:
    try:
        state = clock_watch.load(root)
    except LogUnreadable as error:
        damage.append(error.message)
        return None
    return None if state is None else state.at(clock_watch.read_clocks())


def _require_index(root: Path, damage: list[str]) -> None:
    index = IndexReader(root / INDEX)
    try:
        index.covered()
    except LogUnreadable as error:
        damage.append(f"{error.message}; it is rebuilt when control starts")
    finally:
        index.close()


def _writer(reader: WriteAheadReader, state: State) -> WriterStatus:
    source = state.sources.get(reader.name, Source(START, 0))
    segments = sorted(reader.directory.glob("*.seg"))
    survey = reader.survey(source.position, bytes_max=SURVEY_BYTES_MAX)
    return WriterStatus(
        reader.name,
        FileLock.is_held(reader.directory / LOCK_NAME),
        sum(_size(path) for path in segments),
        survey.entries,
        survey.entry_bytes,
        survey.whole,
        None if survey.first is None else _at(survey.first),
        max((time for path in segments if (time := _changed_us(path)) is not None), default=None),
        None if survey.damage is None else survey.damage.message,
    )


def _sizes(root: Path, size: int, damage: list[str]) -> dict[str, int]:
    """Bytes by kind; tiles that are missing, or of a wrong size, are damage."""
    tiles = bundles = missing = 0
    cold = archived_directory(root)
    for name in tiles_of(size):
        length = _size(root / name.path)
        if name.level == ENTRIES:
            bundles += length
            missing += not length and name.width == TILE_WIDTH and cold is None
        else:
            tiles += length
            missing += name.width == TILE_WIDTH and length != TILE_BYTES
    if missing:
        damage.append(f"{missing} tiles or entry bundles are missing or cut short")
    return {
        "aside": _tree_bytes(root / ASIDE) + _tree_bytes(root / TORN_DIRECTORY),
        "entries": bundles,
        "hashes": tiles,
        "index": sum(_size(root / f"{INDEX}{suffix}") for suffix in ("", "-wal", "-shm")),
        "journal": _tree_bytes(root / "journal"),
        "write_ahead": _tree_bytes(root / "wal"),
    }


def _aside(root: Path) -> list[str]:
    """What was kept aside, by repairs and recoveries, for a person to look at."""
    found = [*(root / ASIDE).glob("*"), *(root / TORN_DIRECTORY).glob("*"), *(root / "journal").glob("*.torn-*")]
    return sorted(path.relative_to(root).as_posix() for path in found)


def _tree_bytes(directory: Path) -> int:
    return sum(_size(path) for path in directory.rglob("*"))


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return status.st_size


def _changed_us(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns // 1000
    except FileNotFoundError:
        return None


def _at(entry: bytes) -> int | None:
    at = orjson.loads(entry).get("at")
    return at if isinstance(at, int) else None
