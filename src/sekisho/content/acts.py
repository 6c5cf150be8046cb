"""Reading, forgetting and ending kept content: each told of, durably, before it is done.

What is told goes into the register's outbox, in a transaction that is synced when it commits, and from there into the
ledger. A forgetting leaves a row in that transaction, which goes when the content has gone: what a crash cuts off,
control finishes, and nobody reads it meanwhile. The reason for a reading is free text: it stays in the register, and
the entry holds SHA-256(salt ‖ reason), so that a reason shown later can be held against it.
"""

import contextlib
import hashlib
import secrets
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, Protocol

import sqlalchemy as sa

from sekisho.content.errors import ContentMissing, ReadRefused
from sekisho.content.files import ContentFiles
from sekisho.content.interfaces import READER_ROLE, Content
from sekisho.identity.interfaces import Demanded
from sekisho.kernel import canonical
from sekisho.kernel.clock import Clock

ACCESS_KIND: Final = "access"
CHANGE_KIND: Final = "change"
FORGET: Final = "content.forget"
REASON_LENGTH_MAX: Final = 500
ENTRIES_TOLD_MAX: Final = 500  # ids in one entry of the ledger, which holds 65,535 bytes
DUE_MAX: Final = 10_000  # deleted in one go; the next follows
_METADATA: Final = sa.MetaData()
_READS: Final = sa.Table(
    "content_reads",
    _METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("entry", sa.String(36), nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),  # µs UTC
    sa.Column("reader", sa.String(64), nullable=False),
    sa.Column("reason", sa.String(REASON_LENGTH_MAX), nullable=False),
    sa.Column("salt", sa.LargeBinary(32), nullable=False),
)
_EVERYTHING: Final = ""  # in the place of an entry's id
_FORGETTING: Final = sa.Table(
    "content_forgetting",  # told of, and not yet done
    _METADATA,
    sa.Column("organisation", sa.String(64), primary_key=True),
    sa.Column("entry", sa.String(36), primary_key=True),
)


class Reader(NamedTuple):
    """Who reads: a principal's id, its organisation and its roles."""

    id: str
    organisation: str
    roles: tuple[str, ...]


class Register(Protocol):
    """The database of the register of keys, with its outbox."""

    def transaction(self, *, writes: bool) -> AbstractContextManager[sa.Connection]: ...

    def tell(self, connection: sa.Connection, at: int, actor: str, body: bytes, kind: str = ...) -> None: ...


