"""What repairs say was lost: named as that where it is missing, and found out where it is not."""

import json
import re
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from repair_fixtures import DECISION, Site

from audited_log import AuditedLog
from sekisho.kernel import canonical
from sekisho.kernel.ids import IdSource
from sekisho.ledger.audit import AuditOptions, audit_log, signed_checkpoint
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.completeness import Completeness
from sekisho.ledger.findings import Findings
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.losses import RANGES_MAX, Gap, Losses
from sekisho.ledger.writers import GAPS_KEPT_MAX


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path / "ledger")


def audited(root, verifier, spool):
    """What an audit of depth 2 finds, as (code, index, detail), but for what hangs on bodies that say little."""
    findings = Findings()
    files = LogFiles(root)
    signed = signed_checkpoint(files, verifier, findings)
    audit_log(files, signed.checkpoint, findings, AuditOptions(spool=spool, now_us=2**60))
    passed_over = ("body_malformed", "actor_unknown", "id_time", "outcome_unexpected", "clock_stood_still")
    return [one for one in findings.sorted() if one.kind.code not in passed_over]


def codes(found):
    return [(one.kind.code, one.index) for one in found]


async def test_what_a_real_repair_could_not_save_is_told_as_that(site, tmp_path):
    name = await site.written(*[b"{}"] * 3, DECISION, *[b"{}"] * 3)
    site.damage(name, 2)
    site.repair().repair(site.make_publisher)
    (told,) = (one for one in site.logged() if one["body"].get("act") == "ledger.repair")
    (found,) = audited(site.root, site.log_key.verifier, tmp_path / "spool")
    assert (found.kind.code, found.id) == ("loss_told", told["id"])
    assert found.kind.severity == "error"
    assert found.detail == f"the repair of {told['id']} says that these were lost: numbers 2 to 2 of {name}"


async def test_what_a_real_repair_could_not_know_is_a_warning(site, tmp_path):
    await site.written(b"{}")
    site.publish()
    name = await site.written(*[b"{}"] * 4)
    (site.root / "wal" / name / "00000000.seg").unlink()
    site.repair().repair(site.make_publisher)
    (found,) = audited(site.root, site.log_key.verifier, tmp_path / "spool")
    assert (found.kind.code, found.kind.severity) == ("loss_possible", "warning")
    assert f"of {name}, from number 0 on" in found.detail


async def test_an_entry_of_the_log_that_a_real_repair_could_not_save(site, tmp_path):
    await site.written(*[b'{"x":"%d"}' % n for n in range(300)])
    site.publish()
    whole = tmp_path / "whole"
    site.publish()  # once more, so that the journal begins at the state it ends with
    bundle = site.root / "tile/entries/000"
    data = bundle.read_bytes()
    bundle.write_bytes(data.replace(b'{"x":"77"}', b'{"x":"78"}'))
    site.repair().repair(site.make_publisher)
    (told,) = (one for one in site_entries(site) if one["body"].get("act") == "ledger.repair")
    assert told["body"]["lost"] == [[77, 78]]
    found = audited(site.root, site.log_key.verifier, tmp_path / "spool")
    assert codes(found) == [("entry_altered", 77), ("loss_told", 300)]
    assert found[1].detail.endswith("says that these were lost: entries 77 to 77 of the log")
    shutil.copytree(site.root, whole)
    (whole / "tile/entries/000").write_bytes(data)
    found = audited(whole, site.log_key.verifier, tmp_path / "again")
    assert [(one.kind.code, one.kind.severity) for one in found] == [("loss_recovered", "note")]


def site_entries(site):
    """What is logged, whether or not it holds."""
    files = LogFiles(site.root)
    size = read_checkpoint(files.checkpoint()).size
    return [canonical.decode(entry) for _, entries in files.entries(0, size) for entry in entries]


@pytest.fixture
def log(tmp_path):
    return AuditedLog(tmp_path / "site")


def sees(log, tmp_path, *entries, writer="w", damaged=()):
    """What is found in acts, each given as its number in `writer`, or as the body of a repair by the publisher."""
    findings = Findings()
    completeness = Completeness(findings, tmp_path / "spool", 2**60, damaged)
    own = 0
    for index, entry in enumerate(entries):
        envelope = log.envelope("change", {"act": "x"} if isinstance(entry, int) else entry)
        if isinstance(entry, int):
            envelope |= {"writer": writer, "seq": entry}
        else:
            envelope |= {"writer": "publisher", "seq": own}
            own += 1
        completeness.see(index, envelope)
    completeness.finish()
    return findings.sorted()


