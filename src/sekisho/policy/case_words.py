"""A case in words, for a mistake: what of which request would go where. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from sekisho.catalog.interfaces import ANYWHERE, Grade
from sekisho.policy.cases import OTHER
from sekisho.policy.expressions import (
    CLASS,
    CLASS_RANK,
    LABELS,
    LONG,
    ORGANISATION,
    PRINCIPAL,
    PRINCIPAL_IN,
    PROTECTED,
    READS,
    RESIDENCY,
    RESOURCE,
    RESOURCE_IN,
    STALENESS,
)
from sekisho.policy.interfaces import RESTORE, RETAIN, SEND_RAW, SEND_REDACTED

_SHOWN_MAX: Final = 8  # of a set: more say no more
_WHAT: Final = {
    SEND_RAW: ("sending", ", as it is,"),
    SEND_REDACTED: ("sending", ", masked,"),
    RETAIN: ("keeping", ", sent"),
    RESTORE: ("putting back", " into the answer"),
}
_GRADE: Final = "_grade"


def case_words(values: Mapping[str, Any], action: str, read: frozenset[str], label: str | None = None) -> str:
    """Of `values` (what is read in a case, by name) those in `read`; `label`: that of the value, as an entity."""
    verb, how = _WHAT[action]
    data = "data" if label is None else f"values of {_name(label)}"
    said = [f"{verb} {data}{f' of class {_name(values[CLASS])}' if read & {CLASS, CLASS_RANK, PROTECTED} else ''}"]
    if LABELS in read:
        said.append(f"with labels {_names(values[LABELS])}" if values[LABELS] else "without labels")
    if RESIDENCY in read:
        said.append(f"that may go to {_names(values[RESIDENCY])}")
    said[-1] += how
    said += [
        f"with {name.removeprefix(f'{STALENESS}.').removesuffix('_days')} {values[name]} days old"
        for name in sorted(read)
        if name.startswith(f"{STALENESS}.")
    ]
    if read & {PRINCIPAL, PRINCIPAL_IN, ORGANISATION}:
        said.append(f"from {_who(values)}")
    facts = [_fact(name, values[name]) for name in sorted(read) if name.startswith(f"{RESOURCE}.") and name in values]
    told = [fact for fact in facts if fact]
    where = _name(values.get(RESOURCE, OTHER))
    said.append(f"to {'a deployment' if OTHER in where else where}" + (f" with {', '.join(told)}" if told else ""))
    return " ".join(said)


def _who(values: Mapping[str, Any]) -> str:
    organisation, principal = values.get(ORGANISATION, OTHER), values.get(PRINCIPAL, OTHER)
    who = "some organisation" if OTHER in organisation else f"the organisation {_name(organisation)}"
    roles = _names(one for one in values.get(PRINCIPAL_IN, ()) if one.startswith("Role::"))
    by = "" if OTHER in principal else f", as {_name(principal)}"
    return f"{who}{by} ({f'role {roles}' if roles else 'no role that is named'})"


def _fact(name: str, value: Any) -> str:
    """Empty where it says nothing: any other model, say."""
    if name == RESOURCE_IN:
        return ""
    attribute = name.removeprefix(f"{RESOURCE}.")
    if READS[name] == LONG and attribute.endswith(_GRADE):
        return f"{attribute.removesuffix(_GRADE)} {Grade(value).name.lower()}"
    if isinstance(value, frozenset):
        return f"{attribute} {_names(value)}"
    return "" if OTHER in str(value) else f"{attribute} {_name(str(value))}"


def _names(entities: Any) -> str:
    names = sorted(_name(one) for one in entities)
    if ANYWHERE in names:
        return ANYWHERE
    return ", ".join(names[:_SHOWN_MAX]) + (" …" if len(names) > _SHOWN_MAX else "")


def _name(entity: str) -> str:
    return entity.rpartition("::")[2] if "::" in entity else entity
