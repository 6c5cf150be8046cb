"""Operators' own rules: from what is declared to rules that run, and everything that is wrong with them.

A pattern runs in hyperscan and re2, whose time is linear in the text whatever the pattern; what would need another
engine (look-arounds, back-references) is refused. So is a pattern without an end: each of its matches could take a
look at all of the text. And so is what could not be followed through an answer that comes in pieces (`OpenEnds`),
which reads patterns as Python does: an answer would be withheld for it when it is too late to ask. A value does not
begin or end within a longer word of ASCII letters or digits.
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

import hyperscan

from sekisho.catalog.interfaces import InspectionRule, Mistake
from sekisho.inspection.checks import always
from sekisho.inspection.errors import RulesError
from sekisho.inspection.interfaces import EGRESS_TOOL, EGRESS_URL, OPAQUE, PERSON_NAME
from sekisho.inspection.normalise import SEPARATOR, fold, folding_table
from sekisho.inspection.open_ends import OpenEnds
from sekisho.inspection.profiles import checks
from sekisho.inspection.rule_data import REDACTIONS, RuleData
from sekisho.inspection.rules import compile_rule
from sekisho.inspection.scanner import Scanner, compile_patterns

PATTERN_BYTES_MAX: Final = 131_072  # of a compiled pattern: a hundred built-in ones take about ten times as much
TOGETHER_BYTES_MAX: Final = 4 << 20  # 200 ordinary patterns have a third; all are compiled anew for each snapshot
VALUE_MAX: Final = 1_024  # characters that a pattern may match: a page's line or two
HITS_IN_PROSE_MAX: Final = 8  # a rule that finds more in the page below finds something in every request
_NARROW: Final = "Narrow the pattern, or ask for context or a check"
_WIDEN: Final = "Correct the pattern, context or check, or the example"
_LABEL: Final = re.compile(r"[a-z][a-z0-9_]{0,31}(?:\.[a-z0-9_]{1,31}){0,3}", re.ASCII)
# What Python reads otherwise than the engines do, without a word: a class by name, a repeat without a least number.
_AMBIGUOUS: Final = re.compile(r"\[:\^?[a-z]+:\]|\{,[0-9]")
_RESERVED: Final = frozenset({OPAQUE, EGRESS_TOOL, EGRESS_URL, PERSON_NAME})
# A page of ordinary text with the numbers that such a page holds.
_PROSE: Final = (
    "The meeting on 2026-11-25 at 14:30 will review 42 items, 3 of them for the second time. Revenue grew by 4.2 % to "
    "1,204,300 in 2025; see page 17, table 3b, or https://www.example.com/reports/2025?part=2. Please bring version "
    "1.4.2 of the plan, and tell Room 305 if you need more than 12 copies. Thank you for your help with this matter. "
) * 2


def check_own_rules(declared: Iterable[InspectionRule]) -> tuple[tuple[RuleData, ...], tuple[Mistake, ...]]:
    """The rules in the order of their names, and every mistake in them; the rules run only if there is none."""
    known = checks()
    mistakes: list[Mistake] = []
    right: list[tuple[InspectionRule, RuleData]] = []
    for rule in sorted(declared, key=lambda rule: rule.name):
        found = _mistakes(rule, known)
        mistakes += found
        if not found:
            right.append((rule, _data(rule)))
    together = sum(_database(rule).size() for rule, _ in right)
    if together > TOGETHER_BYTES_MAX:
        problem = (
            f"the patterns are too large together ({together >> 20} MiB compiled, {TOGETHER_BYTES_MAX >> 20} at most)"
        )
        return (), (*mistakes, Mistake("inspection/", "", problem, "Shorten repeats, alternatives and classes in them"))
    mistakes += _wrong_examples(right)
    return tuple(data for _, data in right), tuple(mistakes)


def _data(rule: InspectionRule) -> RuleData:
    table = folding_table(alone=True)
    return RuleData(
        label=rule.label,
        anchor=rule.pattern,
        check=rule.check,
        context=[fold(word, table) for word in rule.context],
        unless=[fold(word, table) for word in rule.unless],
        ignore_case=rule.ignore_case,
        redaction=rule.redaction,
    )


def _mistakes(rule: InspectionRule, known: Iterable[str]) -> list[Mistake]:
    found: list[Mistake] = []

    def mistake(key: str, problem: str, remedy: str) -> None:
        found.append(Mistake(f"inspection/{rule.name}.toml", key, problem, remedy))

    if not _LABEL.fullmatch(rule.label):
        mistake("label", "is not a label", "Use words of a-z, 0-9 and _ with dots between, like acme.employee_number")
    elif rule.label in _RESERVED:
        mistake("label", f"{rule.label} is not found by patterns", "Choose a label of your own")
    if rule.check not in known:
        mistake("check", f"{rule.check[:60]!r} is not a check", _nearest(rule.check, known))
    if rule.redaction not in REDACTIONS:
        remedy = "Known are: mark (a value is replaced by its label), refuse (the request can't be redacted)"
        mistake("redaction", f"{rule.redaction[:60]!r} is not a redaction", remedy)
    folded = fold(rule.pattern, folding_table(alone=True))
    if folded != rule.pattern:
        remedy = f"Write what text is folded to before it is searched: {folded!r}"
        mistake("pattern", "holds characters that never occur in folded text", remedy)
    elif (problem := _pattern_problem(rule)) is not None:
        mistake("pattern", *problem)
    return found


def _pattern_problem(rule: InspectionRule) -> tuple[str, str] | None:
    try:
        database = _database(rule)
    except RulesError as error:
        remedy = "Leave out look-arounds, back-references and long repeats, and what matches nothing at all"
        return f"can't run in linear time: {error.message.rpartition(': ')[2]}", remedy
    if database.size() > PATTERN_BYTES_MAX:
        return "is too large", "Shorten its repeats and alternatives, or make it several rules"
    return _follow_problem(rule.pattern)


def _database(rule: InspectionRule) -> hyperscan.Database:
    """Of its pattern alone. Raises RulesError."""
    bare = RuleData(label=rule.label, anchor=rule.pattern, ignore_case=rule.ignore_case)
    compiled = compile_rule(bare, {bare.check: always})
    return compile_patterns({(compiled.anchor, compiled.flags | hyperscan.HS_FLAG_SINGLEMATCH): 0})


def _follow_problem(pattern: str) -> tuple[str, str] | None:
    """What keeps a pattern that runs from being followed through an answer in pieces, or from having an end."""
    if (ambiguous := _AMBIGUOUS.search(pattern)) is not None:
        return f"has {ambiguous[0]!r}, which not every engine reads alike", "Write it out, like [0-9] or {0,3}"
    try:
        OpenEnds([(pattern, pattern, 0)])
    except RulesError as error:
        remedy = "Write it as Python's re reads it: [一-龠] for \\p{Han}, (?i:…) for a part in either case"
        return f"can't be followed in answers: {error.message.rpartition(': ')[2]}", remedy
    longest: int = re._parser.parse(pattern).getwidth()[1]  # type: ignore[attr-defined]
    if longest > VALUE_MAX:
        most = "without end" if longest >= re._constants.MAXREPEAT else f"of {longest} characters"  # type: ignore[attr-defined]
        return f"can match values {most}", f"Bound its repeats, like {{1,64}} for +: {VALUE_MAX} characters at most"
    return None


def _wrong_examples(rules: list[tuple[InspectionRule, RuleData]]) -> list[Mistake]:
    """Every rule under a label of its own, so that one does not answer for another; all compiled at once."""
    if not rules:
        return []
    known = checks()
    alone = [compile_rule(data, known)._replace(label=f"rule.{number}") for number, (_, data) in enumerate(rules)]
    scanner = Scanner(tuple(alone))
    prose = Counter(_labels_in(scanner, _PROSE))
    mistakes: list[Mistake] = []
    for number, (rule, _) in enumerate(rules):
        file, label = f"inspection/{rule.name}.toml", f"rule.{number}"
        for key, texts, wanted in (
            ("must_match", rule.must_match, True),
            ("must_not_match", rule.must_not_match, False),
        ):
            for place, text in enumerate(texts):
                if (label in _labels_in(scanner, text)) != wanted:
                    problem = "is not found" if wanted else "is found"
                    mistakes.append(Mistake(file, f"{key}[{place}]", problem, _NARROW if not wanted else _WIDEN))
        if prose[label] > HITS_IN_PROSE_MAX:
            mistakes.append(Mistake(file, "pattern", "matches all over ordinary text", _NARROW))
    return mistakes


def _labels_in(scanner: Scanner, text: str) -> list[str]:
    """The label of each value in `text`."""
    folded = fold(text, folding_table(alone=True))
    result = scanner.scan(f"{SEPARATOR}{folded}{SEPARATOR}".encode(), folded=True)
    return [value.label for value in result.values] + HITS_IN_PROSE_MAX * 2 * sorted(result.flooded or ())


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(sorted(known))}"
