"""Live decisions held against a shadow: a snapshot that decides nothing. Pure.

What the ledger records is read as it is published; the request path knows nothing of it. A decision is made again under
the snapshot that its entry names as well, so that the two are compared on the same ground.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import orjson

from sekisho.assurance.plan import SAME, Recorded, RowKey
from sekisho.assurance.replay import Replay
from sekisho.assurance.traffic import input_key, recorded
from sekisho.kernel.errors import SekishoError
from sekisho.policy.decision_input import from_plain
from sekisho.policy.fate import Met

REMEMBERED_MAX: Final = 16_384  # distinct inputs, about 25 MB
_DECISION: Final = b'"kind":"decision"'


class Changed(NamedTuple):
    """A request whose fate or choice of deployments would be another one under the shadow."""

    request: str
    key: RowKey


class Slice(NamedTuple):
    """What a run of entries held: requests decided, those that differ, and decisions that could not be compared."""

    decisions: int
    changed: tuple[Changed, ...]
    unreadable: int


class _Compared(NamedTuple):
    organisation: str
    model: str
    before: Met
    after: Met


class ShadowWatch:
    """Belongs to one thread."""

    def __init__(
        self, shadow: Replay, in_force: Callable[[str, int], Replay], *, remembered_max: int = REMEMBERED_MAX
    ) -> None:
        """`in_force` gives a stored snapshot (digest, epoch) as entries name it; a SekishoError that it raises leaves
        that decision out, and is counted."""
        self._shadow = shadow
        self._in_force = in_force
        self._remembered_max = remembered_max
        self._young: dict[bytes, _Compared] = {}
        self._old: dict[bytes, _Compared] = {}
        self.problem = ""  # of the last decision that could not be compared

    def see(self, entries: Iterable[bytes]) -> Slice:
        decisions, unreadable, changed = 0, 0, []
        for entry in entries:
            if _DECISION not in entry:
                continue
            try:
                key = self._look(orjson.loads(entry))
            except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, SekishoError) as error:
                unreadable += 1
                self.problem = str(error)[:200]
                continue
            if key is None:
                continue
            decisions += 1
            if key.key.change != SAME:
                changed.append(key)
        return Slice(decisions, tuple(changed), unreadable)

    def _look(self, envelope: dict[str, Any]) -> Changed | None:
        body = envelope["body"]
        if envelope["kind"] != "decision" or body["attempt"] != 1:
            return None
        asked = body["input"]
        place = f"{asked['snapshot']} {asked['epoch_from']} ".encode() + input_key(asked, by_person=True)
        compared = self._young.get(place)
        if compared is None:
            compared = self._old.get(place)
            if compared is None:
                compared = self._compare(asked)
            if len(self._young) >= self._remembered_max // 2:
                self._old, self._young = self._young, {}
            self._young[place] = compared
        was: Recorded = recorded(body)
        return Changed(envelope["request"], RowKey(*compared, was))

    def _compare(self, plain: dict[str, Any]) -> _Compared:
        asked = from_plain(plain)
        before = self._in_force(asked.snapshot, asked.epoch_from).met(asked)
        return _Compared(asked.principal.organisation, asked.model, before, self._shadow.met(asked))
