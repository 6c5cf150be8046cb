"""Keeping content beside the requests: one thread writes what they hand over, within bounds."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from sekisho.content.interfaces import Content
from sekisho.kernel.errors import SekishoError

WAITING_BYTES_MAX: Final = 128 * 1024 * 1024  # of content that waits for the disk; what comes beyond is not kept

log = logging.getLogger(__name__)


class ContentStore(Protocol):
    def write(self, content: Content) -> None:
        """Keep it, durably. Raises OSError or SekishoError."""
        ...


class BackgroundKeeper:
    """A `Keeper`. `lost` is told, from any thread, of each content that could not be kept, and why (a code)."""

    def __init__(self, store: ContentStore, lost: Callable[[str], None]) -> None:
        self._store = store
        self._lost = lost
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="content")  # it starts with the first content
        self._lock = threading.Lock()
        self._waiting_bytes = 0

    def keep(self, content: Content) -> None:
        size = len(content.sent) + len(content.answer)
        with self._lock:
            is_full = self._waiting_bytes + size > WAITING_BYTES_MAX
            if not is_full:
                self._waiting_bytes += size
        if is_full:
            log.error("request %s: its content is not kept: the disk is behind", content.request)
            self._lost("behind")
            return
        try:
            self._thread.submit(self._write, content, size)
        except RuntimeError:  # closed: a request that ended after the last moment
            log.error("request %s: its content is not kept: the gateway is stopping", content.request)
            self._lost("stopping")

    def close(self) -> None:
        """Write what waits, then end. Blocking."""
        self._thread.shutdown(wait=True)

    def _write(self, content: Content, size: int) -> None:
        try:
            self._store.write(content)
        except (OSError, SekishoError) as error:
            log.error("request %s: its content is not kept: %s", content.request, error)
            self._lost("disk")
        finally:
            with self._lock:
                self._waiting_bytes -= size
