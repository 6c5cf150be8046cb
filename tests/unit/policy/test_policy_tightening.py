"""Layers of policies: what loosens is found with a case, what tightens is let be, what can't be told is a mistake."""

import dataclasses
import itertools
import random

import msgspec
import pytest

from sekisho.catalog.interfaces import Fact, Grade, PolicyText
from sekisho.kernel import canonical
from sekisho.policy.check import compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.policy.interfaces import PrincipalInput
from sekisho.policy.tightening import tightening_mistakes
from support_decide import CLASSES, DIGEST, LABELS, UNKNOWN_FACT, catalogue, decision_input, declared, deployment

LAYERS = ("nation", "ministry", "organisation")
TOKYO = deployment("tokyo", processing=declared("JP"), storage=declared("JP"))
BOTH = 'action in [Action::"sendRaw", Action::"sendRedacted"]'
ANYONE = f"permit (principal, {BOTH}, resource)"
CALLER = f'permit (principal in Role::"caller", {BOTH}, resource)'
FORBID = "forbid (principal, action, resource)"
LOW = "when { context.class_rank <= 1 };"
HIGHER = "when { context.class_rank <= 2 };"
AT_HOME = '[Jurisdiction::"JP"].containsAll(resource.processing)'
RETAIN = '@retain_days("{}") permit (principal, action == Action::"retain", resource)'
RESTORE = 'permit (principal, action == Action::"restore", resource)'


def parts_of(packs=(), layers=LAYERS, deployments=(TOKYO,), jurisdictions=("JP", "SG", "US"), **texts):
    whole = catalogue(*deployments, packs=packs)
    boundary = msgspec.structs.replace(whole.boundary, layers=layers, jurisdictions=jurisdictions)
    sources = [
        PolicyText(f"policies/{layer}/{layer}.cedar", "".join(_named(layer, number, text) for number, text in held))
        for layer, held in ((layer, list(enumerate(several))) for layer, several in texts.items())
    ]
    return compile_policies(msgspec.structs.replace(whole, boundary=boundary), tuple(sources), LABELS)


def _named(layer, number, text):
    return f'@id("{layer}.{number}") @title("t") @title_ja("題") {text}\n'


def problems(packs=(), layers=LAYERS, steps_max=10_000, **texts):
    found = tightening_mistakes(parts_of(packs, layers, **texts), layers, steps_max=steps_max)
    return [(one.file, one.key, one.problem) for one in found]


@pytest.mark.parametrize(
    ("nation", "below"),
    [
        ([f"{ANYONE};"], [f"{ANYONE};", f"{CALLER};"]),
        ([f"{ANYONE} {HIGHER}"], [f"{ANYONE} {LOW}"]),
        ([f"{ANYONE} {HIGHER}"], [f"{FORBID} {LOW}"]),
        # Where the layers above permit nothing, there is nothing to keep within.
        ([f"{FORBID} {LOW}"], [f"{ANYONE};"]),
        ([f"{ANYONE};"], [f"{RETAIN.format(30)};", f"{RESTORE};"]),
        # Two permits together cover it.
        ([f"{ANYONE} {LOW}", f"{ANYONE} when {{ context.protected }};"], [f"{CALLER};"]),
        # What is forbidden for good no permit below brings back.
        ([f"{ANYONE} {LOW}", f'@enforce("always") {FORBID} when {{ context.protected }};'], [f"{ANYONE};"]),
        ([f"{ANYONE} {LOW}"], [f"{ANYONE};", f'@enforce("always") {FORBID} when {{ context.protected }};']),
        # Nothing lifts a forbid of keeping or of putting back.
        ([f"{RETAIN.format(30)} {LOW}", f"{FORBID} when {{ context.protected }};"], [f"{RETAIN.format(30)};"]),
        ([f"{RETAIN.format(30)} {LOW}", f'{RETAIN.format(3)} when {{ context.protected }};'], [RETAIN.format(9) + LOW]),
        ([f'{RESTORE} when {{ context.label == Label::"jp.my_number" }};'],
         [f'{RESTORE} when {{ context.label == Label::"jp.my_number" && context.protected }};']),
        ([f"{RESTORE} when {{ context.labels.isEmpty() }};"],
         [f"{RESTORE} when {{ !context.labels.contains(context.label) && context.labels.isEmpty() }};"]),
        # What is put back was masked in what was sent, and what holds this is never masked.
        ([f'{RESTORE} unless {{ context.labels.contains(Label::"opaque") }};'], [f"{RESTORE};"]),
        ([f"{ANYONE} {LOW}"], [f"{ANYONE} when {{ context.class_rank <= 1 && {AT_HOME} }};"]),
    ],
)  # fmt: skip
def test_what_tightens_is_let_be(nation, below):
    assert problems(nation=nation, ministry=below) == []
    assert problems(nation=nation, organisation=below) == []


