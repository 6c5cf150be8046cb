"""What of one attempt a policy lets be kept, while the attempt lasts. Where nothing may be kept this does not exist."""

import logging
from typing import Final

from sekisho.content.interfaces import CONTENT_BYTES_MAX, Content, Keeper

DAY_US: Final = 86_400_000_000

log = logging.getLogger(__name__)


class Keeping:
    """Gathers the answer as it is given to the caller; `done` hands all of it over, once."""

    __slots__ = ("_answer", "_content", "_keeper", "_room")

    def __init__(self, keeper: Keeper, content: Content) -> None:
        """`content` with what was sent, and no answer yet."""
        self._keeper = keeper
        self._content: Content | None = content
        self._answer: list[bytes] = []
        self._room = CONTENT_BYTES_MAX - len(content.sent)

    def add(self, piece: bytes) -> None:
        """The next piece of the answer. What is too large is not kept at all: half an answer would mislead."""
        self._room -= len(piece)
        if self._room >= 0:
            self._answer.append(piece)
        else:
            self._answer.clear()

    def done(self, *, written: bool) -> None:
        """The attempt is over; `written`: something left for the deployment, else there is nothing to keep."""
        content, self._content = self._content, None
        if content is None or not written:
            return
        if self._room < 0:
            log.warning(
                "request %s: its content is not kept: it is larger than %d bytes", content.request, CONTENT_BYTES_MAX
            )
            return
        self._keeper.keep(content._replace(answer=b"".join(self._answer)))
