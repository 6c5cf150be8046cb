"""What would happen to a request, candidate by candidate, without sending it. Pure: nothing is recorded or counted.

The steps are those of the pipeline (`dialects`, `declared`, `governing`, the snapshot's inspector and decider); only
what comes after deciding is left out: admission, and routing among what is permitted.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from sekisho.catalog.interfaces import Deployment, Fact, Provider
from sekisho.catalog.jurisdictions import shortened
from sekisho.gateway.declared import statements, weighed
from sekisho.gateway.dialects.operations import operation_of, parse_request
from sekisho.gateway.errors import organisation_stopped
from sekisho.gateway.governing import decision_input, inspected, lifted, require_model
from sekisho.identity.interfaces import Principal
from sekisho.identity.stops import Stops
from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED, Decider, Decision, PolicyTitle, Verdict
from sekisho.policy.monitor import Monitored
from sekisho.snapshot.interfaces import Snapshot

_PROVIDER_PREFIX = "provider_"  # of a provider's facts, as policies name them
_GRADE_SUFFIX = "_grade"

Words = Callable[[Decision, Decider, str], list[str]]


class Question(NamedTuple):
    """A request as it would come in: header names in lower case, the body's bytes, and who asks."""

    headers: Mapping[bytes, bytes]
    body: bytes
    principal: Principal


def explain_request(question: Question, snapshot: Snapshot, stops: Stops, words: Words) -> dict[str, Any]:
    """The explanation as JSON values (docs/explain.md lists the fields). No text of the request is in it but
    excerpts around labelled values, with these replaced by their marks.

    Raises the GatewayError that the request would be answered with before anything is decided (400, 403, 404, 415).
    """
    principal = question.principal
    if stops.organisation(principal.organisation):
        raise organisation_stopped(principal.organisation)
    operation = operation_of(question.body)
    asked = parse_request(operation, dict(question.headers), question.body)
    require_model(snapshot, asked.model)
    boundary, organisation = snapshot.catalogue.boundary, snapshot.organisations.get(principal.organisation)
    ranks = snapshot.class_ranks
    classes, residencies = statements(question.headers, principal, organisation, boundary, ranks)
    stated = weighed(classes, residencies, boundary, ranks)
    inspection, redaction = inspected(snapshot.inspector, asked.document)
    decision = snapshot.decider.decide(decision_input(snapshot, principal, asked.model, stated, inspection, redaction))
    watched = lifted(decision, snapshot, question.headers, principal)
    found = snapshot.inspector.locate(asked.document) if inspection.labels else ()
    return {
        "class": {"from": [{"by": by, "value": name} for by, name in classes], "value": stated.data_class},
        "deployments": _deployments(decision, snapshot),
        "epoch_from": snapshot.epoch_from,
        "epoch_until": snapshot.epoch_until,
        "labels": {
            "found": [location._asdict() for location in found],
            "raw": inspection.labels,
            "redactable": inspection.redactable,
            "redacted": decision.input.labels_redacted,
        },
        "model": asked.model,
        "operation": operation.name,
        "outcome": _with_retention(
            _outcome(decision, watched, _stopped(decision, snapshot, stops)), decision, snapshot.decider
        ),
        "principal": {"id": principal.id, "organisation": principal.organisation, "roles": principal.roles},
        "residency": {
            "from": [{"by": by, "value": shortened(names)} for by, names in residencies],
            "value": shortened(stated.residency),
        },
        "snapshot": snapshot.digest,
        "words": {language: words(decision, snapshot.decider, language) for language in ("en", "ja")},
    }


