"""Errors of inspection.

SekishoError
└── InspectionError
    └── RulesError   a rule set that can't be read or compiled
"""

from sekisho.kernel.errors import SekishoError


class InspectionError(SekishoError):
    """Inspection could not be set up or carried out."""


class RulesError(InspectionError):
    """A rule set that can't be read or compiled; nothing is inspected with it."""
