"""Rule sets by name: what is looked for everywhere, and what only one nation has.

Identifiers, context words and checks of a nation live in its profile and nowhere else. `boundary.toml` names the
profiles in force. To add one: a package beside `jp`, and a line in `PROFILES`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sekisho.inspection.profiles import injection, jp, secrets, sg, universal
from sekisho.inspection.profiles.profile import Profile
from sekisho.inspection.rule_data import Check, RuleData

PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {profile.name: profile for profile in (jp.PROFILE, sg.PROFILE)}
)


def profile_names() -> tuple[str, ...]:
    """Those that ship, sorted."""
    return tuple(sorted(PROFILES))


def rules_of(profiles: tuple[str, ...]) -> list[RuleData]:
    """The rules that hold everywhere and those of `profiles`, in a stable order. Raises KeyError for an unknown one."""
    rules = [*universal.rules(), *secrets.rules(), *injection.rules()]
    for name in sorted(set(profiles)):
        rules += PROFILES[name].rules()
    return rules


def checks() -> Mapping[str, Check]:
    """Every check by its name: a rule set of a snapshot may name any of them."""
    every = dict(universal.CHECKS)
    for profile in PROFILES.values():
        every |= profile.checks
    return every
