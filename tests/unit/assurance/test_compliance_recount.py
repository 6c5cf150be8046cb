"""The compliance view against a count by hand: each entry, each verdict, each policy, each fact, one after another.

Over logs of several snapshots (one is gone, one ends an exemption), retries, errors, masked forms, unknown facts.
"""

import json
import random
from collections import defaultdict

import msgspec
import pytest

from audited_log import FARAWAY, START_US, TOKYO, AuditedLog
from sekisho.app.compliance import ComplianceAsked, cell, compliance_of
from sekisho.assurance.compliance import DEFAULT, UNDECIDED, Fate, Span
from sekisho.catalog.interfaces import Grade, PolicyText
from sekisho.gateway.entries import DecisionEncoder
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.log_files import LogFiles
from sekisho.policy.interfaces import PrincipalInput
from sekisho.settings import DataDirectory
from support_decide import LABELS, catalogue, declared, deployment
from unit.assurance.test_exemption_audit import EXEMPTION

STEP_US = 1_000_000
UNTIL_US = START_US + 40 * STEP_US
HALF_KNOWN = deployment("half", processing=declared("JP"))  # nobody knows where it stores
NOWHERE = deployment("nowhere")
OWN = PolicyText(
    "policies/own.cedar",
    """
    @id("own.answers") @title("Answers are masked") @title_ja("回答を伏せる")
    forbid (principal, action == Action::"relayRaw", resource) when { context.class == DataClass::"internal" };
    @id("own.raw") @title("Restricted not as it is") @title_ja("制限は原文不可")
    forbid (principal, action == Action::"sendRaw", resource) when { context.class == DataClass::"restricted" };
    @id("own.storage") @title("Stored at home") @title_ja("国内に保存")
    forbid (principal, action, resource)
    when { context.class == DataClass::"confidential" && !context.home.containsAll(resource.storage) };
    """,
)
OF_ANSWERS, OF_RAW = "own.answers", "own.raw"
CALLERS = (
    *[PrincipalInput("key-1", "default", ("caller",))] * 4,
    PrincipalInput("key-2", "default", ("guest",)),
    PrincipalInput("key-3", "other", ("caller",)),
)
READS = {
    "jp-residency.my-number": ("processing",),
    "jp-residency.opaque": ("processing",),
    "jp-residency.processing": ("processing",),
    "jp-residency.storage": ("storage",),
    "own.storage": ("storage",),
}  # of the forbids that look at facts


def random_log(root, seed):
    """The log, and its snapshots that are still there: digest → (forbids, catalogue by name of deployment)."""
    chance = random.Random(seed)
    exempting = msgspec.structs.replace(EXEMPTION, until=UNTIL_US, deployments=("faraway", "nowhere"), labels=LABELS)
    first = msgspec.structs.replace(catalogue(FARAWAY, HALF_KNOWN, NOWHERE, TOKYO), exemptions=(exempting,))
    log = AuditedLog(root, first, (OWN,))
    known = {}

    def requests(count):
        digest = log.snapshot.digest
        forbids = [one.id for one in log.snapshot.decider.policies if one.effect == "forbid"]
        known[digest] = forbids, {one.name: one for one in log.store.catalogue(digest).deployments}
        for _ in range(count):
            log.clock.time_us += STEP_US
            found = tuple(sorted(chance.sample(LABELS, chance.choice((0, 0, 1, 2)))))
            log.request(
                data_class=chance.choice(
                    ("public", "internal", "internal", "confidential", "restricted", "undeclared")
                ),
                residency=chance.choice((("JP",), ("JP",), ("JP", "US"), ())),
                labels_raw=found,
                labels_redacted=tuple(label for label in found if chance.random() < 0.3),
                redactable=chance.random() < 0.7,
                failures=chance.choice((0, 0, 1)),
                principal=chance.choice(CALLERS),
            )

    requests(30)
    log.clock.time_us = UNTIL_US
    log.snapshot = log.store.load(log.snapshot.digest, log.clock.time_us)  # the same in its next epoch
    log.encoder = DecisionEncoder(log.snapshot.decider)
    requests(15)
    gone = log.install(catalogue(FARAWAY, TOKYO))
    requests(15)
    log.store.activate(log.install(catalogue(HALF_KNOWN, TOKYO), (OWN,)))
    requests(20)
    (root / "snapshots" / f"{gone}.json").unlink()
    del known[gone]
    log.publish()
    return log, known


