"""What of one attempt a policy lets be kept, while the attempt lasts. Where nothing may be kept this does not exist."""

from typing import Final

from sekisho.content.interfaces import CONTENT_BYTES_MAX, Content, Keeper

DAY_US: Final = 86_400_000_000


class Keeping:
    """Gathers the answer as it is given to the caller; `done` hands all of it over, once.

    What is too large, or finds no room, is not kept at all: half an answer would mislead.
    """

    __slots__ = ("_answer", "_content", "_keeper", "_taken")

    def __init__(self, keeper: Keeper, content: Content) -> None:
        """`content` with what was sent, and no answer yet."""
        self._keeper = keeper
        self._content: Content | None = content
        self._answer: list[bytes] = []
        self._taken = 0
        self._take(len(content.sent))

    def add(self, piece: bytes) -> None:
        """The next piece of the answer."""
        if self._content is not None and self._take(len(piece)):
            self._answer.append(piece)

    def done(self, *, written: bool) -> None:
        """The attempt is over; `written`: something left for the deployment, else there is nothing to keep."""
        content, self._content = self._content, None
        if content is None:
            return
        if written:
            self._keeper.keep(content._replace(answer=b"".join(self._answer)))
        else:
            self._keeper.release(self._taken)

    def _take(self, size: int) -> bool:
        is_too_large = self._taken + size > CONTENT_BYTES_MAX
        if not is_too_large and self._keeper.take(size):
            self._taken += size
            return True
        content, self._content = self._content, None
        self._answer.clear()
        self._keeper.release(self._taken)
        if content is not None:
            self._keeper.lose(content.request, "too_large" if is_too_large else "behind")
        return False
