"""Joins a plan: the proposed declarations, those in force, and the traffic to hold against both."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.app.installation import build_declared
from sekisho.assurance.differences import Difference, differences
from sekisho.assurance.foreign import ForeignRequest, LogMapping, foreign_requests
from sekisho.assurance.foreign_rows import Row
from sekisho.assurance.plan import Plan, Planner, Recorded
from sekisho.assurance.replay import Replay
from sekisho.assurance.traffic import PROBLEMS_KEPT_MAX, Traffic, ids_between, names_persons
from sekisho.catalog.files import read_declarations
from sekisho.catalog.interfaces import Catalogue, Deployment, Price
from sekisho.gateway.declared import CLASS_HEADER, RESIDENCY_HEADER, declared
from sekisho.gateway.governing import decision_input, inspected
from sekisho.identity.interfaces import Principal
from sekisho.inspection.interfaces import BodyInspection, BodyRedaction
from sekisho.inspection.rules import compile_inspector
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.words import alternatives
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.index import INDEX, IndexReader
from sekisho.ledger.log_files import LogFiles
from sekisho.policy.engine import CedarDecider
from sekisho.policy.fate import Fate
from sekisho.policy.interfaces import DecisionInput, PolicyParts
from sekisho.policy.schema import STANDING_LABELS
from sekisho.settings import DataDirectory
from sekisho.snapshot.build import ENTITIES, POLICIES, SCHEMA
from sekisho.snapshot.interfaces import Snapshot
from sekisho.snapshot.store import SnapshotStore

WITHOUT_KINDS: Final = ("provider", "deployment", "site")

PROBLEM_LENGTH_MAX: Final = 300

# What a replay can't know, by code; the words are the report's.
INSPECTION_CHANGED: Final = "inspection_changed"
DEFAULTS_CHANGED: Final = "defaults_changed"
_DEFAULTS: Final = ("default_class", "default_residency")


@dataclass(frozen=True)
class ProposedDirectory(DataDirectory):
    """An installation whose declarations stand in `tree`: everything else is as it is."""

    tree: Path

    @property
    def declarations(self) -> Path:
        return self.tree


class Window(NamedTuple):
    """Requests that arrived in [from_us, to_us), µs UTC."""

    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class PlanAsked:
    """`declarations` None: those of the installation. `without`: KIND:NAME, taken not to be there."""

    window: Window
    declarations: Path | None = None
    without: tuple[str, ...] = ()


@dataclass(slots=True)
class Planned:
    """A plan with what it is of. `removed`: deployments that are taken not to be there. `limits`: codes."""

    before: str
    after: str
    differences: tuple[Difference, ...]
    plan: Plan
    window: Window | None
    removed: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    source: str = ""  # of another gateway's log: the file
    titles: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)  # policy's id → title, title_ja
    new: tuple[str, ...] = ()  # deployments that only the proposed declarations have
    gone: tuple[str, ...] = ()  # those that they don't have any more
    prices: Mapping[str, Price] = dataclasses.field(default_factory=dict)  # by deployment; read where it has `removed`


class _Rules(NamedTuple):
    """Declarations made ready: as they decide, and as they were declared."""

    snapshot: Snapshot
    catalogue: Catalogue
    parts: PolicyParts
    inspection: str  # digest of the rules


class Plans:
    """Plans over one installation. Blocking; nothing in it is changed. `progress` is told (entries read, in all)."""

    def __init__(
        self, directory: DataDirectory, clock: Clock, progress: Callable[[int, int], None] = lambda done, size: None
    ) -> None:
        self._directory = directory
        # Nearly always both sides inspect alike, and compiling the patterns is what takes longest of a small plan.
        compiled = functools.cache(compile_inspector)
        self._store = SnapshotStore(directory.snapshots, make_inspector=compiled, make_decider=CedarDecider)
        self._now_us = clock.now_us()
        self._progress = progress

    def plan(self, asked: PlanAsked) -> Planned:
        """What recorded requests would have met. Raises DeclarationsRefused for mistakes in the proposed declarations,
        UsageError for names that are not declared, SekishoError where there is no snapshot or log to read."""
        before, after = self._in_force(), self._proposed(asked.declarations)
        removed = removed_deployments(asked.without, after.catalogue)
        if removed:  # the question is then what their absence changes, not what other declarations do
            planner = Planner(Replay(after.snapshot), Replay(after.snapshot, without=frozenset(removed)))
        else:
            planner = Planner(Replay(before.snapshot), Replay(after.snapshot))
        by_person = names_persons(before.parts.policies) or names_persons(after.parts.policies)
        self._read_ledger(planner, asked.window, by_person=by_person)
        planned = self._planned(before, after, planner.plan)
        planned.window, planned.removed = asked.window, removed
        if removed:
            planned.before, planned.limits = planned.after, ()
            planned.prices = read_declarations(self._tree(asked.declarations)).prices
        return planned

    def plan_from(self, file: Path, mapping: LogMapping, declarations: Path | None) -> Planned:
        """What another gateway's requests would have met here, beside what that gateway did. Content is inspected here
        and kept nowhere. Raises as `plan`, and AssuranceError for a file that can't be read."""
        before, after = self._in_force(), self._proposed(declarations)
        planner = Planner(None, Replay(after.snapshot))
        plan = planner.plan
        for number, read in enumerate(foreign_requests(file, mapping), 1):
            problem = read.problem if isinstance(read, Row) else take_foreign(planner, after.snapshot, read)
            if problem:
                plan.unreadable += 1
                if len(plan.problems) < PROBLEMS_KEPT_MAX:
                    place = read.place if isinstance(read, Row) else f"request {read.request or number}"
                    plan.problems.append(f"{place}: {problem}"[:PROBLEM_LENGTH_MAX])
            elif isinstance(read, Row):
                plan.passed_over += 1
        planned = self._planned(before, after, plan)
        planned.source, planned.limits = str(file), ()
        return planned

    def _planned(self, before: _Rules, after: _Rules, plan: Plan) -> Planned:
        found = differences(before.catalogue, before.parts, after.catalogue, after.parts)
        limits = []
        if before.inspection != after.inspection:
            limits.append(INSPECTION_CHANGED)
        if any(one.field in _DEFAULTS for one in found):
            limits.append(DEFAULTS_CHANGED)
        names = [frozenset(side.snapshot.deployments) for side in (before, after)]
        policies = (*before.snapshot.decider.policies, *after.snapshot.decider.policies)
        return Planned(
            before.snapshot.digest,
            after.snapshot.digest,
            found,
            plan,
            None,
            limits=tuple(limits),
            titles={policy.id: (policy.title, policy.title_ja) for policy in policies},
            new=tuple(sorted(names[1] - names[0])),
            gone=tuple(sorted(names[0] - names[1])),
        )

    def _in_force(self) -> _Rules:
        digest = self._store.current()
        if digest is None:
            raise SekishoError("no snapshot is in force", remedy="Run `sekisho check`, then start control")
        snapshot, parts = self._store.load(digest, self._now_us), self._store.rules(digest).parts
        return _Rules(snapshot, self._store.catalogue(digest), parts, snapshot.inspector.rules_digest)

    def _proposed(self, declarations: Path | None) -> _Rules:
        tree = self._tree(declarations)
        catalogue, built = build_declared(ProposedDirectory(self._directory.root, tree))
        parts = {name: data for (layer, name), data in built.parts.items() if layer == "authority"}
        policy_parts = PolicyParts(policies=parts[POLICIES], schema=parts[SCHEMA], entities=parts[ENTITIES])
        snapshot = self._store.assemble(built, self._now_us)
        return _Rules(snapshot, catalogue, policy_parts, snapshot.inspector.rules_digest)

    def _tree(self, declarations: Path | None) -> Path:
        tree = self._directory.declarations if declarations is None else declarations
        if not tree.is_dir():
            raise UsageError(f"{tree} is no directory of declarations", remedy="Name one with --declarations")
        return tree

    def _read_ledger(self, planner: Planner, window: Window, *, by_person: bool) -> None:
        ledger = self._directory.ledger
        files = LogFiles(ledger)
        note = files.checkpoint()
        if note is None:
            return  # nothing was ever published, so nothing was recorded
        size = read_checkpoint(note).size
        with closing(IndexReader(ledger / INDEX)) as index:
            span = index.leaves_between(*ids_between(*window))
        if span is None or span[0] >= size:
            return
        end = min(span[1] + 1, size)
        traffic = Traffic(planner, *window, by_person=by_person)
        for first, entries in files.entries(span[0], size):
            if first >= end:
                break
            traffic.see(first, entries)
            self._progress(min(first + len(entries), end) - span[0], end - span[0])


