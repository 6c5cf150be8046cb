"""Whether any request at all, with any deployment that could be declared, meets a goal. Pure.

Anyone may ask, for data of any class, that may go to any set of jurisdictions but none. Organisations that are not
declared yet are one more, which no policy can name.
"""

from collections.abc import Mapping
from typing import Any, Final

from sekisho.catalog.interfaces import UNKNOWN
from sekisho.policy.cases import OTHER, Asking, World, deployment_axes, request_axes
from sekisho.policy.expressions import FALSE, RESIDENCY, Op, Read, size
from sekisho.policy.search import Budget, Goal, Search

_PASSES: Final = 8  # over all expressions, about: for the axes of a goal
_NON_EMPTY: Final = Op("not", (Op("is_empty", (Read(RESIDENCY),)),))


def find_case(world: World, action: str, goal: Goal, budget: Budget) -> Mapping[str, Any] | None:
    """What is read in a case that meets the goal, by name; None: there is none. In the goal's expressions `action` and
    the home jurisdictions are folded in. Raises TooManyCases, NotExpressible."""
    if FALSE in goal.true:
        return None  # it is about another action
    true = (*goal.true, _NON_EMPTY)
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


def anyone(world: World) -> Asking:
    places = frozenset(f"Jurisdiction::{code}" for code in world.names["Jurisdiction"] - {UNKNOWN})
    return Asking((*sorted(world.names["Organisation"] - {UNKNOWN}), OTHER), 0, places)
