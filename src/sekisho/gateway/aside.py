"""Work on large bodies, beside the loop: in one thread, so that many of them take turns and not every processor."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from sekisho.gateway.errors import Busy

LARGE_BODY_BYTES: Final = 256 * 1024  # reading more would hold up every other request for milliseconds
WAITING_MAX: Final = 16  # requests, each of which holds its body; at 32 MiB that is half a gigabyte
_RETRY_AFTER_S: Final = 2

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class Aside:
    """One thread, made when first needed. Belongs to one loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")
        self._waiting = 0

    async def admit(
        self, work: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        """As `run`, for a request that can still be refused. Raises Busy when too many of them wait already."""
        if self._waiting >= WAITING_MAX:
            raise Busy("too many large requests at once", remedy="Try again shortly", retry_after_s=_RETRY_AFTER_S)
        self._waiting += 1
        try:
            return await self.run(work, *arguments, **named)
        finally:
            self._waiting -= 1

    async def run(
        self, work: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        """The result of `work`, or what it raised. It waits its turn, however many wait: the caller bounds them."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*arguments, **named))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
