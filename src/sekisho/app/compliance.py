"""The compliance view of an installation: its published log, its snapshots, and who may ask for it over HTTP.

Over HTTP it is made in a process of its own, one at a time: reading millions of entries would hold up publishing.
"""

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson

from sekisho.app.apart import EXIT_USAGE, PROGRAM, Apart
from sekisho.app.installation import snapshot_store
from sekisho.assurance.compliance import (
    ALWAYS,
    DECISION,
    DEFAULT,
    PAGE_MAX,
    UNDECIDED,
    Cell,
    Compliance,
    Fate,
    Span,
    Title,
)
from sekisho.assurance.errors import DecisionUnreadable
from sekisho.assurance.rulebook import RuleBook
from sekisho.console.errors import ComplianceRefused
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.errors import LogUnreadable
from sekisho.ledger.log_files import LogFiles
from sekisho.policy.engine import CedarDecider
from sekisho.policy.interfaces import PolicyTitle
from sekisho.settings import DataDirectory

PAGE: Final = 100
MADE_S_MAX: Final = 600.0  # over HTTP; about 30 million entries. For more there is the command
WAITED_S_MAX: Final = 10.0  # for a view that is being made; each who waits holds one of the console's 40 threads
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

    Raises UsageError, LogUnreadable, DecisionUnreadable, SnapshotError.
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
        for number, entry in enumerate(entries, leaf):
            if _IS_DECISION in entry:
                view.see(number, _envelope(number, entry))
        if view.more:
            break
    latest = (
        _envelope(checkpoint.size - 1, files.entry(checkpoint.size - 1, checkpoint.size)) if checkpoint.size else {}
    )
    about = {
        "from": asked.span.since,
        "latest": latest.get("at"),
        "log_size": checkpoint.size,
        "origin": checkpoint.origin,
        "to": asked.span.until,
    }
    if asked.listed is not None:
        last = view.entries[-1].leaf if view.more else None
        return about | {"entries": [entry._asdict() for entry in view.entries], "next": last}
    view.finish()
    digest = store.current()
    in_force = {} if digest is None else {title.id: title for title in store.policy_titles(digest)}
    missing = {"left_out": view.left_out, "snapshots_missing": len(view.snapshots_missing)}
    rows = [
        _titled(policy, in_force.get(policy) or view.titles.get(policy))
        | {"deployment": deployment, "in_force": policy in in_force}
        | {str(fate): count for fate, count in counts.items()}
        for (policy, deployment), counts in sorted(view.rows.items())
    ]
    return about | view.totals | missing | {"rows": rows, "snapshot": digest}


def _titled(policy: str, title: Title | PolicyTitle | None) -> dict[str, Any]:
    if title is not None:
        return {"effect": title.effect, "policy": policy, "title": title.title, "title_ja": title.title_ja}
    en, ja = _NOT_POLICIES.get(policy, ("", ""))
    return {"effect": None, "policy": policy, "title": en, "title_ja": ja}


def _envelope(leaf: int, entry: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(entry)
    except orjson.JSONDecodeError as error:
        raise DecisionUnreadable(leaf, error) from None
    if not isinstance(found, dict):
        raise DecisionUnreadable(leaf, TypeError("no object"))
    return found


class ComplianceApart:
    """Makes views in a process of its own, one at a time. Any thread."""

    def __init__(self, directory: DataDirectory, program: Sequence[str] = PROGRAM) -> None:
        self._apart = Apart(program, "compliance", "compliance view", MADE_S_MAX)
        self._root = str(directory.root)
        self.close = self._apart.close

    def __call__(self, words: tuple[str, ...]) -> dict[str, Any]:
        """With the options of `sekisho compliance`. Raises ComplianceRefused, TooMany, SekishoError."""
        with self._apart.turn(WAITED_S_MAX):
            made = self._apart.run((self._root, "--json", *words))
        if made.code == EXIT_USAGE:
            raise ComplianceRefused(made.said)
        if made.code != 0:
            raise SekishoError(f"the view could not be made: {made.said}")
        found: dict[str, Any] = json.loads(made.printed)
        return found


def cell(policy: str, deployment: str, fate: str) -> Cell:
    """Raises UsageError."""
    if fate not in set(Fate):
        raise UsageError(f"{fate!r} is no fate", remedy=f"Give one of {', '.join(Fate)}")
    return Cell(policy, deployment, Fate(fate))
