"""What the console needs of the world, as ports; `app` joins them to the adapters. It rules nothing itself."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from sekisho.identity.interfaces import ConsoleSignIn
from sekisho.ledger.interfaces import PublishedLog
from sekisho.policy.interfaces import PolicyTitle

# What became of the declarations on disk.
IN_FORCE: Final = "in force"
CHANGED: Final = "changed, waiting for it to settle"
GIT: Final = "changed, waiting for git to finish"
BUILDING: Final = "being checked and built"
REFUSED: Final = "refused, the snapshot in force stays"
FAILED: Final = "could not be taken over, tried again"


class Status(NamedTuple):
    """What control tells of itself to anybody; nothing secret, nothing of any request."""

    origin: str
    log_size: int
    snapshot: str
    gateway: str
    declarations: str  # IN_FORCE, CHANGED, GIT, BUILDING, REFUSED or FAILED
    mistakes: int  # how many keep it from being in force; which ones is for who is signed in
    version: str  # of the program that runs


class Panel(NamedTuple):
    """The state of the installation, for who is signed in.

    `gateway` is "ready", "not ready" or "unknown" (it could not be asked), with its own reasons. `lag_us`: how long
    ago everything written was merged; None: nothing was yet. `mistakes`: a line for each of the first that keep the
    declarations from being in force, or one for what else does; how many there are is in `Status`. `cosigning` of the
    `witnesses` declared did what was last asked; `alarms`: what one has seen that can't be this log, one line each.
    `contradicted`: what probes have read against the declarations, one line each.
    """

    gateway: str
    reasons: tuple[str, ...]
    lag_us: int | None
    mistakes: tuple[str, ...]
    witnesses: int = 0
    cosigning: int = 0
    alarms: tuple[str, ...] = ()
    contradicted: tuple[str, ...] = ()


class ExplainAsked(NamedTuple):
    """What is to be explained: the body's bytes, and how the request would come. With `key_id` the key's own principal;
    else `organisation` and `roles` (none: the only organisation declared, and the role `caller`). `declarations`: with
    the tree on disk, and not what is in force.

    The rest supposes something: that inspection found `labels` in the body (None: what it does find), and that
    `labels_left` are left when it is redacted (None: it can't be); that a policy's `principal` asks; ages in whole days
    by role; an instant, µs UTC, from now on (None: now)."""

    body: bytes
    key_id: str | None = None
    organisation: str | None = None
    roles: tuple[str, ...] = ()
    data_class: str | None = None
    residency: str | None = None
    declarations: bool = False
    labels: tuple[str, ...] | None = None
    labels_left: tuple[str, ...] | None = None
    principal: str | None = None
    staleness: tuple[tuple[str, int], ...] = ()
    at_us: int | None = None


class Receipts(Protocol):
    def state(self, request_id: str) -> str:
        """ "complete", "pending", "unknown", or "unlinked": the key it was committed with is no more. Blocking."""
        ...

    def of_any(self, request_id: str) -> bytes:
        """The file, of whichever organisation; empty unless it is complete. Blocking."""
        ...


class Explain(Protocol):
    def __call__(self, asked: ExplainAsked) -> dict[str, Any]:
        """The explanation (docs/explain.md). Blocking. Raises ExplainRefused."""
        ...


class Prove(Protocol):
    def __call__(self, statement: str | None, *, declarations: bool, anything: bool) -> dict[str, Any]:
        """The proof (docs/prove.md). Blocking, for minutes at worst. Raises ExplainRefused."""


class Compliance(Protocol):
    def __call__(self, words: tuple[str, ...]) -> dict[str, Any]:
        """The view (docs/compliance.md) that the options of `sekisho compliance` ask for. Blocking, for minutes.
        Raises ComplianceRefused, TooMany, SekishoError."""
        ...


class Plan(Protocol):
    def __call__(self, declarations: Mapping[str, str] | None, words: tuple[str, ...]) -> dict[str, Any]:
        """The plan (docs/plan.md) that these options of `sekisho plan` ask for. Blocking, for minutes.

        `declarations` are texts by file, each named relative to the tree; None: those of the installation. Where they
        hold mistakes, there is `mistakes` and no plan. Raises PlanRefused, TooMany, SekishoError.
        """
        ...


class Auditors(Protocol):
    def admit(self, authorization: str | None) -> None:
        """Return once the holder of this key may read entries, and the ledger will tell that it did. Blocking.

        `authorization` is the header's value. Raises AuthenticationError, NotAllowed (the key has not the role), or
        another SekishoError where it can't be recorded: then nothing may be read.
        """
        ...


def _none() -> list[dict[str, Any]]:
    return []


def _as_it_is(note: str) -> str:
    return note


class Ports(NamedTuple):
    """Everything that the console's pages ask for. All of them block and are called in threads."""

    status: Callable[[], Status]
    panel: Callable[[], Panel]
    log: PublishedLog
    receipts: Receipts
    titles: Callable[[str], tuple[PolicyTitle, ...]]  # of a snapshot's policies, by index; raises SekishoError
    explain: Explain
    prove: Prove
    compliance: Compliance
    plan: Plan
    shadow: Callable[[], dict[str, Any]]  # how it stands with it (docs/plan.md); raises SekishoError
    sign_in: ConsoleSignIn
    auditors: Auditors
    site_key: Callable[[], str]  # the vkey that auditors pin
    organisations: Callable[[], tuple[str, ...]]  # declared and in force
    now_us: Callable[[], int]
    with_cosignatures: Callable[[str], str] = _as_it_is  # a checkpoint's note, with those that witnesses gave for it
    metrics: Callable[[], bytes] = bytes  # of control, in Prometheus' text format
    facts: Callable[[], list[dict[str, Any]]] = _none  # of each deployment in force, now (docs/facts.md)

    exemptions: Callable[[], list[dict[str, Any]]] = _none  # in force and ended, by their end (docs/exemptions.md)


class Served(NamedTuple):
    """Where browsers find the console: the only hosts it answers to, and whether they come by TLS."""

    hosts: frozenset[str]  # as in the Host header
    secure: bool
    cookie: str  # the session cookie's name; browsers keep cookies of one host together whatever the port
