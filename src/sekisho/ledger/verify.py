"""Verifying a receipt, offline, from the file and what the reader trusts alone. Pure.

`verify_receipt` discharges these obligations, each marked in the code; the first that fails ends it. They are checked
in this order but for 11, which comes before 10. Their reason codes are in REASONS, and
`console/static/verify.js` discharges the same in the same order.

 1. The file is canonical JSON of the receipt's form: no unknown field, no second spelling of anything.
 2. If keys are pinned, the receipt's site key is one of them.
 3. The site key signed the enrolment, which names an origin and its log key.
 4. Every entry is an envelope in canonical form, of the receipt's request, all of one site; ids are unique.
 5. All proofs are against one checkpoint, which the enrolled log key signed for the enrolled origin.
 6. Every entry is included in the checkpoint's tree at its index, in the order of the receipt.
 7. Decisions are numbered 1, 2, … without a gap; a denial (nothing chosen) is the last; where an outcome names the
    decision of the next attempt (`next`), that is there.
 8. Every decision that chose has exactly one outcome after it, of the same attempt; a denial has none; no outcome
    stands alone; nothing but decisions and outcomes is in a receipt.
 9. Every commitment has its salt and every salt its commitment, and they fit.
10. Content that is given is what was committed to: what was received in every decision, the rest in the last entry
    that commits to it.
11. What a decision chose is permitted in it; or it says that monitor mode let it pass, and then nothing is permitted
    in it, and what was chosen is denied by policy and not for an error.
12. If a tlog-policy is given, every signature on the checkpoint of a log or witness that it lists verifies.
13. A log that the policy lists signed the checkpoint. A policy without logs leaves that to the pinned keys.
14. The witnesses that cosigned the checkpoint are a quorum of the policy.

What the caller still owes: to have the site key or the policy from a source it trusts; without a policy, to ask a
witness or a later checkpoint whether the log is the one everybody sees; to re-perform the decision if it wants to
know that it was right.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sekisho.kernel.notes import NoteVerifier, SignedNote
from sekisho.ledger.checkpoint import Checkpoint, open_checkpoint, open_enrolment
from sekisho.ledger.commitments import committed_fields, is_commitment, verify_content, verify_salt
from sekisho.ledger.errors import CheckpointInvalid, ProofInvalid, ReceiptInvalid
from sekisho.ledger.merkle import leaf_hash, verify_inclusion
from sekisho.ledger.receipts import Receipt, ReceiptEntry, parse_receipt
from sekisho.ledger.tlog_policy import Fulfilment, TlogPolicy

VERIFIED: Final = "verified"  # by a pinned site key, or by a log that the policy lists
CONSISTENT: Final = "consistent"  # all holds, but nothing pinned says whose it is
INVALID: Final = "invalid"  # ReceiptInvalid
UNMET: Final = "unmet"  # TlogPolicyUnmet: all holds, but it is not what the policy demands
REASONS: Final[Mapping[int, str]] = {
    1: "form",
    2: "site-key",
    3: "enrolment",
    4: "envelope",
    5: "checkpoint",
    6: "inclusion",
    7: "attempts",
    8: "outcomes",
    9: "commitments",
    10: "content",
    11: "choice",
    12: "signature",
    13: "log",
    14: "quorum",
}
DECISION: Final = "decision"
OUTCOME: Final = "outcome"
RECEIVED: Final = "received"
CONTENT_FIELDS: Final = (RECEIVED, "sent", "answer")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A decision's envelope and, unless it denied, its outcome's."""

    decision: Mapping[str, Any]
    outcome: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Verification:
    """What held. `verdict` is VERIFIED or CONSISTENT; `content` names the fields whose content was compared."""

    verdict: str
    request: str
    site_key: NoteVerifier
    checkpoint: Checkpoint
    attempts: tuple[Attempt, ...]
    content: tuple[str, ...]
    fulfilment: Fulfilment | None  # who met the policy; None without a policy


