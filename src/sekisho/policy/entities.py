"""The resolved Cedar entities: every deployment of every model with its facts and its provider's, as stored.

The part is canonical JSON:
`{"classes":[…],"home":[…],"lapses":[…],"models":{model:[entity…]},"organisations":[…],"protected_from":n}`.

Facts that end stand in it with their value, and `lapses` says what replaces them from which instant on:
`{"at":µs,"attributes":{…},"deployment":…,"model":…}`. So one part serves every epoch, and which facts hold in an
epoch follows from the part and the epoch's start alone: those lapses with `at` ≤ `epoch_from` are applied, in order.

What a site's probes change is a part of its own, `{"lapses":[…]}`, whose lapses come after the others: of each fact
that is observed all that it is from instant 0 on. Whoever reads a snapshot puts them behind those of this part.
"""

from collections.abc import Mapping
from typing import Any, Final

from sekisho.catalog.evidence import HIGHEST_EARNED
from sekisho.catalog.interfaces import (
    JURISDICTION_FACTS,
    PROVIDER_JURISDICTION_FACTS,
    PROVIDER_TEXT_FACTS,
    UNKNOWN,
    WORD_FACTS,
    Boundary,
    Catalogue,
    Deployment,
    Fact,
    Grade,
    ObservedFact,
    Provider,
)
from sekisho.catalog.observations import steps
from sekisho.kernel import canonical
from sekisho.policy.schema import PROVIDER_PREFIX, WORD_TYPES

PROTECTED_CLASS: Final = "confidential"
_NOTHING_KNOWN: Final = Fact(value=(UNKNOWN,), grade=Grade.UNKNOWN)


def entities_part(catalogue: Catalogue) -> bytes:
    """The part's bytes: the same catalogue gives the same bytes."""
    providers = {provider.name: provider for provider in catalogue.providers}
    models: dict[str, list[dict[str, Any]]] = {model.name: [] for model in catalogue.models}
    lapses: list[dict[str, Any]] = []
    for deployment in catalogue.deployments:
        facts = _facts(deployment, providers[deployment.provider])
        models[deployment.model].append(_entity(deployment, facts))
        lapses.extend(
            {
                "at": fact.expires,
                "attributes": _attributes(name, _NOTHING_KNOWN),
                "deployment": deployment.name,
                "model": deployment.model,
            }
            for name, fact in sorted(facts.items())
            if fact.expires is not None
        )
    boundary = catalogue.boundary
    part = {
        "classes": [item.name for item in boundary.classes],
        "home": list(boundary.home),
        "lapses": lapses,
        "models": models,
        "organisations": [item.name for item in catalogue.organisations],
        "protected_from": protected_from(boundary),
    }
    return canonical.encode(part)


def observed_part(catalogue: Catalogue, facts: Mapping[tuple[str, str], ObservedFact]) -> bytes:
    """What policies see of observed facts, by (deployment, fact): the same input gives the same bytes."""
    models = {deployment.name: deployment.model for deployment in catalogue.deployments}
    lapses = [
        {
            "at": since,
            "attributes": _attributes(name, fact or _NOTHING_KNOWN),
            "deployment": deployment,
            "model": models[deployment],
        }
        for (deployment, name), observed in sorted(facts.items())
        for since, fact in steps(observed)
    ]
    return canonical.encode({"lapses": lapses})


def protected_from(boundary: Boundary) -> int:
    """The rank from which on data are *protected*: of the class `confidential`, else the one above the default.

    If the default class is the highest, that one: a boundary without a higher class protects what it has.
    """
    names = [item.name for item in boundary.classes]
    if PROTECTED_CLASS in names:
        return names.index(PROTECTED_CLASS)
    return min(names.index(boundary.default_class) + 1, len(names) - 1)


def entities_at(models: dict[str, Any], lapses: list[dict[str, Any]], instant_us: int) -> dict[str, Any]:
    """`models` of a part as they stand at an instant: what has lapsed by then is unknown. Changes nothing it is given.

    Raises KeyError, TypeError or ValueError for a part that is not as described above, or that holds a grade which no
    method earns: whoever wrote it, it was not this software.
    """
    current = {model: {entity["uid"]["id"]: entity for entity in entities} for model, entities in models.items()}
    for attributes in (
        *(entity["attrs"] for entities in current.values() for entity in entities.values()),
        *(lapse["attributes"] for lapse in lapses),
    ):
        _require_earnable(attributes)
    for lapse in lapses:
        if lapse["at"] <= instant_us:
            entity = current[lapse["model"]][lapse["deployment"]]
            current[lapse["model"]][lapse["deployment"]] = entity | {"attrs": entity["attrs"] | lapse["attributes"]}
    return {model: list(entities.values()) for model, entities in current.items()}


def _require_earnable(attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        if name.endswith("_grade") and (type(value) is not int or not 0 <= value <= HIGHEST_EARNED):
            raise ValueError(f"{name} is {value!r}, which no method earns")


def _facts(deployment: Deployment, provider: Provider) -> dict[str, Fact]:
    """Every fact that the schema names, under its attribute's name."""
    facts = {key: deployment.facts.get(key, _NOTHING_KNOWN) for key in (*JURISDICTION_FACTS, *WORD_FACTS)}
    for key in (*PROVIDER_JURISDICTION_FACTS, *PROVIDER_TEXT_FACTS):
        facts[PROVIDER_PREFIX + key] = provider.facts.get(key, _NOTHING_KNOWN)
    return facts


def _entity(deployment: Deployment, facts: dict[str, Fact]) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "model": reference("Model", deployment.model),
        "provider": reference("Provider", deployment.provider),
        "site": reference("Site", deployment.site or UNKNOWN),
        "deployment_type": reference("DeploymentType", deployment.deployment_type),
    }
    for name, fact in facts.items():
        attributes |= _attributes(name, fact)
    parents = [reference("Model", deployment.model), reference("Provider", deployment.provider)]
    return {"uid": reference("Deployment", deployment.name), "attrs": attributes, "parents": parents}


def _attributes(name: str, fact: Fact) -> dict[str, Any]:
    """The fact's attribute and its grade. An empty value can't come from declarations; were it to, it is unknown."""
    if not fact.value:
        fact = _NOTHING_KNOWN
    value: Any
    if name in WORD_FACTS:
        value = reference(WORD_TYPES[name], fact.value[0])
    elif name.removeprefix(PROVIDER_PREFIX) in PROVIDER_TEXT_FACTS:
        value = list(fact.value)
    else:
        value = [reference("Jurisdiction", code) for code in fact.value]
    return {name: value, f"{name}_grade": int(fact.grade)}


def reference(entity_type: str, identifier: str) -> dict[str, str]:
    """An entity's uid in Cedar's JSON form."""
    return {"type": entity_type, "id": identifier}
