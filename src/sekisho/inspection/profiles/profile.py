"""What a profile is made of."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from sekisho.inspection.rule_data import Check, RuleData


class NameFinder(Protocol):
    """Finds personal names. Belongs to one thread."""

    def find(self, text: str) -> Iterable[tuple[int, int]]:
        """Spans of names in folded `text` as offsets of characters, end exclusive, in order. Linear in it."""
        ...


class Profile(NamedTuple):
    """The identifiers of a nation. `make_names` raises RulesError if what it needs is not installed."""

    name: str
    rules: Callable[[], list[RuleData]]
    checks: Mapping[str, Check]
    make_names: Callable[[], NameFinder] | None = None
