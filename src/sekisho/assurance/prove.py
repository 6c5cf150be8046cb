"""Proving statements about a snapshot's policies: every case that they can tell apart, or one that is against it. Pure.

Why the answer is exact:

1. A case is a request as far as policies and the statement can tell (`policy.cases`), a deployment with its facts at an
   instant, and a form (raw, redacted). Policies see nothing else: facts come with the deployment, requests with the
   principal and the context, and no expression reaches any other entity (`policy.expressions`).
2. Requests are those that a gateway lets come to a decision: a class from the default of the organisation up (stricter
   ones win), a residency within its default (intersections, never `unknown`; empty is denied), any roles, any labels.
   What holds `opaque` or `egress.*` is never redacted.
3. Deployments that have the same in all that is read are one. Each is looked at in every span of time from now on: what
   its facts are until one of them ends, and after that.
4. A case is against the statement if the statement's expression is true, a permit is, no forbid is and none fails: what
   the engine permits (`policy.engine`). Every counter-example is put to the engine before it is given.
5. The search accounts for each case in exactly one block (`policy.search`).

A policy that can't be enumerated (`NotExpressible`) is taken to permit if it is a permit, and to forbid nothing if it
is a forbid. So what holds without it holds; where the engine denies what was found, the answer is *undecided*.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from sekisho.assurance.hypothetical import facts_of, with_hypothetical
from sekisho.assurance.statements import Statement
from sekisho.catalog.interfaces import ANYWHERE, Catalogue
from sekisho.kernel import canonical
from sekisho.kernel.errors import SekishoError
from sekisho.policy.cases import OTHER, Asking, World, constants, deployment_axes, named, request_axes, world_of
from sekisho.policy.engine import engine_only
from sekisho.policy.expressions import (
    ACTION,
    BOOL,
    CLASS,
    FALSE,
    HOME,
    LABELS,
    ORGANISATION,
    PRINCIPAL,
    PRINCIPAL_IN,
    READS,
    RESIDENCY,
    RESOURCE,
    RESOURCE_IN,
    STALENESS,
    Const,
    Expression,
    NotExpressible,
    Op,
    PolicyExpression,
    Read,
    negation,
    policy_expression,
    reads,
    size,
)
from sekisho.policy.folding import fold
from sekisho.policy.interfaces import (
    INPUT_VERSION,
    SEND_RAW,
    SEND_REDACTED,
    STALENESS_ROLES,
    DecisionInput,
    PolicyParts,
    PrincipalInput,
)
from sekisho.policy.schema import STANDING_LABELS
from sekisho.policy.search import Axis, Budget, Goal, Search, TooManyCases

HOLDS: Final = "holds"
FAILS: Final = "fails"
UNDECIDED: Final = "undecided"
TOO_MANY: Final = "too_many"
_ACTIONS: Final = (SEND_RAW, SEND_REDACTED)
_KINDS_OF_NAMES: Final = ("Deployment", "Model", "Provider", "Site")  # a deployment's, of which only those named matter
_PASSES: Final = 8  # over all expressions, about: for the axes of a block
NOBODY: Final = "explain"  # the principal of a request that is only asked about


class CounterExample(NamedTuple):
    """A case that policies permit and the statement says there is none of: one `deployment` of `alike` many.
    `facts` stand for one that is not declared, but could be; then it is one of none.

    `at_us` is None for now, else the start of the span in which it is so. `labels` are the body's, `labels_left` those
    of the redacted body where that is what leaves. `permits` are ids of the policies that permit it. The rest is as in
    a DecisionInput.
    """

    deployment: str
    alike: int
    facts: tuple[tuple[str, str], ...] | None
    model: str
    action: str
    at_us: int | None
    organisation: str
    principal: str
    roles: tuple[str, ...]
    data_class: str
    residency: tuple[str, ...]
    labels: tuple[str, ...]
    labels_left: tuple[str, ...] | None
    staleness: tuple[tuple[str, int], ...]
    permits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of a statement. `cases`: how many were enumerated (HOLDS: all of those it is about).

    `deployments` are declared, `kinds` of them (in spans of time) can be told apart, and the statement is about `about`
    of these. `anything`: any deployment that could be declared was meant. `possible`: whether there is a case that the
    statement speaks of, permitted or not. `reads`: what cases differ in. `obstacles`: policies that could not be
    enumerated, with why.
    """

    statement: str
    outcome: str
    cases: int
    deployments: int
    kinds: int
    about: int
    anything: bool
    possible: bool
    reads: tuple[str, ...]
    counter_example: CounterExample | None = None
    obstacles: tuple[tuple[str, str], ...] = ()
    why: str = ""