@pytest.mark.parametrize(
    ("nation", "below", "says"),
    [
        ([f"{CALLER};"], f"{ANYONE};", "permits sending data, as it is, from"),
        ([f"{ANYONE} {LOW}"], f"{ANYONE} {HIGHER}", "permits sending data of class confidential, as it is, to a"),
        ([f"{ANYONE} when {{ {AT_HOME} }};"], f"{ANYONE};", "to a deployment with processing"),
        ([f"{ANYONE} when {{ resource.processing_grade >= 3 }};"],
         f"{ANYONE} when {{ resource.processing_grade >= 2 }};", "with processing contractual"),
        # Whoever permits one form has said what may be sent.
        (['permit (principal, action == Action::"sendRedacted", resource);'], f"{ANYONE};", "as it is"),
        (['permit (principal, action == Action::"sendRaw", resource);'], f"{ANYONE};", "masked"),
        ([f"{ANYONE} when {{ context.labels.isEmpty() }};"], f"{ANYONE};", "with labels"),
        ([f'permit (principal in Organisation::"default", {BOTH}, resource);'],
         f'permit (principal, {BOTH}, resource) unless {{ principal in Organisation::"other" }};', "some organisation"),
        ([f"{ANYONE} when {{ context.staleness.policy_days < 7 }};"],
         f"{ANYONE} when {{ context.staleness.policy_days < 9 }};", "with policy 7 days old"),
        ([f"{ANYONE} {LOW}", f"{FORBID} when {{ context.protected }};"], f"{ANYONE};", "exemptions can lift them"),
        ([f"{RETAIN.format(30)} {LOW}"], f"{RETAIN.format(9)};", "permits keeping data of class confidential, sent to"),
        ([f"{RETAIN.format(30)} {LOW}"], f"{RETAIN.format(31)} {LOW}", "says 31 days, of which nation.0"),
        ([f'{RESTORE} when {{ context.label == Label::"jp.my_number" }};'], f"{RESTORE};", "putting back values of"),
        ([f'{RESTORE} when {{ context.label == Label::"jp.my_number" }};'],
         f"{RESTORE} when {{ context.labels.contains(context.label) }};", "putting back values of"),
        ([f"{ANYONE} {LOW}"], f'{ANYONE} when {{ ip("10.0.0.1").isLoopback() }};', "can't be proved to tighten"),
        ([f'{ANYONE} when {{ ip("10.0.0.1").isLoopback() }};'], f"{ANYONE};", "nation.0 (policies/nation"),
    ],
)  # fmt: skip
def test_what_loosens_is_a_mistake_with_a_case_in_words(nation, below, says):
    ((file, key, problem),) = problems(nation=nation, ministry=[below])
    assert (file, key) == ("policies/ministry/ministry.cedar", "line 1, ministry.0")
    assert says in problem
    assert "the layer nation" in problem or "of which nation.0" in problem
    assert problems(nation=nation, organisation=[below]) != []


def test_packs_are_of_the_highest_layer_and_files_beside_the_directories_of_the_lowest():
    assert problems(packs=("jp-residency",), nation=[f"{ANYONE};"]) == []
    ((_, _, problem),) = problems(packs=("jp-residency",), ministry=[f"{ANYONE};"])
    assert "which no permit of the layer nation covers" in problem
    assert "role" in problem
    whole = parts_of(ministry=[f"{CALLER};"])
    assert tightening_mistakes(whole, ("ministry",)) == ()
    loose = PolicyText("policies/own.cedar", _named("own", 0, f"{ANYONE};"))
    made = catalogue(TOKYO)
    made = msgspec.structs.replace(made, boundary=msgspec.structs.replace(made.boundary, layers=LAYERS))
    (mistake,) = tightening_mistakes(compile_policies(made, (loose,), LABELS), LAYERS)
    assert (mistake.file, "no permit of the layers nation, ministry covers" in mistake.problem) == (
        "policies/own.cedar",
        True,
    )


def test_a_middle_layer_frames_what_is_below_where_the_highest_only_forbids():
    texts = {"nation": [f"{FORBID} when {{ context.protected }};"], "ministry": [f"{CALLER};"]}
    assert problems(**texts) == []
    assert len(problems(**texts, organisation=[f"{ANYONE};"])) == 1


def test_without_layers_nothing_is_asked():
    assert tightening_mistakes(parts_of(packs=("jp-residency",), layers=(), policies=[f"{ANYONE};"]), ()) == ()


def test_what_takes_too_long_is_not_taken_for_proved():
    nation, ministry = [f"{ANYONE} {HIGHER}"], [f"{ANYONE} {LOW}"]
    ((_, _, problem),) = problems(steps_max=1, nation=nation, ministry=ministry)
    assert "can't be proved to tighten the layer nation: the policies tell too many cases apart" in problem
    # What holds all that a permit above asks for needs no search.
    assert problems(steps_max=0, nation=nation, ministry=[f"{CALLER} {HIGHER}"]) == []


