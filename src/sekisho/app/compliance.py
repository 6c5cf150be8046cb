"""The compliance view of an installation: its published log, its snapshots, and who may ask for it over HTTP.

Over HTTP it is made in a process of its own, one at a time: reading millions of entries would hold up publishing.
"""

import json
import subprocess
import sys
import threading
from typing import Any, Final, NamedTuple

import orjson

from sekisho.app.installation import snapshot_store
from sekisho.assurance.compliance import ALWAYS, DECISION, DEFAULT, PAGE_MAX, UNDECIDED, Cell, Compliance, Fate, Span
from sekisho.assurance.rulebook import RuleBook
from sekisho.console.errors import ComplianceRefused, TooMany
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.log_files import LogFiles
from sekisho.policy.engine import CedarDecider
from sekisho.settings import DataDirectory

PAGE: Final = 100
MADE_S_MAX: Final = 600.0  # over HTTP; about 30 million entries. For more there is the command
_IS_DECISION: Final = f'"kind":"{DECISION}"'.encode()
_NOT_POLICIES: Final = {
    DEFAULT: ("No policy permits it", "許可する規則がない"),
    UNDECIDED: ("It could not be decided", "判定できない"),
}


class ComplianceAsked(NamedTuple):
    """`listed`: the entries behind one count, after the leaf `after`, instead of the counts."""

    span: Span = ALWAYS
    listed: Cell | None = None
    after: int = -1
    limit: int = PAGE


def compliance_of(directory: DataDirectory, asked: ComplianceAsked) -> dict[str, Any]:
    """The view as JSON values (docs/compliance.md). Blocking; memory is bounded whatever the log's size.

    Raises UsageError, LogUnreadable, SnapshotError.
    """
    if not 1 <= asked.limit <= PAGE_MAX:
        raise UsageError("the page's limit is out of range", remedy=f"Give 1 to {PAGE_MAX}")
    files = LogFiles(directory.ledger)
    note = files.checkpoint()
    if note is None:
        raise LogUnreadable("nothing is published yet", remedy="Run `sekisho up` once")
    checkpoint = read_checkpoint(note)
    store = snapshot_store(directory)
    view = Compliance(RuleBook(store, CedarDecider), asked.span, asked.listed, asked.limit)
    first = 0 if asked.listed is None else asked.after + 1
    for leaf, entries in files.entries(max(0, first), checkpoint.size):
        _look(view, leaf, entries)
        if view.more:
            break
    about = {"from": asked.span.since, "log_size": checkpoint.size, "origin": checkpoint.origin, "to": asked.span.until}
    if asked.listed is not None:
        last = view.entries[-1].leaf if view.more else None
        return about | {"entries": [entry._asdict() for entry in view.entries], "next": last}
    view.finish()
    digest = store.current()
    titles = {} if digest is None else {title.id: title for title in store.policy_titles(digest)}
    rows = []
    for (policy, deployment), counts in sorted(view.rows.items()):
        title = titles.get(policy)
        en, ja = _NOT_POLICIES.get(policy, ("", "")) if title is None else (title.title, title.title_ja)
        effect = None if title is None else title.effect
        row = {"deployment": deployment, "effect": effect, "policy": policy, "title": en, "title_ja": ja}
        rows.append({**row, **{str(fate): count for fate, count in counts.items()}})
    missing = {"rows_left_out": view.rows_left_out, "snapshots_missing": len(view.snapshots_missing)}
    return about | view.totals | missing | {"rows": rows, "snapshot": digest}


def _look(view: Compliance, leaf: int, entries: list[bytes]) -> None:
    for number, entry in enumerate(entries, leaf):
        if _IS_DECISION not in entry:
            continue
        try:
            view.see(number, orjson.loads(entry))
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise LogUnreadable(f"entry {number} is no decision: {error}", remedy="Run `sekisho audit`") from None


class ComplianceApart:
    """Makes views in a process of its own, one at a time. Any thread."""

    def __init__(self, directory: DataDirectory) -> None:
        self._directory = directory
        self._one = threading.Lock()

    def __call__(self, words: tuple[str, ...]) -> dict[str, Any]:
        """With the options of `sekisho compliance`. Raises ComplianceRefused, TooMany, SekishoError."""
        if not self._one.acquire(blocking=False):
            raise TooMany("another compliance view is being made", remedy="Ask again when it is done")
        try:
            command = [sys.executable, "-m", "sekisho", "compliance", str(self._directory.root), "--json", *words]
            made = subprocess.run(command, capture_output=True, timeout=MADE_S_MAX, stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise SekishoError(f"the view took more than {MADE_S_MAX:.0f} s", remedy="sekisho compliance DIR") from None
        finally:
            self._one.release()
        said = made.stderr.decode(errors="replace").strip()[-1_000:]
        if made.returncode == 2:  # wrong usage
            raise ComplianceRefused(said)
        if made.returncode != 0:
            raise SekishoError(f"the view could not be made: {said}")
        found: dict[str, Any] = json.loads(made.stdout)
        return found


def cell(policy: str, deployment: str, fate: str) -> Cell:
    """Raises UsageError."""
    if fate not in set(Fate):
        raise UsageError(f"{fate!r} is no fate", remedy=f"Give one of {', '.join(Fate)}")
    return Cell(policy, deployment, Fate(fate))
