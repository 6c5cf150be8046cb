"""Statements that policies must keep: `no class:confidential to processing outside JP`. Pure. See docs/prove.md.

    statement = "no" data [ "from" who ] [ "to" where ]
    data, who, where = term { "and" term }
    term      = [ "not" ] one of
    data:       data (any) | class:NAMES | class:NAME+ | label:NAMES | residency within|outside PLACES | raw | redacted
                | catalog|intel|models|policy older than DAYS
    who:        organisation:NAMES | role:NAMES | principal:NAMES
    where:      deployment:NAMES | model:NAMES | provider:NAMES | site:NAMES | type:NAMES
                | FACT within|outside|including|without VALUES | FACT is WORDS | FACT unknown | FACT below GRADE
    NAMES …   = one, or several of which any will do, with commas and without blanks; in double quotes where need be

What it says becomes an expression over what policies read themselves: a case is against the statement where that is
true and policies permit the case.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from sekisho.catalog.interfaces import ANYWHERE, UNKNOWN, Catalogue, Grade
from sekisho.kernel.errors import UsageError
from sekisho.kernel.words import alternatives
from sekisho.policy.expressions import (
    ACTION,
    CLASS,
    CLASS_RANK,
    LABELS,
    LONG,
    PRINCIPAL,
    PRINCIPAL_IN,
    READS,
    RESIDENCY,
    RESOURCE,
    SETS,
    STALENESS,
    STRING,
    TRUE,
    Const,
    Expression,
    Op,
    Read,
    conjunction,
    entity,
    negation,
)
from sekisho.policy.interfaces import SEND_RAW, SEND_REDACTED, STALENESS_ROLES

TEXT_MAX: Final = 1_000  # characters; what is longer nobody reads
DAYS_MAX: Final = 36_500
_TOKEN: Final = re.compile(r'(?:[^\s"]|"[^"]*")+')
_PART: Final = re.compile(r'"([^"]*)"|([^,"]+)')
_GRADES: Final = {grade.name.lower(): int(grade) for grade in Grade}
_SECTIONS: Final = ("no", "from", "to")
_HOME: Final = "home"
_FACTS: Final = {
    name.removeprefix(f"{RESOURCE}."): kind
    for name, kind in READS.items()
    if name.startswith(f"{RESOURCE}.") and f"{name}_grade" in READS
}


class StatementError(UsageError):
    """A statement that can't be read; it shows the `length` characters from `start` on that are wrong."""

    def __init__(self, text: str, start: int, length: int, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy=remedy)
        self.text = text
        self.start = start
        self.length = length

    def __str__(self) -> str:
        before, wrong = self.text[: self.start], self.text[self.start : self.start + self.length]
        pointer = " " * _width(before) + "^" * max(1, _width(wrong))
        return f"{self.message}\n  {self.text}\n  {pointer}\n{self.remedy}"


class Statement(NamedTuple):
    text: str
    against: Expression  # true of the cases that the statement says there are none of


class Vocabulary(NamedTuple):
    """The names that a statement may use."""

    classes: tuple[str, ...]
    labels: tuple[str, ...]
    places: tuple[str, ...]  # jurisdictions, `anywhere` and `unknown`
    home: tuple[str, ...]
    organisations: tuple[str, ...]
    targets: Mapping[str, tuple[str, ...]]  # deployment, model, provider, site, type
    words: Mapping[str, tuple[str, ...]]  # of a fact's type


def vocabulary(catalogue: Catalogue, names: Mapping[str, frozenset[str]]) -> Vocabulary:
    """Of a catalogue and the closed sets of its schema."""
    return Vocabulary(
        tuple(one.name for one in catalogue.boundary.classes),
        tuple(sorted(names["Label"])),
        tuple(sorted(names["Jurisdiction"])),
        catalogue.boundary.home,
        tuple(one.name for one in catalogue.organisations),
        {
            "deployment": tuple(one.name for one in catalogue.deployments),
            "model": tuple(one.name for one in catalogue.models),
            "provider": tuple(one.name for one in catalogue.providers),
            "site": tuple(one.name for one in catalogue.sites),
            "type": tuple(sorted(names["DeploymentType"])),
        },
        {kind: tuple(sorted(values)) for kind, values in names.items()},
    )


def read_statement(text: str, known: Vocabulary) -> Statement:
    """Raises StatementError, which points at the word."""
    return _Reader(text, known).statement()


class _Word(NamedTuple):
    text: str
    start: int