def repair(*lost, writer="w", count=None, rest_from=None, **more):
    count = sum(end - first for first, end in lost) if count is None else count
    body = {"act": "ledger.repair", "kept": "repair-x", "lost": [list(pair) for pair in lost], "lost_count": count}
    return body | ({} if writer is None else {"rest_from": rest_from, "writer": writer}) | more


def test_a_gap_that_no_repair_names_is_none_of_its(log, tmp_path):
    found = sees(log, tmp_path, 0, 3, 4, 9, repair((1, 2), (6, 8)))
    assert [(one.kind.code, one.index, one.detail.partition("lost: ")[2] or one.detail) for one in found] == [
        ("loss_told", 4, "numbers 1 to 1 of w"),
        ("loss_told", 4, "numbers 6 to 7 of w"),
        ("sequence_gap_relay", 1, "numbers 2 to 2 of w are missing"),
        ("sequence_gap_relay", 3, "numbers 5 to 5 of w are missing"),
        ("sequence_gap_relay", 3, "numbers 8 to 8 of w are missing"),
    ]


def test_a_repair_of_another_writer_explains_nothing(log, tmp_path):
    found = sees(log, tmp_path, 0, 3, repair((1, 3), writer="v"))
    assert sorted(codes(found)) == [("loss_told", 2), ("sequence_gap_relay", 1)]


def test_a_loss_that_is_none_is_found(log, tmp_path):
    """The claim reaches one number to the left and one to the right of what is missing."""
    found = sees(log, tmp_path, 0, 1, 4, 5, repair((1, 5)))
    assert [(one.kind.code, one.index, one.detail) for one in found if one.kind.code == "loss_false"] == [
        ("loss_false", 4, "numbers 1 to 1 of w are in the log"),
        ("loss_false", 4, "numbers 4 to 4 of w are in the log"),
    ]
    assert "lost: numbers 2 to 3 of w" in next(one.detail for one in found if one.kind.code == "loss_told")


def test_a_loss_named_where_nothing_is_missing_is_found(log, tmp_path):
    assert codes(sees(log, tmp_path, 0, 1, 2, repair((1, 2)))) == [("loss_false", 3)]


def test_entries_after_the_end_that_a_repair_saw_are_found(log, tmp_path):
    assert codes(sees(log, tmp_path, 0, 1, 2, repair(rest_from=2))) == [("loss_false", 3)]


def test_who_tells_of_a_repair_is_the_publisher(log, tmp_path):
    entry = log.envelope("change", repair((1, 2)))
    findings = Findings()
    found = Losses(findings)
    found.see(7, entry | {"writer": "w"})
    gaps = [Gap(3, "x", 1, 2)]
    assert found.explain("w", gaps, 9) == gaps
    assert codes(findings.kept) == [("loss_false", 7)]


@pytest.mark.parametrize(
    "body",
    [
        repair((2, 1), count=1),
        repair((0, 0)),
        repair((1, 3), (2, 4)),
        repair((1, 2), count=2),
        repair((1, 2), count=0),
        repair((1, 2), count="1"),
        repair((1, 2), rest_from="2"),
        repair((1, 2), rest_from=-1),
        repair((1, 2), writer=7),
        repair() | {"lost": [[1, 2, 3]]},
        repair() | {"lost": [["1", 2]]},
        repair() | {"lost": [[True, 2]]},
        repair() | {"lost": {}},
        repair(*((2 * n, 2 * n + 1) for n in range(RANGES_MAX + 1))),
    ],
)
def test_what_no_repair_writes_explains_nothing(log, tmp_path, body):
    found = sees(log, tmp_path, 0, 3, body)
    assert codes(found) == [("loss_false", 2), ("sequence_gap_relay", 1)]
    assert "can't be read" in found[0].detail


