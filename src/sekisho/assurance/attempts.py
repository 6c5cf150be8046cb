"""Our attempts at a provider, as the ledger has them: set aside as they come, joined with their outcomes at the end.

An attempt *must* be known to the provider if its outcome is `complete` with status 200. It *may* be, if a byte left, or
nobody knows whether one did (`interrupted`). Otherwise it must not.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from sekisho.assurance.rulebook import RuleBook
from sekisho.kernel.ids import is_uuid7, packed
from sekisho.ledger.spool import Spool
from sekisho.snapshot.interfaces import SnapshotError

DECISION: Final = "decision"
OUTCOME: Final = "outcome"
TEST: Final = "provider.test"
NONE: Final = -1  # a count that is not known
COUNT_MAX: Final = 2**62
MUST, MAY, MUST_NOT = range(3)
COUNTED, BOUND, ESTIMATED = range(3)
DEPLOYMENTS_MAX: Final = 65_536  # told apart; a provider has hundreds, an altered log could name millions
OTHER: Final = 0  # no deployment that is known: it may be any of the provider's

# what, request, decision's id, index, at, prompt, completion, source and fate, deployment
_RECORD: Final = struct.Struct(">B16s16sQqqqBBH")
_DECIDED, _PERHAPS, _ENDED = range(3)  # perhaps: without its snapshot, nobody knows whose deployment it was


class Attempt(NamedTuple):
    """An attempt at the provider. `deployment` is a number of `OurAttempts.deployments`; times in µs UTC."""

    leaf: int
    id: bytes
    began: int
    certain: bool = True  # that it was this provider's
    deployment: int = OTHER
    ended: int | None = None
    prompt: int = NONE
    completion: int = NONE
    source: int = ESTIMATED
    fate: int = MAY  # without an outcome nobody knows


class OurAttempts:
    """`see` each entry in the log's order, then `partitions`. `directory` must not exist; the caller removes it."""

    def __init__(self, book: RuleBook, provider: str, directory: Path) -> None:
        self._book = book
        self._provider = provider
        self._spool = Spool(directory, _RECORD.size)
        self._numbers: dict[tuple[str, str], int] = {("", ""): OTHER}
        self.first_at: int | None = None  # of all entries
        self.last_at = 0

    @property
    def deployments(self) -> list[tuple[str, str]]:
        """By number: the declared name, and what the provider calls it (`upstream_model`). Number 0: any other."""
        return list(self._numbers)

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        at, kind, body = envelope["at"], envelope["kind"], envelope["body"]
        self.first_at = at if self.first_at is None else min(self.first_at, at)
        self.last_at = max(self.last_at, at)
        request = envelope.get("request")
        if not isinstance(request, str) or not is_uuid7(request):
            return
        if kind == DECISION:
            what, deployment = self._whose(body)
            if what is not None:
                self._set_aside(what, request, envelope["id"], index, at, {}, deployment)
        elif kind == OUTCOME and isinstance(body.get("decision"), str) and is_uuid7(body["decision"]):
            self._set_aside(_ENDED, request, body["decision"], index, at, body)

    def partitions(self) -> Iterator[dict[bytes, list[Attempt]]]:
        """Attempts by request (16 bytes), a part of all requests at a time. To be called once, after the last `see`."""
        return map(_joined, self._spool.partitions())

    def _whose(self, body: Mapping[str, Any]) -> tuple[int | None, int]:
        chosen, asked = body.get("chosen"), body.get("input")
        if not isinstance(chosen, dict) or not isinstance(asked, dict):
            return None, OTHER
        name = str(chosen.get("deployment"))
        try:
            rules = self._book.rules(str(asked.get("snapshot")))
        except SnapshotError:
            return _PERHAPS, OTHER
        if rules.providers.get(name) != self._provider:
            return None, OTHER
        number = self._number(name, rules.upstream_models[name])
        return (_PERHAPS if number == OTHER else _DECIDED), number

    def _number(self, name: str, upstream_model: str) -> int:
        if len(self._numbers) >= DEPLOYMENTS_MAX:
            return self._numbers.get((name, upstream_model), OTHER)
        return self._numbers.setdefault((name, upstream_model), len(self._numbers))

    def _set_aside(
        self, what: int, request: str, decision: str, index: int, at: int, body: Mapping[str, Any], number: int = 0
    ) -> None:
        key = packed(request)
        prompt, completion, source = _usage(body)
        fate = _fate(body) if what == _ENDED else MAY
        self._spool.add(
            key, _RECORD.pack(what, key, packed(decision), index, at, prompt, completion, source, fate, number)
        )


def _joined(records: Iterable[bytes]) -> dict[bytes, list[Attempt]]:
    """Attempts at the provider by request; outcomes of other providers' fall away."""
    found: dict[bytes, dict[bytes, Attempt]] = {}
    for record in records:
        what, request, decision, leaf, at, prompt, completion, source, fate, number = _RECORD.unpack(record)
        attempts = found.get(request, {}) if what == _ENDED else found.setdefault(request, {})
        if what != _ENDED:
            attempts[decision] = Attempt(leaf, decision, at, what == _DECIDED, number)
        elif decision in attempts:
            known = attempts[decision]
            fate = fate if known.certain or fate == MUST_NOT else MAY
            attempts[decision] = known._replace(
                ended=at, prompt=prompt, completion=completion, source=source, fate=fate
            )
    return {request: list(attempts.values()) for request, attempts in found.items()}


def _fate(body: Mapping[str, Any]) -> int:
    if body.get("ended") == "complete" and body.get("status") == 200:
        return MUST
    return MUST_NOT if body.get("written") is False else MAY


def _usage(body: Mapping[str, Any]) -> tuple[int, int, int]:
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return NONE, NONE, ESTIMATED
    source = {"upstream": COUNTED, "upper_bound": BOUND}.get(str(usage.get("source")), ESTIMATED)
    prompt, completion = (
        value if type(value) is int and 0 <= value <= COUNT_MAX else NONE
        for value in (usage.get("prompt"), usage.get("completion"))
    )
    return prompt, completion, source
