"""What goes wrong in the console, each with the status it is answered with.

ConsoleError
├── NotSignedIn        401  no live session; a page sends to the sign-in instead
├── NotAllowed         403  a role that may not, a foreign origin, a host that is not ours
├── NotThere           404
├── TooLarge           413
├── TooMany            429  tokens were guessed at, too many are signed in, or the like is being made
├── ComplianceRefused  400  no such view
├── PlanRefused        400  nothing that a plan could be made of
└── ExplainRefused     400… what is asked can't be explained: the answer that the request itself would get
"""

from sekisho.kernel.errors import SekishoError


class ConsoleError(SekishoError):
    status = 400


class NotSignedIn(ConsoleError):
    status = 401


class NotAllowed(ConsoleError):
    status = 403


class NotThere(ConsoleError):
    status = 404


class TooLarge(ConsoleError):
    status = 413


class TooMany(ConsoleError):
    status = 429


class ComplianceRefused(ConsoleError):
    status = 400


class PlanRefused(ConsoleError):
    status = 400


class ExplainRefused(ConsoleError):
    def __init__(self, status: int, message: str, *, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.status = status
