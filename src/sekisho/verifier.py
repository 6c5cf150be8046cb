"""Verifying receipts from a program of your own: one function, one result. Pure; needs `cryptography` alone.

    from sekisho.verifier import ReceiptInvalid, TlogPolicyUnmet, verify

    try:
        found = verify(receipt, site_keys=[site_vkey], policy=policy_file)
    except ReceiptInvalid as error:  # it does not hold: error.reason is a code, error.message says why
        ...
    except TlogPolicyUnmet as error:  # it holds, but lacks a log's signature or witnesses: fetch it again later
        ...
    found.verdict  # VERIFIED; or CONSISTENT, if neither a site key nor a log of a policy says whose receipt it is

The obligations that are checked, their reason codes, and what is left to the caller stand in `sekisho.ledger.verify`
and in docs/auditors.md.
"""

from collections.abc import Iterable, Mapping

from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger.errors import ReceiptInvalid, TlogPolicyInvalid, TlogPolicyUnmet
from sekisho.ledger.tlog_policy import parse_policy
from sekisho.ledger.verify import CONSISTENT, VERIFIED, Attempt, Verification, verify_receipt

__all__ = [
    "CONSISTENT",
    "VERIFIED",
    "Attempt",
    "NoteError",
    "ReceiptInvalid",
    "TlogPolicyInvalid",
    "TlogPolicyUnmet",
    "Verification",
    "verify",
]


def verify(
    receipt: bytes,
    *,
    site_keys: Iterable[str] = (),
    policy: bytes | None = None,
    content: Mapping[str, bytes] | None = None,
) -> Verification:
    """Verify a receipt, and return what it proves.

    - `receipt`: the file, exactly as it was fetched.
    - `site_keys`: the sites that you trust, as vkeys (the text of their `site.vkey`), from a source of your own.
    - `policy`: the octets of a C2SP tlog-policy file: which logs, and how many witnesses, you demand.
    - `content`: bytes to compare with what the receipt commits to, by field: `received`, `sent` or `answer`.

    Raises ReceiptInvalid if the receipt does not hold, TlogPolicyUnmet if it holds and is not what the policy
    demands; NoteError and TlogPolicyInvalid for a site key and a policy that are malformed.
    """
    trusted = [NoteVerifier.parse(vkey) for vkey in site_keys]
    parsed = None if policy is None else parse_policy(policy)
    return verify_receipt(receipt, trusted=trusted, policy=parsed, content=content)
