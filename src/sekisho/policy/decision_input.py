"""The canonical form of a DecisionInput: RFC 8785 bytes of one JSON object."""

import itertools
import re
from typing import Any, Final

from sekisho.kernel import canonical as canonical_json
from sekisho.kernel.errors import CanonicalError
from sekisho.policy.errors import DecisionInputError
from sekisho.policy.interfaces import INPUT_VERSION, STALENESS_ROLES, DecisionInput, PrincipalInput

_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_KEYS: Final = frozenset(
    {
        "class",
        "epoch_from",
        "labels_raw",
        "labels_redacted",
        "model",
        "principal",
        "redactable",
        "residency",
        "snapshot",
        "staleness",
        "v",
    }
)
_PRINCIPAL_KEYS: Final = frozenset({"id", "organisation", "roles"})


def canonical(decision_input: DecisionInput) -> bytes:
    """The bytes that stand in the decision's entry; raises DecisionInputError for a malformed value."""
    _require_well_formed(decision_input)
    principal = decision_input.principal
    value = {
        "class": decision_input.data_class,
        "epoch_from": decision_input.epoch_from,
        "labels_raw": decision_input.labels_raw,
        "labels_redacted": decision_input.labels_redacted,
        "model": decision_input.model,
        "principal": {"id": principal.id, "organisation": principal.organisation, "roles": principal.roles},
        "redactable": decision_input.redactable,
        "residency": decision_input.residency,
        "snapshot": decision_input.snapshot,
        "staleness": dict(decision_input.staleness),
        "v": decision_input.v,
    }
    try:
        return canonical_json.encode(value)
    except CanonicalError as error:
        raise DecisionInputError(f"the decision's input has no canonical form: {error.message}") from None


def from_canonical(data: bytes) -> DecisionInput:
    """The value whose canonical bytes are exactly `data`; raises DecisionInputError for any others."""
    try:
        value = canonical_json.decode(data)
    except CanonicalError as error:
        raise DecisionInputError(f"not a canonical decision input: {error.message}") from None
    return from_plain(value)


def from_plain(value: Any) -> DecisionInput:
    """The same from a parsed object, as it stands in an entry; unknown and missing keys are refused."""
    if not isinstance(value, dict) or value.keys() != _KEYS:
        raise DecisionInputError("a decision input with unknown or missing keys")
    principal, staleness = value["principal"], value["staleness"]
    if not isinstance(principal, dict) or principal.keys() != _PRINCIPAL_KEYS or not isinstance(staleness, dict):
        raise DecisionInputError("a decision input with a malformed principal or staleness")
    decision_input = DecisionInput(
        v=value["v"],
        snapshot=value["snapshot"],
        epoch_from=value["epoch_from"],
        model=value["model"],
        principal=PrincipalInput(principal["id"], principal["organisation"], _texts(principal["roles"])),
        data_class=value["class"],
        residency=_texts(value["residency"]),
        labels_raw=_texts(value["labels_raw"]),
        labels_redacted=_texts(value["labels_redacted"]),
        redactable=value["redactable"],
        staleness=tuple(sorted(staleness.items())),
    )
    _require_well_formed(decision_input)
    return decision_input


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DecisionInputError("a decision input with a list that is not of strings")
    return tuple(value)


def _require_well_formed(value: DecisionInput) -> None:
    """One meaning, one form: types as declared, sets sorted and without duplicates, staleness whole or empty."""
    if type(value.v) is not int or value.v != INPUT_VERSION:
        raise DecisionInputError(f"a decision input of version {value.v!r}", remedy=f"Version {INPUT_VERSION} is known")
    if not isinstance(value.snapshot, str) or not _DIGEST.fullmatch(value.snapshot):
        raise DecisionInputError("a decision input whose snapshot is not a SHA-256 in hex")
    if type(value.epoch_from) is not int or value.epoch_from < 0 or type(value.redactable) is not bool:
        raise DecisionInputError("a decision input whose epoch or redactable is of the wrong type")
    for text in (value.model, value.data_class, value.principal.id, value.principal.organisation):
        if not isinstance(text, str):
            raise DecisionInputError("a decision input with a name that is not a string")
    for items in (value.principal.roles, value.residency, value.labels_raw, value.labels_redacted):
        if not isinstance(items, tuple) or any(a >= b for a, b in itertools.pairwise(items)):
            raise DecisionInputError("a decision input with a set that is not sorted, or names something twice")
    if value.staleness:
        if tuple(role for role, _ in value.staleness) != STALENESS_ROLES:
            raise DecisionInputError(f"staleness must be empty or name {', '.join(STALENESS_ROLES)}")
        if any(type(days) is not int or days < 0 for _, days in value.staleness):
            raise DecisionInputError("staleness in anything but whole days")
