"""What goes wrong on the request path, and the one place where it becomes an answer.

GatewayError
├── BadRequest              400  the request can't be read or says something impossible
├── Unauthenticated         401  no key, token or certificate, or one that does not count
├── NotPermitted            403  decided, and no deployment is permitted; there is a receipt
├── ContentNotKept          403  it would have to keep content for the caller, which it does not
├── OrganisationStopped     403  the operator has stopped the caller's organisation
├── OrganisationForgotten   403  the caller's organisation has no commitment key any more
├── NotFound                404  an unknown model, path or receipt
├── MethodNotAllowed        405
├── Gone                    410  a receipt that can't be made any more
├── UnsupportedEncoding     415  content codings and media types that we don't read
├── Busy                    429  too much at once
├── UpstreamFailed          502  every permitted deployment failed
│   ├── UpstreamAnswered    502  … with a status that is not the caller's to mend
│   ├── UpstreamTimedOut    504  … by silence
│   └── NotServed           404  none of them has the operation
├── UpstreamRefused         4xx  a deployment's own status, where its error can't be read
├── Unavailable             503  the ledger can't record, or no snapshot is in force: nothing is sent
│   ├── Stopped                  the operator has stopped every deployment that could answer
│   └── Superseded               the rules it was decided under were replaced too long ago
└── TransportRefused        400, 408, 413, 415, 417, 431, 500, 503: it never became a request

CantSignIn                  a deployment can't be used for want of a credential; see `deployment_without_token`

`CODES` says what each code means; docs/faults.md says who sees what. `upstream_fault` turns what the HTTP client met
into the answer, in the same words and code for the caller, the receipt and the metrics.
"""

from typing import Final

import orjson

from sekisho.gateway.http1.errors import (
    UpstreamEncoded,
    UpstreamError,
    UpstreamForbiddenAddress,
    UpstreamInvalid,
    UpstreamTimeout,
    UpstreamTlsError,
    UpstreamTooLarge,
)
from sekisho.kernel.errors import SekishoError

_INVALID: Final = "invalid_request_error"


class GatewayError(SekishoError):
    """An answer in OpenAI's error shape: `status`, and `type`, `param`, `code` of the error object."""

    status = 500
    type = "api_error"
    code: str | None = None
    has_receipt = False  # whether something was decided, and so recorded, before this came up

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.param = param
        self.retry_after_s = retry_after_s
        if code is not None:
            self.code = code

    def body(self) -> bytes:
        """The error object that OpenAI's clients understand; absent values are null, never the text "None"."""
        return error_body(str(self), type=self.type, param=self.param, code=self.code)


def error_body(message: str, *, type: str, param: str | None = None, code: str | None = None) -> bytes:
    return orjson.dumps({"error": {"message": message, "type": type, "param": param, "code": code}})


def gateway_failed() -> GatewayError:
    return GatewayError("the gateway failed; its log tells more under this request's id", code="internal")


class BadRequest(GatewayError):
    status = 400
    type = _INVALID
    code = "invalid_request"


class Unauthenticated(GatewayError):
    status = 401
    type = _INVALID
    code = "invalid_api_key"


def key_revoked() -> Unauthenticated:
    """Of API keys, and of what declares the callers with tokens and certificates."""
    return Unauthenticated(
        "the key was revoked, or the caller's declaration is gone",
        remedy="Ask the operator of this gateway for a new one",
        code="key_revoked",
    )


class NotPermitted(GatewayError):
    status = 403
    type = "permission_error"
    code = "not_permitted"


def entry_too_large(reason: str) -> NotPermitted:
    return NotPermitted(f"the decision does not fit an entry, so nothing is sent: {reason}", code="entry_too_large")


class ContentNotKept(GatewayError):
    status = 403
    type = "permission_error"
    code = "content_not_kept"


class OrganisationStopped(GatewayError):
    status = 403
    type = "permission_error"
    code = "organisation_stopped"


def organisation_stopped(name: str) -> OrganisationStopped:
    return OrganisationStopped(
        f"the operator has stopped everything of the organisation {name!r}",
        remedy="Ask the operator of this gateway; nothing is sent until the stop is lifted",
    )


class OrganisationForgotten(GatewayError):
    status = 403
    type = "permission_error"
    code = "organisation_key_forgotten"


class Gone(GatewayError):
    status = 410
    type = _INVALID
    code = "receipt_unlinked"


class NotFound(GatewayError):
    status = 404
    type = _INVALID
    code = "not_found"


def model_not_found(name: str) -> NotFound:
    return NotFound(
        f"the model {name!r} does not exist here",
        param="model",
        code="model_not_found",
        remedy="GET /v1/models lists the models",
    )


class MethodNotAllowed(GatewayError):
    status = 405
    type = _INVALID
    code = "method_not_allowed"


class UnsupportedEncoding(GatewayError):
    status = 415
    type = _INVALID
    code = "unsupported_media_type"


