"""Kept content, as other contexts see it."""

from typing import Final, NamedTuple, Protocol

CONTENT_BYTES_MAX: Final = 32 * 1024 * 1024  # of one attempt, request and answer together; more is not kept
FIELDS: Final = ("sent", "answer")
READER_ROLE: Final = "content-reader"  # of the API key that reads, besides its organisation


class Content(NamedTuple):
    """What was sent to a deployment and what it answered, under the id of the decision's entry."""

    organisation: str
    entry: str  # UUIDv7
    request: str  # UUIDv7, the receipt's id
    until: int  # µs UTC, exclusive: from then on nobody may read it, and it is deleted
    sent: bytes
    answer: bytes


class Held(NamedTuple):
    """What is known of kept content without its key."""

    organisation: str
    entry: str
    until: int  # µs UTC
    bytes: int  # of the file


class Keeper(Protocol):
    """Takes content over from requests. No method raises or waits: the ledger does not depend on what is kept."""

    def take(self, size: int) -> bool:
        """Room in memory for so many bytes of content under way, if there is; else what needs it is lost."""
        ...

    def release(self, size: int) -> None:
        """Give room back without keeping what it was for."""
        ...

    def keep(self, content: Content) -> None:
        """Write it later or, where that can't be, not at all. Its room was taken before and is given back then."""
        ...

    def lose(self, request: str, reason: str) -> None:
        """Say that a request's content is not kept; `reason` is a code."""
        ...
