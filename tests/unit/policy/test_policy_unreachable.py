"""Policies that can't matter: each kind is found, and what guards for later is not."""

import dataclasses
import random
import re

import pytest

from random_policies import Policies, request
from sekisho.app.inspecting import labels_that_ship
from sekisho.catalog.interfaces import PolicyText
from sekisho.kernel import canonical
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider, engine_only
from sekisho.policy.packs import load_pack, pack_names, with_foundations
from sekisho.policy.unreachable import NEVER_DECIDES, NEVER_MATCHES, reachability, unreachable
from support_decide import ANYWHERE, DIGEST, LABELS, UNKNOWN_FACT, catalogue, declared, deployment

TOKYO = deployment("tokyo", processing=declared("JP"), storage=declared("JP"))
TWO_UNNAMED = (
    "!resource.provider_certifications.containsAll(resource.provider_legal_entity) && "
    "!resource.provider_legal_entity.containsAll(resource.provider_certifications) && "
    '!resource.provider_certifications.contains("unknown") && !resource.provider_legal_entity.contains("unknown")'
)
EVERY_LABEL = ", ".join(f'Label::"{name}"' for name in LABELS)
ANY = "forbid (principal, action, resource)"


def parts_of(*texts, packs=("jp-residency",)):
    rules = "".join(f'@id("p{n}") @title("t") @title_ja("題") {text}\n' for n, text in enumerate(texts))
    return compile_policies(catalogue(TOKYO, packs=packs), (PolicyText("policies/own.cedar", rules),), LABELS)


def found(*texts, packs=("jp-residency",)):
    """(position among `texts`, why)."""
    parts = parts_of(*texts, packs=packs)
    first = len(canonical.decode(parts.policies)["policies"]) - len(texts)
    return [(one.number - first, one.why) for one in unreachable(parts) if one.number >= first]


@pytest.mark.parametrize("name", pack_names())
def test_every_policy_of_the_packs_that_ship_matters(name):
    """Beside what it builds on. What is said of keeping counts where something is kept: the pack's cases show that."""
    packs = tuple(pack.name for pack in with_foundations(name))
    if not any("permit (" in source.text for pack in map(load_pack, packs) for source in pack.sources):
        packs = ("jp-residency", *packs)
    parts = compile_policies(catalogue(TOKYO, packs=packs), (), labels_that_ship())
    rows = canonical.decode(parts.policies)["policies"]
    idle = [rows[one.number] for one in unreachable(parts)]
    ours = [row for row in idle if row["file"].startswith(f"packs/{name}/")]
    assert [row["id"] for row in ours if 'Action::"retain"' not in row["text"]] == []


@pytest.mark.parametrize(
    "condition",
    [
        "context.class_rank > 3",
        "context.class_rank > 2 && !context.protected",
        'resource.processing.contains(Jurisdiction::"JP") && resource.processing_grade < 1',
        'resource.processing.contains(Jurisdiction::"JP") && resource.processing.contains(Jurisdiction::"unknown")',
        "context.residency.isEmpty()",
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
        # All that are declared are named: others may be.
        '!(principal in [Organisation::"default", Organisation::"other"])',
        '!(resource.site in [Site::"home", Site::"unknown"])',
        f"!([{EVERY_LABEL}].containsAll(context.labels))",
        TWO_UNNAMED,
        # It matches when a value is to be put back into an answer.
        "context has label",
        '!(action in [Action::"sendRaw", Action::"sendRedacted", Action::"retain"])',
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


EVERYONE = 'permit (principal, action in [Action::"sendRaw", Action::"sendRedacted"], resource);'


def test_what_decides_on_answers_is_not_said_to_decide_nothing():
    caller = EVERYONE.replace("(principal,", '(principal in Role::"caller",')
    # Of sending it decides nothing, for nothing is permitted to whom it names.
    mine = f'{ANY} when {{ principal in Role::"intern" && !(principal in Role::"caller") }};'
    assert found(caller, mine, packs=()) == [(1, NEVER_DECIDES)]
    assert found(caller, mine, 'permit (principal, action == Action::"restore", resource);', packs=()) == []
    assert found(caller, 'forbid (principal, action == Action::"relayRaw", resource);', packs=()) == []


def test_what_an_exemption_lifts_replaces_nothing():
    twice = f'{ANY} when {{ context.labels.contains(Label::"opaque") }};'
    parts = parts_of(EVERYONE, twice, twice, packs=())
    assert [one.number for one in unreachable(parts)] == [2]
    part = canonical.decode(parts.policies)
    excused = part | {"exemptions": [{"policies": ["p1"]}]}
    excused_parts = dataclasses.replace(parts, policies=canonical.encode(excused))
    assert [one.number for one in unreachable(excused_parts)] == [1]  # the other one stands under the exemption too


RICH = [
    deployment(
        f"d{number}", model=("m", "n")[number % 2], processing=processing, storage=processing,
        tenancy=declared(("shared", "dedicated")[number % 2]),
    )
    for number, processing in enumerate((declared("JP"), declared("US"), declared(*ANYWHERE), UNKNOWN_FACT))
]  # fmt: skip


def without(parts, numbers):
    rows = canonical.decode(parts.policies)["policies"]
    rows = [row for number, row in enumerate(rows) if number not in numbers]
    return dataclasses.replace(parts, policies=canonical.encode({"policies": rows}))


def only(parts, number):
    """As a permit: then the reasons say whether it matched, whatever the others do."""
    row = canonical.decode(parts.policies)["policies"][number]
    text = re.sub("forbid (?=\\()", "permit ", row["text"], count=1)
    return dataclasses.replace(
        parts, policies=canonical.encode({"policies": [row | {"effect": "permit", "text": text}]})
    )


@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(10, 500))])
def test_the_engine_decides_the_same_without_what_does_not_matter(seed):
    made = random.Random(seed)
    texts = Policies(made, arithmetic=False).texts(made.randrange(3, 9))
    parts = compile_policies(catalogue(*RICH, packs=()), (texts,), LABELS)
    idle = unreachable(parts)
    deciders = [
        engine_only(one, snapshot=DIGEST, epoch_from=0) for one in (parts, without(parts, {one.number for one in idle}))
    ]
    dead = [
        engine_only(only(parts, one.number), snapshot=DIGEST, epoch_from=0) for one in idle if one.why == NEVER_MATCHES
    ]
    for _ in range(60 if idle else 0):
        asked = request(made, strange=0)
        permitted = [
            (one.permitted_raw, one.permitted_redacted) for one in (decider.decide(asked) for decider in deciders)
        ]
        assert permitted[0] == permitted[1], asked
        assert not any(decider.decide(asked).permitted_raw for decider in dead), asked
