"""A provider's usage file: CSV (RFC 4180) in UTF-8, the first line naming the columns. Two forms are read.

**One line per call**, where there is a column for the request's id:

| column | also called | |
|---|---|---|
| `request_id` | `x-request-id`, `x_request_id` | the id that came with the call; required |
| `time` | `timestamp`, `created_at`, `start_time`, `date` | required |
| `prompt_tokens` | `input_tokens`, `ProcessedPromptTokens` | may be empty |
| `completion_tokens` | `output_tokens`, `GeneratedTokens` | may be empty |
| `status` | `status_code` | the HTTP status; may be empty |

**Sums**, where there is none: one line per stretch of time, and per deployment if the file tells them apart.

| column | also called | |
|---|---|---|
| `time` | as above | when the stretch begins; required |
| `end` | `end_time` | when it ends (itself not in it); else `UsageLayout.window_us`; a mere date lasts a day |
| `deployment` | `deployment_name`, `ModelDeploymentName`, `model` | the provider's name of it |
| `calls` | `requests`, `num_model_requests`, `AzureOpenAIRequests` | this or a column of tokens is required |
| `prompt_tokens`, `completion_tokens` | as above | |

Times are RFC 3339 with their offset (`UsageLayout.offset_us` for those without), or seconds since the Unix epoch. Names
are compared without regard to case. Other columns are passed over. Lines may stand in any order; sums for the same
stretch and deployment are added up.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from sekisho.assurance.errors import UsageUnreadable
from sekisho.assurance.interfaces import UsageLayout, UsageRecord, UsageWindow

LINE_CHARACTERS_MAX: Final = 64 * 1024  # far more than a call takes; a file without line ends must not fill memory
WINDOWS_MAX: Final = 200_000  # a year of hours for twenty deployments: about 100 MB in memory
WINDOW_US_MAX: Final = 366 * 24 * 3_600_000_000
DAY_US: Final = 24 * 3_600_000_000
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "request_id": ("request_id", "x-request-id", "x_request_id"),
    "time": ("time", "timestamp", "created_at", "start_time", "date"),
    "end": ("end", "end_time"),
    "deployment": ("deployment", "deployment_name", "modeldeploymentname", "model"),
    "calls": ("calls", "requests", "num_model_requests", "azureopenairequests"),
    "prompt_tokens": ("prompt_tokens", "input_tokens", "processedprompttokens"),
    "completion_tokens": ("completion_tokens", "output_tokens", "generatedtokens"),
    "status": ("status", "status_code"),
}
OF_CALLS: Final = ("request_id", "time", "prompt_tokens", "completion_tokens", "status")
OF_SUMS: Final = ("time", "end", "deployment", "calls", "prompt_tokens", "completion_tokens")
COUNTS: Final = ("calls", "prompt_tokens", "completion_tokens")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DATE: Final = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}", re.ASCII)
_COUNT: Final = re.compile(r"([0-9]{1,15})(\.0+)?", re.ASCII)  # tables of sums like to write 12.0
_SHOWN_MAX: Final = 80
_PLAIN: Final = UsageLayout()


class _Row(NamedTuple):
    """A line's texts by our column names, and where it stands."""

    texts: Mapping[str, str]
    where: str
    line: int

    def number(self, column: str) -> int | None:
        text = self.texts.get(column, "")
        if not text:
            return None
        match = _COUNT.fullmatch(text)
        if match is None:
            raise UsageUnreadable(f"{self.where}: {text[:_SHOWN_MAX]!r} is not a count")
        return int(match[1])

    def time_us(self, column: str, offset_us: int | None) -> int:
        text = self.texts.get(column, "")
        if text.isascii() and text.isdigit() and len(text) <= 12 and _DATE.fullmatch(text) is None:
            return int(text) * 1_000_000
        try:
            instant = datetime.fromisoformat(text)
        except ValueError:
            instant = None
        if instant is not None and instant.tzinfo is None and offset_us is not None:
            return (instant.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) - offset_us
        if instant is None or instant.tzinfo is None:
            remedy = "Write 2026-11-25T09:30:00Z, or with an offset such as +09:00, or say which one: --usage-offset"
            raise UsageUnreadable(f"{self.where}: {text[:_SHOWN_MAX]!r} is no time with its offset", remedy=remedy)
        return (instant - _EPOCH) // timedelta(microseconds=1)


