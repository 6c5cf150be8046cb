"""Monitor mode: which denied candidates an organisation that only watches may still use. Pure.

An organisation declares `mode = "monitor"` with an end. Until then a denial by policy is recorded as it is and does
not stop the request. What still denies:
1. a verdict with an error: it could not be decided (an undeclared class or organisation, no residency left, a fault);
2. a policy annotated `@enforce("always")`;
3. whatever the caller or its key demands itself, which the gateway looks at (`gateway.declared.demands`).
Monitor mode counts for nothing where a candidate is permitted: then the decision is no denial.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED, Decision, PolicyTitle, Verdict


class Monitored(NamedTuple):
    """Where a denied request may go. In the shape of a decision's permissions, one of the two empty."""

    permitted_raw: tuple[str, ...]
    permitted_redacted: tuple[str, ...]
    broken: tuple[str, ...]  # ids of the policies that deny it there, sorted


def monitored(decision: Decision, policies: Sequence[PolicyTitle]) -> Monitored | None:
    """None if the decision is no denial, or one that stands. As little as may be leaves: redacted before raw, and
    only where the fewest rules are broken."""
    if any(verdict.permitted for verdict in decision.verdicts):
        return None
    for action in (SEND_REDACTED, SEND_RAW):
        may = [one for one in decision.verdicts if one.action == action and _is_lifted(one, policies)]
        if may:
            fewest = min(len(verdict.reasons) for verdict in may)
            best = [verdict for verdict in may if len(verdict.reasons) == fewest]
            names = tuple(verdict.deployment for verdict in best)
            broken = tuple(sorted({policies[index].id for verdict in best for index in verdict.reasons}))
            return Monitored(names, (), broken) if action == SEND_RAW else Monitored((), names, broken)
    return None


def _is_lifted(verdict: Verdict, policies: Sequence[PolicyTitle]) -> bool:
    return not verdict.errors and not any(policies[index].always for index in verdict.reasons)
