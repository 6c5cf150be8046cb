"""Policies that can't matter: they never match, or they match and never change an outcome. Pure.

Asked over every request and every deployment that could be declared, of organisations and labels that could be too,
whatever their defaults: a rule that stands guard for what is not there yet is none of these. Both answers are exact
(`policy.cases`, `policy.search`); where a policy can't be enumerated, can fail (and so denies without matching), may
decide on answers or on what is kept, or would take too long, nothing is said of it.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sekisho.catalog.interfaces import Mistake
from sekisho.kernel import canonical
from sekisho.policy.answering import named_actions
from sekisho.policy.anything import anyone, find_case
from sekisho.policy.cases import OTHER, World, request_axes, world_of
from sekisho.policy.expressions import (
    ACTION,
    FALSE,
    HOME,
    LABEL,
    Expression,
    NotExpressible,
    can_fail,
    policy_expression,
    reads,
)
from sekisho.policy.folding import fold
from sekisho.policy.interfaces import RELAY_RAW, RESTORE, RETAIN, SEND_RAW, SEND_REDACTED, PolicyParts
from sekisho.policy.packs import PACKS
from sekisho.policy.search import Budget, Goal, TooManyCases

NEVER_MATCHES: Final = "never matches"
NEVER_DECIDES: Final = "never decides"
STEPS_MAX: Final = 500_000  # for one policy: less than half a second
ALL_STEPS_MAX: Final = 10_000_000  # for all of them: some seconds, before declarations are taken over
TOGETHER_MAX: Final = 200  # policies that are held against each other, which is quadratic in them: some seconds
_LOOKED_AT: Final = (SEND_RAW, SEND_REDACTED, RETAIN)  # the actions that are decided without a label


class Unreachable(NamedTuple):
    """The policy with this number, and why it can't matter: NEVER_MATCHES or NEVER_DECIDES."""

    number: int
    why: str


class _Policy(NamedTuple):
    """`when` for each action, constants folded. `always`: monitor mode does not lift it. `lifted`: an exemption may."""

    number: int
    permits: bool
    always: bool
    lifted: bool
    retains: bool
    answers: bool  # names an action on answers
    when: dict[str, Expression]

    @property
    def by_label(self) -> bool:
        """Whether answers are decided label by label with it, which is not looked at here."""
        return any(LABEL in reads(self.when[action]) for action in (RELAY_RAW, RESTORE))


def unreachable(parts: PolicyParts) -> tuple[Unreachable, ...]:
    """Those among a snapshot's policies, in their order: without all of them the same would be decided.

    Raises KeyError or ValueError for parts that are no snapshot's.
    """
    world = world_of(canonical.decode(parts.entities), parts.schema.decode())
    world = world._replace(names={**world.names, "Label": world.names["Label"] | {OTHER}})
    policies, complete = _read(parts, world)
    budget = Budget(ALL_STEPS_MAX)
    never = [
        one
        for one in policies
        if not one.by_label and _never(world, [(action, Goal((when,))) for action, when in one.when.items()], budget)
    ]
    found = [Unreachable(one.number, NEVER_MATCHES) for one in never]
    left = [one for one in policies if one not in never]
    if complete and len(left) <= TOGETHER_MAX:
        for policy in reversed(left.copy()):  # of two that replace each other the first stays, which may be a pack's
            goals = [(action, _pivotal(policy, left, action)) for action in (SEND_RAW, SEND_REDACTED)]
            if not _may_decide_otherwise(policy, left) and _never(world, goals, budget):
                found.append(Unreachable(policy.number, NEVER_DECIDES))
                left.remove(policy)
    return tuple(sorted(found))


def reachability(parts: PolicyParts) -> tuple[tuple[Mistake, ...], tuple[Mistake, ...]]:
    """(mistakes, notes) in the policies that are not a pack's: what never matches is a mistake, what never decides may
    be meant as a second lock."""
    rows = canonical.decode(parts.policies)["policies"]
    mistakes, notes = [], []
    for number, why in unreachable(parts):
        row = rows[number]
        where = row["file"], f"line {row['line']}, {row['id']}"
        if row["file"].startswith(PACKS):
            continue
        if why == NEVER_MATCHES:
            problem = "can never match, whatever is asked and whatever is declared"
            mistakes.append(Mistake(*where, problem, "Correct its conditions, which exclude each other, or remove it"))
        else:
            problem = "never changes what is decided: wherever it matches, others decide the same"
            notes.append(Mistake(*where, problem, "Keep it if it is meant as a second lock; else remove it"))
    return tuple(mistakes), tuple(notes)


def _read(parts: PolicyParts, world: World) -> tuple[list[_Policy], bool]:
    """The policies that something can be said of, and whether that is all of them."""
    part = canonical.decode(parts.policies)
    rows = part["policies"]
    lifted = {identifier for exemption in part.get("exemptions", ()) for identifier in exemption["policies"]}
    found = []
    for index, row in enumerate(rows):
        try:
            policy = policy_expression(row["text"])
            when = {
                action: fold(policy.when, {HOME: world.home, ACTION: f"Action::{action}"})
                for action in (*_LOOKED_AT, RELAY_RAW, RESTORE)
            }
            request_axes(world, anyone(world), SEND_RAW, [when[action] for action in _LOOKED_AT])
        except NotExpressible:
            continue
        if not any(map(can_fail, when.values())):
            how = "enforce" in row, row["id"] in lifted, "retain_days" in row, bool(named_actions(row["text"]))
            found.append(_Policy(index, policy.permits, *how, when))
    return found, len(found) == len(rows)


def _pivotal(policy: _Policy, policies: Sequence[_Policy], action: str) -> Goal:
    """The cases that this policy alone decides. One that monitor mode or an exemption lifts does not replace one that
    it does not."""
    others = [other for other in policies if other is not policy]
    permits = tuple(other.when[action] for other in others if other.permits)
    forbids = [other for other in others if not other.permits]
    if policy.permits:
        # Without forbids that an exemption lifts: under it they stand in no permit's way.
        standing = tuple(other.when[action] for other in forbids if not other.lifted)
        return Goal((policy.when[action],), (*permits, *standing))
    standing = tuple(other.when[action] for other in forbids if other.always or not (policy.always or other.lifted))
    return Goal((policy.when[action],), standing, permits)


def _may_decide_otherwise(policy: _Policy, policies: Iterable[_Policy]) -> bool:
    """On what is kept, or on answers: then it is left alone."""
    return (
        policy.retains
        or policy.answers
        or policy.by_label
        or (policy.when[RETAIN] != FALSE and any(other.retains for other in policies))
        or (policy.when[RESTORE] != FALSE and any(other.permits and other.answers for other in policies))
    )


def _never(world: World, goals: Iterable[tuple[str, Goal]], of_all: Budget) -> bool:
    """Whether no case meets any of these goals, each of an action; False where that can't be said."""
    budget = of_all.part(STEPS_MAX)
    try:
        return all(find_case(world, action, goal, budget) is None for action, goal in goals)
    except (TooManyCases, NotExpressible):
        return False
