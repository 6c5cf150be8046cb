"""Approvals: k-of-n signatures by enrolled persons' keys over the bytes of one act, checked anywhere, by file. Pure.

A file is canonical JSON, `{"act": {…}, "format": "sekisho.approval/1", "signatures": [{as, key, signature}…]}`, and its
bytes equal their re-serialisation. `key` is an Ed25519 public key in hex, `signature` base64. What is signed is a line
that says in which capacity (asker or approver) and the act's canonical bytes, so that no signature can be moved from
one capacity to the other. The asker signs too: nobody can ask in another's name and then approve it.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sekisho.identity.acts import KEY, Act, read_act
from sekisho.identity.errors import (
    ApprovalBadSignature,
    ApprovalExpired,
    ApprovalForAnother,
    ApprovalInsufficient,
    ApprovalMalformed,
    ApprovalMissing,
    ApprovalNotAsked,
    ApprovalRefused,
)
from sekisho.identity.interfaces import PersonKey
from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError, NoteError
from sekisho.kernel.notes import decode_base64

if TYPE_CHECKING:  # checking an approval needs no more than `cryptography`
    from sekisho.catalog.interfaces import ApprovalRule

FORMAT: Final = "sekisho.approval/1"
ASKER: Final = "asker"
APPROVER: Final = "approver"
CAPACITIES: Final = (APPROVER, ASKER)
SIGNATURES_MAX: Final = 64  # more than any rule asks for; all stand in one entry of the ledger
FILE_BYTES_MAX: Final = 65_536
SKEW_US: Final = 300 * 1_000_000  # how far ahead the asker's clock may be of ours
_SIGNATURE_BYTES: Final = 64
_FIELDS: Final = frozenset({"as", "key", "signature"})


class Signature(NamedTuple):
    capacity: str  # ASKER or APPROVER
    key: str  # the public key in hex
    signature: str  # base64


@dataclass(frozen=True, slots=True)
class Approval:
    """An act with what was signed of it; signatures sorted, each of them good. Whose the keys are is not known here."""

    act: Act
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The file's bytes."""
        return canonical.encode(
            {"act": self.act.as_object(), "format": FORMAT, "signatures": _as_objects(self.signatures)}
        )


class Approved(NamedTuple):
    """An approval that was found good: what counted, for the entry of the act."""

    act: Act
    asker: Signature
    approvals: tuple[Signature, ...]  # of distinct persons, by key
    needed: int

    def record(self, snapshot: str) -> dict[str, Any]:
        """What the entry of the act tells under `approval`; `snapshot` is the one whose rules demanded it."""
        return {
            "act": self.act.as_object(),
            "needed": self.needed,
            "signatures": _as_objects((*self.approvals, self.asker)),
            "snapshot": snapshot,
        }


class Wanted(NamedTuple):
    """What is about to be done, and where."""

    act: str
    parameters: Mapping[str, str]
    origin: str


def signed(act: Act, capacity: str, key: Ed25519PrivateKey) -> Signature:
    """A person's signature of an act."""
    signature = key.sign(_signed_bytes(act, capacity))
    return Signature(capacity, key.public_key().public_bytes_raw().hex(), base64.b64encode(signature).decode())


def with_signature(approval: Approval, signature: Signature) -> Approval:
    """The same with one signature more. Raises ApprovalRefused if the key has signed already."""
    if any(known.key == signature.key for known in approval.signatures):
        raise ApprovalRefused("this key has signed already", remedy="Another person's approval is needed")
    return _checked(approval.act, (*approval.signatures, signature))


def read_approval(data: bytes) -> Approval:
    """Read a file. Raises ApprovalMalformed, and ApprovalBadSignature if any signature is not of its key."""
    if len(data) > FILE_BYTES_MAX:
        raise ApprovalMalformed(f"the approval is larger than {FILE_BYTES_MAX} bytes")
    try:
        value = canonical.decode(data)
    except CanonicalError as error:
        raise ApprovalMalformed(f"the approval is not canonical JSON: {error.message}") from None
    if not isinstance(value, dict) or value.keys() != {"act", "format", "signatures"} or value["format"] != FORMAT:
        raise ApprovalMalformed(f"this is not an approval of the format {FORMAT}")
    return _read(value)


def approval_of_record(record: Mapping[str, Any]) -> Approval:
    """The approval in an entry's `approval`, its signatures verified: what an audit begins with. Raises the same."""
    if not isinstance(record, dict) or record.keys() != {"act", "needed", "signatures", "snapshot"}:
        raise ApprovalMalformed("the entry's approval lacks a field or has one too many")
    return _read(record)


def combined(approvals: Sequence[Approval]) -> Approval:
    """One approval out of copies that different persons signed. Raises ApprovalForAnother for two different acts."""
    first = approvals[0]
    if any(other.act.encode() != first.act.encode() for other in approvals[1:]):
        raise ApprovalForAnother("the files approve different acts", remedy="Give copies of one file only")
    return _checked(first.act, sorted({signature for approval in approvals for signature in approval.signatures}))


