"""The compiled form: the engine is the oracle, over random policies and requests and over the packs that ship."""

import logging
import random
import re

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from random_policies import Policies, deployments, request
from sekisho.app.inspecting import labels_that_ship
from sekisho.catalog.interfaces import Exemption, PolicyText
from sekisho.policy import engine
from sekisho.policy.check import compile_policies
from sekisho.policy.compiled import FORM
from sekisho.policy.engine import CedarDecider
from sekisho.policy.interfaces import PrincipalInput
from sekisho.policy.packs import pack_names, with_foundations
from support_decide import CLASSES, DIGEST, LABELS, catalogue, decision_input, declared, deployment

REQUESTS_PER_SET = 40
# For packs that only forbid, and beside those that permit.
PERMIT = PolicyText(
    "policies/own.cedar",
    '@id("own.all") @title("t") @title_ja("題")\n'
    'permit (principal, action in [Action::"sendRaw", Action::"sendRedacted"], resource);',
)
OWN = '@id("{name}") @title("t") @title_ja("題") {text}\n'


def both(parts, epoch_from=0):
    return (
        CedarDecider(parts, snapshot=DIGEST, epoch_from=epoch_from),
        CedarDecider(parts, snapshot=DIGEST, epoch_from=epoch_from, compiled=False),
    )


def agree(subject, oracle, value):
    """The decision, which memo, compiled form and engine make alike, to the byte."""
    found, expected = subject.decide_afresh(value), oracle.decide_afresh(value)
    assert found == expected, value
    assert found.candidates_bytes == expected.candidates_bytes
    assert subject.decide(value) == expected
    assert subject.decide(value) is subject.decide(value)
    assert expected.compiled is None
    for verdict in expected.verdicts:
        kept = [one.retention(value, verdict.deployment, value.labels_raw) for one in (subject, oracle)]
        assert kept[0] == kept[1], value
    return found


def random_parts(seed, *, packs=(), **options):
    made = random.Random(seed)
    grammar = Policies(made, **options)
    texts = grammar.texts(made.randrange(2, 9), keeping=made.random() < 0.2)
    declarations = catalogue(*deployments(made), packs=packs)
    forbids = re.findall(r'@id\("(p\d)"\) @title\("t"\) @title_ja\("題"\) forbid', texts.text)
    if forbids and made.random() < 0.3:
        named = tuple(made.sample(forbids, made.randint(1, len(forbids))))
        excused = Exemption(
            "e", "cd" * 32, "default", named, CLASSES, 500, "w", "c", deployments=("d0",), labels=LABELS
        )
        declarations = msgspec.structs.replace(declarations, exemptions=(excused,))
    return made, compile_policies(declarations, (texts,), LABELS)


def hold_together(seeds):
    """Counts of decisions: all, those that the compiled form made, those with an error of evaluation, those exempt."""
    decided = by_form = failed = excused = 0
    for seed in seeds:
        made, parts = random_parts(seed)
        epoch_from = made.choice((0, 1_000))
        subject, oracle = both(parts, epoch_from)
        for _ in range(REQUESTS_PER_SET):
            decision = agree(subject, oracle, request(made, epoch_from=epoch_from))
            decided += 1
            by_form += decision.compiled == FORM
            failed += any("overflow" in error for verdict in decision.verdicts for error in verdict.errors)
            excused += any(verdict.exempted for verdict in decision.verdicts)
        assert subject.compiles  # no difference was found by the decider itself either
    return decided, by_form, failed, excused


def test_thousands_of_random_cases_are_decided_as_the_engine_decides():
    decided, by_form, failed, excused = hold_together(range(75))
    assert decided == 3_000
    assert by_form > decided / 2
    assert failed > 10
    assert excused > 10


@pytest.mark.long
def test_a_hundred_thousand_random_cases_are_decided_as_the_engine_decides():
    assert hold_together(range(10_000, 12_500))[0] == 100_000


