"""Japan: identifiers of persons, companies and accounts, telephone numbers, postal codes, addresses, and names."""

from typing import Final

from sekisho.inspection.profiles.jp.checks import CHECKS
from sekisho.inspection.profiles.jp.names import make_names
from sekisho.inspection.profiles.jp.rules import rules
from sekisho.inspection.profiles.profile import Profile

PROFILE: Final = Profile("jp", rules, CHECKS, make_names)
