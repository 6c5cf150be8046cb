"""Enrolled persons and used approvals in `state.sqlite`, beside the key register and with its outbox.

Each act is one transaction: the row, and the outbox entry that tells of it. An approval is looked at, used up, and its
act done in one transaction too, so that neither a second use nor a retirement can slip in between.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from sekisho.catalog.interfaces import ApprovalRule
from sekisho.identity import persons
from sekisho.identity.acts import PERSON_ENROL
from sekisho.identity.approvals import Approval, Wanted, require_approval
from sekisho.identity.errors import ApprovalUsed, PersonRequestInvalid, RegisterUnsupported
from sekisho.identity.interfaces import PersonKey
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import Clock

SCHEMA_VERSION: Final = 1
KEYS_MAX: Final = 10_000  # of all persons, retired ones too; each check reads them
_METADATA: Final = sa.MetaData()
_VERSION: Final = sa.Table("persons_state", _METADATA, sa.Column("schema", sa.Integer, primary_key=True))
_KEYS: Final = sa.Table(
    "persons_keys",
    _METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("person", sa.String(64), nullable=False),
    sa.Column("enrolled_at", sa.BigInteger, nullable=False),  # µs UTC
    sa.Column("retired_at", sa.BigInteger),
)
_NAMES: Final = sa.Table(
    "persons_names",
    _METADATA,
    sa.Column("person", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(persons.FULL_NAME_MAX), nullable=False),
)
_USED: Final = sa.Table(
    "approvals_used",
    _METADATA,
    sa.Column("act", sa.String(36), primary_key=True),  # the act's id
    sa.Column("at", sa.BigInteger, nullable=False),  # µs UTC
)


class Rules(NamedTuple):
    """What demands approval here: the rules of the snapshot in force, its digest, and the installation's origin."""

    rules: tuple[ApprovalRule, ...]
    snapshot: str
    origin: str


def in_use(keys: Iterable[PersonKey]) -> list[PersonKey]:
    """Those that were not retired, whatever the clock said then: one set back must not bring a key to life again."""
    return [one for one in keys if one.retired_at is None]


class Demand:
    """Whatever the rules demand of one act. `meet` is asked in the transaction of the act itself."""

    def __init__(self, register: "SqlPersons", wanted: Wanted, approvals: Sequence[Approval], rules: Rules) -> None:
        self._register = register
        self._wanted = wanted
        self._approvals = approvals
        self._rules = rules

    def meet(self, connection: sa.Connection, now_us: int) -> dict[str, Any] | None:
        """What the entry of the act tells under `approval`; None if nothing is demanded. Raises ApprovalError."""
        live = in_use(self._register.keys_in(connection))
        approved = require_approval(self._wanted, self._approvals, self._rules.rules, live, now_us=now_us)
        if approved is None:
            return None
        if connection.execute(sa.select(_USED.c.act).where(_USED.c.act == approved.act.id)).first() is not None:
            raise ApprovalUsed("this approval was used before", remedy="Ask again: one approval is for one act")
        connection.execute(sa.insert(_USED).values(act=approved.act.id, at=now_us))
        return approved.record(self._rules.snapshot)


