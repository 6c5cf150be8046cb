"""Policies that can't matter: they never match, or they match and never change an outcome. Pure.

Asked over every request and every deployment that could be declared, whatever the defaults of organisations: a rule
that stands guard for what is not there yet is none of these. Both answers are exact (`policy.cases`, `policy.search`);
where a policy can't be enumerated, can fail (and so denies without matching), or would take too long, nothing is said
of it.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from sekisho.catalog.interfaces import UNKNOWN, Mistake
from sekisho.kernel import canonical
from sekisho.policy.answering import named_actions
from sekisho.policy.cases import Asking, World, deployment_axes, request_axes, world_of
from sekisho.policy.expressions import (
    ACTION,
    FALSE,
    HOME,
    RESIDENCY,
    Expression,
    NotExpressible,
    Op,
    Read,
    can_fail,
    policy_expression,
    size,
)
from sekisho.policy.folding import fold
from sekisho.policy.interfaces import RETAIN, SEND_RAW, SEND_REDACTED, PolicyParts
from sekisho.policy.packs import PACKS
from sekisho.policy.search import Budget, Goal, Search, TooManyCases

NEVER_MATCHES: Final = "never matches"
NEVER_DECIDES: Final = "never decides"
STEPS_MAX: Final = 500_000  # for one policy: less than half a second
ALL_STEPS_MAX: Final = 10_000_000  # for all of them: some seconds, before declarations are taken over
_PASSES: Final = 8  # over all expressions, about: for the axes of a goal
TOGETHER_MAX: Final = 200  # policies that are held against each other, which is quadratic in them: some seconds
_NON_EMPTY: Final = Op("not", (Op("is_empty", (Read(RESIDENCY),)),))


class Unreachable(NamedTuple):
    """The policy with this number, and why it can't matter: NEVER_MATCHES or NEVER_DECIDES."""

    number: int
    why: str


class _Policy(NamedTuple):
    """`when` for each action, constants folded. `always`: monitor mode does not lift it."""

    number: int
    permits: bool
    always: bool
    retains: bool
    answers: bool  # names an action on answers, which is decided label by label and not looked at here
    when: dict[str, Expression]


def unreachable(parts: PolicyParts) -> tuple[Unreachable, ...]:
    """Those among a snapshot's policies, in their order: without all of them the same would be decided.

    Raises KeyError or ValueError for parts that are no snapshot's.
    """
    world = world_of(canonical.decode(parts.entities), parts.schema.decode())
    policies, complete = _read(parts, world)
    budget = Budget(ALL_STEPS_MAX)
    never = [
        one
        for one in policies
        if not one.answers and _never(world, [(action, Goal((when,))) for action, when in one.when.items()], budget)
    ]
    found = [Unreachable(one.number, NEVER_MATCHES) for one in never]
    left = [one for one in policies if one not in never]
    if complete and len(left) <= TOGETHER_MAX:
        for policy in reversed(left.copy()):  # of two that replace each other the first stays, which may be a pack's
            goals = [(action, _pivotal(policy, left, action)) for action in (SEND_RAW, SEND_REDACTED)]
            if (
                not policy.retains
                and not policy.answers
                and not _is_for_retaining(policy, left)
                and _never(world, goals, budget)
            ):
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
    rows = canonical.decode(parts.policies)["policies"]
    found = []
    for index, row in enumerate(rows):
        try:
            policy = policy_expression(row["text"])
            sending = [fold(policy.when, {ACTION: f"Action::{action}"}) for action in (SEND_RAW, SEND_REDACTED, RETAIN)]
            request_axes(world, _anyone(world), SEND_RAW, sending)
        except NotExpressible:
            continue
        if any(map(can_fail, sending)):
            continue
        answers = bool(named_actions(row["text"]))
        known = {HOME: world.home}
        when = {
            action: fold(policy.when, {**known, ACTION: f"Action::{action}"})
            for action in (SEND_RAW, SEND_REDACTED, RETAIN)
        }
        found.append(_Policy(index, policy.permits, "enforce" in row, "retain_days" in row, answers, when))
    return found, len(found) == len(rows)


def _pivotal(policy: _Policy, policies: Sequence[_Policy], action: str) -> Goal:
    """The cases that this policy alone decides. One that monitor mode lifts does not replace one that it does not."""
    others = [other for other in policies if other is not policy]
    permits = tuple(other.when[action] for other in others if other.permits)
    forbids = tuple(other.when[action] for other in others if not other.permits)
    if policy.permits:
        return Goal((policy.when[action],), (*permits, *forbids))
    if policy.always:
        forbids = tuple(other.when[action] for other in others if not other.permits and other.always)
    return Goal((policy.when[action],), forbids, permits)


def _is_for_retaining(policy: _Policy, policies: Iterable[_Policy]) -> bool:
    """Whether it may decide on what is kept: then it is left alone."""
    return policy.when[RETAIN] != FALSE and any(other.retains for other in policies)


def _never(world: World, goals: Iterable[tuple[str, Goal]], of_all: Budget) -> bool:
    """Whether no case meets any of these goals, each of an action; False where that can't be said."""
    if of_all.left < 0:
        return False
    budget = of_all.part(STEPS_MAX)
    asking = _anyone(world)
    for action, goal in goals:
        wanted = [one for one in (*goal.true, _NON_EMPTY) if one != FALSE]
        if len(wanted) <= len(goal.true):
            continue  # it is about another action
        true: list[Expression] = [*wanted]
        false = [one for one in goal.false if one != FALSE]
        one = None if goal.one is None else [each for each in goal.one if each != FALSE]
        together = [*true, *false, *(one or ())]
        try:
            budget.spend(_PASSES * sum(map(size, together)))
            of_deployment, rules = deployment_axes(world, asking.places, together)
            together += rules
            axes = [*request_axes(world, asking, action, together, residency=False), *of_deployment]
            whole = Goal((*true, *rules), tuple(false), None if one is None else tuple(one))
            if Search(axes, {}, whole, budget).find() is not None:
                return False
        except (TooManyCases, NotExpressible):
            return False
    return True


def _anyone(world: World) -> Asking:
    places = frozenset(f"Jurisdiction::{code}" for code in world.names["Jurisdiction"] - {UNKNOWN})
    return Asking(tuple(sorted(world.names["Organisation"] - {UNKNOWN})), 0, places)
