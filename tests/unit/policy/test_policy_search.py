"""The search: each case in one block, and as brute force finds."""

import itertools
import random

import pytest

from sekisho.policy.expressions import BOOL, LABELS, LONG, SETS, Const, Op, Read, reads
from sekisho.policy.folding import STRICT, Overflow
from sekisho.policy.search import AXES_MAX, Axis, Budget, Goal, Search, TooManyCases

ELEMENTS = ("Label::a", "Label::b", "Label::c")
DAYS = "context.staleness.policy_days"
RANK = "context.class_rank"
AXES = [
    *(Axis(name, 2, parts={LABELS: (frozenset(), frozenset((name,)))}) for name in ELEMENTS),
    Axis("rank", 3, {RANK: (0, 1, 2)}),
    Axis("days", 2, {DAYS: (1, 2**63 - 1)}),
]
SET = SETS + "Label"


def a_set(made):
    return made.choice((Read(LABELS), Read(LABELS), Const(frozenset(made.sample(ELEMENTS, made.randrange(4))), SET)))


def a_long(made, depth=2):
    if depth and made.random() < 0.3:
        return Op(made.choice(("add", "sub", "mul")), (a_long(made, depth - 1), a_long(made, depth - 1)))
    return made.choice((Read(RANK), Read(DAYS), Const(made.choice((0, 1, 2)), LONG)))


def a_formula(made, depth=3):
    if depth and made.random() < 0.7:
        op = made.choice(("and", "or", "not", "if"))
        count = {"not": 1, "if": 3}.get(op, 2)
        return Op(op, tuple(a_formula(made, depth - 1) for _ in range(count)))
    kind = made.randrange(4)
    if kind == 0:
        return Op(made.choice(("eq", "ne", "lt", "le", "gt", "ge")), (a_long(made), a_long(made)))
    if kind == 1:
        return Op("contains", (a_set(made), Const(made.choice(ELEMENTS), "Label")))
    if kind == 2:
        return Op(made.choice(("contains_all", "contains_any", "eq", "ne")), (a_set(made), a_set(made)))
    return Op("is_empty", (a_set(made),)) if made.random() < 0.8 else Const(made.random() < 0.5, BOOL)


def plainly(node, values):
    """What an expression comes to; raises Overflow. In the order in which Cedar looks."""
    if isinstance(node, Const):
        return node.value
    if isinstance(node, Read):
        return values[node.name]
    if node.op in ("and", "or"):
        first = plainly(node.args[0], values)
        return first if first is (node.op == "or") else plainly(node.args[1], values)
    if node.op == "if":
        return plainly(node.args[1 if plainly(node.args[0], values) else 2], values)
    return STRICT[node.op](*(plainly(argument, values) for argument in node.args))


def meets(goal, values):
    try:
        # All of them are looked at: one that fails denies, whatever the others say.
        true, false, one = (
            [plainly(node, values) for node in some or ()] for some in (goal.true, goal.false, goal.one)
        )
    except Overflow:
        return False
    return (goal.one is None or any(one)) and all(true) and not any(false)


def every_case():
    for options in itertools.product(*(range(axis.size) for axis in AXES)):
        held = frozenset().union(*(axis.parts[LABELS][o] for axis, o in zip(AXES[:3], options[:3], strict=True)))
        yield {LABELS: held, RANK: options[3], DAYS: (1, 2**63 - 1)[options[4]]}


def test_what_is_found_is_what_looking_at_every_case_finds():
    outcomes = {True: 0, False: 0}
    for seed in range(1_500):
        made = random.Random(seed)
        formulas = [tuple(a_formula(made) for _ in range(made.randrange(3))) for _ in range(3)]
        goal = Goal(formulas[0], formulas[1], formulas[2] if made.random() < 0.7 else None)
        search = Search(AXES, {}, goal, Budget())
        found = search.find()
        assert (found is not None) is any(meets(goal, values) for values in every_case()), seed
        if found is None:
            assert search.covered == search.cases == 8 * 3 * 2
        else:
            needed = frozenset().union(*(reads(node) for some in formulas for node in some))
            assert meets(goal, {name: found[name] for name in (*needed, LABELS)} | found)
        outcomes[found is not None] += 1
    assert min(outcomes.values()) > 200


def test_a_question_that_needs_too_many_steps_ends():
    axes = [Axis(f"x{n}", 2, {f"x{n}": (0, 1)}) for n in range(40)]
    total = Read("x0")
    for number in range(1, 40):
        total = Op("add", (total, Read(f"x{number}")))
    goal = Goal((Op("gt", (total, Const(40, LONG))),))
    with pytest.raises(TooManyCases) as raised:
        Search(axes, {}, goal, Budget(1_000)).find()
    assert "Ask about less" in str(raised.value)
    with pytest.raises(TooManyCases):
        Search([Axis(f"x{n}", 2) for n in range(AXES_MAX + 1)], {}, goal, Budget())