class SqlPersons:
    """The register of persons. Methods block, may be called from any thread, and raise RegisterUnavailable when the
    database can't do it now; then nothing was changed."""

    def __init__(self, register: SqlIdentity, clock: Clock) -> None:
        """`register` stays the caller's to close. Raises RegisterUnsupported for tables of a newer program."""
        self._register = register
        self._clock = clock
        with register.transaction(writes=True) as connection:
            _METADATA.create_all(connection)
            version = connection.execute(sa.select(_VERSION.c.schema)).scalar_one_or_none()
            if version is None:
                connection.execute(sa.insert(_VERSION).values(schema=SCHEMA_VERSION))
            elif version != SCHEMA_VERSION:
                raise RegisterUnsupported(
                    f"The tables of persons have schema {version}; this program knows schema {SCHEMA_VERSION}",
                    remedy="Run a version of Sekisho at least as new as the one that wrote them",
                )

    def demand(self, wanted: Wanted, approvals: Sequence[Approval], rules: Rules) -> Demand:
        """What an act needs, to be met where it is done."""
        return Demand(self, wanted, approvals, rules)

    def enrol(self, person: str, name: str, key: str, actor: str, rules: Rules, given: Sequence[Approval]) -> PersonKey:
        """Register a key (hex) as a person's. Raises PersonRequestInvalid, and ApprovalError if rules demand approval.

        `name` may be empty; given, it replaces the one before.
        """
        persons.require_person(person, name)
        demand = self.demand(Wanted(PERSON_ENROL, {"key": key, "person": person}, rules.origin), given, rules)
        with self._register.transaction(writes=True) as connection:
            now_us = self._clock.now_us()  # within it, so that audits find acts in the order of their times
            enrolled = PersonKey(person, key, now_us, None)
            known = connection.execute(sa.select(_KEYS).where(_KEYS.c.key == key)).first()
            if known is not None:
                raise PersonRequestInvalid(
                    f"this key was enrolled before, for {known.person}", remedy="Make a new one for each enrolment"
                )
            if connection.execute(sa.select(sa.func.count()).select_from(_KEYS)).scalar_one() >= KEYS_MAX:
                raise PersonRequestInvalid(f"more than {KEYS_MAX} keys of persons")
            record = demand.meet(connection, now_us)
            connection.execute(sa.insert(_KEYS).values(enrolled._asdict()))
            if name:
                connection.execute(sa.delete(_NAMES).where(_NAMES.c.person == person))
                connection.execute(sa.insert(_NAMES).values(person=person, name=name))
            self._register.tell(connection, now_us, actor, persons.enrolled_body(enrolled, record))
        return enrolled

    def retire(self, person: str, key: str | None, actor: str) -> tuple[PersonKey, ...]:
        """End a person's key, or all of them: what they sign counts no longer. Raises PersonRequestInvalid."""
        with self._register.transaction(writes=True) as connection:
            now_us = self._clock.now_us()
            ending = [
                one
                for one in self.keys_in(connection)
                if one.person == person and one.retired_at is None and key in (None, one.key)
            ]
            if not ending:
                raise PersonRequestInvalid(
                    f"{person!r} has no such key that is in use", remedy="`sekisho persons list` shows every key"
                )
            for one in ending:
                connection.execute(sa.update(_KEYS).where(_KEYS.c.key == one.key).values(retired_at=now_us))
                self._register.tell(connection, now_us, actor, persons.retired_body(one))
        return tuple(one._replace(retired_at=now_us) for one in ending)

    def erase_name(self, person: str, actor: str) -> None:
        """Forget who a person is. Raises PersonRequestInvalid if no name is kept."""
        with self._register.transaction(writes=True) as connection:
            erased = connection.execute(sa.delete(_NAMES).where(_NAMES.c.person == person))
            if not erased.rowcount:
                raise PersonRequestInvalid(f"no name is kept of {person!r}")
            self._register.tell(connection, self._clock.now_us(), actor, persons.erased_body(person))

    def list_keys(self) -> tuple[PersonKey, ...]:
        """Every key, retired ones too, by person and enrolment."""
        with self._register.transaction(writes=False) as connection:
            return self.keys_in(connection)

    def names(self) -> dict[str, str]:
        """The names that are kept, by person."""
        with self._register.transaction(writes=False) as connection:
            return {row.person: row.name for row in connection.execute(sa.select(_NAMES))}

    def is_used(self, act_id: str) -> bool:
        """Whether an approval of this act was used."""
        with self._register.transaction(writes=False) as connection:
            return connection.execute(sa.select(_USED.c.act).where(_USED.c.act == act_id)).first() is not None

    def keys_in(self, connection: sa.Connection) -> tuple[PersonKey, ...]:
        """The same as `list_keys`, within a transaction."""
        columns = (_KEYS.c.person, _KEYS.c.key, _KEYS.c.enrolled_at, _KEYS.c.retired_at)
        ordered = sa.select(*columns).order_by(_KEYS.c.person, _KEYS.c.enrolled_at, _KEYS.c.key)
        return tuple(PersonKey(*row) for row in connection.execute(ordered))
