"""The Cedar schema, generated from the catalogue. Closed sets are enumerated types, so that a typo doesn't validate."""

import json
import re
from collections.abc import Iterable
from typing import Final

from sekisho.catalog.interfaces import (
    ANYWHERE,
    DEPLOYMENT_TYPES,
    JURISDICTION_FACTS,
    PROVIDER_JURISDICTION_FACTS,
    PROVIDER_TEXT_FACTS,
    UNKNOWN,
    WORD_FACTS,
    Catalogue,
)
from sekisho.policy.interfaces import RELAY_RAW, RESTORE, RETAIN, SEND_RAW, SEND_REDACTED, STALENESS_ROLES

# Labels that inspection gives to what it can't read or what could send data on; always enumerated.
STANDING_LABELS: Final = ("egress.tool", "egress.url", "opaque")

# Facts of one word have an enumerated type each; a provider's facts stand on its deployments under a prefix.
WORD_TYPES: Final = {"key_holder": "KeyHolder", "tenancy": "Tenancy"}
PROVIDER_PREFIX: Final = "provider_"
_ENUMERATION: Final = re.compile(r"^entity ([A-Za-z]+) enum (\[.*\]);$", re.MULTILINE)

_HEAD: Final = """\
// Generated with the snapshot from the catalogue; policies are validated against it.
// Facts of which nothing is known are {unknown}; "may be anywhere" is every jurisdiction and `anywhere`.
// A <fact>_grade says how well a fact is supported:
// 0 unknown, 1 declared, 2 contractual, 3 observed, 4 attested.
"""

_BODY: Final = """\
entity Role;
entity Principal in [Organisation, Role] {{ organisation: Organisation }};
entity Deployment in [Model, Provider] {{
  model: Model,
  provider: Provider,
  site: Site,
  deployment_type: DeploymentType,
{facts}
}};
type Staleness = {{ {staleness} }};
// class_rank: 0 is the lowest class. protected: the class asks for more than the default one does.
// labels: of the body as it would leave (redacted for {redacted}). home: the home jurisdictions.
type Request = {{
{context}
}};
// {retain}: may what was sent to the deployment, and what it answered, be kept? labels: of the body that was sent.
// A permit of it names the action and how long: @retain_days("30").
action {raw}, {redacted}, {retain} appliesTo {{ principal: [Principal], resource: [Deployment], context: Request }};
// Of each label by itself, once a deployment is chosen. labels: of the body that is sent. label:
// {relay}: of a value in the answer. A forbid of it has the value masked; what nothing forbids reaches the caller.
// {restore}: of a value masked in the request, that may be put back where the answer names it. A permit of it names it.
type Value = {{
{context}
  label: Label,
}};
action {relay}, {restore} appliesTo {{ principal: [Principal], resource: [Deployment], context: Value }};
"""
_CONTEXT: Final = """\
  class: DataClass,
  class_rank: Long,
  protected: Bool,
  residency: Set<Jurisdiction>,
  home: Set<Jurisdiction>,
  labels: Set<Label>,
  staleness: Staleness,"""


def schema_text(catalogue: Catalogue, labels: tuple[str, ...]) -> str:
    """Cedar schema text: the same catalogue and labels give the same text."""
    enumerations = {
        "Jurisdiction": (*catalogue.boundary.jurisdictions, ANYWHERE, UNKNOWN),
        "DataClass": tuple(item.name for item in catalogue.boundary.classes),
        "Label": tuple(sorted({*labels, *STANDING_LABELS})),
        "DeploymentType": (*DEPLOYMENT_TYPES, UNKNOWN),
        "Organisation": (*(item.name for item in catalogue.organisations), UNKNOWN),
        "Site": (*(item.name for item in catalogue.sites), UNKNOWN),
        "Provider": (*(item.name for item in catalogue.providers), UNKNOWN),
        "Model": (*(item.name for item in catalogue.models), UNKNOWN),
        **{WORD_TYPES[key]: (*words, UNKNOWN) for key, words in WORD_FACTS.items()},
    }
    lines = [f"entity {name} enum {_quoted(values)};\n" for name, values in enumerations.items()]
    facts = ",\n".join(f"  {name}: {kind}" for name, kind in sorted(_fact_types().items()))
    staleness = ", ".join(f"{role}_days: Long" for role in STALENESS_ROLES)
    actions = {"raw": SEND_RAW, "redacted": SEND_REDACTED, "retain": RETAIN, "relay": RELAY_RAW, "restore": RESTORE}
    body = _BODY.format(facts=facts, staleness=staleness, context=_CONTEXT, **actions)
    return _HEAD + "".join(lines) + body


def deployment_attributes() -> dict[str, str]:
    """Every attribute of a deployment with its type in the schema."""
    return {
        "model": "Model",
        "provider": "Provider",
        "site": "Site",
        "deployment_type": "DeploymentType",
    } | _fact_types()


def enumerations(schema: str) -> dict[str, frozenset[str]]:
    """The closed sets of a schema that `schema_text` wrote, by type."""
    found: dict[str, frozenset[str]] = {}
    for match in _ENUMERATION.finditer(schema):
        found[match[1]] = frozenset(json.loads(match[2]))
    return found


def with_names(schema: str, names: Iterable[tuple[str, str]]) -> str:
    """The schema with more names in its closed sets: (type, name)."""
    added: dict[str, list[str]] = {}
    for kind, name in names:
        added.setdefault(kind, []).append(name)
    known = enumerations(schema)

    def widened(match: re.Match[str]) -> str:
        return f"entity {match[1]} enum {_quoted((*known[match[1]], *added.get(match[1], ())))};"

    return _ENUMERATION.sub(widened, schema)


def labels_of(schema: str) -> tuple[str, ...]:
    """Every label that a schema text enumerates, sorted. Raises ValueError for one that is not ours."""
    found = enumerations(schema).get("Label")
    if found is None:
        raise ValueError("the schema enumerates no labels")
    return tuple(sorted(found))


def _fact_types() -> dict[str, str]:
    types = dict.fromkeys(JURISDICTION_FACTS, "Set<Jurisdiction>") | WORD_TYPES
    types |= {PROVIDER_PREFIX + key: "Set<Jurisdiction>" for key in PROVIDER_JURISDICTION_FACTS}
    types |= {PROVIDER_PREFIX + key: "Set<String>" for key in PROVIDER_TEXT_FACTS}
    return types | {f"{key}_grade": "Long" for key in types}


def _quoted(values: Iterable[str]) -> str:
    return json.dumps(sorted(set(values)), ensure_ascii=True)
