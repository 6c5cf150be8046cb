"""Deciding: default deny, errors deny, forbid wins, and an independent model of the pack jp-residency."""

import itertools
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sekisho.catalog.interfaces import JURISDICTION_FACTS, PolicyText
from sekisho.kernel import canonical
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider, candidates_bytes
from sekisho.policy.entities import protected_from
from sekisho.policy.errors import DecisionInputError, PolicyPartsError
from sekisho.policy.explain import explain
from sekisho.policy.interfaces import (
    NO_RESIDENCY,
    SEND_RAW,
    SEND_REDACTED,
    STALENESS_ROLES,
    PolicyParts,
    PrincipalInput,
)
from support_decide import (
    ANYWHERE,
    CLASSES,
    DIGEST,
    LABELS,
    catalogue,
    decision_input,
    declared,
    deployment,
)

TOKYO = deployment("tokyo", processing=declared("JP"), storage=declared("JP"))
WORLD = deployment("world", processing=declared(*ANYWHERE), storage=declared("JP"))
VAGUE = deployment("vague")


def decider(*deployments, policies=(), epoch_from=0, **options):
    parts = compile_policies(catalogue(*deployments, **options), tuple(policies), LABELS)
    return CedarDecider(parts, snapshot=DIGEST, epoch_from=epoch_from)


def own(text, file="policies/own.cedar"):
    return PolicyText(file, text)


def rule(identifier, text):
    return f'@id("{identifier}") @title("t") @title_ja("題") {text}\n'


@pytest.fixture(scope="module")
def three():
    return decider(TOKYO, WORLD, VAGUE)


def reasons(decider, decision, deployment, action=SEND_RAW):
    (verdict,) = [v for v in decision.verdicts if (v.deployment, v.action) == (deployment, action)]
    return {decider.policies[index].id for index in verdict.reasons}


def test_only_the_deployment_at_home_is_permitted_and_the_others_say_why(three):
    decision = three.decide(decision_input())
    assert decision.permitted_raw == ("tokyo",)
    assert decision.permitted_redacted == ()
    assert reasons(three, decision, "tokyo") == {"jp-residency.callers"}
    assert reasons(three, decision, "world") == {"jp-residency.processing"}
    assert reasons(three, decision, "vague") == {"jp-residency.processing"}


def test_a_residency_of_anywhere_reaches_anywhere_but_never_the_unknown(three):
    assert three.decide(decision_input(residency=ANYWHERE)).permitted_raw == ("tokyo", "world")


def test_unknown_storage_fails_for_protected_classes_only():
    nearly = deployment("nearly", processing=declared("JP"))
    decide = decider(nearly).decide
    permitted = [bool(decide(decision_input(data_class=name)).permitted_raw) for name in CLASSES]
    assert permitted == [True, True, False, False]


@pytest.mark.parametrize(
    ("classes", "default_class", "rank"),
    [
        (CLASSES, "public", 2),
        (("confidential", "open"), "open", 0),
        (("a", "b", "c"), "a", 1),
        (("a", "b"), "b", 1),
        (("a",), "a", 0),
    ],
)
def test_where_protection_begins(classes, default_class, rank):
    assert protected_from(catalogue(classes=classes, default_class=default_class).boundary) == rank


def test_redacted_is_decided_on_its_own_labels(three):
    decision = three.decide(decision_input(labels_raw=("secret.api_key",)))
    assert decision.permitted_raw == ()
    assert decision.permitted_redacted == ("tokyo",)


def test_redacted_is_not_decided_where_it_can_not_be_or_changes_nothing(three):
    for value in (decision_input(labels_raw=("secret.api_key",), redactable=False), decision_input()):
        assert {verdict.action for verdict in three.decide(value).verdicts} == {SEND_RAW}


def test_a_my_number_leaves_raw_only_towards_home(three):
    decision = three.decide(decision_input(residency=ANYWHERE, labels_raw=("jp.my_number",)))
    assert decision.permitted_raw == ("tokyo",)
    assert decision.permitted_redacted == ("tokyo", "world")


def test_who_is_no_caller_meets_the_default_deny(three):
    decision = three.decide(decision_input(principal=PrincipalInput("key-1", "default", ("auditor",))))
    assert decision.permitted_raw == ()
    (verdict,) = [v for v in decision.verdicts if v.deployment == "tokyo"]
    assert (verdict.reasons, verdict.errors) == ((), ())
    assert any("no policy permits it" in line for line in explain(decision, three))
    assert any("許可する規則がありません" in line for line in explain(decision, three, "ja"))


