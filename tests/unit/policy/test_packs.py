"""Every pack that ships: its cases come out as it says, and they notice whatever could happen to its policies."""

import dataclasses
import functools
import re

import cedarpy
import pytest

from policy_mutants import mutants, split, taken_apart
from sekisho.app.inspecting import labels_that_ship
from sekisho.kernel import canonical
from sekisho.policy.engine import engine_only
from sekisho.policy.pack_cases import ANSWER, KEEP, UNDECIDED, PackTrial
from sekisho.policy.packs import load_pack, pack_names

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
        cases = nearest_first(trial, row["id"])
        for done, text in mutants(row["text"]):
            decider = engine_only(changed(trial.parts, index, text), snapshot="0" * 64, epoch_from=0)
            if all(trial.result(case, decider).agrees for case in cases):
                survivors.append(f"{row['id']}: {done}")
    assert survivors == []


def nearest_first(trial, identifier):
    """Most mutants fail one of the cases that name the policy: then the others need not be asked."""
    return sorted(trial.cases, key=lambda case: identifier not in (case.by or ()) and case.ask not in (KEEP, ANSWER))


def changed(parts, index, text):
    part = canonical.decode(parts.policies)
    row = part["policies"][index]
    if text:
        row["text"] = text
        assert cedarpy.policies_to_pst(text), text
    else:
        # Not taken out, so that the others keep their numbers: it never matches.
        row["text"] = "forbid (principal, action, resource) when { false };"
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
def test_no_case_rests_on_an_error(name):
    assert [result.errors for result in trial_of(name).results() if result.outcome == UNDECIDED] == []
