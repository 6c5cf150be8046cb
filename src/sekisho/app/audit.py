"""Joins an audit: where the log is, whose key counts, what each depth needs, and what came of it.

Depths 1 and 2 need `cryptography` alone; what the others need is loaded when they are asked for.
"""

import dataclasses
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sekisho import __version__
from sekisho.assurance.interfaces import Tolerances, UsageLayout
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import NoteError, UsageError
from sekisho.kernel.files import write_durable
from sekisho.kernel.notes import NoteVerifier, SignedNote
from sekisho.ledger import audit_kinds
from sekisho.ledger.audit import (
    AuditOptions,
    LogAudit,
    Observer,
    SignedCheckpoint,
    audit_cosignatures,
    audit_log,
    entries_of,
    signed_checkpoint,
)
from sekisho.ledger.checkpoint import Checkpoint, open_checkpoint, open_enrolment
from sekisho.ledger.errors import CheckpointInvalid, LogUnreadable, SourceRefused
from sekisho.ledger.findings import ERROR, Finding, Findings, Words
from sekisho.ledger.log_files import CHECKPOINT, ENROLMENT, LogFiles, PublishedFiles
from sekisho.ledger.remote_log import RemoteLog
from sekisho.ledger.tiles import ENTRIES, tile_at
from sekisho.ledger.tlog_policy import POLICY_BYTES_MAX, TlogPolicy, parse_policy
from sekisho.settings import DataDirectory

if TYPE_CHECKING:  # loaded when depth 3 or 4 is asked for
    from sekisho.assurance.approvals import ApprovedActs
    from sekisho.assurance.reconciliation import Reconciliation
    from sekisho.assurance.reperformance import Reperformance
    from sekisho.assurance.rulebook import RuleBook
    from sekisho.assurance.sums import SumReconciliation

DEPTHS: Final = (1, 2, 3, 4)
NOTE_BYTES_MAX: Final = 64 * 1024
NOTHING_COMPARED: Final = "nothing_compared"  # a kind of depth 4
SITE_KEY: Final = "site.vkey"
SNAPSHOTS: Final = "snapshots"  # where snapshots stand beside a log
CURRENT: Final = f"{SNAPSHOTS}/current"

# What could not be done, in words; the codes are for machines.
NO_ENTRIES: Final = (
    "entries",
    Words(
        "The source gives no entries without an auditor's key: hash tiles and signatures alone were looked at",
        "監査人のキーがないためエントリーを取得できません。ハッシュタイルと署名だけを確認しました",
    ),
)
NOT_PINNED: Final = (
    "not_pinned",
    Words(
        "The site's key was taken from the installation itself. Pin it with --trust to know whose log this is",
        "拠点の鍵はその環境自身から取りました。誰の台帳かを確かめるには --trust で鍵を指定してください",
    ),
)
NO_SNAPSHOTS: Final = (
    "snapshots",
    Words(
        "There are no snapshots beside the log, so no decision was made again: name them with --snapshots",
        "台帳のそばにスナップショットがないため再判定していません。--snapshots で指定してください",
    ),
)
NO_ENGINE: Final = (
    "engine",
    Words(
        "Cedar's engine is not installed, so no decision was made again: pip install 'sekisho[server]'",
        "Cedar のエンジンがないため再判定していません: pip install 'sekisho[server]'",
    ),
)
Gap = tuple[str, Words]
LEFT_OUT: Final = ("acts_left_out", "decisions_left_out", "entries_unreadable")  # of a report's counts


@dataclasses.dataclass(frozen=True, slots=True)
class ProviderAsked:
    """Whose calls to hold the log against, and where that provider's record is: a CSV file, or its own log.

    `account`: the organisation that we are in that log. `layout`: how to read a file that is laid out otherwise.
    Tolerances: seconds, tokens and per mille of tokens.
    """

    name: str
    usage: Path | None = None
    log: str | None = None
    layout: UsageLayout = dataclasses.field(default_factory=UsageLayout)
    account: str | None = None
    trust: tuple[NoteVerifier, ...] = ()
    key: str | None = None
    clock_s: int = 300
    tokens: int = 2
    tokens_permille: int = 10


