"""Reading cases: every mistake in them at once, and what a case that comes out otherwise shows."""

import dataclasses
import re

import pytest

from sekisho.app.inspecting import labels_that_ship
from sekisho.policy import pack_cases
from sekisho.policy.engine import engine_only
from sekisho.policy.errors import PackMistakes
from sekisho.policy.interfaces import NO_RESIDENCY
from sekisho.policy.pack_cases import PackTrial
from sekisho.policy.packs import load_pack, with_foundations

LABELS = labels_that_ship()
GOOD = """
home = ["JP"]
[usual.request]
class = "internal"
residency = ["JP"]
[usual.deployment]
type = "openai-compatible"
facts = { processing = ["JP"], storage = "unknown" }
[[cases]]
title = "t"
title_ja = "題"
expect = "raw"
"""


@pytest.fixture
def trial(monkeypatch):
    """The trial of jp-residency with other cases."""

    def make(cases):
        pack = dataclasses.replace(load_pack("jp-residency"), cases=cases)
        monkeypatch.setattr(pack_cases, "with_foundations", lambda name: (pack,))
        return PackTrial("jp-residency", LABELS)

    return make


def more(case):
    return f"{GOOD}[[cases]]\ntitle = 'u'\ntitle_ja = '題'\n{case}\n"


def outcome(trial, case):
    *_, result = trial(more(case)).results()
    return result.agrees, result.outcome, result.by


@pytest.mark.parametrize(
    ("case", "found"),
    [
        ("expect = 'raw'", (True, "raw", ())),
        ("expect = 'redacted'", (False, "raw", ())),
        ("expect = 'denied'\nby = []\nrequest = { roles = ['auditor'] }", (True, "denied", ())),
        ("expect = 'denied'\nby = ['x']\nrequest = { roles = ['auditor'] }", (False, "denied", ())),
        (
            "expect = 'denied'\nby = ['jp-residency.storage']\nrequest = { class = 'restricted' }",
            (True, "denied", ("jp-residency.storage",)),
        ),
        # Fact by fact: what a case doesn't say of the deployment stays as usual.
        ("expect = 'raw'\nrequest = { class = 'restricted' }\ndeployment.facts.storage = 'JP'", (True, "raw", ())),
        (
            "expect = 'redacted'\nrequest = { labels = ['secret.api_key', 'email'], left = ['email'] }",
            (True, "redacted", ("jp-residency.api-key",)),
        ),
        # What a rule of staleness would read.
        ("expect = 'raw'\nrequest = { staleness = { policy_days = 3 } }", (True, "raw", ())),
        ("ask = 'keep'\nexpect = 'kept'", (True, "kept", ())),
        ("ask = 'keep'\nexpect = 'kept'\nrequest = { labels = ['secret.api_key'] }", (False, "denied", ())),
        ("ask = 'answer'\nlabel = 'email'\nexpect = 'given'", (True, "given", ())),
        ("ask = 'answer'\nlabel = 'email'\nexpect = 'masked'\nby = []", (False, "given", ())),
    ],
)  # fmt: skip
def test_a_case_is_decided_and_held_against_what_it_says(trial, case, found):
    assert outcome(trial, case) == found


def test_a_decision_that_fails_is_undecided_and_never_as_expected(trial):
    """Residencies that nothing is left of deny with an error, and no case means that."""
    made = trial(more("expect = 'denied'\nby = []"))
    case = made.cases[-1]
    nowhere = dataclasses.replace(case, asked=case.asked._replace(residency=()))
    result = made.result(nowhere, engine_only(made.parts, snapshot="0" * 64, epoch_from=0))
    assert (result.agrees, result.outcome, result.errors) == (False, "undecided", (NO_RESIDENCY,))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace('home = ["JP"]', ""), "home: is missing"),
        (GOOD.replace('home = ["JP"]', 'home = ["JPN"]'), "'JPN' is not a known jurisdiction"),
        (GOOD.partition("[[cases]]")[0], "cases: are missing"),
        (GOOD.replace('title_ja = "題"', ""), "cases[0].title_ja: is missing"),
        (GOOD.replace('"raw"', '"sent"'), "'sent' is not what becomes of it"),
        (GOOD.replace('"raw"', '"denied"'), "cases[0].by: is missing"),
        (GOOD.replace("class =", "klass ="), "klass: is not a known key"),
        (GOOD.replace('"internal"', '"secret"'), "'secret' is not a class"),
        (GOOD.replace("storage", "storing"), "storing: is not a known key"),
        (GOOD.replace("openai-compatible", "azure"), "'azure' is not a deployment type"),
        (GOOD.replace('"unknown"', '["XX"]'), "'XX' is not a known jurisdiction"),
        (more("ask = 'answer'\nexpect = 'given'"), "cases[1].label: is missing"),
        (more("ask = 'retain'\nexpect = 'kept'"), "'retain' is not what is asked"),
        (more("expect = 'raw'\nrequest = { labels = ['email'], left = ['email'] }"), "left: is not less"),
        (more("expect = 'raw'\nrequest = { labels = ['jp.mynumber'] }"), "Did you mean 'jp.my_number'?"),
        (more("ask = 'answer'\nexpect = 'given'\nlabel = 'jp.mynumber'"), "Did you mean 'jp.my_number'?"),
        (more("expect = 'raw'\nrequest = { staleness = { days = 3 } }"), "days: is not a known key"),
        (more("ask = 'keep'\nexpect = 'denied'\nby = []"), "by: is not a known key"),
        (more("expect = 'raw'\nlabel = 'email'"), "label: is not a known key"),
        (more("expect = 'raw'\nremark = 'x'"), "remark: is not a known key"),
        (more("expect = 'raw'\nrequest = 3"), "request: is not a table"),
        (GOOD.replace('facts = { processing = ["JP"], storage = "unknown" }', "facts = 3"), "facts: is not a table"),
        ("home = ['JP'", "is not TOML"),
    ],
)  # fmt: skip
def test_what_can_t_be_read_is_named_with_what_would_be_right(trial, text, says):
    with pytest.raises(PackMistakes, match=re.escape(says)):
        trial(text)


def test_foundations_come_first_and_once():
    assert [pack.name for pack in with_foundations("jp-finance")] == ["jp-residency", "jp-finance"]
    with pytest.raises(KeyError):
        with_foundations("jp-nothing")
