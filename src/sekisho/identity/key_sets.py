"""Issuers' keys in memory, kept up off the request path. Old ones stop nothing by themselves: logged and metered."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Final

from sekisho.identity.errors import IssuerKeysUnavailable, KeySetError, TokenUnknownKey
from sekisho.identity.interfaces import Fetches
from sekisho.identity.jose import json_object
from sekisho.identity.key_files import Held, KeyFiles, KeySource
from sekisho.identity.key_set import KEY_SET_BYTES_MAX, PublicKey, read_key_set
from sekisho.kernel.clock import Clock
from sekisho.kernel.retrying import Retrying

REFETCH_INTERVAL_S: Final = 5.0  # however many tokens name unknown keys, an issuer is asked no more often by a worker
RETRY_S_MAX: Final = 300.0  # an issuer that can't be reached is tried after 5, 10, 20 … seconds, and then so often
DISCOVERY: Final = "/.well-known/openid-configuration"

log = logging.getLogger(__name__)


class KeySets:
    """The key sets of all declared issuers, each with a task that reads it again in time, or when it is `wanted`.

    Belongs to one event loop, but for `preload`. `changed` is called when a set has other keys than before.
    """

    def __init__(
        self,
        files: KeyFiles,
        fetches: Fetches,
        clock: Clock,
        *,
        changed: Callable[[], None],
        interval_s: float = REFETCH_INTERVAL_S,
    ) -> None:
        self._files = files
        self._fetches = fetches
        self._clock = clock
        self._changed = changed
        self._interval_s = interval_s
        self._held: dict[KeySource, Held] = {}
        self._wanted: dict[KeySource, asyncio.Event] = {}
        self._tasks: dict[KeySource, asyncio.Task[None]] = {}

    def preload(self, sources: Iterable[KeySource]) -> None:
        """Read what is on disk of sources not known yet. Blocking: call it off the loop, before they are used."""
        for source in sources:
            if source in self._held:
                continue
            try:
                if source.jwks_file is not None:
                    held: Held | None = self._from_file(source.jwks_file)
                else:
                    held = self._files.load(source)
            except KeySetError as error:
                log.error("the keys of %s: %s", source.issuer, error)
                continue
            if held is not None:
                self._held[source] = held

    def use(self, sources: Iterable[KeySource]) -> None:
        """Keep up exactly these from now on."""
        current = frozenset(sources)
        for dropped in self._tasks.keys() - current:
            self._tasks.pop(dropped).cancel()
            del self._wanted[dropped]
            self._held.pop(dropped, None)
        for source in current - self._tasks.keys():
            self._wanted[source] = asyncio.Event()
            self._tasks[source] = asyncio.create_task(self._keep(source))

    def find(self, source: KeySource, key_id: str | None, algorithm: str) -> PublicKey:
        """The issuer's key of that id for that algorithm. Raises TokenUnknownKey, or IssuerKeysUnavailable if its keys
        have never been read. Either has them read again soon, so that a key that is new becomes known.
        """
        held = self._held.get(source)
        key = None if held is None else held.key_set.find(key_id, algorithm)
        if key is not None:
            return key
        wanted = self._wanted.get(source)
        if wanted is not None:
            wanted.set()
        if held is None:
            raise IssuerKeysUnavailable(
                "The keys of this token's issuer have not been read yet",
                remedy="Try again shortly; if it goes on, the gateway's log says why they can't be read",
            )
        raise TokenUnknownKey(
            "The token's issuer has no such key, as far as is known here",
            remedy="Get a new token; if the issuer has just changed its keys, try again in some seconds",
        )

    def ages_s(self) -> dict[str, float]:
        """How long ago each issuer's keys were last read from their source; never read: since the Unix epoch."""
        ages: dict[str, float] = {}
        for source in self._tasks:
            ages[source.issuer] = max(self._age_s(source), ages.get(source.issuer, 0.0))
        return ages

    def _age_s(self, source: KeySource) -> float:
        """A time that lies ahead, by a clock that was wrong, is as far from now as one that is past."""
        held = self._held.get(source)
        return abs(self._clock.now_us() - (held.read_at if held else 0)) / 1e6

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def refresh(self, source: KeySource) -> None:
        """Read the keys from their source and put them in place of those held. Raises SekishoError or OSError; then
        those held stay, unless only the copy of new ones could not be written.
        """
        if source.jwks_file is not None:
            self._put(source, await asyncio.to_thread(self._from_file, source.jwks_file))
            return
        url = source.jwks_url or await self._discover(source)
        document = await self._fetches.get(url, source.ca_file, KEY_SET_BYTES_MAX)
        held = Held(await asyncio.to_thread(read_key_set, document), self._clock.now_us())
        self._put(source, held)
        # Last: a full disk must not keep out keys that were fetched, nor keep in those that their issuer withdrew.
        await asyncio.to_thread(self._files.save, source, document, held.read_at)

    def _put(self, source: KeySource, held: Held) -> None:
        before = self._held.get(source)
        self._held[source] = held
        if before is None or before.key_set.digest != held.key_set.digest:
            log.info("%d keys of %s are in force", len({id(key) for key in held.key_set.keys.values()}), source.issuer)
            for reason in held.key_set.passed_over:
                log.warning("of the keys of %s one is passed over: %s", source.issuer, reason)
            self._changed()

    def _from_file(self, jwks_file: str) -> Held:
        return Held(read_key_set(self._files.read(jwks_file)), self._clock.now_us())

    async def _discover(self, source: KeySource) -> str:
        """OpenID Connect Discovery 1.0, sections 4.1 to 4.3: the document must name the issuer that it was asked of."""
        url = source.issuer.removesuffix("/") + DISCOVERY
        try:
            document = json_object(await self._fetches.get(url, source.ca_file, KEY_SET_BYTES_MAX))
        except ValueError as error:
            raise KeySetError(f"{url} is no discovery document: {error}") from None
        if document.get("issuer") != source.issuer:
            raise KeySetError(f"{url} is of another issuer", remedy="Declare the issuer exactly as it names itself")
        jwks_url = document.get("jwks_uri")
        if not isinstance(jwks_url, str):
            raise KeySetError(f"{url} names no jwks_uri", remedy="Declare jwks_url or jwks_file")
        if url.startswith("https:") and not jwks_url.startswith("https:"):
            raise KeySetError(f"{url} sends to keys without TLS", remedy="Declare jwks_url or jwks_file")
        return jwks_url

    async def _keep(self, source: KeySource) -> None:
        """Until cancelled: refresh in time, when wanted, and after a failure sooner and then more and more rarely."""
        wanted, retry_s = self._wanted[source], self._interval_s
        refreshing = Retrying(log, f"the keys of {source.issuer} can't be refreshed, those held, if any, stay in force")
        wait_s = max(0.0, source.refresh_seconds - self._age_s(source))
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    await wanted.wait()
            except TimeoutError:
                pass  # it is time
            wanted.clear()
            with refreshing:
                await self.refresh(source)
            if refreshing.trouble:
                wait_s, retry_s = retry_s, min(2 * retry_s, RETRY_S_MAX)
            else:
                wait_s, retry_s = float(source.refresh_seconds), self._interval_s
            await asyncio.sleep(self._interval_s)
