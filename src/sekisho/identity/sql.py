"""The register of API keys and its outbox in SQL (SQLAlchemy Core): SQLite now, written in the common subset.

An act is one transaction: the row, the outbox entry that tells of it, and the next number of the change sequence.
The row that holds the number is updated first, which makes writers queue: numbers become visible in their order, and
who has read up to one has missed none below it.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from sekisho.identity import api_keys, stops
from sekisho.identity.api_keys import KeyRequest
from sekisho.identity.errors import (
    KeyNotRegistered,
    RegisterRewound,
    RegisterUnavailable,
    RegisterUnsupported,
    StopNotSet,
)
from sekisho.identity.interfaces import ApiKey, Demanded, KeyChanges, OutboxEntry, Principal, Stop
from sekisho.kernel import canonical
from sekisho.kernel.clock import Clock
from sekisho.kernel.files import sync_directory
from sekisho.kernel.ids import IdSource

SCHEMA_VERSION: Final = 2  # 2: stops
BUSY_TIMEOUT_MS: Final = 5_000  # acts take milliseconds; whoever holds the lock longer is stuck
PENDING_MAX: Final = 1_000  # what one call reads into memory
IDENTIFIERS_PER_STATEMENT: Final = 500  # below every database's bound on parameters

_WRITES: Final = "sekisho_writes"
_METADATA: Final = sa.MetaData()
_STATE: Final = sa.Table(
    "identity_state",
    _METADATA,
    sa.Column("name", sa.String(32), primary_key=True),  # "schema" and "sequence"
    sa.Column("value", sa.BigInteger, nullable=False),
)
_KEYS: Final = sa.Table(
    "identity_api_keys",
    _METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("name", sa.String(api_keys.NAME_LENGTH_MAX), nullable=False),
    sa.Column("organisation", sa.String(64), nullable=False),
    sa.Column("roles", sa.Text, nullable=False),  # canonical JSON array
    sa.Column("data_class", sa.String(64)),
    sa.Column("residency", sa.Text),  # canonical JSON array
    sa.Column("created_at", sa.BigInteger, nullable=False),  # µs UTC
    sa.Column("revoked_at", sa.BigInteger),
    sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
)
_STOPS: Final = sa.Table(
    "identity_stops",
    _METADATA,
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("reason", sa.String(stops.REASON_LENGTH_MAX), nullable=False),
    sa.Column("set_at", sa.BigInteger, nullable=False),  # µs UTC
    sa.Column("lifted_at", sa.BigInteger),
    sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
)
_OUTBOX: Final = sa.Table(
    "identity_outbox",
    _METADATA,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False, unique=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),  # µs UTC
    sa.Column("actor", sa.String(64), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)


class SqlIdentity:
    """`KeyRegister`, `Outbox` and the acts that change keys, over one database shared by any number of processes.

    `location` is an SQLite file (a Path; made with mode 0600 if missing) or a database URL (a str). Every method
    blocks, may be called from any thread, and raises RegisterUnavailable when the database can't do it now; then
    nothing was changed. The constructor raises RegisterUnsupported if the database was written by a newer program.
    An instance must not be carried over a fork.
    """

    def __init__(self, location: Path | str, clock: Clock) -> None:
        self._clock = clock
        self._ids = IdSource()
        if isinstance(location, Path):
            _create_private(location)
            self._engine = sa.create_engine(sa.URL.create("sqlite+pysqlite", database=str(location)))
        else:
            self._engine = sa.create_engine(location)
        self._shown = self._engine.url.render_as_string(hide_password=True)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _configure_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        try:
            self._open_schema()
        except BaseException:
            self._engine.dispose()
            raise

    def close(self) -> None:
        """Close every connection. The instance may not be used afterwards."""
        self._engine.dispose()

    # KeyRegister

    def changes_since(self, sequence: int) -> KeyChanges:
        """As `KeyRegister` says. Costs one look at one row when nothing has changed.

        Raises RegisterRewound if the register has not yet reached `sequence`: an older copy of it was put in place,
        in which keys may be live that were revoked since.
        """
        with self.transaction(writes=False) as connection:
            latest = self._state(connection, "sequence")
            if latest == sequence:
                return KeyChanges(latest, ())
            if latest < sequence:
                raise RegisterRewound(
                    f"The register {self._shown} is at change {latest}, and was at {sequence} before",
                    remedy="It was replaced by an older copy: revoke again what was revoked since, then restart",
                )
            changed = sa.select(_KEYS).where(_KEYS.c.sequence > sequence).order_by(_KEYS.c.sequence)
            keys = tuple(map(_api_key, connection.execute(changed)))
            changed = sa.select(_STOPS).where(_STOPS.c.sequence > sequence).order_by(_STOPS.c.sequence)
            return KeyChanges(latest, keys, tuple(Stop(*row) for row in connection.execute(changed)))

    # The acts

    def create_key(
        self,
        organisation: str,
        name: str,
        roles: tuple[str, ...],
        data_class: str | None,
        residency: tuple[str, ...] | None,
        actor: str,
    ) -> tuple[ApiKey, str]:
        """Register a new key. Returns it with its text, which is kept nowhere; raises KeyRequestInvalid.

        Whether organisation, class and jurisdictions are declared is the caller's to know.
        """
        request = api_keys.validated(KeyRequest(organisation, name, roles, data_class, residency))
        api_keys.require_actor(actor)
        text = api_keys.new_text()
        key_id = api_keys.new_id()
        with self.transaction(writes=True) as connection:
            sequence = self._next_sequence(connection)
            if connection.execute(sa.select(_KEYS.c.id).where(_KEYS.c.id == key_id)).first() is not None:
                raise RegisterUnavailable(f"The new key's id {key_id} is taken", remedy="Try again")
            key = ApiKey(
                id=key_id,
                digest=api_keys.text_digest(text.encode()),
                name=request.name,
                principal=Principal(
                    id=api_keys.principal_id(key_id),
                    organisation=request.organisation,
                    roles=request.roles,
                    data_class=request.data_class,
                    residency=request.residency,
                ),
                created_at=self._clock.now_us(),
                revoked_at=None,
                sequence=sequence,
            )
            connection.execute(sa.insert(_KEYS).values(_row(key)))
            self._tell(connection, sequence, key.created_at, actor, api_keys.created_body(key))
        return key, text

    def list_keys(self) -> tuple[ApiKey, ...]:
        """Every key, revoked ones too, in the order of their creation."""
        with self.transaction(writes=False) as connection:
            ordered = sa.select(_KEYS).order_by(_KEYS.c.created_at, _KEYS.c.id)
            return tuple(map(_api_key, connection.execute(ordered)))

    def revoke_key(self, key_id: str, actor: str) -> ApiKey:
        """End a key. One that has ended already stays as it is, and nothing new is told. Raises KeyNotRegistered."""
        api_keys.require_actor(actor)
        with self.transaction(writes=True) as connection:
            row = connection.execute(sa.select(_KEYS).where(_KEYS.c.id == key_id).with_for_update()).first()
            if row is None:
                raise KeyNotRegistered(
                    f"There is no key {key_id!r}", remedy="`sekisho keys list` shows the ids of all keys"
                )
            key = _api_key(row)
            if key.revoked_at is not None:
                return key
            now_us, sequence = self._clock.now_us(), self._next_sequence(connection)
            key = key._replace(revoked_at=now_us, sequence=sequence)
            ended = sa.update(_KEYS).where(_KEYS.c.id == key_id)
            connection.execute(ended.values(revoked_at=now_us, sequence=sequence))
            self._tell(connection, sequence, now_us, actor, api_keys.revoked_body(key))
        return key

    def set_stop(self, kind: str, name: str, reason: str, actor: str) -> Stop:
        """Stop it. What is stopped already stays as it is, and nothing new is told. Raises StopRequestInvalid.

        Whether something of that name is declared is the caller's to know.
        """
        stops.require_stop(kind, name, reason)
        api_keys.require_actor(actor)
        with self.transaction(writes=True) as connection:
            known = self._stop(connection, kind, name)
            if known is not None and known.lifted_at is None:
                return known
            now_us, sequence = self._clock.now_us(), self._next_sequence(connection)
            stop = Stop(kind, name, reason, now_us, None, sequence)
            if known is not None:
                connection.execute(sa.delete(_STOPS).where(_STOPS.c.kind == kind, _STOPS.c.name == name))
            connection.execute(sa.insert(_STOPS).values(stop._asdict()))
            self._tell(connection, sequence, now_us, actor, stops.told("stop.set", kind, name))
        return stop

    def lift_stop(self, kind: str, name: str, actor: str, demand: Demanded) -> Stop:
        """Lift a stop. Raises StopNotSet if it is not set, and ApprovalError if what is demanded is not there."""
        stops.require_stop(kind, name)
        api_keys.require_actor(actor)
        with self.transaction(writes=True) as connection:
            known = self._stop(connection, kind, name)
            if known is None or known.lifted_at is not None:
                raise StopNotSet(f"The {kind} {name!r} is not stopped", remedy="`sekisho stop list` shows all stops")
            now_us = self._clock.now_us()
            approval = demand.meet(connection, now_us)
            sequence = self._next_sequence(connection)
            lifted = sa.update(_STOPS).where(_STOPS.c.kind == kind, _STOPS.c.name == name)
            connection.execute(lifted.values(lifted_at=now_us, sequence=sequence))
            self._tell(connection, sequence, now_us, actor, stops.told("stop.lift", kind, name, approval))
        return known._replace(lifted_at=now_us, sequence=sequence)

    def list_stops(self) -> tuple[Stop, ...]:
        """Every stop that is set, in the order of setting."""
        with self.transaction(writes=False) as connection:
            found = sa.select(_STOPS).where(_STOPS.c.lifted_at.is_(None)).order_by(_STOPS.c.set_at, _STOPS.c.name)
            return tuple(Stop(*row) for row in connection.execute(found))

    # Outbox

    def pending(self, count_max: int) -> tuple[OutboxEntry, ...]:
        """As `Outbox` says; at most PENDING_MAX at once."""
        columns = (_OUTBOX.c.id, _OUTBOX.c.kind, _OUTBOX.c.at, _OUTBOX.c.actor, _OUTBOX.c.body)
        oldest = sa.select(*columns).order_by(_OUTBOX.c.sequence).limit(max(0, min(count_max, PENDING_MAX)))
        with self.transaction(writes=False) as connection:
            return tuple(OutboxEntry(*row) for row in connection.execute(oldest))

    def relayed(self, identifiers: tuple[str, ...]) -> None:
        """As `Outbox` says. Entries that are gone already are passed over."""
        if not identifiers:
            return
        with self.transaction(writes=True) as connection:
            for start in range(0, len(identifiers), IDENTIFIERS_PER_STATEMENT):
                some = identifiers[start : start + IDENTIFIERS_PER_STATEMENT]
                connection.execute(sa.delete(_OUTBOX).where(_OUTBOX.c.id.in_(some)))

    # For what stands beside the keys in the same database

    @contextmanager
    def transaction(self, *, writes: bool) -> Generator[sa.Connection]:
        """A transaction that commits at the end of the block, or changes nothing. Raises RegisterUnavailable."""
        try:
            with self._engine.connect() as connection:
                connection.execution_options(**{_WRITES: writes})
                with connection.begin():
                    yield connection
        except sa.exc.DBAPIError as error:
            raise RegisterUnavailable(f"The register {self._shown} failed: {error.orig}", remedy=_LOOK) from error

    def tell(
        self, connection: sa.Connection, at: int, actor: str, body: bytes, kind: str = api_keys.CHANGE_KIND
    ) -> None:
        """Put an act (canonical JSON) into the outbox, within a transaction that writes: an entry of that kind."""
        api_keys.require_actor(actor)
        self._tell(connection, self._next_sequence(connection), at, actor, body, kind)

    # Within a transaction

    def _stop(self, connection: sa.Connection, kind: str, name: str) -> Stop | None:
        wanted = sa.select(_STOPS).where(_STOPS.c.kind == kind, _STOPS.c.name == name).with_for_update()
        row = connection.execute(wanted).first()
        return None if row is None else Stop(*row)

    def _next_sequence(self, connection: sa.Connection) -> int:
        counter = sa.update(_STATE).where(_STATE.c.name == "sequence").values(value=_STATE.c.value + 1)
        connection.execute(counter)
        return self._state(connection, "sequence")

    def _tell(
        self,
        connection: sa.Connection,
        sequence: int,
        at: int,
        actor: str,
        body: bytes,
        kind: str = api_keys.CHANGE_KIND,
    ) -> None:
        entry = {
            "id": self._ids.new(at),
            "sequence": sequence,
            "kind": kind,
            "at": at,
            "actor": actor,
            "body": body,
        }
        connection.execute(sa.insert(_OUTBOX).values(entry))

    def _state(self, connection: sa.Connection, name: str) -> int:
        value = connection.execute(sa.select(_STATE.c.value).where(_STATE.c.name == name)).scalar_one_or_none()
        if value is None:
            raise RegisterUnsupported(f"The register {self._shown} lacks its {name} number", remedy=_RESTORE)
        return int(value)

    def _open_schema(self) -> None:
        """Make the tables in an empty database, or see that those present are ours."""
        with self.transaction(writes=False) as connection:
            present = sa.inspect(connection).has_table(_STATE.name)
        if not present:
            with self.transaction(writes=True) as connection:
                # Another process may have been first; then this finds everything there and changes nothing.
                _METADATA.create_all(connection)
                if connection.execute(sa.select(_STATE.c.name)).first() is None:
                    first = [{"name": "schema", "value": SCHEMA_VERSION}, {"name": "sequence", "value": 0}]
                    connection.execute(sa.insert(_STATE), first)
        with self.transaction(writes=False) as connection:
            version = self._state(connection, "schema")
        if version == 1:
            version = self._migrate()
        if version != SCHEMA_VERSION:
            raise RegisterUnsupported(
                f"The register {self._shown} has schema {version}; this program knows schema {SCHEMA_VERSION}",
                remedy="Run a version of Sekisho at least as new as the one that wrote it",
            )

    def _migrate(self) -> int:
        """From schema 1, which had no stops. Another process may do the same just now: whoever is second changes
        nothing. A program of schema 1 that runs meanwhile goes on; only its next start is refused."""
        with self.transaction(writes=True) as connection:
            _METADATA.create_all(connection)
            older = sa.update(_STATE).where(_STATE.c.name == "schema", _STATE.c.value < SCHEMA_VERSION)
            connection.execute(older.values(value=SCHEMA_VERSION))
            return self._state(connection, "schema")


_LOOK: Final = "Look at its file, its permissions and the free space; nothing was changed"
_RESTORE: Final = "It was damaged or made by another program: restore it from a backup"


def _create_private(path: Path) -> None:
    """Make an empty file that only its owner may read, durably; leave one that is there alone.

    SQLite gives its `-wal` and `-shm` files the mode of the main one.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return
    except OSError as error:
        raise RegisterUnavailable(f"The register {path} can't be made: {error.strerror}", remedy=_LOOK) from error
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    sync_directory(path.parent)


