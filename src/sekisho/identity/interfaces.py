"""Identity, as other contexts see it."""

from typing import NamedTuple, Protocol

from sekisho.identity.errors import SignInRefused as SignInRefused


class Principal(NamedTuple):
    """Someone who may ask. `id` holds only `[a-z0-9._-]` (for an API key: `key-` and its id), never a name."""

    id: str
    organisation: str
    roles: tuple[str, ...]  # sorted
    data_class: str | None  # the key's default class; None: the organisation's
    residency: tuple[str, ...] | None  # sorted; None: the organisation's


class ApiKey(NamedTuple):
    """An API key as registered. The key itself is not kept: `digest` is the SHA-256 of its text."""

    id: str
    digest: bytes
    name: str
    principal: Principal
    created_at: int  # µs UTC
    revoked_at: int | None
    sequence: int  # of the register's change that wrote this row last


class KeyChanges(NamedTuple):
    """Rows changed after a sequence number, and the number to ask with next time."""

    sequence: int
    keys: tuple[ApiKey, ...]


class KeyRegister(Protocol):
    """The durable register of API keys. Row and outbox entry are written in one transaction."""

    def changes_since(self, sequence: int) -> KeyChanges:
        """Every key whose row changed after `sequence` (0: all). Blocking; call it off the loop."""
        ...


class OutboxEntry(NamedTuple):
    """An administrative act that waits to become a ledger entry; `id` makes a second append fall at the merge."""

    id: str
    kind: str
    at: int  # µs UTC
    actor: str
    body: bytes  # canonical JSON object


class Outbox(Protocol):
    """Entries written in the same transaction as the rows they tell of."""

    def pending(self, count_max: int) -> tuple[OutboxEntry, ...]:
        """The oldest entries not yet relayed. Blocking."""
        ...

    def relayed(self, identifiers: tuple[str, ...]) -> None:
        """These are durable in the ledger. Blocking."""
        ...


class ConsoleSession(NamedTuple):
    """Someone signed in to the console. `id` names the session in entries and opens nothing."""

    id: str
    role: str  # "operator" or "auditor"
    expires_at: int  # µs UTC


class ConsoleSignIn(Protocol):
    """One-time tokens and sessions. Every method blocks."""

    def sign_in(self, token: str) -> tuple[ConsoleSession, str]:
        """Use a token up: the session, and the secret for its cookie. Raises SignInRefused."""
        ...

    def session(self, secret: str) -> ConsoleSession | None:
        """The live session whose cookie this is."""
        ...

    def sign_out(self, secret: str) -> None: ...