def verify_receipt(
    data: bytes,
    *,
    trusted: Iterable[NoteVerifier] = (),
    policy: TlogPolicy | None = None,
    content: Mapping[str, bytes] | None = None,
) -> Verification:
    """Verify a receipt file. Raises ReceiptInvalid, with the reason, unless obligations 1 to 12 are met.

    Raises TlogPolicyUnmet if those are met, but not 13 and 14: the receipt holds, and is not enough for the policy.

    `trusted` are pinned site keys. Without any, and without a log in the policy, the verdict is CONSISTENT.
    `content` maps `received`, `sent` or `answer` to the bytes in question.
    """
    with _obligation(1):
        receipt = parse_receipt(data)
    pinned = tuple(trusted)
    if pinned and receipt.site_key not in pinned:
        raise ReceiptInvalid(
            f"the receipt is of the site {receipt.site_key.name}, whose key is not among those you trust",
            remedy="Get the site's key (site.vkey) from the site itself, not from the receipt",
            reason=REASONS[2],
        )
    checkpoint = _verify_log(receipt)
    with _obligation(7):
        _verify_attempts(receipt.entries)
    with _obligation(8):
        attempts = _verify_outcomes(receipt.entries)
    with _obligation(9):
        for entry in receipt.entries:
            _verify_commitments(entry)
    with _obligation(11):
        for attempt in attempts:
            _require_permitted(attempt.decision["body"])
    compared = tuple(sorted(content)) if content else ()
    with _obligation(10):
        for field in compared:
            _verify_content(receipt.entries, field, (content or {})[field])
    fulfilment = _fulfil(policy, receipt) if policy else None
    verdict = VERIFIED if pinned or (fulfilment and fulfilment.logs) else CONSISTENT
    return Verification(verdict, receipt.request, receipt.site_key, checkpoint, attempts, compared, fulfilment)


@contextmanager
def _obligation(number: int) -> Iterator[None]:
    """What fails inside is this obligation."""
    try:
        yield
    except (CheckpointInvalid, ProofInvalid, ReceiptInvalid) as error:
        raise ReceiptInvalid(error.message, remedy=error.remedy, reason=REASONS[number]) from None


def _verify_log(receipt: Receipt) -> Checkpoint:
    with _obligation(3):
        enrolment = open_enrolment(receipt.enrolment, receipt.site_key)
    with _obligation(4):
        _verify_envelopes(receipt)
    with _obligation(5):
        note = receipt.entries[0].proof.checkpoint
        if any(entry.proof.checkpoint != note for entry in receipt.entries):
            raise ReceiptInvalid("the proofs are against different checkpoints")
        checkpoint = open_checkpoint(note, enrolment.log)
    before = -1
    with _obligation(6):
        for entry in receipt.entries:
            if entry.proof.index <= before:
                raise ReceiptInvalid("the entries are not in the log's order")
            before = entry.proof.index
            verify_inclusion(before, checkpoint.size, leaf_hash(entry.leaf), entry.proof.hashes, checkpoint.root)
    return checkpoint


def _fulfil(policy: TlogPolicy, receipt: Receipt) -> Fulfilment:
    with _obligation(12):
        fulfilment = policy.signers(SignedNote.parse(receipt.entries[0].proof.checkpoint))
    policy.require_log(fulfilment)  # obligation 13
    policy.require_quorum(fulfilment)  # obligation 14
    return fulfilment


def _verify_envelopes(receipt: Receipt) -> None:
    """Obligation 4; the form itself was checked on parsing."""
    ids = {entry.envelope["id"] for entry in receipt.entries}
    if len(ids) != len(receipt.entries):
        raise ReceiptInvalid("an entry stands in the receipt twice")
    for entry in receipt.entries:
        if entry.envelope.get("request") != receipt.request:
            raise ReceiptInvalid("an entry belongs to another request")
        if entry.envelope["site"] != receipt.entries[0].envelope["site"]:
            raise ReceiptInvalid("the entries are of different sites")


def _verify_attempts(entries: Sequence[ReceiptEntry]) -> None:
    """Obligation 7."""
    decided, denied = 0, False
    decisions = {entry.envelope["id"]: entry.envelope for entry in entries if entry.envelope["kind"] == DECISION}
    for entry in entries:
        body = entry.envelope["body"]
        attempt = body.get("attempt")
        if not isinstance(attempt, int) or isinstance(attempt, bool):
            raise ReceiptInvalid("an entry does not say which attempt it is of")
        if entry.envelope["kind"] != DECISION:
            if "next" in body and not _is_attempt(decisions, body["next"], attempt + 1):
                raise ReceiptInvalid(f"attempt {attempt + 1}, which followed, is missing")
            continue
        if denied:
            raise ReceiptInvalid("something was decided after a denial")
        decided += 1
        if attempt != decided:
            raise ReceiptInvalid(f"attempt {decided} is missing")
        denied = _require_chosen(body)


