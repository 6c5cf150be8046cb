"""What can go wrong in assurance. What an audit *finds* is no error: see `kinds`.

AssuranceError
├── UsageUnreadable      a provider's usage file that can't be read as documented
├── RecordUnreadable     a record of another gateway's log that can't be read as documented
└── DecisionUnreadable   an entry of a log that calls itself a decision and is none
"""

from sekisho.kernel.errors import SekishoError


class AssuranceError(SekishoError):
    """The root of this family."""


class UsageUnreadable(AssuranceError):
    """A provider's usage that is not in the documented form; the message names the line."""


class RecordUnreadable(AssuranceError):
    """A record of another gateway that is not in the documented form; the message quotes no content of it."""


class DecisionUnreadable(AssuranceError):
    """An entry that says it is a decision, and does not hold what one does; the message names its place."""

    def __init__(self, leaf: int, error: Exception) -> None:
        super().__init__(
            f"entry {leaf} is no decision: {type(error).__name__} {error!s:.100}", remedy="Run `sekisho audit`"
        )
