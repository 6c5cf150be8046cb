"""Checking policies against a catalogue, and compiling them into the parts that a decider is made of. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import cedarpy
from cedarpy import pst

from sekisho.catalog.interfaces import Catalogue, Mistake, PolicyText
from sekisho.catalog.layers import layer_of
from sekisho.kernel import canonical
from sekisho.policy.entities import entities_part
from sekisho.policy.errors import PolicyMistakes
from sekisho.policy.exemptions import exemption_mistakes, exemption_rows
from sekisho.policy.interfaces import RELAY_RAW, RETAIN, PolicyParts, PolicyTitle
from sekisho.policy.names import Vocabulary, meaning_mistakes, vocabulary
from sekisho.policy.packs import load_pack, pack_names
from sekisho.policy.schema import STANDING_LABELS, schema_text
from sekisho.policy.source import OPERATORS_MAX, is_overgrown, split_policies

POLICIES_MAX: Final = 1_000  # deciding is linear in them: about 1.5 µs each
TITLE_MAX: Final = 300  # a title is one line in a 403
ENFORCE: Final = "enforce"  # @enforce("always"): neither monitor mode nor an exemption lifts this forbid
ALWAYS: Final = "always"
RETAIN_DAYS: Final = "retain_days"  # @retain_days("30"): how long a permit of `retain` lets content be kept
RETAIN_DAYS_MAX: Final = 3_650  # ten years: longer than any rule on keeping records that we know of asks for
_DAYS: Final = re.compile(r"[1-9][0-9]{0,3}", re.ASCII)
_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,95}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CheckedPolicies:
    """`parts` and `titles` in the order of the policies' indexes; `parts` is None as soon as there is a mistake."""

    parts: PolicyParts | None
    titles: tuple[PolicyTitle, ...]
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True, slots=True)
class ParsedPolicy:
    """One policy of a file, as Cedar's tree too. `line` counts from 1."""

    file: str
    line: int
    text: str
    effect: str
    annotations: dict[str, str]
    node: Any

    def mistake(self, problem: str, remedy: str) -> Mistake:
        name = self.annotations.get("id")
        return Mistake(self.file, f"line {self.line}" + (f", {name}" if name else ""), problem, remedy)

    def title(self) -> PolicyTitle:
        a = self.annotations
        days = int(a[RETAIN_DAYS]) if RETAIN_DAYS in a else None
        return PolicyTitle(a["id"], a["title"], a["title_ja"], self.effect, self.file, ENFORCE in a, days)


def check_policies(
    catalogue: Catalogue,
    declared: tuple[PolicyText, ...],
    labels: tuple[str, ...],
    elsewhere: Mapping[str, str] = MappingProxyType({}),
) -> CheckedPolicies:
    """Every mistake in the packs that the boundary names and in the declared policies, at once.

    `labels` are those that inspection can find; `elsewhere`, for words only, those of profiles that the boundary does
    not name, each with its profile. Policies are numbered packs first, in the boundary's order, then
    declared files by layer, the highest first, and name; within a file by position.
    """
    mistakes: list[Mistake] = []
    layers = catalogue.boundary.layers
    own = sorted(declared, key=lambda source: (layer_of(source.file, layers), source.file))
    sources = _pack_sources(catalogue.boundary.packs, mistakes) + own
    schema = schema_text(catalogue, labels)
    handle = cedarpy.Schema.from_str(schema)
    known = vocabulary(schema, (item.name for item in catalogue.deployments), elsewhere)
    policies = [policy for source in sources for policy in _parsed(source, mistakes)]
    for policy in policies:
        _check_annotations(policy, mistakes)
        _check_meaning(policy, handle, known, mistakes)
    _check_together(policies, mistakes)
    _require_permit(policies, mistakes)
    if mistakes:
        return CheckedPolicies(None, (), tuple(sorted(set(mistakes))))
    titles = tuple(policy.title() for policy in policies)
    mistakes += exemption_mistakes(catalogue.exemptions, titles, {*labels, *STANDING_LABELS}, elsewhere)
    if mistakes:
        return CheckedPolicies(None, (), tuple(sorted(set(mistakes))))
    parts = PolicyParts(_policies_part(policies, exemption_rows(catalogue)), schema.encode(), entities_part(catalogue))
    return CheckedPolicies(parts, titles, ())