def test_an_unknown_model_has_no_verdicts(three):
    for model in ("none", "n"):
        decision = three.decide(decision_input(model=model))
        assert decision.verdicts == ()
        assert decision.candidates_bytes == b"[]"
        assert repr(model) in explain(decision, three)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"residency": ()},
        {"residency": ("XX",)},
        {"labels_raw": ("no.such.label",), "labels_redacted": ("no.such.label",)},
        {"data_class": "secret"},
        {"principal": PrincipalInput("key-1", "nobody", ("caller",))},
        {"snapshot": "cd" * 32},
        {"epoch_from": 1},
    ],
)
def test_what_does_not_fit_the_snapshot_denies_with_an_error(three, changes):
    decision = three.decide(decision_input(**changes))
    assert decision.permitted_raw == decision.permitted_redacted == ()
    assert len(decision.verdicts) == 3
    assert all(verdict.errors for verdict in decision.verdicts)
    assert explain(decision, three)


def test_an_empty_residency_denies_even_without_a_pack():
    open_wide = decider(TOKYO, policies=[own(rule("all", "permit (principal, action, resource);"))], packs=())
    assert open_wide.decide(decision_input()).permitted_raw == ("tokyo",)
    decision = open_wide.decide(decision_input(residency=()))
    assert decision.permitted_raw == ()
    assert decision.verdicts[0].errors == (NO_RESIDENCY,)
    assert "nothing in common" in explain(decision, open_wide)[0]


def test_a_forbid_on_who_asks_can_not_be_skipped():
    text = rule("no-interns", 'forbid (principal in Role::"intern", action, resource);')
    text += rule("not-other", 'forbid (principal in Organisation::"other", action, resource);')
    subject = decider(TOKYO, policies=[own(text)])
    intern = decision_input(principal=PrincipalInput("key-1", "default", ("caller", "intern")))
    other = decision_input(principal=PrincipalInput("key-1", "other", ("caller",)))
    assert reasons(subject, subject.decide(intern), "tokyo") == {"no-interns"}
    assert reasons(subject, subject.decide(other), "tokyo") == {"not-other"}
    assert subject.decide(decision_input()).permitted_raw == ("tokyo",)


def test_a_policy_that_fails_denies_though_the_engine_would_allow():
    # Cedar's integers overflow at 64 bits; the failing forbid is skipped by the engine, which then says Allow.
    overflow = rule(
        "sum", "forbid (principal, action, resource) when { 9223372036854775807 + context.class_rank < 0 };"
    )
    subject = decider(TOKYO, policies=[own(overflow)])
    assert subject.decide(decision_input(data_class="public")).permitted_raw == ("tokyo",)
    decision = subject.decide(decision_input(data_class="internal"))
    assert decision.permitted_raw == ()
    assert "overflow" in decision.verdicts[0].errors[0]


def test_staleness_is_whole_or_empty():
    text = rule("stale", "forbid (principal, action, resource) when { context.staleness.policy_days > 30 };")
    subject = decider(TOKYO, policies=[own(text)])

    def days(count):
        return tuple((role, count if role == "policy" else 0) for role in STALENESS_ROLES)

    assert subject.decide(decision_input(staleness=())).permitted_raw == ("tokyo",)
    assert subject.decide(decision_input(staleness=days(30))).permitted_raw == ("tokyo",)
    assert subject.decide(decision_input(staleness=days(31))).permitted_raw == ()
    for wrong in ((("policy", 1),), (*days(1), ("zebra", 1)), days(-1)):
        with pytest.raises(DecisionInputError):
            subject.decide(decision_input(staleness=wrong))


def test_a_lapsed_fact_is_unknown_from_its_end_on():
    ending = deployment("ending", processing=declared("JP", expires=1_000), storage=declared("JP"))
    assert decider(ending).decide(decision_input()).permitted_raw == ("ending",)
    later = decider(ending, epoch_from=1_000)
    decision = later.decide(decision_input(epoch_from=1_000))
    assert decision.permitted_raw == ()
    assert reasons(later, decision, "ending") == {"jp-residency.processing"}
    graded = rule("graded", "forbid (principal, action, resource) when { resource.processing_grade < 1 };")
    strict = decider(ending, policies=[own(graded)], epoch_from=1_000)
    assert "graded" in reasons(strict, strict.decide(decision_input(epoch_from=1_000)), "ending")


@pytest.mark.parametrize("fact", JURISDICTION_FACTS)
def test_no_unknown_fact_passes_a_strict_rule(fact):
    text = rule(
        "strict", f"forbid (principal, action, resource) unless {{ context.home.containsAll(resource.{fact}) }};"
    )
    known = dict.fromkeys(JURISDICTION_FACTS, declared("JP"))
    subject = decider(
        deployment("known", **known),
        deployment("unknown", **{key: value for key, value in known.items() if key != fact}),
        policies=[own(text)],
    )
    assert subject.decide(decision_input()).permitted_raw == ("known",)


def test_candidates_with_equal_verdicts_are_grouped_canonically(three):
    decision = three.decide(decision_input(labels_raw=("secret.api_key",)))
    groups = canonical.decode(decision.candidates_bytes)
    assert [(group["action"], group["deployments"]) for group in groups] == [
        (SEND_RAW, ["tokyo"]),
        (SEND_RAW, ["vague", "world"]),
        (SEND_REDACTED, ["tokyo"]),
        (SEND_REDACTED, ["vague", "world"]),
    ]
    assert decision.candidates_bytes == candidates_bytes(decision.verdicts)


