"""Granted exemptions in `state.sqlite`: which contents somebody has approved, each once and for good.

A grant is one transaction: the approval is looked at and used up, the row written, the ledger told. What was granted
stays so until its own end: taken out of the declarations and put back, the same content needs no new approval.
"""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from sekisho.identity.acts import EXEMPTION_GRANT, told
from sekisho.identity.errors import ApprovalMissing
from sekisho.identity.persons_sql import Demand
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import Clock

_METADATA: Final = sa.MetaData()
_GRANTED: Final = sa.Table(
    "exemptions_granted",
    _METADATA,
    sa.Column("sha256", sa.String(64), primary_key=True),  # of what was approved
    sa.Column("at", sa.BigInteger, nullable=False),  # µs UTC
)


class SqlExemptions:
    """Methods block, may be called from any thread, and raise RegisterUnavailable when the database can't do it now;
    then nothing was changed."""

    def __init__(self, register: SqlIdentity, clock: Clock) -> None:
        """`register` stays the caller's to close."""
        self._register = register
        self._clock = clock
        with register.transaction(writes=True) as connection:
            _METADATA.create_all(connection)

    def granted(self) -> frozenset[str]:
        """The SHA-256 of each."""
        with self._register.transaction(writes=False) as connection:
            return frozenset(connection.execute(sa.select(_GRANTED.c.sha256)).scalars())

    def grant(self, parameters: Mapping[str, str], demand: Demand, actor: str) -> None:
        """Grant what `parameters` (of the act) name. Raises ApprovalError without an approval that holds: unlike other
        acts, this one needs one even where no rule says so."""
        now_us = self._clock.now_us()
        with self._register.transaction(writes=True) as connection:
            known = sa.select(_GRANTED.c.at).where(_GRANTED.c.sha256 == parameters["sha256"])
            if connection.execute(known).first() is not None:
                return
            approval = demand.meet(connection, now_us)
            if approval is None:
                raise no_rule()
            connection.execute(sa.insert(_GRANTED).values(sha256=parameters["sha256"], at=now_us))
            self._register.tell(connection, now_us, actor, told(EXEMPTION_GRANT, parameters, approval))


def no_rule() -> ApprovalMissing:
    return ApprovalMissing(
        f"no rule in force says who approves {EXEMPTION_GRANT}",
        remedy=f'Put [[rules]] with act = "{EXEMPTION_GRANT}" in approvals.toml in force, and after that the exemption',
    )