def _is_attempt(decisions: Mapping[str, Mapping[str, Any]], identifier: object, attempt: int) -> bool:
    decision = decisions.get(identifier) if isinstance(identifier, str) else None
    return decision is not None and decision["body"].get("attempt") == attempt


def _verify_outcomes(entries: Sequence[ReceiptEntry]) -> tuple[Attempt, ...]:
    """Obligation 8."""
    decisions: dict[str, Mapping[str, Any]] = {}
    outcomes: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        envelope, body = entry.envelope, entry.envelope["body"]
        if envelope["kind"] == DECISION:
            decisions[envelope["id"]] = envelope
            continue
        if envelope["kind"] != OUTCOME:
            raise ReceiptInvalid(f"an entry of the kind {envelope['kind'][:40]!r} does not belong in a receipt")
        decision = decisions.get(body["decision"]) if isinstance(body.get("decision"), str) else None
        if decision is None or decision["body"]["attempt"] != body["attempt"]:
            raise ReceiptInvalid("an outcome has no decision before it")
        if decision["body"]["chosen"] is None or decision["id"] in outcomes:
            raise ReceiptInvalid("a denial has an outcome, or a decision has two")
        outcomes[decision["id"]] = envelope
    for identifier, decision in decisions.items():
        if decision["body"]["chosen"] is not None and identifier not in outcomes:
            raise ReceiptInvalid(f"attempt {decision['body']['attempt']} has no outcome")
    return tuple(Attempt(decision, outcomes.get(identifier)) for identifier, decision in decisions.items())


def _require_chosen(body: Mapping[str, Any]) -> bool:
    """Whether the decision denies. Raises ReceiptInvalid unless `chosen` is null or says what was chosen."""
    if "chosen" not in body:
        raise ReceiptInvalid("a decision does not say what was chosen")
    chosen = body["chosen"]
    if chosen is None:
        return True
    if not isinstance(chosen, dict) or not all(
        isinstance(chosen.get(field), str) and chosen[field] for field in ("action", "deployment")
    ):
        raise ReceiptInvalid("a decision does not say what was chosen")
    return False


def _require_permitted(body: Mapping[str, Any]) -> None:
    """Obligation 11. Raises ReceiptInvalid."""
    chosen, candidates, monitored = body["chosen"], body.get("candidates"), body.get("monitored", False)
    if not isinstance(candidates, list) or not isinstance(monitored, bool):
        raise ReceiptInvalid("a decision's candidates are not a list, or it does not say whether it was monitored")
    groups = [group for group in candidates if isinstance(group, dict)]
    if chosen is None:
        if monitored:
            raise ReceiptInvalid("a denial says that monitor mode let it pass")
        return
    verdicts = [
        group
        for group in groups
        if group.get("action") == chosen["action"] and chosen["deployment"] in _texts(group.get("deployments"))
    ]
    if len(verdicts) != 1:
        raise ReceiptInvalid("what was chosen is not among the decision's candidates")
    if not monitored:
        if verdicts[0].get("permitted") is not True:
            raise ReceiptInvalid("what was chosen was not permitted, and nothing says that it was monitored")
    elif any(group.get("permitted") is True for group in groups) or verdicts[0].get("errors") != []:
        raise ReceiptInvalid("monitor mode let pass what it may not")


def _texts(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _verify_commitments(entry: ReceiptEntry) -> None:
    """Obligation 9."""
    body = entry.envelope["body"]
    for field in CONTENT_FIELDS:
        if body.get(field) is not None and not is_commitment(body[field]):
            raise ReceiptInvalid(f"{field} is not a commitment")
    if entry.envelope["kind"] == DECISION and body.get(RECEIVED) is None:
        raise ReceiptInvalid("a decision does not commit to what was received")
    if sorted(entry.salts) != committed_fields(body):
        raise ReceiptInvalid("the salts are not those of the entry's commitments")
    for field, salt in entry.salts.items():
        verify_salt(body[field], salt)


def _verify_content(entries: Sequence[ReceiptEntry], field: str, content: bytes) -> None:
    """Obligation 10."""
    holders = [entry for entry in entries if field in entry.salts]
    if field not in CONTENT_FIELDS or not holders:
        raise ReceiptInvalid(f"the receipt commits to no content named {field!r}")
    for entry in holders if field == RECEIVED else holders[-1:]:
        try:
            verify_content(entry.envelope["body"][field], entry.salts[field], content)
        except ReceiptInvalid:
            raise ReceiptInvalid(f"the content given as {field} is not what was committed to") from None
