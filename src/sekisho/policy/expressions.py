"""Policies as expressions over what they can read: one form for compiling them and for enumerating their cases. Pure.

Of Cedar this holds what our schema leaves room for: the request's and the deployment's attributes, literals, boolean
and integer operators, sets, `in`, `is`, `has`. Anything else raises `NotExpressible`, and whoever asked falls back on
the engine. Policies must have been validated against the schema. That leaves what the validator knows to be dead, at
whose types it does not look; we look at them all, so that the only error that evaluation can meet is an integer that
doesn't fit in 64 bits.

An entity is the string `Type::id`; its type never holds a colon, so equal strings are equal entities. A set is a
frozenset, an integer an int. `principal.in` and `resource.in` are the sets of what they are `in`, themselves included:
an organisation and roles, a model and a provider, none of which is in anything else.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import cedarpy
from cedarpy import pst

from sekisho.policy.interfaces import RELAY_RAW, RESTORE, STALENESS_ROLES
from sekisho.policy.schema import deployment_attributes

DEPTH_MAX: Final = 60  # of an expression: Python's parser knows at most 200 open parentheses, we need two a level
CLAUSES_MAX: Final = 16  # of one policy; each is a level too
LONG_MIN: Final = -(2**63)  # Cedar's integers
LONG_MAX: Final = 2**63 - 1

BOOL: Final = "Bool"
LONG: Final = "Long"
STRING: Final = "String"
SETS: Final = "Set of "  # and the kind of the elements; the kind of an entity is its type's name

PRINCIPAL: Final = "principal"
PRINCIPAL_IN: Final = "principal.in"
ACTION: Final = "action"
RESOURCE: Final = "resource"
RESOURCE_IN: Final = "resource.in"
ORGANISATION: Final = "principal.organisation"
CONTEXT: Final = "context"
LABELS: Final = "context.labels"
LABEL: Final = "context.label"  # of a value in an answer: only the actions on values have it
RESIDENCY: Final = "context.residency"
HOME: Final = "context.home"
CLASS: Final = "context.class"
CLASS_RANK: Final = "context.class_rank"
PROTECTED: Final = "context.protected"
STALENESS: Final = "context.staleness"

# Every name that can be read, with the kind of its value.
READS: Final = {
    PRINCIPAL: "Principal",
    ORGANISATION: "Organisation",
    PRINCIPAL_IN: SETS + "entities",
    ACTION: "Action",
    RESOURCE: "Deployment",
    RESOURCE_IN: SETS + "entities",
    CLASS: "DataClass",
    CLASS_RANK: LONG,
    PROTECTED: BOOL,
    RESIDENCY: SETS + "Jurisdiction",
    HOME: SETS + "Jurisdiction",
    LABELS: SETS + "Label",
    LABEL: "Label",
    **{f"{STALENESS}.{role}_days": LONG for role in STALENESS_ROLES},
    **{
        f"{RESOURCE}.{name}": SETS + kind[4:-1] if kind.startswith("Set<") else kind
        for name, kind in deployment_attributes().items()
    },
}
_RECORDS: Final = (PRINCIPAL, RESOURCE, CONTEXT, STALENESS)  # what has attributes
_MEMBERSHIPS: Final = {PRINCIPAL: PRINCIPAL_IN, RESOURCE: RESOURCE_IN}
_HAVE_PARENTS: Final = ("Principal", "Deployment")

_BINARY: Final = {
    "eq": "eq", "not_eq": "ne", "less": "lt", "less_eq": "le", "greater": "gt", "greater_eq": "ge",
    "and": "and", "or": "or", "add": "add", "sub": "sub", "mul": "mul",
    "contains": "contains", "contains_all": "contains_all", "contains_any": "contains_any",
}  # fmt: skip
ARITHMETIC: Final = frozenset({"add", "sub", "mul", "neg"})  # what can overflow
_OF_LONGS: Final = ARITHMETIC | {"lt", "le", "gt", "ge"}
_OF_BOOLS: Final = frozenset({"not", "and", "or"})


class NotExpressible(Exception):
    """A policy uses what expressions don't hold; the message names it, and `index` the policy, if known."""

    def __init__(self, obstacle: str, index: int | None = None) -> None:
        super().__init__(obstacle)
        self.index = index


class Const(NamedTuple):
    value: Any  # bool, int, str or frozenset of str or int
    kind: str


class Read(NamedTuple):
    name: str  # one of READS


class Op(NamedTuple):
    """`op` is one of: not, neg, and, or, eq, ne, lt, le, gt, ge, add, sub, mul, if, set, is_empty, contains,
    contains_all, contains_any (the first argument is what contains)."""

    op: str
    args: tuple["Expression", ...]


Expression = Const | Read | Op

TRUE: Final = Const(True, BOOL)
FALSE: Final = Const(False, BOOL)
_OF_VALUES: Final = Const(frozenset(f"Action::{name}" for name in (RELAY_RAW, RESTORE)), SETS + "Action")


