"""What a verifier says of a receipt under a tlog-policy, and the code of the obligation that fails."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from ledger_fakes import World
from receipt_corpus import (
    COSIGNED_AT,
    ENTRY_CHANGES,
    FILE_CHANGES,
    altered,
    changed,
    cosigned,
    policy,
    policy_cases,
    receipt_of,
    recorded,
    strays,
    verdict_of,
    with_note,
)

from sekisho import console
from sekisho.ledger.description import (
    ENGLISH,
    JAPANESE,
    OBLIGATIONS,
    describe,
    describe_failure,
    failure_summary,
    summary,
)
from sekisho.ledger.errors import ReceiptInvalid, TlogPolicyUnmet
from sekisho.ledger.verify import REASONS
from sekisho.verifier import NoteError, TlogPolicyInvalid, verify


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("policy") / "ledger")


@pytest.fixture(scope="module")
def made(world):
    request, entries = recorded(world, failures=1)
    return request, entries, receipt_of(world, entries, request=request)


def test_a_policy_with_a_log_pins_the_signer_and_one_without_leaves_it_open(world, made):
    _, _, data = made
    log, site = world.log_key.verifier, world.site_key.verifier
    listed, open_ended = policy(log, quorum="a"), policy(quorum="a")
    good = cosigned(data, "a")
    assert verdict_of(good, policy=listed) == ("verified", "")
    assert verdict_of(good, policy=open_ended) == ("consistent", "")
    assert verdict_of(good, [site.vkey], policy=open_ended) == ("verified", "")
    assert verdict_of(data, [site.vkey], policy=open_ended) == ("unmet", "quorum")
    assert verdict_of(good, policy=policy(site, quorum="a")) == ("unmet", "log")
    assert verdict_of(good, [log.vkey], policy=listed) == ("invalid", "site-key")


@pytest.mark.parametrize("time", [0, 2**53 + 1, 2**63 - 1])
@pytest.mark.parametrize("language", [ENGLISH, JAPANESE])
def test_a_cosignature_of_any_time_can_be_told(world, made, time, language):
    data = cosigned(made[2], "a", time=time)
    found = verify(data, policy=policy(world.log_key.verifier, quorum="a"))
    assert "a (" in describe(found, language)
    assert json.loads(json.dumps(summary(found)))["policy"]["cosignatures"] == {"a": time}


def test_a_policy_can_not_save_a_receipt_that_does_not_hold(world, made):
    request, entries, data = made
    permissive = policy(world.log_key.verifier, quorum="none")
    wrong = receipt_of(world, entries[:3], request=request)
    assert verdict_of(wrong, policy=permissive) == ("invalid", "outcomes")
    assert verdict_of(cosigned(data, "a")[:-1], policy=permissive) == ("invalid", "form")


def test_a_witness_whose_cosignature_fails_refuses_the_receipt_though_the_quorum_is_there(world, made):
    data = strays(cosigned(made[2], "a"), "b")
    assert verdict_of(data, policy=policy(quorum="a", names="a"))[0] == "consistent"  # b is nobody that we know
    assert verdict_of(data, policy=policy(quorum="a", names="ab")) == ("invalid", "signature")


def test_the_corpus_of_policies_holds_every_verdict(world, made):
    said = Counter(verdict_of(data, policy=text) for data, text in policy_cases(made[2], world))
    assert set(said) == {
        ("verified", ""), ("consistent", ""), ("unmet", "log"), ("unmet", "quorum"), ("invalid", "signature"),
        ("invalid", "checkpoint"), ("unusable", "policy"),
    }  # fmt: skip
    assert said["unusable", "policy"] == 18


REASON_OF = {
    "the last attempt cut off": "attempts", "another attempt named as next": "attempts",
    "next of another type": "attempts", "next of the last": "attempts",
    "a gap in the attempts": "attempts", "no outcome": "outcomes", "no decision": "outcomes",
    "two outcomes": "outcomes", "an entry twice": "envelope", "another request": "envelope",
    "another site": "envelope", "another kind": "outcomes", "outcome of a denial": "outcomes",
    "decided after a denial": "attempts", "chosen left out": "attempts", "attempt of another type": "attempts",
    "nothing received": "commitments", "no commitment": "commitments",
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRY_CHANGES)
def test_the_reason_names_the_obligation(world, made, name):
    request, entries, _ = made
    data = receipt_of(world, ENTRY_CHANGES[name][0](entries), request=request)
    assert verdict_of(data) == ("invalid", REASON_OF[name])


def test_every_reason_occurs(world, made):
    request, entries, data = made
    site, log = world.site_key.verifier, world.log_key.verifier
    forbidden = altered(entries[0], lambda e: e["body"]["candidates"].clear())
    found = {verdict_of(data, content={"sent": b"other"}), verdict_of(data, [log.vkey])}
    found.add(verdict_of(receipt_of(world, [forbidden, *entries[1:]], request=request)))
    found |= {verdict_of(changed(data, change)) for change in FILE_CHANGES.values()}
    found |= {verdict_of(receipt_of(world, c(entries), request=request)) for c, _ in ENTRY_CHANGES.values()}
    found.add(verdict_of(with_note(data, lambda note: note.replace("\n4\n", "\n5\n"))))
    found |= {verdict_of(d, [site.vkey], policy=text) for d, text in policy_cases(data, world)}
    assert {reason for _, reason in found} == {*REASONS.values(), "policy", ""}


def test_every_changed_byte_of_a_cosigned_receipt_fails(world, made):
    good, demanded = cosigned(made[2], "a", "b"), policy(world.log_key.verifier, quorum="abc")
    site = [world.site_key.verifier.vkey]
    assert verdict_of(good, site, demanded) == ("verified", "")
    for offset in range(len(good)):
        bit = 0x20 if offset % 7 == 0 else 0x01  # the letters' case, or their last bit
        other = good[:offset] + bytes([good[offset] ^ bit]) + good[offset + 1 :]
        assert verdict_of(other, site, demanded)[0] in ("invalid", "unmet"), offset


def test_what_was_met_is_told(world, made):
    found = verify(cosigned(made[2], "a", "b"), policy=policy(world.log_key.verifier, quorum="abc"))
    assert summary(found)["policy"] == {
        "cosignatures": {"a": COSIGNED_AT, "b": COSIGNED_AT},
        "logs": [world.log_key.verifier.vkey],
    }
    assert summary(verify(made[2]))["policy"] is None
    english, japanese = describe(found), describe(found, JAPANESE)
    assert "policy: met; signed by a log that it lists; cosigned by: a (2026-09-21 14:15:00 UTC), b (" in english
    assert "連署した証人: a (" in japanese


def test_a_failure_is_told_in_both_languages(world, made):
    with pytest.raises(TlogPolicyUnmet) as unmet:
        verify(made[2], policy=policy(quorum="a"))
    with pytest.raises(ReceiptInvalid) as invalid:
        verify(made[2] + b"\n")
    assert describe_failure(unmet.value).startswith("HOLDS, BUT IS NOT WHAT THE POLICY DEMANDS: ")
    assert "(quorum)" in describe_failure(unmet.value)
    assert "ファイルは正規形の受領証である (form)" in describe_failure(invalid.value, JAPANESE)
    assert failure_summary(unmet.value)["verdict"] == "unmet"
    assert failure_summary(invalid.value)["reason"] == "form"


def test_malformed_trust_is_an_error_of_its_own(made):
    with pytest.raises(NoteError):
        verify(made[2], site_keys=["no key"])
    with pytest.raises(TlogPolicyInvalid, match="line 1"):
        verify(made[2], policy=b"no policy")


def test_the_browsers_words_for_the_obligations_are_these():
    text = (Path(console.__file__).parent / "static" / "verify.js").read_text(encoding="utf-8")
    found = re.findall(r'\{ number: (\d+), code: "([^"]+)", en: "([^"]+)", ja: "([^"]+)" \}', text)
    assert found == [(str(n), REASONS[n], *OBLIGATIONS[n]) for n in sorted(REASONS)]
