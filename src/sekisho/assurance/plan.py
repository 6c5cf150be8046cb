"""What recorded requests would meet under proposed rules, beside what they meet under those in force. Pure.

Requests with equal inputs meet the same: each distinct input is decided once a side and remembered by its key, so that
a million requests cost a million look-ups. What is told is counted in rows; both are bounded. How many requests change,
and how, is counted beside the rows: it stays exact when a bound is reached and rows tell less of what they count.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from sekisho.assurance.replay import Replay
from sekisho.policy.fate import GONE, NEW, SENT, Fate, Met, Route
from sekisho.policy.interfaces import DecisionInput

LISTED_MAX: Final = 1_000  # changed requests that are named, a list that nobody reads to its end; all are counted
OTHERS: Final = "*"  # stands for organisation and model where a row no longer tells them apart

# What a plan changes for a request, beside a fate that becomes another one.
SAME: Final = "same"
FATE: Final = "fate"
MOVED: Final = "moved"  # the same fate, but not where it was sent
ROUTES: Final = "routes"  # the same fate, and it could go elsewhere as well, or no longer somewhere


class Bounds(NamedTuple):
    """How much is held in memory. `groups`: distinct inputs remembered, about 100 MB. `rows`: distinct kinds of
    request, of which a real site has hundreds. `open`: requests that usage may still be told of, as many as a large
    site has in flight in hours."""

    groups: int = 65_536
    rows: int = 20_000
    listed: int = LISTED_MAX
    open: int = 100_000


class Recorded(NamedTuple):
    """What was done: the fate, and the route of the first attempt (None: nothing was sent, or nobody says where)."""

    fate: Fate
    route: Route | None = None


class RowKey(NamedTuple):
    """What all requests of a row have in common."""

    organisation: str
    model: str
    before: Met
    after: Met
    recorded: Recorded

    @property
    def change(self) -> str:
        """SAME, FATE, MOVED or ROUTES."""
        before, after, route = self.before, self.after, self.recorded.route
        if before.fate != after.fate:
            return FATE
        if before.routes == after.routes:
            return SAME
        return MOVED if route is not None and route in before.routes and route not in after.routes else ROUTES

    @property
    def gained(self) -> tuple[Route, ...]:
        """Where it could go, and could not before."""
        return tuple(route for route in self.after.routes if route not in self.before.routes)

    @property
    def lost(self) -> tuple[Route, ...]:
        return tuple(route for route in self.before.routes if route not in self.after.routes)

    @property
    def causes(self) -> tuple[str, ...]:
        """Why it changes: what denies it afterwards; where more is permitted, what denied it before."""
        if self.change == FATE:
            worse = _RANK[self.after.fate] > _RANK[self.before.fate]
            return self.after.causes if worse else self.before.causes
        refusals, routes, absent = dict(self.after.refusals), self.lost, GONE
        if not routes:
            refusals, routes, absent = dict(self.before.refusals), self.gained, NEW
        return tuple(sorted({cause for route in routes for cause in refusals.get(route, (absent,))}))


_RANK: Final = {fate: rank for rank, fate in enumerate(Fate)}  # from best to worst for whoever asks


@dataclass(slots=True)
class Row:
    """Requests that are alike in all that is told of them, and the tokens that they used where somebody counted.

    `readings`: how many attempts told of their tokens.
    """

    requests: int = 0
    prompt: int = 0
    completion: int = 0
    readings: int = 0

    def add(self, other: "Row") -> None:
        self.requests += other.requests
        self.prompt += other.prompt
        self.completion += other.completion
        self.readings += other.readings


class Changed(NamedTuple):
    """One changed request, for people to look at. `request` is its id; `at` when it came, µs UTC (None: not said)."""

    request: str
    at: int | None
    asked: DecisionInput
    key: RowKey


@dataclass(slots=True)
class Plan:
    """What came of it. `unreadable` counts records that could not be read; `problems` names the first of them."""

    rows: dict[RowKey, Row] = field(default_factory=dict)
    listed: list[Changed] = field(default_factory=list)
    distinct: int = 0
    changed: int = 0  # requests that do not meet the same
    newly_denied: int = 0  # sent under the rules before, and not under those after
    newly_permitted: int = 0  # could go somewhere, in some form, where they could not before
    summed: int = 0  # requests of more kinds than there are rows: told by their fates alone
    retries: int = 0
    unreadable: int = 0
    problems: list[str] = field(default_factory=list)
    passed_over: int = 0  # records of another gateway that are no requests to a model
    without_content: int = 0  # of another gateway's requests, those of which no content was there to inspect
    content_cut: int = 0  # … and those of which not all of it was
    usage_unmatched: int = 0  # readings of usage whose request was not at hand any more

    def total(self, holds: Callable[[RowKey], bool] = lambda key: True) -> Row:
        """The sum of the rows for which `holds`."""
        total = Row()
        for key, row in self.rows.items():
            if holds(key):
                total.add(row)
        return total

    def permitted_at(self) -> dict[str, tuple[int, int]]:
        """Deployment → how many requests it might receive, before and after."""
        before: Counter[str] = Counter()
        after: Counter[str] = Counter()
        for key, row in self.rows.items():
            for name in {deployment for _, deployment in key.before.routes}:
                before[name] += row.requests
            for name in {deployment for _, deployment in key.after.routes}:
                after[name] += row.requests
        return {name: (before[name], after[name]) for name in sorted({*before, *after})}


class _Kind:
    """What all requests of one input are counted as that were recorded alike. `row` may be shared with other kinds."""

    __slots__ = ("changed", "key", "newly_denied", "newly_permitted", "row", "summed")

    def __init__(self, key: RowKey, row: Row, *, summed: bool) -> None:
        was_sent, is_sent = key.before.fate in SENT, key.after.fate in SENT
        self.key = key
        self.row = row
        self.summed = summed
        self.changed = key.change != SAME
        self.newly_denied = was_sent and not is_sent
        self.newly_permitted = bool(key.gained) or (is_sent and not was_sent)


class _Group:
    """One distinct input, decided."""

    __slots__ = ("after", "asked", "before", "kinds")

    def __init__(self, asked: DecisionInput, before: Met | None, after: Met) -> None:
        self.asked = asked
        self.before = before
        self.after = after
        self.kinds: dict[Recorded, _Kind] = {}


class Planner:
    """`take` each request, and tell of its `used` tokens; `plan` then holds the result. Belongs to one thread."""

    def __init__(self, before: Replay | None, after: Replay, bounds: Bounds | None = None) -> None:
        """`before` None: what was recorded is what requests are held against (another gateway's log)."""
        self._before = before
        self._after = after
        self._bounds = bounds or Bounds()
        self._young: dict[Hashable, _Group] = {}
        self._old: dict[Hashable, _Group] = {}
        self._open: OrderedDict[str, Row] = OrderedDict()
        self.plan = Plan()

    def take(
        self, request: str, at: int | None, key: Hashable, asked: Callable[[], DecisionInput], recorded: Recorded
    ) -> None:
        """A request. `asked` gives its input where its `key` (what makes inputs equal) is not known; what it raises
        travels, and nothing is counted then."""
        group = self._young.get(key)
        if group is None:
            group = self._group(key, asked)
        kind = group.kinds.get(recorded)
        if kind is None:
            kind = group.kinds[recorded] = self._kind(group, recorded)
        plan, row = self.plan, kind.row
        row.requests += 1
        plan.summed += kind.summed
        if kind.changed:
            plan.changed += 1
            plan.newly_denied += kind.newly_denied
            plan.newly_permitted += kind.newly_permitted
            if len(plan.listed) < self._bounds.listed:
                plan.listed.append(Changed(request, at, group.asked, kind.key))
        self._open[request] = row
        if len(self._open) > self._bounds.open:
            self._open.popitem(last=False)

    def used(self, request: str, prompt: int, completion: int) -> None:
        """Tokens that an attempt of a request used."""
        row = self._open.get(request)
        if row is None:
            self.plan.usage_unmatched += 1
            return
        row.prompt += prompt
        row.completion += completion
        row.readings += 1

    def _group(self, key: Hashable, asked: Callable[[], DecisionInput]) -> _Group:
        group = self._old.get(key)
        if group is None:
            recorded = asked()
            before = None if self._before is None else self._before.met(recorded)
            group = _Group(recorded, before, self._after.met(recorded))
            self.plan.distinct += 1
        if len(self._young) >= self._bounds.groups // 2:
            self._old, self._young = self._young, {}
        self._young[key] = group
        return group

    def _kind(self, group: _Group, recorded: Recorded) -> _Kind:
        before = Met(recorded.fate) if group.before is None else group.before
        after = group.after if self._before is not None else group.after._replace(routes=())
        key = place = RowKey(group.asked.principal.organisation, group.asked.model, before, after, recorded)
        rows = self.plan.rows
        summed = key not in rows and len(rows) >= self._bounds.rows
        if summed:  # five fates on either side are few
            place = RowKey(OTHERS, OTHERS, Met(before.fate), Met(after.fate), Recorded(recorded.fate))
        return _Kind(key, rows.setdefault(place, Row()), summed=summed)