class PolicyExpression(NamedTuple):
    """A policy: it is satisfied where `when`, which holds its scope too, is true."""

    permits: bool
    when: Expression


def policy_expression(text: str) -> PolicyExpression:
    """Of one validated policy's Cedar text. Raises NotExpressible."""
    try:
        (policy,) = cedarpy.policies_to_pst(text).static_policies.values()
    except ValueError as error:  # not one policy, or a node that the tree's own form does not hold
        raise NotExpressible(str(error)) from None
    parts = [_scope(PRINCIPAL, policy.principal), _action(policy.action), _scope(RESOURCE, policy.resource)]
    if len(policy.clauses) > CLAUSES_MAX:
        raise NotExpressible(f"more than {CLAUSES_MAX} clauses")
    for clause in policy.clauses:
        part = _translate(clause.expr, 0)
        if kind_of(part) != BOOL:
            raise NotExpressible(f"a condition that is a {kind_of(part)}")
        parts.append(part if isinstance(clause, pst.When) else negation(part))
    return PolicyExpression(policy.effect == "permit", conjunction(parts))


def entity(kind: str, identifier: str) -> Const:
    return Const(f"{kind}::{identifier}", kind)


def conjunction(parts: list[Expression]) -> Expression:
    """All of them, in their order."""
    whole: Expression = TRUE
    for part in parts:
        whole = part if whole == TRUE else whole if part == TRUE else Op("and", (whole, part))
    return whole


def negation(part: Expression) -> Expression:
    if isinstance(part, Op) and part.op == "not":
        return part.args[0]
    return Const(not part.value, BOOL) if isinstance(part, Const) else Op("not", (part,))


def kind_of(node: Expression) -> str:
    if isinstance(node, Const):
        return node.kind
    if isinstance(node, Read):
        return READS[node.name]
    if node.op == "if":
        return kind_of(node.args[1])
    if node.op == "set":
        return SETS + kind_of(node.args[0])
    return LONG if node.op in ARITHMETIC else BOOL


def nodes(node: Expression) -> Iterator[Expression]:
    """The node and every one below it."""
    stack = [node]
    while stack:
        found = stack.pop()
        yield found
        if isinstance(found, Op):
            stack.extend(found.args)


def size(node: Expression) -> int:
    """How many nodes it has."""
    return sum(1 for _ in nodes(node))


def reads(node: Expression) -> frozenset[str]:
    return frozenset(one.name for one in nodes(node) if isinstance(one, Read))


def can_fail(node: Expression) -> bool:
    return any(isinstance(one, Op) and one.op in ARITHMETIC for one in nodes(node))


def _scope(name: str, constraint: Any) -> Expression:
    kind = READS[name]
    if isinstance(constraint, pst.ScopeAny):
        return TRUE
    if isinstance(constraint, pst.ScopeIs):
        return Const(str(constraint.entity_type) == kind, BOOL)
    if not isinstance(constraint.entity, pst.EntityUid):
        raise NotExpressible("a template's slot")
    uid = _uid(constraint.entity)
    if isinstance(constraint, pst.ScopeEq):
        return Op("eq", (Read(name), uid))
    if isinstance(constraint, pst.ScopeIsIn) and str(constraint.entity_type) != kind:
        return FALSE
    return Op("contains", (Read(_MEMBERSHIPS[name]), uid))


def _action(constraint: Any) -> Expression:
    if isinstance(constraint, pst.ScopeAny):
        return TRUE
    named = (constraint.entity,) if isinstance(constraint, pst.ActionEq) else constraint.entities
    return Op("contains", (Const(frozenset(_uid(uid).value for uid in named), SETS + "Action"), Read(ACTION)))


def _uid(uid: pst.EntityUid) -> Const:
    if uid.type.namespace:
        raise NotExpressible(f"the type {uid.type}")
    return entity(uid.type.basename, uid.id)


def _translate(node: Any, depth: int) -> Expression:
    translate = _TRANSLATORS.get(type(node))
    if translate is None:
        raise NotExpressible(f"an expression of the kind {type(node).__name__}")
    if depth > DEPTH_MAX:
        raise NotExpressible(f"an expression that nests more than {DEPTH_MAX} deep")
    return translate(node, depth + 1)


def _variable(node: Any, depth: int) -> Expression:
    if node.name == CONTEXT:
        raise NotExpressible("the context as a value")
    return Read(node.name)


