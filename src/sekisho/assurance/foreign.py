"""Requests out of other gateways' logs: each format gives rows, a mapping says what their fields mean here.

Formats: `jsonl` (ours, docs/plan.md), `litellm` (spend logs, and the standard logging payload), `apim` (Azure API
Management's diagnostic logs). Nothing is kept: content is handed on to be inspected, and forgotten.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from sekisho.assurance.apim import apim_rows
from sekisho.assurance.errors import RecordUnreadable
from sekisho.assurance.foreign_rows import Row, at, decoded, read_rows, whole
from sekisho.assurance.litellm import is_cut, litellm_body, litellm_row
from sekisho.kernel.errors import UsageError
from sekisho.kernel.words import alternatives

APIM: Final = "apim"
JSONL: Final = "jsonl"
LITELLM: Final = "litellm"
MAPPING_BYTES_MAX: Final = 1024 * 1024
CALLER_ROLES: Final = ("caller",)
NOBODY: Final = "replay"  # the principal's id where a log's callers are not told apart
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}", re.ASCII)
_SECONDS_MAX: Final = 100_000_000_000  # more than this are not seconds since the epoch, but milliseconds or smaller


class ForeignRequest(NamedTuple):
    """A request as another gateway recorded it. `request`: its id there, or its place in the log where it has none that
    could be told. `at`: µs UTC. `body`: what is there to inspect; None: nothing. `cut`: not all of it is there.

    None for class, residency or labels: the log, and its mapping, do not say. `served`: that gateway let it through.
    """

    request: str
    at: int | None
    model: str
    organisation: str
    principal: str
    roles: tuple[str, ...]
    data_class: str | None
    residency: tuple[str, ...] | None
    labels: tuple[str, ...] | None
    redactable: bool
    body: Any
    served: bool
    prompt: int
    completion: int
    cut: bool = False


@dataclass(frozen=True, slots=True)
class FieldRule:
    """Where a value stands: the first of `fields` that has one, then by `values` (theirs → ours), else `default`."""

    fields: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)
    default: Any = None

    def of(self, row: dict[str, Any]) -> Any:
        for path in self.fields:
            value = at(row, path)
            if value not in (None, "", [], {}):
                return self.values.get(value, value) if isinstance(value, str) else value
        return self.default


class LogMapping(NamedTuple):
    """What the fields of a log mean here."""

    format: str
    model: FieldRule
    organisation: FieldRule
    principal: FieldRule
    roles: FieldRule
    data_class: FieldRule
    residency: FieldRule
    labels: FieldRule


_KEYS: Final = ("model", "organisation", "principal", "roles", "class", "residency", "labels")
_DEFAULTS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    JSONL: {name: (name,) for name in _KEYS},
    LITELLM: {
        "model": ("model_group", "model"),
        "organisation": (
            "organization_id",
            "metadata.user_api_key_org_id",
            "team_id",
            "metadata.user_api_key_team_id",
        ),
    },
    APIM: {
        "model": ("deploymentname", "urldeployment", "modelname"),
        "organisation": ("apimsubscriptionid", "productid"),
    },
}
FORMATS: Final = tuple(sorted(_DEFAULTS))


def read_mapping(path: Path | None, asked_format: str | None) -> LogMapping:
    """The mapping file (TOML), or the format's own reading without one. Raises UsageError for what is off in it."""
    table: dict[str, Any] = {}
    if path is not None:
        with path.open("rb") as file:
            data = file.read(MAPPING_BYTES_MAX + 1)
        if len(data) > MAPPING_BYTES_MAX:
            raise UsageError(f"{path} is larger than {MAPPING_BYTES_MAX >> 20} MiB")
        try:
            table = tomllib.loads(data.decode())
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} is not TOML: {error}") from None
    form = asked_format or table.pop("format", None)
    table.pop("format", None)
    if form not in FORMATS:
        raise UsageError(
            "it is not said which gateway wrote the log",
            remedy=f"Add --format, or format in the mapping: {', '.join(FORMATS)}",
        )
    for name in table:
        if name not in _KEYS:
            raise UsageError(f"{path}: there is no [{name}]", remedy=f"Here may stand: {alternatives(name, _KEYS)}")
    rules = {name: _rule(name, table.get(name, {}), form, path) for name in _KEYS}
    return LogMapping(form, *(rules[name] for name in _KEYS))


def _rule(name: str, table: Any, form: str, path: Path | None) -> FieldRule:
    if not isinstance(table, dict) or not table.keys() <= {"field", "values", "default"}:
        raise UsageError(f"{path}: [{name}] holds field, values and default, nothing else")
    fields = table.get("field", list(_DEFAULTS[form].get(name, ())))
    fields = [fields] if isinstance(fields, str) else fields
    values = table.get("values", {})
    if not _are_texts(fields) or not isinstance(values, dict) or not _are_texts([*values.values()]):
        raise UsageError(f"{path}: [{name}] field is a path or a list of paths, values are names by names")
    if form == APIM:  # its columns are written in different cases, depending on how the log was exported
        fields = [text.lower() for text in fields]
    return FieldRule(tuple(fields), values, table.get("default"))


