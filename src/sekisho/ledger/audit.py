"""Audit of a published log, depths 1 (integrity) and 2 (completeness). Reads static files and trusts the log's key."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import NoteVerifier, SignedNote
from sekisho.ledger.audit_kinds import CHECKPOINT_INVALID, COSIGNATURE_INVALID, ENTRY_MALFORMED, QUORUM_NOT_MET
from sekisho.ledger.checkpoint import Checkpoint, open_checkpoint
from sekisho.ledger.completeness import Completeness
from sekisho.ledger.errors import AuditFinding, CheckpointInvalid, EnvelopeInvalid, LogUnreadable, TlogPolicyUnmet
from sekisho.ledger.findings import Finding, Findings
from sekisho.ledger.integrity import IntegrityWalk
from sekisho.ledger.log_files import LogFiles, PublishedFiles
from sekisho.ledger.reading import entry_id, read
from sekisho.ledger.tlog_policy import TlogPolicy


class SignedCheckpoint(NamedTuple):
    """A checkpoint whose log signature verified, and the note that it stood in (with what else signed it)."""

    checkpoint: Checkpoint
    note: str


class Observer(Protocol):
    """Who looks at each entry of the one pass: an audit's further depths."""

    def see(self, index: int, envelope: Mapping[str, Any]) -> None:
        """An entry in canonical form, in the log's order."""
        ...

    def finish(self) -> None:
        """The last one was seen."""
        ...


@dataclass(slots=True)
class AuditOptions:
    """`spool`: where to set records aside, for depth 2; None: integrity alone. `progress` is told (entries, size)."""

    earlier: tuple[Checkpoint, ...] = ()
    spool: Path | None = None
    now_us: int = 0
    observers: tuple[Observer, ...] = ()
    with_entries: bool = True  # False: the source has none for us, and hash tiles are all that can be looked at
    progress: Callable[[int, int], None] = field(default=lambda done, size: None)


@dataclass(slots=True)
class LogAudit:
    """What was read: entries by kind, requests, files, and how many entries could not be read."""

    checkpoint: Checkpoint
    files: int = 0
    entries: int = 0
    unreadable: int = 0
    requests: int = 0
    kinds: dict[str, int] = field(default_factory=dict)


def signed_checkpoint(files: PublishedFiles, verifier: NoteVerifier, findings: Findings) -> SignedCheckpoint | None:
    """The published checkpoint, opened with the log's key; None, with a finding, where that can't be done."""
    try:
        note = files.checkpoint()
        if note is None:
            raise CheckpointInvalid("there is no checkpoint")
        return SignedCheckpoint(open_checkpoint(note, verifier), note)
    except (CheckpointInvalid, LogUnreadable, OSError) as error:
        findings.add(CHECKPOINT_INVALID, str(error))
        return None


def audit_log(files: PublishedFiles, checkpoint: Checkpoint, findings: Findings, options: AuditOptions) -> LogAudit:
    """Read the log up to `checkpoint` once, to every depth asked for; what does not hold is added to `findings`.

    1. Each hash tile and entry leads to the checkpoint's root; damage is named where it is.
    2. The log extends each of `options.earlier`.
    3. With `options.spool`: the entries are complete and fit together (`Completeness`).
    4. Each of `options.observers` sees each entry.
    """
    walk = IntegrityWalk(files, checkpoint, findings, with_entries=options.with_entries)
    audit = LogAudit(checkpoint)
    completeness = None
    if options.spool is not None:
        completeness = Completeness(findings, options.spool, options.now_us, walk.damaged)
    observers: list[Observer] = [*options.observers] if completeness is None else [completeness, *options.observers]
    for piece in walk.pieces():
        audit.entries += piece.size
        if piece.entries is None:
            audit.unreadable += piece.size
        elif observers:
            audit.unreadable += _observe(piece.first, piece.entries, observers, findings)
        options.progress(audit.entries, checkpoint.size)
    for earlier in options.earlier:
        walk.require_extends(earlier)
    for observer in observers:
        observer.finish()
    audit.files = walk.tiles
    if completeness is not None:
        audit.requests, audit.kinds = completeness.requests, completeness.kinds
    return audit


def _observe(first: int, entries: Iterable[bytes], observers: Iterable[Observer], findings: Findings) -> int:
    """Show entries to whoever looks; returns how many could not be read."""
    unreadable = 0
    for index, entry in enumerate(entries, first):
        try:
            envelope = read(entry)
        except EnvelopeInvalid as error:
            findings.add(ENTRY_MALFORMED, error.message, index, entry_id(entry))
            unreadable += 1
            continue
        for observer in observers:
            observer.see(index, envelope)
    return unreadable


def audit_cosignatures(note: str, policy: TlogPolicy, findings: Findings) -> tuple[str, ...]:
    """Hold a checkpoint's cosignatures against what the auditor demands; the names of the witnesses whose hold."""
    try:
        return tuple(sorted(policy.evaluate(SignedNote.parse(note)).cosignatures))
    except TlogPolicyUnmet as error:
        findings.add(QUORUM_NOT_MET, error.message)
    except (CheckpointInvalid, NoteError) as error:
        findings.add(COSIGNATURE_INVALID, error.message)
    return ()


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """What held: the checkpoint, and how many tiles and bundles were read."""

    checkpoint: Checkpoint
    tiles: int

    @property
    def size(self) -> int:
        return self.checkpoint.size


def audit_integrity(root: Path, verifier: NoteVerifier, *, earlier: Checkpoint | None = None) -> IntegrityReport:
    """Depth 1 over the directory `root`, for who wants a verdict. Raises AuditFinding at the first thing found."""

    def stop(finding: Finding) -> None:
        raise AuditFinding(finding.detail)

    findings = Findings(stop)
    files = LogFiles(root)
    signed = signed_checkpoint(files, verifier, findings)
    if signed is None:
        raise AssertionError("a finding raises")
    options = AuditOptions(earlier=() if earlier is None else (earlier,))
    audit = audit_log(files, signed.checkpoint, findings, options)
    return IntegrityReport(signed.checkpoint, audit.files)


def entries_of(
    files: PublishedFiles, checkpoint: Checkpoint, findings: Findings
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The envelopes of a log whose integrity is checked on the way: for audits that hold another log against it."""
    for piece in IntegrityWalk(files, checkpoint, findings).pieces():
        for index, entry in enumerate(piece.entries or (), piece.first):
            try:
                yield index, read(entry)
            except EnvelopeInvalid as error:
                findings.add(ENTRY_MALFORMED, error.message, index, entry_id(entry))