class _Kind(NamedTuple):
    """Deployments that policies and statement can't tell apart: the first, in its first span, and the names of all."""

    name: str
    at_us: int | None
    values: Mapping[str, Any]
    names: set[str]


class _Scope(NamedTuple):
    """Requests with one set of defaults, and a residency that is everything, or within `asking.places`."""

    asking: Asking
    everywhere: bool


class _Block(NamedTuple):
    axes: Sequence[Axis]
    goal: Goal


class Prover:
    """Over one snapshot's parts, from an instant on. Raises KeyError or ValueError for parts that are no snapshot's."""

    def __init__(self, parts: PolicyParts, catalogue: Catalogue, *, snapshot: str, now_us: int) -> None:
        rows = canonical.decode(parts.policies)["policies"]
        # Without exemptions: a statement is about the policies, and whoever asks is told which exemptions there are.
        self._parts = replace(parts, policies=canonical.encode({"policies": rows}))
        self._snapshot = snapshot
        self._now_us = now_us
        self._ids = [row["id"] for row in rows]
        self.world: World = world_of(canonical.decode(parts.entities), parts.schema.decode())
        self._policies: list[PolicyExpression] = []
        self._obstacles: list[tuple[str, str]] = []
        for row in rows:
            try:
                policy = policy_expression(row["text"])
                sending = [fold(policy.when, {ACTION: f"Action::{action}"}) for action in _ACTIONS]
                request_axes(self.world, Asking((), 0, frozenset()), SEND_RAW, sending)
                if all(when == FALSE for when in sending):  # of keeping or of answers, which no statement is about
                    policy = policy._replace(when=FALSE)
            except NotExpressible as obstacle:
                self._obstacles.append((row["id"], str(obstacle)))
                policy = PolicyExpression(row["effect"] == "permit", Const(row["effect"] == "permit", BOOL))
            self._policies.append(policy)
        self._size = sum(size(policy.when) for policy in self._policies)
        self._models = {name: model for model, entities in self.world.models.items() for name in _names_of(entities)}
        self._scopes = list(_scopes(catalogue))
        self._maskable = self.world.names["Label"] - frozenset(STANDING_LABELS)

    def prove(self, statement: Statement, budget: Budget | None = None) -> Proof:
        """Over the deployments that are declared. Never hangs: a question of too many cases is answered as that."""
        read = reads(statement.against).union(*(reads(policy.when) for policy in self._policies))
        kinds = self._kinds(statement, read)
        return self._proof(statement, [(kind, self._known_of(kind)) for kind in kinds], read, budget or Budget())

    def prove_of_anything(self, statement: Statement, budget: Budget | None = None) -> Proof:
        """Over every deployment that could be declared: what holds, holds of whatever is declared later, while the
        boundary and the policies stay."""
        read = reads(statement.against).union(*(reads(policy.when) for policy in self._policies))
        return self._proof(statement, [(None, {HOME: self.world.home})], read, budget or Budget(), anything=True)

    def _proof(
        self,
        statement: Statement,
        kinds: Sequence[tuple[_Kind | None, Mapping[str, Any]]],
        read: frozenset[str],
        budget: Budget,
        *,
        anything: bool = False,
    ) -> Proof:
        proof = Proof(
            statement.text, HOLDS, 0, len(self._models), len(kinds), 0, anything, False, tuple(sorted(read - {HOME})),
            obstacles=tuple(self._obstacles),
        )  # fmt: skip
        try:
            for kind, known in kinds:
                in_question = False
                for action, scope in itertools.product(_ACTIONS, self._scopes):
                    block = self._block(statement, known, action, scope, budget, anything=anything)
                    if block is None:
                        continue
                    if not proof.possible and Search(block.axes, {}, Goal(block.goal.true), budget).find() is not None:
                        proof = replace(proof, possible=True)
                    search = Search(block.axes, {}, block.goal, budget)
                    values = search.find()
                    proof = replace(proof, cases=proof.cases + search.covered, about=proof.about + (not in_question))
                    in_question = True
                    if values is not None:
                        example = self._example(statement, kind, action, scope, values)
                        return replace(proof, outcome=UNDECIDED if example is None else FAILS, counter_example=example)
        except TooManyCases as error:
            return replace(proof, outcome=TOO_MANY, why=str(error))
        return proof

    # Deployments

    def _kinds(self, statement: Statement, read: frozenset[str]) -> list[_Kind]:
        expressions = [statement.against, *(policy.when for policy in self._policies)]
        told = {kind: frozenset(named(kind, expressions)) for kind in _KINDS_OF_NAMES}
        names = sorted(name for name in read if name.split(".")[0] == RESOURCE)
        kinds: dict[tuple[Any, ...], _Kind] = {}
        for deployment, at_us, values in self.world.spans(self._now_us):
            seen = {name: _seen(name, values[name], told) for name in names}
            kind = kinds.setdefault(tuple(seen.values()), _Kind(deployment, at_us, seen, set()))
            kind.names.add(deployment)
        return sorted(kinds.values(), key=lambda kind: kind.at_us or 0)  # what is so today comes first

    # One block of cases

    def _known_of(self, kind: _Kind) -> Mapping[str, Any]:
        return {**kind.values, HOME: self.world.home}

    def _block(
        self,
        statement: Statement,
        known: Mapping[str, Any],
        action: str,
        scope: _Scope,
        budget: Budget,
        *,
        anything: bool,
    ) -> _Block | None:
        """None where the statement is about none of these cases. `anything`: nothing is `known` of the deployment."""
        known = {**known, ACTION: f"Action::{action}"}
        if scope.everywhere:
            known[RESIDENCY] = scope.asking.places
        against = fold(statement.against, known)
        if isinstance(against, Const) and not against.value:
            return None
        true = [against] if scope.everywhere else [against, Op("not", (Op("is_empty", (Read(RESIDENCY),)),))]
        permits: list[Expression] = []
        forbids: list[Expression] = []
        budget.spend(self._size)
        for policy in self._policies:
            when = fold(policy.when, known)
            if not (isinstance(when, Const) and not when.value):
                (permits if policy.permits else forbids).append(when)
        of_deployment: list[Axis] = []
        if anything:
            of_deployment, rules = deployment_axes(self.world, scope.asking.places, [*true, *forbids, *permits])
            true += rules
        if action == SEND_REDACTED:
            true += self._something_masked([*true, *forbids, *permits])
        together = [*true, *forbids, *permits]
        budget.spend(_PASSES * sum(map(size, together)))
        axes = request_axes(self.world, scope.asking, action, together, residency=not anything)
        return _Block([*axes, *of_deployment], Goal(tuple(true), tuple(forbids), tuple(permits)))

    def _something_masked(self, expressions: Sequence[Expression]) -> list[Expression]:
        """A redacted body lacks one at least of the labels that can be masked. Where expressions can't tell two of them
        apart from all others, there is always one that it may lack."""
        every = Const(frozenset(f"Label::{name}" for name in self._maskable), READS[LABELS])
        if len(every.value.difference(*constants(every.kind, expressions))) > 1:
            return []
        return [negation(Op("contains_all", (Read(LABELS), every)))]

    def _example(
        self, statement: Statement, kind: _Kind | None, action: str, scope: _Scope, values: Mapping[str, Any]
    ) -> CounterExample | None:
        """The case as a request. None where the engine denies it, as only one of the obstacles can explain."""
        asking, parts = scope.asking, self._parts
        if kind is None:
            parts, name, model = with_hypothetical(parts, self.world, values)
        else:
            name, model = kind.name, self._models[kind.name]
        principal = _name(values.get(PRINCIPAL, f"Principal::{OTHER}"))
        if f"Principal::{principal}" not in self._named("Principal", statement):
            principal = self._unnamed(NOBODY, "Principal", statement)
        data_class = values.get(CLASS, f"DataClass::{self.world.classes[asking.rank_min]}")
        ages = {role: values.get(f"{STALENESS}.{role}_days", 0) for role in STALENESS_ROLES}
        labels = tuple(sorted(map(_name, values.get(LABELS, ()))))
        before = next((one for one in sorted(self._maskable) if one not in labels), None)
        masked = action == SEND_REDACTED
        roles = sorted(_name(one) for one in values.get(PRINCIPAL_IN, ()) if one.startswith("Role::"))
        example = CounterExample(
            deployment=name,
            alike=0 if kind is None else len(kind.names),
            facts=None if kind is not None else facts_of(values),
            model=model,
            action=action,
            at_us=None if kind is None else kind.at_us,
            organisation=_name(values.get(ORGANISATION, f"::{asking.organisations[0]}")),
            principal=principal,
            roles=tuple(roles) or (self._unnamed("none", "Role", statement),),
            data_class=_name(data_class),
            residency=tuple(sorted(map(_name, asking.places if scope.everywhere else values[RESIDENCY]))),
            labels=tuple(sorted({*labels, before})) if masked and before else labels,
            labels_left=labels if masked else None,
            staleness=tuple(sorted(ages.items())) if any(ages.values()) else (),
            permits=(),
        )
        return self._confirmed(example, parts)

    def _unnamed(self, name: str, kind: str, statement: Statement) -> str:
        """A name that no policy and not the statement names. No role at all is one too: who asks `explain` without one
        is taken for a caller."""
        while f"{kind}::{name}" in self._named(kind, statement):
            name += "-"
        return name

    def _named(self, kind: str, statement: Statement) -> list[str]:
        return named(kind, [statement.against, *(policy.when for policy in self._policies)])

    def _confirmed(self, example: CounterExample, parts: PolicyParts) -> CounterExample | None:
        """With the ids of what permits it, as the engine says."""
        epoch_from = self._now_us if example.at_us is None else example.at_us
        decider = engine_only(parts, snapshot=self._snapshot, epoch_from=epoch_from)
        left = example.labels_left
        asked = DecisionInput(
            v=INPUT_VERSION,
            snapshot=self._snapshot,
            epoch_from=epoch_from,
            model=example.model,
            principal=PrincipalInput(example.principal, example.organisation, example.roles),
            data_class=example.data_class,
            residency=example.residency,
            labels_raw=example.labels,
            labels_redacted=example.labels if left is None else left,
            redactable=left is not None,
            staleness=example.staleness,
        )
        for verdict in decider.decide(asked).verdicts:
            if (verdict.deployment, verdict.action) == (example.deployment, example.action) and verdict.permitted:
                return example._replace(permits=tuple(self._ids[index] for index in verdict.reasons))
        if not self._obstacles:
            raise SekishoError(
                f"the engine denies what was found to be permitted: {example}",
                remedy="Please report this: it is a defect",
            )
        return None


