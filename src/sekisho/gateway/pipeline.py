"""The life of a request to a model, step by step (ARCHITECTURE.md, "The life of a request"). No socket is opened here.

G1  `_attempt` sends only after the decision's entry is durable.
G2  `_attempt` sends only what `decide` permitted for exactly this input; every retry is decided again. Where the
    organisation declares monitor mode, a denial that `policy.monitor` lifts is sent, and its entry says so.
G5  from the moment a decision is appended, `Attempt.settle` is reached on every way out.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from sekisho.content.interfaces import Content, Keeper
from sekisho.gateway.answering import Answerer, UnderWay
from sekisho.gateway.aside import LARGE_BODY_BYTES, Aside
from sekisho.gateway.attempt import Attempt, Recorder
from sekisho.gateway.authentication import authenticated
from sekisho.gateway.dialects.operations import CHAT, parse_request, upstream_body
from sekisho.gateway.dialects.surfaces import Call
from sekisho.gateway.entries import (
    DECISION,
    DECISION_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    OUTCOME_BYTES_MAX,
    DecisionRecord,
    Ended,
    rewritten_bytes,
)
from sekisho.gateway.errors import (
    Busy,
    CantSignIn,
    GatewayError,
    NotPermitted,
    NotServed,
    Stopped,
    UpstreamFailed,
    deployment_unusable,
    deployment_without_token,
    entry_too_large,
    gateway_failed,
    key_revoked,
    ledger_full,
    stopped,
    upstream_fault,
)
from sekisho.gateway.governed import Governed
from sekisho.gateway.governing import decision_input, inspected, lifted, require_model
from sekisho.gateway.halts import Halts, Passage
from sekisho.gateway.http1.errors import UpstreamClosed, UpstreamError
from sekisho.gateway.http1.interfaces import (
    Exchange,
    InboundRequest,
    Responder,
    UpstreamClient,
)
from sekisho.gateway.interfaces import InForce, Keys, Upstream
from sekisho.gateway.keeping import DAY_US, Keeping
from sekisho.gateway.rewriting.treatment import Treatment, treatment
from sekisho.gateway.routing import Route, Router
from sekisho.identity.interfaces import Principal
from sekisho.kernel.ids import is_uuid7
from sekisho.ledger.interfaces import CommitmentKeyForgotten, Commitments, EntryDraft, EntryTooLarge, LedgerFull
from sekisho.policy.interfaces import SEND_RAW, Answering, Decision, Retention
from sekisho.policy.monitor import Monitored

ATTEMPTS_MAX: Final = 4  # each costs a durable decision; a caller waits no longer than a few tries
_RETRY_AFTER_S: Final = 1

log = logging.getLogger(__name__)


class Pipeline:
    """Answers requests to models. One per worker; belongs to its event loop."""

    def __init__(
        self,
        *,
        keys: Keys,
        in_force: Callable[[], InForce],
        recorder: Recorder,
        commitments: Commitments,
        client: UpstreamClient,
        router: Router,
        in_flight_max: int,
        explain: Callable[[InForce, Decision], list[str]],
        halts: Halts,
        keeper: Keeper | None = None,  # None: nothing is kept, whatever policy says
    ) -> None:
        self._keys = keys
        self._in_force = in_force
        self._recorder = recorder
        self._writer = recorder.writer
        self._clock = recorder.clock
        self._ids = recorder.ids
        self._metrics = recorder.metrics
        self._commitments = commitments
        self._client = client
        self._router = router
        self._in_flight_max = in_flight_max
        self._explain = explain
        self._halts = halts
        self._keeper = keeper
        self._aside = Aside()
        self._answerer = Answerer(keys, commitments, router, self._aside, self._has_alternative)

    def close(self) -> None:
        self._aside.close()

    async def serve(self, call: Call, request_id: str, request: InboundRequest, responder: Responder) -> int:
        """Serve one request and return the status; raises GatewayError for what must be answered with an error."""
        principal = self.authenticate(request)
        governed = await self._govern(call, request_id, request, principal)
        metrics = self._metrics
        if metrics.in_flight >= self._in_flight_max:
            raise Busy("too many requests are being served", remedy="Try again shortly", retry_after_s=_RETRY_AFTER_S)
        metrics.in_flight += 1
        try:
            return await self._serve(governed, responder)
        finally:
            metrics.in_flight -= 1

    # -- 1: authenticate

    def authenticate(self, request: InboundRequest) -> Principal:
        return authenticated(self._keys, request, self._metrics)

    # -- 2 to 5: parse, inspect, candidates, decide

    async def _govern(self, call: Call, request_id: str, request: InboundRequest, principal: Principal) -> Governed:
        self._halts.require_organisation(principal.organisation)
        is_large = len(request.body) > LARGE_BODY_BYTES
        asked = (
            await self._aside.admit(parse_request, call.operation, request.headers, request.body, call.model)
            if is_large
            else parse_request(call.operation, request.headers, request.body, call.model)
        )
        in_force = self._in_force()
        snapshot = in_force.snapshot
        require_model(snapshot, asked.model)
        stated = in_force.declarations.of(request.headers, principal)
        governed = Governed(request_id, request.body, in_force, principal, call, asked)
        governed.caller_request = _caller_request(request)
        inspection, redaction = (
            await self._aside.admit(inspected, snapshot.inspector_aside, asked.document)
            if is_large or len(request.body) > snapshot.inspector.large_bytes
            else inspected(snapshot.inspector, asked.document)
        )
        governed.inspection, governed.redaction = inspection, redaction
        governed.decision = snapshot.decider.decide(
            decision_input(snapshot, principal, asked.model, stated, inspection, redaction)
        )
        governed.choice = governed.decision
        watched = lifted(governed.decision, snapshot, request.headers, principal)
        if watched is not None:
            governed.choice, governed.monitored, governed.untold = watched, True, watched
        return governed

    # -- 6 to 11: admit, route, record, send, relay, record

    async def _serve(self, governed: Governed, responder: Responder) -> int:
        try:
            return await self._serve_by_attempts(governed, responder)
        except GatewayError as error:
            error.has_receipt = error.has_receipt or governed.attempt is not None
            raise
        except CommitmentKeyForgotten:
            raise  # no fault: whoever serves this answers it in words
        except Exception:
            log.exception("request %s: a fault of the gateway", governed.request_id)
            failed = gateway_failed()
            failed.has_receipt = governed.attempt is not None
            raise failed from None
        finally:
            if governed.attempt is not None:
                governed.attempt.write_held()

    async def _serve_by_attempts(self, governed: Governed, responder: Responder) -> int:
        error: GatewayError | None = None
        for number in range(1, ATTEMPTS_MAX + 1):
            route = self._route(governed)
            if route is None:
                break
            try:
                return await self._attempt(governed, number, route, responder)
            except StalePooledConnection as stale:
                error = stale  # the deployment may well be there: it stays in the choice
            except Stopped as stop:
                error = stop  # and is no longer in the choice
            except NotServed as lack:
                # It may do well in what it serves; and what failed elsewhere may go well the next time, which a 404
                # would keep the caller from trying.
                error = error or lack
                self._leave_out(governed, route, lack.code)  # what it says may quote the caller
            except UpstreamFailed as failure:
                error = failure
                self._router.failed(route.deployment, self._clock.now_us())
                self._leave_out(governed, route, str(failure))
        raise error or await self._deny(governed)

    def _leave_out(self, governed: Governed, route: Route, why: str | None) -> None:
        governed.failed.add(route.deployment)
        log.warning("request %s: %s failed: %s", governed.request_id, route.deployment, why)

    def _route(self, governed: Governed) -> Route | None:
        """The next deployment to try. Raises Stopped if only those are left that the operator has stopped."""
        if governed.attempt is not None and self._is_over(governed):
            return None
        now_us = self._clock.now_us()
        out = self._stopped(governed)
        route = self._router.choose(governed.choice, governed.failed | out, now_us)
        if route is None and out and governed.attempt is None and governed.permitted:
            raise stopped()
        return route

    def _is_over(self, governed: Governed) -> bool:
        """Whether its epoch has ended: then what stood on a fact or an exemption is not sent once more."""
        until = governed.in_force.snapshot.epoch_until
        return until is not None and self._clock.now_us() >= until

    def _has_alternative(self, governed: Governed, attempt: Attempt, route: Route) -> bool:
        left = governed.permitted - governed.failed - {route.deployment} - self._stopped(governed)
        return bool(left) and attempt.number < ATTEMPTS_MAX and not self._is_over(governed)

    def _stopped(self, governed: Governed) -> frozenset[str]:
        deployments = governed.in_force.snapshot.deployments_by_model[governed.asked.model]
        return self._halts.stopped((one.name, one.provider) for one in deployments)

    async def _deny(self, governed: Governed) -> NotPermitted:
        """Record that nothing is permitted, durably, then say why."""
        now_us = self._clock.now_us()
        entry_id = self._ids.new(now_us)
        received = self._commit(governed, entry_id, "received", governed.received)
        operation = governed.call.operation.name
        record = DecisionRecord(operation, 1, None, governed.asked.completion_tokens_max, received, None)
        record = record._replace(caller_request=governed.caller_request)
        body = governed.in_force.encoder.encode(governed.decision, record)
        draft = EntryDraft(DECISION, entry_id, now_us, governed.principal.id, body, governed.request_id)
        try:
            await self._writer.append(draft)
        except LedgerFull as full:
            raise ledger_full(full.message) from None
        except EntryTooLarge as large:
            raise entry_too_large(large.message) from None
        self._metrics.denied += 1
        reasons = " ".join(self._explain(governed.in_force, governed.decision))
        denied = NotPermitted(f"No deployment is permitted to receive this request. {reasons}")
        denied.has_receipt = True
        return denied

    async def _attempt(self, governed: Governed, number: int, route: Route, responder: Responder) -> int:
        """One attempt. Raises UpstreamFailed if another may be made; nothing was given to the caller then."""
        upstream = governed.in_force.upstreams[route.deployment]
        deployment = governed.in_force.snapshot.deployments[route.deployment]
        treated = await self._treatment(governed, route)
        say_store = deployment.stores_by_default and governed.call.operation is CHAT
        body = upstream_body(treated.document, deployment.upstream_model, say_store=say_store)
        attempt, durable = self._record(governed, number, route, body, treated)
        exchange: Exchange | None = None
        passage = attempt.passage = Passage(
            governed.principal.organisation, route.deployment, deployment.provider, governed.in_force, attempt.cut
        )
        self._halts.enter(passage)
        self._router.started(route.deployment)
        try:
            await durable  # G1: not a byte, not even a connection, before this
            if not self._keys.is_live(governed.principal):
                attempt.settle(Ended.REVOKED, error="key_revoked")
                raise key_revoked()
            halt = attempt.halt or self._halts.why(passage)
            if halt is not None:
                raise attempt.halted(halt)
            if not isinstance(upstream, Upstream):
                log.error("request %s: %s can't be used: %s", governed.request_id, route.deployment, upstream)
                if isinstance(upstream, CantSignIn):
                    unusable = deployment_without_token(upstream.message)
                else:
                    unusable = deployment_unusable()
                attempt.settle(Ended.NOT_SENT, error=unusable.code, hold=True)
                raise unusable
            exchange = attempt.exchange = self._client.exchange(upstream.endpoint)
            headers = (*upstream.headers, (b"x-request-id", governed.request_id.encode()))
            if governed.untold is not None:
                self._tell_monitored(governed, governed.untold)
            head = await exchange.send("POST", upstream.targets[governed.call.operation.name], headers, body)
            attempt.status = head.status
            if head.status == 401:
                upstream.refused()
            return await self._answerer.answer(UnderWay(governed, attempt, exchange, route, head, responder))
        except UpstreamError as error:
            if attempt.halt is not None:
                raise attempt.halted(attempt.halt) from None
            raise self._upstream_failed(attempt, exchange, error) from None
        except BaseException as error:
            # The caller left (cancelled), or a fault of ours: either way the upstream stops working for nobody.
            if exchange is not None:
                exchange.abort()
            if isinstance(error, asyncio.CancelledError):
                attempt.settle(Ended.CALLER_LEFT)
            else:
                written = exchange is not None and exchange.written
                code = error.code if isinstance(error, GatewayError | CommitmentKeyForgotten) else None
                attempt.settle(Ended.UPSTREAM_FAILED if written else Ended.NOT_SENT, error=code or "internal")
            raise
        finally:
            if attempt.keeping is not None:
                attempt.keeping.done(written=exchange is not None and exchange.written)
            self._halts.leave(passage)
            self._router.ended(route.deployment)

    def _tell_monitored(self, governed: Governed, watched: Monitored) -> None:
        """Something is about to be sent that policy denies: once for a request, say so."""
        governed.untold = None
        self._metrics.monitored += 1
        log.warning(
            "request %s: monitor mode of %s: sent though policy denies it (%s)",
            governed.request_id,
            governed.principal.organisation,
            ", ".join(watched.broken) or "no policy permits it",
        )

    async def _treatment(self, governed: Governed, route: Route) -> Treatment:
        bodies = (governed.asked.document, governed.redaction)
        snapshot, operation = governed.in_force.snapshot, governed.call.operation
        is_large = len(governed.received) > min(LARGE_BODY_BYTES, snapshot.inspector.large_bytes)
        return await treatment(snapshot, operation, governed.decision, route, bodies, self._aside, is_large)

    def _record(
        self, governed: Governed, number: int, route: Route, sent: bytes, treated: Treatment
    ) -> tuple[Attempt, asyncio.Future[None]]:
        """Append the decision with room for its outcome; the future completes when it is durable."""
        now_us = self._clock.now_us()
        entry_id = self._ids.new(now_us)
        answering = treated.answering
        retain = self._retention(governed, route, answering)
        record = DecisionRecord(
            governed.call.operation.name,
            number,
            route,
            governed.asked.completion_tokens_max,
            self._commit(governed, entry_id, "received", governed.received),
            self._commit(governed, entry_id, "sent", sent),
            governed.monitored,
            governed.caller_request,
            retain,
            answering,
        )
        body = governed.in_force.encoder.encode(governed.decision, record)
        draft = EntryDraft(DECISION, entry_id, now_us, governed.principal.id, body, governed.request_id)
        try:
            outcome_bytes = OUTCOME_BYTES_MAX + rewritten_bytes(answering)
            reservation = self._writer.reserve(len(body) + ENVELOPE_BYTES_MAX + outcome_bytes)
        except LedgerFull as full:
            raise ledger_full(full.message) from None
        try:
            if governed.attempt is not None:
                if len(body) > DECISION_BYTES_MAX:  # nothing may be named as next and not follow
                    raise EntryTooLarge(f"a decision of {len(body)} bytes does not fit an entry")
                governed.attempt.write_held(followed_by=entry_id)
            durable = self._writer.append(draft, reservation)
        except (LedgerFull, EntryTooLarge) as error:
            reservation.release()
            raise (ledger_full if isinstance(error, LedgerFull) else entry_too_large)(error.message) from None
        attempt = governed.attempt = Attempt(self._recorder, draft, number, len(sent), reservation)
        attempt.treated = treated
        if retain is not None and self._keeper is not None:
            organisation, until = governed.principal.organisation, now_us + retain.days * DAY_US
            content = Content(organisation, entry_id, governed.request_id, until, sent, b"")
            attempt.keeping = Keeping(self._keeper, content)
        return attempt, durable

    def _retention(self, governed: Governed, route: Route, answering: Answering | None) -> Retention | None:
        """Whether what is sent, and its answer, may be kept; one look at an attribute where no policy keeps."""
        decider = governed.in_force.snapshot.decider
        if not decider.retains or self._keeper is None:
            return None
        asked = governed.decision.input
        # Where values are put back, the answer that would be kept holds them, whatever was sent.
        holds_raw = route.action == SEND_RAW or (answering is not None and answering.restore)
        labels = asked.labels_raw if holds_raw else asked.labels_redacted
        return decider.retention(asked, route.deployment, labels)

    def _commit(self, governed: Governed, entry_id: str, field: str, data: bytes) -> dict[str, int | str]:
        return self._commitments.commit(governed.principal.organisation, entry_id, field, data)

    def _upstream_failed(self, attempt: Attempt, exchange: Exchange | None, error: UpstreamError) -> UpstreamFailed:
        """The detail (addresses, certificates) is for our log; the caller is told what `upstream_fault` says."""
        failure = upstream_fault(error)
        attempt.settle(Ended.UPSTREAM_FAILED, error=failure.code, hold=True)
        log.warning("request %s: attempt %d: %s", attempt.request_id, attempt.number, error)
        if isinstance(error, UpstreamClosed) and exchange is not None and exchange.reused and attempt.status is None:
            return StalePooledConnection(failure.message, code=failure.code, remedy=failure.remedy)
        return failure


class StalePooledConnection(UpstreamFailed):
    """A kept-alive connection turned out to be closed: the attempt failed, the deployment may be fine."""


def _caller_request(request: InboundRequest) -> str | None:
    """Its `x-request-id` where it is a UUIDv7, as another Sekisho sends: nothing that could hold a text (G6)."""
    given = request.headers.get(b"x-request-id", b"").decode("latin-1")
    return given if is_uuid7(given) else None
