"""Requests as the log tells of them: a page of the latest, and one of them whole.

Pure but for the log, which is asked through its port; the work for a page is bounded, whatever the log's size. Bodies
are another context's and may be of another version: what is absent is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from sekisho.ledger.interfaces import PublishedEntry, PublishedLog

PAGE_ROWS: Final = 25
BUNDLES_MAX: Final = 32  # looked through for one page: 8,192 entries, some tens of milliseconds
ROW_ENTRIES_MAX: Final = 16  # of one request in the list: more attempts than a request makes
DETAIL_ENTRIES_MAX: Final = 64
END: Final = 2**63 - 1  # behind every leaf

PERMITTED: Final = "permitted"
DENIED: Final = "denied"
MONITORED: Final = "monitored"  # denied by policy, and sent because the organisation only watches
DECISION: Final = "decision"
OUTCOME: Final = "outcome"


class Attempt(NamedTuple):
    """A decision's envelope, and its outcome's once there is one."""

    decision: Mapping[str, Any]
    outcome: Mapping[str, Any] | None

    @property
    def body(self) -> Mapping[str, Any]:
        return _object(self.decision.get("body"))

    @property
    def ending(self) -> Mapping[str, Any]:
        return _object(self.outcome.get("body")) if self.outcome is not None else {}

    @property
    def chosen(self) -> Mapping[str, Any] | None:
        chosen = self.body.get("chosen")
        return chosen if isinstance(chosen, dict) else None


class RequestView(NamedTuple):
    """A request: its id, when it was first decided (µs UTC), and its attempts in order, at least one."""

    id: str
    at: int
    attempts: tuple[Attempt, ...]

    @property
    def asked(self) -> Mapping[str, Any]:
        """The decision's input."""
        return _object(self.attempts[-1].body.get("input"))

    @property
    def organisation(self) -> str:
        return str(_object(self.asked.get("principal")).get("organisation", ""))

    @property
    def verdict(self) -> str:
        last = self.attempts[-1]
        if last.chosen is None:
            return DENIED
        return MONITORED if last.body.get("monitored") is True else PERMITTED

    @property
    def labels(self) -> list[str]:
        return _texts(self.asked.get("labels_raw"))

    @property
    def deployment(self) -> str:
        chosen = self.attempts[-1].chosen
        return str(chosen.get("deployment", "")) if chosen else ""


class Page(NamedTuple):
    """`before`: the leaf to ask with for older ones; None at the log's beginning. `looked_back_to`: where the search
    stopped for this time without filling the page (µs UTC), or None."""

    rows: tuple[RequestView, ...]
    before: int | None
    looked_back_to: int | None


def page(log: PublishedLog, before: int = END, only: str | None = None) -> Page:
    """The latest requests that were first decided below the leaf `before`, newest first; `only` PERMITTED or DENIED.

    Raises LogUnreadable.
    """
    found: list[str] = []
    leaf, at = before, None
    for published in log.back_from(before, BUNDLES_MAX):
        envelope = _envelope(published)
        leaf, at = published.leaf, envelope.get("at")
        if _begins(envelope) and only in (None, _verdict(envelope)):
            found.append(str(envelope["request"]))
            if len(found) == PAGE_ROWS:
                break
    rows = log.of_requests(found, ROW_ENTRIES_MAX)
    views = [view for request in found if (view := view_of(request, rows[request])) is not None]
    more = leaf if 0 < leaf < END else None
    return Page(tuple(views), more, at if more is not None and len(found) < PAGE_ROWS else None)


def request_view(log: PublishedLog, request_id: str) -> RequestView | None:
    """One request, or None where the log has none of this id. Raises LogUnreadable."""
    return view_of(request_id, log.of_requests([request_id], DETAIL_ENTRIES_MAX)[request_id])


def view_of(request_id: str, entries: Sequence[PublishedEntry]) -> RequestView | None:
    """What these entries tell of a request; None if no decision is among them."""
    envelopes = [_envelope(published) for published in entries]
    outcomes = {str(_object(e.get("body")).get("decision")): e for e in envelopes if e.get("kind") == OUTCOME}
    attempts = tuple(Attempt(e, outcomes.get(str(e.get("id")))) for e in envelopes if e.get("kind") == DECISION)
    if not attempts:
        return None
    at = attempts[0].decision.get("at")
    return RequestView(request_id, at if isinstance(at, int) else 0, attempts)


def _begins(envelope: Mapping[str, Any]) -> bool:
    """Whether this entry is a request's first decision."""
    return (
        envelope.get("kind") == DECISION
        and isinstance(envelope.get("request"), str)
        and _object(envelope.get("body")).get("attempt") == 1
    )


def _verdict(envelope: Mapping[str, Any]) -> str:
    return DENIED if _object(envelope.get("body")).get("chosen") is None else PERMITTED


def _envelope(published: PublishedEntry) -> Mapping[str, Any]:
    return _object(orjson.loads(published.entry))


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []
