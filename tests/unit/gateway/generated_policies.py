"""A small grammar of policies: every one as Cedar text and as a plain predicate, which knows nothing of our engine.

`Asked` is one question: may this principal, with these labels, send to this deployment by this action?
"""

from collections.abc import Callable
from typing import NamedTuple

from hypothesis import strategies as st

from sekisho.catalog.interfaces import Deployment, Fact, Grade
from sekisho.identity.interfaces import Principal

CLASSES = ("public", "internal", "confidential", "restricted")
JURISDICTIONS = ("JP", "SG", "US")
ORGANISATIONS = ("default", "other")
PLACES = ("processing", "storage", "support_staff")
KEY_HOLDERS = ("customer", "provider", "unknown")
LABELS = ("egress.tool", "egress.url", "email", "jp.my_number", "opaque", "secret.api_key")
NAMES = ("d0", "d1", "d2", "d3")
PROTECTED_RANK = CLASSES.index("confidential")
UNKNOWN = Fact(("unknown",), Grade.UNKNOWN)


class Asked(NamedTuple):
    principal: Principal
    action: str
    deployment: Deployment
    labels: frozenset[str]
    data_class: str
    residency: frozenset[str]
    home: frozenset[str]
    now_us: int

    def fact(self, name: str) -> Fact:
        """As it stands now: what has expired is unknown."""
        fact = self.deployment.facts[name]
        return UNKNOWN if fact.expires is not None and fact.expires <= self.now_us else fact

    @property
    def rank(self) -> int:
        return CLASSES.index(self.data_class)


class Term(NamedTuple):
    text: str
    holds: Callable[[Asked], bool]


class Policy(NamedTuple):
    text: str  # but for the annotations
    effect: str
    applies: Callable[[Asked], bool]


def _always(text: str = "") -> Term:
    return Term(text, lambda _: True)


def _label(name: str) -> Term:
    return Term(f'context.labels.contains(Label::"{name}")', lambda a: name in a.labels)


def _class(name: str) -> Term:
    return Term(f'context.class == DataClass::"{name}"', lambda a: a.data_class == name)


def _rank(rank: int) -> Term:
    return Term(f"context.class_rank >= {rank}", lambda a: a.rank >= rank)


def _allowed_place(fact: str) -> Term:
    return Term(f"context.residency.containsAll(resource.{fact})", lambda a: a.residency >= set(a.fact(fact).value))


def _home_place(fact: str) -> Term:
    return Term(f"context.home.containsAll(resource.{fact})", lambda a: a.home >= set(a.fact(fact).value))


def _place(fact: str, code: str) -> Term:
    return Term(f'resource.{fact}.contains(Jurisdiction::"{code}")', lambda a: code in a.fact(fact).value)


def _grade(fact: str, grade: int) -> Term:
    return Term(f"resource.{fact}_grade >= {grade}", lambda a: a.fact(fact).grade >= grade)


def _key_holder(word: str) -> Term:
    return Term(f'resource.key_holder == KeyHolder::"{word}"', lambda a: a.fact("key_holder").value == (word,))


def _not(term: Term) -> Term:
    return Term(f"!({term.text})", lambda a: not term.holds(a))


def _and(left: Term, right: Term) -> Term:
    return Term(f"({left.text}) && ({right.text})", lambda a: left.holds(a) and right.holds(a))


def _or(left: Term, right: Term) -> Term:
    return Term(f"({left.text}) || ({right.text})", lambda a: left.holds(a) or right.holds(a))


