"""Identity, as other contexts see it."""

from typing import Any, Final, NamedTuple, Protocol

from sekisho.identity.errors import AuthenticationError as AuthenticationError
from sekisho.identity.errors import IssuerKeysUnavailable as IssuerKeysUnavailable
from sekisho.identity.errors import SessionsFull as SessionsFull
from sekisho.identity.errors import SignInRefused as SignInRefused

STOP_KINDS: Final = ("deployment", "organisation", "provider")

# What a principal's id begins with: an API key's, a token's subject's, a client certificate's holder's.
KEY_PREFIX: Final = "key-"
SUBJECT_PREFIX: Final = "oidc-"
HOLDER_PREFIX: Final = "cert-"


class Principal(NamedTuple):
    """Someone who may ask. `id` holds only `[a-z0-9._-]`, never a name.

    It is `key-` and the id of an API key, or `oidc-` or `cert-` and a pseudonym of a token's subject or of a client
    certificate's holder. `standing` says what such a principal hangs on (a declaration, a certificate); a key's
    principal hangs on its key alone.
    """

    id: str
    organisation: str
    roles: tuple[str, ...]  # sorted
    data_class: str | None  # the key's default class; None: the organisation's
    residency: tuple[str, ...] | None  # sorted; None: the organisation's
    standing: str | None = None


class ApiKey(NamedTuple):
    """An API key as registered. The key itself is not kept: `digest` is the SHA-256 of its text."""

    id: str
    digest: bytes
    name: str
    principal: Principal
    created_at: int  # µs UTC
    revoked_at: int | None
    sequence: int  # of the register's change that wrote this row last


class Stop(NamedTuple):
    """An emergency stop: while it is set, nothing is sent to (or for) what it names. `kind` is one of STOP_KINDS."""

    kind: str
    name: str
    reason: str  # free text for people on this machine; it never reaches the ledger
    set_at: int  # µs UTC
    lifted_at: int | None
    sequence: int  # of the register's change that wrote this row last


class PersonKey(NamedTuple):
    """A public key that signs for a person. A person may have several, a key belongs to one person for ever."""

    person: str  # an identifier that names nobody; it stands in declarations and entries
    key: str  # Ed25519, in hex
    enrolled_at: int  # µs UTC
    retired_at: int | None


class Demanded(Protocol):
    """What must be there for an act, such as an approval (`persons_sql.Demand`)."""

    def meet(self, connection: Any, now_us: int) -> dict[str, Any] | None:
        """Look at it and use it up, in the act's own transaction; what the act's entry tells of it, if anything.

        Raises what stands in the way; then the act is not done. `connection` is the register's (SQLAlchemy).
        """
        ...


class KeyChanges(NamedTuple):
    """Rows changed after a sequence number, and the number to ask with next time."""

    sequence: int
    keys: tuple[ApiKey, ...]
    stops: tuple[Stop, ...] = ()


class KeyRegister(Protocol):
    """The durable register of API keys and stops. Row and outbox entry are written in one transaction."""

    def changes_since(self, sequence: int) -> KeyChanges:
        """Every key and stop whose row changed after `sequence` (0: all). Blocking; call it off the loop."""
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


class Fetches(Protocol):
    async def get(self, url: str, ca_file: str | None, bytes_max: int) -> bytes:
        """The body of a 200 answer, over verified TLS (plain HTTP to loopback addresses only), never redirected.

        `ca_file` (relative to the data directory) is exclusive. Bounded in time. Raises SekishoError, TimeoutError.
        """
        ...


class ConsoleSession(NamedTuple):
    """Someone signed in to the console. `id` names the session in entries and opens nothing."""

    id: str
    role: str  # "operator" or "auditor"
    expires_at: int  # µs UTC


class ConsoleSignIn(Protocol):
    """One-time tokens and sessions. Every method blocks."""

    def sign_in(self, token: str) -> tuple[ConsoleSession, str]:
        """Use a token up: the session, and the secret for its cookie. Raises SignInRefused, or SessionsFull."""
        ...

    def session(self, secret: str) -> ConsoleSession | None:
        """The live session whose cookie this is."""
        ...

    def sign_out(self, secret: str) -> None: ...
