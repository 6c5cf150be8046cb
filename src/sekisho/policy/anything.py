"""Whether any request at all, with any deployment that could be declared, meets a goal. Pure.

Anyone may ask, for data of any class, that may go to any set of jurisdictions but none; where that holds *anywhere*, it
holds every one, as a request's residency does. Organisations that are not declared yet are one more, which no policy
can name.
"""

from collections.abc import Mapping
from typing import Any, Final

from sekisho.catalog.interfaces import ANYWHERE, UNKNOWN
from sekisho.policy.cases import OTHER, Asking, World, deployment_axes, request_axes
from sekisho.policy.expressions import FALSE, READS, RESIDENCY, Const, Expression, Op, Read, entity, negation, size
from sekisho.policy.search import Budget, Goal, Search

_PASSES: Final = 8  # over all expressions, about: for the axes of a goal
_RESIDENCY: Final = Read(RESIDENCY)


def find_case(world: World, action: str, goal: Goal, budget: Budget) -> Mapping[str, Any] | None:
    """What is read in a case that meets the goal, by name; None: there is none. In the goal's expressions `action` and
    the home jurisdictions are folded in. Raises TooManyCases, NotExpressible."""
    if FALSE in goal.true:
        return None  # it is about another action
    true = (*goal.true, *_of_residency(world))
    false = tuple(one for one in goal.false if one != FALSE)
    one_of = None if goal.one is None else tuple(one for one in goal.one if one != FALSE)
    together = [*true, *false, *(one_of or ())]
    budget.spend(_PASSES)  # where nothing is left, not even the sizes are looked at
    budget.spend(_PASSES * sum(map(size, together)))
    asking = anyone(world)
    of_deployment, rules = deployment_axes(world, asking.places, together)
    together += rules
    axes = [*request_axes(world, asking, action, together, residency=False), *of_deployment]
    return Search(axes, {}, Goal((*true, *rules), false, one_of), budget).find()


def _of_residency(world: World) -> tuple[Expression, Expression]:
    """What holds of every request's residency that comes to a decision."""
    every = Const(anyone(world).places, READS[RESIDENCY])
    anywhere = Op("contains", (_RESIDENCY, entity("Jurisdiction", ANYWHERE)))
    whole = Op("or", (negation(anywhere), Op("contains_all", (_RESIDENCY, every))))
    return negation(Op("is_empty", (_RESIDENCY,))), whole


def anyone(world: World) -> Asking:
    places = frozenset(f"Jurisdiction::{code}" for code in world.names["Jurisdiction"] - {UNKNOWN})
    return Asking((*sorted(world.names["Organisation"] - {UNKNOWN}), OTHER), 0, places)
