"""Exemptions: which forbids don't count for which requests, until when. Pure.

An exemption changes a verdict only where all of this holds:
1. the verdict is a denial by forbids alone. An error denies, and so does it that no policy permits;
2. of an action that sends: nothing is kept by way of an exemption;
3. every forbid that denies it is named by an exemption that covers this very request and deployment. A request that
   may go to less than its organisation's may is covered by none: what a caller or its key demands is not the
   organisation's to be excused from;
4. none of them is annotated `@enforce("always")`;
5. without these forbids a permit permits it, which the engine says.
Then it is permitted, for the permits' reasons, and says which forbids did not count and which exemptions say so. So
with an exemption the only differences are denials by what it names, of what it names.

Unlike monitor mode (`monitor`), which leaves a denial a denial and sends all the same, an exemption is a decision.
Which are in force follows from the epoch: the policies part holds them with their ends.
"""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sekisho.catalog.interfaces import Catalogue, Exemption, Mistake
from sekisho.catalog.table import nearest, shown
from sekisho.kernel.clock import RFC3339, utc
from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED, DecisionInput, PolicyTitle, Verdict
from sekisho.policy.names import label_remedy

ENDS_SOON_US: Final = 14 * 86_400 * 1_000_000  # time enough to ask k of n persons for another, or to do without
NOTES_MAX: Final = 20  # in `/readyz`, which monitoring asks for each second
SENDING: Final = (SEND_RAW, SEND_REDACTED)


class Lift(NamedTuple):
    """Why a denial does not stand: nothing of it counts, because of these exemptions (names, sorted)."""

    forbids: tuple[int, ...]
    exemptions: tuple[str, ...]


class _Row(NamedTuple):
    name: str
    organisation: str
    roles: frozenset[str]
    classes: frozenset[str]
    deployments: frozenset[str]
    models: frozenset[str]
    labels: frozenset[str]
    residency: frozenset[str]
    policies: frozenset[int]

    def covers(self, asked: DecisionInput, deployment: str, labels: tuple[str, ...]) -> bool:
        """`labels`: of the body as it would leave."""
        return (
            self.organisation == asked.principal.organisation
            and (not self.roles or not self.roles.isdisjoint(asked.principal.roles))
            and asked.data_class in self.classes
            and (deployment in self.deployments or asked.model in self.models)
            and self.labels.issuperset(labels)
            and self.residency.issubset(asked.residency)
        )


class ExemptionsInForce:
    """Those of a snapshot in one epoch. `digests`: name → SHA-256, what an approval was for."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], policies: Sequence[PolicyTitle], epoch_from: int) -> None:
        """Raises KeyError, TypeError or ValueError for rows that are not as `exemption_rows` makes them."""
        indexes = {policy.id: index for index, policy in enumerate(policies)}
        current = [row for row in rows if row["until"] > epoch_from]
        self.digests: Final[Mapping[str, str]] = {row["name"]: row["sha256"] for row in current}
        self._rows = tuple(_row(row, indexes) for row in current)
        self._always = frozenset(index for index, policy in enumerate(policies) if policy.always)

    def lift(self, asked: DecisionInput, verdict: Verdict, labels: tuple[str, ...]) -> Lift | None:
        """What keeps the verdict's denial from standing, if a permit permits it; None: it stands."""
        forbids = frozenset(verdict.reasons)
        if verdict.permitted or verdict.errors or not forbids or verdict.action not in SENDING:
            return None
        if forbids & self._always:
            return None
        rows = [row for row in self._rows if row.policies & forbids and row.covers(asked, verdict.deployment, labels)]
        if not forbids.issubset({index for row in rows for index in row.policies}):
            return None
        return Lift(verdict.reasons, tuple(sorted(row.name for row in rows)))

    def __bool__(self) -> bool:
        return bool(self._rows)


def exemption_rows(catalogue: Catalogue) -> list[dict[str, Any]]:
    """As they stand in the policies part: all but why, which decides nothing, and with the organisation's residency."""
    boundary = catalogue.boundary.default_residency
    residencies = {one.name: one.default_residency or boundary for one in catalogue.organisations}
    return [
        {
            "classes": one.classes,
            "deployments": one.deployments,
            "labels": one.labels,
            "models": one.models,
            "name": one.name,
            "organisation": one.organisation,
            "policies": one.policies,
            "residency": residencies[one.organisation],
            "roles": one.roles,
            "sha256": one.sha256,
            "until": one.until,
        }
        for one in catalogue.exemptions
    ]


def exemption_mistakes(
    exemptions: Sequence[Exemption],
    policies: Sequence[PolicyTitle],
    labels: Collection[str],
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> list[Mistake]:
    """What of exemptions does not hold against the policies, and against the labels that there are. `elsewhere`: those
    of profiles that the boundary does not name."""
    mistakes: list[Mistake] = []
    known = {policy.id: policy for policy in policies}
    forbids = [policy.id for policy in policies if policy.effect == "forbid" and not policy.always]
    for one in exemptions:
        file = f"exemptions/{one.name}.toml"
        for identifier in one.policies:
            policy = known.get(identifier)
            if policy is None:
                remedy = nearest(identifier, forbids, "Forbids that can be named are")
                mistakes.append(Mistake(file, "policies", f"{shown(identifier)} is no policy", remedy))
            elif policy.effect != "forbid":
                remedy = "Name forbids only: what no policy permits stays denied, and needs a permit"
                mistakes.append(Mistake(file, "policies", f"{identifier} is a permit", remedy))
            elif policy.always:
                remedy = "Remove it: nobody is excused from such a policy"
                mistakes.append(Mistake(file, "policies", f'{identifier} is annotated @enforce("always")', remedy))
        for label in one.labels:
            if label not in labels:
                remedy = label_remedy(label, labels, elsewhere)
                mistakes.append(Mistake(file, "labels", f"{shown(label)} is no label", remedy))
    return mistakes


def _row(row: Mapping[str, Any], indexes: Mapping[str, int]) -> _Row:
    return _Row(
        row["name"],
        row["organisation"],
        frozenset(row["roles"]),
        frozenset(row["classes"]),
        frozenset(row["deployments"]),
        frozenset(row["models"]),
        frozenset(row["labels"]),
        frozenset(row["residency"]),
        frozenset(indexes[identifier] for identifier in row["policies"]),
    )


def exemption_notes(exemptions: Sequence[Exemption], now_us: int) -> list[str]:
    """Those in force, each in a sentence with its end; the next to end first, NOTES_MAX of them."""
    current = sorted((one for one in exemptions if now_us < one.until), key=lambda one: one.until)
    notes = [
        f"exemption {one.name} excuses {one.organisation} from {', '.join(one.policies)} until "
        f"{utc(one.until, RFC3339)}{', which is soon' if ends_soon(one, now_us) else ''}"
        for one in current[:NOTES_MAX]
    ]
    more = len(current) - NOTES_MAX
    return [*notes, f"{more} more exemptions: sekisho exemptions list"] if more > 0 else notes


def ends_soon(one: Exemption, now_us: int) -> bool:
    return one.until < now_us + ENDS_SOON_US
