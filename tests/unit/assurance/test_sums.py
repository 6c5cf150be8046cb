"""Audit depth 4 against sums: how many calls and tokens a provider says there were in each stretch of time."""

from datetime import UTC, datetime

import msgspec
import pytest

from audited_log import FARAWAY, START_US, TOKYO, AuditedLog
from sekisho.app.audit import AuditAsked, Auditor, ProviderAsked
from sekisho.assurance import sums
from sekisho.assurance.errors import UsageUnreadable
from sekisho.assurance.interfaces import UsageLayout, UsageWindow
from sekisho.assurance.usage_csv import holds_sums, read_sums
from sekisho.gateway.dialects.answers import Usage
from sekisho.gateway.entries import Ended
from support_decide import catalogue

HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000
BEGIN_US = START_US // HOUR_US * HOUR_US
HEADER = "start_time,end_time,model,num_model_requests,input_tokens,output_tokens\n"


class Summed:
    """A log of six hours, and a provider's file with a row for each of them."""

    def __init__(self, directory, **options):
        self.log = AuditedLog(directory / "site", **options)
        self.log.clock.time_us = BEGIN_US - 10 * MINUTE_US
        self.log.create_key()
        self.file = directory / "usage.csv"
        self.rows = []
        self.header = HEADER

    def at(self, hour, minute=30):
        self.log.clock.time_us = BEGIN_US + hour * HOUR_US + minute * MINUTE_US

    def hour(self, hour, count=3, minute=30, **options):
        self.at(hour, minute)
        return [self.log.request(**options) for _ in range(count)]

    def row(self, hour, calls=3, prompt=None, completion=None, model="m", hours=1):
        start = (BEGIN_US + hour * HOUR_US) // 1_000_000
        prompt, completion = 3 * calls if prompt is None else prompt, 4 * calls if completion is None else completion
        self.rows.append(f"{start},{start + hours * 3600},{model},{calls},{prompt},{completion}\n")

    def report(self, columns=(), deployments=(), window_us=None, offset_us=None, **tolerances):
        self.at(6)
        self.log.create_key("9")  # so that the log goes on to here
        self.log.publish()
        self.log.close()
        self.file.write_text(self.header + "".join(self.rows))
        layout = UsageLayout(dict(columns), dict(deployments), window_us, offset_us)
        asked = ProviderAsked("p", usage=self.file, layout=layout, **tolerances)
        return Auditor(self.log.clock).audit(AuditAsked(str(self.log.root), provider=asked))

    def found(self, **options):
        return [(one.kind.code, one.index) for one in self.report(**options).findings.sorted()]


@pytest.fixture
def both(tmp_path):
    return Summed(tmp_path)


def six_hours(both):
    for hour in range(6):
        both.hour(hour)
        both.row(hour)


def test_sums_that_agree(both):
    six_hours(both)
    report = both.report()
    assert report.findings.kept == []
    assert (report.depth, report.holds) == (4, True)
    counts = {name: report.counts[f"provider_{name}"] for name in ("attempts", "calls", "stretches", "outside")}
    assert counts == {"attempts": 18, "calls": 18, "stretches": 6, "outside": 0}


def test_rows_of_one_stretch_are_added_up_and_a_line_without_calls_may_be_left_out(both):
    for hour in (0, 2, 4):
        both.hour(hour)
        both.row(hour, 2)
        both.row(hour, 1)  # another project's, say
    assert both.found() == []


def test_a_call_past_the_checkpoint_is_found_in_its_stretch(both):
    six_hours(both)
    both.rows[3] = ""
    both.row(3, 4)
    report = both.report()
    [found] = report.findings.kept
    assert found.kind.code == "egress_unreceipted"
    assert "'m': 4 calls, the ledger has at most 3" in found.detail
    assert found.detail.startswith("2026-09-21 1")


def test_a_call_in_an_hour_of_which_the_ledger_knows_nothing(both):
    both.hour(1)
    for hour in range(6):
        both.row(hour, 3 if hour == 1 else 1 if hour == 4 else 0)
    assert both.found() == [("egress_unreceipted", None)]


@pytest.mark.parametrize("listed", [True, False])
def test_calls_that_the_provider_lacks_are_found_with_an_entry_of_theirs(both, listed):
    six_hours(both)
    both.rows[2] = ""
    if listed:
        both.row(2, 2)
    assert both.found() == [("missing_at_provider", 14)]


@pytest.mark.parametrize(("minute", "hour"), [(2, 0), (58, 1)])
def test_what_lies_near_a_border_may_be_counted_on_either_side(both, minute, hour):
    both.hour(1, minute=minute)
    for number in range(6):
        both.row(number, 3 if number in (hour, 1)[:1] and number == hour else 0)
    assert both.found() == []