class _Reader:
    def __init__(self, text: str, known: Vocabulary) -> None:
        self._text = text
        self._known = known
        if len(text) > TEXT_MAX or not text.isprintable():
            raise StatementError(
                text[:80], 0, 1, "the statement is not one line", f"Write a line of at most {TEXT_MAX} characters"
            )
        if text.count('"') % 2:
            at = text.rindex('"')
            raise StatementError(text, at, 1, "a double quote is not closed", 'Write names in pairs of them: "A, B"')
        self._words = [_Word(match.group(), match.start()) for match in _TOKEN.finditer(text)]
        self._next = 0

    # The whole

    def statement(self) -> Statement:
        if self._take().text != "no":
            self._back()
            raise self._wrong("a statement begins with `no`", 'Say what must not happen: "no class:confidential to …"')
        parts = self._terms("no")
        if self._skip("from"):
            parts += self._terms("from")
        if self._skip("to"):
            parts += self._terms("to")
        if self._next < len(self._words):
            raise self._wrong(f"{self._peek()!r} is not expected here", "After a term come `and`, `from` or `to`")
        return Statement(self._text, conjunction(parts))

    def _terms(self, section: str) -> list[Expression]:
        terms = [self._term(section)]
        while self._skip("and"):
            terms.append(self._term(section))
        return terms

    def _term(self, section: str) -> Expression:
        if self._skip("not"):
            return negation(self._term(section))
        return {"no": self._data, "from": self._who, "to": self._where}[section]()

    # Data

    def _data(self) -> Expression:
        word = self._take()
        if word.text == "data":
            return TRUE
        key, separator, rest = word.text.partition(":")
        if key == "class" and separator:
            return self._class(word, rest)
        if key == "label" and separator:
            return _any_of(self._names(word, key, self._known.labels), lambda name: _has(LABELS, entity("Label", name)))
        if word.text in ("raw", "redacted"):
            action = SEND_RAW if word.text == "raw" else SEND_REDACTED
            return Op("eq", (Read(ACTION), entity("Action", action)))
        if word.text == "residency":
            how = self._choice(("within", "outside"))
            return self._compared(Read(RESIDENCY), how, self._places())
        if word.text in STALENESS_ROLES:
            return self._older(word.text)
        self._back()
        remedy = "Say `data` (any), class:NAME, class:NAME+, label:NAME, residency within PLACES, raw, redacted, or "
        raise self._wrong(f"{word.text!r} is not something about data", f"{remedy}`policy older than DAYS`")

    def _class(self, word: _Word, rest: str) -> Expression:
        if rest.endswith("+"):
            lowest = self._names(_Word(word.text[:-1], word.start), "class", self._known.classes)
            rank = min(self._known.classes.index(name) for name in lowest)
            return Op("ge", (Read(CLASS_RANK), Const(rank, LONG)))
        names = self._names(word, "class", self._known.classes)
        return _any_of(names, lambda name: Op("eq", (Read(CLASS), entity("DataClass", name))))

    def _older(self, role: str) -> Expression:
        self._choice(("older",))
        self._choice(("than",))
        word = self._take()
        if not (word.text.isascii() and word.text.isdigit() and int(word.text) <= DAYS_MAX):
            self._back()
            raise self._wrong(f"{word.text!r} is not a number of days", f"Give whole days, at most {DAYS_MAX}")
        return Op("gt", (Read(f"{STALENESS}.{role}_days"), Const(int(word.text), LONG)))

    # Who

    def _who(self) -> Expression:
        word = self._take()
        key, separator, _ = word.text.partition(":")
        if key == "organisation" and separator:
            names = self._names(word, key, self._known.organisations)
            return _any_of(names, lambda name: _has(PRINCIPAL_IN, entity("Organisation", name)))
        if key == "role" and separator:
            return _any_of(self._names(word, key, None), lambda name: _has(PRINCIPAL_IN, entity("Role", name)))
        if key == "principal" and separator:
            names = self._names(word, key, None)
            return _any_of(names, lambda name: Op("eq", (Read(PRINCIPAL), entity("Principal", name))))
        self._back()
        raise self._wrong(f"{word.text!r} does not say who asks", "Say organisation:NAME, role:NAME or principal:ID")

    # Where

    def _where(self) -> Expression:
        word = self._take()
        key, separator, _ = word.text.partition(":")
        if separator and key in self._known.targets:
            return self._target(word, key)
        if word.text in _FACTS:
            return self._fact(word.text)
        self._back()
        near = alternatives(word.text, _FACTS)
        remedy = f"Say deployment:, model:, provider:, site: or type: and a name, or a fact: {near}"
        raise self._wrong(f"{word.text!r} does not say where to", remedy)

    def _target(self, word: _Word, key: str) -> Expression:
        names = self._names(word, key, self._known.targets[key])
        kinds = {"deployment": ("Deployment", RESOURCE), "type": ("DeploymentType", f"{RESOURCE}.deployment_type")}
        kind, read = kinds.get(key, (key.capitalize(), f"{RESOURCE}.{key}"))
        return _any_of(names, lambda name: Op("eq", (Read(read), entity(kind, name))))

    def _fact(self, name: str) -> Expression:
        fact, kind = Read(f"{RESOURCE}.{name}"), _FACTS[name]
        several = kind.startswith(SETS)
        how = self._choice(
            ("within", "outside", "including", "without", "unknown", "below") if several else ("is", "unknown", "below")
        )
        if how == "below":
            grade = self._choice(tuple(word for word, rank in _GRADES.items() if rank))
            return Op("lt", (Read(f"{RESOURCE}.{name}_grade"), Const(_GRADES[grade], LONG)))
        if how == "is":
            words = self._names(self._take(), "", self._known.words[kind])
            return _any_of(words, lambda word: Op("eq", (fact, entity(kind, word))))
        if how == "unknown":
            if not several:
                return Op("eq", (fact, entity(kind, UNKNOWN)))
            one = Const(UNKNOWN, STRING) if kind == SETS + STRING else entity("Jurisdiction", UNKNOWN)
            return Op("contains", (fact, one))
        if kind == SETS + STRING:
            values = Const(frozenset(self._names(self._take(), "", None)), kind)
        else:
            values = self._places()
        return self._compared(fact, how, values)

    def _compared(self, read: Read, how: str, values: Const) -> Expression:
        if how in ("within", "outside"):
            inside = Op("contains_all", (values, read))
            return inside if how == "within" else negation(inside)
        some = Op("contains_any", (read, values))
        return some if how == "including" else negation(some)

    # Words

    def _places(self) -> Const:
        names = self._names(self._take(), "", (*self._known.places, _HOME))
        codes = {code for name in names for code in (self._known.home if name == _HOME else (name,))}
        if ANYWHERE in codes:
            codes |= set(self._known.places) - {UNKNOWN}
        return Const(frozenset(f"Jurisdiction::{code}" for code in codes), SETS + "Jurisdiction")

    def _names(self, word: _Word, key: str, known: Iterable[str] | None) -> list[str]:
        """The names in a word, after its key, each one of `known` (None: anything)."""
        offset = len(key) + 1 if key else 0
        rest = word.text[offset:]
        names = []
        for match in _PART.finditer(rest):
            name = match[1] if match[1] is not None else match[2]
            if known is not None and name not in known:
                what = f"{key} " if key else ""
                raise StatementError(
                    self._text, word.start + offset + match.start(), len(match.group()),
                    f"there is no {what}{name!r}", f"There is: {alternatives(name, known)}",
                )  # fmt: skip
            names.append(name)
        if not names:
            raise StatementError(self._text, word.start, len(word.text), "a name is missing", f"Write {word.text}NAME")
        return names

    def _choice(self, words: tuple[str, ...]) -> str:
        word = self._take(f"Say {', '.join(words)}")
        if word.text in words:
            return word.text
        self._back()
        raise self._wrong(f"{word.text!r} is not expected here", f"Say {', '.join(words)}")

    def _take(self, remedy: str = "Complete the statement; `sekisho prove --help` shows the form") -> _Word:
        if self._next >= len(self._words):
            raise StatementError(self._text, len(self._text), 1, "the statement ends too early", remedy)
        word = self._words[self._next]
        self._next += 1
        if word.text in _SECTIONS and self._next > 1:
            self._back()
            raise self._wrong(f"something is missing before {word.text!r}", remedy)
        return word

    def _skip(self, text: str) -> bool:
        if self._next < len(self._words) and self._words[self._next].text == text:
            self._next += 1
            return True
        return False

    def _back(self) -> None:
        self._next -= 1

    def _peek(self) -> str:
        return self._words[self._next].text

    def _wrong(self, problem: str, remedy: str) -> StatementError:
        word = self._words[self._next]
        return StatementError(self._text, word.start, len(word.text), problem, remedy)


def _any_of(names: list[str], of: Callable[[str], Expression]) -> Expression:
    """Halves of halves: what nests as deep as a list is long can't be looked at."""
    if len(names) == 1:
        return of(names[0])
    half = len(names) // 2
    return Op("or", (_any_of(names[:half], of), _any_of(names[half:], of)))


def _has(read: str, one: Const) -> Expression:
    return Op("contains", (Read(read), one))


def _width(text: str) -> int:
    """Columns on a terminal: those of East Asia take two."""
    return sum(2 if ord(character) > 0x2E7F else 1 for character in text)
