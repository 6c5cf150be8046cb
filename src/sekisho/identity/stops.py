"""Emergency stops: what may be asked, what the ledger is told, and which are set, in memory."""

import re
from collections.abc import Iterable
from typing import Any, Final

from sekisho.identity import acts
from sekisho.identity.errors import StopRequestInvalid
from sekisho.identity.interfaces import STOP_KINDS, KeyChanges, Stop

REASON_LENGTH_MAX: Final = 200  # a line for whoever looks at `sekisho stop list` at night
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)  # what names a declaration


def require_stop(kind: str, name: str, reason: str = "") -> None:
    """Raises StopRequestInvalid unless this can be a stop."""
    if kind not in STOP_KINDS:
        raise StopRequestInvalid(f"{kind!r} can't be stopped", remedy=f"Stop one of {', '.join(STOP_KINDS)}")
    if _NAME.fullmatch(name) is None:
        raise StopRequestInvalid(f"{name!r} names no {kind}", remedy="Give the name of its file under declarations/")
    if len(reason) > REASON_LENGTH_MAX or (reason and not reason.isprintable()):
        raise StopRequestInvalid("the reason is not a line of text", remedy=f"Use at most {REASON_LENGTH_MAX} letters")


def told(act: str, kind: str, name: str, approval: dict[str, Any] | None = None) -> bytes:
    """What the ledger is told (canonical JSON). The reason is free text and stays out (G6)."""
    return acts.told(act, {"kind": kind, "name": name}, approval)


class Stops:
    """The stops that are set, kept up by `apply`. Belongs to one event loop, as the keyring does."""

    def __init__(self) -> None:
        self._set: dict[str, frozenset[str]] = dict.fromkeys(STOP_KINDS, frozenset())
        self._known: dict[tuple[str, str], int] = {}

    def apply(self, changes: KeyChanges) -> tuple[Stop, ...]:
        """Take over changed rows, in any order and however often; returns those that are newly set."""
        new: list[Stop] = []
        for stop in changes.stops:
            if self._known.get((stop.kind, stop.name), -1) >= stop.sequence:
                continue
            self._known[stop.kind, stop.name] = stop.sequence
            without = self._set[stop.kind] - {stop.name}
            self._set[stop.kind] = without if stop.lifted_at is not None else without | {stop.name}
            if stop.lifted_at is None:
                new.append(stop)
        return tuple(new)

    def count(self) -> int:
        return sum(map(len, self._set.values()))

    def organisation(self, name: str) -> bool:
        """Whether nothing may be sent for this organisation."""
        return name in self._set["organisation"]

    def deployment(self, name: str, provider: str) -> bool:
        """Whether nothing may be sent to this deployment: it is stopped, or its provider is."""
        return name in self._set["deployment"] or provider in self._set["provider"]

    def of(self, deployments: Iterable[tuple[str, str]]) -> frozenset[str]:
        """Those of `deployments`, given as (name, provider), that are stopped. Costs nothing while none is set."""
        if not self._set["deployment"] and not self._set["provider"]:
            return frozenset()
        return frozenset(name for name, provider in deployments if self.deployment(name, provider))
