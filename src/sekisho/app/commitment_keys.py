"""Forgetting and renewing the key that ties an organisation's entries to their content."""

from contextlib import closing
from pathlib import Path

from sekisho.app.keys import OrganisationKeys
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.canonical import encode
from sekisho.kernel.clock import SystemClock
from sekisho.settings import DataDirectory


def forget_organisation(root: Path, organisation: str, actor: str) -> None:
    """Destroy the key, then tell the ledger. May be called again. Raises UsageError if there is none of that name.

    In this order, because a key that an entry says is destroyed must be; a crash in between is made good by another
    call, and until then the organisation's requests are refused.
    """
    OrganisationKeys(DataDirectory(root).organisation_keys).forget(organisation)
    _tell(root, "organisation.key.forget", organisation, actor)


def renew_organisation(root: Path, organisation: str, actor: str) -> None:
    """Tell the ledger, then make a new key. Raises UsageError for an organisation whose key was not forgotten."""
    keys = OrganisationKeys(DataDirectory(root).organisation_keys)
    keys.require_forgotten(organisation)
    _tell(root, "organisation.key.renew", organisation, actor)
    keys.renew(organisation)


def _tell(root: Path, act: str, organisation: str, actor: str) -> None:
    clock = SystemClock()
    with closing(SqlIdentity(DataDirectory(root).state, clock)) as register, register.transaction(writes=True) as told:
        register.tell(told, clock.now_us(), actor, encode({"act": act, "organisation": organisation}))
