"""What is declared: its mistakes, whether it is in force, what is stopped or only watched, and what ends soon."""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sekisho.app.doctor.findings import Finding, bounded, ok, problem, warning
from sekisho.app.installation import DeclarationsRefused, build_declared, snapshot_store
from sekisho.catalog.interfaces import MODE_MONITOR, ApprovalRule, Catalogue, Fact, Mistake
from sekisho.catalog.watch import git_lock
from sekisho.identity.interfaces import Stop
from sekisho.settings import DataDirectory

SHOWN_MAX: Final = 20
ENDS_SOON_US: Final = 30 * 86_400 * 1_000_000  # time enough to renew a contract's fact
GIT_LOCK_S_MAX: Final = 600  # no git command is at work on a tree of declarations for so long


def judge_mistakes(mistakes: Sequence[Mistake]) -> list[Finding]:
    found = [
        problem("declared.mistake", where=f"{one.file}: {one.key}" if one.key else one.file,
                detail=one.problem, remedy=one.remedy)
        for one in mistakes
    ]  # fmt: skip
    return bounded(found, SHOWN_MAX, "declared.mistakes_more")


def judge_in_force(on_disk: str, in_force: str | None, *, control_runs: bool) -> Finding:
    """Digests of the snapshots; the one on disk is what the declarations would be."""
    if in_force is None:
        return problem("declared.nothing_in_force")
    if on_disk == in_force:
        return ok("declared.in_force", snapshot=in_force[:16])
    code = "declared.changed_running" if control_runs else "declared.changed"
    return warning(code, snapshot=in_force[:16], declared=on_disk[:16])


def judge_stops(stops: Iterable[Stop]) -> list[Finding]:
    found = [
        warning("declared.stop", kind=one.kind, name=one.name, set_at=one.set_at, reason=one.reason or "-")
        for one in stops
    ]
    return bounded(found, SHOWN_MAX, "declared.stops_more")


def judge_approvals(rules: Sequence[ApprovalRule], persons: frozenset[str]) -> list[Finding]:
    """Whether each rule can be met by those who are enrolled, and whether enrolling is guarded as well."""
    found = []
    for rule in rules:
        # Whoever asks does not count: if only approvers are enrolled, one of them has to ask.
        can = len(persons.intersection(rule.approvers)) - (1 if persons <= set(rule.approvers) else 0)
        if can < rule.needed:
            found.append(problem("declared.approval_short", act=rule.act, needed=rule.needed, can=max(can, 0)))
    if rules and all(rule.act != "person.enrol" for rule in rules):
        found.append(warning("declared.approval_open"))
    return found


def judge_monitoring(catalogue: Catalogue, now_us: int) -> list[Finding]:
    found = []
    for one in catalogue.organisations:
        if one.mode == MODE_MONITOR and one.monitor_until is not None and now_us < one.monitor_until:
            found.append(warning("declared.monitor", organisation=one.name, until_at=one.monitor_until))
    return bounded(found, SHOWN_MAX, "declared.monitor_more")


def judge_ends(catalogue: Catalogue, now_us: int) -> list[Finding]:
    """Facts that have ended, and those that end within ENDS_SOON_US; the next first."""
    ends = sorted(
        (fact.expires, what, name)
        for what, facts in _facts(catalogue)
        for name, fact in facts.items()
        if fact.expires is not None and fact.expires < now_us + ENDS_SOON_US
    )
    found = [
        warning("declared.fact_ended" if end <= now_us else "declared.fact_ends", what=what, fact=name, ends_at=end)
        for end, what, name in ends
    ]
    return bounded(found, SHOWN_MAX, "declared.facts_more")


def judge_git_lock(path: Path, age_s: float) -> list[Finding]:
    """A lock that git left behind keeps declarations from being taken over for ever."""
    if age_s < GIT_LOCK_S_MAX:
        return []
    return [problem("declared.git_lock", path=str(path), age_s=int(age_s))]


def _facts(catalogue: Catalogue) -> Iterable[tuple[str, dict[str, Fact]]]:
    for provider in catalogue.providers:
        yield f"providers/{provider.name}.toml", provider.facts
    for deployment in catalogue.deployments:
        yield f"deployments/{deployment.name}.toml", deployment.facts


# -- looking


class Looked(NamedTuple):
    """`declared`: the catalogue on disk; None where that holds mistakes. `in_force`: the one that is."""

    findings: list[Finding]
    declared: Catalogue | None
    in_force: Catalogue | None


def look_at_git_lock(tree: Path) -> list[Finding]:
    """Whatever is wrong with the declarations, nothing is taken over while it is there."""
    lock = git_lock(tree)
    try:
        return [] if lock is None else judge_git_lock(lock, time.time() - lock.stat().st_mtime)
    except FileNotFoundError:  # git has just finished
        return []


def look_at_declarations(directory: DataDirectory, now_us: int, *, control_runs: bool) -> Looked:
    """Nothing is stored. Raises SnapshotError if what is in force can't be used, OSError."""
    found: list[Finding] = []
    store = snapshot_store(directory)
    current = store.current()
    in_force = None if current is None else store.load(current, now_us).catalogue
    if in_force is not None:
        found += judge_monitoring(in_force, now_us)
    try:
        catalogue, built = build_declared(directory)
    except DeclarationsRefused as refused:
        found += judge_mistakes(refused.mistakes)
        if current is None:
            found.append(problem("declared.nothing_in_force"))
        return Looked(found, None, in_force)
    found.append(judge_in_force(built.digest, current, control_runs=control_runs))
    found += judge_ends(catalogue, now_us)
    return Looked(found, catalogue, in_force)
