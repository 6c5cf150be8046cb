"""Deciding whether any case at all meets a goal, over every combination of what can be told apart. Pure, and bounded.

A *case* picks one option on each axis. The search takes axes one at a time and evaluates what is known so far: as soon
as the goal can't be met any more, the whole block of cases below is done with and counted. So every case is accounted
for by exactly one block, and `Search` holds the sum against the product of the axes' sizes before it says that there is
none. What is known of a set under way is a pair of bounds: what is surely in it, and what may be.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sekisho.kernel.errors import SekishoError
from sekisho.policy.expressions import Const, Expression, Op, Read, can_fail, nodes, size
from sekisho.policy.folding import STRICT, Overflow

# Nodes of expressions that are looked at in one question, about half a minute's work: not blocks of cases, of which one
# costs as much as the policies are long. A question that needs more gets that answer.
STEPS_MAX: Final = 100_000_000
AXES_MAX: Final = 256  # each is a level of recursion


class TooManyCases(SekishoError):
    """The question needs more steps than are allowed."""


class Axis(NamedTuple):
    """One thing that can differ. Each of `values` (what reads it → the value for each option) and `parts` (the set that
    reads it → what each option puts in) has `size` items."""

    name: str
    size: int
    values: Mapping[str, tuple[Any, ...]] = {}
    parts: Mapping[str, tuple[frozenset[Any], ...]] = {}


class Goal(NamedTuple):
    """What a case must meet: all of `true` and none of `false` hold, one of `one` does (or `one` is None), and none of
    these fails in evaluation."""

    true: tuple[Expression, ...]
    false: tuple[Expression, ...] = ()
    one: tuple[Expression, ...] | None = None


class Budget:
    """Steps that several searches share."""

    def __init__(self, steps_max: int = STEPS_MAX, whole: "Budget | None" = None) -> None:
        self.left = steps_max
        self._whole = whole

    def part(self, steps_max: int) -> "Budget":
        """At most `steps_max` of what is left here."""
        return Budget(steps_max, self)

    def spend(self, steps: int) -> None:
        """Raises TooManyCases."""
        self.left -= steps
        if self._whole is not None:
            self._whole.spend(steps)
        if self.left < 0:
            raise TooManyCases(
                "the policies can tell too many cases apart for an exact answer within bounds",
                remedy="Ask about less: name a deployment, a model, an organisation or a class",
            )


class _Unknown:
    """No value yet; `axis` would help."""

    __slots__ = ("axis",)

    def __init__(self, axis: int) -> None:
        self.axis = axis


class _Span(NamedTuple):
    """A set under way. `open`: the axes that decide the rest, with all that each may put in."""

    sure: frozenset[Any]
    maybe: frozenset[Any]
    open: tuple[tuple[int, frozenset[Any]], ...]


class _Fails:
    """The evaluation fails."""


_FAILS: Final = _Fails()
# Operators that, of a set at this position, ask for nothing but elements of the constant beside it.
_ASK_OF_FIRST: Final = (("contains", "contains_all", "contains_any"), ("contains_any",))


class _Formula(NamedTuple):
    node: Expression
    axes: frozenset[int]  # those that can change its value
    fallible: bool
    size: int


class _State(NamedTuple):
    """What is still open, each with an axis that would help."""

    true: tuple[tuple[_Formula, int], ...]
    false: tuple[tuple[_Formula, int], ...]
    one: tuple[tuple[_Formula, int], ...]
    met: bool  # one of `one` holds


class Search:
    """Over `axes`; what is read of no axis stands in `fixed`."""

    def __init__(self, axes: Sequence[Axis], fixed: Mapping[str, Any], goal: Goal, budget: Budget) -> None:
        if len(axes) > AXES_MAX:
            raise TooManyCases(
                f"the policies read {len(axes)} things that can differ, more than the {AXES_MAX} that are enumerated",
                remedy="Ask about less: name a deployment, a model, an organisation or a class",
            )
        self._axes = axes
        self._budget = budget
        self._goal = goal
        self._values: dict[str, Any] = dict(fixed)
        self._of: dict[str, list[int]] = {}  # read → its axes
        for number, axis in enumerate(axes):
            for name in (*axis.values, *axis.parts):
                self._of.setdefault(name, []).append(number)
        self._base = {name: value for name, value in fixed.items() if isinstance(value, frozenset)}
        self._taken: dict[int, int] = {}  # axis → option
        self.cases = 1
        for axis in axes:
            self.cases *= axis.size
        self.covered = 0
        self._remaining = self.cases
        for name in self._of:
            self._refresh(name)

    def find(self) -> dict[str, Any] | None:
        """What is read in a case that meets the goal, by name; None if there is none. Raises TooManyCases."""
        goal = self._goal
        start = _State(
            self._opened(goal.true), self._opened(goal.false), self._opened(goal.one or ()), goal.one is None
        )
        if self._search(start, None):
            for number in range(len(self._axes)):
                self._taken.setdefault(number, 0)
            self._refresh_all(self._of)
            return self._values
        if self.covered != self.cases:
            raise AssertionError(f"{self.covered} of {self.cases} cases were looked at")  # a defect of ours
        return None

    # The tree

    def _search(self, state: _State, changed: int | None) -> bool:
        self._budget.spend(1 + len(state.true) + len(state.false) + len(state.one))
        narrowed = self._narrowed(state, changed)
        if narrowed is None:
            self.covered += self._remaining
            return False
        open_formulas = (*narrowed.true, *narrowed.false, *narrowed.one)
        if not open_formulas:
            return True
        number = open_formulas[0][1]
        axis, before = self._axes[number], self._remaining
        touched = (*axis.values, *axis.parts)
        self._remaining //= axis.size
        for option in range(axis.size):
            self._taken[number] = option
            self._refresh_all(touched)
            if self._search(narrowed, number):
                return True
        del self._taken[number]
        self._refresh_all(touched)
        self._remaining = before
        return False

    def _narrowed(self, state: _State, changed: int | None) -> _State | None:
        """What is still open once the axis `changed` is known (None: evaluate all); None if the goal can't be met."""
        true: list[tuple[_Formula, int]] = []
        false: list[tuple[_Formula, int]] = []
        for formulas, wanted, kept in ((state.true, True, true), (state.false, False, false)):
            for item in formulas:
                found = self._looked_at(item, changed)
                if isinstance(found, tuple):
                    kept.append(found)
                elif found is not wanted:
                    return None
        one, met = [], state.met
        for item in state.one:
            found = self._looked_at(item, changed)
            if isinstance(found, tuple):
                one.append(found)
            elif found is _FAILS:
                return None
            else:
                met = met or found is True
        if met:
            one = [item for item in one if item[0].fallible]
        elif not one:
            return None
        return _State(tuple(true), tuple(false), tuple(one), met)

    def _looked_at(self, item: tuple[_Formula, int], changed: int | None) -> Any:
        """True, False or _FAILS; or the formula again, with an axis that would help."""
        formula = item[0]
        if changed is not None and changed not in formula.axes:
            return item
        self._budget.spend(formula.size)
        found = self._evaluate(formula.node, not formula.fallible)
        return (formula, found.axis) if isinstance(found, _Unknown) else found

    def _opened(self, formulas: Iterable[Expression]) -> tuple[tuple[_Formula, int], ...]:
        return tuple((_Formula(node, self._axes_of(node), can_fail(node), size(node)), -1) for node in formulas)

    def _axes_of(self, formula: Expression) -> frozenset[int]:
        """Of a set that is only asked whether it holds constants, those axes that put any of these in it; else all."""
        whole: set[str] = set()
        asked: dict[str, set[Any]] = {}
        for node in nodes(formula):
            if isinstance(node, Read):
                asked.setdefault(node.name, set())
            elif isinstance(node, Op):
                for position, argument in enumerate(node.args):
                    if isinstance(argument, Read):
                        others = [other.value for other in node.args if isinstance(other, Const)]
                        if len(node.args) != 2 or len(others) != 1 or node.op not in _ASK_OF_FIRST[position]:
                            whole.add(argument.name)
                        else:
                            held = others[0] if isinstance(others[0], frozenset) else (others[0],)
                            asked.setdefault(argument.name, set()).update(held)
        found: set[int] = set()
        for name, elements in asked.items():
            for number in self._of.get(name, ()):
                options = self._axes[number].parts.get(name)
                if name in whole or options is None or any(not one.isdisjoint(elements) for one in options):
                    found.add(number)
        return frozenset(found)

    # What is known

    def _refresh_all(self, names: Iterable[str]) -> None:
        for name in names:
            self._refresh(name)

    def _refresh(self, name: str) -> None:
        numbers = self._of[name]
        first = self._axes[numbers[0]]
        if name in first.values:
            option = self._taken.get(numbers[0])
            self._values[name] = _Unknown(numbers[0]) if option is None else first.values[name][option]
            return
        self._budget.spend(len(numbers))
        sure = maybe = self._base.get(name, frozenset())
        still_open = []
        for number in numbers:
            options = self._axes[number].parts[name]
            option = self._taken.get(number)
            if option is None:
                union = frozenset().union(*options)
                still_open.append((number, union))
                sure, maybe = sure | options[0].intersection(*options[1:]), maybe | union
            else:
                sure, maybe = sure | options[option], maybe | options[option]
        self._values[name] = _Span(sure, maybe, tuple(still_open)) if sure != maybe else sure

    # Evaluation

    def _evaluate(self, node: Expression, infallible: bool) -> Any:
        if isinstance(node, Const):
            return node.value
        if isinstance(node, Read):
            return self._values[node.name]
        if node.op in ("and", "or"):
            return self._lazily(node, infallible)
        if node.op == "if":
            condition = self._evaluate(node.args[0], infallible)
            if isinstance(condition, _Unknown | _Fails):
                return condition
            return self._evaluate(node.args[1 if condition else 2], infallible)
        arguments = [self._evaluate(argument, infallible) for argument in node.args]
        for argument in arguments:
            if isinstance(argument, _Unknown | _Fails):
                return argument
        if any(isinstance(argument, _Span) for argument in arguments):
            return _of_spans(node.op, arguments)
        try:
            return STRICT[node.op](*arguments)
        except Overflow:
            return _FAILS

    def _lazily(self, node: Op, infallible: bool) -> Any:
        """In order, as Cedar does; where nothing can fail, order means nothing and either side may decide."""
        decisive = node.op == "or"
        left = self._evaluate(node.args[0], infallible)
        if left is decisive or left is _FAILS:
            return left
        if not isinstance(left, _Unknown):
            return self._evaluate(node.args[1], infallible)
        if infallible and self._evaluate(node.args[1], infallible) is decisive:
            return decisive
        return left


