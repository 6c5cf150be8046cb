"""What policy has done to the answer of one attempt: decided before anything is sent, done when the answer comes."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sekisho.gateway.aside import Aside
from sekisho.gateway.dialects.answers import json_object
from sekisho.gateway.dialects.operations import EMBEDDINGS, Operation
from sekisho.gateway.rewriting.answers import AnswerRewriter
from sekisho.inspection.interfaces import BodyRedaction, Inspector
from sekisho.policy.interfaces import SEND_RAW, Answering, Decision
from sekisho.snapshot.interfaces import Snapshot

_NO_VALUES: Final[Mapping[str, str]] = {}


class Treatment(NamedTuple):
    """`document` is what is sent; `values`, by the placeholders in it, are content: in memory for this attempt only."""

    document: dict[str, Any]
    answering: Answering | None = None
    values: Mapping[str, str] = _NO_VALUES

    def __repr__(self) -> str:
        return f"Treatment(…, {self.answering})"


async def treatment(
    snapshot: Snapshot,
    operation: Operation,
    decision: Decision,
    route: tuple[str, str],
    bodies: tuple[dict[str, Any], BodyRedaction | None],
    aside: Aside | None,
) -> Treatment:
    """For an attempt at `route` (deployment, action). `bodies`: the request's, raw and redacted. `aside` where they are
    large. Asks nobody where no policy is about answers.
    """
    (deployment, action), (document, redaction) = route, bodies
    if action != SEND_RAW and redaction is None:
        raise AssertionError("permitted redacted, but there is nothing redacted")
    sent = document if action == SEND_RAW or redaction is None else redaction.body
    if not snapshot.decider.answers or operation is EMBEDDINGS:  # the answers of embeddings hold no text
        return Treatment(sent)
    answering = snapshot.decider.answering(decision.input, deployment, action)
    if answering is None or not answering.restore or redaction is None:
        return Treatment(sent, answering)
    labels = frozenset(answering.restore)
    reversible = (
        snapshot.inspector.redact_reversibly(document, labels)
        if aside is None
        else await aside.run(snapshot.inspector_aside.redact_reversibly, document, labels)
    )
    if reversible.labels != redaction.labels:
        # Decided was what leaves with plain marks. With placeholders it would be something else: so none are used.
        return Treatment(sent, answering._replace(restore=()) if answering.mask else None)
    return Treatment(reversible.body, answering, reversible.values)


async def rewriter(
    inspector: Inspector, answering: Answering | None, values: Mapping[str, str], aside: Aside
) -> AnswerRewriter | None:
    """None where nothing is done to the answer."""
    if answering is None:
        return None
    labels = frozenset(answering.mask)
    if not labels:
        return AnswerRewriter(None, values)
    if not inspector.has_masking(labels):
        await aside.run(inspector.masking, labels)
    return AnswerRewriter(inspector.masking(labels), values)


def rewritten(rewriter: AnswerRewriter, answer: bytes) -> bytes:
    """A whole answer that is a JSON object. Raises AnswerWithheld."""
    document = json_object(answer)
    if document is None:
        raise AssertionError("rewriting what is not a JSON object")
    return rewriter.whole(document)
