"""Console tokens and sessions in `state.sqlite`, beside the key register and with its outbox.

Each act is one transaction: the row, and the outbox entry that tells of it.
"""

from typing import Any, Final

import sqlalchemy as sa

from sekisho.identity import console_sign_in as sign_in
from sekisho.identity.errors import RegisterUnsupported, SessionsFull, SignInRefused
from sekisho.identity.interfaces import ConsoleSession
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import Clock

SCHEMA_VERSION: Final = 1
_METADATA: Final = sa.MetaData()
_VERSION: Final = sa.Table("console_state", _METADATA, sa.Column("schema", sa.Integer, primary_key=True))
_TOKENS: Final = sa.Table(
    "console_tokens",
    _METADATA,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),  # µs UTC
)
_SESSIONS: Final = sa.Table(
    "console_sessions",
    _METADATA,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("expires_at", sa.BigInteger, nullable=False),  # µs UTC
)


class SqlConsole:
    """`ConsoleSignIn` over the register's database. Methods block, may be called from any thread, and raise
    RegisterUnavailable when the database can't do it now; then nothing was changed."""

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
                    f"The console's tables have schema {version}; this program knows schema {SCHEMA_VERSION}",
                    remedy="Run a version of Sekisho at least as new as the one that wrote them",
                )

    def issue(self, role: str, actor: str) -> str:
        """A token for one sign-in within 15 minutes; its text is kept nowhere. Raises SignInRefused for a role that
        there is not, and while too many wait to be used."""
        sign_in.require_role(role)
        now_us, token = self._clock.now_us(), sign_in.new_secret()
        expires_at, token_id = now_us + sign_in.TOKEN_LIFE_US, sign_in.new_id("t")
        row = {"id": token_id, "digest": sign_in.secret_digest(token), "role": role, "expires_at": expires_at}
        with self._register.transaction(writes=True) as connection:
            connection.execute(sa.delete(_TOKENS).where(_TOKENS.c.expires_at <= now_us))
            if _count(connection, _TOKENS) >= sign_in.TOKENS_LIVE_MAX:
                raise SignInRefused("too many sign-in tokens wait to be used", remedy="Use one, or wait 15 minutes")
            connection.execute(sa.insert(_TOKENS).values(row))
            self._register.tell(connection, now_us, actor, sign_in.issued_body(token_id, role, expires_at))
        return token

    def sign_in(self, token: str) -> tuple[ConsoleSession, str]:
        """A session for a token, which is used up, and the secret of its cookie. Raises SignInRefused for a token
        that is unknown, used or too old; which of these, nobody is told."""
        now_us, digest = self._clock.now_us(), sign_in.secret_digest(token)
        with self._register.transaction(writes=True) as connection:
            found = connection.execute(sa.select(_TOKENS).where(_TOKENS.c.digest == digest)).first()
            if found is None or found.expires_at <= now_us:
                raise SignInRefused
            connection.execute(sa.delete(_TOKENS).where(_TOKENS.c.id == found.id))
            connection.execute(sa.delete(_SESSIONS).where(_SESSIONS.c.expires_at <= now_us))
            if _count(connection, _SESSIONS) >= sign_in.SESSIONS_LIVE_MAX:
                raise SessionsFull
            session = ConsoleSession(sign_in.new_id("s"), found.role, now_us + sign_in.SESSION_LIFE_US)
            secret = sign_in.new_secret()
            connection.execute(sa.insert(_SESSIONS).values(**session._asdict(), digest=sign_in.secret_digest(secret)))
            self._register.tell(connection, now_us, session.id, sign_in.signed_in_body(found.id, session))
        return session, secret

    def session(self, secret: str) -> ConsoleSession | None:
        """The live session whose cookie this is."""
        try:
            digest = sign_in.secret_digest(secret)
        except SignInRefused:
            return None
        with self._register.transaction(writes=False) as connection:
            return _live(connection, digest, self._clock.now_us())

    def sign_out(self, secret: str) -> None:
        """End the session; one that has ended already stays as it is."""
        now_us, digest = self._clock.now_us(), sign_in.secret_digest(secret)
        with self._register.transaction(writes=True) as connection:
            session = _live(connection, digest, now_us)
            if session is not None:
                connection.execute(sa.delete(_SESSIONS).where(_SESSIONS.c.id == session.id))
                self._register.tell(connection, now_us, session.id, sign_in.signed_out_body(session))

    def has_operator(self) -> bool:
        """Whether an operator is signed in."""
        live = (_SESSIONS.c.role == sign_in.OPERATOR) & (_SESSIONS.c.expires_at > self._clock.now_us())
        with self._register.transaction(writes=False) as connection:
            return connection.execute(sa.select(_SESSIONS.c.id).where(live).limit(1)).first() is not None


def _live(connection: sa.Connection, digest: bytes, now_us: int) -> ConsoleSession | None:
    found: Any = connection.execute(sa.select(_SESSIONS).where(_SESSIONS.c.digest == digest)).first()
    if found is None or found.expires_at <= now_us:
        return None
    return ConsoleSession(found.id, found.role, found.expires_at)


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())