@pytest.mark.parametrize("pack", pack_names())
def test_the_packs_that_ship_are_compiled_and_decide_as_the_engine_does(pack):
    made, labels = random.Random(pack), labels_that_ship()
    packs = tuple(one.name for one in with_foundations(pack))
    for _ in range(5):
        subject, oracle = both(compile_policies(catalogue(*deployments(made, 4), packs=packs), (PERMIT,), labels))
        assert subject.compiles
        for _ in range(REQUESTS_PER_SET):
            agree(subject, oracle, request(made, labels=labels))


def test_what_the_form_does_not_hold_is_left_to_the_engine():
    left = 0
    for seed in range(30):
        made, parts = random_parts(seed, beyond=True)
        subject, oracle = both(parts)
        left += not subject.compiles
        for _ in range(10):
            decision = agree(subject, oracle, request(made))
            assert subject.compiles or decision.compiled is None
    assert left > 5


TOKYO = deployment("d0", processing=declared("JP"), storage=declared("JP"))


def one(text, **options):
    parts = compile_policies(catalogue(TOKYO, **options), (_own(text),), LABELS)
    return both(parts)


def _own(text):
    return PolicyText("policies/own.cedar", OWN.format(name="own", text=text))


def test_a_failing_policy_is_told_by_the_engine_and_denies():
    subject, oracle = one("forbid (principal, action, resource) when { 9223372036854775807 + context.class_rank < 0 };")
    permitted = agree(subject, oracle, decision_input(data_class="public"))
    assert (permitted.permitted_raw, permitted.compiled) == (("d0",), FORM)
    failed = agree(subject, oracle, decision_input(data_class="internal"))
    assert (failed.permitted_raw, failed.compiled) == ((), None)
    assert "overflow" in failed.verdicts[0].errors[0]


def test_deep_and_long_policies_are_decided_whichever_way():
    deep = " && ".join(["context.class_rank >= 0"] * 90)
    clauses = "when { context.class_rank >= 0 } " * 40
    for text in (
        f"forbid (principal, action, resource) when {{ {deep} }};",
        f"forbid (principal, action, resource) {clauses};",
    ):
        subject, oracle = one(text)
        assert not subject.compiles
        assert agree(subject, oracle, decision_input()).permitted_raw == ()
    nested = "(" * 50 + "context.protected" + " || context.protected)" * 50
    subject, oracle = one(f"forbid (principal, action, resource) when {{ {nested} }};")
    assert subject.compiles
    assert agree(subject, oracle, decision_input()).permitted_raw == ("d0",)


@pytest.mark.parametrize(("condition", "permitted"), [("context has label", ("d0",)), ("!(context has label)", ())])
def test_no_action_that_sends_has_a_label(condition, permitted):
    subject, oracle = one(f"forbid (principal, action, resource) when {{ {condition} }};")
    assert subject.compiles
    assert agree(subject, oracle, decision_input()).permitted_raw == permitted


LABELLED = 'context.label == Label::"opaque"'


@pytest.mark.parametrize(
    ("condition", "compiles"),
    [
        (f"context has label && {LABELLED}", True),  # no action that sends has it
        (f"context.class_rank + 1 > 0 && context has label && {LABELLED}", True),
        ('resource has "in"', True),  # an attribute may be any text: these are none of ours
        ('context has "staleness.policy_days"', True),
        ("resource in resource.model && principal in principal.organisation", True),
        # The validator knows these to be dead, and does not look at their types.
        ("1 == true", False),
        ("!(if true then context.protected else 1)", False),
        ("[[2, 1]].contains([1, 2])", False),
        ('principal in Label::"opaque" && 1 < "a"', False),
        ('principal in Jurisdiction::"JP" && (if context.protected then "a" else "b")', False),
        (f'principal in Jurisdiction::"JP" && {LABELLED}', False),
        ('(if principal is Deployment then context.class else principal) in Role::"caller"', False),
        # What is not looked at can't fail; to Cedar this does.
        ("(if context.class_rank + 9223372036854775807 > 0 then resource else resource) is Deployment", False),
        ("-(-9223372036854775808 + context.class_rank - 1) > 0", True),
        ("context.class_rank * 9223372036854775807 * 2 > 0 || true", True),
    ],
)
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_what_is_dead_or_fails_is_decided_alike(effect, condition, compiles):
    action = 'action in [Action::"sendRaw"]' if effect == "permit" else "action"
    text = f"{effect} (principal, {action}, resource) when {{ {condition} }};"
    subject, oracle = one(text, packs=() if effect == "permit" else ("jp-residency",))
    assert subject.compiles is compiles
    for data_class in CLASSES:
        agree(subject, oracle, decision_input(data_class=data_class))
    assert subject.compiles is compiles  # nor did the decider itself find a difference