def require_approval(
    wanted: Wanted,
    approvals: Sequence[Approval],
    rules: Iterable["ApprovalRule"],
    persons: Iterable[PersonKey],
    *,
    now_us: int,
) -> Approved | None:
    """What approves the act, or None if no rule demands anything. Raises ApprovalMissing or an ApprovalRefused.

    1. It is for this act, with these parameters, in this installation.
    2. It is in force: asked for, not over, and not valid for longer than the rule allows.
    3. Whoever asked is enrolled, and signed.
    4. As many persons as the rule says approve it: enrolled now, named by the rule, each counted once however many
       keys or signatures they have, the asker never.
    The caller owes: that the act's id was not used before, in one transaction with the act itself.
    """
    rule = next((rule for rule in rules if rule.act == wanted.act), None)
    if rule is None:
        if approvals:
            raise ApprovalForAnother(
                f"nothing demands an approval of {wanted.act}", remedy="Leave it out, or declare a rule first"
            )
        return None
    if not approvals:
        raise ApprovalMissing(
            f"{wanted.act} needs the approval of {rule.needed} of {', '.join(rule.approvers)}",
            remedy=f"Ask for it: {_asking(wanted)}",
        )
    approval = combined(approvals)
    _require_same(wanted, approval.act)
    _require_in_force(approval.act, rule.valid_hours, now_us)
    live = {one.key: one.person for one in persons if one.retired_at is None or one.retired_at > now_us}
    asker = _asker(approval, live)
    counted: dict[str, Signature] = {}
    for signature in approval.signatures:
        person = live.get(signature.key)
        if signature.capacity == APPROVER and person in rule.approvers and person != approval.act.asked_by:
            counted.setdefault(person, signature)
    if len(counted) < rule.needed:
        raise ApprovalInsufficient(
            f"{len(counted)} of the {rule.needed} approvals that {wanted.act} needs are there",
            remedy=f"Let more of {', '.join(rule.approvers)} sign it; whoever asks, or is not enrolled, doesn't count",
        )
    return Approved(approval.act, asker, tuple(sorted(counted.values())), rule.needed)


def _asking(wanted: Wanted) -> str:
    words = " ".join(f"{name}={text}" for name, text in sorted(wanted.parameters.items()))
    return f"sekisho approvals ask {wanted.act} {words} --by PERSON --out FILE"


def _require_same(wanted: Wanted, act: Act) -> None:
    if act.act != wanted.act or dict(act.parameters) != dict(wanted.parameters):
        raise ApprovalForAnother(
            f"the approval is for another act ({act.act})", remedy="`sekisho approvals show FILE` tells which"
        )
    if act.origin != wanted.origin:
        raise ApprovalForAnother(f"the approval is for another installation ({act.origin}), not for {wanted.origin}")


def _require_in_force(act: Act, valid_hours: int, now_us: int) -> None:
    if now_us >= act.valid_until:
        raise ApprovalExpired("the approval is over", remedy="Ask again")
    if act.asked_at > now_us + SKEW_US:
        raise ApprovalExpired("the approval was asked for in the future", remedy="Look at the clocks, then ask again")
    if act.valid_until - act.asked_at > valid_hours * 3_600_000_000:
        raise ApprovalExpired(f"the approval is valid for longer than {valid_hours} hours", remedy="Ask for less")


def _asker(approval: Approval, live: Mapping[str, str]) -> Signature:
    for signature in approval.signatures:
        if signature.capacity == ASKER and live.get(signature.key) == approval.act.asked_by:
            return signature
    raise ApprovalNotAsked(
        f"{approval.act.asked_by} is not enrolled, or did not sign the asking",
        remedy="`sekisho persons list` shows who is enrolled",
    )


def _read(value: Mapping[str, Any]) -> Approval:
    rows = value["signatures"]
    if not isinstance(rows, list) or len(rows) > SIGNATURES_MAX:
        raise ApprovalMalformed(f"the signatures are no list of at most {SIGNATURES_MAX}")
    return _checked(read_act(value["act"]), [_read_signature(row) for row in rows], as_written=True)


def _read_signature(row: object) -> Signature:
    if not isinstance(row, dict) or row.keys() != _FIELDS or row["as"] not in CAPACITIES:
        raise ApprovalMalformed("a signature lacks a field or has one too many")
    if not all(isinstance(row[name], str) for name in _FIELDS) or KEY.fullmatch(row["key"]) is None:
        raise ApprovalMalformed("a signature's key is none")
    return Signature(row["as"], row["key"], row["signature"])


def _checked(act: Act, signatures: Iterable[Signature], *, as_written: bool = False) -> Approval:
    """Every signature verified and every key once, in the one order that a file has."""
    given = tuple(signatures)
    ordered = tuple(sorted(given))
    if len({signature.key for signature in ordered}) != len(ordered) or (as_written and given != ordered):
        raise ApprovalMalformed("a key stands there twice, or the signatures are not sorted")
    if len(ordered) > SIGNATURES_MAX:
        raise ApprovalMalformed(f"more than {SIGNATURES_MAX} signatures")
    for signature in ordered:
        _verify(act, signature)
    return Approval(act, ordered)


def _verify(act: Act, signature: Signature) -> None:
    try:
        data = decode_base64(signature.signature)
    except NoteError as error:
        raise ApprovalMalformed(f"a signature is {error.message}") from None
    if len(data) != _SIGNATURE_BYTES:
        raise ApprovalMalformed(f"a signature that is not {_SIGNATURE_BYTES} bytes long")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(signature.key))
        key.verify(data, _signed_bytes(act, signature.capacity))
    except (InvalidSignature, ValueError):
        raise ApprovalBadSignature(
            f"the signature of {signature.key[:16]}… is not of these bytes",
            remedy="The act or the signature was changed after signing: ask again",
        ) from None


def _signed_bytes(act: Act, capacity: str) -> bytes:
    return f"{FORMAT} {capacity}\n".encode() + act.encode()


def _as_objects(signatures: Iterable[Signature]) -> list[dict[str, str]]:
    return [{"as": one.capacity, "key": one.key, "signature": one.signature} for one in sorted(signatures)]
