"""Step 10 of a request: the deployment's answer, on its way to the caller. No socket is opened here.

An outcome is written before a whole answer is given, and before the last of a streamed one.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from sekisho.catalog.jurisdictions import shortened
from sekisho.gateway.aside import LARGE_BODY_BYTES, Aside
from sekisho.gateway.attempt import Attempt
from sekisho.gateway.dialects.answers import WholeAnswer, read_answer, read_error
from sekisho.gateway.entries import Ended
from sekisho.gateway.errors import (
    AnswerWithheld,
    NotServed,
    UpstreamAnswered,
    UpstreamFailed,
    UpstreamRefused,
    key_revoked,
    upstream_invalid,
    upstream_status_code,
)
from sekisho.gateway.governed import Governed
from sekisho.gateway.http1.interfaces import Exchange, Header, Responder, ResponseHead
from sekisho.gateway.interfaces import Keys
from sekisho.gateway.relay import StreamRelay
from sekisho.gateway.rewriting.treatment import rewriter, rewritten
from sekisho.gateway.routing import Route, Router
from sekisho.identity.interfaces import AuthenticationError
from sekisho.ledger.interfaces import Commitments

ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024  # of an answer that is not streamed: held whole to be checked
ERROR_BYTES_MAX: Final = 256 * 1024  # of an upstream's error
_EVENT_STREAM: Final = b"text/event-stream"
_CALLERS_TO_FIX: Final = frozenset((400, 409, 413, 422, 429))  # upstream's answers that concern the caller
_NOT_SERVED: Final = frozenset((404, 405, 501))  # upstream's answers where it lacks an operation, or the model
_SAID_MAX: Final = 300  # characters of an upstream's message that are repeated in ours
# An upstream's headers that clients act on: limits, when to come again, and how long it worked.
_PASSED_HEADERS: Final = frozenset((b"retry-after", b"retry-after-ms", b"x-should-retry", b"openai-processing-ms"))
_PASSED_PREFIX: Final = b"x-ratelimit-"


class UnderWay(NamedTuple):
    """An answer whose head has come."""

    governed: Governed
    attempt: Attempt
    exchange: Exchange
    route: Route
    head: ResponseHead
    responder: Responder


class Answerer:
    """Answers callers. One per worker."""

    def __init__(
        self,
        keys: Keys,
        commitments: Commitments,
        router: Router,
        aside: Aside,
        has_alternative: Callable[[Governed, Attempt, Route], bool],
    ) -> None:
        """`has_alternative`: whether another deployment, not yet tried, can be."""
        self._keys = keys
        self._commitments = commitments
        self._router = router
        self._aside = aside
        self._has_alternative = has_alternative

    async def answer(self, way: UnderWay) -> int:
        """Give the caller the answer, or the error that concerns it; its status. Raises GatewayError, UpstreamError."""
        governed, attempt, exchange, head = way.governed, way.attempt, way.exchange, way.head
        if head.status == 200:
            streams = _media_type(head) == _EVENT_STREAM
            asked = governed.asked.stream
            if streams != asked and (streams or governed.call.operation.streams):
                # A client that asked for a stream finds no event in another answer, and takes it for a complete one.
                exchange.abort()
                attempt.settle(Ended.UPSTREAM_FAILED, error="upstream_invalid", hold=True)
                unasked = "streamed although it was not asked to" if streams else "did not stream as it was asked to"
                raise upstream_invalid(unasked)
            headers = _headers(way)
            answer = self._relay if streams else self._whole
            await answer(way, headers)
            return head.status
        if head.status in _CALLERS_TO_FIX:
            await self._pass_error(way)
            return head.status
        if head.status in _NOT_SERVED:
            raise await _not_served(way)
        exchange.abort()
        answered = UpstreamAnswered(head.status)
        attempt.settle(Ended.UPSTREAM_REFUSED, error=answered.code, hold=True)
        raise answered

    async def _relay(self, way: UnderWay, headers: list[Header]) -> None:
        governed, attempt, exchange = way.governed, way.attempt, way.exchange
        snapshot = governed.in_force.snapshot
        attempt.rewriter = await rewriter(snapshot, attempt.treated, self._aside, is_large=False)
        if attempt.halt is not None:
            raise attempt.halted(attempt.halt)
        organisation = governed.principal.organisation
        commitment = self._commitments.stream(organisation, attempt.outcome_id, "answer")
        headers.append((b"content-type", b"text/event-stream; charset=utf-8"))
        headers.append((b"cache-control", b"no-cache"))

        def answered() -> None:
            self._router.answered(way.route.deployment, attempt.first_byte())

        relay = StreamRelay(
            way.responder, exchange, attempt, commitment, governed.call, headers, answered, attempt.rewriter
        )
        try:
            watch = self._keys.watch(governed.principal, relay.revoke)
        except AuthenticationError:
            attempt.settle(Ended.REVOKED, error="key_revoked")
            raise key_revoked() from None
        attempt.passage.end = relay.halt
        try:
            exchange.relay_to(relay)
            await relay.done
        except asyncio.CancelledError:
            relay.caller_left()
            raise
        finally:
            self._keys.unwatch(watch)

    async def _whole(self, way: UnderWay, headers: list[Header]) -> None:
        governed, attempt = way.governed, way.attempt
        self._router.answered(way.route.deployment, attempt.first_byte())
        answer = await way.exchange.read(ANSWER_BYTES_MAX)
        text_bytes = governed.call.operation.text_bytes
        whole = (
            await self._aside.run(read_answer, answer, text_bytes)
            if len(answer) > LARGE_BODY_BYTES
            else read_answer(answer, text_bytes)
        )
        if whole is None:
            attempt.settle(Ended.UPSTREAM_FAILED, error="upstream_invalid", hold=True)
            raise upstream_invalid("answered with what is not a JSON object")
        if whole.reports_error:
            attempt.settle(Ended.UPSTREAM_FAILED, error="upstream_error_answer", usage=whole.usage, hold=True)
            raise UpstreamFailed("the deployment reported an error with status 200", code="upstream_error_answer")
        await self._respond(way, headers, whole, await self._rewritten(way, answer))

    async def _rewritten(self, way: UnderWay, answer: bytes) -> bytes:
        """A whole answer as the caller may get it. Raises AnswerWithheld."""
        attempt, snapshot = way.attempt, way.governed.in_force.snapshot
        is_large = len(answer) > min(LARGE_BODY_BYTES, snapshot.inspector.large_bytes)
        try:
            attempt.rewriter = await rewriter(snapshot, attempt.treated, self._aside, is_large=is_large)
            return await rewritten(attempt.rewriter, answer, self._aside, is_large=is_large)
        except AnswerWithheld as error:
            attempt.settle(Ended.WITHHELD, error=error.code)
            raise

    async def _pass_error(self, way: UnderWay) -> None:
        """An error that concerns the caller goes on as it says; a 429 first looks for another deployment."""
        if way.head.status == 429 and self._has_alternative(way.governed, way.attempt, way.route):
            way.exchange.abort()
            code = upstream_status_code(way.head.status)
            way.attempt.settle(Ended.UPSTREAM_REFUSED, error=code, hold=True)
            raise UpstreamFailed("the deployment is at its limit", code=code)
        answer = await way.exchange.read(ERROR_BYTES_MAX)
        read = read_error(answer)
        if read is None:
            body = way.governed.call.surface.error_body(UpstreamRefused(way.head.status))
        else:
            body = await self._rewritten(way, read.body)
        await self._respond(way, _headers(way), WholeAnswer(None, 0), body)

    async def _respond(self, way: UnderWay, headers: list[Header], whole: WholeAnswer, body: bytes) -> None:
        """Give the caller a whole answer, once its outcome is written."""
        attempt = way.attempt
        commitment = self._commitments.commit(way.governed.principal.organisation, attempt.outcome_id, "answer", body)
        attempt.settle(
            Ended.COMPLETE, usage=whole.usage, answer=commitment, answer_text_bytes=whole.text_bytes, hold=True
        )
        await attempt.write_held_batched()
        if attempt.keeping is not None:
            attempt.keeping.add(body)
        headers.append((b"content-type", b"application/json"))
        way.responder.respond(way.head.status, headers, body)


async def _not_served(way: UnderWay) -> NotServed:
    read = read_error(await way.exchange.read(ERROR_BYTES_MAX))
    status = way.head.status
    way.attempt.settle(Ended.UPSTREAM_REFUSED, error=upstream_status_code(status), hold=True)
    said = "" if read is None or way.attempt.treated.answering else f": {read.message[:_SAID_MAX]}"
    return NotServed(
        f"the deployment does not serve {way.governed.call.operation.name}, or does not know its model "
        f"(it answered {status}{said})",
        remedy="Choose a model that does, or ask the operator of this gateway",
    )


def _headers(way: UnderWay) -> list[Header]:
    governed = way.governed
    deployment = governed.in_force.snapshot.deployments[way.route.deployment]
    request_id = governed.request_id.encode()
    beside = [(b"x-sekisho-monitored", b"would-deny")] if governed.monitored else []
    if governed.in_force.snapshot.decider.exemptions:
        used = [one.exemptions for one in governed.decision.verdicts if one[:2] == way.route]
        beside += [(b"x-sekisho-exemption", ", ".join(names).encode()) for names in used if names]
    answering = way.attempt.treated.answering
    if answering is not None and answering.mask:
        beside.append((b"x-sekisho-masks", ", ".join(answering.mask).encode()))
    return [
        (b"x-request-id", request_id),
        (b"x-sekisho-receipt", request_id),
        (b"x-sekisho-deployment", deployment.name.encode()),
        (b"x-sekisho-jurisdiction", ", ".join(shortened(deployment.facts["processing"].value)).encode()),
        (b"x-sekisho-labels", ", ".join(governed.inspection.labels).encode()),
        *beside,
        *[header for header in way.head.headers.items() if _passes(header[0])],
    ]


def _passes(name: bytes) -> bool:
    return name in _PASSED_HEADERS or name.startswith(_PASSED_PREFIX)


def _media_type(head: ResponseHead) -> bytes:
    return head.headers.get(b"content-type", b"").split(b";", 1)[0].strip().lower()