def removed_deployments(without: tuple[str, ...], catalogue: Catalogue) -> tuple[str, ...]:
    """The deployments of what KIND:NAME names. Raises UsageError for what is not declared."""
    found: set[str] = set()
    for text in without:
        kind, _, name = text.partition(":")
        if kind not in WITHOUT_KINDS or not name:
            raise UsageError(f"{text!r} names nothing", remedy="Write provider:NAME, deployment:NAME or site:NAME")
        known = {value.name for value in getattr(catalogue, f"{kind}s")}
        if name not in known:
            raise UsageError(f"no {kind} {name!r} is declared", remedy=f"There is: {alternatives(name, known)}")
        found.update(one.name for one in catalogue.deployments if _belongs(one, kind, name))
        if not any(_belongs(one, kind, name) for one in catalogue.deployments):
            raise UsageError(f"the {kind} {name} has no deployment, so nothing would be gone")
    return tuple(sorted(found))


def _belongs(deployment: Deployment, kind: str, name: str) -> bool:
    return {"provider": deployment.provider, "site": deployment.site, "deployment": deployment.name}[kind] == name


def take_foreign(planner: Planner, snapshot: Snapshot, request: ForeignRequest) -> str:
    """Show a request of another gateway to the planner; what is wrong with it, where it can't be replayed."""
    if request.organisation not in snapshot.organisations:
        known = alternatives(request.organisation, snapshot.organisations)
        return f"organisation {request.organisation!r} is not declared. Map it to one of: {known}"
    try:
        asked = foreign_input(snapshot, request)
    except SekishoError as error:
        return str(error)
    if request.body is None and request.labels is None:
        planner.plan.without_content += 1
    planner.plan.content_cut += request.cut
    recorded = Recorded(Fate.RAW if request.served else Fate.DENIED)
    planner.take(request.request, request.at, asked, lambda: asked, recorded)
    if request.prompt or request.completion:
        planner.used(request.request, request.prompt, request.completion)
    return ""


