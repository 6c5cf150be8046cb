"""What a look at an installation found. The words stand in `cli.doctor_words`, by code and in two languages."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

OK: Final = "ok"
WARNING: Final = "warning"
PROBLEM: Final = "problem"
Value = str | int


class Finding(NamedTuple):
    """`code` names what was found; `values` fill its words.

    A value's unit stands at the end of its name: `_bytes`, `_us` (µs), `_s`, `_at` (µs since the Unix epoch, UTC).
    """

    severity: str
    code: str
    values: Mapping[str, Value]


def ok(code: str, **values: Value) -> Finding:
    return Finding(OK, code, values)


def warning(code: str, **values: Value) -> Finding:
    return Finding(WARNING, code, values)


def problem(code: str, **values: Value) -> Finding:
    return Finding(PROBLEM, code, values)


def bounded(findings: Iterable[Finding], count_max: int, code: str) -> list[Finding]:
    """The first of many alike, and under `code` how many more there are."""
    every = list(findings)
    rest = every[count_max:]
    if not rest:
        return every
    worst = PROBLEM if any(one.severity == PROBLEM for one in rest) else WARNING
    return [*every[:count_max], Finding(worst, code, {"count": len(rest)})]
