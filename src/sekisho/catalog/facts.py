"""Reading facts: claims with their evidence.

A plain value is *declared*. A table says more:
`{ value = ["JP"], grade = "contractual", source = "contract 2026-114", expires = 2027-03-31 }`.
Which grade a method earns stands in `catalog.evidence`; what only a probe can do can't be declared.
"""

import datetime
from collections.abc import Callable
from typing import Any, Final

import msgspec

from sekisho.catalog.evidence import BY_NAME, METHODS, NOBODY, PEOPLE, PROBE
from sekisho.catalog.interfaces import (
    ANYWHERE,
    JURISDICTION_FACTS,
    PROVIDER_JURISDICTION_FACTS,
    PROVIDER_TEXT_FACTS,
    UNKNOWN,
    WORD_FACTS,
    Fact,
    Grade,
)
from sekisho.catalog.jurisdictions import expanded
from sekisho.catalog.table import Table, looks_like_credential, nearest, shown

BEHIND_PROXY: Final = " (observed, but behind an egress proxy)"
UNKNOWN_FACT: Final = Fact(value=(UNKNOWN,), grade=Grade.UNKNOWN)
_GRADES: Final = {grade.name.lower(): grade for grade in Grade}
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LATEST: Final = datetime.datetime(2200, 1, 1, tzinfo=datetime.UTC)  # microseconds up to here fit 53 bits
_TABLE_KEYS: Final = "value, grade, method, source, observed_at, expires"
_DECLARABLE: Final = tuple(method for method in METHODS if method.by == PEOPLE)

FactReader = Callable[[Table, str, object], tuple[str, ...] | None]


def deployment_facts(table: Table, jurisdictions: tuple[str, ...]) -> dict[str, Fact]:
    """All facts of a deployment, unknown where nothing is declared; `table` is the `facts` table."""
    places = _jurisdiction_reader(jurisdictions)
    facts = {key: _take_fact(table, key, places) for key in JURISDICTION_FACTS}
    return facts | {key: _take_fact(table, key, _word_reader(words)) for key, words in WORD_FACTS.items()}


def without_addresses(facts: dict[str, Fact]) -> dict[str, Fact]:
    """The facts of a deployment behind an egress proxy: which address answers can't be seen from here.

    An *observed* place rests on an address (DNS, networks, round trips), so it counts as *declared*: nobody has it in
    a contract either. A fact doesn't tell its method in a form that could be trusted, so none of them is spared.
    """
    return {key: _unobserved(fact) if key in JURISDICTION_FACTS else fact for key, fact in facts.items()}


def _unobserved(fact: Fact) -> Fact:
    if fact.grade is not Grade.OBSERVED:
        return fact
    return msgspec.structs.replace(fact, grade=Grade.DECLARED, source=f"{fact.source}{BEHIND_PROXY}")


def provider_facts(table: Table, jurisdictions: tuple[str, ...]) -> dict[str, Fact]:
    """All facts of a provider, unknown where nothing is declared."""
    places = _jurisdiction_reader(jurisdictions)
    facts = {key: _take_fact(table, key, places) for key in PROVIDER_JURISDICTION_FACTS}
    facts.update({key: _take_fact(table, key, _texts) for key in PROVIDER_TEXT_FACTS})
    return facts


def _take_fact(table: Table, key: str, read: FactReader) -> Fact:
    raw = table.take(key)
    if raw is None:
        return UNKNOWN_FACT
    if not isinstance(raw, dict):
        value = read(table, key, raw)
        return UNKNOWN_FACT if value in (None, (UNKNOWN,)) else Fact(value=value or (UNKNOWN,), grade=Grade.DECLARED)
    inner = Table(raw, table.file, table.mistakes, f"{table.prefix}{key}.")
    fact = _evidenced_fact(inner, read)
    inner.finish()
    return fact


def _evidenced_fact(table: Table, read: FactReader) -> Fact:
    given = table.take("value")
    value = None
    if given is None:
        table.missing("value", f"A fact's table holds {_TABLE_KEYS}")
    else:
        value = read(table, "value", given)
    grade = _take_grade(table)
    _check_method(table, grade)
    source = table.take_text("source", default="") or ""
    observed_at = take_time(table, "observed_at")
    expires = take_time(table, "expires")
    if grade in (Grade.CONTRACTUAL, Grade.OBSERVED) and not source:
        table.missing("source", f"A fact of grade {grade.name.lower()!r} names the contract or the method")
    if grade is Grade.OBSERVED and observed_at is None and "observed_at" not in table.values:
        table.missing("observed_at", "A fact of grade 'observed' says when it was observed")
    if value is None or grade is None:
        return UNKNOWN_FACT
    if value == (UNKNOWN,) or grade is Grade.UNKNOWN:
        if value != (UNKNOWN,) or grade > Grade.DECLARED:
            table.mistake("grade", f"does not fit the value {shown(', '.join(value))}", "Unknown has grade 'unknown'")
        return UNKNOWN_FACT
    return Fact(value=value, grade=grade, source=source, observed_at=observed_at, expires=expires)


