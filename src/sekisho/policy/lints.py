"""What makes policies hard to read, though they decide as they should. Pure.

A refusal shows a forbid's title as *the* reason, so a forbid has one: what is forbidden for either of two reasons is
two forbids. Seen as one condition, `when` asks for what it says and `unless` for the opposite; where that is a
disjunction at its top, it can be split.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from cedarpy import pst

from sekisho.catalog.interfaces import Mistake
from sekisho.policy.check import ParsedPolicy
from sekisho.policy.packs import PACKS

# Hiragana, katakana, and the characters that Chinese and Japanese share.
_JAPANESE: Final = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d]")
_NAMING: Final = ("id", "title", "title_ja")  # annotations that decide nothing


class Lints(NamedTuple):
    """`notes` are no mistakes, and may have been meant otherwise."""

    mistakes: tuple[Mistake, ...]
    notes: tuple[Mistake, ...]


def lint(policies: Iterable[ParsedPolicy]) -> Lints:
    """Of all policies in force, packs included."""
    held = list(policies)
    return Lints(tuple(_of_many_reasons(held)), (*_titles(held), *_duplicates(held)))


def _of_many_reasons(policies: Iterable[ParsedPolicy]) -> Iterator[Mistake]:
    for policy in policies:
        if policy.effect != "forbid":
            continue
        for clause in policy.node.clauses:
            unless = isinstance(clause, pst.Unless)
            count = len([one for one in _alternatives(clause.expr, not unless) if not isinstance(one, pst.HasAttr)])
            if count > 1:
                word = "unless" if unless else "when"
                yield policy.mistake(
                    f"forbids for {count} reasons at once: its `{word}` holds for any of them",
                    f"Split it into {count} forbids, each with an @id and titles that say its one reason; alternatives "
                    "of one kind can stand in a list, like [A, B].contains(…) or ….containsAny([A, B])",
                )


def _alternatives(node: Any, positive: bool) -> Sequence[Any]:
    """What the condition (its opposite, unless `positive`) is a disjunction of; `has` only guards what is beside it."""
    found, open_nodes = [], [(node, positive)]
    while open_nodes:
        one, holds = open_nodes.pop()
        if isinstance(one, pst.UnaryOp) and one.op == "not":
            open_nodes.append((one.arg, not holds))
        elif isinstance(one, pst.BinaryOp) and one.op == ("or" if holds else "and"):
            open_nodes += [(one.left, holds), (one.right, holds)]
        else:
            found.append(one)
    return found


def _titles(policies: Iterable[ParsedPolicy]) -> Iterator[Mistake]:
    for policy in policies:
        title, japanese = policy.annotations.get("title", ""), policy.annotations.get("title_ja", "")
        if japanese.strip() and _JAPANESE.search(japanese) is None:
            problem = "has a @title_ja that is the @title" if japanese == title else "has a @title_ja without Japanese"
            yield policy.mistake(problem, "Say it in Japanese, if anybody who is refused reads it")


def _duplicates(policies: Sequence[ParsedPolicy]) -> Iterator[Mistake]:
    first: dict[tuple[Any, ...], ParsedPolicy] = {}
    for policy in policies:
        node = policy.node
        more = tuple(sorted(item for item in policy.annotations.items() if item[0] not in _NAMING))
        key = (policy.effect, more, node.principal, node.action, node.resource, tuple(node.clauses))
        other = first.setdefault(key, policy)
        if other is not policy and not policy.file.startswith(PACKS):  # packs may agree, and nobody edits them
            problem = f"says the same as {other.annotations.get('id', 'the policy')} ({other.file} line {other.line})"
            yield policy.mistake(problem, "Keep one of them")
