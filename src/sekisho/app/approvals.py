"""What demands approval in an installation: the rules of its snapshot in force, and the files that are brought."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from sekisho.app.installation import snapshot_store
from sekisho.app.rules import rules_of
from sekisho.identity.approval_files import read_approvals
from sekisho.identity.approvals import Wanted
from sekisho.identity.persons_sql import Demand, Rules, SqlPersons
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import Clock
from sekisho.settings import DataDirectory


def demand_of(
    directory: DataDirectory,
    register: SqlIdentity,
    clock: Clock,
    act: str,
    parameters: Mapping[str, str],
    files: Iterable[Path],
) -> Demand:
    """What the rules in force demand of an act, with the approvals in `files`; it is met where the act is done.

    Raises SekishoError for rules that can't be read, ApprovalRefused for files that are no approvals, and OSError.
    """
    rules = rules_in_force(directory)
    wanted = Wanted(act, parameters, rules.origin)
    return SqlPersons(register, clock).demand(wanted, read_approvals(files), rules)


def rules_in_force(directory: DataDirectory) -> Rules:
    """As `rules_of`."""
    return rules_of(directory, snapshot_store(directory))