def check_policy_texts(declared: tuple[PolicyText, ...]) -> tuple[Mistake, ...]:
    """What can be said of policies without a catalogue: whether each is Cedar, named and titled, and named once."""
    mistakes: list[Mistake] = []
    policies = [policy for source in declared for policy in _parsed(source, mistakes)]
    for policy in policies:
        _check_annotations(policy, mistakes)
    _check_together(policies, mistakes)
    return tuple(sorted(set(mistakes)))


def compile_policies(catalogue: Catalogue, policies: tuple[PolicyText, ...], labels: tuple[str, ...]) -> PolicyParts:
    """The parts (a `PolicyCompiler`); raises PolicyMistakes with everything that is wrong."""
    checked = check_policies(catalogue, policies, labels)
    if checked.parts is None:
        raise PolicyMistakes(checked.mistakes)
    return checked.parts


def labels_named(packs: Iterable[str], declared: tuple[PolicyText, ...]) -> frozenset[str]:
    """The labels that policies in force speak of, mistakes or none: what they ask inspection to look for."""
    uids = (uid for policy in policies_in_force(packs, declared) for uid in pst.entity_uids(policy.node))
    return frozenset(uid.id for uid in uids if str(uid.type) == "Label")


def policies_in_force(packs: Iterable[str], declared: tuple[PolicyText, ...]) -> Iterator[ParsedPolicy]:
    """The policies of these packs and of one's own that are Cedar, whatever else is wrong with them."""
    for source in (*_pack_sources(packs, []), *declared):
        yield from _parsed(source, [])


def _pack_sources(packs: Iterable[str], mistakes: list[Mistake]) -> list[PolicyText]:
    sources: list[PolicyText] = []
    known = pack_names()
    in_force = tuple(packs)
    for name in in_force:
        if name in known:
            pack = load_pack(name)
            sources.extend(pack.sources)
            for below in set(pack.builds_on).difference(in_force):
                remedy = f"Add {below!r} to packs: {name!r} only adds to its rules"
                mistakes.append(Mistake("boundary.toml", "packs", f"{name!r} builds on {below!r}", remedy))
        else:
            remedy = f"Packs that ship are: {', '.join(known)}"
            mistakes.append(Mistake("boundary.toml", "packs", f"{name!r} is not a pack", remedy))
    return sources


def _parsed(source: PolicyText, mistakes: list[Mistake]) -> Iterator[ParsedPolicy]:
    for piece in split_policies(source.text):
        place = f"line {piece.line}"
        if is_overgrown(piece.text):
            problem = f"holds more than {OPERATORS_MAX} operators and brackets"
            mistakes.append(Mistake(source.file, place, problem, "Split it into several policies"))
            continue
        try:
            nodes = cedarpy.policies_to_pst(piece.text)
        except ValueError as error:
            remedy = "Correct the policy that begins on this line; each ends in a semicolon"
            mistakes.append(Mistake(source.file, place, f"is not Cedar: {error}", remedy))
            continue
        if nodes.templates or len(nodes.static_policies) != 1:
            remedy = "Write a policy without ?principal and ?resource"
            mistakes.append(Mistake(source.file, place, "is a template, or empty, and would never apply", remedy))
            continue
        (policy,) = nodes.static_policies.values()
        yield ParsedPolicy(source.file, piece.line, piece.text, policy.effect, dict(policy.annotations), policy)


def _check_annotations(policy: ParsedPolicy, mistakes: list[Mistake]) -> None:
    identifier = policy.annotations.get("id")
    if identifier is None:
        mistakes.append(policy.mistake("has no @id", 'Begin it with @id("my-rule"): receipts name rules by it'))
    elif not _ID.fullmatch(identifier):
        mistakes.append(policy.mistake("has an @id that is not a name", "Use a-z, 0-9, '.', '_' and '-', at most 96"))
    for key, language in (("title", "English"), ("title_ja", "Japanese")):
        title = policy.annotations.get(key, "")
        if not title.strip() or len(title) > TITLE_MAX or not title.isprintable():
            remedy = f'Add @{key}("…"), one line in {language} that a developer who is refused understands'
            mistakes.append(policy.mistake(f"has no usable @{key}", remedy))

    if ENFORCE in policy.annotations:
        if policy.annotations[ENFORCE] != ALWAYS:
            mistakes.append(policy.mistake("has an unknown @enforce", 'Write @enforce("always"), or leave it out'))
        elif policy.effect != "forbid":
            mistakes.append(policy.mistake("is a permit with @enforce", "Only a forbid can be enforced: remove it"))
    days = policy.annotations.get(RETAIN_DAYS)
    if days is not None and not (_DAYS.fullmatch(days) and int(days) <= RETAIN_DAYS_MAX):
        remedy = f'Write a number from 1 to {RETAIN_DAYS_MAX}, like @retain_days("30")'
        mistakes.append(policy.mistake("has an unusable @retain_days", remedy))