class Busy(GatewayError):
    status = 429
    type = "rate_limit_error"
    code = "too_many_requests"


class UpstreamFailed(GatewayError):
    """Another deployment may be tried."""

    status = 502


def deployment_unusable() -> UpstreamFailed:
    remedy = "The operator of this gateway must mend it"
    return UpstreamFailed("the deployment is not set up", code="deployment_unusable", remedy=remedy)


def deployment_without_token(message: str) -> UpstreamFailed:
    """`message` as a CantSignIn has it."""
    return UpstreamFailed(
        message, code="deployment_without_token", remedy="The operator of this gateway finds the reason in its log"
    )


def upstream_invalid(said: str) -> UpstreamFailed:
    """An answer that is HTTP, but not what was asked for: `said` goes on from "the deployment"."""
    return UpstreamFailed(f"the deployment {said}", code="upstream_invalid", remedy=_SEE_LOG)


class UpstreamAnswered(UpstreamFailed):
    """The deployment answered with `upstream_status`, which says nothing that its caller could act on."""

    def __init__(self, upstream_status: int) -> None:
        said, remedy = f"answered with status {upstream_status}", _SEE_LOG
        if upstream_status in (401, 403):
            said, remedy = "refused our credentials", "The operator of this gateway must mend them"
        super().__init__(f"the deployment {said}", code=upstream_status_code(upstream_status), remedy=remedy)


class UpstreamTimedOut(UpstreamFailed):
    status = 504
    code = "upstream_timeout"


class NotServed(UpstreamFailed):
    """The deployment is well, but has nothing where the operation would be."""

    status = 404
    type = _INVALID
    code = "operation_not_served"