def _of_spans(op: str, arguments: Sequence[Any]) -> Any:
    """An operator on sets of which at least one is under way."""
    first = _span(arguments[0])
    if op == "is_empty":
        return False if first.sure else _open_in(first.maybe, first)
    if op == "contains":
        element = arguments[1]
        if element in first.sure:
            return True
        return _open_in(frozenset((element,)), first) if element in first.maybe else False
    second = _span(arguments[1])
    if op == "contains_all":
        return _includes(first, second)
    if op == "contains_any":
        if not first.sure.isdisjoint(second.sure):
            return True
        common = first.maybe & second.maybe
        return _open_in(common, first, second) if common else False
    equal = _both(_includes(first, second), _includes(second, first))
    return equal if isinstance(equal, _Unknown) or op == "eq" else not equal


def _both(one: Any, other: Any) -> Any:
    if one is False or other is False:
        return False
    return one if isinstance(one, _Unknown) else other


def _includes(first: _Span, second: _Span) -> Any:
    if first.sure >= second.maybe:
        return True
    if not first.maybe >= second.sure:
        return False
    return _open_in(second.maybe - first.sure, first, second)


def _open_in(elements: frozenset[Any], *spans: _Span) -> _Unknown:
    """Not known yet, for an axis that decides on one of `elements`."""
    for span in spans:
        for number, union in span.open:
            if not union.isdisjoint(elements):
                return _Unknown(number)
    raise AssertionError("no axis decides it")  # a defect of ours: bounds that differ have an open axis


def _span(value: Any) -> _Span:
    return value if isinstance(value, _Span) else _Span(value, value, ())
