"""A gateway process at work: it serves, and follows the key register and the snapshot in force off the loop."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from sekisho.catalog.interfaces import MODE_MONITOR
from sekisho.gateway.errors import Unavailable
from sekisho.gateway.halts import Halts
from sekisho.gateway.interfaces import InForce
from sekisho.identity.interfaces import KeyChanges, KeyRegister
from sekisho.kernel.clock import Clock
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.retrying import Retrying
from sekisho.policy.exemptions import exemption_notes
from sekisho.snapshot.interfaces import Snapshot

FOLLOW_INTERVAL_S: Final = 0.25  # revocation takes effect within a second: a quarter to see it, the rest to spare
EPOCH_AHEAD_US: Final = 10_000_000  # the next epoch is prepared so long before this one ends
_RETRY_AFTER_S: Final = 5.0  # a snapshot that could not be loaded is tried again so soon: it costs seconds
STALE_AFTER_S: Final = 5.0  # register not read for so long: serve on (G4), alarm, and say "not ready"

log = logging.getLogger(__name__)


class AppliesChanges(Protocol):
    def apply(self, changes: KeyChanges) -> None: ...


class SnapshotSource(Protocol):
    """Blocking; called in a thread."""

    def current(self) -> str | None: ...
    def mistakes(self) -> int:
        """How many keep the declarations on disk from being in force, as far as control has said."""
        ...

    def put_in_force(self, digest: str, now_us: int) -> InForce: ...


class Follower:
    """Keeps a worker's keys and snapshot as the data directory has them. Never blocks the loop, never stops serving."""

    def __init__(
        self,
        register: KeyRegister,
        keyring: AppliesChanges,
        snapshots: SnapshotSource,
        clock: Clock,
        halts: Halts,
    ) -> None:
        self._halts = halts
        self._register = register
        self._keyring = keyring
        self._snapshots = snapshots
        # One thread for all: each thread's allocator keeps the memory of the largest snapshot that it ever loaded.
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._clock = clock
        self._sequence = 0
        self._in_force: InForce | None = None
        self._next: InForce | None = None  # the same snapshot's next epoch, prepared ahead
        self._read_at = 0.0
        self._refused: str | None = None
        self.mistakes = 0  # of the declarations on disk, which are not in force then
        self._retry_at = 0.0
        self._retry_epoch_at = 0.0

    async def start(self) -> None:
        """Read both once; raises what stands in the way (a gateway can't begin without a snapshot)."""
        await self._follow_keys()
        digest = await asyncio.to_thread(self._snapshots.current)
        if digest is None:
            raise SekishoError("no snapshot is in force", remedy="Run `sekisho check`, then start control")
        self._in_force = await self._load(digest, self._clock.now_us())

    async def _load(self, digest: str, now_us: int) -> InForce:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._loading, self._snapshots.put_in_force, digest, now_us)

    def in_force(self) -> InForce:
        """What requests see now. Raises Unavailable if its epoch is over and the next one could not be prepared.

        A fact that has ended permits nothing any more (G2), so what stood on it is not served on with.
        """
        in_force = self._in_force
        if in_force is None:
            raise AssertionError("asked before start")
        until = in_force.snapshot.epoch_until
        if until is None or self._clock.now_us() < until:
            return in_force
        if self._next is None:
            raise Unavailable(
                "a fact, an exemption or monitor mode has ended, and the rules without it can't be read",
                code="epoch_over",
                remedy="The operator must mend the snapshot; the gateway recovers by itself",
                retry_after_s=1,
            )
        self._in_force, self._next = self._next, None
        return self.in_force()

    def rule_notes(self) -> list[str]:
        """The organisations in monitor mode just now and the exemptions in force, each in a sentence."""
        organisations = () if self._in_force is None else self._in_force.snapshot.organisations.values()
        names = sorted(one.name for one in organisations if one.mode == MODE_MONITOR)
        watched = [f"organisation {name} is in monitor mode: what policy denies is sent" for name in names]
        exemptions = () if self._in_force is None else self._in_force.snapshot.catalogue.exemptions
        return watched + exemption_notes(exemptions, self._clock.now_us())

    def age_s(self) -> float:
        """Since the key register was last read."""
        return asyncio.get_running_loop().time() - self._read_at

    async def run(self) -> None:
        """Until cancelled. The two are followed apart: a large snapshot takes seconds to load, a revocation may not."""
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._run_register())
                both.create_task(self._run_snapshot())
        finally:
            self._loading.shutdown(wait=False)

    async def _run_register(self) -> None:
        # Whatever happens here, the keys known stay in force; `age_s` raises the alarm.
        following = Retrying(log, "the key register can't be followed, the keys known stay in force")
        ending = Retrying(log, "answers that outlive their rules could not all be ended")
        while True:
            await asyncio.sleep(FOLLOW_INTERVAL_S)
            with following:
                await self._follow_keys()
            with ending:
                try:
                    current = self.in_force()
                except Unavailable:
                    current = None  # their rules are over, whether or not the next ones can be read
                self._halts.end_outliving(current, asyncio.get_running_loop().time())

    async def _run_snapshot(self) -> None:
        following = Retrying(log, "the snapshot can't be followed, the one in force stays")
        while True:
            await asyncio.sleep(FOLLOW_INTERVAL_S)
            with following:
                await self._follow_snapshot()

    async def _follow_keys(self) -> None:
        changes = await asyncio.to_thread(self._register.changes_since, self._sequence)
        if changes.stops:
            self._halts.apply(changes)
        if changes.keys:
            self._keyring.apply(changes)
        self._sequence = changes.sequence
        self._read_at = asyncio.get_running_loop().time()  # last: what was read and not taken over is not followed

    async def _follow_snapshot(self) -> None:
        digest, self.mistakes = await asyncio.to_thread(self._look)
        if self._in_force is None:
            raise AssertionError("followed before start")
        snapshot = self._in_force.snapshot
        if digest is None or digest == snapshot.digest:
            await self._prepare_epoch(snapshot)
            return
        loop = asyncio.get_running_loop()
        if digest == self._refused and loop.time() < self._retry_at:
            await self._prepare_epoch(snapshot)
            return
        self._refused, self._retry_at = digest, loop.time() + _RETRY_AFTER_S  # unless it loads; a newer one, at once
        self._in_force, self._next = await self._load(digest, self._clock.now_us()), None
        self._refused = None
        log.info("snapshot %s is in force", digest[:16])
        for note in self.rule_notes():
            log.warning(note)

    def _look(self) -> tuple[str | None, int]:
        return self._snapshots.current(), self._snapshots.mistakes()

    async def _prepare_epoch(self, snapshot: Snapshot) -> None:
        """Have the next epoch ready before this one ends, so that no request meets the change."""
        until, now_us = snapshot.epoch_until, self._clock.now_us()
        if until is None or self._next is not None or now_us < until - EPOCH_AHEAD_US:
            return
        loop = asyncio.get_running_loop()
        if now_us < until and loop.time() < self._retry_epoch_at:  # once it is over, nothing is served that could wait
            return
        self._retry_epoch_at = loop.time() + _RETRY_AFTER_S  # unless it loads
        self._next = await self._load(snapshot.digest, max(until, now_us))
        self._retry_epoch_at = 0.0


class Serves(Protocol):
    async def start(self, sock: socket.socket) -> None: ...
    async def stop(self, grace_s: float) -> None: ...


async def serve(
    server: Serves,
    listener: socket.socket,
    follower: Follower,
    stop: asyncio.Event,
    drain_s: float,
    close: Callable[[], Awaitable[None]],
) -> None:
    """Serve until `stop`, then let requests in flight finish for at most `drain_s` seconds, then `close`."""
    following = asyncio.create_task(follower.run())
    try:
        await server.start(listener)
        await stop.wait()
        await server.stop(drain_s)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await close()
