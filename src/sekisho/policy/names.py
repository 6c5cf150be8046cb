"""What a policy names that does not exist, with what may have been meant. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import cedarpy

from sekisho.catalog.table import nearest
from sekisho.policy.expressions import CONTEXT, READS
from sekisho.policy.interfaces import RELAY_RAW, RESTORE, RETAIN, SEND_RAW, SEND_REDACTED
from sekisho.policy.schema import deployment_attributes, enumerations

_ACTIONS: Final = (SEND_RAW, SEND_REDACTED, RETAIN, RELAY_RAW, RESTORE)
_ACTION: Final = "Action"
_LABEL: Final = "Label"
_DEPLOYMENT: Final = "Deployment"
_OF_CONTEXT: Final = re.compile(r'attribute `([^`]+)` in context for Action::"(\w+)" not found')
_OF_DEPLOYMENT: Final = re.compile(r"attribute `([^`]+)` on entity type `Deployment` not found")
# What Cedar says of a name that our own words tell of with what is nearest to it.
_OF_NAMES: Final = ("is of an enumerated entity type", "unrecognized action", "unable to find an applicable action")
_GENERAL: Final = "Use attributes that the schema has, and names that are declared"

Told = tuple[str, str]  # problem, remedy


class Vocabulary(NamedTuple):
    """`names`: the closed sets, by type. `elsewhere`: labels that only profiles find which the boundary does not name,
    with such a profile."""

    names: Mapping[str, frozenset[str]]
    elsewhere: Mapping[str, str]


def vocabulary(schema: str, deployments: Iterable[str], elsewhere: Mapping[str, str]) -> Vocabulary:
    """Of a schema that `schema_text` wrote."""
    names = {**enumerations(schema), _ACTION: frozenset(_ACTIONS), _DEPLOYMENT: frozenset(deployments)}
    return Vocabulary(names, elsewhere)


def meaning_mistakes(text: str, uids: Iterable[Any], schema: cedarpy.Schema, known: Vocabulary) -> list[Told]:
    """Everything that one policy names and that is not there. `uids`: the entities in it."""
    unknown = list(_unknown_names(uids, known))
    errors = [
        error.error.removeprefix("for policy `policy0`").lstrip(":, ")
        for error in cedarpy.validate_policies(text, schema).errors
    ]
    if unknown:
        errors = [error for error in errors if not any(words in error for words in _OF_NAMES)]
    return [*unknown, *_of_errors(errors)]


def label_remedy(label: str, labels: Iterable[str], elsewhere: Mapping[str, str]) -> str:
    """What to do about a label that does not exist."""
    if label in elsewhere:
        return f"The profile {elsewhere[label]!r} finds it: name it in boundary.toml, [inspection] profiles"
    return nearest(label, labels, "Labels are")


def _unknown_names(uids: Iterable[Any], known: Vocabulary) -> Iterator[Told]:
    for kind, name in sorted({(str(uid.type), uid.id) for uid in uids}):
        names = known.names.get(kind)
        if names is not None and name not in names:
            remedy = label_remedy(name, names, known.elsewhere) if kind == _LABEL else nearest(name, names, "There are")
            yield f'names {kind}::"{name}", which does not exist', remedy


def _of_errors(errors: Iterable[str]) -> Iterator[Told]:
    """Cedar's own, an attribute that several actions lack told once."""
    lacking: dict[str, set[str]] = {}
    for error in errors:
        of_context, of_deployment = _OF_CONTEXT.search(error), _OF_DEPLOYMENT.search(error)
        if of_context is not None:
            lacking.setdefault(of_context[1], set()).add(of_context[2])
        elif of_deployment is not None:
            remedy = nearest(of_deployment[1], deployment_attributes(), "A deployment has")
            yield f"reads resource.{of_deployment[1]}, which does not exist", remedy
        else:
            yield error, _GENERAL
    attributes = [name.removeprefix(f"{CONTEXT}.") for name in READS if name.startswith(f"{CONTEXT}.")]
    for name, actions in lacking.items():
        if name in attributes:
            having = ", ".join(action for action in _ACTIONS if action not in actions)
            remedy = f"Name only actions that have it: {having}"
            yield f"reads {CONTEXT}.{name}, which {', '.join(sorted(actions))} do not have", remedy
        else:
            yield f"reads {CONTEXT}.{name}, which does not exist", nearest(name, attributes, "The context has")
