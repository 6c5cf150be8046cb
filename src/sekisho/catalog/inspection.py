"""What is looked for in texts: the boundary's `[inspection]`, and an operator's own rules (`inspection/`). Pure.

Here only their form is read. Whether a profile ships, a check is known and a pattern runs is for the context
`inspection` to say, which `sekisho check` asks as well.
"""

from collections.abc import Iterable
from typing import Final

from sekisho.catalog.interfaces import InspectionRule, InspectionSettings, Mistake
from sekisho.catalog.table import NAME, NAME_REMEDY, Table, shown

OWN_RULES_MAX: Final = 200  # each is a pattern more to look for in every text
WORDS_MAX: Final = 64
EXAMPLES_MAX: Final = 50  # a rule that needs more is several rules
EXAMPLE_CHARACTERS_MAX: Final = 2_000


def read_settings(table: Table | None) -> InspectionSettings:
    """The boundary's table `[inspection]`; without one, or without `profiles`, those of the home jurisdictions."""
    if table is None:
        return InspectionSettings()
    # An empty list is a choice: only what has one form all over the world.
    profiles = () if table.take("profiles") == [] else table.take_list("profiles")
    for profile in profiles or ():
        if not NAME.fullmatch(profile):
            table.mistake("profiles", f"{shown(profile)} can't be a profile", NAME_REMEDY)
    names = _switch(table, "person_names")
    table.finish()
    return InspectionSettings(None if profiles is None else tuple(sorted(set(profiles))), names)


def read_rule(name: str, table: Table) -> InspectionRule | None:
    """A rule of the operator's own; None as soon as something that every rule needs is missing."""
    label = table.take_text("label", remedy='Name what it finds, like label = "acme.employee_number"')
    pattern = table.take_text("pattern", remedy="Give the pattern of a value, like pattern = 'EMP-[0-9]{6}'")
    must = _examples(table, "must_match", "Give texts in which the rule must find something")
    must_not = _examples(table, "must_not_match", "Give texts that look alike and in which it must find nothing")
    context, unless = (_short(table, key, table.take_list(key) or (), WORDS_MAX) for key in ("context", "unless"))
    if unless and not context:
        table.mistake("unless", "stands without context", "Remove it, or give context: it says what does not count")
    ignore_case = _switch(table, "ignore_case")
    check = table.take_text("check", default="always")
    redaction = table.take_text("redaction", default="mark")
    if label is None or pattern is None or not must or not must_not or check is None or redaction is None:
        return None
    return InspectionRule(
        name=name,
        label=label,
        pattern=pattern,
        must_match=must,
        must_not_match=must_not,
        check=check,
        context=context,
        unless=unless,
        ignore_case=ignore_case,
        redaction=redaction,
    )


def rule_mistakes(names: Iterable[str]) -> list[Mistake]:
    """What is wrong of all files together."""
    count = len(set(names))
    if count <= OWN_RULES_MAX:
        return []
    return [Mistake("inspection/", "", f"there are {count} rules", f"Keep at most {OWN_RULES_MAX}")]


def _switch(table: Table, key: str) -> bool:
    value = table.take(key)
    if value is not None and not isinstance(value, bool):
        table.mistake(key, "is not true or false", f"Write {key} = true, or leave it out")
    return value is True


def _examples(table: Table, key: str, remedy: str) -> tuple[str, ...]:
    return _short(table, key, table.take_list(key, remedy=remedy) or (), EXAMPLES_MAX)


def _short(table: Table, key: str, texts: tuple[str, ...], count_max: int) -> tuple[str, ...]:
    if len(texts) > count_max or any(len(text) > EXAMPLE_CHARACTERS_MAX for text in texts):
        table.mistake(key, "is too much", f"At most {count_max}, of {EXAMPLE_CHARACTERS_MAX} characters each")
        return ()
    return texts