class ContentActs:
    """Methods block."""

    def __init__(self, files: ContentFiles, register: Register, clock: Clock) -> None:
        self._files = files
        self._register = register
        self._clock = clock

    def read(self, entry: str, reader: Reader, reason: str) -> Content:
        """What is kept under an entry's id; the `access` entry is durable when this returns.

        Raises ReadRefused, ContentMissing, ContentUnreadable, and RegisterUnavailable if the reading can't be told of.
        """
        if not reason.strip() or len(reason) > REASON_LENGTH_MAX or not reason.isprintable():
            raise ReadRefused("a reason is needed to read it", remedy=f"Say why, in 1 to {REASON_LENGTH_MAX} letters")
        held = self._files.find(entry)
        if READER_ROLE not in reader.roles or reader.organisation != held.organisation:
            raise ReadRefused(
                f"this key may not read content of {held.organisation}",
                remedy=f"A key of that organisation with the role {READER_ROLE} may: sekisho keys create --role …",
            )
        now_us = self._clock.now_us()
        content = self._files.read(entry, now_us)
        read_id, salt = secrets.token_hex(16), secrets.token_bytes(32)
        body = {
            "act": "content.read",
            "entry": entry,
            "organisation": held.organisation,
            "read": read_id,
            "reason_sha256": hashlib.sha256(salt + reason.encode()).hexdigest(),
        }
        row = {"id": read_id, "entry": entry, "at": now_us, "reader": reader.id, "reason": reason, "salt": salt}
        with self._register.transaction(writes=True) as connection:
            _METADATA.create_all(connection)
            if {_EVERYTHING, entry} & self._forgetting_of(connection, held.organisation):
                raise ContentMissing(f"what was kept of {entry} is being forgotten")
            connection.execute(sa.insert(_READS).values(row))
            self._register.tell(connection, now_us, reader.id, canonical.encode(body), ACCESS_KIND)
        return content

    def organisation_of(self, entry: str) -> str:
        """Whose content is kept under an entry's id. Raises ContentMissing."""
        return self._files.find(entry).organisation

    def forget_entry(self, entry: str, actor: str, demand: Demanded) -> None:
        """Delete what is kept under an entry's id. Raises ContentMissing, and what `demand` raises."""
        held = self._files.find(entry)
        self._tell_forgetting(held.organisation, entry, actor, demand)
        self._finish(held.organisation, entry)

    def forget_organisation(self, organisation: str, actor: str, demand: Demanded) -> int:
        """Destroy an organisation's content key, and all that is kept under it; how many there were.

        Raises ContentMissing where there is neither, and what `demand` raises.
        """
        self._files.require_kept(organisation)
        self._tell_forgetting(organisation, _EVERYTHING, actor, demand)
        return self._finish(organisation, _EVERYTHING)

    def end_due(self) -> int:
        """Delete what has reached its end; how many. After a crash some may be told of twice, none is left.

        A forgetting that broke off is finished first.
        """
        for organisation, entry in self._forgetting():
            self._finish(organisation, entry)
        now_us = self._clock.now_us()
        self._files.sweep(now_us)
        due = self._files.due(now_us)[:DUE_MAX]
        for organisation in sorted({held.organisation for held in due}):
            mine = [held for held in due if held.organisation == organisation]
            for start in range(0, len(mine), ENTRIES_TOLD_MAX):
                some = mine[start : start + ENTRIES_TOLD_MAX]
                entries = sorted(held.entry for held in some)
                body = {"act": "content.end", "entries": entries, "organisation": organisation}
                with self._register.transaction(writes=True) as connection:
                    self._register.tell(connection, now_us, "control", canonical.encode(body), CHANGE_KIND)
                for held in some:
                    self._files.delete(held)
        return len(due)

    def reasons(self) -> Iterable[tuple[str, int, str, str]]:
        """Every reading: (entry, when, who, why), the oldest first."""
        with self._register.transaction(writes=True) as connection:
            _METADATA.create_all(connection)
            columns = (_READS.c.entry, _READS.c.at, _READS.c.reader, _READS.c.reason)
            return [
                (row.entry, row.at, row.reader, row.reason)
                for row in connection.execute(sa.select(*columns).order_by(_READS.c.at))
            ]

    # -- forgetting

    def _tell_forgetting(self, organisation: str, entry: str, actor: str, demand: Demanded) -> None:
        body: dict[str, object] = {"act": FORGET, "entry": entry or None, "organisation": organisation}
        with self._register.transaction(writes=True) as connection:
            _METADATA.create_all(connection)
            now_us = self._clock.now_us()
            approval = demand.meet(connection, now_us)
            if entry not in self._forgetting_of(connection, organisation):
                connection.execute(sa.insert(_FORGETTING).values(organisation=organisation, entry=entry))
            told = body if approval is None else {**body, "approval": approval}
            self._register.tell(connection, now_us, actor, canonical.encode(told), CHANGE_KIND)

    def _finish(self, organisation: str, entry: str) -> int:
        """Do what was told of; how many were deleted. What is gone already is passed over."""
        count = 1
        if entry == _EVERYTHING:
            count = self._files.forget(organisation, self._clock.now_us())
        else:
            with contextlib.suppress(ContentMissing):  # a crash came after the deletion
                self._files.delete(self._files.find(entry))
        done = sa.delete(_FORGETTING).where(_FORGETTING.c.organisation == organisation, _FORGETTING.c.entry == entry)
        with self._register.transaction(writes=True) as connection:
            connection.execute(done)
        return count

    def _forgetting(self) -> list[tuple[str, str]]:
        with self._register.transaction(writes=False) as connection:
            if not sa.inspect(connection).has_table(_FORGETTING.name):
                return []
            columns = (_FORGETTING.c.organisation, _FORGETTING.c.entry)
            return [(row.organisation, row.entry) for row in connection.execute(sa.select(*columns))]

    @staticmethod
    def _forgetting_of(connection: sa.Connection, organisation: str) -> set[str]:
        found = sa.select(_FORGETTING.c.entry).where(_FORGETTING.c.organisation == organisation)
        return set(connection.execute(found).scalars())