@dataclasses.dataclass(frozen=True, slots=True)
class AuditAsked:
    """What to audit and against what. `depth` None: as deep as the source allows, up to 3, or 4 with `provider`."""

    source: str
    depth: int | None = None
    trust: tuple[NoteVerifier, ...] = ()
    enrolment: Path | None = None
    key: str | None = None
    ca_file: Path | None = None
    since: tuple[Path, ...] = ()
    state: Path | None = None
    policy: Path | None = None
    snapshots: Path | None = None
    provider: ProviderAsked | None = None


@dataclasses.dataclass(slots=True)
class Report:
    """What came of an audit. `counts` are by name, of what was looked at; `gaps` say what could not be."""

    source: str
    depth: int
    findings: Findings
    origin: str = ""
    size: int = 0
    root: str = ""
    log_key: str = ""
    held_against: tuple[int, ...] = ()  # sizes of the checkpoints seen before
    witnesses: tuple[str, ...] = ()
    counts: dict[str, int] = dataclasses.field(default_factory=dict)
    kinds: dict[str, int] = dataclasses.field(default_factory=dict)
    gaps: list[Gap] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        return not self.findings.count(ERROR)

    @property
    def left_out(self) -> int:
        """Entries, decisions or acts within the depth, or a provider's whole record, that could not be looked at."""
        left_out = sum(self.counts.get(name, 0) for name in LEFT_OUT)
        return left_out + self.findings.counts.get(NOTHING_COMPARED, 0)


class _Source(NamedTuple):
    files: PublishedFiles
    snapshots: Path | None  # a directory; None: those beside a remote log, if it has any
    trust: tuple[NoteVerifier, ...]
    pinned: bool


class _Deeper(NamedTuple):
    """What looks at entries beyond depth 2, as deep as it goes."""

    reperformance: "Reperformance | None" = None
    approved: "ApprovedActs | None" = None
    reconciliation: "Reconciliation | SumReconciliation | None" = None


class Auditor:
    """Runs audits. `progress` is told (entries read, entries in all)."""

    def __init__(self, clock: Clock, *, progress: Callable[[int, int], None] = lambda done, size: None) -> None:
        self._clock = clock
        self._progress = progress

    def audit(self, asked: AuditAsked) -> Report:
        """Raises UsageError for what can't be meant, SourceUnavailable where the source does not answer."""
        began = time.monotonic()
        policy = None if asked.policy is None else parse_policy(_small(asked.policy, POLICY_BYTES_MAX))
        if policy is not None and policy.logs:
            asked = dataclasses.replace(asked, trust=(*asked.trust, *(log.key for log in policy.logs)))
        if asked.state is not None:
            asked.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as stack:
            source = _open(asked, stack)
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="sekisho-audit-", dir=asked.state))
            report = self._audit(asked, source, policy, Path(scratch), stack)
        report.seconds = time.monotonic() - began
        return report

    def _audit(
        self, asked: AuditAsked, source: _Source, policy: TlogPolicy | None, scratch: Path, stack: ExitStack
    ) -> Report:
        findings = Findings()
        report = Report(asked.source, 1, findings)
        if not source.pinned:
            report.gaps.append(NOT_PINNED)
        verifier = log_verifier(source.files, source.trust, asked.enrolment, findings)
        signed = None if verifier is None else signed_checkpoint(source.files, verifier, findings)
        if verifier is None or signed is None:
            return report
        checkpoint = signed.checkpoint
        report.origin, report.size, report.root = checkpoint.origin, checkpoint.size, checkpoint.root.hex()
        report.log_key = verifier.vkey
        if policy is not None:
            report.witnesses = audit_cosignatures(signed.note, policy, findings)
        earlier = [*_since(asked.since, verifier), *_remembered(asked.state, verifier)]
        options = AuditOptions(earlier=tuple(earlier), now_us=self._clock.now_us(), progress=self._progress)
        options.with_entries = _has_entries(asked, source, checkpoint, report)
        deeper = self._deeper(asked, source, scratch, report, options, stack)
        log = audit_log(source.files, checkpoint, findings, options)
        report.held_against = tuple(sorted({one.size for one in earlier}))
        _count(report, log, deeper)
        _mistrust_kept(source.files, findings)
        if asked.state is not None and not any(kind.code in findings.counts for kind in audit_kinds.INTEGRITY):
            _remember(asked.state, signed)
        return report

    def _deeper(
        self,
        asked: AuditAsked,
        source: _Source,
        scratch: Path,
        report: Report,
        options: AuditOptions,
        stack: ExitStack,
    ) -> "_Deeper":
        """Make ready what looks at entries, as deep as was asked for and as can be."""
        wanted = asked.depth or (4 if asked.provider is not None else 3)
        if wanted == 4 and asked.provider is None:
            raise UsageError("depth 4 needs a provider's record", remedy="Add --provider NAME and --usage FILE")
        if wanted < 4 and asked.provider is not None:
            raise UsageError(f"a provider's record belongs to depth 4, not {wanted}", remedy="Leave one of them out")
        if wanted < 2 or not options.with_entries:
            return _Deeper()
        options.spool, report.depth = scratch / "completeness", 2
        book = _rule_book(asked, source, report, scratch) if wanted >= 3 else None
        if book is None:
            return _Deeper()
        from sekisho.assurance.approvals import ApprovedActs
        from sekisho.assurance.exemptions import GrantedExemptions
        from sekisho.assurance.readings import SupportedReadings
        from sekisho.assurance.reperformance import Reperformance

        reperformance = Reperformance(report.findings, book)
        in_force = reperformance.in_force
        approved = ApprovedActs(report.findings, book, in_force, report.origin, scratch / "approvals")
        exemptions = GrantedExemptions(report.findings, book, report.origin)
        observers: list[Observer] = [reperformance, approved, exemptions, SupportedReadings(report.findings, book)]
        reconciliation = None
        report.depth = 3
        if wanted == 4 and asked.provider is not None:
            reconciliation = _reconciliation(asked, asked.provider, report.findings, book, scratch, stack)
            observers.append(reconciliation)
            report.depth = 4
        options.observers = tuple(observers)
        return _Deeper(reperformance, approved, reconciliation)


