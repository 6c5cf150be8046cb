"""The gateway's paths, and the one place where an error becomes an answer."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import orjson

from sekisho.gateway.dialects.operations import CHAT
from sekisho.gateway.errors import (
    BadRequest,
    ContentNotKept,
    GatewayError,
    Gone,
    MethodNotAllowed,
    NotFound,
    OrganisationForgotten,
    Unauthenticated,
    Unavailable,
    gateway_failed,
    model_not_found,
)
from sekisho.gateway.http1.interfaces import Header, InboundRequest, Responder
from sekisho.gateway.interfaces import InForce, Receipts
from sekisho.gateway.metrics import Gauges, Metrics
from sekisho.gateway.paths import (
    MODELS_PATHS,
    call_of_deployment,
    calls_by_path,
    is_of_kept_content,
    model_of,
    require_api_version,
    surface_of,
)
from sekisho.gateway.pipeline import Pipeline
from sekisho.kernel.clock import Clock
from sekisho.kernel.ids import IdSource, is_uuid7
from sekisho.ledger.interfaces import CommitmentKeyForgotten

_JSON: Final = (b"content-type", b"application/json")
_RECEIPT_RETRY_S: Final = 1  # the publisher signs about once a second

log = logging.getLogger(__name__)

Endpoint = Callable[[str, InboundRequest, Responder], Awaitable[int]]  # the status of the answer it gave


class Surface:
    """The Handler of a gateway's HTTP server."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        receipts: Receipts,
        in_force: Callable[[], InForce],
        metrics: Metrics,
        clock: Clock,
        ids: IdSource,
        readiness: Callable[[], list[str]],
        notes: Callable[[], list[str]] = list,
        gauges: Callable[[], Gauges],
    ) -> None:
        self._pipeline = pipeline
        self._receipts = receipts
        self._in_force = in_force
        self._metrics = metrics
        self._clock = clock
        self._ids = ids
        self._readiness = readiness
        self._notes = notes
        self._gauges = gauges
        self._endpoints: dict[str, dict[str, Endpoint]] = {
            **{path: {"POST": partial(pipeline.serve, call)} for path, call in calls_by_path().items()},
            # OpenAI lists stored completions where completions are asked for.
            **{
                path: {"POST": partial(pipeline.serve, call), "GET": self._not_kept}
                for path, call in calls_by_path().items()
                if call.operation is CHAT
            },
            **{path: {"GET": self._models} for path in MODELS_PATHS},
            "/healthz": {"GET": self._healthz},
            "/readyz": {"GET": self._readyz},
            "/metrics": {"GET": self._metrics_text},
        }

    async def __call__(self, request: InboundRequest, responder: Responder) -> None:
        request_id = self._ids.new(self._clock.now_us())
        try:
            status = await self._endpoint(request)(request_id, request, responder)
            self._metrics.statuses[status] += 1
        except GatewayError as error:
            self._answer_error(request_id, request, responder, error)
        except CommitmentKeyForgotten as error:
            refused = OrganisationForgotten(error.message, remedy=error.remedy)
            self._answer_error(request_id, request, responder, refused)
        except Exception:
            log.exception("request %s: a fault of the gateway", request_id)
            self._answer_error(request_id, request, responder, gateway_failed())

    def _endpoint(self, request: InboundRequest) -> Endpoint:
        methods = self._methods(request.path)
        if not methods:
            raise NotFound(
                f"there is nothing at {request.path}",
                remedy="The OpenAI API is under /v1, Azure's under /openai, receipts under /receipts/",
            )
        endpoint = methods.get("GET" if request.method == "HEAD" else request.method)
        if endpoint is None:
            raise MethodNotAllowed(f"{request.method} is not possible here", remedy=f"Use {' or '.join(methods)}")
        require_api_version(request.path, request.query)
        return endpoint

    def _methods(self, path: str) -> dict[str, Endpoint]:
        known = self._endpoints.get(path)
        if known is not None:
            return known
        if path.startswith("/receipts/"):
            return {"GET": self._receipt}
        if is_of_kept_content(path):
            return dict.fromkeys(("GET", "POST", "DELETE"), self._not_kept)
        call = call_of_deployment(path)
        if call is not None:
            return {"POST": partial(self._pipeline.serve, call)}
        model = model_of(path)
        return {} if model is None else {"GET": partial(self._model, model)}

    def _answer_error(
        self, request_id: str, request: InboundRequest, responder: Responder, error: GatewayError
    ) -> None:
        self._metrics.statuses[error.status] += 1
        self._metrics.faults[error.code or "internal"] += 1
        # What a 4xx says may quote the caller's own words, which must not get into a log: its code tells enough.
        said = error.message if error.status >= 500 else ""
        log.info("request %s: %d %s %s", request_id, error.status, error.code, said)
        if responder.started:
            responder.abort()  # too late to say it; the caller must not take what it has for complete
            return
        headers: list[Header] = [(b"x-request-id", request_id.encode()), _JSON]
        if error.has_receipt:
            headers.append((b"x-sekisho-receipt", request_id.encode()))
        if isinstance(error, Unauthenticated):
            headers.append((b"www-authenticate", b"Bearer"))  # RFC 9110, section 15.5.2
        if isinstance(error, MethodNotAllowed):
            allowed = self._methods(request.path)
            headers.append((b"allow", ", ".join(allowed).encode()))  # RFC 9110, section 15.5.6
        if error.retry_after_s is not None:
            headers.append((b"retry-after", str(error.retry_after_s).encode()))
        responder.respond(error.status, headers, surface_of(request.path).error_body(error))

    async def _models(self, request_id: str, request: InboundRequest, responder: Responder) -> int:
        self._pipeline.authenticate(request)
        models = self._in_force().snapshot.catalogue.models
        body = orjson.dumps({"object": "list", "data": [_described(model.name) for model in models]})
        responder.respond(200, [(b"x-request-id", request_id.encode()), _JSON], body)
        return 200

    async def _model(self, name: str, request_id: str, request: InboundRequest, responder: Responder) -> int:
        self._pipeline.authenticate(request)
        if all(model.name != name for model in self._in_force().snapshot.catalogue.models):
            raise model_not_found(name)
        responder.respond(200, [(b"x-request-id", request_id.encode()), _JSON], orjson.dumps(_described(name)))
        return 200

    async def _receipt(self, request_id: str, request: InboundRequest, responder: Responder) -> int:
        principal = self._pipeline.authenticate(request)
        wanted = request.path.removeprefix("/receipts/")
        if not is_uuid7(wanted):
            raise BadRequest("a receipt's id is the x-sekisho-receipt of an answer", code="invalid_receipt_id")
        answer = await self._receipts.receipt(wanted, principal.organisation)
        headers: list[Header] = [(b"x-request-id", request_id.encode()), _JSON]
        if answer.state == "complete":
            responder.respond(200, headers, answer.file)
            return 200
        if answer.state == "pending":
            headers.append((b"retry-after", str(_RECEIPT_RETRY_S).encode()))
            responder.respond(202, headers, orjson.dumps({"status": "pending", "request": wanted}))
            return 202
        if answer.state == "unlinked":
            raise Gone(
                "the commitment key of this receipt was destroyed, so it can't be made any more",
                remedy="A receipt fetched before still verifies, and the entries stay in the log",
            )
        raise NotFound("your organisation has no receipt with this id", code="receipt_not_found")

    async def _not_kept(self, request_id: str, request: InboundRequest, responder: Responder) -> int:
        self._pipeline.authenticate(request)
        raise ContentNotKept(
            "this gateway keeps no content for its callers, so there are no files, batches or stored answers",
            remedy="Send each request whole; `store` leaves as false, so that providers keep none either",
        )

    async def _healthz(self, request_id: str, request: InboundRequest, responder: Responder) -> int:
        responder.respond(200, [_JSON], b'{"status":"ok"}')
        return 200

    async def _readyz(self, request_id: str, request: InboundRequest, responder: Responder) -> int:
        reasons = self._readiness()
        try:
            digest = self._in_force().snapshot.digest
        except Unavailable:
            digest = None  # `reasons` say why
        state = {
            "status": "not ready" if reasons else "ready",
            "reasons": reasons,
            "notes": self._notes(),
            "snapshot": digest,
        }
        body = orjson.dumps(state)
        status = 503 if reasons else 200
        responder.respond(status, [_JSON], body)
        return status

    async def _metrics_text(self, request_id: str, request: InboundRequest, responder: Responder) -> int:
        text = self._metrics.render(self._gauges())
        responder.respond(200, [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")], text)
        return 200


def _described(model: str) -> dict[str, str | int]:
    return {"id": model, "object": "model", "created": 0, "owned_by": "sekisho"}
