"""Who may read the log's entries in bulk: holders of a key with the role `auditor`. Entries say that they did."""

import threading
from collections.abc import Callable
from typing import Final

from sekisho.console.errors import NotAllowed
from sekisho.identity.api_keys import ACCESS_KIND, AUDITOR, ledger_read_body
from sekisho.identity.interfaces import Principal
from sekisho.identity.keyring import Keyring
from sekisho.identity.sql import SqlIdentity
from sekisho.kernel.clock import Clock

COVERED_US: Final = 60_000_000  # one entry tells of a key's reads for a minute: an audit costs few, and none is untold
KEY_PREFIX: Final = "key-"


class LogAuditors:
    """Implements the console's Auditors. Any thread; `register` stays the caller's to close.

    A key that begins to read, or goes on after a minute, is told to the ledger first, by way of the register's
    outbox: what leaves has been recorded durably before, and bounded by keys and minutes, not by requests.
    """

    def __init__(self, register: SqlIdentity, clock: Clock, log_size: Callable[[], int]) -> None:
        self._register = register
        self._clock = clock
        self._log_size = log_size
        self._keyring = Keyring()
        self._covered_until: dict[str, int] = {}
        self._lock = threading.Lock()

    def admit(self, authorization: str | None) -> None:
        with self._lock:
            # At each read: a revoked key reads nothing more, and where nothing changed it costs a look at one row.
            self._keyring.apply(self._register.changes_since(self._keyring.sequence))
            encoded = None if authorization is None else authorization.encode("utf-8", "replace")
            principal = self._keyring.authenticate(encoded, None)
            if AUDITOR not in principal.roles:
                raise NotAllowed(
                    "this key may not read the log's entries",
                    remedy=f"Ask the operator for one with the role {AUDITOR}: sekisho keys create --role {AUDITOR}",
                )
            self._record(principal)

    def _record(self, principal: Principal) -> None:
        now_us = self._clock.now_us()
        if self._covered_until.get(principal.id, 0) > now_us:
            return
        until = now_us + COVERED_US
        body = ledger_read_body(principal.id.removeprefix(KEY_PREFIX), self._log_size(), until)
        with self._register.transaction(writes=True) as connection:
            self._register.tell(connection, now_us, principal.id, body, ACCESS_KIND)
        self._covered_until[principal.id] = until