def log_verifier(
    files: PublishedFiles, trusted: tuple[NoteVerifier, ...], enrolment: Path | None, findings: Findings
) -> NoteVerifier | None:
    """The log's key: one that is trusted itself, or that a trusted site key enrols. None, with a finding, if none is.

    Raises UsageError where there is no enrolment to look at.
    """
    try:
        note = files.checkpoint()
        origin = None if note is None else SignedNote.parse(note).text.partition("\n")[0]
    except (NoteError, LogUnreadable, OSError) as error:
        findings.add(audit_kinds.CHECKPOINT_INVALID, str(error))
        return None
    if origin is None:
        findings.add(audit_kinds.CHECKPOINT_INVALID, "there is no checkpoint")
        return None
    for verifier in trusted:
        if verifier.name == origin:
            return verifier
    enrolled = files.note(ENROLMENT) if enrolment is None else _text(enrolment)
    if enrolled is None:
        raise UsageError(
            "there is no enrolment beside the log, so a site's key says nothing of it",
            remedy="Name the enrolment with --enrolment FILE, or trust the log's own key",
        )
    problem = ""
    for verifier in trusted:
        try:
            return open_enrolment(enrolled, verifier).log
        except CheckpointInvalid as error:
            problem = error.message
    findings.add(audit_kinds.CHECKPOINT_INVALID, problem)
    return None


# Where the log is


