"""Steps 3 and 5 of a request, for whoever asks: what it holds, and the input that is decided on. Pure.

The pipeline and `explain` share this, so that an explanation is of what would happen and not of something like it.
"""

from collections.abc import Mapping
from typing import Any

from sekisho.catalog.interfaces import MODE_MONITOR
from sekisho.gateway.declared import Declared, demands
from sekisho.gateway.errors import model_not_found
from sekisho.identity.interfaces import Principal
from sekisho.inspection.interfaces import BodyInspection, BodyRedaction, Inspector
from sekisho.policy.interfaces import INPUT_VERSION, Decision, DecisionInput, PrincipalInput
from sekisho.policy.monitor import Monitored, monitored
from sekisho.snapshot.interfaces import Snapshot


def require_model(snapshot: Snapshot, model: str) -> None:
    """Raises NotFound for a model that the snapshot does not declare."""
    if model not in snapshot.deployments_by_model:
        raise model_not_found(model)


def inspected(inspector: Inspector, document: Any) -> tuple[BodyInspection, BodyRedaction | None]:
    """What a body holds, and the body without it where that is possible and changes anything."""
    inspection = inspector.inspect(document)
    if not inspection.labels or not inspection.redactable:
        return inspection, None
    return inspection, inspector.redact(document)


def decision_input(
    snapshot: Snapshot,
    principal: Principal,
    model: str,
    stated: Declared,
    inspection: BodyInspection,
    redaction: BodyRedaction | None,
) -> DecisionInput:
    """The decision's only input, for one request under one snapshot."""
    return DecisionInput(
        INPUT_VERSION,
        snapshot.digest,
        snapshot.epoch_from,
        model,
        PrincipalInput(principal.id, principal.organisation, principal.roles),
        stated.data_class,
        stated.residency,
        inspection.labels,
        inspection.labels if redaction is None else redaction.labels,
        inspection.redactable,
        (),
    )


def lifted(
    decision: Decision, snapshot: Snapshot, headers: Mapping[bytes, bytes], principal: Principal
) -> Monitored | None:
    """Where a denied request may go all the same because its organisation only watches; None where it may not."""
    organisation = snapshot.organisations.get(principal.organisation)
    if organisation is None or organisation.mode != MODE_MONITOR or demands(headers, principal):
        return None
    return monitored(decision, snapshot.decider.policies)