def test_names_that_could_be_code_are_names():
    name = "x'); import os #\\n\\\""
    subject, oracle = one(f'forbid (principal in Role::"{name}", action, resource);')
    assert subject.compiles
    asked = decision_input()
    asked = asked._replace(principal=asked.principal._replace(roles=("caller", "x'); import os #\n\"")))
    assert agree(subject, oracle, asked).permitted_raw == ()
    assert agree(subject, oracle, decision_input()).permitted_raw == ("d0",)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=12), st.sets(st.text(max_size=6) | st.just("caller"), max_size=3))
@example("", {""})
@example("\x00", {"caller", "\x00", '"', "\\"})
@example("key-1" * 2_000, {"caller", "Role::caller"})
def test_whatever_principals_and_roles_are_called(identifier, roles):
    value = decision_input(principal=PrincipalInput(identifier, "default", tuple(sorted(roles))))
    agree(*STRANGERS, value)


STRANGERS = one('forbid (principal == Principal::"", action, resource);')


def test_retention_is_decided_alike():
    keep = '@retain_days("30") permit (principal, action == Action::"retain", resource) unless { context.protected };'
    subject, oracle = one(keep)
    for value in (decision_input(), decision_input(data_class="restricted")):
        assert subject.retention(value, "d0", ()) == oracle.retention(value, "d0", ())
    assert subject.retention(decision_input(), "d0", ()).days == 30


class Lying:
    """A compiled form that permits everything."""

    def satisfied(self, value, action, labels, rank, protected):
        return [([0], [])]


@pytest.mark.parametrize("after", [0, engine.BOTH_FIRST])
def test_a_form_that_differs_is_given_up_for_the_engine(after, caplog):
    subject, oracle = one("forbid (principal, action, resource) when { context.protected };")
    values = [decision_input(principal=decision_input().principal._replace(id=f"key-{n}")) for n in range(after)]
    for value in values:
        agree(subject, oracle, value)
    subject._compiled = Lying()
    denied = decision_input(data_class="restricted")
    tries = 1 if after == 0 else engine.BOTH_EVERY
    with caplog.at_level(logging.ERROR):
        found = [subject.decide_afresh(denied) for _ in range(tries)][-1]
    assert found == oracle.decide_afresh(denied)
    assert not subject.compiles
    assert "differ from the engine" in caplog.text


def test_what_a_form_said_before_it_was_given_up_is_forgotten():
    subject, oracle = one("forbid (principal, action, resource) when { context.protected };")
    agreed = [
        decision_input(principal=PrincipalInput(f"key-{n}", "default", ("caller",))) for n in range(engine.BOTH_FIRST)
    ]
    for value in agreed:
        subject.decide(value)
    subject._compiled = Lying()
    wrong = decision_input(data_class="restricted")
    assert subject.decide(wrong).permitted_raw == ("d0",)
    while subject.compiles:  # the next that both make may be the redacted half of one
        subject.decide_afresh(wrong._replace(labels_raw=("jp.my_number",)))
    assert subject.decide(wrong) == oracle.decide(wrong)


def test_a_form_that_is_given_up_in_the_middle_of_a_decision_decides_none_of_it():
    subject, oracle = one("forbid (principal, action, resource) when { context.protected };")
    value = decision_input(data_class="restricted", labels_raw=("jp.my_number",))
    subject._compiled, subject._made = Lying(), engine.BOTH_EVERY - 2  # both make the second half
    found = subject.decide_afresh(value)
    assert (found, found.compiled) == (oracle.decide_afresh(value), None)