def _open(asked: AuditAsked, stack: ExitStack) -> _Source:
    if asked.source.startswith(("http://", "https://")):
        if not asked.trust:
            raise _untrusted()
        keep = None if asked.state is None else asked.state / "tiles" / _name(asked.source)
        return _Source(_remote(asked.source, asked.key, asked.ca_file, keep, stack), asked.snapshots, asked.trust, True)
    root = Path(asked.source)
    if not root.is_dir():
        raise UsageError(f"{root} is no directory", remedy="Name an installation, a copy of its log, or a URL")
    if (root / CHECKPOINT).exists() or not (root / "ledger").is_dir():
        if not (root / CHECKPOINT).exists() and not (root / "tile").is_dir():
            raise UsageError(f"{root} is no log: it has no checkpoint", remedy="Name the directory that holds it")
        if not asked.trust:
            raise _untrusted()
        return _Source(LogFiles(root), asked.snapshots or _directory(root / SNAPSHOTS), asked.trust, True)
    directory = DataDirectory(root)
    snapshots = asked.snapshots or _directory(directory.snapshots)
    trust, pinned = asked.trust, bool(asked.trust)
    if not trust:
        if not directory.site_vkey.exists():
            raise _untrusted()
        trust = (NoteVerifier.parse(_text(directory.site_vkey)),)
    return _Source(LogFiles(directory.ledger), snapshots, trust, pinned)


def _directory(path: Path) -> Path | None:
    return path if path.is_dir() else None


def _remote(url: str, key: str | None, ca_file: Path | None, keep: Path | None, stack: ExitStack) -> RemoteLog:
    remote = RemoteLog(url, key=key, ca_file=ca_file, keep=keep)
    stack.callback(remote.close)
    remote.find()
    return remote


def _untrusted() -> UsageError:
    return UsageError(
        "whose log this is can't be told without a key",
        remedy=f"Add --trust with the site's {SITE_KEY}, which you got from the site itself, or with the log's own key",
    )


def _has_entries(asked: AuditAsked, source: _Source, checkpoint: Checkpoint, report: Report) -> bool:
    """Whether entries can be read. Raises SourceRefused where they were asked for, or a key was given in vain."""
    if not checkpoint.size or not isinstance(source.files, RemoteLog):
        return True
    try:
        source.files.tile(tile_at(ENTRIES, 0, checkpoint.size))
    except SourceRefused:
        if asked.key is not None or asked.depth is not None or asked.provider is not None:
            raise
        report.gaps.append(NO_ENTRIES)
        return False
    except LogUnreadable:
        return True  # the audit finds it
    return True


# What was seen before


def _since(files: tuple[Path, ...], verifier: NoteVerifier) -> Iterator[Checkpoint]:
    for file in files:
        try:
            yield open_checkpoint(_text(file), verifier)
        except CheckpointInvalid as error:
            raise UsageError(f"{file} is no checkpoint of this log: {error}") from None


def _remembered(state: Path | None, verifier: NoteVerifier) -> Iterator[Checkpoint]:
    if state is None:
        return
    path = _memory(state, verifier.name)
    if path.exists():
        yield from _since((path,), verifier)


def _mistrust_kept(files: PublishedFiles, findings: Findings) -> None:
    """What was fetched damaged, or was damaged since, would be found so for ever."""
    if isinstance(files, RemoteLog) and any(kind.code in findings.counts for kind in audit_kinds.DAMAGE):
        files.set_kept_aside()


def _remember(state: Path, signed: SignedCheckpoint) -> None:
    path = _memory(state, signed.checkpoint.origin)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    write_durable(path, signed.note.encode())


def _memory(state: Path, origin: str) -> Path:
    return state / "checkpoints" / _name(origin)


