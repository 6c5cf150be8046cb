"""Deciding with the Cedar engine, from the parts of a snapshot.

What we add to the engine's answer, and why:
1. Any error denies: Cedar skips a policy that fails, and a skipped `forbid` would let data through.
2. No decision denies: the engine gives none for a request that doesn't fit the schema.
3. The schema is always passed: only then do unknown labels, classes and jurisdictions fail.
4. The principal is added to the entities, validated against the schema: an absent one makes
   `forbid (principal in …)` skip silently.
5. An empty residency denies, whatever the policies say.

The compiled form (`compiled`) answers in the engine's place where it can. Whatever it doesn't hold, and whatever fails,
is the engine's. Some decisions are made by both, and should they ever differ, the engine alone decides from then on.
"""

import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import cedarpy

from sekisho.kernel import canonical as canonical_json
from sekisho.kernel.errors import CanonicalError
from sekisho.policy.answering import answer_rules, answering
from sekisho.policy.compiled import FORM, CompiledPolicies, Satisfied
from sekisho.policy.decision_input import canonical
from sekisho.policy.entities import entities_at, reference
from sekisho.policy.errors import PolicyPartsError
from sekisho.policy.exemptions import ExemptionsInForce
from sekisho.policy.expressions import NotExpressible
from sekisho.policy.interfaces import (
    NO_RESIDENCY,
    RETAIN,
    SEND_RAW,
    SEND_REDACTED,
    STALENESS_ROLES,
    Answering,
    Decision,
    DecisionInput,
    PolicyParts,
    PolicyReads,
    PolicyTitle,
    PrincipalInput,
    Retention,
    Verdict,
)
from sekisho.policy.memo import DecisionMemo
from sekisho.policy.reads import policy_reads
from sekisho.policy.schema import labels_of

ERRORS_MAX: Final = 4  # of one verdict; one is enough to deny, the entry has to stay small
ERROR_LENGTH_MAX: Final = 160
PRINCIPALS_MAX: Final = 128  # entity sets with a principal in them that are kept; building one costs 20 to 90 µs
RETENTIONS_MAX: Final = 4_096  # of requests that are alike in all that policies see
BOTH_FIRST: Final = 32  # of a decider's decisions that the compiled form and the engine both make, before one in …
BOTH_EVERY: Final = 256  # … this many; it costs the engine's 0.4 ms, so about 2 µs of each
ANSWERINGS_MAX: Final = 4_096  # likewise
_POLICY_ID: Final = "policy"  # the engine numbers policies by position: policy0, policy1, …

log = logging.getLogger(__name__)


class _Candidates(NamedTuple):
    deployments: tuple[str, ...]  # catalogue order
    entities: cedarpy.Entities


