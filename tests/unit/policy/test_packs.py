"""Every pack that ships: its cases come out as it says, and they notice whatever could happen to its policies."""

import dataclasses
import functools
import re

import cedarpy
import pytest

from policy_mutants import mutants, split, taken_apart
from sekisho.app.inspecting import labels_that_ship
from sekisho.kernel import canonical
from sekisho.policy.engine import CedarDecider, engine_only
from sekisho.policy.pack_cases import SEND, UNDECIDED, PackTrial
from sekisho.policy.packs import load_pack, pack_names

NO_SNAPSHOT = "0" * 64
LABELS = labels_that_ship()
JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")


@functools.cache
def trial_of(name):
    """Compiled once for all tests of this file."""
    return PackTrial(name, LABELS)


def own_rows(trial):
    """(index, row) of the pack's own policies."""
    rows = canonical.decode(trial.parts.policies)["policies"]
    return [(index, row) for index, row in enumerate(rows) if row["file"].startswith(f"packs/{trial.pack.name}/")]


@pytest.mark.parametrize("name", pack_names())
def test_every_case_comes_out_as_it_says(name):
    differing = [result for result in trial_of(name).results() if not result.agrees]
    assert [(one.case.title, one.outcome, one.by, one.errors) for one in differing] == []


@pytest.mark.parametrize("name", pack_names())
def test_the_cases_notice_every_mutant(name):
    trial = trial_of(name)
    survivors = []
    for index, row in own_rows(trial):
        near = [case for case in trial.cases if row["id"] in (case.by or ()) or case.ask != SEND]
        others = [case for case in trial.cases if case not in near]
        near_alone, others_alone = alone(trial.parts, near), alone(trial.parts, others)
        for done, text in mutants(row["text"]):
            if is_refused(text):
                continue
            # Most fail one of the cases that name the policy: then the others need not be asked.
            mutant = changed(trial.parts, index, text)
            asked = ((near, near_alone), (others, others_alone))
            if all(agree(trial, cases, dataclasses.replace(mutant, entities=entities)) for cases, entities in asked):
                survivors.append(f"{row['id']}: {done}")
    assert survivors == []


def agree(trial, cases, parts):
    decider = engine_only(parts, snapshot=NO_SNAPSHOT, epoch_from=0)
    return all(trial.result(case, decider).agrees for case in cases)


def alone(parts, cases):
    """The entities that these cases need, which is what takes the time."""
    part = canonical.decode(parts.entities)
    named = {case.asked.model for case in cases}
    return canonical.encode(part | {"models": {name: part["models"][name] for name in named}})


def is_refused(text):
    """What reads the label of a value in an answer can't be about other actions: `check` refuses that mutant."""
    return "context.label ==" in text and "relayRaw" not in text


def changed(parts, index, text):
    part = canonical.decode(parts.policies)
    # A policy is not taken out, so that the others keep their numbers: it never matches.
    text = text or "forbid (principal, action, resource) when { false };"
    (policy,) = cedarpy.policies_to_pst(text).static_policies.values()
    part["policies"][index] |= {"text": text, "effect": policy.effect}
    return dataclasses.replace(parts, policies=canonical.encode(part))


@pytest.mark.parametrize("name", pack_names())
def test_a_pack_says_in_two_languages_what_it_is_about(name):
    pack = load_pack(name)
    for english, japanese in (
        (pack.title, pack.title_ja),
        (pack.description, pack.description_ja),
        *((case.title, case.title_ja) for case in trial_of(name).cases),
        *((row["title"], row["title_ja"]) for _, row in own_rows(trial_of(name))),
    ):
        assert not JAPANESE.search(english)
        assert JAPANESE.search(japanese), japanese
    titles = [case.title for case in trial_of(name).cases]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("name", pack_names())
def test_policies_are_named_for_their_pack_and_forbids_give_one_reason_each(name):
    """A forbid names what it is about, so that a denial says one thing: no `or` in a when, no `and` in an unless."""
    for _, row in own_rows(trial_of(name)):
        assert row["id"].startswith(f"{name}.")
        assert row["effect"] == "forbid" or not load_pack(name).builds_on
        for kind, body in taken_apart(row["text"])[3] if row["effect"] == "forbid" else ():
            assert len(split(body, "||" if kind == "when" else "&&")) == 1, row["id"]


@pytest.mark.parametrize("name", pack_names())
def test_the_compiled_form_decides_packs_and_says_the_same(name):
    """Else each request would wait for the engine."""
    trial = trial_of(name)
    decider = CedarDecider(trial.parts, snapshot=NO_SNAPSHOT, epoch_from=0)
    assert all(trial.result(case, decider).agrees for case in trial.cases)
    assert decider.compiles


@pytest.mark.parametrize("name", pack_names())
def test_no_case_rests_on_an_error(name):
    assert [result.errors for result in trial_of(name).results() if result.outcome == UNDECIDED] == []
