"""What control does of witnessing: it asks for cosignatures and answers those who ask. Neither can end control."""

import asyncio
import logging
import socket
from collections.abc import Iterable
from typing import Final

from sekisho.app.cosigning import DeclaredPeers, WitnessCalls, leave_word, log_key
from sekisho.app.witness import WitnessServer, open_witness
from sekisho.console.interfaces import Panel
from sekisho.gateway.http1.client import HttpClient
from sekisho.gateway.metrics import exposition, label
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError
from sekisho.ledger.cosigner import Cosigner, WitnessStatus
from sekisho.ledger.witness_book import WitnessBook
from sekisho.settings import DataDirectory, Settings

METRICS: Final = {
    "sekisho_witness_size": ("gauge", "Entries of this log that a witness has cosigned."),
    "sekisho_witness_lag_seconds": ("gauge", "How long something is published that a witness has not cosigned."),
    "sekisho_witness_failures": ("gauge", "Questions to a witness in a row without a cosignature."),
    "sekisho_witness_refusals_total": ("counter", "Answers of a witness that were no cosignature."),
    "sekisho_witness_alarm": ("gauge", "1 while a witness has seen a history of this log that is not the one here."),
    "sekisho_witness_answers_total": ("counter", "Answers given as a witness, by HTTP status."),
    "sekisho_witness_splits_total": ("counter", "Signed checkpoints of other logs that prove two histories."),
}

log = logging.getLogger(__name__)


class Witnessing:
    """Belongs to control's loop."""

    def __init__(self, directory: DataDirectory, settings: Settings, clock: Clock) -> None:
        self._directory = directory
        self._settings = settings
        self._clock = clock
        self._peers = DeclaredPeers(directory, settings.installation.origin)
        self._client = HttpClient()
        self._cosigner = Cosigner(
            directory.ledger,
            WitnessCalls(self._client, directory.root),
            self._peers.witnesses,
            clock,
            lambda standing: leave_word(directory, standing),
            lambda: log_key(directory),
        )
        self._asking: asyncio.Task[None] | None = None
        self._book: WitnessBook | None = None
        self._server: WitnessServer | None = None

    async def start(self, listener: socket.socket | None) -> None:
        """Begin to ask, and, with a `listener`, to answer. A witness that can't sign is told in the log, no more."""
        self._asking = asyncio.create_task(self._cosigner.run())
        if listener is None:
            return
        try:
            origin = self._settings.installation.origin
            book = await asyncio.to_thread(open_witness, self._directory, origin, self._clock)
            server = WitnessServer(self._directory, self._settings.witness, book, self._peers.logs)
            await server.start(listener)
        except (SekishoError, OSError) as error:
            listener.close()
            log.critical("nobody is witnessed: %s", error)
            return
        self._book, self._server = book, server
        log.info("witnessing on %s as %s", self._settings.witness.listen, book.vkey)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        await self._client.close()

    def shown_on(self, panel: Panel) -> Panel:
        """The console's panel, with how it stands with the witnesses."""
        standing = self._cosigner.standing
        return panel._replace(
            witnesses=len(standing),
            cosigning=sum(not one.failures for one in standing),
            alarms=tuple(f"ALARM: witness {one.name}: {one.alarm}" for one in standing if one.alarm),
        )

    def metrics(self) -> bytes:
        """In Prometheus' text format (version 0.0.4)."""
        standing, now_us = self._cosigner.standing, self._clock.now_us()
        lines = [
            *_samples("sekisho_witness_size", ((one, one.size) for one in standing)),
            *_samples("sekisho_witness_lag_seconds", ((one, one.lag_s(now_us)) for one in standing)),
            *_samples("sekisho_witness_failures", ((one, one.failures) for one in standing)),
            *_samples("sekisho_witness_refusals_total", ((one, one.refusals) for one in standing)),
            *_samples("sekisho_witness_alarm", ((one, int(bool(one.alarm))) for one in standing)),
        ]
        if self._server is not None and self._book is not None:
            name = "sekisho_witness_answers_total"
            answers = [(label("status", str(status)), count) for status, count in sorted(self._server.answers.items())]
            lines += exposition(name, *METRICS[name], answers)
            name = "sekisho_witness_splits_total"
            lines += exposition(name, *METRICS[name], [("", self._book.splits)])
        return ("\n".join(lines) + "\n").encode()


def _samples(name: str, values: Iterable[tuple[WitnessStatus, float]]) -> list[str]:
    return exposition(name, *METRICS[name], ((label("witness", one.name), value) for one, value in values))
