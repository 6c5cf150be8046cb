"""Keeps a worker's credentials fresh beside the request path: looks at files again, fetches and renews tokens."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from sekisho.catalog.interfaces import EntraSignIn
from sekisho.gateway.errors import CantSignIn
from sekisho.gateway.http1.ask import ask_whole
from sekisho.gateway.http1.errors import UpstreamError
from sekisho.gateway.http1.interfaces import Endpoint, UpstreamClient
from sekisho.gateway.http1.origins import origin_of
from sekisho.gateway.metrics import Metrics
from sekisho.gateway.sign_in import SignIns, TokenCredential
from sekisho.gateway.tokens import Token, read_token, token_request
from sekisho.gateway.upstreams import proxy_of
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.ids import IdSource
from sekisho.kernel.retrying import Retrying

LOOK_INTERVAL_S: Final = 0.5  # a changed file counts within a second: one look, and time to read it
# A new snapshot waits so long for tokens that were never asked for, then counts without those that are missing: it may
# forbid something, which must not hang on a token endpoint.
FIRST_S_MAX: Final = 3.0
FETCH_S_MAX: Final = 15.0  # from connecting to the end of the answer; a token endpoint answers in less than one
FETCHES_MAX: Final = 8  # at a time; the others wait for the next look
ANSWER_BYTES_MAX: Final = 65_536  # a token with what surrounds it takes a few thousand

log = logging.getLogger(__name__)


class SignInKeeper:
    """One per worker; belongs to its event loop. Never stops the worker, whatever fails."""

    def __init__(
        self,
        sign_ins: SignIns,
        client: UpstreamClient,
        reload_tls_files: Callable[[], Awaitable[list[str]]],
        root: Path,
        chance: random.Random,
        metrics: Metrics,
        interval_s: float = LOOK_INTERVAL_S,
    ) -> None:
        """`reload_tls_files`: take changed TLS files over and say what can't be read (`HttpClient` does it)."""
        self._sign_ins = sign_ins
        self._clock = sign_ins.clock
        self._client = client
        self._reload_tls_files = reload_tls_files
        self._root = root
        self._chance = chance
        self._metrics = metrics
        self._interval_s = interval_s
        self._ids = IdSource()
        self._loop = asyncio.get_running_loop()
        self._fetches: dict[asyncio.Task[None], TokenCredential] = {}
        self._said: frozenset[str] = frozenset()
        self._closed = False

    @property
    def files_stale(self) -> int:
        """Files that can't be used now, while what was read from them earlier is."""
        return len(self._said)

    def fetch_first(self) -> None:
        """As `fetch_first_in_loop`, blocking: for threads beside the loop, in which snapshots are prepared."""
        asyncio.run_coroutine_threadsafe(self.fetch_first_in_loop(FIRST_S_MAX), self._loop).result()

    async def fetch_first_in_loop(self, timeout_s: float) -> None:
        """Fetch tokens that were never asked for; returns when all are there or failed, or after `timeout_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while fetches := self._first_fetches():
                    await asyncio.wait(fetches, return_when=asyncio.FIRST_COMPLETED)

    def _first_fetches(self) -> list[asyncio.Task[None]]:
        self._fetch_what_is_due()
        return [fetch for fetch, credential in self._fetches.items() if credential.untried]

    async def run(self) -> None:
        """Until cancelled. Were it to end, tokens would run out and rotated secrets never be taken over."""
        looking = Retrying(log, "credential files can't be looked at")
        fetching = Retrying(log, "tokens can't be fetched")
        try:
            while True:
                await asyncio.sleep(self._interval_s)
                with looking:
                    await self._look_at_files()
                with fetching:
                    self._fetch_what_is_due()
        finally:
            await self.close()

    async def close(self) -> None:
        """End the fetches that are under way; none begins any more."""
        self._closed = True
        for fetch in list(self._fetches):
            fetch.cancel()
        await asyncio.gather(*list(self._fetches), return_exceptions=True)

    async def _look_at_files(self) -> None:
        stale = set(await self._reload_tls_files())
        stale |= await asyncio.to_thread(self._reload_credentials)
        for reason in stale - self._said:  # looked at again and again, said once
            log.error("the last good reading stays in use: %s", reason)
        for reason in self._said - stale:
            log.info("in order again: %s", reason)
        self._said = frozenset(stale)

    def _reload_credentials(self) -> set[str]:
        """Blocking."""
        credentials, proxies = self._sign_ins.all()
        for item in (*credentials, *proxies):
            item.reload()
        return {str(reason) for reason in self._sign_ins.stale()}

    def _fetch_what_is_due(self) -> None:
        if self._closed:
            return
        now_us = self._clock.now_us()
        for credential in self._sign_ins.all()[0]:
            if isinstance(credential, TokenCredential) and credential.due(now_us) and len(self._fetches) < FETCHES_MAX:
                credential.fetching = True
                fetch = asyncio.create_task(self._fetch(credential))
                self._fetches[fetch] = credential
                fetch.add_done_callback(self._fetches.pop)

    async def _fetch(self, credential: TokenCredential) -> None:
        began_us = self._clock.now_us()
        where = _endpoint_url(credential)
        try:
            async with asyncio.timeout(FETCH_S_MAX):
                token = await self._ask(credential, began_us)
        except CantSignIn as error:
            self._failed(credential, "refused", error.detail, error.retry_after_s)
        except (UpstreamError, TimeoutError) as error:
            self._failed(credential, "unreachable", str(error) or f"no answer within {FETCH_S_MAX:.0f} s")
        except SekishoError as error:
            self._failed(credential, "unreadable", str(error))
        except Exception:
            # The others' tokens must not run out for this one's sake.
            log.exception("fetching a token from %s", where)
            self._failed(credential, "fault", "a fault of the gateway")
        else:
            credential.fetched(token, began_us, self._chance.random())
            self._metrics.token_fetches["fetched"] += 1
        finally:
            credential.fetching = False

    def _failed(self, credential: TokenCredential, kind: str, reason: str, retry_after_s: int = 0) -> None:
        credential.failed(reason, self._clock.now_us(), self._chance.random(), retry_after_s)
        self._metrics.token_fetches[kind] += 1
        log.error("no new token from %s: %s", _endpoint_url(credential), reason)

    async def _ask(self, credential: TokenCredential, now_us: int) -> Token:
        material = credential.material.value()
        request = token_request(credential.sign_in, material, now_us, self._ids.new(now_us))
        endpoint = self._endpoint(credential, request.url)
        head, body = await ask_whole(
            lambda: self._client.exchange(endpoint),
            request.method,
            request.target,
            request.headers,
            request.body,
            ANSWER_BYTES_MAX,
        )
        return read_token(head.status, head.headers, body)

    def _endpoint(self, credential: TokenCredential, url: str) -> Endpoint:
        ca_file = credential.sign_in.ca_file if isinstance(credential.sign_in, EntraSignIn) else None
        proxy = None
        if credential.proxy is not None:
            proxy = proxy_of(credential.proxy, self._root, credential.proxy_credential)
        return Endpoint(
            *origin_of(url, self._root, ca_file),
            first_byte_timeout_s=FETCH_S_MAX,
            idle_timeout_s=FETCH_S_MAX,
            body_bytes_max=ANSWER_BYTES_MAX,
            proxy=proxy,
            identity=credential.identity,
        )


def _endpoint_url(credential: TokenCredential) -> str:
    sign_in = credential.sign_in
    return sign_in.authority if isinstance(sign_in, EntraSignIn) else sign_in.url
