"""Exemptions come in force with an approval only: what `check` says of one without, and granting one with.

An exemption's approval stands beside it: `exemptions/NAME.toml`, `exemptions/NAME.approval`. It is held against the
rules of the snapshot in force, so that nobody can change the rule and use the change in one stroke.
"""

import shlex
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec

from sekisho.app.inspecting import declared_inspection
from sekisho.app.rules import rules_of
from sekisho.catalog.exemptions import grant_parameters
from sekisho.catalog.files import APPROVAL_ENDING, EXEMPTIONS, FILE_BYTES_MAX, read_declarations
from sekisho.catalog.interfaces import Catalogue, Exemption, Mistake
from sekisho.identity.acts import EXEMPTION_GRANT
from sekisho.identity.approval_files import read_approval_file
from sekisho.identity.approvals import Approval, Wanted, require_approval
from sekisho.identity.errors import ApprovalError, ApprovalMissing, ApprovalUsed
from sekisho.identity.exemptions_sql import SqlExemptions, no_rule
from sekisho.identity.persons_sql import Rules, SqlPersons, in_use
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import Clock, SystemClock
from sekisho.kernel.errors import UsageError
from sekisho.policy.check import check_policies
from sekisho.policy.exemptions import ends_soon
from sekisho.settings import DataDirectory
from sekisho.snapshot.store import SnapshotStore

LASTS_US_MAX: Final = 366 * 86_400 * 1_000_000  # what should hold for longer than a year is a rule: change the policy


def unapproved(directory: DataDirectory, catalogue: Catalogue, store: SnapshotStore) -> list[Mistake]:
    """A mistake for each declared exemption that could not come in force now. Raises SekishoError, OSError."""
    if not catalogue.exemptions:
        return []
    clock = SystemClock()
    with closing(SqlIdentity(directory.state, clock)) as register:
        granted = SqlExemptions(register, clock).granted()
        new = [one for one in catalogue.exemptions if one.sha256 not in granted]
        if not new:
            return []
        persons, rules, now_us = SqlPersons(register, clock), rules_of(directory, store), clock.now_us()
        found = []
        for one in new:
            problem = _problem(directory, one, rules, persons, now_us)
            if problem is not None:
                found.append(Mistake(f"{EXEMPTIONS}/{one.name}.toml", "", *problem))
        return found


def grant_exemptions(
    directory: DataDirectory, store: SnapshotStore, register: SqlIdentity, clock: Clock, digest: str
) -> int:
    """Grant those of a stored snapshot that are not yet, with the approvals beside them; how many that were.

    May be called again. Raises ApprovalError for one whose approval is not there or does not hold, SekishoError,
    OSError; those before it are granted then.
    """
    exemptions = store.catalogue(digest).exemptions
    if not exemptions:
        return 0
    grants = SqlExemptions(register, clock)
    granted = grants.granted()
    new = [one for one in exemptions if one.sha256 not in granted]
    if not new:
        return 0
    persons, rules = SqlPersons(register, clock), rules_of(directory, store)
    for one in new:
        _require_lasting(one, clock.now_us())
        wanted = _wanted(one, rules)
        grants.grant(wanted.parameters, persons.demand(wanted, _approvals(directory, one), rules), "control")
    return len(new)


def _problem(
    directory: DataDirectory, one: Exemption, rules: Rules, persons: SqlPersons, now_us: int
) -> tuple[str, str] | None:
    """What keeps an exemption from being granted, and what to do."""
    wanted = _wanted(one, rules)
    try:
        _require_lasting(one, now_us)
        approvals = _approvals(directory, one)
        if all(rule.act != EXEMPTION_GRANT for rule in rules.rules):
            raise no_rule()
        require_approval(wanted, approvals, rules.rules, in_use(persons.list_keys()), now_us=now_us)
        if persons.is_used(approvals[0].act.id):
            raise ApprovalUsed("this approval was used before", remedy="Ask again: one approval is for one act")
    except ApprovalMissing as missing:
        if any(rule.act == EXEMPTION_GRANT for rule in rules.rules):
            return f"is not approved: {missing.message}", _asking(directory, one)
        return f"is not approved: {missing.message}", missing.remedy or ""
    except ApprovalError as error:
        remedy = error.remedy or "Ask anew"
        return f"is not approved: {error.message}", f"{remedy}. To ask: {_asking(directory, one)}"
    return None


def _asking(directory: DataDirectory, one: Exemption) -> str:
    file = directory.declarations / EXEMPTIONS / f"{one.name}.toml"
    return (
        f"sekisho exemptions ask {shlex.quote(str(file))} --by PERSON --dir {shlex.quote(str(directory.root))}, "
        f"then others: sekisho approve {shlex.quote(str(file.with_suffix(APPROVAL_ENDING)))}"
    )


def _require_lasting(one: Exemption, now_us: int) -> None:
    if one.until <= now_us:
        raise ApprovalError("it has ended", remedy="Give it a later end, or take its file away")
    if one.until > now_us + LASTS_US_MAX:
        raise ApprovalError("it would last for more than a year", remedy="Give it an earlier end, or change the policy")


def _wanted(one: Exemption, rules: Rules) -> Wanted:
    return Wanted(EXEMPTION_GRANT, grant_parameters(one), rules.origin)


def _approvals(directory: DataDirectory, one: Exemption) -> list[Approval]:
    path: Path = directory.declarations / EXEMPTIONS / f"{one.name}{APPROVAL_ENDING}"
    return [read_approval_file(path)] if path.exists() else []


def declared_exemption(directory: DataDirectory, file: Path) -> Exemption:
    """The exemption that a file would declare, wherever it lies. Raises UsageError with everything wrong about it."""
    name = file.stem
    key = f"{EXEMPTIONS}/{name}.toml"
    with file.open("rb") as stream:
        data = stream.read(FILE_BYTES_MAX + 1)
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        declarations = read_declarations(directory.declarations, {key: text})
    except ValueError as error:
        raise UsageError(f"{file} is not TOML in UTF-8: {error}") from None
    mistakes = list(declarations.mistakes)
    if declarations.catalogue is not None:
        labels = declared_inspection(declarations.catalogue, declarations.policies).labels
        mistakes += check_policies(declarations.catalogue, declarations.policies, labels).mistakes
    if mistakes or declarations.catalogue is None:
        first = next((one for one in mistakes if one.file == key), mistakes[0])
        raise UsageError(
            f"{first.file}: {first.key}: {first.problem}" + (f" ({len(mistakes)} mistakes)" if mistakes[1:] else ""),
            remedy=first.remedy,
        )
    return next(one for one in declarations.catalogue.exemptions if one.name == name)


def listed_exemptions(store: SnapshotStore, clock: Clock) -> list[dict[str, Any]]:
    """Those of the snapshot in force, ended ones too, by their end; JSON values. Raises SekishoError."""
    digest = store.current()
    exemptions = () if digest is None else store.catalogue(digest).exemptions
    now_us = clock.now_us()
    return [
        msgspec.to_builtins(one)
        | {"ends_soon": ends_soon(one, now_us), "state": "ended" if one.until <= now_us else "in force"}
        for one in sorted(exemptions, key=lambda item: item.until)
    ]