def foreign_input(snapshot: Snapshot, request: ForeignRequest) -> DecisionInput:
    """What would be decided on, had it come here. Raises SekishoError for a class, place or label nobody knows."""
    principal = Principal(request.principal, request.organisation, request.roles, None, None)
    headers: dict[bytes, bytes] = {}
    if request.data_class is not None:
        headers[CLASS_HEADER] = request.data_class.encode()
    if request.residency is not None:
        headers[RESIDENCY_HEADER] = ",".join(request.residency).encode()
    organisation = snapshot.organisations[request.organisation]
    stated = declared(headers, principal, organisation, snapshot.catalogue.boundary, snapshot.class_ranks)
    inspection, redaction = _found(snapshot, request)
    return decision_input(snapshot, principal, request.model, stated, inspection, redaction)


def _found(snapshot: Snapshot, request: ForeignRequest) -> tuple[BodyInspection, BodyRedaction | None]:
    """What its content holds by inspection, and what the log says of it: neither takes away from the other.

    What the log alone names can't be masked, unless there is no content and the log says that it could be; and what
    inspection never masks (`opaque`, `egress.*`) no log makes maskable.
    """
    told = {*(request.labels or ())}
    unknown = sorted(told - {*snapshot.inspector.labels(), *STANDING_LABELS})
    if unknown:
        raise UsageError(f"the label {unknown[0]!r} is not known", remedy="`sekisho explain` names those that are")
    if request.body is None:
        redactable = request.redactable and told.isdisjoint(STANDING_LABELS)
        return BodyInspection(tuple(sorted(told)), redactable), BodyRedaction(None, ()) if redactable else None
    inspection, redaction = inspected(snapshot.inspector, request.body)
    more = told - {*inspection.labels}
    if more:
        redactable = inspection.redactable and more.isdisjoint(STANDING_LABELS)
        inspection = BodyInspection(tuple(sorted({*inspection.labels, *more})), redactable)
        if redaction is not None:
            redaction = BodyRedaction(redaction.body, tuple(sorted({*redaction.labels, *more})))
    return inspection, redaction
