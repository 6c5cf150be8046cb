"""What can go wrong in deciding.

PolicyError
├── PolicyMistakes          policies don't hold against the catalogue; `mistakes` lists everything
├── PackMistakes            cases of a pack that can't be read; `mistakes` lists everything
├── PolicyPartsError        stored parts that no decider can be made of
└── DecisionInputError      a value or bytes that are not a DecisionInput in canonical form

What goes wrong while a request is decided is never raised: it is an error in the verdict, and denies.
"""

from sekisho.catalog.interfaces import Mistake
from sekisho.kernel.errors import SekishoError


class PolicyError(SekishoError):
    """The root of this family."""


class PolicyMistakes(PolicyError):
    """The policies can't be used as they are."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        super().__init__(
            f"{len(mistakes)} mistakes in the policies, the first in {mistakes[0].file}: {mistakes[0].problem}",
            remedy="Run `sekisho check` to see all of them",
        )
        self.mistakes = mistakes


class PackMistakes(PolicyError):
    """The cases of a pack can't be used as they are."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        told = "; ".join(f"{one.key}: {one.problem} ({one.remedy})" for one in mistakes[:5])
        super().__init__(f"{mistakes[0].file} has {len(mistakes)} mistakes: {told}")
        self.mistakes = mistakes


class PolicyPartsError(PolicyError):
    """The parts of a snapshot don't give a decider."""


class DecisionInputError(PolicyError):
    """Not a DecisionInput, or not in its canonical form."""
