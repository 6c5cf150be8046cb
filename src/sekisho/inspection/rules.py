"""The rule set as bytes of a snapshot, and the inspector compiled from them.

The snapshot stores `rules_bytes()`; a gateway compiles what the snapshot holds, so that what was looked for can be
read, and re-performed, long after the code has moved on.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import re2

from sekisho.inspection.errors import RulesError
from sekisho.inspection.interfaces import PERSON_NAME, Inspector
from sekisho.inspection.profiles import PROFILES, checks, profile_names, rules_of
from sekisho.inspection.profiles.profile import NameFinder
from sekisho.inspection.redaction import JsonInspector
from sekisho.inspection.rule_data import (
    FORMAT,
    LEAD_MAX,
    REACH_MAX,
    REDACTIONS,
    REFUSE,
    TAIL_MAX,
    Check,
    RuleData,
    RuleSetData,
)
from sekisho.inspection.scanner import Databases, Rule, Scanner
from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError

RE2_BYTES_MAX: Final = 1 << 20  # of a pattern's automaton; what needs more is refused
_REMEDY: Final = "Run sekisho up: control builds the snapshot again for this version; if not, sekisho check says why"


def rules_bytes(profiles: Sequence[str], own: Iterable[RuleData] = (), *, names: bool = False) -> bytes:
    """The rule set as canonical JSON: a part of the snapshot.

    What is looked for everywhere, the identifiers of `profiles`, and an operator's `own` rules. With `names`, personal
    names too, by every profile that can find them. Raises RulesError for a profile that does not ship.
    """
    for name in profiles:
        if name not in PROFILES:
            remedy = f"Profiles that ship are: {', '.join(profile_names())}"
            raise RulesError(f"{name!r} is not an inspection profile", remedy=remedy)
    finders = [name for name in sorted(set(profiles)) if names and PROFILES[name].make_names is not None]
    if names and not finders:
        remedy = "Name a profile that can: " + ", ".join(n for n, found in PROFILES.items() if found.make_names)
        raise RulesError(f"{PERSON_NAME} is asked for, and no inspection profile in force finds it", remedy=remedy)
    rules = RuleSetData(FORMAT, [*rules_of(tuple(profiles)), *own], finders)
    return canonical.encode(msgspec.to_builtins(rules))


def label_names(rules: bytes) -> tuple[str, ...]:
    """The labels that policies may name: what `rules` can find, and `person.name`, which naming it asks for."""
    return tuple(sorted({*(rule.label for rule in _read(rules).rules), PERSON_NAME}))


def labels_of_others(profiles: tuple[str, ...]) -> dict[str, str]:
    """The labels that profiles find which ship and are not among `profiles`, each with such a profile."""
    return {rule.label: name for name, profile in PROFILES.items() if name not in profiles for rule in profile.rules()}


def compile_inspector(rules: bytes, databases: Databases | None = None) -> Inspector:
    """The inspector for a rule set; raises RulesError for bytes that are no rule set we can run, and where personal
    names are to be found and what that takes is not installed. `databases`: what was compiled before, so that another
    inspector of nearly the same rules is made at once.

    One inspector belongs to one thread: hyperscan's scratch space is not shared.
    """
    data = _read(rules)
    known = checks()
    scanner = Scanner(tuple(compile_rule(rule, known) for rule in data.rules), databases)
    return JsonInspector(scanner, rules, _finders(data))


def make_name_finders(rules: bytes) -> tuple[NameFinder, ...]:
    """Those that `rules` ask for. Raises RulesError where what they take is not installed."""
    return _finders(_read(rules))


def _finders(data: RuleSetData) -> tuple[NameFinder, ...]:
    return tuple(_finder(name) for name in data.names)


def compile_rule(data: RuleData, known: Mapping[str, Check]) -> Rule:
    """Raises RulesError for a rule that can't run; hyperscan's part is compiled by the scanner."""
    if data.check not in known:
        raise _wrong(data, f"asks for the check {data.check!r}, which is not known")
    if not (0 <= data.tail <= TAIL_MAX and 0 <= data.lead <= LEAD_MAX and 0 < data.reach <= REACH_MAX):
        raise _wrong(data, f"looks too far: at most {LEAD_MAX} bytes back, {REACH_MAX} within and {TAIL_MAX} on")
    if data.redaction not in REDACTIONS:
        raise _wrong(data, f"has the redaction {data.redaction!r}, which is not known")
    try:
        shape = re.compile(data.shape.encode()) if data.shape else None
        head = re.compile(b"(?:%b)\\Z" % data.anchor.encode()) if data.shape else None
        before = re.compile(b"(?:%b)\\Z" % data.before.encode()) if data.before else None
    except re.error as error:
        raise _wrong(data, f"has a shape that is no pattern: {error}") from None
    return Rule(
        label=data.label,
        anchor=data.anchor.encode(),
        sign=(data.sign or data.anchor).encode(),
        head=head,
        before=before,
        shape=shape,
        whole=None if data.shape else _whole(data),
        check=known[data.check],
        reach=data.reach,
        lead=data.lead,
        tail=data.tail,
        context=tuple(data.context),
        unless=tuple(data.unless),
        ignore_case=data.ignore_case,
        redactable=data.redaction != REFUSE,
    )


def _whole(data: RuleData) -> Any:
    """An operator's pattern in re2: the longest of what begins first."""
    options = re2.Options()
    options.longest_match = True
    options.log_errors = False
    options.max_mem = RE2_BYTES_MAX
    options.case_sensitive = not data.ignore_case
    try:
        return re2.compile(data.anchor.encode(), options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace") if error.args else "unknown"
        raise _wrong(data, f"has a pattern that re2 can't run: {reason}") from None


def _wrong(data: RuleData, problem: str) -> RulesError:
    return RulesError(f"a rule for {data.label} {problem}", remedy=_REMEDY)


def _finder(profile: str) -> NameFinder:
    found = PROFILES.get(profile)
    if found is None or found.make_names is None:
        raise RulesError(f"the profile {profile!r} finds no personal names here", remedy=_REMEDY)
    return found.make_names()


def _read(rules: bytes) -> RuleSetData:
    try:
        data: Any = canonical.decode(rules)
        written = data.get("format") if isinstance(data, dict) else None
        if written != FORMAT:  # before the rest: what another version writes need not fit ours
            problem = f"the snapshot's inspection rules have format {written!r}, this software reads {FORMAT}"
            raise RulesError(problem, remedy=_REMEDY)
        return msgspec.convert(data, RuleSetData)
    except (CanonicalError, msgspec.ValidationError) as error:
        raise RulesError(f"the inspection rules can't be read: {error}", remedy=_REMEDY) from None
