"""Asks witnesses for cosignatures of each new checkpoint, beside the publisher and never in its way.

It only reads what is published and writes under `cosigned/`: whatever a witness does, publishing does not wait.

1. A round asks every witness about one checkpoint, so that cosignatures of a quorum meet on one note.
2. A witness is *good* or *failing*. A round waits for the good ones, for ROUND_S_MAX at most; a failing one is asked
   again after RETRY_S_MIN, twice that … RETRY_S_MAX, beside the rounds, which don't wait for it.
3. One question to a witness is under way at a time, with ASK_S_MAX for all of it.
4. Each answer is verified before it is kept. A witness that says it has cosigned more of this log than there is here,
   or that what is here is not what it cosigned, is an alarm: it lies, or this disk is an old or a cloned one.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from sekisho.kernel.clock import Clock
from sekisho.kernel.cosignatures import CosignatureVerifier
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.notes import NoteVerifier
from sekisho.kernel.retrying import Retrying
from sekisho.ledger.checkpoint import open_checkpoint, origin_hash, read_checkpoint
from sekisho.ledger.cosigned import CosignedNotes
from sekisho.ledger.cosigning import WitnessAnswer, read_answer, write_request
from sekisho.ledger.errors import SizeConflict, WitnessAnswerInvalid
from sekisho.ledger.log_files import LogFiles

INTERVAL_S: Final = 0.5  # between looks at what is published, which changes about each second
ROUND_S_MAX: Final = 2.0  # a slower witness still gives its cosignature, to a note that is no longer the newest
ASK_S_MAX: Final = 10.0  # of one question, a second try from another size included
RETRY_S_MIN: Final = 5.0
RETRY_S_MAX: Final = 300.0
RENEW_US: Final = 3_600_000_000  # of a log that rests: a cosignature says "the largest as of then"
_SHOW_S_MAX: Final = 3.0  # for a witness to show what it says; the alarm does not wait longer
_TRIES: Final = 2  # the second, from the size that the witness says it has

log = logging.getLogger(__name__)


class DeclaredWitness(NamedTuple):
    """A witness to ask; without a URL it is asked by files."""

    name: str
    verifier: CosignatureVerifier
    url: str | None = None
    ca_file: str | None = None


class AsksWitness(Protocol):
    """Answers are of bounded size. Raises SekishoError or OSError. May take for ever: it is cancelled in time."""

    async def add_checkpoint(self, witness: DeclaredWitness, body: bytes) -> WitnessAnswer:
        """POST `body` to the witness's `/add-checkpoint`."""
        ...

    async def checkpoint(self, witness: DeclaredWitness, hashed: str) -> WitnessAnswer:
        """GET what the witness cosigned last of the log whose origin has this SHA-256."""
        ...


@dataclass(frozen=True, slots=True)
class WitnessStatus:
    """How it stands with one witness."""

    name: str
    size: int = 0  # of the largest checkpoint that it is known to have cosigned
    cosigned_at_us: int = 0  # when its last cosignature came; 0: none since the start
    behind_since_us: int = 0  # since when something is published that it has not cosigned; 0: nothing is
    refusals: int = 0  # answers that were no cosignature, since the start
    failures: int = 0  # questions in a row without a cosignature
    trouble: str = ""  # why the last one failed
    alarm: str = ""  # set: what the witness has seen and what is here can't both be this log

    def lag_s(self, now_us: int) -> float:
        """How long something has been published that it has not cosigned."""
        return max(0, now_us - self.behind_since_us) / 1e6 if self.behind_since_us else 0.0


@dataclass(slots=True, eq=False)
class _Asked:
    witness: DeclaredWitness
    status: WitnessStatus
    retry_at: float = 0.0  # loop time
    task: asyncio.Task[None] | None = field(default=None)

    def note(self, **changes: object) -> None:
        self.status = dataclasses.replace(self.status, **changes)  # type: ignore[arg-type]


class _Contradiction(SekishoError):
    """The witness's history of this log and ours exclude each other, or it lies."""


