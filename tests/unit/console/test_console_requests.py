"""Requests as the log tells of them: pages, bounds, and bodies of another version."""

import orjson

from sekisho.console import requests
from sekisho.console.requests import (
    BUNDLES_MAX,
    DENIED,
    END,
    MONITORED,
    PAGE_ROWS,
    PERMITTED,
    page,
    request_view,
    view_of,
)
from sekisho.ledger.interfaces import PublishedEntry

BUNDLE = 256


class Log:
    """A published log in memory. `looked_at` counts entries given out while looking back."""

    def __init__(self):
        self.entries = []
        self.looked_at = 0

    def add(self, kind, body, request=None):
        envelope = {"at": 1_000_000 * len(self.entries), "body": body, "id": f"e{len(self.entries)}", "kind": kind}
        if request is not None:
            envelope["request"] = request
        self.entries.append(orjson.dumps(envelope))
        return envelope["id"]

    def decide(self, request, *, denied=False, attempt=1, model="m"):
        chosen = None if denied else {"action": "sendRaw", "deployment": "tokyo"}
        asked = {"labels_raw": ["phone"], "model": model, "principal": {"id": "key-1", "organisation": "default"}}
        return self.add("decision", {"attempt": attempt, "chosen": chosen, "input": asked}, request)

    def answer(self, request, decision, ended="complete"):
        self.add("outcome", {"decision": decision, "ended": ended, "status": 200}, request)

    def size(self):
        return len(self.entries)

    def back_from(self, leaf, bundles_max):
        end = min(leaf, len(self.entries))
        stop = max(0, ((end - 1) // BUNDLE - bundles_max + 1) * BUNDLE)
        for index in range(end - 1, stop - 1, -1):
            self.looked_at += 1
            yield PublishedEntry(index, self.entries[index])

    def of_requests(self, wanted, entries_max):
        every = [PublishedEntry(leaf, entry) for leaf, entry in enumerate(self.entries)]
        return {
            one: [item for item in every if orjson.loads(item.entry).get("request") == one][:entries_max]
            for one in wanted
        }

    def watermark_us(self):
        return None


def filled(count):
    log = Log()
    for number in range(count):
        decision = log.decide(f"r{number}", denied=number % 3 == 0)
        if number % 3:
            log.answer(f"r{number}", decision)
    return log


def test_an_empty_log_is_an_empty_page():
    assert page(Log()) == ((), None, None)


def test_pages_hold_every_request_once_newest_first():
    log = filled(70)
    before, seen, pages = END, [], 0
    while before is not None:
        found = page(log, before)
        seen += [row.id for row in found.rows]
        before, pages = found.before, pages + 1
    assert seen == [f"r{number}" for number in range(69, -1, -1)]
    assert pages == 3


def test_a_filter_shows_the_denied_or_the_permitted():
    log = filled(90)
    denied = page(log, END, DENIED)
    assert [row.id for row in denied.rows] == [f"r{number}" for number in range(87, 87 - 3 * PAGE_ROWS, -3)]
    assert {row.verdict for row in denied.rows} == {DENIED}
    assert {row.verdict for row in page(log, END, PERMITTED).rows} == {PERMITTED}


def test_a_row_holds_the_outcome_that_stands_on_another_page():
    log = Log()
    decision = log.decide("slow")
    for number in range(PAGE_ROWS):
        log.answer(f"r{number}", log.decide(f"r{number}"))
    log.answer("slow", decision, "caller_left")
    (row,) = page(log, page(log).before).rows
    assert (row.id, row.attempts[0].ending["ended"]) == ("slow", "caller_left")


def test_the_work_for_a_page_is_bounded_and_the_search_goes_on_where_it_stopped():
    log = Log()
    log.decide("old", denied=True)
    for _ in range(BUNDLE * (BUNDLES_MAX + 2)):
        log.add("change", {"act": "key.create"})
    first = page(log, END, DENIED)
    assert (first.rows, log.looked_at <= BUNDLE * BUNDLES_MAX) == ((), True)
    assert first.looked_back_to is not None
    assert [row.id for row in page(log, first.before, DENIED).rows] == ["old"]


def test_attempts_stand_in_order_with_their_outcomes():
    log = Log()
    first = log.decide("r")
    log.answer("r", first, "upstream_failed")
    second = log.decide("r", attempt=2)
    view = request_view(log, "r")
    assert [attempt.ending.get("ended") for attempt in view.attempts] == ["upstream_failed", None]
    log.answer("r", second)
    assert request_view(log, "r").attempts[1].ending["ended"] == "complete"
    assert request_view(log, "unknown") is None


def test_what_monitor_mode_let_pass_is_not_called_permitted():
    body = {"attempt": 1, "chosen": {"action": "sendRaw", "deployment": "far"}, "monitored": True}
    entry = orjson.dumps({"at": 1, "body": body, "id": "x", "kind": "decision"})
    assert view_of("r", [PublishedEntry(0, entry)]).verdict == MONITORED


def test_bodies_of_another_version_are_read_as_far_as_they_go():
    entry = orjson.dumps({"at": "later", "body": {"attempt": 1, "input": 7}, "id": "x", "kind": "decision"})
    view = view_of("r", [PublishedEntry(0, entry), PublishedEntry(1, b'{"kind":"outcome"}')])
    assert (view.at, view.organisation, view.labels, view.deployment) == (0, "", [], "")
    assert requests.view_of("r", []) is None
