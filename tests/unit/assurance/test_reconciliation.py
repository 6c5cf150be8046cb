"""Audit depth 4: what the ledger and the provider know of each other's calls, and which differences are tolerated."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audited_log import START_US, AuditedLog
from sekisho.app.audit import AuditAsked, Auditor, ProviderAsked
from sekisho.assurance import usage_csv
from sekisho.assurance.errors import UsageUnreadable
from sekisho.assurance.interfaces import UsageRecord
from sekisho.assurance.provider_log import usage_of_log
from sekisho.assurance.usage_csv import COLUMNS, read_usage
from sekisho.gateway.dialects.answers import Usage
from sekisho.gateway.entries import Ended
from sekisho.kernel.errors import UsageError

HEADER = "request_id,time,prompt_tokens,completion_tokens\n"
MINUTE_US = 60_000_000


class Reconciled:
    def __init__(self, directory):
        self.log = AuditedLog(directory / "site")
        self.log.create_key()
        self.file = directory / "usage.csv"
        self.rows = []

    def row(self, request, at=None, prompt=3, completion=4):
        self.rows.append(f"{request},{(at or self.log.clock.time_us) // 1_000_000},{prompt},{completion}\n")

    def report(self, provider="p", **tolerances):
        self.log.publish()
        self.log.close()
        self.file.write_text(HEADER + "".join(self.rows))
        asked = ProviderAsked(provider, usage=self.file, **tolerances)
        return Auditor(self.log.clock).audit(AuditAsked(str(self.log.root), provider=asked))

    def codes(self, **options):
        return [(one.kind.code, one.index) for one in self.report(**options).findings.sorted()]


@pytest.fixture
def both(tmp_path):
    return Reconciled(tmp_path)


def test_two_records_that_agree_in_any_order(both):
    requests = [both.log.request(failures=number % 2) for number in range(20)]
    for request in reversed(requests):
        both.row(request)
    report = both.report()
    assert report.findings.kept == []
    assert (report.depth, report.holds, report.counts["provider_matched"]) == (4, True, 20)
    assert report.counts["provider_tokens_ledger"] == report.counts["provider_tokens_provider"] == 20 * 7


def test_a_call_past_the_checkpoint_is_found_whatever_its_id(both):
    both.row(both.log.request())
    both.row(both.log.arrival())
    both.row("their-own-id")
    twice = both.log.request()
    both.row(twice)
    both.row(twice)
    found = both.report().findings.sorted()
    assert [one.kind.code for one in found] == ["egress_unreceipted"] * 3
    assert sum(one.request == twice for one in found) == 1


def test_a_call_of_which_the_ledger_says_that_no_byte_left(both):
    decision = both.log.decision(both.log.arrival())
    both.log.write(decision)
    both.log.write(both.log.outcome(decision, Ended.NOT_SENT, status=None, usage=None, written=False))
    both.row(decision["request"])
    assert both.codes() == [("egress_unreceipted", 1)]


def test_an_answer_of_which_the_provider_knows_nothing_within_its_time(both):
    both.row(both.log.request())
    both.log.request()  # 3, missing
    both.row(both.log.request())
    assert both.codes() == [("missing_at_provider", 3)]


def test_attempts_that_may_have_failed_need_not_be_known_and_may_be(both):
    known, unknown = (both.log.decision(both.log.arrival()) for _ in range(2))
    for decision in (known, unknown):
        both.log.write(decision)
        both.log.write(both.log.outcome(decision, Ended.CALLER_LEFT, usage=Usage(3, 1, "estimated")))
    both.row(known["request"], completion=400)
    assert both.codes() == []


def test_what_lies_outside_of_the_time_that_both_cover_is_counted_and_not_found(both):
    both.log.request()  # before the provider's file begins
    both.log.clock.time_us += 60 * MINUTE_US
    both.row(both.log.request())
    both.row(both.log.arrival(), at=START_US - 60 * MINUTE_US)
    report = both.report()
    assert [one.kind.code for one in report.findings.kept] == ["missing_at_provider"]  # its file begins before the log
    both.rows.pop()
    assert both.codes() == []


@pytest.mark.parametrize(("seconds", "found"), [(-301, True), (-290, False), (290, False), (302, True)])
def test_the_clocks_may_differ_by_the_tolerance(both, seconds, found):
    both.log.request()
    both.log.clock.time_us += 60 * MINUTE_US
    request = both.log.request()
    both.row(request, at=both.log.clock.time_us + seconds * 1_000_000)
    both.log.clock.time_us += 60 * MINUTE_US
    both.log.request()
    assert (("time_differs", 3) in both.codes()) is found


@pytest.mark.parametrize(
    ("ours", "theirs", "tolerances", "found"),
    [
        (1_000, 1_010, {}, False),
        (1_000, 1_011, {}, True),
        (1_000, 989, {}, True),
        (10, 12, {}, False),
        (10, 13, {}, True),
        (10, 13, {"tokens": 3}, False),
        (1_000, 1_200, {"tokens_permille": 200}, False),
    ],
)
def test_tokens_may_differ_by_the_tolerance(both, ours, theirs, tolerances, found):
    both.row(both.log.request(usage=Usage(ours, 4, "upstream")), prompt=theirs)
    assert both.codes(**tolerances) == ([("tokens_differ", 1)] if found else [])


def test_an_upper_bound_bounds_and_an_estimate_is_not_compared(both):
    for source, prompt in (("upper_bound", 2), ("upper_bound", 900), ("estimated", 900)):
        decision = both.log.decision(both.log.arrival())
        both.log.write(decision)
        both.log.write(both.log.outcome(decision, Ended.UPSTREAM_FAILED, usage=Usage(100, 100, source), written=None))
        both.row(decision["request"], prompt=prompt)
    assert both.codes() == [("tokens_differ", 3)]


def test_calls_decided_under_a_snapshot_that_is_not_there_are_not_called_unreceipted(both):
    both.row(both.log.request())
    for manifest in (both.log.root / "snapshots").glob("*.json"):
        manifest.unlink()
    report = both.report()
    assert [one.kind.code for one in report.findings.kept] == ["snapshot_missing"]
    assert (report.counts["provider_matched"], report.left_out) == (1, 1)


def test_another_providers_calls_and_the_operators_tests_are_told_apart(both):
    test = both.log.envelope("change", {"act": "provider.test", "deployment": "tokyo", "provider": "p"})
    both.log.write(test, both.log.control)
    both.row(test["id"])
    both.row(test["id"])
    request = both.log.request()
    both.row(request)
    assert both.codes() == []
    assert [code for code, _ in both.codes(provider="q")] == ["egress_unreceipted"] * 3


def test_the_providers_own_log_tells_the_same(both, tmp_path):
    theirs = AuditedLog(tmp_path / "theirs")
    theirs.create_key()
    for number in range(4):
        request = both.log.request(failures=number % 2)
        call = theirs.arrival()
        for attempt in (1, 2)[: 1 + number % 2]:  # there it may take attempts of its own
            decision = theirs.decision(call, attempt, caller_request=request)
            theirs.write(decision)
            failed = attempt <= number % 2
            ended = Ended.UPSTREAM_FAILED if failed else Ended.COMPLETE
            theirs.write(theirs.outcome(decision, ended, usage=Usage(3, 4, "upstream")))
    theirs.publish()
    both.log.publish()
    trust = (theirs.site_key.verifier,)
    provider = ProviderAsked("p", log=str(theirs.root), account="default", trust=trust)
    report = Auditor(both.log.clock).audit(AuditAsked(str(both.log.root), provider=provider))
    assert [one.kind.code for one in report.findings.kept] == []
    assert report.counts["provider_matched"] == 4
    theirs.request()  # somebody used our account there without our knowing
    theirs.publish()
    report = Auditor(both.log.clock).audit(AuditAsked(str(both.log.root), provider=provider))
    assert [one.kind.code for one in report.findings.kept] == ["egress_unreceipted"]
    bundle = max((theirs.ledger / "tile/entries/000.p").iterdir(), key=lambda path: int(path.name))
    bundle.write_bytes(bundle.read_bytes().replace(b'"tokyo"', b'"kyoto"'))
    report = Auditor(both.log.clock).audit(AuditAsked(str(both.log.root), provider=provider))
    assert "provider_log_damaged" in report.findings.counts


def test_calls_of_other_customers_of_the_provider_are_not_ours(both):
    decision = both.log.decision(both.log.arrival())
    decision["body"]["input"]["principal"]["organisation"] = "other"
    assert list(usage_of_log([(7, decision)], "default")) == []
    outcome = both.log.outcome(decision)
    ours = UsageRecord(decision["request"], decision["at"], 3, 4, 200, 7)
    assert list(usage_of_log([(7, decision), (8, outcome)], "other")) == [ours]
    decision["body"]["caller_request"] = "x" * 60_000  # it is theirs, and may hold anything
    assert list(usage_of_log([(7, decision), (8, outcome)], "other")) == [ours]
    assert list(usage_of_log([(7, decision | {"request": "y" * 60_000})], "other")) == []


# The file


def read(tmp_path, text):
    path = tmp_path / "usage.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_usage(path))


def test_columns_go_by_several_names_in_any_order_and_others_are_passed_over(tmp_path):
    text = "Output_Tokens,model,X-Request-ID,timestamp,status\r\n7,m,abc,2026-11-25T18:30:00+09:00,200\r\n\r\n"
    at_us = int(datetime(2026, 11, 25, 9, 30, tzinfo=UTC).timestamp()) * 1_000_000
    assert read(tmp_path, b"\xef\xbb\xbf" + text.encode()) == [UsageRecord("abc", at_us, None, 7, 200, 2)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "no column request_id"),
        ("request_id\na\n", "no column time"),
        ("request_id,x-request-id,time\na,b,1\n", "2 columns for request_id"),
        (HEADER + "a,yesterday,1,1\n", "line 2: 'yesterday' is no time"),
        (HEADER + "a,2026-11-25T09:30:00,1,1\n", "no time with its offset"),
        (HEADER + "a,1,-1,1\n", "line 2: '-1' is not a count"),
        (HEADER + "a,1,1.5,1\n", "not a count"),
        (HEADER + ",1,1,1\n", "no request id"),
        (HEADER + "x" * 70_000, "more than 65536 characters"),
        (HEADER.encode() + b"\xff\xfe,1,1,1\n", "not CSV in UTF-8"),
    ],
)
def test_what_can_not_be_read_is_refused_with_its_line(tmp_path, text, problem):
    with pytest.raises(UsageUnreadable, match=problem):
        read(tmp_path, text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("usage") / "usage.csv"
    path.write_bytes((HEADER + text).encode("utf-8", "replace"))
    with contextlib.suppress(UsageUnreadable):
        assert all(isinstance(one, UsageRecord) for one in read_usage(path))


def test_every_column_is_in_the_module_s_own_table():
    assert all(f"`{name}`" in usage_csv.__doc__.lower() for names in COLUMNS.values() for name in names)


@pytest.mark.parametrize(
    "asked", [{}, {"usage": "a", "log": "b"}, {"log": "b"}], ids=["neither", "both", "a log without an account"]
)
def test_a_provider_needs_one_record(both, asked):
    both.log.request()
    both.log.publish()
    with pytest.raises(UsageError):
        Auditor(both.log.clock).audit(AuditAsked(str(both.log.root), provider=ProviderAsked("p", **asked)))


def test_a_providers_record_and_depth_four_belong_together(both):
    both.log.request()
    both.log.publish()
    provider = ProviderAsked("p", usage=both.file)
    for asked in (AuditAsked(str(both.log.root), depth=3, provider=provider), AuditAsked(str(both.log.root), depth=4)):
        with pytest.raises(UsageError, match="depth 4"):
            Auditor(both.log.clock).audit(asked)
