"""Errors of inspection.

SekishoError
└── InspectionError
    ├── RulesError   a rule set that can't be read or compiled
    └── HeldTooMuch  of an answer more would have to be held back, or looked at, than is bounded
"""

from sekisho.kernel.errors import SekishoError


class InspectionError(SekishoError):
    """Inspection could not be set up or carried out."""


class RulesError(InspectionError):
    """A rule set that can't be read or compiled; nothing is inspected with it."""


class HeldTooMuch(InspectionError):
    """What is to be masked in a text can't be told within bounds; nothing more of it may be let go."""
