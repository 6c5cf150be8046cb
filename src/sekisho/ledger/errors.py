"""What can go wrong in the ledger.

LedgerError
├── LedgerFull            no room to record: nothing was appended, so nothing may be sent
├── EntryTooLarge         an entry beyond ENTRY_BYTES_MAX
├── CommitmentKeyForgotten  the key that content of an organisation is committed with was destroyed
├── CommitmentKeyMissing    it is not there, and was not destroyed by us
├── WriteAheadDamaged     a write-ahead log that lost bytes which had been synced
├── LogHalted             the log may not go on: going on could sign two histories, or lose entries
├── LedgerFormatError     files on disk in a format that this version does not read
├── LogUnreadable         the published log can't be read just now, or a part of it is missing
├── SourceUnavailable     a log elsewhere that does not answer: an audit of it breaks off
│   └── SourceRefused         it answers, and does not let us read
├── EnvelopeInvalid       bytes that are not an entry
├── ProofInvalid          an inclusion or consistency proof that does not hold
├── CheckpointInvalid     a checkpoint, tlog-proof or enrolment that is malformed or not signed by its key
├── ReceiptInvalid        a receipt that does not hold
├── TlogPolicyInvalid     a tlog-policy that is malformed
├── TlogPolicyUnmet       a checkpoint that holds, but is not what a tlog-policy demands
├── WitnessRefused        as a witness: a checkpoint that is not cosigned
│   ├── RequestMalformed  (400) bytes that are no add-checkpoint request
│   ├── SignatureRefused  (403) no key of the origin signed it
│   ├── OriginUnknown     (404) a log that is not witnessed here
│   ├── SizeConflict      (409) not asked from the size that was cosigned last
│   └── ProofRefused      (422) not proved to extend what was cosigned last
├── WitnessHalted         as a witness: its own record can't be relied on, so it signs nothing
├── WitnessBusy           as a witness: another process holds its record
├── WitnessAnswerInvalid  a witness's answer that is no cosignature of ours
└── AuditFinding          a published log that does not hold
"""

from pathlib import Path

from sekisho.kernel.errors import SekishoError


class LedgerError(SekishoError):
    """Root of the ledger's family."""


class LedgerFull(LedgerError):
    """No room to record. Nothing was appended; the log tries to grow again by itself."""


class EntryTooLarge(LedgerError):
    """An entry beyond ENTRY_BYTES_MAX. Nothing was appended."""


class CommitmentKeyForgotten(LedgerError):
    """The organisation's commitment key was destroyed: nothing new can be committed, nothing old linked to content."""

    code = "organisation_key_forgotten"


class CommitmentKeyMissing(LedgerError):
    """The file of the organisation's commitment key is not there, though nobody had it destroyed here."""


class WriteAheadDamaged(LedgerError):
    """Bytes that had been synced are gone or altered: `path`, and the `offset` in bytes within that file."""

    def __init__(self, path: Path, offset: int, reason: str) -> None:
        super().__init__(
            f"{path} is damaged at byte {offset}: {reason}",
            remedy="Entries before this place are safe. `sekisho ledger repair` says what can be saved of the others",
        )
        self.path = path
        self.offset = offset


class LogHalted(LedgerError):
    """The log stops here: the published tree is ahead of this disk, or two roots exist for one size."""


class LedgerFormatError(LedgerError):
    """The ledger directory was written in a format that this version does not know."""


class LogUnreadable(LedgerError):
    """The published log can't be read just now, or a part of it is missing."""


class SourceUnavailable(LedgerError):
    """A log elsewhere does not answer, time and again. That says nothing of the log."""


class SourceRefused(SourceUnavailable):
    """It does not let us read this: no key came along, or not the right one."""


class EnvelopeInvalid(LedgerError):
    """Bytes that are not an entry in canonical form."""


class ProofInvalid(LedgerError):
    """A Merkle proof that does not lead to the root."""


class CheckpointInvalid(LedgerError):
    """A checkpoint, tlog-proof or enrolment that is malformed or not signed by the key it names."""


class ReceiptInvalid(LedgerError):
    """A receipt that does not hold; the message says why in plain words.

    `reason` is the code of the obligation that failed (`ledger.verify.REASONS`); "" outside of a verification.
    """

    def __init__(self, message: str, *, remedy: str = "", reason: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


class TlogPolicyInvalid(LedgerError):
    """A tlog-policy file that is malformed; the message names the line."""


class TlogPolicyUnmet(LedgerError):
    """A checkpoint that is not signed by a log of the policy (reason "log"), or without its quorum ("quorum")."""

    def __init__(self, message: str, *, reason: str, remedy: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason


class AuditFinding(LedgerError):
    """A published log that does not hold; the message says where."""


class WitnessRefused(LedgerError):
    """A checkpoint that a witness does not cosign. `status` is the HTTP status of C2SP tlog-witness."""

    status = 400


class RequestMalformed(WitnessRefused):
    """Bytes that are no add-checkpoint request, or one from a larger tree to a smaller."""


class SignatureRefused(WitnessRefused):
    """No key of the origin signed the checkpoint, or one's signature does not verify."""

    status = 403


class OriginUnknown(WitnessRefused):
    """A log that is not witnessed here."""

    status = 404


class SizeConflict(WitnessRefused):
    """The request is not from `size`, the tree that was cosigned last."""

    status = 409

    def __init__(self, size: int) -> None:
        super().__init__(
            f"the tree that this witness cosigned last has {size} entries", remedy=f"Ask from size {size}: old {size}"
        )
        self.size = size


class ProofRefused(WitnessRefused):
    """The checkpoint is not proved to extend what was cosigned last."""

    status = 422


class WitnessHalted(LedgerError):
    """A witness's own record is gone, damaged, or of unknown durability: it signs nothing any more."""


class WitnessBusy(LedgerError):
    """Another process works on the witness's record; nothing was done."""


class WitnessAnswerInvalid(LedgerError):
    """A witness answered something that is no cosignature of the checkpoint it was asked about."""
