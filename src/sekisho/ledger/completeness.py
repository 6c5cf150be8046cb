"""Depth 2 of an audit: whether the entries are all there and fit together. Memory is flat with the log's size.

What can be said of an entry by itself, or by what its writer wrote before, is said as it comes. What takes looking at
entries far apart (ids, a request's attempts and outcomes) is set aside on disk and looked at in `finish`.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from sekisho.kernel.ids import is_uuid7, packed, unpacked, uuid7_time_us
from sekisho.ledger.actors import Actors
from sekisho.ledger.audit_kinds import (
    ACTOR_DIFFERS,
    ATTEMPT_OUT_OF_ORDER,
    BODY_MALFORMED,
    DECISION_AFTER_DENIAL,
    ID_TIME,
    ID_TWICE,
    LOSS_FOLLOWS,
    OUTCOME_DIFFERS,
    OUTCOME_MISSING,
    OUTCOME_PENDING,
    OUTCOME_UNEXPECTED,
    REQUEST_MISSING,
    SITE_DIFFERS,
    TIME_BACKWARDS,
    TIME_FUTURE,
)
from sekisho.ledger.findings import Findings, Kind
from sekisho.ledger.losses import PUBLISHER, Losses, Range
from sekisho.ledger.spool import Spool
from sekisho.ledger.verify import DECISION, OUTCOME
from sekisho.ledger.writers import Writers

INTERRUPTED: Final = "interrupted"
OPEN_US_MAX: Final = 3_600_000_000  # an answer that takes longer than an hour is not one that is still under way
FUTURE_US_MAX: Final = 60_000_000  # how far the auditor's clock and the site's may differ
ID_BEHIND_US_MAX: Final = 24 * 3_600_000_000  # an outcome's id is made with its decision, before the answer
ID_AHEAD_US_MAX: Final = 1_000_000
_ATTEMPT_MAX: Final = 0xFFFF
EVENTS_MAX: Final = 2 * _ATTEMPT_MAX  # of one request, which has few attempts: more can only be an altered log's
_KINDS_MAX: Final = 64  # counted by name; a log that has more is counted under _OTHER
_OTHER: Final = "(other)"

_ID_RECORD: Final = struct.Struct(">16sQ")  # id, index
# request, id, decision's id, index, at, hashes of actor and writer, attempt, what
_EVENT: Final = struct.Struct(">16s16s16sQQqqHB")
_CHOSE, _DENIED, _ENDED, _INTERRUPTED = range(4)


class Event(NamedTuple):
    """An entry of a request, as it was set aside."""

    request: bytes
    id: bytes
    decision: bytes  # the id of the decision that it is or ends
    leaf: int
    at: int
    actor: int
    writer: int
    attempt: int
    what: int


class Completeness:
    """`see` each entry in the log's order, then `finish`. `directory` must not exist; it is the caller's to remove.

    `damaged` are the entries that the checkpoint does not prove; it may grow until `finish`.
    """

    def __init__(self, findings: Findings, directory: Path, now_us: int, damaged: Sequence[Range] = ()) -> None:
        self._findings = findings
        self._now_us = now_us
        directory.mkdir(mode=0o700)
        self._ids = Spool(directory / "ids", _ID_RECORD.size)
        self._events = Spool(directory / "requests", _EVENT.size)
        self._losses = Losses(findings, damaged)
        self._writers = Writers(findings, self._losses)
        self._actors = Actors(findings)
        self._lossy: set[int] = set()  # hashes of writers some of whose entries were lost, as repairs say
        self._site: str | None = None
        self._last_at = 0
        self.requests = 0
        self.kinds: dict[str, int] = {}

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        """An entry that `reading.read` took."""
        identifier, at, kind = envelope["id"], envelope["at"], envelope["kind"]
        counted = kind if kind in self.kinds or len(self.kinds) < _KINDS_MAX else _OTHER
        self.kinds[counted] = self.kinds.get(counted, 0) + 1
        key = packed(identifier)
        self._ids.add(key, _ID_RECORD.pack(key, index))
        self._last_at = max(self._last_at, at)
        self._writers.see(index, envelope)
        self._look_at_time(index, identifier, at)
        if envelope["site"] != self._site:
            if self._site is None:
                self._site = envelope["site"]
            else:
                detail = f"it is of {envelope['site']!r:.80}, the log of {self._site!r:.80}"
                self._findings.add(SITE_DIFFERS, detail, index, identifier)
        if kind in (DECISION, OUTCOME):
            self._see_request(index, envelope, key)
        else:
            self._actors.see_act(index, envelope)
            self._losses.see(index, envelope)

    def finish(self) -> None:
        """What only shows at the end."""
        self._writers.finish()
        self._lossy = {hash(writer) for writer in self._losses.told_of}
        self._actors.finish()
        for records in self._ids.partitions():
            self._look_for_twins(records)
        for records in self._events.partitions():
            requests: dict[bytes, list[Event]] = {}
            for record in records:
                event = Event(*_EVENT.unpack(record))
                events = requests.setdefault(event.request, [])
                if len(events) < EVENTS_MAX:
                    events.append(event)
                else:
                    self._add(ATTEMPT_OUT_OF_ORDER, f"the request has more than {EVENTS_MAX} entries", event)
            self.requests += len(requests)
            for events in requests.values():
                self._look_at_request(events)

    # As they come

    def _look_at_time(self, index: int, identifier: str, at: int) -> None:
        if at > self._now_us + FUTURE_US_MAX:
            self._findings.add(TIME_FUTURE, f"by {_seconds(at - self._now_us)}", index, identifier)
        behind_us = at - uuid7_time_us(identifier)
        if not -ID_AHEAD_US_MAX <= behind_us <= ID_BEHIND_US_MAX:
            self._findings.add(ID_TIME, f"they are {_seconds(behind_us)} apart", index, identifier)

    def _see_request(self, index: int, envelope: Mapping[str, Any], key: bytes) -> None:
        request, identifier, body = envelope.get("request"), envelope["id"], envelope["body"]
        if request is None or not is_uuid7(request):
            self._findings.add(REQUEST_MISSING, f"it is a {envelope['kind']}", index, identifier)
            return
        attempt = body.get("attempt")
        if type(attempt) is not int or not 0 < attempt <= _ATTEMPT_MAX:
            self._findings.add(BODY_MALFORMED, "it does not say which attempt it is of", index, identifier, request)
            return
        if envelope["kind"] == DECISION:
            decision = key
            what = self._decision(index, envelope)
        else:
            decision, what = self._outcome(index, envelope)
        if what is None:
            return
        of_request = packed(request)
        actor, writer = hash(envelope["actor"]), hash(envelope["writer"])
        event = _EVENT.pack(of_request, key, decision, index, envelope["at"], actor, writer, attempt, what)
        self._events.add(of_request, event)

    def _decision(self, index: int, envelope: Mapping[str, Any]) -> int | None:
        body = envelope["body"]
        chosen, asked = body.get("chosen", 0), body.get("input")
        principal = asked.get("principal") if isinstance(asked, dict) else None
        if not (chosen is None or isinstance(chosen, dict)) or not isinstance(principal, dict):
            detail = "it does not say what was chosen, or for whom"
            self._findings.add(BODY_MALFORMED, detail, index, envelope["id"], envelope["request"])
            return None
        if principal.get("id") != envelope["actor"]:
            detail = f"actor {envelope['actor']!r:.80}, principal {principal.get('id')!r:.80}"
            self._findings.add(ACTOR_DIFFERS, detail, index, envelope["id"], envelope["request"])
        self._actors.see_decision(index, envelope, principal)
        return _DENIED if chosen is None else _CHOSE

    def _outcome(self, index: int, envelope: Mapping[str, Any]) -> tuple[bytes, int | None]:
        body = envelope["body"]
        decision, ended = body.get("decision"), body.get("ended")
        if not isinstance(decision, str) or not is_uuid7(decision) or not isinstance(ended, str):
            detail = "it does not say which decision ended, or how"
            self._findings.add(BODY_MALFORMED, detail, index, envelope["id"], envelope["request"])
            return b"", None
        by_publisher = envelope["actor"] == PUBLISHER and ended == INTERRUPTED  # it closes what a dead writer left open
        return packed(decision), _INTERRUPTED if by_publisher else _ENDED

    # At the end

    def _look_for_twins(self, records: Iterable[bytes]) -> None:
        seen: dict[bytes, int] = {}
        for record in records:
            key, index = _ID_RECORD.unpack(record)
            if key in seen:
                self._findings.add(ID_TWICE, f"it is the id of entry {seen[key]} too", index, unpacked(key))
            else:
                seen[key] = index

    def _look_at_request(self, events: list[Event]) -> None:
        """The entries of one request, in the log's order (obligations 7 and 8 of `ledger.verify`)."""
        opened: dict[bytes, Event] = {}
        expected, denied = 1, False
        for event in events:
            if event.what in (_ENDED, _INTERRUPTED):
                self._look_at_outcome(event, opened.pop(event.decision, None))
                continue
            if denied:
                self._add(DECISION_AFTER_DENIAL, f"attempt {event.attempt}", event)
            if event.attempt != expected:
                kind = self._or_follows(event) if event.attempt > expected else None
                detail = f"attempt {event.attempt} stands where {expected} should"
                self._add(kind or ATTEMPT_OUT_OF_ORDER, detail, event)
            elif opened:
                detail = f"attempt {event.attempt} begins before the last has ended"
                self._add(self._or_follows(event) or ATTEMPT_OUT_OF_ORDER, detail, event)
            expected = event.attempt + 1
            if event.what == _DENIED:
                denied = True
            else:
                opened[event.decision] = event
        for event in opened.values():
            age_us = self._last_at - event.at
            kind = OUTCOME_MISSING if age_us > OPEN_US_MAX else OUTCOME_PENDING
            self._add(kind, f"the log goes on for {_seconds(age_us)} after it", event)

    def _look_at_outcome(self, event: Event, decision: Event | None) -> None:
        if decision is None:
            self._add(
                self._or_follows(event) or OUTCOME_UNEXPECTED,
                f"it names the decision {unpacked(event.decision)}",
                event,
            )
            return
        if event.attempt != decision.attempt:
            self._add(OUTCOME_DIFFERS, f"attempt {event.attempt}; the decision is attempt {decision.attempt}", event)
        elif event.what == _ENDED and event.actor != decision.actor:
            self._add(OUTCOME_DIFFERS, "another actor", event)
        elif event.at < decision.at and event.what == _ENDED:
            self._add(TIME_BACKWARDS, f"it ended {_seconds(decision.at - event.at)} before it was decided", event)

    def _or_follows(self, event: Event) -> Kind | None:
        """Of what an entry that is missing before this one would explain: if its writer is known to have lost some."""
        return LOSS_FOLLOWS if event.writer in self._lossy else None

    def _add(self, kind: Kind, detail: str, event: Event) -> None:
        self._findings.add(kind, detail, event.leaf, unpacked(event.id), unpacked(event.request))


def _seconds(us: int) -> str:
    return f"{us / 1_000_000:.3f} s"
