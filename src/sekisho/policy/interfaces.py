"""Deciding, as other contexts see it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from sekisho.catalog.interfaces import Catalogue, PolicyText

SEND_RAW: Final = "sendRaw"
SEND_REDACTED: Final = "sendRedacted"
RETAIN: Final = "retain"  # to keep what was sent to a deployment, and what it answered
INPUT_VERSION: Final = 1
STALENESS_ROLES: Final = ("catalog", "intel", "models", "policy")
NO_RESIDENCY: Final = "no jurisdiction is left where the request's data may go"  # the verdict's error where it is so
CALLER: Final = "caller"  # the role that the packs' permits ask for


class PrincipalInput(NamedTuple):
    """Who asks. `roles` is sorted."""

    id: str
    organisation: str
    roles: tuple[str, ...]


class DecisionInput(NamedTuple):
    """The decision's only input (one per request): a frozen value with a canonical form.

    `canonical(input)` in `policy.decision_input` gives its RFC 8785 bytes; they are the memo key, stand in the
    decision's entry, and are what audit, plan and explain replay. No request id, clock or candidate is in it.
    Every tuple is sorted and without duplicates.
    """

    v: int
    snapshot: str  # hex SHA-256 of the manifest
    epoch_from: int  # µs UTC: the start of the span of time in which nothing time-dependent changes
    model: str
    principal: PrincipalInput
    data_class: str  # `class` in the canonical form
    residency: tuple[str, ...]
    labels_raw: tuple[str, ...]
    labels_redacted: tuple[str, ...]
    redactable: bool
    # (role, whole days) for each of STALENESS_ROLES, sorted; an object in the canonical form. Empty means an
    # installation that follows nobody but itself: no role can be stale, every age is 0.
    staleness: tuple[tuple[str, int], ...]


class Verdict(NamedTuple):
    """What policies say of one candidate: (deployment, action). `reasons` index the snapshot's policies."""

    deployment: str
    action: str
    permitted: bool
    reasons: tuple[int, ...]
    errors: tuple[str, ...]  # any error denies


@dataclass(frozen=True, slots=True)
class Decision:
    """All verdicts on one input, in a fixed order, with the bytes that stand in the entry.

    `input_bytes` is the canonical DecisionInput. `candidates_bytes` is canonical JSON: a list of
    `{"action","deployments":[…],"errors":[…],"permitted","reasons":[…]}`, candidates with equal verdicts grouped.
    `permitted_raw` and `permitted_redacted` name deployments in catalogue order.
    """

    input: DecisionInput
    verdicts: tuple[Verdict, ...]
    permitted_raw: tuple[str, ...]
    permitted_redacted: tuple[str, ...]
    input_bytes: bytes
    candidates_bytes: bytes


@dataclass(frozen=True, slots=True)
class PolicyTitle:
    """A policy as people know it: its `@id`, titles, effect ("permit" or "forbid") and file.

    `always`: it was annotated `@enforce("always")`, so that monitor mode does not lift it. `retain_days`: how long a
    permit of `retain` lets content be kept.
    """

    id: str
    title: str
    title_ja: str
    effect: str
    file: str
    always: bool = False
    retain_days: int | None = None


class Retention(NamedTuple):
    """That content may be kept: for how many days, and the policies (indexes) that say so."""

    days: int
    reasons: tuple[int, ...]


class PolicyReads(NamedTuple):
    """The attributes that a policy's conditions name, sorted: of the deployment (facts), and of the request."""

    deployment: tuple[str, ...]
    request: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyParts:
    """What a decider is made of, as it stands in a snapshot.

    `policies` and `entities` are canonical JSON, `schema` is Cedar schema text. `entities` holds facts with their
    ends, so that the same bytes give the same decider for every epoch.
    """

    policies: bytes
    schema: bytes
    entities: bytes


class PolicyCompiler(Protocol):
    def __call__(self, catalogue: Catalogue, policies: tuple[PolicyText, ...], labels: tuple[str, ...]) -> PolicyParts:
        """Check the policies against the catalogue; raises PolicyMistakes if anything is wrong with them."""
        ...


class DeciderFactory(Protocol):
    def __call__(self, parts: PolicyParts, *, snapshot: str, epoch_from: int) -> "Decider":
        """A decider over stored parts, for one epoch; raises PolicyPartsError if they are not what they should be."""
        ...


class Decider(Protocol):
    """Decides over one snapshot. Pure: no clock, no I/O. Never raises for a request's content: errors deny."""

    policies: tuple[PolicyTitle, ...]
    engine: Mapping[str, str]  # {"name", "version"} of the Cedar engine
    schema_digest: str  # hex SHA-256 of the schema part
    retains: bool  # whether any policy permits that content is kept

    def decide(self, decision_input: DecisionInput) -> Decision:
        """Verdicts for every deployment of the model, raw first; an unknown model has none.

        `sendRedacted` is decided only where the input is `redactable` and its two label sets differ.
        Memoised by the input; bounded.
        """
        ...

    def reads(self, index: int) -> PolicyReads:
        """What the policy with this index looks at. For people; not for the request path."""
        ...

    def retention(self, decision_input: DecisionInput, deployment: str, labels: tuple[str, ...]) -> Retention | None:
        """Whether content with these labels, sent to this deployment, may be kept. None, always, unless `retains`.

        The days are the fewest that a permit which decided it names. Any error, and any forbid, is a None.
        """
        ...
