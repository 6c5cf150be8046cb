"""Which acts need approval: `[[rules]]` of `approvals.toml`. Pure."""

from typing import Final

from sekisho.catalog.interfaces import APPROVABLE_ACTS, ApprovalRule
from sekisho.catalog.table import NAME, NAME_REMEDY, Table, shown

APPROVERS_MAX: Final = 32  # all who sign stand in one entry of the ledger
VALID_HOURS: Final = 24
VALID_HOURS_MAX: Final = 720  # a month: whoever approved must still remember what


def read_rules(table: Table) -> tuple[ApprovalRule, ...]:
    """The rules by act, each act once; mistakes are noted in the table."""
    raw = table.take("rules")
    if raw is None:
        return ()
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw) or len(raw) > len(APPROVABLE_ACTS):
        table.mistake("rules", "are no list of tables", "Write [[rules]] with act, approvers and needed, one per act")
        return ()
    rules: dict[str, ApprovalRule] = {}
    for position, values in enumerate(raw):
        inner = Table(values, table.file, table.mistakes, f"rules[{position}].")
        rule = _rule(inner)
        inner.finish()
        if rule is not None and rule.act in rules:
            inner.mistake("act", f"{rule.act} has a rule already", "Keep one")
        elif rule is not None:
            rules[rule.act] = rule
    return tuple(rule for _, rule in sorted(rules.items()))


def _rule(table: Table) -> ApprovalRule | None:
    act = table.take_choice("act", APPROVABLE_ACTS, "an act that can need approval")
    approvers = table.take_list("approvers", remedy='Name persons by their ids, like approvers = ["s-017", "s-023"]')
    needed = table.take_integer("needed", 0, 1, APPROVERS_MAX)
    hours = table.take_integer("valid_hours", VALID_HOURS, 1, VALID_HOURS_MAX)
    if "needed" not in table.values:
        table.missing("needed", "Say how many of the approvers must sign, like needed = 2")
    for person in approvers or ():
        if not NAME.fullmatch(person) or person[-1] in "._-":
            table.mistake("approvers", f"{shown(person)} can't be a person's id", f"{NAME_REMEDY}, ending with one too")
    if approvers is None or act is None or needed == 0:
        return None
    if len(approvers) > APPROVERS_MAX:
        table.mistake("approvers", f"are {len(approvers)}", f"Name at most {APPROVERS_MAX}")
    elif needed > len(approvers):
        table.mistake("needed", f"is more than the {len(approvers)} approvers", "Name more of them, or need fewer")
    return ApprovalRule(act=act, approvers=tuple(sorted(approvers)), needed=needed, valid_hours=hours)