def test_what_every_border_leaves_open_is_found_in_the_total(both):
    """A call past the checkpoint hides in each hour near whose border others are, but not in the sum of all."""
    for hour in range(6):
        both.hour(hour, 2, minute=1)
        both.row(hour, 2 + (hour == 3), prompt=0, completion=0)
    found = both.report(columns={"prompt_tokens": "", "completion_tokens": ""}).findings.kept
    assert [(one.kind.code, one.detail.partition(": ")[2]) for one in found] == [
        ("egress_unreceipted", "13 calls, the ledger has at most 12")
    ]


@pytest.mark.parametrize(
    ("prompt", "tolerances", "found"),
    [
        (3_030, {}, []),
        (3_031, {}, ["tokens_differ"]),
        (2_969, {}, ["tokens_differ"]),
        (2_970, {}, []),
        (3_060, {"tokens": 20}, []),
        (3_100, {"tokens_permille": 40}, []),
    ],
)
def test_tokens_may_differ_by_the_tolerance(both, prompt, tolerances, found):
    both.hour(1, usage=Usage(1_000, 4, "upstream"))
    both.row(1, 3, prompt=prompt, completion=12)
    assert [code for code, _ in both.found(**tolerances)] == found


def test_an_estimate_leaves_the_most_open_and_an_upper_bound_does_not(both):
    both.at(1)
    for source in ("upper_bound", "upstream"):
        decision = both.log.decision(both.log.arrival())
        both.log.write(decision)
        ended = Ended.COMPLETE if source == "upstream" else Ended.UPSTREAM_FAILED
        both.log.write(both.log.outcome(decision, ended, usage=Usage(100, 100, source)))
    both.row(1, 2, prompt=300, completion=200)
    assert both.found() == [("tokens_differ", 4)]  # 4 is the one that the provider must know
    both.hour(1, 1, usage=Usage(1, 1, "estimated"))
    both.rows = []
    both.row(1, 3, prompt=300, completion=200)
    assert both.found() == []


def test_an_attempt_that_failed_may_be_counted_and_need_not_be(both):
    both.hour(1, failures=1)
    for calls in (3, 6):
        both.rows = []
        both.row(1, calls, prompt=18, completion=24)
        assert both.found() == []
    both.rows = []
    both.row(1, 7, prompt=18, completion=24)
    assert [code for code, _ in both.found()] == ["egress_unreceipted"]


def test_a_stretch_that_reaches_beyond_the_log_is_counted_and_has_no_most(both):
    both.hour(1)
    both.row(-24, 9, hours=48)
    report = both.report()
    assert [one.kind.code for one in report.findings.kept] == ["nothing_compared"]
    assert report.counts["provider_outside"] == 1
    assert (report.holds, report.left_out) == (True, 1)
    both.rows = []
    both.row(-24, 2, hours=48)
    assert [code for code, _ in both.found()] == ["nothing_compared", "missing_at_provider"]


def test_the_operators_tests_may_be_counted(both):
    both.hour(1)
    body = {"act": "provider.test", "deployment": "tokyo", "provider": "p"}
    both.log.write(both.log.envelope("change", body), both.log.control)
    both.row(1, 3 + sums.TEST_CALLS_MAX, prompt=99, completion=99)
    assert both.found() == []
    both.rows = []
    both.row(1, 4 + sums.TEST_CALLS_MAX, prompt=99, completion=99)
    assert [code for code, _ in both.found()] == ["egress_unreceipted"]


def test_deployments_go_by_their_name_or_the_providers_and_each_is_held_to_its_own(tmp_path):
    here = msgspec.structs.replace(TOKYO, upstream_model="gpt-x")
    both = Summed(tmp_path, catalogued=catalogue(here, FARAWAY))
    both.hour(1)
    both.row(1, model="gpt-x")
    assert both.found() == []
    both.rows = []
    both.row(1, model="tokyo")
    assert both.found() == []
    both.rows = []
    both.row(1, model="gpt-x-2026-01-01")
    assert [code for code, _ in both.found()] == ["egress_unreceipted", "missing_at_provider"]
    assert both.found(deployments={"gpt-x-2026-01-01": "tokyo"}) == []
    assert both.found(columns={"deployment": ""}) == []


def test_a_snapshot_that_is_not_there_accuses_nobody(both):
    six_hours(both)
    for manifest in (both.log.root / "snapshots").glob("*.json"):
        manifest.unlink()
    assert [code for code, _ in both.found()] == ["snapshot_missing"]


def test_what_recovery_said_days_later_is_not_spread_over_the_days(both):
    both.at(-47)
    decision = both.log.decision(both.log.arrival())
    both.log.write(decision)
    both.at(3)
    both.log.write(both.log.outcome(decision, Ended.INTERRUPTED, written=None, usage=Usage(9, 9, "upper_bound")))
    both.row(2, 1, prompt=1, completion=1)
    assert [code for code, _ in both.found() if code == "egress_unreceipted"] == ["egress_unreceipted"]


