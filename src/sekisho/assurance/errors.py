"""What can go wrong in assurance. What an audit *finds* is no error: see `kinds`.

AssuranceError
├── UsageUnreadable      a provider's usage file that can't be read as documented
└── RecordUnreadable     a record of another gateway's log that can't be read as documented
"""

from sekisho.kernel.errors import SekishoError


class AssuranceError(SekishoError):
    """The root of this family."""


class UsageUnreadable(AssuranceError):
    """A provider's usage that is not in the documented form; the message names the line."""


class RecordUnreadable(AssuranceError):
    """A record of another gateway that is not in the documented form; the message quotes no content of it."""
