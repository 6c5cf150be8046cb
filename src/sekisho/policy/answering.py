"""What policies say of an answer, label by label: what of it is masked, and what is put back. Pure.

The permit by which a request is sent covers its answer. A forbid that names `relayRaw` takes values out of it; a permit
that names `restore` has the caller's own values put back.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import cedarpy
from cedarpy import pst

from sekisho.policy.interfaces import RELAY_RAW, RESTORE, Answering, PolicyTitle, Verdict
from sekisho.policy.reads import reads_of_context

# Of what is asked for or can't be read before it is sent; no value in an answer has them.
_OF_REQUESTS_ONLY: Final = frozenset({"egress.tool", "egress.url"})
_LABEL: Final = "label"  # of the context: without it the answer is the same for every label

_EFFECTS: Final = {RELAY_RAW: "forbid", RESTORE: "permit"}  # of the policies that count

Ask = Callable[[str, str], Verdict | None]  # (action, label) → the verdict; None for a deployment that isn't one


class AnswerRules(NamedTuple):
    """Of a snapshot's policies, the indexes of those that count, and the actions that are decided label by label."""

    relay: frozenset[int]
    restore: frozenset[int]
    by_label: frozenset[str]
    labels: tuple[str, ...]  # all there are, sorted


def answer_rules(texts: Sequence[str], titles: Sequence[PolicyTitle], labels: Iterable[str]) -> AnswerRules:
    """Raises ValueError for what is not Cedar."""
    naming: dict[str, set[int]] = {RELAY_RAW: set(), RESTORE: set()}
    by_label: set[str] = set()
    for index, text in enumerate(texts):
        for action in named_actions(text) & naming.keys():
            if titles[index].effect == _EFFECTS[action]:
                naming[action].add(index)
            if reads_of_context(text, _LABEL):
                by_label.add(action)
    kept = tuple(sorted(frozenset(labels) - _OF_REQUESTS_ONLY))
    return AnswerRules(frozenset(naming[RELAY_RAW]), frozenset(naming[RESTORE]), frozenset(by_label), kept)


def named_actions(text: str) -> set[str]:
    """The actions that one policy names. Raises ValueError for what is not Cedar."""
    if "\\" not in text and RELAY_RAW not in text and RESTORE not in text:  # an escape could spell them
        return set()
    policies = cedarpy.policies_to_pst(text).static_policies.values()
    return {uid.id for policy in policies for uid in pst.entity_uids(policy) if str(uid.type) == "Action"}


def answering(rules: AnswerRules, masked: Iterable[str], ask: Ask) -> Answering | None:
    """`masked`: the labels whose values were taken out of the request. See `Decider.answering`."""
    reasons: set[int] = set()
    mask: list[str] = []
    restore: list[str] = []
    if rules.relay:
        verdicts = _asked(RELAY_RAW, rules.labels, rules, ask)
        for label, verdict in verdicts.items():
            against = rules.relay if verdict is None else rules.relay.intersection(verdict.reasons)
            if against or verdict is None or verdict.errors:
                mask.append(label)
                reasons.update(against)
    if rules.restore:
        for label, verdict in _asked(RESTORE, sorted(masked), rules, ask).items():
            if verdict is not None and verdict.permitted and rules.restore.intersection(verdict.reasons):
                restore.append(label)
                reasons.update(rules.restore.intersection(verdict.reasons))
    return Answering(tuple(mask), tuple(restore), tuple(sorted(reasons))) if mask or restore else None


def _asked(action: str, labels: Iterable[str], rules: AnswerRules, ask: Ask) -> Mapping[str, Verdict | None]:
    if action in rules.by_label:
        return {label: ask(action, label) for label in labels}
    known = list(labels)
    return dict.fromkeys(known, ask(action, known[0]) if known else None)
