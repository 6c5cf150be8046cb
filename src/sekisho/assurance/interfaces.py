"""Assurance, as other contexts see it."""

from collections.abc import Mapping
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


class UsageWindow(NamedTuple):
    """What a provider counted from `start` to before `end` (µs UTC). None: the provider does not say.

    `deployment` is its own name for where the calls went; None: the account's calls, wherever they went.
    """

    start: int
    end: int
    deployment: str | None
    calls: int | None
    prompt: int | None
    completion: int | None


class UsageLayout(NamedTuple):
    """How to read a usage file that is not laid out as documented.

    `columns`: our names to those of the file, an empty one where a column is to be passed over. `deployments`: the
    file's names to the declared ones. `window_us`: how long a row's time lasts where no column says when it ends.
    `offset_us`: ahead of UTC by so much are times that don't say.
    """

    columns: Mapping[str, str] = {}
    deployments: Mapping[str, str] = {}
    window_us: int | None = None
    offset_us: int | None = None


class Tolerances(NamedTuple):
    """What may differ without being found.

    `clock_us`: how far the provider's clock may be from ours, each way. Tokens may differ by `tokens` (for each call)
    or by `tokens_permille` of ours, whichever is more.
    """

    clock_us: int = 300_000_000
    tokens: int = 2
    tokens_permille: int = 10