# Held against the engine, over every case that these policies can tell apart.

HOME_AND_ANYWHERE = ("JP", "anywhere")
ATOMS = (
    "context.protected",
    'context.labels.contains(Label::"jp.my_number")',
    'principal in Role::"caller"',
    "context.residency.containsAll(resource.processing)",
    AT_HOME,
    "resource.processing_grade >= 2",
    'resource.tenancy == Tenancy::"dedicated"',
)


def every_deployment():
    processing = [Fact(value, grade) for value in (("JP",), HOME_AND_ANYWHERE) for grade in (1, 2)] + [UNKNOWN_FACT]
    tenancy = [Fact(("dedicated",), Grade.DECLARED), UNKNOWN_FACT]
    for number, (where, shared) in enumerate(itertools.product(processing, tenancy)):
        yield deployment(f"d{number}", processing=where, tenancy=shared)


def every_request():
    residencies, labels = (("JP",), ("anywhere",), HOME_AND_ANYWHERE), ((), ("jp.my_number",))
    for data_class, role, place, residency in itertools.product(CLASSES[1:3], ("caller", "x"), (0, 1), residencies):
        yield decision_input(
            data_class=data_class,
            principal=PrincipalInput("key-1", "default", (role,)),
            residency=residency,
            labels_raw=labels[place],
            labels_redacted=labels[1 - place],
        )


def random_layers(random):
    """Some of the lower permits say what one above says, and more, in other words."""
    said = []

    def condition(permits):
        one, other = (random.choice(("", "!")) + f"({atom})" for atom in random.sample(ATOMS, 2))
        chosen = random.choice((one, one, f"{one} && {other}", f"{one} || {other}"))
        if permits and said and random.random() < 0.6:
            chosen = f"!(!({random.choice(said)}) || {one})"
        if permits:
            said.append(chosen)
        return f"when {{ {chosen} }};"

    def policy(permits):
        if not permits:
            return random.choice(("", '@enforce("always") ')) + f"{FORBID} {condition(permits)}"
        action = random.choice((BOTH, BOTH, 'action == Action::"sendRaw"'))
        return f"permit (principal, {action}, resource) {condition(permits)}"

    found = {
        layer: [policy(permits) for permits in random.choices((True, True, False), k=random.randrange(1, 4))]
        for layer in LAYERS
    }
    found[LAYERS[-1]].append(policy(True))  # without any permit there would be nothing to decide
    return found


def permitted(parts, layers, *, forbids):
    """What the engine permits by these layers alone. `forbids`: which of theirs count, "none", "for good" or "all"."""

    def counts(row):
        kept = row["effect"] == "permit" or forbids == "all" or (forbids == "for good" and "enforce" in row)
        return kept and row["id"].partition(".")[0] in layers

    rows = [row for row in canonical.decode(parts.policies)["policies"] if counts(row)]
    some = dataclasses.replace(parts, policies=canonical.encode({"policies": rows}))
    decider = CedarDecider(some, snapshot=DIGEST, epoch_from=0, compiled=False)
    return {
        (number, verdict.action, verdict.deployment)
        for number, asked in enumerate(every_request())
        for verdict in decider.decide(asked).verdicts
        if verdict.permitted
    }


def require_agreement(seed):
    """For each layer that a frame is set for: whether it is told to loosen."""
    texts = random_layers(random.Random(seed))
    parts = parts_of(jurisdictions=("JP",), deployments=tuple(every_deployment()), **texts)
    told = {one.key.partition(", ")[2].partition(".")[0] for one in tightening_mistakes(parts, LAYERS)}
    loosens = []
    for above, layer in ((LAYERS[:1], "ministry"), (LAYERS[:2], "organisation")):
        if not any(text.startswith("permit") for name in above for text in texts[name]):
            assert layer not in told, (seed, texts)
            continue
        # Exemptions can take away every forbid that is not for good.
        lifted = permitted(parts, (*above, layer), forbids="for good")
        assert (layer in told) == (not lifted <= permitted(parts, above, forbids="none")), (seed, layer, texts)
        if layer not in told:
            whole = permitted(parts, (*above, layer), forbids="all")
            assert whole <= permitted(parts, above, forbids="all"), (seed, layer, texts)
        loosens.append(layer in told)
    return loosens


def test_the_search_agrees_with_the_engine_over_every_case():
    assert {one for seed in range(4) for one in require_agreement(seed)} == {True, False}


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1_000, 1_200))
def test_the_search_agrees_with_the_engine_over_every_case_of_many_policies(seed):
    require_agreement(seed)