@pytest.mark.parametrize("named", [True, False])
def test_what_hangs_on_lost_entries_is_told_apart_too(log, tmp_path, named):
    log.create_key()
    log.request()
    lost = log.decision(log.arrival())
    retried = log.arrival()
    first, second = (log.decision(retried, attempt) for attempt in (1, 2))
    cut = log.arrival()
    third, fourth = (log.decision(cut, attempt) for attempt in (1, 2))
    twice = log.arrival()
    log.forge = lambda envelope: dropped(log, envelope, (2, 4, 5, 9))
    for entry in (
        lost, log.outcome(lost), first, log.outcome(first), second, log.outcome(second), third, log.outcome(third),
        fourth, log.outcome(fourth),
    ):  # fmt: skip
        log.write(entry)
    log.request(twice)
    log.write(again := log.decision(twice))  # nothing that is missing explains this
    log.write(log.outcome(again))
    given_ = [json.loads(entry) for entry in (*log.control.added, *log.gateway.added)]
    findings = Findings()
    completeness = Completeness(findings, tmp_path / "spool", 2**60)
    for index, envelope in enumerate(given_):
        completeness.see(index, envelope)
    if named:
        body = repair((2, 3), (4, 6), (9, 10), writer=log.gateway.name)
        completeness.see(len(given_), log.envelope("change", body) | {"writer": "publisher"})
    completeness.finish()
    found = [one.kind.code for one in findings.sorted()]
    odd = ["outcome_unexpected", "attempt_out_of_order", "attempt_out_of_order"]
    expected = ["loss_follows", "loss_told"] * 3 if named else [*odd, *["sequence_gap"] * 3]
    pending = ["outcome_pending"]  # of the attempt whose outcome was lost: the publisher has not closed it here
    assert sorted(found) == sorted([*expected, *pending, "attempt_out_of_order"])


def dropped(log, envelope, numbers):
    """The envelope, but for those of the gateway's with these numbers, whose numbers are used up all the same."""
    if envelope["writer"] == log.gateway.name and envelope["seq"] in numbers:
        log.gateway.seq += 1
        return None
    return envelope


@pytest.mark.parametrize(("counted", "unexplained"), [(2, [1]), (1, [1, 2 * RANGES_MAX + 5])])
def test_what_did_not_fit_into_the_entry_is_explained_by_its_count_and_no_further(log, tmp_path, counted, unexplained):
    numbers = range(0, 2 * RANGES_MAX + 8, 2)  # every other one is missing; the first is not of the repair
    named = [(number, number + 1) for number in range(3, 2 * RANGES_MAX + 3, 2)]
    found = sees(log, tmp_path, *numbers, repair(*named, count=len(named) + counted))
    told = [one.detail for one in found if one.kind.code == "loss_told"]
    assert len(told) == len(named) + counted
    assert told[len(named)].endswith(f"numbers {2 * RANGES_MAX + 3} to {2 * RANGES_MAX + 3} of w, by their count")
    missing = [one.detail for one in found if one.kind.code == "sequence_gap_relay"]
    assert missing == [f"numbers {number} to {number} of w are missing" for number in unexplained]


def test_beyond_the_gaps_that_are_kept_nothing_is_called_false(log, tmp_path):
    numbers = range(0, 2 * GAPS_KEPT_MAX + 10, 2)
    found = sees(log, tmp_path, *numbers, repair((2 * GAPS_KEPT_MAX + 3, 2 * GAPS_KEPT_MAX + 4)))
    assert "loss_false" not in {one.kind.code for one in found}


NUMBERS = st.sets(st.integers(0, 24), max_size=20)


def ranges_of(numbers):
    """The same as [first, end) pairs, cut at random lengths of up to 3."""
    pairs = []
    for number in sorted(numbers):
        if pairs and pairs[-1][1] == number and pairs[-1][1] - pairs[-1][0] < 3:
            pairs[-1] = (pairs[-1][0], number + 1)
        else:
            pairs.append((number, number + 1))
    return pairs


def numbers_in(details):
    """The numbers that details speak of."""
    found = re.findall(r"numbers (\d+) to (\d+)", " ".join(details))
    return {number for first, last in found for number in range(int(first), int(last) + 1)}


@given(NUMBERS, st.lists(NUMBERS, max_size=3))
def test_every_number_is_told_found_false_or_left_unexplained(missing, claims):
    findings = Findings()
    found = Losses(findings)
    ids = IdSource()
    for index, claim in enumerate(claims):
        body = repair(*ranges_of(claim))
        found.see(index, {"body": body, "id": ids.new(1_790_000_000_000_000), "writer": "publisher"})
    gaps = [Gap(0, "x", first, end) for first, end in ranges_of(missing)]
    unexplained = {number for gap in found.explain("w", gaps, 25) for number in range(gap.first, gap.end)}
    claimed = set().union(*claims)
    details = {code: [one.detail for one in findings.kept if one.kind.code == code] for code in findings.counts}
    assert unexplained == missing - claimed
    assert numbers_in(details.get("loss_told", ())) == missing & claimed
    assert numbers_in(details.get("loss_false", ())) == claimed - missing


def test_repairs_are_remembered_up_to_a_bound(log):
    found = Losses(Findings(), kept_max=3)
    for index in range(3):
        found.see(index, log.envelope("change", repair((index, index + 1))) | {"writer": "publisher"})
    assert [(gap.first, gap.end) for gap in found.explain("w", [Gap(9, "x", 0, 3)], 3)] == [(1, 3)]