def _take_grade(table: Table) -> Grade | None:
    word = table.take_text("grade", default="declared")
    grade = _GRADES.get(word or "")
    if grade is Grade.ATTESTED:
        remedy = "No verifier for attestations exists yet; declare what you have, 'contractual' or 'observed'"
        table.mistake("grade", "'attested' can't be used", remedy)
        return None
    if grade is None:
        table.mistake("grade", f"{shown(word)} is not a grade", nearest(word or "", _GRADES, "Grades are"))
    return grade


def _check_method(table: Table, grade: Grade | None) -> None:
    """A fact is at most as well supported as what was done to learn it."""
    name = table.take_text("method")
    if name is None or grade is None:
        return
    method = next((one for one in _DECLARABLE if one.name == name), None)
    if method is None:
        done_by = BY_NAME[name].by if name in BY_NAME else None
        problem = {
            PROBE: f"{name!r} is what a probe does, and can't be declared",
            NOBODY: f"{name!r} can't be used: no verifier for attestations exists yet",
        }.get(done_by or "", f"{shown(name)} is not a method")
        table.mistake("method", problem, nearest(name, (one.name for one in _DECLARABLE), "Methods are"))
    elif grade > method.earns:
        problem = f"{grade.name.lower()!r} is more than the method {name!r} earns"
        table.mistake("grade", problem, f"It earns {method.earns.name.lower()!r}; see docs/facts.md")


def take_time(table: Table, key: str) -> int | None:
    """Microseconds since the epoch of a date (its first instant in UTC) or of a time with an offset."""
    raw: Any = table.take(key)
    if raw is None:
        return None
    if isinstance(raw, str):
        try:
            raw = datetime.datetime.fromisoformat(raw) if len(raw) > 10 else datetime.date.fromisoformat(raw)
        except ValueError:
            raw = None
    if isinstance(raw, datetime.date) and not isinstance(raw, datetime.datetime):
        raw = datetime.datetime(raw.year, raw.month, raw.day, tzinfo=datetime.UTC)
    if not isinstance(raw, datetime.datetime) or raw.tzinfo is None or not _EPOCH <= raw < _LATEST:
        table.mistake(key, "is not a point in time", "Write 2027-03-31 (00:00 UTC) or 2027-03-31T09:00:00+09:00")
        return None
    return (raw - _EPOCH) // datetime.timedelta(microseconds=1)


def _jurisdiction_reader(jurisdictions: tuple[str, ...]) -> FactReader:
    allowed = {*jurisdictions, ANYWHERE, UNKNOWN}

    def read(table: Table, key: str, raw: object) -> tuple[str, ...] | None:
        items = table.take_codes(key, allowed, value=[raw] if isinstance(raw, str) else raw)
        if items is None:
            return None
        if UNKNOWN in items and len(items) > 1:
            table.mistake(key, "names 'unknown' beside others", 'What is partly unknown is unknown: write "unknown"')
            return None
        return expanded(items, jurisdictions)

    return read


def _word_reader(words: tuple[str, ...]) -> FactReader:
    def read(table: Table, key: str, raw: object) -> tuple[str, ...] | None:
        if isinstance(raw, str) and raw in (*words, UNKNOWN):
            return (raw,)
        table.mistake(key, f"{shown(raw)} is not a known word", nearest(str(raw), (*words, UNKNOWN), "Known are"))
        return None

    return read


def _texts(table: Table, key: str, raw: object) -> tuple[str, ...] | None:
    items = table.as_list(key, [raw] if isinstance(raw, str) else raw)
    if items is None:
        return None
    if any(looks_like_credential(item) or not item.isprintable() for item in items):
        table.mistake(key, "holds something that is not a plain line of text", "Write names, one string each")
        return None
    if len(items) > 1 and ({UNKNOWN, "none"} & set(items)):
        table.mistake(key, "names 'unknown' or 'none' beside others", "Either stands alone")
        return None
    return tuple(sorted(items))
