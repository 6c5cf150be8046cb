"""What an audit finds: kinds of finding with their meaning and remedy in words, and a bounded collection. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

ERROR: Final = "error"  # the evidence does not hold
WARNING: Final = "warning"  # it holds as far as it goes, and a person must look at it
NOTE: Final = "note"  # worth knowing; asks nothing of anybody
SEVERITIES: Final = (ERROR, WARNING, NOTE)
KEPT_PER_KIND_MAX: Final = 1_000  # a list that nobody reads to its end; all are counted


class Words(NamedTuple):
    en: str
    ja: str


class Kind(NamedTuple):
    """A kind of finding. `code` is for machines and never changes its meaning."""

    code: str
    severity: str
    meaning: Words
    remedy: Words


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found. `index` is the entry's index in the log, `id` its id where it could be read.

    `detail` says what exactly: names, numbers and paths, in English.
    """

    kind: Kind
    detail: str
    index: int | None = None
    id: str | None = None
    request: str | None = None


@dataclass(slots=True)
class Findings:
    """What was found, the first of each kind kept, all counted. `told` hears of each as it is found."""

    told: Callable[[Finding], None] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    kept: list[Finding] = field(default_factory=list)
    _severities: dict[str, int] = field(default_factory=dict)

    def add(
        self, kind: Kind, detail: str, index: int | None = None, id: str | None = None, request: str | None = None
    ) -> None:
        count = self.counts[kind.code] = self.counts.get(kind.code, 0) + 1
        self._severities[kind.severity] = self._severities.get(kind.severity, 0) + 1
        finding = Finding(kind, detail, index, id, request)
        if count <= KEPT_PER_KIND_MAX:
            self.kept.append(finding)
        if self.told is not None:
            self.told(finding)

    def count(self, severity: str) -> int:
        return self._severities.get(severity, 0)

    def sorted(self) -> list[Finding]:
        """Errors first; of one severity in the log's order."""
        return sorted(self.kept, key=lambda one: (SEVERITIES.index(one.kind.severity), one.index or 0, one.kind.code))


def by_code(kinds: Iterable[Kind]) -> dict[str, Kind]:
    """Raises ValueError where two share a code."""
    table: dict[str, Kind] = {}
    for kind in kinds:
        if kind.code in table:
            raise ValueError(f"two kinds of finding are called {kind.code}")
        table[kind.code] = kind
    return table
