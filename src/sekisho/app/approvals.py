"""What demands approval in an installation: the rules of its snapshot in force, and the files that are brought."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from sekisho.app.installation import snapshot_store
from sekisho.identity.approval_files import read_approvals
from sekisho.identity.approvals import Wanted
from sekisho.identity.persons_sql import Demand, Rules, SqlPersons
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory, load_settings


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
    """Raises SekishoError if they can't be read: what nobody can look up is not taken for "none"."""
    origin = load_settings(directory.root).installation.origin
    store = snapshot_store(directory)
    digest = store.current()
    if digest is None:
        raise SekishoError(
            "no snapshot is in force, so nobody knows which acts need approval",
            remedy="Put the declarations in force first: sekisho up",
        )
    return Rules(store.catalogue(digest).approvals, digest, origin)
