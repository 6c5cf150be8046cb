"""The ledger, as other contexts see it.

An entry is the canonical JSON (RFC 8785) of
`{"actor","at","body":{…},"id","kind"[,"request"],"seq","site","v","writer"}`, at most 65,535 bytes. `body` belongs
to the context that writes the kind; the rest is the envelope. `writer` and `seq` (gapless from 0) are given by the
write-ahead log. The bytes in the write-ahead log are the leaf's bytes: nobody encodes them again.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from sekisho.kernel.notes import Signer
from sekisho.ledger.errors import CommitmentKeyForgotten as CommitmentKeyForgotten
from sekisho.ledger.errors import CommitmentKeyMissing as CommitmentKeyMissing
from sekisho.ledger.errors import EntryTooLarge as EntryTooLarge
from sekisho.ledger.errors import LedgerFull as LedgerFull

ENTRY_BYTES_MAX: Final = 65_535
ENVELOPE_VERSION: Final = 1


class EntryDraft(NamedTuple):
    """An entry before its writer and sequence number.

    `kind`, `id`, `actor` and `request` hold only characters that JSON writes as they are (`[a-z0-9._:/-]`); `body`
    is a canonical JSON object. The log trusts both, so that the request path encodes each byte once.
    """

    kind: str
    id: str
    at: int  # µs UTC
    actor: str
    body: bytes
    request: str | None = None


class EntryWriter(Protocol):
    """A process's own write-ahead log. Belongs to one event loop; no method blocks on a sync.

    Order is the order of calls. After a failed sync, or a failed write inside allocated space, the process ends
    itself (exit code `WRITE_AHEAD_FAILED`): what a kernel did with those pages can't be known any more.
    """

    name: str

    def reserve(self, bytes_max: int) -> "Reservation":
        """Claim room for an entry and its sequel of `bytes_max` bytes together.

        Raises LedgerFull while there is none (disk full, or free space below twice the unmerged bytes and the
        reserve); the log tries to grow again by itself, about each second.
        """
        ...

    def append(self, draft: EntryDraft, reservation: "Reservation | None" = None) -> asyncio.Future[None]:
        """Append; the future completes when the entry is *durable* (fdatasync returned).

        Raises EntryTooLarge or LedgerFull at once, with nothing appended. Cancelling the future takes nothing back.
        """
        ...

    def append_written(self, draft: EntryDraft, reservation: "Reservation | None" = None) -> None:
        """Append and return when `write` returned: the entry survives the process, not a power cut.

        It is synced with the next batch, at the latest a second later. Raises as `append`.
        """
        ...

    def append_batched(self, draft: EntryDraft, reservation: "Reservation | None" = None) -> asyncio.Future[None]:
        """Like `append_written`, but all that one turn of the loop appends is one `write`; the future completes then.

        Raises as `append`. Cancelling the future takes nothing back.
        """
        ...

    async def close(self) -> None:
        """Sync what is there and release the lock."""
        ...


class Reservation(Protocol):
    """Room in the write-ahead log. Spent by appends that name it; `release` gives the rest back, once or often."""

    def release(self) -> None: ...


class StreamCommitment(Protocol):
    """A commitment to bytes that come in pieces."""

    def update(self, data: bytes) -> None: ...

    def finish(self) -> dict[str, int | str]:
        """As `Commitments.commit` over all of it."""
        ...


class Commitments(Protocol):
    """Ties content to an entry without storing it: SHA-256(salt ‖ bytes), with the salt from the organisation's key.

    Raises CommitmentKeyForgotten for an organisation whose key was destroyed.
    """

    def commit(self, organisation: str, entry_id: str, field: str, data: bytes) -> dict[str, int | str]:
        """`{"bytes","salt_sha256","sha256"}`, to stand in the entry's body under `field`."""
        ...

    def stream(self, organisation: str, entry_id: str, field: str) -> StreamCommitment: ...


class StagedKey(NamedTuple):
    """A key that is to sign the log from now on: its signer, the id of the entry that tells of it, who did it."""

    signer: Signer
    entry_id: str
    actor: str


class KeyRotation(Protocol):
    """Where the publisher finds that its key is to be replaced. Both methods block and may raise OSError."""

    def staged(self) -> StagedKey | None:
        """The key that waits to take the place of the present one. Asked at each merge: cheap where there is none."""
        ...

    def advance(self) -> None:
        """The staged key takes the place: first the enrolment, then the key, each durable; may be called again after
        a crash in between. Both keys have signed the published checkpoint, so either enrolment fits it."""
        ...


class Lifecycle(Protocol):
    """What the publisher must know of the entries' meaning to close what a dead writer left open (pure)."""

    def opens(self, envelope: dict[str, Any]) -> bool:
        """Whether this entry must be followed by another that closes it."""
        ...

    def closes(self, envelope: dict[str, Any]) -> str | None:
        """The id of the entry that this one closes, if it closes one."""
        ...

    def interrupted(self, envelope: dict[str, Any]) -> tuple[str, bytes]:
        """Kind and canonical body of the entry that closes `envelope` in place of its dead writer."""
        ...


class ReceiptState(NamedTuple):
    """What the log knows of a request: "complete", "pending" or "unknown".

    The receipt's parts when complete; the first of them when pending, if it is published.
    """

    state: str
    entries: Sequence["ProvenEntry"] = ()


@dataclass(frozen=True, slots=True)
class ProvenEntry:
    """An entry's exact bytes, its index in the log and its proof (C2SP tlog-proof, checkpoint included)."""

    entry: bytes
    index: int
    proof: str


class PublishedEntry(NamedTuple):
    """An entry's exact bytes and its index in the log."""

    leaf: int
    entry: bytes


class PublishedLog(Protocol):
    """The published log as one looks back through it. Blocking. Raises LogUnreadable for files missing or damaged."""

    def size(self) -> int:
        """How many entries the checkpoint covers."""
        ...

    def back_from(self, leaf: int, bundles_max: int) -> Iterator[PublishedEntry]:
        """The entries below `leaf`, newest first, out of at most `bundles_max` bundles of up to 256 entries."""
        ...

    def of_requests(self, requests: list[str], entries_max: int) -> dict[str, list[PublishedEntry]]:
        """The published entries of each request, in the log's order, at most `entries_max` of each."""
        ...

    def watermark_us(self) -> int | None:
        """Everything that was written before this instant (µs UTC) is in the log. None: nothing is known yet."""
        ...
