"""The compliance view: what each policy did to each deployment, out of the ledger's decisions. Pure.

A verdict is of one deployment and one form of the body (as it is, or masked). Of each verdict of a request's first
decision, for each policy of the snapshot that decided it:
- *permitted*: it permits it, or is a forbid on such an action that let it pass;
- *denied*: it is a forbid that denies it;
- *unknown*: it is a forbid that denies it and looks at a fact of the deployment that nobody knew then;
- *exempt*: it is a forbid that would have denied it, and an exemption said that it does not count.
What monitor mode let pass is denied here: policy denied it. Two rows stand for no policy: DEFAULT, where none permits,
and UNDECIDED, where an error denies.

Decisions that are alike are counted first and looked at once, so that memory and time follow from how many kinds of
decision there are, and both are bounded.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson

from sekisho.assurance.errors import DecisionUnreadable
from sekisho.assurance.rulebook import RuleBook
from sekisho.catalog.interfaces import Catalogue, Grade
from sekisho.kernel import canonical
from sekisho.policy.errors import PolicyError
from sekisho.policy.reads import policy_actions, policy_reads
from sekisho.snapshot.interfaces import SnapshotError, catalogue_at

DECISION: Final = "decision"
DEFAULT: Final = "(default)"  # no @id may hold a bracket
UNDECIDED: Final = "(error)"
KINDS_MAX: Final = 4_096  # kinds of decision that are counted before they are looked at …
KINDS_BYTES_MAX: Final = 32 << 20  # … or as many as fill this: an entry that names 64 candidates has some 8 KiB of them
ROWS_MAX: Final = 100_000  # of a policy and a deployment each; about 30 MB. What is beyond is counted as left out
PAGE_MAX: Final = 1_000
_ODD: Final = (AttributeError, KeyError, TypeError, ValueError)  # what reading an entry meets that is no decision
_PROVIDER: Final = "provider_"
_GRADE: Final = "_grade"


class Fate(StrEnum):
    PERMITTED = "permitted"
    DENIED = "denied"
    EXEMPT = "exempt"
    UNKNOWN = "unknown"


class Cell(NamedTuple):
    policy: str
    deployment: str
    fate: Fate


class Entry(NamedTuple):
    """A decision behind a count. `leaf` is its place in the log."""

    leaf: int
    id: str
    request: str | None
    at: int
    organisation: str


class Title(NamedTuple):
    """A policy, as the snapshot that decided knew it."""

    title: str
    title_ja: str
    effect: str


class Span(NamedTuple):
    """Times of decisions, µs UTC: `since` inclusive, `until` exclusive; None: no bound."""

    since: int | None = None
    until: int | None = None

    def holds(self, at: int) -> bool:
        return (self.since is None or self.since <= at) and (self.until is None or at < self.until)


ALWAYS: Final = Span()


class Compliance:
    """`see` decisions in the log's order, then `finish`. With `listed`, nothing is counted: entries of that cell are
    kept, one page. Both raise DecisionUnreadable."""

    def __init__(self, book: RuleBook, span: Span = ALWAYS, listed: Cell | None = None, page: int = PAGE_MAX) -> None:
        self._book = book
        self._span = span
        self._listed = listed
        self._page = page
        self._kinds: dict[bytes, tuple[int, int]] = {}  # how many there were, and the first one's leaf
        self._bytes = 0  # of their keys
        self._lists: dict[bytes, bool] = {}
        self._rules: tuple[tuple[str, int], _Rules | None] | None = None
        self.rows: dict[tuple[str, str], dict[Fate, int]] = {}
        self.titles: dict[str, Title] = {}  # of those policies in the rows that a snapshot here tells of
        self.left_out = 0  # verdicts of policies that found no row
        self.snapshots_missing: set[str] = set()  # at most one for each change of the declarations
        self.totals = dict.fromkeys(("decisions", "sent", "denied", "exempt", "monitored"), 0)
        self.entries: list[Entry] = []
        self.more = False  # whether there are entries beyond the page

    def see(self, leaf: int, envelope: Mapping[str, Any]) -> None:
        try:
            body = envelope["body"]
            if envelope["kind"] != DECISION or body["attempt"] != 1 or not self._span.holds(envelope["at"]):
                return
            asked = body["input"]
            key = orjson.dumps([asked["snapshot"], asked["epoch_from"], body["policies"], body["candidates"]])
            if self._listed is not None:
                self._list(leaf, envelope, key)
                return
            self._count(body)
        except _ODD as error:
            raise DecisionUnreadable(leaf, error) from None
        count, first = self._kinds.get(key, (0, leaf))
        self._kinds[key] = count + 1, first
        if not count:
            self._bytes += len(key)
            if len(self._kinds) >= KINDS_MAX or self._bytes >= KINDS_BYTES_MAX:
                self.finish()

    def finish(self) -> None:
        for key in sorted(self._kinds):  # those of one snapshot together
            count, leaf = self._kinds[key]
            for cell in self._cells(key, leaf):
                row = self.rows.get(cell[:2]) or self._new_row(cell)
                if row is None:
                    self.left_out += count
                else:
                    row[cell.fate] += count
        self._kinds.clear()
        self._bytes = 0

    def _count(self, body: Mapping[str, Any]) -> None:
        chosen = body["chosen"]
        self.totals["decisions"] += 1
        self.totals["denied" if chosen is None else "sent"] += 1
        self.totals["monitored"] += body.get("monitored") is True
        self.totals["exempt"] += chosen is not None and "exemptions" in body and _is_exempt(body)

    def _list(self, leaf: int, envelope: Mapping[str, Any], key: bytes) -> None:
        digest = hashlib.sha256(key).digest()
        found = self._lists.get(digest)
        if found is None:
            if len(self._lists) >= KINDS_MAX:
                self._lists.clear()
            found = self._lists[digest] = self._listed in self._cells(key, leaf)
        if not found:
            return
        if len(self.entries) < self._page:
            organisation = envelope["body"]["input"]["principal"]["organisation"]
            self.entries.append(Entry(leaf, envelope["id"], envelope.get("request"), envelope["at"], organisation))
        else:
            self.more = True

    def _new_row(self, cell: Cell) -> dict[Fate, int] | None:
        """None where there is no room for one."""
        if len(self.rows) >= ROWS_MAX:
            return None
        rules = None if self._rules is None else self._rules[1]
        if rules is not None and cell.policy in rules.titles:
            self.titles[cell.policy] = rules.titles[cell.policy]
        row = self.rows[cell[:2]] = dict.fromkeys(Fate, 0)
        return row

    def _cells(self, key: bytes, leaf: int) -> list[Cell]:
        """What one kind of decision comes to; `leaf` is of one."""
        try:
            found = list(self._cells_of(*orjson.loads(key)))
        except _ODD as error:
            raise DecisionUnreadable(leaf, error) from None
        for cell in found:
            if not isinstance(cell.policy, str) or not isinstance(cell.deployment, str):
                raise DecisionUnreadable(leaf, TypeError(f"{cell[:2]!r} are no names"))
        return found

    def _cells_of(
        self, snapshot: str, epoch_from: int, named: Mapping[str, str], candidates: Sequence[Mapping[str, Any]]
    ) -> Iterator[Cell]:
        rules = self._rules_of(snapshot, epoch_from)
        for group in candidates:
            reasons = [named[str(index)] for index in group["reasons"]]
            exempted = [named[str(index)] for index in group.get("exempted", ())]
            passed = () if rules is None else rules.forbids(group["action"])
            for deployment in group["deployments"]:
                if group["permitted"]:
                    for policy in (*reasons, *passed):
                        if policy not in exempted:
                            yield Cell(policy, deployment, Fate.PERMITTED)
                    for policy in exempted:
                        yield Cell(policy, deployment, Fate.EXEMPT)
                elif group["errors"] or not reasons:
                    yield Cell(UNDECIDED if group["errors"] else DEFAULT, deployment, Fate.DENIED)
                else:
                    for policy in reasons:
                        unknown = rules is not None and rules.lacks_facts(policy, deployment)
                        yield Cell(policy, deployment, Fate.UNKNOWN if unknown else Fate.DENIED)

    def _rules_of(self, snapshot: str, epoch_from: int) -> "_Rules | None":
        key = (snapshot, epoch_from)
        if self._rules is None or self._rules[0] != key:
            rules: _Rules | None = None
            try:
                stored = self._book.rules(snapshot).stored
                rows = canonical.decode(stored.parts.policies)["policies"]
                rules = _Rules(rows, catalogue_at(stored.catalogue, epoch_from))
            except (SnapshotError, PolicyError):
                self.snapshots_missing.add(snapshot)
            self._rules = key, rules
        return self._rules[1]


class _Rules:
    """What counting asks of a snapshot's policies and facts, in one epoch."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], catalogue: Catalogue) -> None:
        self.titles = {row["id"]: Title(row["title"], row["title_ja"], row["effect"]) for row in rows}
        self._actions = {row["id"]: policy_actions(row["text"]) for row in rows if row["effect"] == "forbid"}
        self._forbids: dict[str, tuple[str, ...]] = {}
        self._texts = {row["id"]: row["text"] for row in rows}
        self._deployments = {one.name: one for one in catalogue.deployments}
        self._providers = {one.name: one for one in catalogue.providers}
        self._reads: dict[str, frozenset[str]] = {}

    def forbids(self, action: str) -> tuple[str, ...]:
        """Those that decide on an action: others have nothing to let pass."""
        found = self._forbids.get(action)
        if found is None:
            found = tuple(name for name, actions in self._actions.items() if actions is None or action in actions)
            self._forbids[action] = found
        return found

    def lacks_facts(self, policy: str, deployment: str) -> bool:
        """Whether the policy looks at a fact of the deployment that nobody knows."""
        reads = self._reads.get(policy)
        if reads is None:
            names = policy_reads(self._texts[policy]).deployment if policy in self._texts else ()
            reads = self._reads[policy] = frozenset(name.removesuffix(_GRADE) for name in names)
        found = self._deployments.get(deployment)
        if found is None or not reads:
            return False
        provider = self._providers.get(found.provider)
        facts = dict(found.facts)
        if provider is not None:
            facts |= {f"{_PROVIDER}{name}": fact for name, fact in provider.facts.items()}
        return any(name in facts and facts[name].grade is Grade.UNKNOWN for name in reads)


def _is_exempt(body: Mapping[str, Any]) -> bool:
    """Whether what was chosen was permitted by way of an exemption."""
    chosen = body["chosen"]
    return any(
        group.get("exempted") and group["action"] == chosen["action"] and chosen["deployment"] in group["deployments"]
        for group in body["candidates"]
    )
