"""Step 1 of a request: whoever asks becomes a principal, or is told why not."""

from typing import Final

from sekisho.gateway.errors import Unauthenticated, Unavailable
from sekisho.gateway.http1.interfaces import InboundRequest
from sekisho.gateway.interfaces import Keys
from sekisho.gateway.metrics import Metrics
from sekisho.identity.interfaces import (
    HOLDER_PREFIX,
    KEY_PREFIX,
    SUBJECT_PREFIX,
    AuthenticationError,
    IssuerKeysUnavailable,
    Principal,
)

_KINDS: Final = {KEY_PREFIX: "key", SUBJECT_PREFIX: "token", HOLDER_PREFIX: "certificate"}
_RETRY_AFTER_S: Final = 5  # issuers are asked for their keys no more often


def authenticated(keys: Keys, request: InboundRequest, metrics: Metrics) -> Principal:
    """Raises Unauthenticated, or Unavailable while a token can't be verified for want of its issuer's keys."""
    headers = request.headers
    try:
        principal = keys.authenticate(headers.get(b"authorization"), headers.get(b"api-key"), request.peer.certificate)
    except AuthenticationError as error:
        raise Unauthenticated(error.message, remedy=error.remedy, code=error.code) from None
    except IssuerKeysUnavailable as error:
        raise Unavailable(
            error.message, remedy=error.remedy, code="issuer_keys_unavailable", retry_after_s=_RETRY_AFTER_S
        ) from None
    metrics.authentications[next(kind for prefix, kind in _KINDS.items() if principal.id.startswith(prefix))] += 1
    return principal