class Cosigner:
    """Belongs to one event loop. `declared` is asked in a thread each round; `changed` gets every new standing.
    `log_key` is the key by which this log signs now.
    """

    def __init__(
        self,
        ledger: Path,
        ask: AsksWitness,
        declared: Callable[[], Sequence[DeclaredWitness]],
        clock: Clock,
        changed: Callable[[tuple[WitnessStatus, ...]], None],
        log_key: Callable[[], NoteVerifier],
    ) -> None:
        self._files = LogFiles(ledger)
        self._notes = CosignedNotes(ledger)
        self._ask = ask
        self._declared = declared
        self._clock = clock
        self._changed = changed
        self._log_key = log_key
        self._asked: dict[DeclaredWitness, _Asked] = {}
        self._told: tuple[WitnessStatus, ...] | None = None

    @property
    def standing(self) -> tuple[WitnessStatus, ...]:
        """Of each declared witness."""
        return tuple(asked.status for asked in self._asked.values())

    async def run(self) -> None:
        """Until cancelled."""
        asking = Retrying(log, "witnesses can't be asked")
        try:
            while True:
                with asking:
                    await self.round()
                await asyncio.sleep(INTERVAL_S)
        finally:
            await self.close()

    async def close(self) -> None:
        tasks = [asked.task for asked in self._asked.values() if asked.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def round(self) -> None:
        """Ask who is due about what is published now, and wait for the good ones."""
        await self._follow_declared(await asyncio.to_thread(self._declared))
        note = await asyncio.to_thread(self._files.checkpoint)
        if note is None or not self._asked:
            return
        size = read_checkpoint(note).size
        waited = []
        for asked in self._asked.values():
            if asked.status.size < size and not asked.status.behind_since_us:
                asked.note(behind_since_us=self._clock.now_us())
            if not self._is_due(asked, size):
                continue
            asked.task = asyncio.create_task(self._question(asked, note))
            if not asked.status.failures:
                waited.append(asked.task)
        if waited:
            await asyncio.wait(waited, timeout=ROUND_S_MAX)
        await self._tell()

    def _is_due(self, asked: _Asked, size: int) -> bool:
        if asked.witness.url is None or (asked.task is not None and not asked.task.done()):
            return False
        if asyncio.get_running_loop().time() < asked.retry_at:
            return False
        return asked.status.size != size or self._clock.now_us() - asked.status.cosigned_at_us > RENEW_US

    async def _follow_declared(self, declared: Sequence[DeclaredWitness]) -> None:
        for gone in self._asked.keys() - set(declared):
            task = self._asked.pop(gone).task
            if task is not None:
                task.cancel()
        for witness in declared:
            if witness not in self._asked or witness.url is None:
                known = await asyncio.to_thread(self._known_size, witness)
                asked = self._asked.setdefault(witness, _Asked(witness, WitnessStatus(witness.name, known)))
                if known != asked.status.size:  # cosignatures came by file
                    asked.note(size=known, behind_since_us=0)

    def _known_size(self, witness: DeclaredWitness) -> int:
        found = (one.checkpoint.size for one in self._notes.notes() if one.bears(witness.verifier))
        return next(found, 0)

    async def _question(self, asked: _Asked, note: str) -> None:
        """One question, its end noted, whatever it is."""
        witness = asked.witness
        try:
            async with asyncio.timeout(ASK_S_MAX):
                note, line = await self._cosignature(asked, note)
            keys = [one.verifier for one in self._asked]
            await asyncio.to_thread(self._notes.add, note, line, keys)
        except _Contradiction as error:
            if not asked.status.alarm:
                log.critical("ALARM: witness %s: %s", witness.name, error)
            self._failed(asked, error.message, alarm=error.message)
        except TimeoutError:
            self._failed(asked, f"it gave no whole answer within {ASK_S_MAX:.0f} s")
        except (SekishoError, OSError) as error:
            self._failed(asked, str(error), refused=isinstance(error, WitnessAnswerInvalid))
        except Exception as error:
            log.exception("a fault in asking witness %s", witness.name)  # others are asked all the same
            self._failed(asked, str(error))
        else:
            self._cosigned(asked, read_checkpoint(note).size)

    async def _cosignature(self, asked: _Asked, note: str) -> tuple[str, str]:
        """The witness's verified line on `note`, or on one published since. Raises SekishoError, OSError."""
        size = read_checkpoint(note).size
        old_size = min(asked.status.size, size)
        for _ in range(_TRIES):
            nodes = self._files.nodes(size)
            body = await asyncio.to_thread(write_request, old_size, note, nodes)
            answer = await self._ask.add_checkpoint(asked.witness, body)
            if answer.status == 422:
                raise _Contradiction(
                    f"it refused the proof that the {size} entries here extend the {old_size} that it cosigned",
                    remedy=_WRONG_DISK,
                )
            try:
                return note, read_answer(answer, note, asked.witness.verifier)
            except SizeConflict as conflict:
                if conflict.size > size:
                    # Anybody may have shown it what was published since it was asked: that is no contradiction.
                    newest = await asyncio.to_thread(self._files.checkpoint)
                    note = note if newest is None else newest
                    size = read_checkpoint(note).size
                if conflict.size > size:
                    said = f"it says that it cosigned {conflict.size} entries of this log, which has {size} here"
                    raise _Contradiction(f"{said}, {await self._shown(asked, size)}", remedy=_WRONG_DISK) from None
                if conflict.size == old_size:
                    raise WitnessAnswerInvalid("it refused the very size that it says it has") from None
                old_size = conflict.size
        raise WitnessAnswerInvalid("it says another size each time that it is asked")

    async def _shown(self, asked: _Asked, size: int) -> str:
        """Whether the witness has a checkpoint beyond `size` that this log's own key signed: that can't be a lie."""
        try:
            key = await asyncio.to_thread(self._log_key)
            async with asyncio.timeout(_SHOW_S_MAX):
                answer = await self._ask.checkpoint(asked.witness, origin_hash(key.name))
            shown = open_checkpoint(answer.body.decode(), key)
        except (SekishoError, OSError, TimeoutError, UnicodeDecodeError):
            return _SHOWN_NONE
        return f"and shows {shown.size} that this log's own key signed" if shown.size > size else _SHOWN_NONE

    def _cosigned(self, asked: _Asked, size: int) -> None:
        now_us = self._clock.now_us()
        if asked.status.failures or not asked.status.cosigned_at_us:
            log.info("witness %s cosigns, now at %d entries", asked.witness.name, size)
        # More may be published by now: then it lags from now on, else the next round finds it level.
        asked.note(size=size, cosigned_at_us=now_us, behind_since_us=0, failures=0, trouble="", alarm="")
        asked.retry_at = 0.0

    def _failed(self, asked: _Asked, trouble: str, *, refused: bool = False, alarm: str = "") -> None:
        status = asked.status
        if trouble != status.trouble:  # tried again and again, said once
            log.warning("witness %s did not cosign: %s", asked.witness.name, trouble)
        wait_s = min(RETRY_S_MIN * 2 ** min(status.failures, 16), RETRY_S_MAX)
        asked.retry_at = asyncio.get_running_loop().time() + wait_s
        asked.note(
            failures=status.failures + 1,
            refusals=status.refusals + bool(refused or alarm),
            trouble=trouble,
            alarm=alarm or status.alarm,
        )

    async def _tell(self) -> None:
        standing = self.standing
        if standing != self._told:
            await asyncio.to_thread(self._changed, standing)
            self._told = standing  # only now: what could not be told is told in the next round


_SHOWN_NONE: Final = "and shows none that this log's own key signed"
_WRONG_DISK: Final = (
    "If that is so, this data directory is a clone or an old copy of a log that went on elsewhere: stop this"
    " installation and go on with the newer disk. See docs/witness.md"
)