class UpstreamRefused(GatewayError):
    """The deployment's answer concerns the caller, but says nothing that could be passed on."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the deployment answered with status {status}", code=upstream_status_code(status))
        self.status = status
        self.type = Busy.type if status == Busy.status else _INVALID


class Unavailable(GatewayError):
    status = 503
    code = "unavailable"


def ledger_full(reason: str) -> Unavailable:
    return Unavailable(
        f"the ledger can't record, so nothing is sent: {reason}",
        code="ledger_full",
        remedy="The operator must free disk space; the gateway recovers by itself",
        retry_after_s=1,  # a full disk is tried again each second
    )


class Stopped(Unavailable):
    code = "stopped"


def stopped() -> Stopped:
    return Stopped(
        "the operator has stopped every deployment that could answer",
        remedy="Ask the operator of this gateway, or use another model; nothing is sent there until the stop is lifted",
    )


class Superseded(Unavailable):
    code = "snapshot_superseded"


def superseded() -> Superseded:
    return Superseded("the rules that this answer was decided under were replaced too long ago", remedy="Ask again")


class CantSignIn(SekishoError):
    """There is nothing valid to present at a deployment. `message` may be told to callers, `detail` to operators.

    `retry_after_s`: what a token endpoint asks us to wait before it is asked again.
    """

    def __init__(self, message: str, *, detail: str, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.detail = detail
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.message}: {self.detail}"


class TransportRefused(GatewayError):
    """What the HTTP core refused before there was a request, or in place of a handler that failed."""

    def __init__(self, status: int, message: str) -> None:
        code, remedy = _TRANSPORT[status]
        super().__init__(message, code=code, remedy=remedy)
        self.status = status
        self.type = _INVALID if status < 500 else GatewayError.type


def upstream_status_code(status: int) -> str:
    """The code of an answer that is not 200. Bounded: a status has three digits (RFC 9110, section 15)."""
    return f"upstream_status_{status}"


def upstream_fault(error: UpstreamError) -> UpstreamFailed:
    """What the HTTP client met, as it is told. Its own words name addresses and certificates: they are for our log."""
    for kind, code, told in _UPSTREAM_KINDS:
        if isinstance(error, kind):
            failed = UpstreamTimedOut if kind is UpstreamTimeout else UpstreamFailed
            return failed(told, code=code, remedy=_SEE_LOG)
    return UpstreamFailed(_BROKE[error.phase], code=f"upstream_{error.phase}", remedy=_SEE_LOG)


_SEE_LOG: Final = "The operator finds the reason in the gateway's log, by this request's id"
_UPSTREAM_KINDS: Final = (
    (UpstreamForbiddenAddress, "upstream_address", "the deployment's name leads outside the networks declared for it"),
    (UpstreamTlsError, "upstream_tls", "the TLS connection to the deployment failed"),
    (UpstreamTimeout, "upstream_timeout", "the deployment did not answer in time"),
    (UpstreamEncoded, "upstream_encoding", "the deployment encoded its answer although we asked for none"),
    (UpstreamInvalid, "upstream_invalid", "the deployment's answer is not HTTP/1.1 that can be read"),
    (UpstreamTooLarge, "upstream_too_large", "the deployment's answer is larger than what is accepted"),
)
_BROKE: Final = {
    "connect": "no connection to the deployment could be made",
    "proxy": "the egress proxy on the way to the deployment let nothing through",
    "write": "the connection to the deployment broke while the request was being sent",
    "head": "the connection to the deployment broke before it answered",
    "body": "the deployment's answer broke off",
}
_TRANSPORT: Final = {
    400: ("http_malformed", "Send one well-formed HTTP/1.1 request"),
    408: ("http_timeout", "Send the request without long pauses"),
    413: ("http_body_too_large", "Send less; the bound is [gateway] body_bytes_max in the gateway's sekisho.toml"),
    415: ("http_encoding", "Send the body as it is, without content-encoding"),
    417: ("http_expectation", "Send no Expect header but 100-continue"),
    431: ("http_head_too_large", "Send fewer or shorter headers"),
    500: ("internal", "Tell the operator this request's id"),
    503: ("http_connections", "Try again shortly"),
}

# Every code that an answer, an error event or a receipt can hold, and what it means. `upstream_status_` goes on with
# the status that the deployment answered with.
CODES: Final = {
    "http_malformed": "not a well-formed HTTP/1.1 request, or one that readers are known to read differently",
    "http_timeout": "the request did not come whole in time",
    "http_body_too_large": "the body is beyond [gateway] body_bytes_max",
    "http_encoding": "the body has a content-encoding",
    "http_expectation": "an Expect header other than 100-continue",
    "http_head_too_large": "too many or too long headers",
    "http_connections": "every connection is taken",
    "invalid_request": "the body or a header says something impossible",
    "invalid_json": "the body is not JSON, holds a number beyond 64 bits, or is nested too deeply",
    "invalid_receipt_id": "what was asked for is not a receipt's id",
    "api_version_missing": "a path of Azure's API without its api-version",
    "invalid_api_key": "no key, an unknown key or a revoked one",
    "credentials_conflict": "two credentials that don't belong together",
    "certificate_refused": "a client certificate that no organisation declares, or more than one does",
    "token_malformed": "not a signed token as they are read here",
    "token_unknown_issuer": "no organisation declares the token's issuer",
    "token_wrong_audience": "the token was issued for something else",
    "token_expired": "the token is over",
    "token_not_yet_valid": "the token begins later",
    "token_unknown_key": "the token's issuer publishes no such key",
    "token_bad_signature": "the key that the token names did not sign it",
    "token_claims_refused": "the token's claims are not those that were declared",
    "key_revoked": "the key was revoked, or the caller's declaration dropped, while the request was being served",
    "not_permitted": "the policies permit no deployment to receive this request",
    "content_not_kept": "it lives in content that a provider keeps (files, batches, stored answers); none is kept here",
    "entry_too_large": "the decision does not fit a ledger entry, so nothing may be sent",
    "model_not_found": "no such model is declared",
    "operation_not_served": "the deployments of the model don't have the operation, or don't know their model",
    "not_found": "there is nothing at this path",
    "receipt_not_found": "the organisation has no such receipt",
    "receipt_unlinked": "the key that the receipt's content was committed with was destroyed",
    "method_not_allowed": "the path does not take this method",
    "unsupported_media_type": "the body is not application/json",
    "too_many_requests": "the gateway serves as much as it may",
    "ledger_full": "the ledger can't record, so nothing is sent: the disk is full",
    "issuer_keys_unavailable": "tokens can't be verified yet: their issuer's keys have never been read",
    "organisation_stopped": "the operator has stopped the caller's organisation",
    "organisation_key_forgotten": "the commitment key of the caller's organisation was destroyed",
    "stopped": "the operator has stopped what could answer",
    "snapshot_superseded": "the rules it was decided under were replaced too long ago",
    "epoch_over": "a declared fact has ended, and the rules without it can't be read",
    "internal": "a fault of the gateway; its log tells more",
    "deployment_unusable": "the deployment is not set up: its credential or its URL can't be used",
    "deployment_without_token": "there is no valid token to present at the deployment",
    "upstream_proxy": "the egress proxy was not reached, or opened no tunnel",
    "upstream_connect": "no connection: refused, timed out, or the name does not resolve",
    "upstream_address": "the name leads to an address outside the declared networks; nothing was connected",
    "upstream_tls": "the TLS handshake or the certificate failed",
    "upstream_write": "the connection broke while the request was being sent",
    "upstream_head": "the connection broke before the answer's head was whole",
    "upstream_body": "the connection broke in the middle of the answer",
    "upstream_timeout": "silence, or the whole exchange, beyond the declared bound",
    "upstream_encoding": "the answer is compressed although that was not asked for",
    "upstream_invalid": "the answer is not HTTP/1.1, not JSON, or not the stream that was asked for",
    "upstream_too_large": "the answer, its head or one of its events is beyond its bound",
    "upstream_incomplete": "the stream ended without [DONE]",
    "upstream_error_answer": "a whole answer with status 200 that reports an error",
    "upstream_error_event": "an event that reports an error",
    "upstream_status_": "the deployment answered with this status",
}
