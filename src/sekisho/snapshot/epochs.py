"""Epochs: the spans of time in which nothing time-dependent changes. Pure.

What depends on time is the end of facts. An epoch begins at the last end that has passed and lasts until the next;
at its beginning the facts that have ended are unknown.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from sekisho.catalog.interfaces import UNKNOWN, Catalogue, Fact, Grade

_LAPSED: Final = Fact(value=(UNKNOWN,), grade=Grade.UNKNOWN)


def epoch_bounds(catalogue: Catalogue, now_us: int) -> tuple[int, int | None]:
    """(from, until) of the epoch that holds `now_us`, in µs UTC.

    `from` is 0 before the first end, `until` None after the last.
    """
    ends = {fact.expires for fact in _facts(catalogue) if fact.expires is not None}
    passed = [end for end in ends if end <= now_us]
    coming = [end for end in ends if end > now_us]
    return max(passed, default=0), min(coming, default=None)


def catalogue_at(catalogue: Catalogue, instant_us: int) -> Catalogue:
    """The catalogue with the facts that have ended by then unknown."""
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


def _has_lapsed(fact: Fact, instant_us: int) -> bool:
    return fact.expires is not None and fact.expires <= instant_us


def _current(facts: dict[str, Fact], instant_us: int) -> dict[str, Fact]:
    return {key: _LAPSED if _has_lapsed(fact, instant_us) else fact for key, fact in facts.items()}