# The file


def read(tmp_path, text, **layout):
    path = tmp_path / "usage.csv"
    path.write_text(text)
    assert holds_sums(path, UsageLayout(**layout))
    return read_sums(path, UsageLayout(**layout))


def us(*when):
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 1_000_000


DAY = UsageWindow(us(2026, 11, 25), us(2026, 11, 26), "m", 12, 3, None)
HOUR = UsageWindow(us(2026, 11, 25, 9), us(2026, 11, 25, 10), None, 5, None, 7)


@pytest.mark.parametrize(
    ("text", "layout", "window"),
    [
        ("date,model,requests,input_tokens\n2026-11-25,m,12,3\n", {"offset_us": 0}, DAY),
        ("Date,Model,Requests,Input_Tokens\n20261125,m,12.0,3\n", {"offset_us": 0}, DAY),
        ("date,model,requests,input_tokens\n2026-11-25,m,10,3\n2026-11-25,m,2,0\n", {"offset_us": 0}, DAY),
        (
            "date,model,requests,input_tokens\n2026-11-25,m,12,3\n",
            {"offset_us": 9 * HOUR_US},
            DAY._replace(start=us(2026, 11, 24, 15), end=us(2026, 11, 25, 15)),
        ),
        (
            "TimeGenerated,AzureOpenAIRequests,GeneratedTokens\n2026-11-25T09:00:00Z,5,7\n",
            {"columns": {"time": "timegenerated"}, "window_us": HOUR_US},
            HOUR,
        ),
        ("start_time,end_time,calls,output_tokens\n1795597200,1795600800,5,7\n", {}, HOUR),
        (
            "start_time,end_time,calls,model,output_tokens\n1795597200,1795600800,5,x,7\n",
            {"deployments": {"x": "m"}},
            HOUR._replace(deployment="m"),
        ),
        ("time,calls,output_tokens\n2026-11-25T09:00Z,5,3\n2026-11-25T09:00Z,,4\n", {"window_us": HOUR_US},
         HOUR._replace(calls=None)),
    ],
)  # fmt: skip
def test_sums_are_read_as_they_are_exported(tmp_path, text, layout, window):
    assert read(tmp_path, text, **layout) == [window]


@pytest.mark.parametrize(
    ("text", "layout", "problem"),
    [
        ("calls\n1\n", {}, "no column time"),
        ("time,calls\n2026-11-25T09:00:00Z,1\n", {}, "line 2: nothing says when"),
        ("date,calls\n2026-11-25,1\n", {}, "no time with its offset"),
        ("time,end,calls\n9,9,1\n", {}, "ends before it begins"),
        ("time,end,calls\n1,999999999,1\n", {}, "longer than a year"),
        ("time,calls,requests\n1,1,1\n", {}, "2 columns for calls"),
        ("time,end,calls\n1,2,few\n", {}, "'few' is not a count"),
        ("time,end,calls\n1,2,1\n", {"columns": {"end": "until"}}, "no column 'until'"),
        ("time,end,calls\n1,2,1\n", {"columns": {"ends": "end"}}, "'ends' is none of our columns"),
    ],
)
def test_sums_that_can_not_be_read_are_refused(tmp_path, text, layout, problem):
    path = tmp_path / "usage.csv"
    path.write_text(text)
    with pytest.raises(UsageUnreadable, match=problem):
        read_sums(path, UsageLayout(**layout))


def test_stretches_that_overlap_are_refused(both):
    both.hour(1)
    both.row(1)
    both.row(0, hours=2)
    with pytest.raises(UsageUnreadable, match="overlap"):
        both.report()


def test_sums_with_and_without_a_deployment_are_refused(both):
    both.hour(1)
    both.row(1)
    both.row(2, model="")
    with pytest.raises(UsageUnreadable, match="some do not"):
        both.report()


@pytest.mark.parametrize(("bound", "rows"), [("WINDOWS_MAX", 3), ("STRETCHES_MAX", 3), ("DEPLOYMENTS_MAX", 3)])
def test_a_file_of_more_than_can_be_held_is_refused(both, bound, rows, monkeypatch):
    place = "usage_csv" if bound == "WINDOWS_MAX" else "sums"
    monkeypatch.setattr(f"sekisho.assurance.{place}.{bound}", 2)
    both.hour(1)
    for number in range(rows):
        both.row(number, model=f"m{number}" if bound == "DEPLOYMENTS_MAX" else "m")
    with pytest.raises(UsageUnreadable, match="more than 2"):
        both.report()
