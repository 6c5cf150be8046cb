"""What a request meets under a set of rules: may it go, in which form, where, and if not, why. Pure.

It is a decision read as the pipeline would act on it (raw before redacted, then what monitor mode lifts), without what
is not a matter of rules: load, health, emergency stops.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from sekisho.policy.interfaces import NO_RESIDENCY, SEND_RAW, SEND_REDACTED, Decision, PolicyTitle, Verdict
from sekisho.policy.monitor import monitored

# Why something is not permitted, where no policy says so by its id. No policy's id begins with `@`.
NO_PERMIT: Final = "@no_permit"  # no policy permits it
NOWHERE: Final = "@no_residency"  # no jurisdiction is left where the data may go
UNDECIDABLE: Final = "@error"  # it could not be decided, so it is denied
NO_DEPLOYMENT: Final = "@no_deployment"  # the model has no deployment (left)
NO_SUCH_MODEL: Final = "@no_model"  # the model is not declared
GONE: Final = "@gone"  # the deployment is not there
NEW: Final = "@new"  # it was not there before

Route = tuple[str, str]  # action, deployment


class Fate(StrEnum):
    """What becomes of a request, as far as rules say."""

    RAW = "raw"  # permitted as it is
    REDACTED = "redacted"  # permitted with sensitive values masked
    MONITORED = "monitored"  # denied; monitor mode lets it pass, unless caller or key demand class or residency
    DENIED = "denied"
    NO_MODEL = "no_model"  # nothing is decided: the model is not declared


SENT: Final = frozenset({Fate.RAW, Fate.REDACTED, Fate.MONITORED})


class Met(NamedTuple):
    """`routes`: where it may go, sorted. `refusals`: each other route with why not, sorted. `causes`: why it is not
    sent as it is (ids of policies, or one of the words above), sorted; empty for Fate.RAW."""

    fate: Fate
    routes: tuple[Route, ...] = ()
    refusals: tuple[tuple[Route, tuple[str, ...]], ...] = ()
    causes: tuple[str, ...] = ()


def met(
    decision: Decision, policies: Sequence[PolicyTitle], *, watching: bool, without: frozenset[str] = frozenset()
) -> Met:
    """What a decision comes to. `watching`: the organisation is in monitor mode. `without`: deployments that are
    taken not to be there; verdicts on the others do not depend on them."""
    if without:
        decision = _without(decision, without)
    refusals = tuple(
        sorted(((one.action, one.deployment), _why(one, policies)) for one in decision.verdicts if not one.permitted)
    )
    raw, redacted = decision.permitted_raw, decision.permitted_redacted
    fate = Fate.RAW if raw else Fate.REDACTED if redacted else Fate.DENIED
    if fate is Fate.DENIED and watching:
        lifted = monitored(decision, policies)
        if lifted is not None:
            fate, raw, redacted = Fate.MONITORED, lifted.permitted_raw, lifted.permitted_redacted
    routes = tuple(sorted([*((SEND_RAW, name) for name in raw), *((SEND_REDACTED, name) for name in redacted)]))
    return Met(fate, routes, refusals, _causes(fate, refusals))


def _causes(fate: Fate, refusals: Iterable[tuple[Route, tuple[str, ...]]]) -> tuple[str, ...]:
    if fate is Fate.RAW:
        return ()
    counted = [why for (action, _), why in refusals if fate is not Fate.REDACTED or action == SEND_RAW]
    return tuple(sorted({cause for why in counted for cause in why})) or (NO_DEPLOYMENT,)


def _why(verdict: Verdict, policies: Sequence[PolicyTitle]) -> tuple[str, ...]:
    if verdict.errors:
        return (NOWHERE,) if verdict.errors == (NO_RESIDENCY,) else (UNDECIDABLE,)
    return tuple(sorted(policies[index].id for index in verdict.reasons)) or (NO_PERMIT,)


def _without(decision: Decision, gone: frozenset[str]) -> Decision:
    return dataclasses.replace(
        decision,
        verdicts=tuple(one for one in decision.verdicts if one.deployment not in gone),
        permitted_raw=tuple(name for name in decision.permitted_raw if name not in gone),
        permitted_redacted=tuple(name for name in decision.permitted_redacted if name not in gone),
    )
