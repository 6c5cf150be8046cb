"""Keeping content beside the requests: one thread writes what they hand over, within bounds."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from sekisho.content.interfaces import Content
from sekisho.kernel.errors import SekishoError

ROOM_BYTES_MAX: Final = 128 * 1024 * 1024  # of a worker's memory, for answers under way and what waits for the disk

log = logging.getLogger(__name__)


class ContentStore(Protocol):
    def write(self, content: Content) -> None:
        """Keep it, durably. Raises OSError or SekishoError."""
        ...


class BackgroundKeeper:
    """A `Keeper`. `lost` is told, from any thread, why content could not be kept: too_large, behind (no room, the disk
    is too slow), disk (it failed), stopping, fault (of ours)."""

    def __init__(self, store: ContentStore, lost: Callable[[str], None]) -> None:
        self._store = store
        self._lost = lost
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="content")  # it starts with the first content
        self._lock = threading.Lock()
        self._taken_bytes = 0

    def take(self, size: int) -> bool:
        with self._lock:
            if self._taken_bytes + size > ROOM_BYTES_MAX:
                return False
            self._taken_bytes += size
            return True

    def release(self, size: int) -> None:
        with self._lock:
            self._taken_bytes -= size

    def keep(self, content: Content) -> None:
        try:
            self._thread.submit(self._write, content)
        except RuntimeError:  # closed: a request that ended after the last moment
            self.release(_size(content))
            self.lose(content.request, "stopping")

    def lose(self, request: str, reason: str) -> None:
        log.error("request %s: its content is not kept: %s", request, reason)
        self._lost(reason)

    def close(self) -> None:
        """Write what waits, then end. Blocking."""
        self._thread.shutdown(wait=True)

    def _write(self, content: Content) -> None:
        try:
            self._store.write(content)
        except (OSError, SekishoError) as error:
            log.error("request %s: content can't be written: %s", content.request, error)
            self.lose(content.request, "disk")
        except Exception:
            log.exception("request %s: a fault while its content was being written", content.request)
            self.lose(content.request, "fault")
        finally:
            self.release(_size(content))


def _size(content: Content) -> int:
    return len(content.sent) + len(content.answer)
