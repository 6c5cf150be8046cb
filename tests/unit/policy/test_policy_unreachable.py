"""Policies that can't matter: each kind is found, and what guards for later is not."""

import pytest

from sekisho.catalog.interfaces import PolicyText
from sekisho.kernel import canonical
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.policy.packs import pack_names
from sekisho.policy.unreachable import NEVER_DECIDES, NEVER_MATCHES, reachability, unreachable
from support_decide import DIGEST, LABELS, catalogue, declared, deployment

TOKYO = deployment("tokyo", processing=declared("JP"), storage=declared("JP"))
ANY = "forbid (principal, action, resource)"


def parts_of(*texts, packs=("jp-residency",)):
    rules = "".join(f'@id("p{n}") @title("t") @title_ja("題") {text}\n' for n, text in enumerate(texts))
    return compile_policies(catalogue(TOKYO, packs=packs), (PolicyText("policies/own.cedar", rules),), LABELS)


def found(*texts, packs=("jp-residency",)):
    """(position among `texts`, why)."""
    parts = parts_of(*texts, packs=packs)
    first = len(canonical.decode(parts.policies)["policies"]) - len(texts)
    return [(one.number - first, one.why) for one in unreachable(parts) if one.number >= first]


def test_every_policy_of_the_packs_that_ship_matters():
    for name in pack_names():
        assert unreachable(compile_policies(catalogue(TOKYO, packs=(name,)), (), LABELS)) == ()


@pytest.mark.parametrize(
    "condition",
    [
        "context.class_rank > 3",
        "context.class_rank > 2 && !context.protected",
        'resource.processing.contains(Jurisdiction::"JP") && resource.processing_grade < 1',
        'resource.processing.contains(Jurisdiction::"JP") && resource.processing.contains(Jurisdiction::"unknown")',
        "context.residency.isEmpty()",
        'context.residency.contains(Jurisdiction::"anywhere") && !context.residency.contains(Jurisdiction::"SG")',
        "resource.storage_grade > 3",
        "context.staleness.policy_days > 7 && context.staleness.policy_days < 8",
        'resource.deployment_type == DeploymentType::"GlobalStandard" && resource.processing == [Jurisdiction::"JP"]',
        'action == Action::"sendRedacted" && context.labels.contains(Label::"opaque")',
    ],
)
def test_what_can_never_match_is_found(condition):
    assert found(f"{ANY} when {{ {condition} }};") == [(0, NEVER_MATCHES)]


@pytest.mark.parametrize(
    "condition",
    [
        "context.class_rank > 2",
        'resource.deployment_type == DeploymentType::"GlobalStandard"',
        "resource.processing_grade < 2",
        'principal in Role::"nobody-has-it"',
        "context.staleness.intel_days > 36000",
        '!context.home.containsAny(resource.processing) && context.labels.contains(Label::"opaque")',
        'ip("10.0.0.1").isLoopback()',
        "9223372036854775807 + context.class_rank < 0",  # it never matches, and denies by failing
    ],
)
def test_what_guards_for_what_is_not_there_yet_is_none_of_them(condition):
    assert [why for _, why in found(f"{ANY} when {{ {condition} }};") if why == NEVER_MATCHES] == []


def test_what_others_decide_already_is_found():
    tight = f'{ANY} when {{ context.labels.contains(Label::"opaque") }};'
    wide = f"{ANY} unless {{ context.labels.isEmpty() }};"
    everyone = 'permit (principal, action in [Action::"sendRaw", Action::"sendRedacted"], resource);'
    some = 'permit (principal in Role::"caller", action == Action::"sendRaw", resource);'
    assert found(everyone, some, packs=()) == [(1, NEVER_DECIDES)]
    assert found(everyone, tight, packs=()) == []
    assert found(everyone, tight, wide, packs=()) == [(1, NEVER_DECIDES)]
    # A forbid that stands in monitor mode too is not replaced by one that does not.
    assert found(everyone, f'@enforce("always") {tight}', wide, packs=()) == []
    # What only permits keeping is not redundant beside a permit that keeps nothing.
    keep = '@retain_days("3") permit (principal, action == Action::"retain", resource);'
    assert found(everyone, keep, packs=()) == []


def test_the_words_name_file_and_line_and_leave_packs_alone():
    mistakes, notes = reachability(
        parts_of(
            f"{ANY} when {{ context.class_rank > 3 }};",
            f'{ANY} when {{ context.labels.contains(Label::"egress.url") }};',
        )
    )
    ((mistake,), (note,)) = mistakes, notes
    assert (mistake.file, mistake.key) == ("policies/own.cedar", "line 1, p0")
    assert "never match" in mistake.problem
    # It and the pack's rule replace each other; of the two only the one that is not a pack's is told of.
    assert (note.key, "never changes" in note.problem) == ("line 2, p1", True)


def test_of_policies_that_replace_each_other_one_is_left():
    twice = f'{ANY} when {{ context.labels.contains(Label::"opaque") }};'
    everyone = 'permit (principal, action in [Action::"sendRaw", Action::"sendRedacted"], resource);'
    assert found(everyone, twice, twice, twice, packs=()) == [(2, NEVER_DECIDES), (3, NEVER_DECIDES)]


ANSWERS = (
    'forbid (principal, action == Action::"relayRaw", resource) when { context.label == Label::"jp.my_number" };',
    'permit (principal, action == Action::"restore", resource) when { context.label == Label::"jp.my_number" };',
)


@pytest.mark.parametrize("text", ANSWERS)
def test_what_is_said_of_answers_is_left_alone_and_leaves_the_rest_to_be_compiled(text):
    assert found(text) == []
    assert found(text, f"{ANY} when {{ context.class_rank > 3 }};") == [(1, NEVER_MATCHES)]
    assert CedarDecider(parts_of(text), snapshot=DIGEST, epoch_from=0).compiles


def test_a_guard_against_organisations_that_are_not_declared_yet_is_let_be():
    known = 'principal in Organisation::"default" || principal in Organisation::"other"'
    assert found(f"{ANY} unless {{ {known} }};") == []
