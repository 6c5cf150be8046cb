"""What is declared to be looked for in texts, as the rule set of a snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass

from sekisho.catalog.interfaces import Boundary, Catalogue, Mistake, PolicyText
from sekisho.inspection.errors import RulesError
from sekisho.inspection.interfaces import PERSON_NAME
from sekisho.inspection.own import check_own_rules
from sekisho.inspection.profiles import profile_names
from sekisho.inspection.rules import label_names, labels_of_others, make_name_finders, rules_bytes
from sekisho.policy.check import labels_named


@dataclass(frozen=True, slots=True)
class DeclaredInspection:
    """`rules`: canonical bytes; `labels`: those that policies may name. With mistakes they are what is left of it.

    `elsewhere`: labels that only a profile finds which is not declared, each with that profile.
    """

    rules: bytes
    labels: tuple[str, ...]
    mistakes: tuple[Mistake, ...]
    elsewhere: Mapping[str, str]


def profiles_in_force(boundary: Boundary) -> tuple[str, ...]:
    """Those that the boundary names; where it names none, those of its home jurisdictions that ship."""
    if boundary.inspection.profiles is not None:
        return boundary.inspection.profiles
    at_home = {code.lower() for code in boundary.home}  # a profile has the name of its jurisdiction
    return tuple(name for name in profile_names() if name in at_home)


def declared_inspection(catalogue: Catalogue, policies: tuple[PolicyText, ...]) -> DeclaredInspection:
    """Personal names are looked for where the boundary says so, or a policy in force names their label."""
    settings = catalogue.boundary.inspection
    own, own_mistakes = check_own_rules(catalogue.inspection_rules)
    mistakes = list(own_mistakes)
    named = labels_named(catalogue.boundary.packs, policies)
    names = settings.person_names or PERSON_NAME in named
    try:
        rules = rules_bytes(profiles_in_force(catalogue.boundary), own, names=names)
    except RulesError as error:
        mistakes.append(Mistake("boundary.toml", "inspection.profiles", error.message, error.remedy or ""))
        rules = rules_bytes((), own)
    else:
        if names:
            try:
                make_name_finders(rules)
            except RulesError as error:
                key = "inspection.person_names" if settings.person_names else "policies"
                mistakes.append(Mistake("boundary.toml", key, error.message, error.remedy or ""))
    labels = label_names(rules)
    others = labels_of_others(profiles_in_force(catalogue.boundary))
    elsewhere = {label: profile for label, profile in others.items() if label not in labels}
    return DeclaredInspection(rules, labels, tuple(mistakes), elsewhere)


def labels_that_ship() -> tuple[str, ...]:
    """Every label that some profile finds: what the packs that ship may speak of."""
    return label_names(rules_bytes(profile_names()))
