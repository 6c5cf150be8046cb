"""Epochs: the spans of time in which nothing time-dependent changes. Pure.

What depends on time is the end of facts and of monitor mode. An epoch begins at the last end that has passed and lasts
until the next; at its beginning the facts that have ended are unknown, and organisations whose monitor mode has ended
are ruled like all others.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from sekisho.catalog.interfaces import MODE_ENFORCE, UNKNOWN, Catalogue, Fact, Grade, Organisation

_LAPSED: Final = Fact(value=(UNKNOWN,), grade=Grade.UNKNOWN)


def epoch_bounds(catalogue: Catalogue, now_us: int) -> tuple[int, int | None]:
    """(from, until) of the epoch that holds `now_us`, in µs UTC.

    `from` is 0 before the first end, `until` None after the last.
    """
    ends = epoch_ends(catalogue)
    passed = [end for end in ends if end <= now_us]
    coming = [end for end in ends if end > now_us]
    return max(passed, default=0), min(coming, default=None)


def epoch_ends(catalogue: Catalogue) -> tuple[int, ...]:
    """Every instant (µs UTC) at which an epoch ends and the next begins, ascending."""
    ends = {fact.expires for fact in _facts(catalogue) if fact.expires is not None}
    ends |= {one.monitor_until for one in catalogue.organisations if one.monitor_until is not None}
    return tuple(sorted(ends))


def catalogue_at(catalogue: Catalogue, instant_us: int) -> Catalogue:
    """The catalogue as it stands then: facts that have ended unknown, monitor mode that has ended off."""
    if any(_is_over(one, instant_us) for one in catalogue.organisations):
        organisations = tuple(_ruled(one) if _is_over(one, instant_us) else one for one in catalogue.organisations)
        catalogue = msgspec.structs.replace(catalogue, organisations=organisations)
    if not any(_has_lapsed(fact, instant_us) for fact in _facts(catalogue)):
        return catalogue
    return msgspec.structs.replace(
        catalogue,
        providers=tuple(
            msgspec.structs.replace(item, facts=_current(item.facts, instant_us)) for item in catalogue.providers
        ),
        deployments=tuple(
            msgspec.structs.replace(item, facts=_current(item.facts, instant_us)) for item in catalogue.deployments
        ),
    )


def _facts(catalogue: Catalogue) -> Iterable[Fact]:
    for provider in catalogue.providers:
        yield from provider.facts.values()
    for deployment in catalogue.deployments:
        yield from deployment.facts.values()


def _is_over(organisation: Organisation, instant_us: int) -> bool:
    return organisation.monitor_until is not None and organisation.monitor_until <= instant_us


def _ruled(organisation: Organisation) -> Organisation:
    return msgspec.structs.replace(organisation, mode=MODE_ENFORCE, monitor_until=None)


def _has_lapsed(fact: Fact, instant_us: int) -> bool:
    return fact.expires is not None and fact.expires <= instant_us


def _current(facts: dict[str, Fact], instant_us: int) -> dict[str, Fact]:
    return {key: _LAPSED if _has_lapsed(fact, instant_us) else fact for key, fact in facts.items()}
