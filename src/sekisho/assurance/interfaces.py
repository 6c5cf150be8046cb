"""Assurance, as other contexts see it."""

from typing import NamedTuple

from sekisho.assurance.errors import UsageUnreadable as UsageUnreadable


class UsageRecord(NamedTuple):
    """One call as the provider knows it. None: the provider does not say.

    `request` is the `x-request-id` that came with it, `at` in µs UTC, `place` where it stands: a line of its file, or
    an entry of its log.
    """

    request: str
    at: int
    prompt: int | None
    completion: int | None
    status: int | None
    place: int


class Tolerances(NamedTuple):
    """What may differ without being found.

    `clock_us`: how far the provider's clock may be from ours, each way. Tokens may differ by `tokens` or by
    `tokens_permille` of ours, whichever is more.
    """

    clock_us: int = 300_000_000
    tokens: int = 2
    tokens_permille: int = 10
