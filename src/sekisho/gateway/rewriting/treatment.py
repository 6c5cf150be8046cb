"""What policy has done to the answer of one attempt: decided before anything is sent, done when the answer comes."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sekisho.gateway.aside import Aside
from sekisho.gateway.dialects.answers import json_object
from sekisho.gateway.dialects.operations import EMBEDDINGS, Operation
from sekisho.gateway.errors import AnswerWithheld
from sekisho.gateway.rewriting.answers import AnswerRewriter
from sekisho.inspection.interfaces import BodyRedaction, Inspector, RulesError
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
    aside: Aside,
    is_large: bool,
) -> Treatment:
    """For an attempt at `route` (deployment, action). `bodies`: the request's, raw and redacted. Asks nobody where no
    policy is about answers. Raises AnswerWithheld where a label can't be masked at all: then nothing is to be sent.
    """
    (deployment, action), (document, redaction) = route, bodies
    if action != SEND_RAW and redaction is None:
        raise AssertionError("permitted redacted, but there is nothing redacted")
    sent = document if action == SEND_RAW or redaction is None else redaction.body
    if not snapshot.decider.answers or operation is EMBEDDINGS:  # the answers of embeddings hold no text
        return Treatment(sent)
    answering = snapshot.decider.answering(decision.input, deployment, action)
    if answering is not None:
        await _make_ready(snapshot.inspector, frozenset(answering.mask), aside)
    if answering is None or not answering.restore or redaction is None:
        return Treatment(sent, answering)
    labels = frozenset(answering.restore)
    reversible = (
        await aside.run(snapshot.inspector_aside.redact_reversibly, document, labels)
        if is_large
        else snapshot.inspector.redact_reversibly(document, labels)
    )
    if reversible.labels != redaction.labels:
        # Decided was what leaves with plain marks. With placeholders it would be something else: so none are used.
        return Treatment(sent, answering._replace(restore=()) if answering.mask else None)
    return Treatment(reversible.body, answering, reversible.values)


async def rewriter(snapshot: Snapshot, treated: Treatment, aside: Aside, *, is_large: bool) -> AnswerRewriter | None:
    """What the answer goes through; None where nothing is done to it. Belongs to the thread beside if it `is_large`."""
    if treated.answering is None:
        return None
    inspector = snapshot.inspector_aside if is_large else snapshot.inspector
    labels = frozenset(treated.answering.mask)
    await _make_ready(inspector, labels, aside)
    return AnswerRewriter(inspector.masking(labels) if labels else None, treated.values)


async def _make_ready(inspector: Inspector, labels: frozenset[str], aside: Aside) -> None:
    if labels and not inspector.has_masking(labels):
        try:
            await aside.run(inspector.masking, labels)
        except RulesError as error:
            raise AnswerWithheld(error.message) from None


async def rewritten(rewriter: AnswerRewriter | None, answer: bytes, aside: Aside, *, is_large: bool) -> bytes:
    """A whole answer that is a JSON object. Raises AnswerWithheld."""
    if rewriter is None:
        return answer
    return await aside.run(_rewritten, rewriter, answer) if is_large else _rewritten(rewriter, answer)


def _rewritten(rewriter: AnswerRewriter, answer: bytes) -> bytes:
    document = json_object(answer)
    if document is None:
        raise AssertionError("rewriting what is not a JSON object")
    return rewriter.whole(document)