def _check_meaning(policy: ParsedPolicy, schema: cedarpy.Schema, known: Vocabulary, mistakes: list[Mistake]) -> None:
    """Types by Cedar's validator; what is named is looked up by us, so that the nearest name can be told."""
    uids = pst.entity_uids(policy.node)
    for problem, remedy in meaning_mistakes(policy.text, uids, schema, known):
        mistakes.append(policy.mistake(problem, remedy))
    _check_retaining(policy, uids, mistakes)
    if policy.effect == "permit" and any(uid.id == RELAY_RAW for uid in uids):
        remedy = f"Leave it out. To have values in answers masked, write a forbid that names {RELAY_RAW}"
        mistakes.append(policy.mistake(f"permits {RELAY_RAW}, which every permit of sending covers", remedy))


def _check_retaining(policy: ParsedPolicy, uids: Iterable[Any], mistakes: list[Mistake]) -> None:
    """Content is kept only where a permit says so by name and for how long: a wide permit must not mean it as well."""
    if policy.effect != "permit":
        if RETAIN_DAYS in policy.annotations:
            mistakes.append(policy.mistake("is a forbid with @retain_days", "Only a permit keeps content: remove it"))
        return
    named = any(str(uid.type) == "Action" and uid.id == RETAIN for uid in uids)
    if named != (RETAIN_DAYS in policy.annotations):
        problem = "permits retain without an end" if named else "has @retain_days, but does not name the action retain"
        remedy = f'Write @retain_days("30") and action == Action::"{RETAIN}"; they belong together'
        mistakes.append(policy.mistake(problem, remedy))


def _check_together(policies: list[ParsedPolicy], mistakes: list[Mistake]) -> None:
    first: dict[str, ParsedPolicy] = {}
    for policy in policies:
        identifier = policy.annotations.get("id")
        if identifier is None:
            continue
        if identifier in first:
            other = first[identifier]
            problem = f"has the same @id as the policy at {other.file} line {other.line}"
            mistakes.append(policy.mistake(problem, "Give each policy an @id of its own"))
        first.setdefault(identifier, policy)
    if len(policies) > POLICIES_MAX:
        remedy = f"Keep at most {POLICIES_MAX}"
        mistakes.append(Mistake("policies/", "", f"there are {len(policies)} policies", remedy))


def _require_permit(policies: list[ParsedPolicy], mistakes: list[Mistake]) -> None:
    """Of all policies, the packs' included: without a catalogue nobody knows which packs there are."""
    if not any(policy.effect == "permit" for policy in policies) and not mistakes:
        remedy = f"Name a pack in boundary.toml, or write a permit. Packs that ship are: {', '.join(pack_names())}"
        mistakes.append(Mistake("policies/", "", "no policy permits anything, so every request is denied", remedy))


def _policies_part(policies: list[ParsedPolicy], exemptions: list[dict[str, Any]]) -> bytes:
    rows: list[dict[str, Any]] = [
        {
            "effect": policy.effect,
            "file": policy.file,
            "id": policy.annotations["id"],
            "line": policy.line,
            "text": policy.text,
            "title": policy.annotations["title"],
            "title_ja": policy.annotations["title_ja"],
        }
        | ({ENFORCE: ALWAYS} if ENFORCE in policy.annotations else {})
        | ({RETAIN_DAYS: int(policy.annotations[RETAIN_DAYS])} if RETAIN_DAYS in policy.annotations else {})
        for policy in policies
    ]
    part: dict[str, Any] = {"policies": rows}
    return canonical.encode(part | ({"exemptions": exemptions} if exemptions else {}))