class CedarDecider:
    """A `Decider` over stored parts, for one snapshot and one epoch. Belongs to one thread."""

    policies: tuple[PolicyTitle, ...]
    engine: Mapping[str, str]
    schema_digest: str
    retains: bool
    exemptions: Mapping[str, str]
    answers: bool

    def __init__(self, parts: PolicyParts, *, snapshot: str, epoch_from: int, compiled: bool = True) -> None:
        """Raises PolicyPartsError if the parts don't parse, or don't hold against one another.

        Without `compiled` the engine makes every decision: what an audit asks.
        """
        self._snapshot = snapshot
        self._epoch_from = epoch_from
        self.engine = MappingProxyType({"name": "cedarpy", "version": importlib.metadata.version("cedarpy")})
        self.schema_digest = hashlib.sha256(parts.schema).hexdigest()
        try:
            part = canonical_json.decode(parts.policies)
            rows = part["policies"]
            entities = canonical_json.decode(parts.entities)
            self.policies = tuple(
                PolicyTitle(
                    row["id"],
                    row["title"],
                    row["title_ja"],
                    row["effect"],
                    row["file"],
                    "enforce" in row,
                    row.get("retain_days"),
                )
                for row in rows
            )
            self._exemptions = ExemptionsInForce(part.get("exemptions", ()), self.policies, epoch_from)
            self._texts = tuple(row["text"] for row in rows)
            text = "\n".join(self._texts)
            self._schema = cedarpy.Schema.from_str(parts.schema.decode())
            self._policy_set = cedarpy.PolicySet.from_str(text)
            self._class_ranks = {name: rank for rank, name in enumerate(entities["classes"])}
            self._protected_from = int(entities["protected_from"])
            self._home = _references("Jurisdiction", entities["home"])
            models = entities_at(entities["models"], entities["lapses"], epoch_from)
            self._models = {model: self._candidates(found) for model, found in models.items()}
            self._answer_rules = answer_rules(self._texts, self.policies, labels_of(parts.schema.decode()))
        except (CanonicalError, ValueError, KeyError, TypeError) as error:
            raise PolicyPartsError(
                f"the snapshot's policy parts can't be used: {error}", remedy="Build the snapshot again"
            ) from error
        validation = cedarpy.validate_policies(text, self._schema)
        if not validation.validation_passed or len(self._policy_set) != len(self.policies):
            raise PolicyPartsError(
                "the snapshot's policies don't hold against its schema", remedy="Build the snapshot again"
            )
        self.retains = any(title.retain_days is not None for title in self.policies)
        self._compiled = self._compile(parts.schema.decode(), entities["home"], models) if compiled else None
        self._made = 0  # verdicts that the compiled form gave, for one action each
        self.exemptions = self._exemptions.digests
        # For what is left of a denial that an exemption lifts: the permits alone, and their indexes.
        self._permits = tuple(index for index, title in enumerate(self.policies) if title.effect == "permit")
        self._permit_set: cedarpy.PolicySet | None = None
        self.answers = bool(self._answer_rules.relay or self._answer_rules.restore)
        self._memo = DecisionMemo()
        self._answerings: dict[tuple[DecisionInput, str, str], Answering | None] = {}
        self._retentions: dict[tuple[DecisionInput, str, tuple[str, ...]], Retention | None] = {}
        self._with_principal: dict[tuple[PrincipalInput, str], cedarpy.Entities] = {}

    def _candidates(self, entities: list[dict[str, Any]]) -> _Candidates:
        names = tuple(entity["uid"]["id"] for entity in entities)
        return _Candidates(names, cedarpy.Entities.from_json_str(json.dumps(entities), self._schema))

    def _compile(self, schema: str, home: list[str], models: dict[str, Any]) -> CompiledPolicies | None:
        try:
            return CompiledPolicies(self._texts, schema, home, models)
        except NotExpressible as obstacle:
            policy = "the schema" if obstacle.index is None else self.policies[obstacle.index].id
            log.info("the engine makes all decisions, which is slower: %s uses %s", policy, obstacle)
        return None

    @property
    def compiles(self) -> bool:
        """Whether the compiled form decides, and the engine what is left to it; else the engine decides everything."""
        return self._compiled is not None

    def decide(self, decision_input: DecisionInput) -> Decision:
        """See `Decider.decide`. Raises DecisionInputError for a value that is no DecisionInput (a caller's bug)."""
        decision = self._memo.get(decision_input)
        if decision is None:
            decision = self.decide_afresh(decision_input)
            self._memo.put(decision)
        return decision

    def decide_afresh(self, decision_input: DecisionInput) -> Decision:
        """The same without the memo, which must agree with it."""
        input_bytes = canonical(decision_input)
        verdicts, compiled = self._verdicts(decision_input, SEND_RAW, decision_input.labels_raw)
        if decision_input.redactable and decision_input.labels_redacted != decision_input.labels_raw:
            redacted, also = self._verdicts(decision_input, SEND_REDACTED, decision_input.labels_redacted)
            if compiled and self._compiled is None:  # given up in between: what it said before doesn't count either
                return self.decide_afresh(decision_input)
            verdicts, compiled = verdicts + redacted, compiled or also
        verdicts = self._exempted(decision_input, verdicts) if self._exemptions else verdicts
        return Decision(
            input=decision_input,
            verdicts=verdicts,
            permitted_raw=_permitted(verdicts, SEND_RAW),
            permitted_redacted=_permitted(verdicts, SEND_REDACTED),
            input_bytes=input_bytes,
            candidates_bytes=candidates_bytes(verdicts),
            compiled=FORM if compiled else None,
        )

    def _exempted(self, value: DecisionInput, verdicts: tuple[Verdict, ...]) -> tuple[Verdict, ...]:
        """With the denials turned that exemptions lift (`exemptions`). All were decided by every policy before."""
        found = []
        for verdict in verdicts:
            labels = value.labels_raw if verdict.action == SEND_RAW else value.labels_redacted
            lift = self._exemptions.lift(value, verdict, labels)
            permits = () if lift is None else self._permits_of(value, verdict, labels)
            if lift is not None and permits:
                verdict = verdict._replace(
                    permitted=True, reasons=permits, exempted=lift.forbids, exemptions=lift.exemptions
                )
            found.append(verdict)
        return tuple(found)

    def _permits_of(self, value: DecisionInput, denied: Verdict, labels: tuple[str, ...]) -> tuple[int, ...]:
        """The permits that would let it pass were there no forbid. The denial held no error: none has one."""
        if self._permit_set is None:
            self._permit_set = cedarpy.PolicySet.from_str("\n".join(self._texts[index] for index in self._permits))
        entities = self._entities_for(value.principal, value.model, self._models[value.model].entities)
        request = self._request(value, denied.action, denied.deployment, self._context(value, labels))
        answer = cedarpy.is_authorized_batch([request], self._permit_set, entities, self._schema)[0]
        verdict = _verdict(denied.deployment, denied.action, answer)
        return tuple(self._permits[index] for index in verdict.reasons) if verdict.permitted else ()

    def retention(self, decision_input: DecisionInput, deployment: str, labels: tuple[str, ...]) -> Retention | None:
        """See `Decider.retention`."""
        if not self.retains:
            return None
        key = (decision_input, deployment, labels)
        if key not in self._retentions:
            if len(self._retentions) >= RETENTIONS_MAX:
                del self._retentions[next(iter(self._retentions))]
            self._retentions[key] = self._retention_afresh(decision_input, deployment, labels)
        return self._retentions[key]

    def _retention_afresh(self, value: DecisionInput, deployment: str, labels: tuple[str, ...]) -> Retention | None:
        for verdict in self._verdicts(value, RETAIN, labels)[0]:
            if verdict.deployment == deployment and verdict.permitted:
                days = {index: self.policies[index].retain_days for index in verdict.reasons}
                # A permit of everything that some Cedar allows is none of ours: only one that says how long counts.
                said = [(index, limit) for index, limit in days.items() if limit is not None]
                if said:
                    return Retention(min(limit for _, limit in said), tuple(index for index, _ in said))
        return None

    def answering(self, decision_input: DecisionInput, deployment: str, action: str) -> Answering | None:
        """See `Decider.answering`."""
        if not self.answers:
            return None
        key = (decision_input, deployment, action)
        if key not in self._answerings:
            if len(self._answerings) >= ANSWERINGS_MAX:
                del self._answerings[next(iter(self._answerings))]
            self._answerings[key] = self._answering_afresh(*key)
        return self._answerings[key]

    def _answering_afresh(self, value: DecisionInput, deployment: str, sent: str) -> Answering | None:
        labels = value.labels_raw if sent == SEND_RAW else value.labels_redacted
        masked = set(value.labels_raw).difference(value.labels_redacted) if sent == SEND_REDACTED else ()

        candidates, problem = self._models.get(value.model), self._problem(value)
        if candidates is None or deployment not in candidates.deployments:
            return answering(self._answer_rules, masked, lambda action, label: None)
        chosen = candidates._replace(deployments=(deployment,))

        def ask(action: str, label: str) -> Verdict | None:
            return self._by_engine(value, action, labels, chosen, problem, label)[0]

        return answering(self._answer_rules, masked, ask)

    def reads(self, index: int) -> PolicyReads:
        return policy_reads(self._texts[index])

    def _verdicts(self, value: DecisionInput, action: str, labels: tuple[str, ...]) -> tuple[tuple[Verdict, ...], bool]:
        """The verdicts, and whether the compiled form gave them."""
        candidates = self._models.get(value.model)
        if candidates is None or not candidates.deployments:
            return (), False
        problem = self._problem(value)
        found = None
        if problem is None and self._compiled is not None:
            rank = self._class_ranks[value.data_class]
            found = self._compiled.satisfied(value, action, labels, rank, rank >= self._protected_from)
        if found is None or self._compiled is None:
            return self._by_engine(value, action, labels, candidates, problem), False
        verdicts = tuple(
            _verdict_of(name, action, satisfied) for name, satisfied in zip(candidates.deployments, found, strict=True)
        )
        if self._is_for_both() and verdicts != (engines := self._by_engine(value, action, labels, candidates, None)):
            self._give_up()
            return engines, False
        return verdicts, True

    def _give_up(self) -> None:
        """Of the compiled form, and forget what it decided."""
        self._compiled = None
        self._memo = DecisionMemo()
        self._retentions.clear()
        log.error("the compiled policies differ from the engine, which makes all decisions from now on: please report")

    def _is_for_both(self) -> bool:
        self._made += 1
        return self._made <= BOTH_FIRST or self._made % BOTH_EVERY == 0

    def _by_engine(
        self,
        value: DecisionInput,
        action: str,
        labels: tuple[str, ...],
        candidates: _Candidates,
        problem: str | None,
        label: str | None = None,
    ) -> tuple[Verdict, ...]:
        """`label`: of a value in an answer, which only the actions on answers ask about."""
        entities, names = None, candidates.deployments
        if problem is None:
            try:
                entities = self._entities_for(value.principal, value.model, candidates.entities)
            except ValueError as error:  # the engine's: the principal doesn't fit the schema
                problem = f"principal: {error}"
        if problem is not None or entities is None:
            errors = _bounded([problem or "no entities"])
            return tuple(Verdict(name, action, False, (), errors) for name in names)
        context = self._context(value, labels, label)
        requests = [self._request(value, action, name, context) for name in names]
        answers = cedarpy.is_authorized_batch(requests, self._policy_set, entities, self._schema)
        return tuple(_verdict(name, action, answer) for name, answer in zip(names, answers, strict=True))

    def _request(self, value: DecisionInput, action: str, deployment: str, context: str) -> dict[str, Any]:
        return {
            "principal": reference("Principal", value.principal.id),
            "action": reference("Action", action),
            "resource": reference("Deployment", deployment),
            "context": context,
        }

    def _problem(self, value: DecisionInput) -> str | None:
        """Why nothing may be sent, before any policy is asked."""
        if value.snapshot != self._snapshot or value.epoch_from != self._epoch_from:
            return "the input is of another snapshot or epoch"
        if value.data_class not in self._class_ranks:
            return f"the data class {value.data_class!r} is not declared"
        return None if value.residency else NO_RESIDENCY

    def _entities_for(self, principal: PrincipalInput, model: str, base: cedarpy.Entities) -> cedarpy.Entities:
        key = (principal, model)
        entities = self._with_principal.get(key)
        if entities is None:
            organisation = reference("Organisation", principal.organisation)
            entity = {
                "uid": reference("Principal", principal.id),
                "attrs": {"organisation": organisation},
                "parents": [organisation, *_references("Role", principal.roles)],
            }
            entities = base.with_added_json_str(json.dumps([entity]), self._schema)
            if len(self._with_principal) >= PRINCIPALS_MAX:
                del self._with_principal[next(iter(self._with_principal))]
            self._with_principal[key] = entities
        return entities

    def _context(self, value: DecisionInput, labels: tuple[str, ...], label: str | None = None) -> str:
        rank = self._class_ranks[value.data_class]
        days = dict(value.staleness)  # empty: an installation that follows nobody; nothing in it is stale
        context = {
            "class": reference("DataClass", value.data_class),
            "class_rank": rank,
            "protected": rank >= self._protected_from,
            "residency": _references("Jurisdiction", value.residency),
            "home": self._home,
            "labels": _references("Label", labels),
            "staleness": {f"{role}_days": days.get(role, 0) for role in STALENESS_ROLES},
        }
        return json.dumps(context if label is None else context | {"label": reference("Label", label)})