def explanation_bytes(explanation: Mapping[str, Any]) -> bytes:
    """As JSON for people and programs: indented, keys in order."""
    return orjson.dumps(explanation, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _stopped(decision: Decision, snapshot: Snapshot, stops: Stops) -> frozenset[str]:
    candidates = [snapshot.deployments[verdict.deployment] for verdict in decision.verdicts]
    return stops.of((candidate.name, candidate.provider) for candidate in candidates)


def _outcome(decision: Decision, watched: Monitored | None, stopped: frozenset[str]) -> dict[str, Any]:
    """What would be done: raw before redacted, as the router does. Among several, load decides when it is sent."""
    permitted = bool(decision.permitted_raw or decision.permitted_redacted)
    choice = decision if watched is None else watched
    both = ((SEND_RAW, choice.permitted_raw), (SEND_REDACTED, choice.permitted_redacted))
    chosen = {action: tuple(name for name in names if name not in stopped) for action, names in both}
    action = next((action for action, names in chosen.items() if names), None)
    return {
        "action": action,
        "deployments": () if action is None else chosen[action],
        "monitored": watched is not None,
        "permitted": permitted,
        "stopped": tuple(sorted(stopped.intersection((*choice.permitted_raw, *choice.permitted_redacted)))),
    }


def _with_retention(outcome: dict[str, Any], decision: Decision, decider: Decider) -> dict[str, Any]:
    """What of it would be kept: one item for each deployment of the outcome where a policy permits that."""
    labels = decision.input.labels_raw if outcome["action"] == SEND_RAW else decision.input.labels_redacted
    found = []
    for name in outcome["deployments"] if decider.retains else ():
        retention = decider.retention(decision.input, name, labels)
        if retention is not None:
            policies = tuple(decider.policies[index].id for index in retention.reasons)
            found.append({"days": retention.days, "deployment": name, "policies": policies})
    return {**outcome, "retain": found}


def _deployments(decision: Decision, snapshot: Snapshot) -> list[dict[str, Any]]:
    providers = {provider.name: provider for provider in snapshot.catalogue.providers}
    verdicts: dict[str, dict[str, Verdict]] = {}
    for verdict in decision.verdicts:
        verdicts.setdefault(verdict.deployment, {})[verdict.action] = verdict
    decider = snapshot.decider
    found = []
    for name, of in verdicts.items():
        deployment = snapshot.deployments[name]
        indexes = sorted({index for verdict in of.values() for index in verdict.reasons})
        looked_at = sorted({fact for index in indexes for fact in decider.reads(index).deployment})
        facts = {_fact_name(fact): None for fact in looked_at}
        found.append(
            {
                "facts": [_fact(fact, deployment, providers.get(deployment.provider)) for fact in facts],
                "name": name,
                "provider": deployment.provider,
                "raw": _verdict(of[SEND_RAW], decider),
                "redacted": _verdict(of[SEND_REDACTED], decider) if SEND_REDACTED in of else None,
                "type": deployment.deployment_type,
            }
        )
    return found


def _verdict(verdict: Verdict, decider: Decider) -> dict[str, Any]:
    policies = [_policy(decider.policies[index], decider, index) for index in verdict.reasons]
    return {"errors": verdict.errors, "permitted": verdict.permitted, "policies": policies}


def _policy(title: PolicyTitle, decider: Decider, index: int) -> dict[str, Any]:
    reads = decider.reads(index)
    return {
        "effect": title.effect,
        "file": title.file,
        "id": title.id,
        "reads": {"deployment": reads.deployment, "request": reads.request},
        "title": title.title,
        "title_ja": title.title_ja,
    }


def _fact_name(attribute: str) -> str:
    """A policy may look at a fact or at its grade: either way the fact decided."""
    return attribute.removesuffix(_GRADE_SUFFIX)


def _fact(name: str, deployment: Deployment, provider: Provider | None) -> dict[str, Any]:
    fact: Fact | None = deployment.facts.get(name)
    if fact is None and provider is not None:
        fact = provider.facts.get(name.removeprefix(_PROVIDER_PREFIX))
    if fact is None:  # an attribute that is no fact: the deployment's type, its site, its provider
        value = getattr(deployment, name, None)
        return {"expires": None, "grade": None, "name": name, "source": "", "value": [value] if value else ["unknown"]}
    return {
        "expires": fact.expires,
        "grade": fact.grade.name.lower(),
        "name": name,
        "source": fact.source,
        "value": shortened(fact.value),
    }