def _are_texts(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def foreign_requests(path: Path, mapping: LogMapping) -> Iterator[ForeignRequest | Row]:
    """Each request of a log. A Row is one that could not be read (with its `problem`), or that is no request to a model
    (without). Raises AssuranceError or OSError where the file can't be read at all."""
    rows: Iterable[Row] = read_rows(path)
    if mapping.format == APIM:
        rows = apim_rows(rows)
    read = _READERS[mapping.format]
    for row in rows:
        if row.problem:
            yield row
            continue
        try:
            request = read(row.value, mapping)
            yield row if request is None else request if request.request else request._replace(request=row.place)
        except RecordUnreadable as error:
            yield row._replace(problem=str(error))


def _own(row: dict[str, Any], mapping: LogMapping) -> ForeignRequest | None:
    body = row.get("body")
    if body is None and isinstance(row.get("messages"), list):
        body = {"messages": row["messages"]}
    if body is None and isinstance(row.get("text"), str):
        body = {"messages": [{"role": "user", "content": row["text"]}]}
    served = row.get("served", True)
    if type(served) is not bool or type(row.get("redactable", False)) is not bool:
        raise RecordUnreadable("served and redactable are true or false")
    tokens = whole(row.get("prompt_tokens")), whole(row.get("completion_tokens"))
    return _request(row, mapping, row.get("request"), row.get("at"), body, served, tokens)


def _litellm(row: dict[str, Any], mapping: LogMapping) -> ForeignRequest | None:
    row = litellm_row(row)
    served = row.get("status", at(row, "metadata.status")) != "failure"
    tokens = whole(row.get("prompt_tokens")), whole(row.get("completion_tokens"))
    identifier = row.get("request_id", row.get("id"))
    body = litellm_body(row)
    request = _request(row, mapping, identifier, row.get("startTime"), body, served, tokens)
    return request._replace(cut=is_cut(body))


def _apim(row: dict[str, Any], mapping: LogMapping) -> ForeignRequest | None:
    if mapping.model.of(row) is None:
        return None  # an API that is no model's
    code = row.get("responsecode")
    served = code is None or 200 <= whole(code) < 300
    tokens = whole(row.get("prompttokens")), whole(row.get("completiontokens"))
    when = row.get("time") or row.get("timegenerated")
    request = _request(row, mapping, row.get("correlationid"), when, row.get("body"), served, tokens)
    return request._replace(cut=row.get("bodycut", False))


_READERS: Final[Mapping[str, Callable[[dict[str, Any], LogMapping], ForeignRequest | None]]] = {
    APIM: _apim,
    JSONL: _own,
    LITELLM: _litellm,
}


def _request(
    row: dict[str, Any],
    mapping: LogMapping,
    identifier: Any,
    when: Any,
    body: Any,
    served: bool,
    tokens: tuple[int, int],
) -> ForeignRequest:
    residency, labels = _names(mapping.residency.of(row), "residency"), _names(mapping.labels.of(row), "labels")
    if labels is None and row.get("labels") == []:
        labels = ()  # nothing is in it: that is said, too
    return ForeignRequest(
        # Some are long, or hold what no name does: nothing is lost with them.
        request=identifier if isinstance(identifier, str) and _NAME.fullmatch(identifier) else "",
        at=_time(when),
        model=_required(mapping.model.of(row), "model"),
        organisation=_required(mapping.organisation.of(row), "organisation"),
        principal=_name(mapping.principal.of(row), "principal") or NOBODY,
        roles=_names(mapping.roles.of(row), "roles") or CALLER_ROLES,
        data_class=_name(mapping.data_class.of(row), "class"),
        residency=residency,
        labels=labels,
        redactable=row.get("redactable", False) is True,
        body=decoded(body),
        served=served,
        prompt=tokens[0],
        completion=tokens[1],
    )


def _required(value: Any, name: str) -> str:
    text = _name(value, name)
    if text is None:
        raise RecordUnreadable(
            f"it says no {name}", remedy=f"Say in the mapping where it stands, or give [{name}] default"
        )
    return text


def _name(value: Any, name: str) -> str | None:
    """A name or an id: nothing that could hold a text (G6)."""
    if value in (None, ""):
        return None
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise RecordUnreadable(f"its {name} is no name")
    return value


def _names(value: Any, name: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(
        isinstance(part, str) and _NAME.fullmatch(part.strip()) for part in parts
    ):
        raise RecordUnreadable(f"its {name} is no list of names")
    return tuple(sorted({part.strip() for part in parts}))


def _time(value: Any) -> int | None:
    """µs UTC of RFC 3339 text, or of seconds, milliseconds or microseconds since the epoch."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53:
        scale = next(unit for unit in (1_000_000, 1_000, 1) if value * unit < _SECONDS_MAX * 1_000_000 or unit == 1)
        return int(value * scale)
    if isinstance(value, str) and value:
        try:
            time = datetime.fromisoformat(value.strip())
        except ValueError:
            raise RecordUnreadable("its time can't be read") from None
        time = time if time.tzinfo else time.replace(tzinfo=UTC)
        return int(time.timestamp() * 1_000_000)
    return None
