"""What can go wrong in assurance. What an audit *finds* is no error: see `kinds`.

AssuranceError
└── UsageUnreadable      a provider's usage file that can't be read as documented
"""

from sekisho.kernel.errors import SekishoError


class AssuranceError(SekishoError):
    """The root of this family."""


class UsageUnreadable(AssuranceError):
    """A provider's usage that is not in the documented form; the message names the line."""
