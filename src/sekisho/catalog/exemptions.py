"""Exemptions: who may be excused from which forbids, for what, why and until when: `exemptions/NAME.toml`. Pure.

Which policies there are, and whether somebody approved it, is looked at elsewhere (`policy.exemptions`,
`app.exemptions`).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from sekisho.catalog.exemption_digest import exemption_digest
from sekisho.catalog.facts import take_time
from sekisho.catalog.interfaces import Exemption
from sekisho.catalog.table import NAME, NAME_REMEDY, Table, nearest, shown
from sekisho.kernel.clock import RFC3339, utc
from sekisho.kernel.errors import CanonicalError

ITEMS_MAX: Final = 32  # of one list: whoever approves it has to read them, and all stand in one entry of the ledger
NONE: Final = "none"  # in the words of an act, of a list that names nothing; so nothing of this name can be named
ANY: Final = "*"  # and of roles, where it names none: whatever the role
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}", re.ASCII)
_POLICY: Final = _LABEL  # an @id


class Named(NamedTuple):
    """What an exemption may name."""

    organisations: Collection[str]
    deployments: Collection[str]
    models: Collection[str]
    classes: Collection[str]


def read_exemption(name: str, table: Table, named: Named) -> Exemption | None:
    """None, with mistakes noted, if anything that it needs is missing or wrong."""
    before = len(table.mistakes)
    organisation = table.take_choice("organisation", named.organisations, "a declared organisation")
    policies = _names(table, "policies", _POLICY, 'Name forbids by their @id, like policies = ["my-rule"]')
    classes = _known(table, "classes", named.classes, 'Name the classes that it is for, like classes = ["internal"]')
    roles = _names(table, "roles", NAME)
    deployments = _known(table, "deployments", named.deployments)
    models = _known(table, "models", named.models)
    # An empty list says the same as none, and says it aloud.
    labels = () if table.take("labels") == [] else _names(table, "labels", _LABEL)
    why = table.take_text("why", remedy="Say in one line why it is needed")
    control = table.take_text("compensating_control", remedy="Say in one line what guards the data meanwhile")
    until = take_time(table, "until")
    if "until" not in table.values:
        table.missing("until", 'Say when it ends, like until = "2027-03-31": until then, not longer')
    elif until is not None and until % 1_000_000:
        table.mistake("until", "is not a whole second", "Leave the fraction out: people read it when they approve")
    if not deployments and not models and not {"deployments", "models"} & table.values.keys():
        table.missing("deployments", "Name the deployments, or the models, that the requests may go to")
    digest = _digest(name, table)
    if len(table.mistakes) > before or organisation is None or until is None or why is None or control is None:
        return None
    return Exemption(
        name=name,
        sha256=digest,
        organisation=organisation,
        policies=policies,
        classes=classes,
        until=until,
        why=why,
        compensating_control=control,
        roles=roles,
        deployments=deployments,
        models=models,
        labels=labels,
    )


def grant_parameters(exemption: Exemption) -> Mapping[str, str]:
    """The parameters of the act that grants it (`identity.acts`).

    What is in none of them (why, and the compensating control) is bound by the digest.
    """
    return {
        "classes": ",".join(exemption.classes),
        "deployments": ",".join(exemption.deployments) or NONE,
        "exemption": exemption.name,
        "labels": ",".join(exemption.labels) or NONE,
        "models": ",".join(exemption.models) or NONE,
        "organisation": exemption.organisation,
        "policies": ",".join(exemption.policies),
        "roles": ",".join(exemption.roles) or ANY,
        "sha256": exemption.sha256,
        "until": utc(exemption.until, RFC3339),
    }


def _names(table: Table, key: str, pattern: re.Pattern[str], remedy: str | None = None) -> tuple[str, ...]:
    items = table.take_list(key, remedy=remedy) or ()
    for item in items:
        if not pattern.fullmatch(item):
            table.mistake(key, f"{shown(item)} can't be one", NAME_REMEDY)
    _require_readable(table, key, items)
    return tuple(sorted(items))


def _known(table: Table, key: str, known: Iterable[str], remedy: str | None = None) -> tuple[str, ...]:
    items, words = table.take_list(key, remedy=remedy) or (), set(known)
    for item in items:
        if item not in words:
            table.mistake(key, f"{shown(item)} is not declared", nearest(item, words, "Declared are"))
    _require_readable(table, key, items)
    return tuple(sorted(items))


def _require_readable(table: Table, key: str, items: tuple[str, ...]) -> None:
    """What approvers read must be short, and mean one thing."""
    if NONE in items:
        table.mistake(key, f"{NONE!r} would read as if nothing were named", "Give it another name")
    if len(items) > ITEMS_MAX:
        table.mistake(
            key, f"names {len(items)}", f"Name at most {ITEMS_MAX}; what is wider is a rule: change the policy"
        )


def _digest(name: str, table: Table) -> str:
    try:
        return exemption_digest(name, table.values)
    except CanonicalError as error:
        table.mistake("", f"holds a value that has no one form: {error.message}", "Write strings, lists and a date")
        return ""
