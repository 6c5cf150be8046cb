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
from sekisho.ledger.errors import LogUnreadable, ReceiptInvalid
from sekisho.ledger.interfaces import CommitmentKeyForgotten, CommitmentKeyMissing
from sekisho.ledger.reader import LogReader
from sekisho.ledger.receipts import build_receipt
from sekisho.settings import DataDirectory

_READS_MAX: Final = 3  # a rotation of the log's key is over in one
_THREADS: Final = 2  # a proof takes about a millisecond; receipts must not crowd out the request path


class LogReceipts:
    """Implements the gateway's Receipts, and the console's."""

    def __init__(self, directory: DataDirectory, keys: OrganisationKeys, clock: Clock) -> None:
        self._directory = directory
        self._keys = keys
        self._clock = clock
        self._reader = LogReader(directory.ledger)
        former = sorted(path.parent for path in directory.former_logs.glob("*/checkpoint"))
        self._former = [(root / "enrolment", LogReader(root)) for root in former]
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="receipts")

    async def receipt(self, request_id: str, organisation: str) -> ReceiptAnswer:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._read, request_id, organisation)

    # The console's Receipts

    def state(self, request_id: str) -> str:
        try:
            return self._read(request_id, None).state
        except CommitmentKeyMissing:
            return "complete"  # nothing more is known to be wrong; whoever asks for the file is told

    def of_any(self, request_id: str) -> bytes:
        return self._read(request_id, None).file

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        for reader in (self._reader, *(reader for _, reader in self._former)):
            reader.close()

    def _read(self, request_id: str, organisation: str | None) -> ReceiptAnswer:
        """None: of any organisation."""
        for _ in range(_READS_MAX):
            enrolment = self._directory.enrolment.read_text()
            answer = self._read_under(self._reader, enrolment, request_id, organisation)
            if self._directory.enrolment.read_text() == enrolment:
                return answer if answer.state != "unknown" else self._read_former(request_id, organisation)
        raise LogUnreadable("the log's enrolment changes again and again", remedy="Try again")

    def _read_former(self, request_id: str, organisation: str | None) -> ReceiptAnswer:
        """From the logs that this installation had before it was restored; what was open there stays unknown."""
        for enrolment, reader in self._former:
            answer = self._read_under(reader, enrolment.read_text(), request_id, organisation)
            if answer.state in ("complete", "unlinked"):
                return answer
        return ReceiptAnswer("unknown")

    def _read_under(
        self, reader: LogReader, enrolment: str, request_id: str, organisation: str | None
    ) -> ReceiptAnswer:
        """`enrolment` fits the checkpoint only if it is still there afterwards: the log's key may be replaced."""
        state = reader.state(request_id, self._clock.now_us())
        found = (_organisation(orjson.loads(proven.entry)) for proven in state.entries)
        owners = {owner for owner in found if owner is not None}
        if state.entries and (len(owners) != 1 or organisation not in (None, *owners)):
            return ReceiptAnswer("unknown")
        if state.state != "complete":
            return ReceiptAnswer(state.state)
        (owner,) = owners
        site_key = NoteVerifier.parse(self._directory.site_vkey.read_text())
        try:
            key = self._keys.key(owner)
            return ReceiptAnswer("complete", build_receipt(request_id, site_key, enrolment, state.entries, key))
        except (CommitmentKeyForgotten, ReceiptInvalid):
            return ReceiptAnswer("unlinked")  # the key that it was committed with is no more


def _organisation(envelope: dict[str, Any]) -> str | None:
    """Whose request it was; only decisions say so."""
    if envelope["kind"] != DECISION:
        return None
    organisation: str = envelope["body"]["input"]["principal"]["organisation"]
    return organisation
