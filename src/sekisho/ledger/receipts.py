"""The receipt file: a request's entries with their proofs, the salts of their commitments, and the log's enrolment.

Canonical JSON, no unknown fields, canonical base64:
`{"enrolment":note,"entries":[{"entry":{…},"proof":tlog-proof,"salts":{field:base64}}…],"format":…,"request":id,
"site_key":vkey}`. The canonical bytes of each `entry` are the log's leaf.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError, NoteError
from sekisho.kernel.notes import NoteVerifier, decode_base64
from sekisho.ledger import envelope as envelopes
from sekisho.ledger.checkpoint import EntryProof
from sekisho.ledger.commitments import committed_fields, salt, verify_salt
from sekisho.ledger.errors import CheckpointInvalid, EnvelopeInvalid, ReceiptInvalid
from sekisho.ledger.interfaces import ENTRY_BYTES_MAX, ProvenEntry

FORMAT: Final = "sekisho.receipt/1"
ENTRIES_MAX: Final = 256  # as many as a reader of the log would prove
RECEIPT_BYTES_MAX: Final = 32 << 20  # 256 entries of 64 KiB, with proofs and escapes
BRACKETS_MAX: Final = 1 << 20  # thousands for each entry, which has dozens; each may cost a reader a hundred bytes
_FIELDS: Final = frozenset({"enrolment", "entries", "format", "request", "site_key"})
_ENTRY_FIELDS: Final = frozenset({"entry", "proof", "salts"})


@dataclass(frozen=True, slots=True)
class ReceiptEntry:
    """An entry as it stands in a receipt: its leaf's bytes, its envelope, its proof, the salts by field."""

    leaf: bytes
    envelope: Mapping[str, Any]
    proof: EntryProof
    salts: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt taken apart; nothing in it is verified yet."""

    request: str
    site_key: NoteVerifier
    enrolment: str
    entries: tuple[ReceiptEntry, ...]


def build_receipt(
    request: str, site_key: NoteVerifier, enrolment: str, entries: Sequence[ProvenEntry], organisation_key: bytes
) -> bytes:
    """The receipt file for `request`. Raises ReceiptInvalid if the key is not the one the entries committed with."""
    parts = []
    for proven in entries:
        envelope = envelopes.parse(proven.entry)
        salts = {}
        for field in committed_fields(envelope["body"]):
            value = salt(organisation_key, envelope["id"], field)
            verify_salt(envelope["body"][field], value)
            salts[field] = base64.b64encode(value).decode()
        parts.append({"entry": envelope, "proof": proven.proof, "salts": salts})
    return canonical.encode(
        {"enrolment": enrolment, "entries": parts, "format": FORMAT, "request": request, "site_key": site_key.vkey}
    )


def parse_receipt(data: bytes) -> Receipt:
    """Take a receipt file apart. Raises ReceiptInvalid for anything that is not exactly of the form above."""
    if len(data) > RECEIPT_BYTES_MAX:
        raise ReceiptInvalid(f"the file is larger than {RECEIPT_BYTES_MAX >> 20} MiB")
    if data.count(b"[") + data.count(b"{") > BRACKETS_MAX:
        raise ReceiptInvalid("the file is not a receipt: it holds too many arrays and objects")
    try:
        value = canonical.decode(data)
    except CanonicalError as error:
        raise ReceiptInvalid(f"the file is not a receipt: {error.message}") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ReceiptInvalid(f"the file is not a receipt of the form {FORMAT}")
    _require_fields(value, _FIELDS, "the receipt")
    entries = value["entries"]
    if not isinstance(entries, list) or not 0 < len(entries) <= ENTRIES_MAX:
        raise ReceiptInvalid(f"a receipt holds 1 to {ENTRIES_MAX} entries")
    vkey = _text(value["site_key"], "site_key")
    try:
        site_key = NoteVerifier.parse(vkey)
        if site_key.vkey != vkey:
            raise ReceiptInvalid("the site key is not in its one form")
        return Receipt(
            _text(value["request"], "request"),
            site_key,
            _text(value["enrolment"], "enrolment"),
            tuple(map(_parse_entry, entries)),
        )
    except (NoteError, CheckpointInvalid, EnvelopeInvalid) as error:
        raise ReceiptInvalid(error.message, remedy=error.remedy) from None


def _parse_entry(value: object) -> ReceiptEntry:
    if not isinstance(value, dict):
        raise ReceiptInvalid("an entry of the receipt is not an object")
    _require_fields(value, _ENTRY_FIELDS, "an entry of the receipt")
    if not isinstance(value["salts"], dict):
        raise ReceiptInvalid("salts are not an object")
    leaf = canonical.encode(value["entry"])
    if len(leaf) > ENTRY_BYTES_MAX:
        raise ReceiptInvalid(f"an entry is larger than {ENTRY_BYTES_MAX} bytes")
    envelopes.require(value["entry"])
    salts = {field: decode_base64(_text(text, "a salt")) for field, text in value["salts"].items()}
    return ReceiptEntry(leaf, value["entry"], EntryProof.parse(_text(value["proof"], "proof")), salts)


def _require_fields(value: Mapping[str, object], fields: frozenset[str], what: str) -> None:
    if value.keys() != fields:
        odd = ", ".join(sorted(value.keys() ^ fields))
        raise ReceiptInvalid(f"{what} lacks or should not have: {odd[:200]}")


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ReceiptInvalid(f"{what} is not a text")
    return value
