"""A bounded memory of decisions, recently used ones kept.

Two generations instead of a list of uses: a hit in the young one is a single look-up, which is what a request pays.
When the young one is full it becomes the old one; what is asked for again moves over, the rest is dropped.
"""

from typing import Final

from sekisho.policy.interfaces import Decision, DecisionInput

VERDICTS_PER_GENERATION_MAX: Final = 32_768  # a verdict takes about 250 bytes with its share of the decision: 16 MB
_ENTRY_WEIGHT: Final = 4  # what a decision costs beside its verdicts, in verdicts


class DecisionMemo:
    """Decisions by their whole input. Belongs to one thread."""

    def __init__(self, weight_max: int = VERDICTS_PER_GENERATION_MAX) -> None:
        self._young: dict[DecisionInput, Decision] = {}
        self._old: dict[DecisionInput, Decision] = {}
        self._weight = 0
        self._weight_max = weight_max

    def get(self, decision_input: DecisionInput) -> Decision | None:
        decision = self._young.get(decision_input)
        if decision is None:
            decision = self._old.get(decision_input)
            if decision is not None:
                self.put(decision)
        return decision

    def put(self, decision: Decision) -> None:
        self._young[decision.input] = decision
        self._weight += len(decision.verdicts) + _ENTRY_WEIGHT
        if self._weight >= self._weight_max:
            self._old, self._young, self._weight = self._young, {}, 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)
