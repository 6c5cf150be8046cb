"""A request that has been decided on, as the pipeline and its answer share it."""

from sekisho.gateway.attempt import Attempt
from sekisho.gateway.dialects.operations import ModelRequest
from sekisho.gateway.dialects.surfaces import Call
from sekisho.gateway.interfaces import InForce
from sekisho.gateway.routing import Routable
from sekisho.identity.interfaces import Principal
from sekisho.inspection.interfaces import BodyInspection, BodyRedaction
from sekisho.policy.interfaces import Decision
from sekisho.policy.monitor import Monitored


class Governed:
    """A request after step 5: who asks, what it holds, what was decided. Sees one snapshot from here to its end."""

    __slots__ = (
        "asked",
        "attempt",
        "call",
        "caller_request",
        "choice",
        "decision",
        "failed",
        "in_force",
        "inspection",
        "monitored",
        "principal",
        "received",
        "redaction",
        "request_id",
        "untold",
    )

    def __init__(
        self, request_id: str, received: bytes, in_force: InForce, principal: Principal, call: Call, asked: ModelRequest
    ) -> None:
        self.request_id = request_id
        self.received = received
        self.in_force = in_force
        self.principal = principal
        self.call = call
        self.asked = asked
        self.caller_request: str | None = None  # the caller's own id of it
        self.failed: set[str] = set()  # deployments that are not tried again for this request
        self.inspection: BodyInspection
        self.decision: Decision
        self.choice: Routable  # where it may go: what the decision permits, or what monitor mode lifts
        self.monitored = False
        self.untold: Monitored | None = None  # what monitor mode lifts, until something is sent
        self.attempt: Attempt | None = None  # the last one
        self.redaction: BodyRedaction | None = None  # the body without its labelled spans, where that is possible

    @property
    def permitted(self) -> set[str]:
        """The deployments that it may go to, raw or redacted."""
        return {*self.choice.permitted_raw, *self.choice.permitted_redacted}
