"""What the pipeline needs of the world, as ports; `app` joins them to the adapters."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from sekisho.gateway.declared import Declarations
from sekisho.gateway.entries import DecisionEncoder
from sekisho.gateway.http1.interfaces import Endpoint, Header
from sekisho.identity.interfaces import Principal
from sekisho.kernel.errors import SekishoError
from sekisho.snapshot.interfaces import Snapshot


def _nothing_to_do() -> None:
    """For upstreams whose credential can't be renewed."""


class Upstream(NamedTuple):
    """How a deployment is reached: the endpoint, the target of each operation by name, and the headers it is owed.

    `refused` is to be called when it answers 401: a token is then fetched anew soon.
    """

    endpoint: Endpoint
    targets: dict[str, str]
    headers: tuple[Header, ...]
    refused: Callable[[], None] = _nothing_to_do


class InForce(NamedTuple):
    """The snapshot that requests see now, with what was prepared from it once.

    A deployment that can't be reached as declared (its credential is missing, say) stands as the error. What stands
    there changes with its credentials: take it anew for each attempt.
    """

    snapshot: Snapshot
    encoder: DecisionEncoder
    upstreams: Mapping[str, Upstream | SekishoError]
    declarations: Declarations


class Keys(Protocol):
    """Who may call: API keys, and the tokens and client certificates that the catalogue in force declares."""

    def authenticate(self, authorization: bytes | None, api_key: bytes | None, certificate: bytes | None) -> Principal:
        """Whom the headers and the client certificate (DER) stand for.

        Raises AuthenticationError, IssuerKeysUnavailable, or Unavailable while nothing is in force.
        """
        ...

    def is_live(self, principal: Principal) -> bool:
        """Whether the principal may still be sent for, as far as is known: an end shows up within FOLLOW_INTERVAL_S.

        Only looks, and raises nothing.
        """
        ...

    def watch(self, principal: Principal, ended: Callable[[str], None]) -> Any:
        """Call `ended` when `is_live` ends, until `unwatch`. Raises AuthenticationError if it has already."""
        ...

    def unwatch(self, watch: Any) -> None: ...


class ReceiptAnswer(NamedTuple):
    """`state`: "complete" (with the receipt file), "pending", "unknown" (foreign ones are unknown too) or "unlinked":
    the key that its content was committed with was destroyed, so that no receipt can be made any more."""

    state: str
    file: bytes = b""


class Receipts(Protocol):
    async def receipt(self, request_id: str, organisation: str) -> ReceiptAnswer: ...