def _typed(op: str, *args: Expression) -> Op:
    """Raises NotExpressible where the kinds don't fit: Python would compare what Cedar does not. To it, true is 1."""
    first, *others = kinds = [kind_of(argument) for argument in args]
    if op in _OF_LONGS or op in _OF_BOOLS:
        fits = set(kinds) == {LONG if op in _OF_LONGS else BOOL}
    elif op == "if":
        fits = first == BOOL and others[0] == others[1]
    elif op == "contains":
        fits = first == SETS + others[0]
    elif op in ("eq", "ne"):
        fits = first == others[0] or all(map(_is_entity, kinds))
    else:  # set, is_empty, contains_all, contains_any
        fits = len(set(kinds)) == 1 and first.startswith(SETS) is (op != "set")
    if not fits:
        raise NotExpressible(f"{op!r} of {' and '.join(kinds)}")
    return Op(op, args)


def _is_entity(kind: str) -> bool:
    return kind not in (BOOL, LONG, STRING) and not kind.startswith(SETS)


def _unary(node: Any, depth: int) -> Expression:
    if node.op not in ("not", "neg", "is_empty"):
        raise NotExpressible(f"the operator {node.op}")
    checked = _typed(node.op, _translate(node.arg, depth))
    return negation(checked.args[0]) if node.op == "not" else checked


def _binary(node: Any, depth: int) -> Expression:
    if node.op == "in":
        return _membership(node.left, node.right, depth)
    op = _BINARY.get(node.op)
    if op is None:
        raise NotExpressible(f"the operator {node.op}")
    return _typed(op, _translate(node.left, depth), _translate(node.right, depth))


def _membership(left: Any, right: Any, depth: int) -> Expression:
    """Principals and deployments are in what their `….in` holds, all others in themselves alone."""
    item, within = _translate(left, depth), _translate(right, depth)
    several = kind_of(within).startswith(SETS)
    if not _is_entity(kind_of(item)) or not _is_entity(kind_of(within).removeprefix(SETS)):
        raise NotExpressible("`in` of what is no entity")
    if isinstance(item, Read) and item.name in _MEMBERSHIPS:
        return Op("contains_any" if several else "contains", (Read(_MEMBERSHIPS[item.name]), within))
    if kind_of(item) in _HAVE_PARENTS:
        raise NotExpressible(f"`in` of another {kind_of(item)} than the one that is decided on")
    return Op("contains", (within, item)) if several else Op("eq", (item, within))


def _attribute(node: Any, depth: int) -> Expression:
    path = _path(node)
    if path is None or path not in READS:
        raise NotExpressible(f"the attribute {node.attr!r} of something computed, or a record as a value")
    return Read(path)


def _path(node: Any) -> str | None:
    """`context.staleness.policy_days` for a chain of attributes from a variable; None if it is none of the schema's.

    An attribute may be any text: `context["staleness.policy_days"]` is no chain, and `resource["in"]` no membership.
    """
    names: list[str] = []
    while isinstance(node, pst.GetAttr) and _is_attribute(node.attr):
        names.append(node.attr)
        node = node.base
    return ".".join([node.name, *reversed(names)]) if isinstance(node, pst.Var) else None


def _is_attribute(name: str) -> bool:
    return name.isidentifier() and name != "in"


def _has(node: Any, depth: int) -> Expression:
    path = _path(node.base)
    if path not in _RECORDS:
        raise NotExpressible("`has` of something computed")
    for attribute in node.attrs:
        if path not in _RECORDS:
            raise NotExpressible("`has` of something that has no attributes")
        path = f"{path}.{attribute}"
        if path == LABEL:
            return Op("contains", (_OF_VALUES, Read(ACTION)))
        if not _is_attribute(attribute) or (path != STALENESS and path not in READS):
            return FALSE
    return TRUE


def _is(node: Any, depth: int) -> Expression:
    item = _translate(node.base, depth)
    if can_fail(item):
        raise NotExpressible("`is` of what can fail")
    if kind_of(item) != str(node.entity_type):
        return FALSE
    return TRUE if node.in_expr is None else _membership(node.base, node.in_expr, depth)


def _set(node: Any, depth: int) -> Expression:
    items = tuple(_translate(item, depth) for item in node.elements)
    if not items:
        raise NotExpressible("an empty set")
    made = _typed("set", *items)
    constants = [item for item in items if isinstance(item, Const)]
    if len(constants) == len(items):
        return Const(frozenset(item.value for item in constants), kind_of(made))
    return made


def _if(node: Any, depth: int) -> Expression:
    return _typed("if", *(_translate(one, depth) for one in (node.cond, node.then_expr, node.else_expr)))


_TRANSLATORS: Final[dict[type, Callable[[Any, int], Expression]]] = {
    pst.Var: _variable,
    pst.BoolLit: lambda node, depth: Const(node.value, BOOL),
    pst.LongLit: lambda node, depth: Const(node.value, LONG),
    pst.StringLit: lambda node, depth: Const(node.value, STRING),
    pst.EntityLit: lambda node, depth: _uid(node.value),
    pst.UnaryOp: _unary,
    pst.BinaryOp: _binary,
    pst.GetAttr: _attribute,
    pst.HasAttr: _has,
    pst.Is: _is,
    pst.Set: _set,
    pst.IfThenElse: _if,
}