def _name(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _text(path: Path) -> str:
    """A small file of text. Raises UsageError."""
    try:
        return _small(path, NOTE_BYTES_MAX).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8") from None


def _small(path: Path, bytes_max: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise UsageError(f"{path} is larger than {bytes_max >> 10} KiB")
    return data


# Depths 3 and 4


def _rule_book(asked: AuditAsked, source: _Source, report: Report, scratch: Path) -> "RuleBook | None":
    """None, with a gap, where decisions can't be made again. Raises UsageError where that was asked for."""
    gap = None
    remote = source.snapshots is None and isinstance(source.files, RemoteLog) and _has_snapshots(source.files)
    try:
        from sekisho.assurance.rulebook import RuleBook
        from sekisho.policy.engine import engine_only
        from sekisho.snapshot.fetched import FetchedSnapshots
        from sekisho.snapshot.store import SnapshotStore
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "sekisho":
            raise
        gap = NO_ENGINE
    if gap is None and source.snapshots is None and not remote:
        gap = NO_SNAPSHOTS
    if gap is not None:
        if asked.depth is not None or asked.provider is not None:
            raise UsageError(gap[1].en)
        report.gaps.append(gap)
        return None
    directory = source.snapshots or scratch / SNAPSHOTS
    store = SnapshotStore(directory, make_inspector=_no_inspector, make_decider=engine_only)
    if source.snapshots is None:
        read = source.files.read

        def beside(path: str, bytes_max: int) -> bytes | None:
            return read(f"{SNAPSHOTS}/{path}", bytes_max)

        return RuleBook(FetchedSnapshots(beside, directory, store, software=__version__), engine_only)
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory of snapshots")
    return RuleBook(store, engine_only)


def _has_snapshots(files: RemoteLog) -> bool:
    try:
        return files.read(CURRENT, 128) is not None
    except SourceRefused:
        return False


def _no_inspector(rules: bytes) -> Any:
    raise AssertionError("an audit inspects nothing")


def _reconciliation(
    asked: AuditAsked, provider: ProviderAsked, findings: Findings, book: "RuleBook", scratch: Path, stack: ExitStack
) -> "Reconciliation | SumReconciliation":
    from sekisho.assurance.provider_log import usage_of_log
    from sekisho.assurance.reconciliation import Reconciliation
    from sekisho.assurance.sums import SumReconciliation
    from sekisho.assurance.usage_csv import holds_sums, read_sums, read_usage

    if (provider.usage is None) == (provider.log is None):
        raise UsageError("one record of the provider's is needed", remedy="Give --usage FILE or --provider-log SOURCE")
    tolerances = Tolerances(provider.clock_s * 1_000_000, provider.tokens, provider.tokens_permille)
    directory = scratch / "reconciliation"
    if provider.usage is not None and holds_sums(provider.usage, provider.layout):
        sums = read_sums(provider.usage, provider.layout)
        return SumReconciliation(findings, book, provider.name, sums, tolerances, directory)
    if provider.usage is not None:
        calls = read_usage(provider.usage, provider.layout)
    else:
        if provider.account is None:
            raise UsageError("who we are in the provider's log?", remedy="Add --account ORGANISATION")
        calls = usage_of_log(_provider_entries(asked, provider, findings, stack), provider.account)
    return Reconciliation(findings, book, provider.name, calls, tolerances, directory)


def _provider_entries(
    asked: AuditAsked, provider: ProviderAsked, findings: Findings, stack: ExitStack
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The entries of the provider's log, which must hold; what does not is a finding about that log."""
    from sekisho.assurance.kinds import PROVIDER_LOG_DAMAGED

    def told(finding: Finding) -> None:
        where = "" if finding.index is None else f", entry {finding.index}"
        findings.add(PROVIDER_LOG_DAMAGED, f"{finding.kind.code}{where}: {finding.detail}")

    theirs = dataclasses.replace(
        asked, source=provider.log or "", trust=provider.trust, key=provider.key, snapshots=None, enrolment=None
    )
    source = _open(theirs, stack)
    found = Findings(told)
    verifier = log_verifier(source.files, source.trust, None, found)
    signed = None if verifier is None else signed_checkpoint(source.files, verifier, found)
    if signed is not None:
        yield from entries_of(source.files, signed.checkpoint, found)
        _mistrust_kept(source.files, found)


def _count(report: Report, log: LogAudit, deeper: _Deeper) -> None:
    report.kinds = dict(sorted(log.kinds.items()))
    report.counts = {"entries": log.entries, "files": log.files, "requests": log.requests}
    report.counts["entries_unreadable"] = log.unreadable
    if deeper.reperformance is not None:
        report.counts["decisions_made_again"] = deeper.reperformance.decided
        report.counts["decisions_distinct"] = deeper.reperformance.distinct
        report.counts["decisions_left_out"] = deeper.reperformance.left_out
    if deeper.approved is not None:
        report.counts["acts_under_approval"] = deeper.approved.looked_at
        report.counts["acts_left_out"] = deeper.approved.left_out
    if deeper.reconciliation is not None:
        totals = dataclasses.asdict(deeper.reconciliation.totals)
        report.counts |= {f"provider_{name}": n for name, n in totals.items()}