def test_the_memo_answers_with_the_same_decision(three):
    assert three.decide(decision_input()) is three.decide(decision_input())


def test_parts_that_do_not_fit_together_are_refused():
    parts = compile_policies(catalogue(TOKYO), (), LABELS)
    foreign = json.loads(parts.policies)
    foreign["policies"][0]["text"] = 'permit (principal, action, resource) when { resource.nothing == "x" };'
    for wrong in (
        PolicyParts(b"{}", parts.schema, parts.entities),
        PolicyParts(parts.policies, b"entity X", parts.entities),
        PolicyParts(parts.policies, parts.schema, b"{}"),
        PolicyParts(parts.policies, parts.schema, parts.entities.replace(b'"JP"', b'"XX"')),
        PolicyParts(canonical.encode(foreign), parts.schema, parts.entities),
    ):
        with pytest.raises(PolicyPartsError):
            CedarDecider(wrong, snapshot=DIGEST, epoch_from=0)


# What jp-residency says, in plain Python over the catalogue's facts, without Cedar.
def oracle(value, item, labels):
    facts = {key: set(fact.value) for key, fact in item.facts.items()}
    residency = set(value.residency)
    return (
        "caller" in value.principal.roles
        and value.principal.organisation in {"default", "other"}
        and bool(residency)
        and facts["processing"] <= residency
        and (CLASSES.index(value.data_class) < CLASSES.index("confidential") or facts["storage"] <= residency)
        and not {"egress.tool", "egress.url", "secret.api_key", "secret.connection_string", "secret.private_key"}
        & set(labels)
        and (not {"jp.my_number", "opaque"} & set(labels) or facts["processing"] <= {"JP"})
    )


PLACES = st.sampled_from([("JP",), ("US",), ("JP", "US"), ANYWHERE, ("unknown",)])
SOME_LABELS = st.sets(st.sampled_from(LABELS), max_size=2).map(lambda found: tuple(sorted(found)))


@st.composite
def questions(draw):
    count = draw(st.integers(1, 4))
    items = [
        deployment(f"d{number}", processing=declared(*draw(PLACES)), storage=declared(*draw(PLACES)))
        for number in range(count)
    ]
    inputs = draw(
        st.lists(
            st.builds(
                decision_input,
                principal=st.builds(
                    PrincipalInput,
                    st.sampled_from(["key-1", "key-2"]),
                    st.sampled_from(["default", "other", "stranger"]),
                    st.sampled_from([("caller",), ("auditor", "caller"), ("auditor",), ()]),
                ),
                data_class=st.sampled_from(CLASSES),
                residency=st.sampled_from([("JP",), ("JP", "US"), ANYWHERE, ()]),
                labels_raw=SOME_LABELS,
                labels_redacted=SOME_LABELS,
                redactable=st.booleans(),
            ),
            min_size=1,
            max_size=6,
        )
    )
    return items, inputs


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(questions())
def test_what_is_permitted_is_what_a_plain_model_of_the_pack_permits(question):
    items, inputs = question
    subject = decider(*items)
    for value in inputs:
        decision = subject.decide(value)
        assert decision == subject.decide_afresh(value)
        raw = tuple(item.name for item in items if oracle(value, item, value.labels_raw))
        redacted = tuple(item.name for item in items if oracle(value, item, value.labels_redacted))
        decided = value.redactable and value.labels_raw != value.labels_redacted
        assert decision.permitted_raw == raw
        assert decision.permitted_redacted == (redacted if decided else ())


def forbids():
    conditions = st.sampled_from(
        [
            ("context.class_rank >= 2", lambda v, item, labels: CLASSES.index(v.data_class) >= 2),
            ('context.labels.contains(Label::"jp.my_number")', lambda v, item, labels: "jp.my_number" in labels),
            ('principal in Organisation::"other"', lambda v, item, labels: v.principal.organisation == "other"),
            (
                'resource.processing.contains(Jurisdiction::"US")',
                lambda v, item, labels: "US" in item.facts["processing"].value,
            ),
            ("resource.storage_grade < 2", lambda v, item, labels: True),
        ]
    )  # fmt: skip
    return st.lists(conditions, max_size=3)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(questions(), forbids())
def test_own_forbids_only_ever_take_away_and_always_win(question, chosen):
    items, inputs = question
    text = "".join(
        rule(f"own-{number}", f"forbid (principal, action, resource) when {{ {condition} }};")
        for number, (condition, _) in enumerate(chosen)
    )
    subject = decider(*items, policies=[own(text)])
    for value, item in itertools.product(inputs, items):
        forbidden = any(holds(value, item, value.labels_raw) for _, holds in chosen)
        expected = oracle(value, item, value.labels_raw) and not forbidden
        assert (item.name in subject.decide(value).permitted_raw) is expected
