"""The log's index in SQLite: a projection of the entries, rebuilt from them when it is missing or damaged.

It holds request → leaves, id → leaf for entries without a request, the entries that are still open, and, in the same
transaction, the tree it stands for (size, root) and the watermark.
"""

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.interfaces import Lifecycle

INDEX: Final = "index.sqlite"
FORMAT: Final = 1  # of the tables; another one is rebuilt
BUSY_SECONDS: Final = 5.0  # readers never block a writer in WAL mode; only opening and checkpointing wait
_IDS_PER_QUERY: Final = 500  # SQLite bounds the variables of a statement
_TABLES: Final = """
CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, root BLOB NOT NULL,
                    watermark_us INTEGER NOT NULL);
CREATE TABLE requests (request TEXT NOT NULL, leaf INTEGER NOT NULL, PRIMARY KEY (request, leaf)) WITHOUT ROWID;
CREATE TABLE entries (id TEXT PRIMARY KEY, leaf INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE open (id TEXT PRIMARY KEY, writer TEXT NOT NULL, request TEXT, leaf INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX open_by_request ON open (request);
CREATE INDEX open_by_writer ON open (writer);
"""


class IndexDamaged(Exception):
    """Internal to the ledger: the index does not stand for this log and is to be rebuilt."""


@contextlib.contextmanager
def _damage_shows() -> Iterator[None]:
    """A disk that fails travels as it is; a file that is no longer our database is IndexDamaged."""
    try:
        yield
    except (sqlite3.OperationalError, sqlite3.InternalError):
        raise
    except sqlite3.DatabaseError:
        raise IndexDamaged from None


class OpenEntry(NamedTuple):
    """An entry that another must close."""

    writer: str
    request: str | None
    leaf: int


Seen = tuple[str, str | None, str, str | None, bool]


def see(envelope: dict[str, Any], lifecycle: Lifecycle) -> Seen:
    """What the index needs of an entry: id, request, writer, the id that it closes, whether it opens.

    A plain tuple of texts: a merge holds tens of thousands of them, and the collector would walk through objects.
    """
    return (
        envelope["id"],
        envelope.get("request"),
        envelope["writer"],
        lifecycle.closes(envelope),
        lifecycle.opens(envelope),
    )