def _configure_sqlite(connection: Any, _record: object) -> None:
    """Durable commits, readers beside a writer, and waiting instead of failing where two writers meet."""
    connection.isolation_level = None  # the driver must not begin transactions by itself: `_begin_sqlite` does
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",  # WAL's default would lose the last commits in a power cut: a revocation undone
        "foreign_keys=ON",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: sa.Connection) -> None:
    """Take the write lock at the beginning of a transaction that writes.

    One that began by reading may not wait for it later: SQLite fails it at once, as its snapshot would be stale.
    """
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _row(key: ApiKey) -> dict[str, object]:
    principal = key.principal
    return {
        "id": key.id,
        "digest": key.digest,
        "name": key.name,
        "organisation": principal.organisation,
        "roles": canonical.encode(principal.roles).decode(),
        "data_class": principal.data_class,
        "residency": None if principal.residency is None else canonical.encode(principal.residency).decode(),
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
        "sequence": key.sequence,
    }


def _api_key(row: Any) -> ApiKey:
    return ApiKey(
        id=row.id,
        digest=bytes(row.digest),
        name=row.name,
        principal=Principal(
            id=api_keys.principal_id(row.id),
            organisation=row.organisation,
            roles=tuple(canonical.decode(row.roles.encode())),
            data_class=row.data_class,
            residency=None if row.residency is None else tuple(canonical.decode(row.residency.encode())),
        ),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        sequence=row.sequence,
    )
