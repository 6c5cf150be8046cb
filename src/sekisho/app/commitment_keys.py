"""Forgetting and renewing the key that ties an organisation's entries to their content."""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Final

from sekisho.app.approvals import demand_of
from sekisho.app.clock import command_clock
from sekisho.app.keys import OrganisationKeys
from sekisho.identity.acts import KEYS_FORGET, told
from sekisho.identity.sql import SqlIdentity
from sekisho.settings import DataDirectory

RENEW: Final = "keys.renew"


def forget_organisation(root: Path, organisation: str, actor: str, approvals: Iterable[Path]) -> None:
    """Destroy the key and tell the ledger. May be called again. `approvals` are files, where rules demand them.

    In one transaction the approval is used up, the key destroyed, the ledger told, in this order: a key that an entry
    says is destroyed must be. A crash in between is made good by another call, with the same approval; until then the
    organisation's requests are refused.

    Raises UsageError if there is no key of that name, ApprovalError if what is demanded is not there, SekishoError,
    OSError; nothing was destroyed then, but for an OSError in the destroying itself.
    """
    directory = DataDirectory(root)
    clock = command_clock(directory)
    keys = OrganisationKeys(directory.organisation_keys)
    keys.require_known(organisation)
    parameters = {"organisation": organisation}
    with closing(SqlIdentity(directory.state, clock)) as register:
        demand = demand_of(directory, register, clock, KEYS_FORGET, parameters, approvals)
        with register.transaction(writes=True) as connection:
            now_us = clock.now_us()
            approval = demand.meet(connection, now_us)
            keys.forget(organisation)
            register.tell(connection, now_us, actor, told(KEYS_FORGET, parameters, approval))


def renew_organisation(root: Path, organisation: str, actor: str) -> None:
    """Tell the ledger, then make a new key. Raises UsageError for an organisation whose key was not forgotten."""
    directory = DataDirectory(root)
    clock = command_clock(directory)
    keys = OrganisationKeys(directory.organisation_keys)
    keys.require_forgotten(organisation)
    body = told(RENEW, {"organisation": organisation}, None)
    with closing(SqlIdentity(directory.state, clock)) as register, register.transaction(writes=True) as connection:
        register.tell(connection, clock.now_us(), actor, body)
    keys.renew(organisation)
