"""Which of the permitted deployments gets the request.

Raw before redacted; healthy before ailing; then the less expected wait of two random choices
(peak-sensitive EWMA of the time to the first byte × requests in flight).
"""

import random
from collections.abc import Collection, Sequence
from typing import Final, NamedTuple, Protocol

from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED

_REST_US_MIN: Final = 1_000_000  # after a failure a deployment rests a second, doubling …
_REST_US_MAX: Final = 30_000_000  # … up to half a minute, then it is tried again
_DECAY: Final = 0.2  # weight of the newest time to first byte
_DEPLOYMENTS_MAX: Final = 10_000  # measurements kept; a catalogue that changes must not grow us


class Route(NamedTuple):
    deployment: str
    action: str


class Routable(Protocol):
    """Names of the deployments that may get the request, as a decision has them."""

    @property
    def permitted_raw(self) -> tuple[str, ...]: ...
    @property
    def permitted_redacted(self) -> tuple[str, ...]: ...


class _Load:
    __slots__ = ("failures", "first_byte_us", "in_flight", "rests_until_us")

    def __init__(self) -> None:
        self.in_flight = 0
        self.first_byte_us = 0.0
        self.failures = 0
        self.rests_until_us = 0


class Router:
    """One worker's knowledge of how its deployments do. Chooses only among what a decision permits."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._loads: dict[str, _Load] = {}

    def choose(self, choice: Routable, failed: Collection[str], now_us: int) -> Route | None:
        """The next deployment to try, or None when no permitted one is left. `failed` are not to be tried (again)."""
        for names, action in ((choice.permitted_raw, SEND_RAW), (choice.permitted_redacted, SEND_REDACTED)):
            left = [name for name in names if name not in failed] if failed else names
            if left:
                return Route(left[0] if len(left) == 1 else self._best(left, now_us), action)
        return None

    def started(self, deployment: str) -> None:
        self._load(deployment).in_flight += 1

    def ended(self, deployment: str) -> None:
        load = self._load(deployment)
        load.in_flight = max(0, load.in_flight - 1)

    def answered(self, deployment: str, first_byte_us: int) -> None:
        """It gave a first byte: well, until it fails. A slow answer counts at once, a quick one is believed slowly."""
        load = self._load(deployment)
        load.failures = load.rests_until_us = 0
        if first_byte_us > load.first_byte_us:
            load.first_byte_us = float(first_byte_us)
        else:
            load.first_byte_us += _DECAY * (first_byte_us - load.first_byte_us)

    def failed(self, deployment: str, now_us: int) -> None:
        load = self._load(deployment)
        rest_us = min(_REST_US_MIN << min(load.failures, 16), _REST_US_MAX)
        load.failures += 1
        load.rests_until_us = now_us + rest_us

    def _best(self, names: Sequence[str], now_us: int) -> str:
        healthy = [name for name in names if self._load(name).rests_until_us <= now_us]
        pool = healthy or list(names)  # all ailing: trying beats refusing
        if len(pool) == 1:
            return pool[0]
        first, second = self._chance.sample(pool, 2)
        return first if self._expected_wait(first) <= self._expected_wait(second) else second

    def _expected_wait(self, name: str) -> float:
        load = self._load(name)
        return load.first_byte_us * (load.in_flight + 1)

    def _load(self, name: str) -> _Load:
        load = self._loads.get(name)
        if load is None:
            if len(self._loads) >= _DEPLOYMENTS_MAX:
                self._loads = {key: kept for key, kept in self._loads.items() if kept.in_flight}
            load = self._loads[name] = _Load()
        return load
