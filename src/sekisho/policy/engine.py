"""Deciding with the Cedar engine, from the parts of a snapshot.

What we add to the engine's answer, and why:
1. Any error denies: Cedar skips a policy that fails, and a skipped `forbid` would let data through.
2. No decision denies: the engine gives none for a request that doesn't fit the schema.
3. The schema is always passed: only then do unknown labels, classes and jurisdictions fail.
4. The principal is added to the entities, validated against the schema: an absent one makes
   `forbid (principal in …)` skip silently.
5. An empty residency denies, whatever the policies say.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import cedarpy

from sekisho.kernel import canonical as canonical_json
from sekisho.kernel.errors import CanonicalError
from sekisho.policy.decision_input import canonical
from sekisho.policy.entities import entities_at, reference
from sekisho.policy.errors import PolicyPartsError
from sekisho.policy.interfaces import (
    NO_RESIDENCY,
    RETAIN,
    SEND_RAW,
    SEND_REDACTED,
    STALENESS_ROLES,
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

ERRORS_MAX: Final = 4  # of one verdict; one is enough to deny, the entry has to stay small
ERROR_LENGTH_MAX: Final = 160
PRINCIPALS_MAX: Final = 128  # entity sets with a principal in them that are kept; building one costs 20 to 90 µs
RETENTIONS_MAX: Final = 4_096  # of requests that are alike in all that policies see
_POLICY_ID: Final = "policy"  # the engine numbers policies by position: policy0, policy1, …


class _Candidates(NamedTuple):
    deployments: tuple[str, ...]  # catalogue order
    entities: cedarpy.Entities


class CedarDecider:
    """A `Decider` over stored parts, for one snapshot and one epoch. Belongs to one thread."""

    policies: tuple[PolicyTitle, ...]
    engine: Mapping[str, str]
    schema_digest: str
    retains: bool

    def __init__(self, parts: PolicyParts, *, snapshot: str, epoch_from: int) -> None:
        """Raises PolicyPartsError if the parts don't parse, or don't hold against one another."""
        self._snapshot = snapshot
        self._epoch_from = epoch_from
        self.engine = MappingProxyType({"name": "cedarpy", "version": importlib.metadata.version("cedarpy")})
        self.schema_digest = hashlib.sha256(parts.schema).hexdigest()
        try:
            rows = canonical_json.decode(parts.policies)["policies"]
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
            self._texts = tuple(row["text"] for row in rows)
            text = "\n".join(self._texts)
            self._schema = cedarpy.Schema.from_str(parts.schema.decode())
            self._policy_set = cedarpy.PolicySet.from_str(text)
            self._class_ranks = {name: rank for rank, name in enumerate(entities["classes"])}
            self._protected_from = int(entities["protected_from"])
            self._home = _references("Jurisdiction", entities["home"])
            self._models = self._candidates(entities)
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
        self._memo = DecisionMemo()
        self._retentions: dict[tuple[DecisionInput, str, tuple[str, ...]], Retention | None] = {}
        self._with_principal: dict[tuple[PrincipalInput, str], cedarpy.Entities] = {}

    def _candidates(self, part: dict[str, Any]) -> dict[str, _Candidates]:
        models = entities_at(part["models"], part["lapses"], self._epoch_from)
        return {
            model: _Candidates(
                tuple(entity["uid"]["id"] for entity in entities),
                cedarpy.Entities.from_json_str(json.dumps(entities), self._schema),
            )
            for model, entities in models.items()
        }

    def decide(self, decision_input: DecisionInput) -> Decision:
        """See `Decider.decide`. Raises DecisionInputError for a value that is no DecisionInput (a caller's bug)."""
        decision = self._memo.get(decision_input)
        if decision is None:
            decision = self.decide_afresh(decision_input)
            self._memo.put(decision)
        return decision

    def decide_afresh(self, decision_input: DecisionInput) -> Decision:
        """The same without the memo: what re-performance asks, and what the memo must agree with."""
        input_bytes = canonical(decision_input)
        verdicts = self._verdicts(decision_input, SEND_RAW, decision_input.labels_raw)
        if decision_input.redactable and decision_input.labels_redacted != decision_input.labels_raw:
            verdicts += self._verdicts(decision_input, SEND_REDACTED, decision_input.labels_redacted)
        return Decision(
            input=decision_input,
            verdicts=verdicts,
            permitted_raw=_permitted(verdicts, SEND_RAW),
            permitted_redacted=_permitted(verdicts, SEND_REDACTED),
            input_bytes=input_bytes,
            candidates_bytes=candidates_bytes(verdicts),
        )

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
        for verdict in self._verdicts(value, RETAIN, labels):
            if verdict.deployment == deployment and verdict.permitted:
                days = {index: self.policies[index].retain_days for index in verdict.reasons}
                # A permit of everything that some Cedar allows is none of ours: only one that says how long counts.
                said = [(index, limit) for index, limit in days.items() if limit is not None]
                if said:
                    return Retention(min(limit for _, limit in said), tuple(index for index, _ in said))
        return None

    def reads(self, index: int) -> PolicyReads:
        return policy_reads(self._texts[index])

    def _verdicts(self, value: DecisionInput, action: str, labels: tuple[str, ...]) -> tuple[Verdict, ...]:
        candidates = self._models.get(value.model)
        if candidates is None or not candidates.deployments:
            return ()
        problem = self._problem(value)
        entities = None
        if problem is None:
            try:
                entities = self._entities_for(value.principal, value.model, candidates.entities)
            except ValueError as error:  # the engine's: the principal doesn't fit the schema
                problem = f"principal: {error}"
        if problem is not None or entities is None:
            errors = _bounded([problem or "no entities"])
            return tuple(Verdict(name, action, False, (), errors) for name in candidates.deployments)
        context = self._context(value, labels)
        requests = [
            {
                "principal": reference("Principal", value.principal.id),
                "action": reference("Action", action),
                "resource": reference("Deployment", name),
                "context": context,
            }
            for name in candidates.deployments
        ]
        answers = cedarpy.is_authorized_batch(requests, self._policy_set, entities, self._schema)
        return tuple(
            _verdict(name, action, answer) for name, answer in zip(candidates.deployments, answers, strict=True)
        )

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

    def _context(self, value: DecisionInput, labels: tuple[str, ...]) -> str:
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
        return json.dumps(context)


def candidates_bytes(verdicts: Iterable[Verdict]) -> bytes:
    """Canonical JSON of the verdicts, candidates with equal ones grouped, groups in the order of their first."""
    groups: dict[tuple[str, bool, tuple[int, ...], tuple[str, ...]], list[str]] = {}
    for verdict in verdicts:
        key = (verdict.action, verdict.permitted, verdict.reasons, verdict.errors)
        groups.setdefault(key, []).append(verdict.deployment)
    return canonical_json.encode(
        [
            {"action": action, "deployments": names, "errors": errors, "permitted": permitted, "reasons": reasons}
            for (action, permitted, reasons, errors), names in groups.items()
        ]
    )


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


def _permitted(verdicts: tuple[Verdict, ...], action: str) -> tuple[str, ...]:
    return tuple(verdict.deployment for verdict in verdicts if verdict.permitted and verdict.action == action)


def _bounded(errors: Iterable[str]) -> tuple[str, ...]:
    return tuple(error[:ERROR_LENGTH_MAX] for error in sorted(errors)[:ERRORS_MAX])


def _references(entity_type: str, identifiers: Iterable[str]) -> list[dict[str, str]]:
    return [reference(entity_type, identifier) for identifier in identifiers]