def first_decisions(log):
    files = LogFiles(log.ledger)
    size = read_checkpoint(files.checkpoint()).size
    for leaf in range(size):
        entry = json.loads(files.entry(leaf, size))
        if entry["kind"] == "decision" and entry["body"]["attempt"] == 1:
            yield leaf, entry


def counted_by_hand(log, known, span):
    """(policy, deployment, fate) → the leaf of each verdict, and the totals."""
    found, totals = defaultdict(list), dict.fromkeys(("decisions", "sent", "denied", "exempt", "monitored"), 0)
    for leaf, entry in first_decisions(log):
        body = entry["body"]
        if entry["at"] < (span.since or 0) or (span.until is not None and entry["at"] >= span.until):
            continue
        totals["decisions"] += 1
        totals["sent" if body["chosen"] else "denied"] += 1
        forbids, deployments = known.get(body["input"]["snapshot"], ([], None))
        for group in body["candidates"]:
            reasons = [body["policies"][str(index)] for index in group["reasons"]]
            exempted = {body["policies"][str(index)] for index in group.get("exempted", [])}
            by = body["chosen"] or {}
            if exempted and (by.get("action"), by.get("deployment") in group["deployments"]) == (group["action"], True):
                totals["exempt"] += 1
            for name in group["deployments"]:
                if group["permitted"]:
                    asked = [one for one in forbids if one != OF_ANSWERS]
                    asked = [one for one in asked if one != OF_RAW or group["action"] == "sendRaw"]
                    for policy in [*reasons, *asked, *exempted]:
                        if policy not in exempted:
                            found[policy, name, Fate.PERMITTED].append(leaf)
                    for policy in exempted:
                        found[policy, name, Fate.EXEMPT].append(leaf)
                elif group["errors"]:
                    found[UNDECIDED, name, Fate.DENIED].append(leaf)
                elif not reasons:
                    found[DEFAULT, name, Fate.DENIED].append(leaf)
                else:
                    for policy in reasons:
                        facts = () if deployments is None else READS.get(policy, ())
                        lacks = any(deployments[name].facts[fact].grade == Grade.UNKNOWN for fact in facts)
                        found[policy, name, Fate.UNKNOWN if lacks else Fate.DENIED].append(leaf)
    return found, totals


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_number_is_that_of_a_count_by_hand_and_the_entries_behind_it_are_all_there(tmp_path, seed):
    log, known = random_log(tmp_path / "site", seed)
    directory, chance = DataDirectory(log.root), random.Random(seed)
    cut = chance.choice([entry["at"] for _, entry in first_decisions(log)])
    fates = set()
    for span in (Span(), Span(cut, None), Span(None, cut), Span(cut, cut + 20 * STEP_US), Span(cut, cut)):
        by_hand, totals = counted_by_hand(log, known, span)
        view = compliance_of(directory, ComplianceAsked(span))
        counts = {
            (row["policy"], row["deployment"], fate): row[str(fate)]
            for row in view["rows"]
            for fate in Fate
            if row[str(fate)]
        }
        assert counts == {key: len(leaves) for key, leaves in by_hand.items()}
        assert {name: view[name] for name in totals} == totals
        assert view["left_out"] == 0
        fates |= {fate for _, _, fate in counts}
    assert fates == set(Fate)
    assert view["snapshots_missing"] == 0  # of an empty span

    by_hand, _ = counted_by_hand(log, known, Span())
    for policy, name, fate in chance.sample(sorted(by_hand), 12):
        listed, after = [], -1
        while after is not None:
            page = compliance_of(directory, ComplianceAsked(Span(), cell(policy, name, fate), after, 7))
            listed += [entry["leaf"] for entry in page["entries"]]
            after = page["next"]
        assert listed == sorted(set(by_hand[policy, name, fate]))  # once, though it may be counted in two forms