_PROTECTED = Term("context.protected", lambda a: a.rank >= PROTECTED_RANK)
_ATOMS = st.one_of(
    st.just(_PROTECTED),
    st.sampled_from(LABELS).map(_label),
    st.sampled_from(CLASSES).map(_class),
    st.integers(0, 3).map(_rank),
    st.sampled_from(PLACES).map(_allowed_place),
    st.sampled_from(PLACES).map(_home_place),
    st.builds(_place, st.sampled_from(PLACES), st.sampled_from((*JURISDICTIONS, "anywhere", "unknown"))),
    st.builds(_grade, st.sampled_from(PLACES), st.integers(1, 3)),
    st.sampled_from(KEY_HOLDERS).map(_key_holder),
)
_CONDITIONS = st.recursive(
    _ATOMS,
    lambda inner: st.one_of(inner.map(_not), st.builds(_and, inner, inner), st.builds(_or, inner, inner)),
    max_leaves=3,
)
_WHO = st.one_of(
    st.just(_always("principal")),
    st.sampled_from(("caller", "batch")).map(
        lambda role: Term(f'principal in Role::"{role}"', lambda a: role in a.principal.roles)
    ),
    st.sampled_from(ORGANISATIONS).map(
        lambda name: Term(f'principal in Organisation::"{name}"', lambda a: a.principal.organisation == name)
    ),
)
_ACTIONS = st.one_of(
    st.just(_always("action")),
    st.sampled_from(("sendRaw", "sendRedacted")).map(
        lambda name: Term(f'action == Action::"{name}"', lambda a: a.action == name)
    ),
)


def _resources(names: tuple[str, ...]) -> st.SearchStrategy[Term]:
    return st.one_of(
        st.just(_always("resource")),
        st.sampled_from(names).map(
            lambda name: Term(f'resource == Deployment::"{name}"', lambda a: a.deployment.name == name)
        ),
        st.just(Term('resource in Model::"m"', lambda a: a.deployment.model == "m")),
    )


def policies(names: tuple[str, ...]) -> st.SearchStrategy[Policy]:
    """Policies about deployments of these names."""

    def build(effect: str, who: Term, action: Term, resource: Term, clause: str, condition: Term) -> Policy:
        scope = f"{effect} ({who.text}, {action.text}, {resource.text})"
        ends = {"": "", "when": f" when {{ {condition.text} }}", "unless": f" unless {{ {condition.text} }}"}
        holds = {"": lambda _: True, "when": condition.holds, "unless": lambda a: not condition.holds(a)}[clause]
        return Policy(
            scope + ends[clause] + ";",
            effect,
            lambda a: who.holds(a) and action.holds(a) and resource.holds(a) and holds(a),
        )

    # More permits than one would write, so that what is left permitted is not always little.
    effects = st.sampled_from(("permit", "permit", "forbid"))
    clauses = st.sampled_from(("when", "when", "unless", ""))
    return st.builds(build, effects, _WHO, _ACTIONS, _resources(names), clauses, _CONDITIONS)


PERMIT = Policy("permit (principal, action, resource);", "permit", lambda _: True)


def forbid_label(label: str) -> Policy:
    term = _label(label)
    return Policy(f"forbid (principal, action, resource) when {{ {term.text} }};", "forbid", term.holds)


def jp_residency(asked: Asked) -> list[str]:
    """The pack, as its documentation says it: "permit" and "forbid" for each rule that applies."""

    def within(allowed: frozenset[str], fact: str) -> bool:
        return allowed >= set(asked.fact(fact).value)

    rules = [("permit", "caller" in asked.principal.roles)]
    forbidden = [
        not within(asked.residency, "processing"),
        asked.rank >= PROTECTED_RANK and not within(asked.residency, "storage"),
        bool(asked.labels & {"egress.tool", "egress.url"}),
        bool(asked.labels & {"secret.api_key", "secret.connection_string", "secret.private_key"}),
        bool(asked.labels & {"opaque", "jp.my_number"}) and not within(asked.home, "processing"),
    ]
    rules += [("forbid", applies) for applies in forbidden]
    return [effect for effect, applies in rules if applies]


def permits(asked: Asked, own: list[Policy], packs: tuple[str, ...]) -> bool:
    """Cedar's rule, ours for what is missing: a forbid wins, nothing is permitted by itself, no place left denies."""
    if not asked.residency or asked.principal.organisation not in ORGANISATIONS:
        return False
    effects = [policy.effect for policy in own if policy.applies(asked)]
    if packs:
        effects += jp_residency(asked)
    return "permit" in effects and "forbid" not in effects


def annotated(policy: Policy, number: int) -> str:
    return f'@id("own.{number}")\n@title("Rule {number}")\n@title_ja("規則{number}")\n{policy.text}\n'
