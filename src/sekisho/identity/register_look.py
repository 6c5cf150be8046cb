"""A look at a register's SQLite file that changes nothing: no table is made, none brought up to date, no file made."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.identity.api_keys import principal_id
from sekisho.identity.errors import RegisterUnavailable, RegisterUnsupported
from sekisho.identity.interfaces import Principal, Stop
from sekisho.identity.sql import SCHEMA_VERSION
from sekisho.kernel import canonical

_BUSY_S: Final = 5.0
_LOOK: Final = "Look at its file and its permissions, or restore it from a backup"


class RegisterLook(NamedTuple):
    live_keys: int
    stops: tuple[Stop, ...]  # those set, in the order of setting
    waiting: int  # administrative acts that are not in the ledger yet
    waiting_since: int | None  # when the oldest of them was done, µs UTC
    newest_at: int | None  # the latest time (µs UTC) in it
    persons: frozenset[str] = frozenset()  # the ids of those who have a key that is not retired


def look_at_register(path: Path) -> RegisterLook:
    """Blocking. Raises RegisterUnavailable, and RegisterUnsupported for one of a newer program."""
    try:
        with _reading(path) as connection:
            schema = _schema(connection, path)
            live = connection.execute("SELECT count(*) FROM identity_api_keys WHERE revoked_at IS NULL").fetchone()[0]
            times = "SELECT max(at) FROM (SELECT max(created_at) AS at FROM identity_api_keys"
            times += " UNION ALL SELECT max(revoked_at) FROM identity_api_keys"
            stops: tuple[Stop, ...] = ()
            if schema >= 2:
                rows = "SELECT kind, name, reason, set_at, lifted_at, sequence FROM identity_stops"
                rows += " WHERE lifted_at IS NULL ORDER BY set_at, name"
                stops = tuple(Stop(*row) for row in connection.execute(rows))
                times += " UNION ALL SELECT max(set_at) FROM identity_stops"
                times += " UNION ALL SELECT max(lifted_at) FROM identity_stops"
            waiting, since = connection.execute("SELECT count(*), min(at) FROM identity_outbox").fetchone()
            newest = connection.execute(times + ")").fetchone()[0]
            persons = _persons(connection)
    except sqlite3.Error as error:
        raise RegisterUnavailable(f"The register {path} can't be read: {error}", remedy=_LOOK) from None
    return RegisterLook(live, stops, waiting, since, newest, persons)


class KeyLook(NamedTuple):
    principal: Principal
    revoked_at: int | None  # µs UTC


def look_at_key(path: Path, key_id: str) -> KeyLook | None:
    """Who asks with a key; None: there is none of this id. Blocking, and raises as `look_at_register` does."""
    columns = "SELECT organisation, roles, data_class, residency, revoked_at FROM identity_api_keys WHERE id = ?"
    try:
        with _reading(path) as connection:
            _schema(connection, path)
            row = connection.execute(columns, (key_id,)).fetchone()
    except sqlite3.Error as error:
        raise RegisterUnavailable(f"The register {path} can't be read: {error}", remedy=_LOOK) from None
    if row is None:
        return None
    organisation, roles, data_class, residency, revoked_at = row
    jurisdictions = None if residency is None else tuple(canonical.decode(residency.encode()))
    roles = tuple(canonical.decode(roles.encode()))
    return KeyLook(Principal(principal_id(key_id), organisation, roles, data_class, jurisdictions), revoked_at)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    # Without a `-wal` file beside it, nobody has it open and everything is in the one file. Opened as any other then,
    # SQLite would make that file; `immutable` has it make none.
    alone = not path.with_name(f"{path.name}-wal").exists()
    options = "mode=ro&immutable=1" if alone else "mode=ro"
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=_BUSY_S)
    try:
        connection.execute("BEGIN")
        yield connection
    finally:
        connection.close()


def _persons(connection: sqlite3.Connection) -> frozenset[str]:
    """The table is made when the first of them is enrolled."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'persons_keys'").fetchone() is None:
        return frozenset()
    rows = connection.execute("SELECT DISTINCT person FROM persons_keys WHERE retired_at IS NULL")
    return frozenset(row[0] for row in rows)


def _schema(connection: sqlite3.Connection, path: Path) -> int:
    row = connection.execute("SELECT value FROM identity_state WHERE name = 'schema'").fetchone()
    schema = int(row[0]) if row else 0
    if not 1 <= schema <= SCHEMA_VERSION:
        raise RegisterUnsupported(
            f"The register {path} has schema {schema}; this program knows schemas up to {SCHEMA_VERSION}",
            remedy="Run a version of Sekisho at least as new as the one that wrote it",
        )
    return schema
