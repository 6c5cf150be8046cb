"""The compiled form: a snapshot's policies as one Python function that decides all candidates of a request. Pure.

It says what the engine says, verdicts and reasons alike, or it says nothing: a policy that expressions don't hold, or
an evaluation that fails, leaves the request to the engine. Tests hold the two against each other over random policies
and requests, and the decider asks both for some of its decisions (`engine.CedarDecider`).

The source that Python compiles consists of our own templates, numbers of policies and names that we number. No text of
a policy gets into it: each constant is an object that the function finds under a name.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sekisho.policy.expressions import (
    ACTION,
    CLASS,
    CLASS_RANK,
    HOME,
    LABEL,
    LABELS,
    ORGANISATION,
    PRINCIPAL,
    PRINCIPAL_IN,
    PROTECTED,
    RESIDENCY,
    RESOURCE,
    RESOURCE_IN,
    STALENESS,
    Const,
    Expression,
    NotExpressible,
    PolicyExpression,
    Read,
    policy_expression,
    reads,
)
from sekisho.policy.folding import Overflow, bounded, fold
from sekisho.policy.interfaces import RETAIN, SEND_RAW, SEND_REDACTED, STALENESS_ROLES, DecisionInput
from sekisho.policy.schema import enumerations

FORM: Final = "1"  # of the compiled form; stands in entries of decisions that it made

_TEMPLATES: Final[Mapping[str, str]] = {
    "not": "(not {0})",
    "and": "({0} and {1})",
    "or": "({0} or {1})",
    "if": "({1} if {0} else {2})",
    "eq": "({0} == {1})",
    "ne": "({0} != {1})",
    "lt": "({0} < {1})",
    "le": "({0} <= {1})",
    "gt": "({0} > {1})",
    "ge": "({0} >= {1})",
    "neg": "bounded(-{0})",
    "add": "bounded({0} + {1})",
    "sub": "bounded({0} - {1})",
    "mul": "bounded({0} * {1})",
    "is_empty": "(not {0})",
    "contains": "({1} in {0})",
    "contains_all": "({0} >= {1})",
    "contains_any": "(not {0}.isdisjoint({1}))",
}
_INDENT: Final = "    "

_CLOSED: Final = ("Jurisdiction", "Label", "Organisation")  # what a request must name one of, or the engine refuses it
_KNOWN_SETS_MAX: Final = 4_096  # sets of labels and jurisdictions that are kept; a request brings them as tuples

# (satisfied permits, satisfied forbids) by index, for each candidate in turn.
Satisfied = tuple[list[int], list[int]]
_Function = Callable[[Sequence[Any], Sequence[Sequence[Any]]], list[Satisfied]]


class CompiledAction(NamedTuple):
    """The policies for one action. `request` and `candidate` name what the function is given, in its order."""

    request: tuple[str, ...]
    candidate: tuple[str, ...]
    function: _Function

    def decide(self, values: Mapping[str, Any], candidates: Sequence[Sequence[Any]]) -> list[Satisfied] | None:
        """None where an evaluation fails: then the engine says how."""
        try:
            return self.function([values[name] for name in self.request], candidates)
        except Overflow:
            return None


class CompiledPolicies:
    """All policies of a snapshot over all deployments of an epoch. Belongs to one thread.

    Raises NotExpressible if a policy can't be expressed.
    """

    def __init__(self, texts: Sequence[str], schema: str, home: Iterable[str], models: Mapping[str, Any]) -> None:
        policies = expressions(texts)
        kinds = enumerations(schema)
        if not kinds.keys() >= set(_CLOSED):
            raise NotExpressible("types that are not enumerated, where they should be")
        self._names = {kind: {name: f"{kind}::{name}" for name in kinds[kind]} for kind in _CLOSED}
        known = {HOME: frozenset(self._names["Jurisdiction"][code] for code in home)}
        self._facts = {model: [deployment_values(entity) for entity in entities] for model, entities in models.items()}
        self._actions = {
            action: compile_action(policies, action, known) for action in (SEND_RAW, SEND_REDACTED, RETAIN)
        }
        self._rows: dict[tuple[str, str], list[tuple[Any, ...]]] = {}
        self._sets: dict[tuple[str, tuple[str, ...]], frozenset[str] | None] = {}

    def satisfied(
        self, value: DecisionInput, action: str, labels: tuple[str, ...], rank: int, protected: bool
    ) -> list[Satisfied] | None:
        """For each deployment of the model; None for what the engine has to say: where a name is not one that the
        schema has, and where an evaluation fails."""
        named, places = self._set("Label", labels), self._set("Jurisdiction", value.residency)
        organisation = self._names["Organisation"].get(value.principal.organisation)
        if named is None or places is None or organisation is None:
            return None
        compiled = self._actions[action]
        rows = self._rows.get((action, value.model))
        if rows is None:
            rows = [tuple(facts[name] for name in compiled.candidate) for facts in self._facts[value.model]]
            self._rows[action, value.model] = rows
        principal = f"Principal::{value.principal.id}"
        values = {
            PRINCIPAL: principal,
            ORGANISATION: organisation,
            PRINCIPAL_IN: frozenset((principal, organisation, *(f"Role::{role}" for role in value.principal.roles))),
            CLASS: f"DataClass::{value.data_class}",
            CLASS_RANK: rank,
            PROTECTED: protected,
            RESIDENCY: places,
            LABELS: named,
        }
        days = dict(value.staleness)
        for role in STALENESS_ROLES:
            values[f"{STALENESS}.{role}_days"] = days.get(role, 0)
        return compiled.decide(values, rows)

    def _set(self, kind: str, names: tuple[str, ...]) -> frozenset[str] | None:
        """None if one of them is not of that kind."""
        key = (kind, names)
        if key not in self._sets:
            if len(self._sets) >= _KNOWN_SETS_MAX:
                del self._sets[next(iter(self._sets))]
            known = self._names[kind]
            self._sets[key] = frozenset(known[name] for name in names) if known.keys() >= set(names) else None
        return self._sets[key]


def deployment_values(item: Mapping[str, Any]) -> dict[str, Any]:
    """What can be read of a deployment, from its entity as `entities` writes it."""
    name = _entity_name(item["uid"])
    values: dict[str, Any] = {RESOURCE: name, RESOURCE_IN: frozenset((name, *map(_entity_name, item["parents"])))}
    return values | attribute_values(item["attrs"])


def attribute_values(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The same of attributes alone."""
    return {f"{RESOURCE}.{attribute}": _plain(value) for attribute, value in attributes.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return frozenset(map(_plain, value))
    return _entity_name(value) if isinstance(value, dict) else value


def _entity_name(reference: Mapping[str, str]) -> str:
    return f"{reference['type']}::{reference['id']}"


def expressions(texts: Sequence[str]) -> list[PolicyExpression]:
    """Of all policies. Raises NotExpressible, which says of the first that can't be what is in the way."""
    found = []
    for index, text in enumerate(texts):
        try:
            found.append(policy_expression(text))
        except NotExpressible as obstacle:
            raise NotExpressible(str(obstacle), index) from None
    return found


def compile_action(policies: Sequence[PolicyExpression], action: str, known: Mapping[str, Any]) -> CompiledAction:
    """The policies for one action, with what is `known` of every request folded in."""
    return _Source(policies, {**known, ACTION: f"Action::{action}"}).compiled()


class _Source:
    def __init__(self, policies: Sequence[PolicyExpression], known: Mapping[str, Any]) -> None:
        self._constants: dict[str, Any] = {}
        self._request: dict[str, str] = {}  # read → variable
        self._candidate: dict[str, str] = {}
        self._before: list[str] = []  # what does not look at the candidate: worked out once
        self._each: list[str] = []
        for index, policy in enumerate(policies):
            self._add(index, policy.permits, fold(policy.when, known))

    def _add(self, index: int, permits: bool, when: Expression) -> None:
        if isinstance(when, Const) and not when.value:
            return
        read = reads(when)
        if LABEL in read:  # dead to the validator, which knows what can be in what
            raise NotExpressible("the label of a value in an answer where there is none", index)
        of_candidate = any(_is_candidates(name) for name in read)
        lines, into = (self._each, "") if of_candidate else (self._before, "all_")
        condition = self._text(when)
        lines.append(f"if {condition}: {into}{'permits' if permits else 'forbids'}.append({index})")

    def _text(self, node: Expression) -> str:
        if isinstance(node, Const):
            name = f"k{len(self._constants)}"
            self._constants[name] = node.value
            return name
        if isinstance(node, Read):
            names = self._candidate if _is_candidates(node.name) else self._request
            return names.setdefault(node.name, f"{'c' if names is self._candidate else 'r'}{len(names)}")
        arguments = [self._text(argument) for argument in node.args]
        if node.op == "set":
            return f"frozenset(({', '.join(arguments)},))"
        return _TEMPLATES[node.op].format(*arguments)

    def compiled(self) -> CompiledAction:
        unpack = f"({', '.join(self._request.values())},) = request" if self._request else "pass"
        row = f"({', '.join(self._candidate.values())},)" if self._candidate else "_"
        loop = ["permits = all_permits.copy()", "forbids = all_forbids.copy()", *self._each]
        lines = [
            "def decide(request, candidates):",
            *(_INDENT + line for line in (unpack, "all_permits = []", "all_forbids = []", "found = []", *self._before)),
            f"{_INDENT}for {row} in candidates:",
            *(_INDENT * 2 + line for line in (*loop, "found.append((permits, forbids))")),
            f"{_INDENT}return found",
        ]
        space: dict[str, Any] = {**self._constants, "bounded": bounded}
        exec(compile("\n".join(lines), "<policies>", "exec"), space)  # noqa: S102 - see above: nothing foreign is in it
        return CompiledAction(tuple(self._request), tuple(self._candidate), space["decide"])


def _is_candidates(name: str) -> bool:
    return name in (RESOURCE, RESOURCE_IN) or name.startswith(f"{RESOURCE}.")
