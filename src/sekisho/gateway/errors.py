"""What goes wrong on the request path, and the one place where it becomes an answer.

GatewayError
├── BadRequest              400  the request can't be read or says something impossible
├── Unauthenticated         401  no key, token or certificate, or one that does not count
├── NotPermitted            403  decided, and no deployment is permitted; there is a receipt
├── ContentNotKept          403  it would have to keep content for the caller, which it does not
├── OrganisationStopped     403  the operator has stopped the caller's organisation
├── NotFound                404  an unknown model, path or receipt
├── MethodNotAllowed        405
├── UnsupportedEncoding     415  content codings and media types that we don't read
├── Busy                    429  too much at once
├── UpstreamFailed          502  every permitted deployment failed
│   ├── UpstreamTimedOut    504
│   └── NotServed           404  none of them has the operation
├── UpstreamRefused         4xx  a deployment's own status, where its error can't be read
└── Unavailable             503  the ledger can't record, or no snapshot is in force: nothing was sent
    ├── Stopped                  the operator has stopped every deployment that could answer
    └── Superseded               the rules it was decided under were replaced too long ago

CantSignIn                  a deployment can't be used for want of a credential; the pipeline turns it into a 502
"""

from typing import Final

import orjson

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


class BadRequest(GatewayError):
    status = 400
    type = _INVALID
    code = "invalid_request"


class Unauthenticated(GatewayError):
    status = 401
    type = _INVALID
    code = "invalid_api_key"


class NotPermitted(GatewayError):
    status = 403
    type = "permission_error"
    code = "not_permitted"


class ContentNotKept(GatewayError):
    status = 403
    type = "permission_error"
    code = "content_not_kept"


class OrganisationStopped(GatewayError):
    status = 403
    type = "permission_error"
    code = "organisation_stopped"


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
    status = 502
    code = "upstream_failed"


class UpstreamTimedOut(UpstreamFailed):
    status = 504
    code = "upstream_timeout"


class NotServed(UpstreamFailed):
    """The deployment is well, but has nothing where the operation would be."""

    status = 404
    type = _INVALID
    code = "operation_not_served"


class UpstreamRefused(GatewayError):
    def __init__(self, status: int) -> None:
        super().__init__(f"the deployment answered with status {status}", code=f"upstream_status_{status}")
        self.status = status
        self.type = Busy.type if status == Busy.status else _INVALID


class Unavailable(GatewayError):
    status = 503
    code = "unavailable"


class Stopped(Unavailable):
    code = "stopped"


class Superseded(Unavailable):
    code = "snapshot_superseded"


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
