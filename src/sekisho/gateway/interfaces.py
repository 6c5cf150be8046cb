"""What the pipeline needs of the world, as ports; `app` joins them to the adapters."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from sekisho.gateway.declared import Declarations
from sekisho.gateway.entries import DecisionEncoder
from sekisho.gateway.http1.interfaces import Endpoint, Header
from sekisho.identity.interfaces import Principal
from sekisho.kernel.errors import SekishoError
from sekisho.snapshot.interfaces import Snapshot


class Upstream(NamedTuple):
    """How a deployment is reached: the endpoint, the target of each operation by name, and the headers it is owed."""

    endpoint: Endpoint
    targets: dict[str, str]
    headers: tuple[Header, ...]


class InForce(NamedTuple):
    """The snapshot that requests see now, with what was prepared from it once.

    A deployment that can't be reached as declared (its credential is missing, say) stands as the error.
    """

    snapshot: Snapshot
    encoder: DecisionEncoder
    upstreams: dict[str, Upstream | SekishoError]
    declarations: Declarations


class Keys(Protocol):
    """The keys in memory."""

    def authenticate(self, authorization: bytes | None, api_key: bytes | None) -> Principal:
        """Raises a SekishoError that says what is wrong with the key."""
        ...

    def is_live(self, principal_id: str) -> bool: ...

    def watch(self, principal_id: str, ended: Callable[[str], None]) -> Any:
        """Call `ended` when the key is revoked, until `unwatch`. Raises a SekishoError if it is revoked already."""
        ...

    def unwatch(self, watch: Any) -> None: ...


class ReceiptAnswer(NamedTuple):
    """`state`: "complete" (with the receipt file), "pending" or "unknown" (foreign ones are unknown too)."""

    state: str
    file: bytes = b""


class Receipts(Protocol):
    async def receipt(self, request_id: str, organisation: str) -> ReceiptAnswer: ...
