"""The request path's own kinds of entry: `decision` and `outcome`.

decision body: {attempt, [caller_request: the caller's own x-request-id, if a UUIDv7,] candidates,
  chosen: {action, deployment} | null, completion_tokens_max, engine, input,
  monitored: whether policy denies what was chosen and monitor mode let it pass, operation, policies: {index: id},
  received: commitment, retain: {days, reasons} where content may be kept, schema, sent: commitment | null}
outcome body: {answer: commitment | null, attempt, decision: entry id, ended, error: code | null,
  [next: the id of the decision of the attempt that followed,]
  peer: {address, certificate_sha256, port, via: "egress_proxy" (only if the peer is one)} | null,
  status: HTTP status | null, timings_us: {first_byte, total},
  usage: {completion, prompt, source} | null, written: whether a byte left}

Labels and ids only (G6): no content, no name, no caller's address.
"""

import hashlib
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson

from sekisho.gateway.dialects.answers import Usage
from sekisho.gateway.http1.interfaces import Peer
from sekisho.gateway.routing import Route
from sekisho.kernel.canonical import encode
from sekisho.ledger.interfaces import ENTRY_BYTES_MAX
from sekisho.policy.interfaces import Decider, Decision, Retention

DECISION: Final = "decision"
OUTCOME: Final = "outcome"
OUTCOME_BYTES_MAX: Final = 2_048  # every field is bounded: with the envelope an outcome stays below this
ENVELOPE_BYTES_MAX: Final = 640
DECISION_BYTES_MAX: Final = ENTRY_BYTES_MAX - ENVELOPE_BYTES_MAX  # a body that surely fits an entry

Commitment = dict[str, int | str]


class Ended(StrEnum):
    """How an attempt ended."""

    COMPLETE = "complete"
    CALLER_LEFT = "caller_left"
    UPSTREAM_FAILED = "upstream_failed"  # no whole answer came
    UPSTREAM_REFUSED = "upstream_refused"  # a whole answer, with a status that is not the caller's to see
    REVOKED = "revoked"
    STOPPED = "stopped"  # by the operator
    SUPERSEDED = "superseded"  # it outlived the rules that it was decided under
    NOT_SENT = "not_sent"  # permitted, but something of ours ended it first
    INTERRUPTED = "interrupted"  # the process died; appended by recovery


class DecisionRecord(NamedTuple):
    """What a decision entry tells besides the decision itself."""

    operation: str
    attempt: int
    route: Route | None
    completion_tokens_max: int | None
    received: Commitment
    sent: Commitment | None
    monitored: bool = False
    caller_request: str | None = None  # so that another Sekisho's ledger, which called us, can be held against ours
    retain: Retention | None = None


class OutcomeRecord(NamedTuple):
    decision: str
    attempt: int
    ended: Ended
    error: str | None
    status: int | None
    peer: Peer | None
    written: bool
    first_byte_us: int | None
    total_us: int
    usage: Usage | None
    answer: Commitment | None
    followed_by: str | None = None  # the next attempt's decision: whoever shows a receipt can't cut off what followed


class DecisionEncoder:
    """Encodes decision bodies for one snapshot; what is equal in each is encoded once."""

    def __init__(self, decider: Decider) -> None:
        self._engine = orjson.Fragment(encode(dict(decider.engine)))
        self._schema = decider.schema_digest
        self._ids = [policy.id for policy in decider.policies]
        self._policies: dict[tuple[int, ...], orjson.Fragment] = {}

    def encode(self, decision: Decision, record: DecisionRecord) -> bytes:
        route = record.route
        of_caller = {} if record.caller_request is None else {"caller_request": record.caller_request}
        retain = record.retain
        return orjson.dumps(
            {
                "attempt": record.attempt,
                **of_caller,
                "candidates": orjson.Fragment(decision.candidates_bytes),
                "chosen": None if route is None else {"action": route.action, "deployment": route.deployment},
                "completion_tokens_max": record.completion_tokens_max,
                "engine": self._engine,
                "input": orjson.Fragment(decision.input_bytes),
                "monitored": record.monitored,
                "operation": record.operation,
                "policies": self._named(decision, retain),
                "received": record.received,
                **({} if retain is None else {"retain": {"days": retain.days, "reasons": retain.reasons}}),
                "schema": self._schema,
                "sent": record.sent,
            }
        )

    def _named(self, decision: Decision, retain: Retention | None) -> orjson.Fragment:
        """The ids of the policies that reasons point to, so that a receipt reads without its snapshot."""
        found = {index for verdict in decision.verdicts for index in verdict.reasons}
        indexes = tuple(sorted(found if retain is None else found.union(retain.reasons)))
        fragment = self._policies.get(indexes)
        if fragment is None:
            fragment = orjson.Fragment(encode({str(index): self._ids[index] for index in indexes}))
            self._policies[indexes] = fragment  # at most one per set of policies that ever decided together
        return fragment


def outcome_body(record: OutcomeRecord) -> bytes:
    """Keys stand in canonical order."""
    peer = record.peer
    usage = record.usage
    return orjson.dumps(
        {
            "answer": record.answer,
            "attempt": record.attempt,
            "decision": record.decision,
            "ended": record.ended.value,
            "error": record.error,
            **({} if record.followed_by is None else {"next": record.followed_by}),
            "peer": None if peer is None else _peer(peer),
            "status": record.status,
            "timings_us": {"first_byte": record.first_byte_us, "total": record.total_us},
            "usage": None
            if usage is None
            else {"completion": usage.completion, "prompt": usage.prompt, "source": usage.source},
            "written": record.written,
        }
    )


def _peer(peer: Peer) -> dict[str, int | str | None]:
    certificate = peer.certificate
    digest = None if certificate is None else hashlib.sha256(certificate).hexdigest()
    fields: dict[str, int | str | None] = {
        "address": peer.address, "certificate_sha256": digest, "port": peer.port
    }  # fmt: skip
    return fields if peer.via is None else fields | {"via": peer.via}


class GatewayLifecycle:
    """Implements the ledger's Lifecycle: a decision that chose a deployment must be followed by its outcome."""

    def opens(self, envelope: dict[str, Any]) -> bool:
        return envelope["kind"] == DECISION and envelope["body"]["chosen"] is not None

    def closes(self, envelope: dict[str, Any]) -> str | None:
        return envelope["body"]["decision"] if envelope["kind"] == OUTCOME else None

    def interrupted(self, envelope: dict[str, Any]) -> tuple[str, bytes]:
        """Nobody knows how far it came, so use is the most it can have been: a token holds at least a byte."""
        body = envelope["body"]
        return OUTCOME, encode(
            {
                "answer": None,
                "attempt": body["attempt"],
                "decision": envelope["id"],
                "ended": Ended.INTERRUPTED.value,
                "error": None,
                "peer": None,
                "status": None,
                "timings_us": {"first_byte": None, "total": None},
                "usage": {
                    "completion": body["completion_tokens_max"],
                    "prompt": body["sent"]["bytes"],
                    "source": "upper_bound",
                },
                "written": None,
            }
        )