def holds_sums(path: Path, layout: UsageLayout = _PLAIN) -> bool:
    """Whether the file has sums for stretches of time, not calls. Raises UsageUnreadable or OSError."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            places = _places(next(csv.reader(_lines(file, path.name)), []), path.name, layout)
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageUnreadable(f"{path.name}, line 1: not CSV in UTF-8: {error}") from None
    return "request_id" not in places and any(column in places for column in COUNTS)


def read_usage(path: Path, layout: UsageLayout = _PLAIN) -> Iterator[UsageRecord]:
    """The calls in a file, one at a time. Raises UsageUnreadable, naming the line, or OSError."""
    for row in _rows(path, layout, OF_CALLS, ("request_id", "time")):
        request = row.texts["request_id"]
        if not request:
            raise UsageUnreadable(f"{row.where}: no request id")
        prompt, completion, status = map(row.number, ("prompt_tokens", "completion_tokens", "status"))
        yield UsageRecord(request, row.time_us("time", layout.offset_us), prompt, completion, status, row.line)


def read_sums(path: Path, layout: UsageLayout = _PLAIN) -> list[UsageWindow]:
    """The sums in a file, one for each stretch and deployment, in no order. Raises UsageUnreadable or OSError."""
    found: dict[tuple[int, int, str | None], UsageWindow] = {}
    for row in _rows(path, layout, OF_SUMS, ("time",)):
        window = _window(row, layout)
        key = window[:3]
        before = found.get(key)
        found[key] = window if before is None else UsageWindow(*key, *map(_sum, before[3:], window[3:]))
        if len(found) > WINDOWS_MAX:
            raise UsageUnreadable(f"{path.name} holds more than {WINDOWS_MAX} sums", remedy="Audit a part of it")
    return list(found.values())


def _window(row: _Row, layout: UsageLayout) -> UsageWindow:
    start = row.time_us("time", layout.offset_us)
    if row.texts.get("end"):
        end = row.time_us("end", layout.offset_us)
    elif layout.window_us is not None:
        end = start + layout.window_us
    elif _DATE.fullmatch(row.texts["time"]):
        end = start + DAY_US
    else:
        remedy = "Name its column (--usage-column end=NAME), or say how long each lasts: --usage-window hour"
        raise UsageUnreadable(f"{row.where}: nothing says when the stretch of time ends", remedy=remedy)
    if not 0 < end - start <= WINDOW_US_MAX:
        raise UsageUnreadable(f"{row.where}: the stretch of time ends before it begins, or is longer than a year")
    name = row.texts.get("deployment") or None
    if name is not None:
        name = layout.deployments.get(name, name)
    return UsageWindow(start, end, name, *map(row.number, COUNTS))


def _sum(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left + right


def _rows(path: Path, layout: UsageLayout, wanted: tuple[str, ...], required: tuple[str, ...]) -> Iterator[_Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(_lines(file, path.name))
        try:
            places = _places(next(rows, []), path.name, layout)
            _require_columns(places, required, path.name)
            used = {column: place for column, place in places.items() if column in wanted}
            for row in rows:
                if row:
                    texts = {column: row[place].strip() if place < len(row) else "" for column, place in used.items()}
                    yield _Row(texts, f"{path.name}, line {rows.line_num}", rows.line_num)
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageUnreadable(f"{path.name}, line {rows.line_num}: not CSV in UTF-8: {error}") from None


def _lines(file: TextIO, name: str) -> Iterator[str]:
    while line := file.readline(LINE_CHARACTERS_MAX + 1):
        if len(line) > LINE_CHARACTERS_MAX:
            raise UsageUnreadable(f"{name} holds a line of more than {LINE_CHARACTERS_MAX} characters")
        yield line


def _places(header: list[str], name: str, layout: UsageLayout) -> dict[str, int]:
    """Where each of our columns stands. Raises UsageUnreadable where that is not one place."""
    for column in layout.columns.keys() - COLUMNS.keys():
        remedy = f"Columns are {', '.join(COLUMNS)}"
        raise UsageUnreadable(f"{column[:_SHOWN_MAX]!r} is none of our columns", remedy=remedy)
    named = [column.strip().lower() for column in header]
    places: dict[str, int] = {}
    for column, names in COLUMNS.items():
        given = layout.columns.get(column)
        wanted = names if given is None else (given.strip().lower(),) if given else ()
        found = [number for number, text in enumerate(named) if text in wanted]
        if given and not found:
            raise UsageUnreadable(f"{name} has no column {given[:_SHOWN_MAX]!r}", remedy=f"There is {_shown(header)}")
        if len(found) > 1:
            remedy = f"Name the one that is meant: --usage-column {column}=NAME"
            raise UsageUnreadable(f"{name} has {len(found)} columns for {column}", remedy=remedy)
        if found:
            places[column] = found[0]
    return places


def _require_columns(places: Mapping[str, int], required: tuple[str, ...], name: str) -> None:
    lacking = [column for column in required if column not in places]
    if lacking:
        remedy = "The first line names the columns; docs/audit.md lists them. Others: --usage-column OURS=THEIRS"
        raise UsageUnreadable(f"{name} has no column {' and no column '.join(lacking)}", remedy=remedy)


def _shown(header: list[str]) -> str:
    return ", ".join(column[:_SHOWN_MAX] for column in header[:20])
