"""Files of other gateways' logs, as rows: JSON Lines, or one JSON document that holds a list of rows.

JSON Lines are streamed; a document is read whole, so its size is bounded.
"""

import io
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

import orjson

from sekisho.assurance.errors import AssuranceError, RecordUnreadable

LINE_BYTES_MAX: Final = 64 * 1024 * 1024  # twice the largest body that a gateway takes by default
DOCUMENT_BYTES_MAX: Final = 512 * 1024 * 1024  # takes some gigabytes of memory; larger exports are split, or lines
VALUE_BYTES: Final = 64  # of memory, that any value takes with its place in a list or a dictionary
_LISTS: Final = ("records", "data", "value")  # what a list of rows stands under: Event Hubs, and APIs that page
_BOM: Final = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """A record and where it stands, for people; `problem` where it could not be read."""

    place: str
    value: dict[str, Any]
    problem: str = ""


def read_rows(path: Path) -> Iterator[Row]:
    """Every row of a file or a pipe. Raises AssuranceError for a document that is none or too large, OSError."""
    with path.open("rb") as file:
        first = file.readline(LINE_BYTES_MAX + 1).removeprefix(_BOM)
        if _is_line(first.lstrip()):
            yield from _lines(first, file)
        else:
            yield from _document(path, first, file)


def _is_line(first: bytes) -> bool:
    """Whether the file is JSON Lines, by its first line: a list, or an object that goes on in the next one, say it is
    not.
    """
    if first[:1] == b"[":
        return False
    if len(first) > LINE_BYTES_MAX or first[:1] != b"{":
        return True
    try:
        orjson.loads(first)
    except orjson.JSONDecodeError:
        return False
    return True


def _lines(line: bytes, file: BinaryIO) -> Iterator[Row]:
    """`line` is the first, which was read."""
    for number in itertools.count(1):
        if number > 1:
            line = file.readline(LINE_BYTES_MAX + 1)
            if not line:
                return
        if len(line) > LINE_BYTES_MAX:
            while line and not line.endswith(b"\n"):
                line = file.readline(LINE_BYTES_MAX)
            yield Row(f"line {number}", {}, f"longer than {LINE_BYTES_MAX >> 20} MiB")
            continue
        line = line.strip()
        if not line:
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:  # its words may quote the line
            yield Row(f"line {number}", {}, "not JSON")
            continue
        yield from _of_value(value, f"line {number}")


def _document(path: Path, first: bytes, file: BinaryIO) -> Iterator[Row]:
    data = first + file.read(DOCUMENT_BYTES_MAX + 1)
    if len(data) > DOCUMENT_BYTES_MAX:
        raise AssuranceError(
            f"{path} is one JSON document of more than {DOCUMENT_BYTES_MAX >> 20} MiB",
            remedy="Write one record a line (jq -c '.[]'), or split it",
        )
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        if first.lstrip()[:1] == b"{":  # lines, of which the first can't be read
            yield from _lines(first, io.BytesIO(data[len(first) :]))
            return
        raise AssuranceError(f"{path} is neither JSON Lines nor a JSON document") from None
    yield from _of_value(value, "record")


def _of_value(value: Any, place: str) -> Iterator[Row]:
    """A value is a row, or a list of rows, or holds one: as Event Hubs, paging APIs and Log Analytics write them."""
    if isinstance(value, dict):
        for name in _LISTS:
            if isinstance(value.get(name), list):
                yield from _listed(value[name], place)
                return
        if isinstance(value.get("tables"), list):
            for table in value["tables"]:
                yield from _listed(_table(table), place)
            return
        yield Row(place, value)
    elif isinstance(value, list):
        yield from _listed(value, place)
    else:
        yield Row(place, {}, "not a JSON object")


def _listed(values: Iterable[Any], place: str) -> Iterator[Row]:
    for number, value in enumerate(values, 1):
        if isinstance(value, dict):
            yield Row(f"{place} {number}", value)
        else:
            yield Row(f"{place} {number}", {}, "not a JSON object")


def _table(table: Any) -> Iterator[Any]:
    """Rows of a table with named columns, as the query API of Log Analytics answers."""
    try:
        names = [column["name"] for column in table["columns"]]
        rows = table["rows"]
    except (KeyError, TypeError):
        return iter([None])
    return (dict(zip(names, row, strict=False)) if isinstance(row, list) else None for row in rows)


def decoded(value: Any) -> Any:
    """What stands in a field that may hold JSON as text; text that is no JSON stays text."""
    if not isinstance(value, str) or value[:1] not in ("{", "["):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value


def values(value: Any) -> Iterator[Any]:
    """It, and all that is in it, keys included; however deep."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, dict):
            waiting += one
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def weight(value: Any) -> int:
    """About how many bytes of memory a value takes."""
    return sum(VALUE_BYTES + (len(one) if isinstance(one, str) else 0) for one in values(value))


def at(row: Any, path: str) -> Any:
    """The value at a dotted path, None where there is none. Keys may hold dots: the longest that fits is taken."""
    if not isinstance(row, dict):
        return None
    if path in row:
        return row[path]
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        head = ".".join(parts[:length])
        if head in row:
            return at(decoded(row[head]), ".".join(parts[length:]))
    return None


def whole(value: Any) -> int:
    """A count of tokens; 0 where there is none. Raises RecordUnreadable for what can't be one."""
    if value is None or value == "":
        return 0
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RecordUnreadable("a count of tokens is no number")
    try:
        number = int(float(value))
    except (ValueError, OverflowError):
        raise RecordUnreadable("a count of tokens is no number") from None
    if not 0 <= number < 2**53:
        raise RecordUnreadable("a count of tokens is out of range")
    return number
