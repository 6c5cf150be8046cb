"""Singapore: identifiers of persons, companies and accounts, telephone numbers and postal codes."""

from typing import Final

from sekisho.inspection.profiles.profile import Profile
from sekisho.inspection.profiles.sg.checks import CHECKS
from sekisho.inspection.profiles.sg.rules import rules

PROFILE: Final = Profile("sg", rules, CHECKS)