def engine_only(parts: PolicyParts, *, snapshot: str, epoch_from: int) -> CedarDecider:
    """A `DeciderFactory` for audits: what the compiled form decided is decided again by Cedar's own engine."""
    return CedarDecider(parts, snapshot=snapshot, epoch_from=epoch_from, compiled=False)


def candidates_bytes(verdicts: Iterable[Verdict]) -> bytes:
    """Canonical JSON of the verdicts, candidates with equal ones grouped, groups in the order of their first."""
    groups: dict[Verdict, list[str]] = {}
    for verdict in verdicts:
        groups.setdefault(verdict._replace(deployment=""), []).append(verdict.deployment)
    return canonical_json.encode([_group(fate, names) for fate, names in groups.items()])


def _group(fate: Verdict, deployments: list[str]) -> dict[str, Any]:
    """Most verdicts know no exemption, and say nothing of any."""
    group = fate._asdict() | {"deployments": deployments}
    del group["deployment"]
    if not fate.exempted:
        del group["exempted"], group["exemptions"]
    return group


def _verdict(deployment: str, action: str, answer: cedarpy.AuthzResult) -> Verdict:
    diagnostics = answer.diagnostics
    errors = _bounded(diagnostics.errors)
    allowed = answer.decision is cedarpy.Decision.Allow
    if answer.decision is cedarpy.Decision.NoDecision and not errors:
        errors = ("the engine gave no decision",)
    if allowed and errors:
        return Verdict(deployment, action, False, (), errors)
    # The engine keeps reasons in a hash set: sorted, one verdict has one form.
    reasons = tuple(sorted(int(reason.removeprefix(_POLICY_ID)) for reason in diagnostics.reasons))
    return Verdict(deployment, action, allowed, reasons, errors)


def _verdict_of(deployment: str, action: str, satisfied: Satisfied) -> Verdict:
    permits, forbids = satisfied
    if forbids:
        return Verdict(deployment, action, False, tuple(sorted(forbids)), ())
    return Verdict(deployment, action, bool(permits), tuple(sorted(permits)), ())


def _permitted(verdicts: tuple[Verdict, ...], action: str) -> tuple[str, ...]:
    return tuple(verdict.deployment for verdict in verdicts if verdict.permitted and verdict.action == action)


def _bounded(errors: Iterable[str]) -> tuple[str, ...]:
    return tuple(error[:ERROR_LENGTH_MAX] for error in sorted(errors)[:ERRORS_MAX])


def _references(entity_type: str, identifiers: Iterable[str]) -> list[dict[str, str]]:
    return [reference(entity_type, identifier) for identifier in identifiers]
