"""A provider's usage file: one line per call, as CSV (RFC 4180) in UTF-8, the first line naming the columns.

| column | also called | |
|---|---|---|
| `request_id` | `x-request-id`, `x_request_id` | the id that came with the call; required |
| `time` | `timestamp`, `created_at` | RFC 3339 with its offset, or seconds since the Unix epoch; required |
| `prompt_tokens` | `input_tokens` | may be empty |
| `completion_tokens` | `output_tokens` | may be empty |
| `status` | `status_code` | the HTTP status; may be empty |

Other columns are passed over. Lines may stand in any order.
"""

import csv
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TextIO

from sekisho.assurance.errors import UsageUnreadable
from sekisho.assurance.interfaces import UsageRecord

LINE_CHARACTERS_MAX: Final = 64 * 1024  # far more than a call takes; a file without line ends must not fill memory
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "request_id": ("request_id", "x-request-id", "x_request_id"),
    "time": ("time", "timestamp", "created_at"),
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "completion_tokens": ("completion_tokens", "output_tokens"),
    "status": ("status", "status_code"),
}
REQUIRED: Final = ("request_id", "time")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN_MAX: Final = 80


def read_usage(path: Path) -> Iterator[UsageRecord]:
    """The calls in a file, one at a time. Raises UsageUnreadable, naming the line, or OSError."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(_lines(file, path.name))
        try:
            header = next(rows, [])
            places = _places(header, path.name)
            for row in rows:
                if row:
                    yield _record(row, places, f"{path.name}, line {rows.line_num}", rows.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageUnreadable(f"{path.name}, line {rows.line_num}: not CSV in UTF-8: {error}") from None


def _lines(file: TextIO, name: str) -> Iterator[str]:
    while line := file.readline(LINE_CHARACTERS_MAX + 1):
        if len(line) > LINE_CHARACTERS_MAX:
            raise UsageUnreadable(f"{name} holds a line of more than {LINE_CHARACTERS_MAX} characters")
        yield line


def _places(header: list[str], name: str) -> dict[str, int]:
    named = [column.strip().lower() for column in header]
    places: dict[str, int] = {}
    for column, names in COLUMNS.items():
        found = [number for number, given in enumerate(named) if given in names]
        if len(found) > 1:
            raise UsageUnreadable(f"{name} has {len(found)} columns for {column}", remedy="Leave one of them")
        if found:
            places[column] = found[0]
    lacking = [column for column in REQUIRED if column not in places]
    if lacking:
        remedy = "The first line names the columns; docs/audit.md lists them"
        raise UsageUnreadable(f"{name} has no column {' and no column '.join(lacking)}", remedy=remedy)
    return places


def _record(row: list[str], places: Mapping[str, int], where: str, line: int) -> UsageRecord:
    def value(column: str) -> str:
        place = places.get(column)
        return row[place].strip() if place is not None and place < len(row) else ""

    request = value("request_id")
    if not request:
        raise UsageUnreadable(f"{where}: no request id")
    return UsageRecord(
        request,
        _time_us(value("time"), where),
        _count(value("prompt_tokens"), where),
        _count(value("completion_tokens"), where),
        _count(value("status"), where),
        line,
    )


def _time_us(text: str, where: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return int(text) * 1_000_000
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        remedy = "Write 2026-11-25T09:30:00Z, or with an offset such as +09:00"
        raise UsageUnreadable(f"{where}: {text[:_SHOWN_MAX]!r} is no time with its offset", remedy=remedy)
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _count(text: str, where: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise UsageUnreadable(f"{where}: {text[:_SHOWN_MAX]!r} is not a count")
    return int(text)