def _scopes(catalogue: Catalogue) -> Iterator[_Scope]:
    """Organisations by their defaults: those with the same are asked about together."""
    boundary = catalogue.boundary
    classes = [one.name for one in boundary.classes]
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for one in catalogue.organisations:
        residency = boundary.default_residency if one.default_residency is None else one.default_residency
        alike.setdefault((one.default_class or boundary.default_class, residency), []).append(one.name)
    for (lowest, residency), names in sorted(alike.items()):
        rank = classes.index(lowest)
        yield _Scope(Asking(tuple(names), rank, _places({*residency} - {ANYWHERE})), everywhere=False)
        if ANYWHERE in residency:
            yield _Scope(Asking(tuple(names), rank, _places((*boundary.jurisdictions, ANYWHERE))), everywhere=True)


def _places(codes: Iterable[str]) -> frozenset[str]:
    return frozenset(f"Jurisdiction::{code}" for code in codes)


def _names_of(entities: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (entity["uid"]["id"] for entity in entities)


def _seen(name: str, value: Any, told: Mapping[str, frozenset[str]]) -> Any:
    """What policies can tell of a deployment's value: of names, those that they name."""
    if name == RESOURCE_IN:
        return frozenset(_told(one, told) for one in value)
    return _told(value, told) if READS[name] in told else value


def _told(entity: str, told: Mapping[str, frozenset[str]]) -> str:
    kind = entity.partition("::")[0]
    return entity if entity in told[kind] else f"{kind}::{OTHER}"


def _name(entity: str) -> str:
    return entity.partition("::")[2]
