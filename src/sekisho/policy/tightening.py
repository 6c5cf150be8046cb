"""Layers of policies: that each lower one only tightens what those above it permit, proved. Pure.

For each layer L and all that stand above it (A): no request, with no deployment that could ever be declared, is
permitted by A and L together but not by A. Why the answer is exact:

1. A forbid only takes away: forbids win, and one that fails denies. So only the permits of L are looked at.
2. A permit counts for a *frame*: sending (both forms, since whoever permits one has said what may be sent), keeping
   (`retain`) and putting back (`restore`). Where A permits nothing in a frame it sets none, and L may permit.
3. Else in every case of a permit of L a permit of A must hold, unless the case is forbidden for good. Of sending that
   is by a forbid annotated `@enforce("always")`, of A or L: exemptions lift all others, and what came to light behind
   them must not be wider than A either. Nothing lifts a forbid of keeping or putting back, so there each one counts.
4. Of the permits that keep content, the fewest days count (`Decider.retention`), so days of L can only shorten. A
   permit that says more days than one of A that it meets would not do what people read, and is refused.

What can't be enumerated, or takes too long, is a mistake too: never taken for proved.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sekisho.catalog.interfaces import Mistake
from sekisho.catalog.layers import layer_of
from sekisho.kernel import canonical
from sekisho.policy.answering import named_actions
from sekisho.policy.anything import anyone, find_case
from sekisho.policy.case_words import case_words
from sekisho.policy.cases import World, constants, request_axes, world_of
from sekisho.policy.expressions import (
    ACTION,
    FALSE,
    HOME,
    LABEL,
    SETS,
    TRUE,
    Expression,
    NotExpressible,
    Op,
    can_fail,
    conjunction,
    negation,
    policy_expression,
    reads,
)
from sekisho.policy.folding import fold
from sekisho.policy.interfaces import RESTORE, RETAIN, SEND_RAW, SEND_REDACTED, PolicyParts
from sekisho.policy.schema import STANDING_LABELS
from sekisho.policy.search import Budget, Goal, TooManyCases

STEPS_MAX: Final = 4_000_000  # for one permit: some seconds
ALL_STEPS_MAX: Final = 20_000_000  # for all of them: half a minute, before declarations are taken over
GOALS_MAX: Final = 64  # that one question is broken up into: each is a search, and often spares a long one
_FRAMES: Final = ((SEND_RAW, SEND_REDACTED), (RETAIN,), (RESTORE,))


class _Policy(NamedTuple):
    """`layer`: its place, 0 the highest. `restores`: it names the action. `obstacle`: why it can't be enumerated, empty
    if it can; `expression` then means nothing."""

    id: str
    file: str
    line: int
    layer: int
    permits: bool
    always: bool
    days: int | None
    restores: bool
    obstacle: str
    expression: Expression

    def permits_in(self, frame: Sequence[str], world: World) -> bool:
        if RETAIN in frame:
            return self.permits and self.days is not None
        if RESTORE in frame:
            return self.permits and self.restores
        return self.permits and (bool(self.obstacle) or any(self.when(world, action) != FALSE for action in frame))

    def when(self, world: World, action: str, label: str | None = None) -> Expression:
        known: dict[str, Any] = {HOME: world.home, ACTION: f"Action::{action}"}
        return fold(self.expression, known if label is None else known | {LABEL: label})

    def mistake(self, problem: str, remedy: str) -> Mistake:
        return Mistake(self.file, f"line {self.line}, {self.id}", problem, remedy)


class _Question(NamedTuple):
    """One action (and, of values, one label): is there a case of `asked` that none of `framing` and `guards` meets?"""

    action: str
    label: str | None
    asked: Expression
    framing: tuple[Expression, ...]
    guards: tuple[Expression, ...]


def tightening_mistakes(
    parts: PolicyParts, layers: tuple[str, ...], *, steps_max: int = ALL_STEPS_MAX
) -> tuple[Mistake, ...]:
    """What of lower layers is wider than those above, or can't be proved not to be; `layers`: the highest first.

    `steps_max` bounds the search. Raises KeyError or ValueError for parts that are no snapshot's.
    """
    if len(layers) < 2:
        return ()
    world = world_of(canonical.decode(parts.entities), parts.schema.decode())
    return tuple(_Tightening(world, _read(parts, world, layers), layers, Budget(steps_max)).mistakes())


def _read(parts: PolicyParts, world: World, layers: tuple[str, ...]) -> list[_Policy]:
    found = []
    for row in canonical.decode(parts.policies)["policies"]:
        expression, obstacle = _enumerable(row["text"], world)
        named = named_actions(row["text"])
        found.append(
            _Policy(
                row["id"],
                row["file"],
                row["line"],
                layer_of(row["file"], layers),
                row["effect"] == "permit",
                "enforce" in row,
                row.get("retain_days"),
                RESTORE in named,
                obstacle,
                expression,
            )
        )
    return found


def _enumerable(text: str, world: World) -> tuple[Expression, str]:
    try:
        expression = policy_expression(text).when
        for action in itertools.chain(*_FRAMES):
            when = fold(expression, {ACTION: f"Action::{action}"})
            request_axes(world, anyone(world), action, [when])
    except NotExpressible as obstacle:
        return TRUE, str(obstacle)
    return expression, ""


class _Tightening:
    def __init__(self, world: World, policies: Sequence[_Policy], layers: tuple[str, ...], budget: Budget) -> None:
        self._world = world
        self._policies = policies
        self._layers = layers
        self._budget = budget

    def mistakes(self) -> Iterator[Mistake]:
        for policy in self._policies:
            for frame in _FRAMES if policy.permits and policy.layer else ():
                framing = [
                    one for one in self._policies if one.layer < policy.layer and one.permits_in(frame, self._world)
                ]
                if framing and policy.permits_in(frame, self._world):
                    found = self._against(policy, frame, framing)
                    if found is not None:
                        yield found
                        break

    def _against(self, policy: _Policy, frame: Sequence[str], framing: Sequence[_Policy]) -> Mistake | None:
        above = self._above(policy)
        if policy.obstacle:
            return policy.mistake(
                f"can't be proved to tighten {above}: it uses {policy.obstacle}",
                f"Write it without that, or put it into {above}",
            )
        forbids = [one for one in self._policies if not one.permits and one.layer <= policy.layer]
        guards = [one for one in forbids if one.always] if SEND_RAW in frame else forbids
        budget = self._budget.part(STEPS_MAX)
        try:
            for question in self._questions(policy, frame, framing, guards):
                case = self._case(question, budget)
                if case is not None:
                    return self._wider(policy, question, case, [*framing, *guards], forbids, budget)
            return self._keeps_longer(policy, framing, forbids, budget) if RETAIN in frame else None
        except (TooManyCases, NotExpressible) as obstacle:
            told = "the policies tell too many cases apart" if isinstance(obstacle, TooManyCases) else str(obstacle)
            return policy.mistake(
                f"can't be proved to tighten {above}: {told}",
                f"Begin with all that a permit of {above} asks for, word for word, and add your own conditions to it",
            )

    def _above(self, policy: _Policy) -> str:
        names = self._layers[: policy.layer]
        return f"the layer {names[0]}" if len(names) == 1 else f"the layers {', '.join(names)}"

    def _questions(
        self, policy: _Policy, frame: Sequence[str], framing: Sequence[_Policy], guards: Sequence[_Policy]
    ) -> Iterator[_Question]:
        for action in frame:
            for label in self._labels([policy, *framing, *guards]) if action == RESTORE else (None,):
                when = [
                    [one.when(self._world, action, label) for one in group if not one.obstacle]
                    for group in ([policy], framing, guards)
                ]
                yield _Question(action, label, when[0][0], tuple(when[1]), tuple(when[2]))

    def _labels(self, policies: Iterable[_Policy]) -> tuple[str, ...]:
        """Of values that were masked: those that policies name, and one of all others."""
        every = {f"Label::{name}" for name in self._world.names["Label"].difference(STANDING_LABELS)}
        named = every.intersection(itertools.chain(*constants(f"{SETS}Label", [one.expression for one in policies])))
        return (*sorted(named), *sorted(every - named)[:1])

    def _case(self, question: _Question, budget: Budget) -> Mapping[str, Any] | None:
        # What is put back is an answer to what was sent redacted.
        action = SEND_REDACTED if question.action == RESTORE else question.action
        for goal in _goals(question.asked, (*question.framing, *question.guards)):
            case = find_case(self._world, action, goal, budget)
            if case is not None:
                return case
        return None

    def _wider(
        self,
        policy: _Policy,
        question: _Question,
        case: Mapping[str, Any],
        taken: Sequence[_Policy],
        forbids: Sequence[_Policy],
        budget: Budget,
    ) -> Mistake:
        """That there is a case against it, as far as the policies that were `taken` into account can be enumerated."""
        above = self._above(policy)
        for one in taken:
            if one.obstacle:
                return policy.mistake(
                    f"can't be proved to tighten {above}: {one.id} ({one.file}) uses {one.obstacle}",
                    "Write that one without it",
                )
        read = reads(question.asked).union(*(reads(one) for one in question.framing))
        words = case_words(case, question.action, read, question.label)
        problem = f"permits {words}, which no permit of {above} covers"
        if question.action in _FRAMES[0] and self._is_held_back(question, forbids, budget):
            return policy.mistake(
                f"{problem}; forbids hold it back, but exemptions can lift them",
                'Narrow the permit itself, or annotate the forbid @enforce("always"): a lower layer may only tighten',
            )
        return policy.mistake(
            problem, f"Narrow it, or have a permit of {above} cover it: a lower layer may only tighten"
        )

    def _is_held_back(self, question: _Question, forbids: Sequence[_Policy], budget: Budget) -> bool:
        """Whether forbids deny every such case all the same. For words only: where it can't be told, they don't."""
        guards = tuple(one.when(self._world, question.action) for one in forbids if not one.obstacle)
        try:
            return self._case(question._replace(guards=guards), budget) is None
        except TooManyCases:
            return False

    def _keeps_longer(
        self, policy: _Policy, framing: Sequence[_Policy], forbids: Sequence[_Policy], budget: Budget
    ) -> Mistake | None:
        guards = tuple(one.when(self._world, RETAIN) for one in forbids if not one.obstacle)
        for one in framing:
            if one.days is None or policy.days is None or policy.days <= one.days:
                continue
            both = (policy.when(self._world, RETAIN), one.when(self._world, RETAIN))
            if one.obstacle or find_case(self._world, RETAIN, Goal(both, guards), budget) is not None:
                return policy.mistake(
                    f"says {policy.days} days, of which {one.id} ({one.file}) allows {one.days}: the fewest count",
                    f"Say at most {one.days} days, or narrow it to what that one does not cover",
                )
        return None


def _goals(asked: Expression, others: Sequence[Expression]) -> Iterator[Goal]:
    """Goals that are met by just the cases, all together, in which `asked` holds and none of the `others`.

    What `asked` says is left out of the others; of the rest, something does not hold. Where that makes few goals there
    is one for each such thing. It comes first in a goal, so that what contradicts it is met before anything is tried
    that has nothing to do with it.
    """
    held = _conjuncts(asked)
    failing = tuple(one for one in others if can_fail(one))  # that it does not fail is part of the question
    left = [[part for part in _conjuncts(one) if part not in held] for one in others if one not in failing]
    left.sort(key=len)
    ways = 1
    choices: list[list[Expression]] = []
    for parts in left:
        ways *= len(parts)
        choices.append(parts if ways <= GOALS_MAX else [conjunction(parts)])
    for chosen in itertools.product(*choices):
        denied = sorted(dict.fromkeys(map(negation, chosen)), key=lambda one: len(reads(one)))
        yield Goal((*denied, *held), failing)


def _conjuncts(node: Expression, positive: bool = True) -> dict[Expression, None]:
    """Expressions that all hold exactly where it does (or, not `positive`, does not), in their order."""
    if isinstance(node, Op) and node.op == "not":
        return _conjuncts(node.args[0], not positive)
    if isinstance(node, Op) and node.op == ("and" if positive else "or"):
        return _conjuncts(node.args[0], positive) | _conjuncts(node.args[1], positive)
    found = node if positive else negation(node)
    return {} if found == TRUE else {found: None}