class IndexChange:
    """What a run of entries changes in the index. Pure."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, int]] = []
        self.entries: list[tuple[str, int]] = []
        self.opened: dict[str, OpenEntry] = {}
        self.closed: set[str] = set()

    def add(self, leaf: int, seen: Seen) -> None:
        """Take note of the entry at `leaf`."""
        identifier, request, writer, closes, opens = seen
        if request is None:
            self.entries.append((identifier, leaf))
        else:
            self.requests.append((request, leaf))
        if closes is not None and self.opened.pop(closes, None) is None:
            self.closed.add(closes)
        if opens:
            self.opened[identifier] = OpenEntry(writer, request, leaf)


class Index:
    """The publisher's side. Raises sqlite3.OperationalError when the disk fails, IndexDamaged when it must go."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> tuple[int, bytes]:
        """Open or create; the (size, root) it stands for. Raises IndexDamaged."""
        with _damage_shows():
            self._connection = connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            # NORMAL: a power cut may take the last transactions, never consistency; the entries bring them back.
            for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -65536"):
                connection.execute(f"PRAGMA {pragma}")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                self._create(connection)
            elif version != FORMAT:
                raise IndexDamaged
            row = connection.execute("SELECT size, root FROM state").fetchone()
        if row is None:
            raise IndexDamaged
        size, root = row
        return size, root

    def discard(self) -> None:
        """Remove the files; readers that still hold them notice by the file's identity."""
        self.close()
        for suffix in ("-wal", "-shm", ""):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    def apply(self, change: IndexChange | None, size: int, root: bytes, watermark_us: int) -> None:
        """One transaction: the rows, and the tree they stand for."""
        connection = self._open_connection()
        with _damage_shows(), contextlib.ExitStack() as rollback:
            connection.execute("BEGIN IMMEDIATE")
            rollback.callback(connection.rollback)
            if change is not None:
                _write(connection, change)
            connection.execute("UPDATE state SET size = ?, root = ?, watermark_us = ?", (size, root, watermark_us))
            connection.execute("COMMIT")
            rollback.pop_all()

    def known(self, ids: Collection[str]) -> set[str]:
        """Those of `ids` that are in the log already as entries without a request."""
        connection = self._open_connection()
        found: set[str] = set()
        wanted = list(ids)
        for first in range(0, len(wanted), _IDS_PER_QUERY):
            part = wanted[first : first + _IDS_PER_QUERY]
            marks = ",".join("?" * len(part))
            with _damage_shows():
                rows = connection.execute(f"SELECT id FROM entries WHERE id IN ({marks})", part)  # noqa: S608  # marks
                found.update(row[0] for row in rows)
        return found

    def open_of(self, writer: str) -> dict[str, OpenEntry]:
        """What a writer has left open, in the log's order."""
        with _damage_shows():
            rows = self._open_connection().execute(
                "SELECT id, writer, request, leaf FROM open WHERE writer = ? ORDER BY leaf", (writer,)
            )
            return {row[0]: OpenEntry(*row[1:]) for row in rows}

    def settle(self) -> None:
        """Make it one file that readers can open where nobody can write."""
        self._open_connection().execute("PRAGMA journal_mode = DELETE")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is None:
            raise IndexDamaged
        return self._connection

    @staticmethod
    def _create(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for statement in filter(str.strip, _TABLES.split(";")):
            connection.execute(statement)
        connection.execute("INSERT INTO state VALUES (1, 0, ?, 0)", (b"",))
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.execute("COMMIT")


def _write(connection: sqlite3.Connection, change: IndexChange) -> None:
    connection.executemany("INSERT INTO requests VALUES (?, ?)", change.requests)
    connection.executemany("INSERT INTO entries VALUES (?, ?)", change.entries)
    connection.executemany("DELETE FROM open WHERE id = ?", _rows(change.closed))
    connection.executemany(
        "INSERT INTO open VALUES (?, ?, ?, ?)",
        ((identifier, o.writer, o.request, o.leaf) for identifier, o in change.opened.items()),
    )


def _rows(values: Iterable[str]) -> Iterable[tuple[str]]:
    return ((value,) for value in values)


class Covered(NamedTuple):
    """What the index stands for: a tree's size, and the watermark, before which everything written is in that tree."""

    size: int
    watermark_us: int


class RequestRows(NamedTuple):
    """What the index says of a request: its leaves in order, whether an entry of it is open, and what it stands for."""

    leaves: tuple[int, ...]
    is_open: bool
    covered: Covered


_Read = TypeVar("_Read")


def _covered(connection: sqlite3.Connection) -> Covered | None:
    row = connection.execute("SELECT size, watermark_us FROM state").fetchone()
    return Covered(*row) if row else None


class IndexReader:
    """Any process's side, read-only; safe to call from several threads. Follows an index that was rebuilt."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def request(self, request: str) -> RequestRows | None:
        """One consistent reading, or None where there is no index yet. Raises LogUnreadable."""
        return self._reading(lambda connection: self._read(connection, request))

    def covered(self) -> Covered | None:
        """What the index states, or None where there is none yet. Raises LogUnreadable."""
        return self._reading(_covered)

    def _reading(self, read: Callable[[sqlite3.Connection], _Read]) -> _Read | None:
        with self._lock:
            try:
                connection = self._current()
                if connection is None:
                    return None
                connection.execute("BEGIN")
                try:
                    return read(connection)
                finally:
                    connection.execute("COMMIT")
            except sqlite3.Error as error:
                self._forget()
                raise LogUnreadable(
                    f"the log's index can't be read: {error}", remedy="It is rebuilt when the publisher starts"
                ) from None

    def close(self) -> None:
        with self._lock:
            self._forget()

    @staticmethod
    def _read(connection: sqlite3.Connection, request: str) -> RequestRows | None:
        covered = _covered(connection)
        leaves = connection.execute("SELECT leaf FROM requests WHERE request = ? ORDER BY leaf", (request,)).fetchall()
        is_open = connection.execute("SELECT 1 FROM open WHERE request = ? LIMIT 1", (request,)).fetchone()
        return RequestRows(tuple(row[0] for row in leaves), is_open is not None, covered) if covered else None

    def _current(self) -> sqlite3.Connection | None:
        try:
            status = self._path.stat()
        except FileNotFoundError:
            self._forget()
            return None
        identity = (status.st_dev, status.st_ino)
        if self._connection is None or identity != self._identity:
            self._forget()
            self._connection = sqlite3.connect(
                f"{self._path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,  # `_lock` serialises the threads
            )
            self._identity = identity
        return self._connection

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
