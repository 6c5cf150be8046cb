"""A deployment that is not declared but could be, made of the facts that a case is about. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from sekisho.catalog.interfaces import UNKNOWN
from sekisho.kernel import canonical
from sekisho.policy.cases import OTHER, World
from sekisho.policy.entities import reference
from sekisho.policy.expressions import LONG, READS, RESOURCE, RESOURCE_IN, SETS, STRING
from sekisho.policy.interfaces import PolicyParts
from sekisho.policy.schema import with_names

NAME: Final = "any"  # of a text that is known, but not what it says
_NAMED: Final = ("Model", "Provider", "Site")  # what a deployment names that can be declared too
_PREFIX: Final = f"{RESOURCE}."
_GRADE: Final = "_grade"


def with_hypothetical(parts: PolicyParts, world: World, values: Mapping[str, Any]) -> tuple[PolicyParts, str, str]:
    """The parts with one more deployment, which has these `values`; its name and its model's.

    What the values leave open is unknown, or any known value where a grade asks for one. Names that are not declared
    are added to the schema, as declaring them would.
    """
    deployments = frozenset(one["uid"]["id"] for held in world.models.values() for one in held)
    name = _chosen("Deployment", values.get(RESOURCE), deployments)
    chosen = {kind: _chosen(kind, values.get(f"{RESOURCE}.{kind.lower()}"), world.names[kind]) for kind in _NAMED}
    model, provider = chosen["Model"], chosen["Provider"]
    attributes = {kind.lower(): reference(kind, named) for kind, named in chosen.items()}
    for read, kind in READS.items():
        attribute = read.removeprefix(_PREFIX)
        if read not in (attribute, RESOURCE_IN) and attribute not in attributes and not attribute.endswith(_GRADE):
            attributes |= _attribute(read, attribute, kind, values, world)
    entity = {
        "attrs": attributes,
        "parents": [reference("Model", model), reference("Provider", provider)],
        "uid": reference("Deployment", name),
    }
    part = canonical.decode(parts.entities)
    models = {key: [one for one in held if one["uid"]["id"] != name] for key, held in part["models"].items()}
    lapses = [one for one in part["lapses"] if one["deployment"] != name]
    part |= {"lapses": lapses, "models": {**models, model: [*models.get(model, ()), entity]}}
    schema = with_names(parts.schema.decode(), chosen.items())
    return PolicyParts(parts.policies, schema.encode(), canonical.encode(part)), name, model


def facts_of(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What the case says of the deployment, for people: name and value."""
    said = []
    for read, value in sorted(values.items()):
        if read.startswith(_PREFIX) and read != RESOURCE_IN:
            items = sorted(value) if isinstance(value, frozenset) else [value]
            names = [str(item).partition("::")[2] or str(item) for item in items]
            said.append((read.removeprefix(_PREFIX), ", ".join("any" if OTHER in name else name for name in names)))
    return tuple(said)


def _chosen(kind: str, value: str | None, declared: frozenset[str]) -> str:
    """The name itself if it is one of `declared`, which is all that can be named; else one that is not."""
    name = "" if value is None else value.removeprefix(f"{kind}::")
    if name not in declared:
        name = f"any-{kind.lower()}"
        while name in declared:
            name += "-"
    return name


def _attribute(read: str, attribute: str, kind: str, values: Mapping[str, Any], world: World) -> dict[str, Any]:
    grade = values.get(f"{read}{_GRADE}")
    if read in values:
        value = values[read]
    elif kind == SETS + STRING:
        value = frozenset((UNKNOWN,)) if not grade else frozenset((NAME,))
    else:
        element = kind.removeprefix(SETS)
        known = min(world.names[element] - {UNKNOWN}, default=UNKNOWN)
        one = f"{element}::{known if grade or f'{read}{_GRADE}' not in READS else UNKNOWN}"
        value = frozenset((one,)) if kind.startswith(SETS) else one
    found = {attribute: _json(value, kind)}
    if READS.get(f"{read}{_GRADE}") == LONG:
        unknown = value in (f"{kind}::{UNKNOWN}", frozenset((UNKNOWN,)), frozenset((f"Jurisdiction::{UNKNOWN}",)))
        found[f"{attribute}{_GRADE}"] = grade if grade is not None else 0 if unknown else 1
    return found


def _json(value: Any, kind: str) -> Any:
    if isinstance(value, frozenset):
        return [_json(item, kind.removeprefix(SETS)) for item in sorted(value)]
    return value if kind == STRING else reference(kind, value.partition("::")[2])
