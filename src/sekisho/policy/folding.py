"""Evaluating expressions where what they read is known, as far as it is. Pure."""

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from sekisho.policy.expressions import LONG_MAX, LONG_MIN, Const, Expression, Op, can_fail, kind_of


class Overflow(Exception):
    """An integer that doesn't fit in 64 bits: Cedar's evaluation error."""


def bounded(value: int) -> int:
    """The integer itself; raises Overflow where Cedar does."""
    if LONG_MIN <= value <= LONG_MAX:
        return value
    raise Overflow


# What each operator does with values, `and`, `or` and `if` apart, which don't look at all of them.
STRICT: Final[Mapping[str, Callable[..., Any]]] = {
    "not": operator.not_,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "neg": lambda a: bounded(-a),
    "add": lambda a, b: bounded(a + b),
    "sub": lambda a, b: bounded(a - b),
    "mul": lambda a, b: bounded(a * b),
    "set": lambda *items: frozenset(items),
    "is_empty": operator.not_,
    "contains": operator.contains,
    "contains_all": lambda a, b: a >= b,
    "contains_any": lambda a, b: not a.isdisjoint(b),
}


def fold(node: Expression, known: Mapping[str, Any]) -> Expression:
    """The expression with all that is `known` (by the name that reads it) put in, and worked out as far as that goes.

    It means the same in every case, errors included: what would overflow stays as it is, and so does what
    could fail before it in an `and` or `or`.
    """
    if isinstance(node, Const):
        return node
    if not isinstance(node, Op):
        return Const(known[node.name], kind_of(node)) if node.name in known else node
    if node.op in ("and", "or", "if"):
        return _fold_lazy(node, known)
    arguments = tuple(fold(argument, known) for argument in node.args)
    if all(isinstance(argument, Const) for argument in arguments):
        try:
            value = STRICT[node.op](*(argument.value for argument in arguments if isinstance(argument, Const)))
        except Overflow:
            return Op(node.op, arguments)
        return Const(value, kind_of(node))
    return Op(node.op, arguments)


def _fold_lazy(node: Op, known: Mapping[str, Any]) -> Expression:
    first = fold(node.args[0], known)
    if node.op == "if":
        if isinstance(first, Const):
            return fold(node.args[1 if first.value else 2], known)
        return Op("if", (first, *(fold(argument, known) for argument in node.args[1:])))
    decisive = node.op == "or"
    if isinstance(first, Const):
        return first if first.value is decisive else fold(node.args[1], known)
    if isinstance(first, Op) and first.op == node.op and isinstance(first.args[1], Const):
        return first  # it is decided, or fails: the second is never looked at
    second = fold(node.args[1], known)
    if isinstance(second, Const) and second.value is not decisive:
        return first
    if isinstance(second, Const) and not can_fail(first):
        return second
    return Op(node.op, (first, second))
