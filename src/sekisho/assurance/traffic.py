"""Recorded traffic of this ledger, shown to a planner: first attempts are requests, outcomes tell of their usage. Pure.

Entries are believed: whether a log holds is what `sekisho audit` tells.
"""

from collections.abc import Iterable
from typing import Any, Final

import orjson

from sekisho.assurance.plan import Planner, Recorded
from sekisho.kernel.ids import is_uuid7, uuid7_time_us
from sekisho.policy.decision_input import from_plain
from sekisho.policy.errors import DecisionInputError
from sekisho.policy.fate import Fate
from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED

PROBLEMS_KEPT_MAX: Final = 10
_DECISION: Final = b'"kind":"decision"'
_OUTCOME: Final = b'"kind":"outcome"'
_NOT_OF_REQUEST: Final = frozenset({"snapshot", "epoch_from", "principal"})  # the last is looked at by its parts
_SENT: Final = {SEND_RAW: Fate.RAW, SEND_REDACTED: Fate.REDACTED}
_DENIED: Final = Recorded(Fate.DENIED)


class Traffic:
    """Shows entries to `planner`: those of requests that arrived in [from_us, to_us). `see` them in the log's order."""

    def __init__(self, planner: Planner, from_us: int, to_us: int, *, by_person: bool = True) -> None:
        """Not `by_person`: no policy tells one principal from another of the same organisation and roles, so that
        thousands of persons ask a few different things."""
        self._planner = planner
        self._by_person = by_person
        self._from_ms, self._to_ms = _milliseconds(from_us), _milliseconds(to_us)

    def see(self, first: int, entries: Iterable[bytes]) -> None:
        """Entries from the index `first` on."""
        for index, entry in enumerate(entries, first):
            # What the bytes can't hold need not be parsed: most entries of a log are of these two kinds.
            if _DECISION not in entry and _OUTCOME not in entry:
                continue
            try:
                self._see(orjson.loads(entry))
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, DecisionInputError) as error:
                plan = self._planner.plan
                plan.unreadable += 1
                if len(plan.problems) < PROBLEMS_KEPT_MAX:
                    plan.problems.append(f"entry {index}: {error}"[:200])

    def _see(self, envelope: dict[str, Any]) -> None:
        kind, request = envelope["kind"], envelope.get("request")
        if kind not in ("decision", "outcome") or request is None or not is_uuid7(request):
            return
        if not self._from_ms <= request[:13] < self._to_ms:  # the stamp of its arrival stands in the id
            return
        body = envelope["body"]
        if kind == "outcome":
            self._see_outcome(request, body)
            return
        if body["attempt"] != 1:
            self._planner.plan.retries += 1
            return
        asked = body["input"]
        key = input_key(asked, by_person=self._by_person)
        self._planner.take(request, uuid7_time_us(request), key, lambda: from_plain(asked), recorded(body))

    def _see_outcome(self, request: str, body: dict[str, Any]) -> None:
        usage = body["usage"]
        if usage is None:
            return
        prompt, completion = usage["prompt"] or 0, usage["completion"] or 0
        if type(prompt) is not int or type(completion) is not int or min(prompt, completion) < 0:
            raise TypeError("tokens are no whole numbers")
        self._planner.used(request, prompt, completion)


def input_key(asked: dict[str, Any], *, by_person: bool) -> bytes:
    """What makes recorded inputs equal under any one snapshot and epoch."""
    parts = [value for name, value in asked.items() if name not in _NOT_OF_REQUEST]
    principal = asked["principal"]
    parts += principal.values() if by_person else [principal["organisation"], principal["roles"]]
    return orjson.dumps(parts)


def recorded(body: dict[str, Any]) -> Recorded:
    """What a decision's entry says was done."""
    chosen = body["chosen"]
    if chosen is None:
        return _DENIED
    fate = Fate.MONITORED if body.get("monitored") is True else _SENT[chosen["action"]]
    return Recorded(fate, (chosen["action"], chosen["deployment"]))


def _milliseconds(at_us: int) -> str:
    """The first 13 characters of identifiers stamped then."""
    stamp = f"{max(0, at_us) // 1000:012x}"
    return f"{stamp[:8]}-{stamp[8:]}"


def ids_between(from_us: int, to_us: int) -> tuple[str, str]:
    """(first, end) of identifiers stamped in [from_us, to_us): those that sort from `first` on and before `end`."""
    return _milliseconds(from_us), _milliseconds(to_us)


def names_persons(policies: bytes) -> bool:
    """Whether a policies part may tell principals apart by their ids: one must be written with its type's name."""
    return b"Principal" in policies
