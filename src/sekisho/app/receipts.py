"""Receipts for callers, read from the log's files in threads: they need no control process and block no request."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import orjson

from sekisho.app.keys import OrganisationKeys
from sekisho.gateway.entries import DECISION
from sekisho.gateway.interfaces import ReceiptAnswer
from sekisho.kernel.clock import Clock
from sekisho.kernel.notes import NoteVerifier
from sekisho.ledger.reader import LogReader
from sekisho.ledger.receipts import build_receipt
from sekisho.settings import DataDirectory

_THREADS: Final = 2  # a proof takes about a millisecond; receipts must not crowd out the request path


class LogReceipts:
    """Implements the gateway's Receipts, and the console's."""

    def __init__(self, directory: DataDirectory, keys: OrganisationKeys, clock: Clock) -> None:
        self._directory = directory
        self._keys = keys
        self._clock = clock
        self._reader = LogReader(directory.ledger)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="receipts")

    async def receipt(self, request_id: str, organisation: str) -> ReceiptAnswer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._read, request_id, organisation)

    # The console's Receipts

    def state(self, request_id: str) -> str:
        return self._reader.state(request_id, self._clock.now_us()).state

    def of_any(self, request_id: str) -> bytes:
        return self._read(request_id, None).file

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self._reader.close()

    def _read(self, request_id: str, organisation: str | None) -> ReceiptAnswer:
        """None: of any organisation."""
        state = self._reader.state(request_id, self._clock.now_us())
        if state.state != "complete":
            return ReceiptAnswer(state.state)
        found = (_organisation(orjson.loads(proven.entry)) for proven in state.entries)
        owners = {owner for owner in found if owner is not None}
        if len(owners) != 1 or organisation not in (None, *owners):
            return ReceiptAnswer("unknown")
        (owner,) = owners
        site_key = NoteVerifier.parse(self._directory.site_vkey.read_text())
        enrolment = self._directory.enrolment.read_text()
        key = self._keys.key(owner)
        return ReceiptAnswer("complete", build_receipt(request_id, site_key, enrolment, state.entries, key))


def _organisation(envelope: dict[str, Any]) -> str | None:
    """Whose request it was; only decisions say so."""
    if envelope["kind"] != DECISION:
        return None
    organisation: str = envelope["body"]["input"]["principal"]["organisation"]
    return organisation
