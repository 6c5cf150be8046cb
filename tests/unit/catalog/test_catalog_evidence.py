"""The table of methods and grades: the page shows what the code uses, and declarations are held to it."""

import re
from pathlib import Path

import pytest

from sekisho.catalog.evidence import EVERY_FACT, METHODS, NOBODY, PEOPLE, PROBE
from sekisho.catalog.facts import deployment_facts
from sekisho.catalog.interfaces import JURISDICTION_FACTS, WORD_FACTS, Grade
from sekisho.catalog.observations import methods_of
from sekisho.catalog.places import EXTENTS
from sekisho.catalog.table import Table
from sekisho.cli.probe import METHODS as OFFERED
from support_decide import JURISDICTIONS, deployment

DOCS = Path(__file__).parents[3] / "docs"
ROW = re.compile(r"^\| `([a-z-]+)` \| (\S+) \| (\S+) \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
WORDS = {
    "facts.md": ({PEOPLE: "people", PROBE: "probe", NOBODY: "nobody"}, "every fact", ", "),
    "facts.ja.md": ({PEOPLE: "人", PROBE: "調査", NOBODY: "なし"}, "すべて", "、"),
}


@pytest.mark.parametrize("page", WORDS)
def test_the_page_shows_the_table_that_is_used(page):
    by, every, comma = WORDS[page]

    def facts(names):
        if not names:
            return "–"
        return every if names == EVERY_FACT else comma.join(f"`{name}`" for name in names)

    expected = [
        (
            one.name,
            by[one.by],
            "–" if one.earns is Grade.UNKNOWN else one.earns.name.lower(),
            facts(one.facts),
            facts(one.contradicts),
        )
        for one in METHODS
    ]
    assert ROW.findall((DOCS / page).read_text()) == expected


@pytest.mark.parametrize("page", WORDS)
def test_the_page_names_the_jurisdictions_whose_places_are_known(page):
    assert WORDS[page][2].join(sorted(EXTENTS)) in (DOCS / page).read_text()


def test_every_fact_and_every_probe_is_in_it():
    assert set(EVERY_FACT) == {*JURISDICTION_FACTS, *WORD_FACTS}
    probes = {one.name for one in METHODS if one.by == PROBE}
    assert set(OFFERED) == probes
    assert set(methods_of(deployment())) < probes


def read(**fact):
    mistakes = []
    table = Table({"storage": fact}, "deployments/x.toml", mistakes)
    facts = deployment_facts(table, JURISDICTIONS)
    return facts["storage"], mistakes


BASE = {"value": ["JP"], "source": "s", "observed_at": "2026-11-02"}


@pytest.mark.parametrize(
    ("grade", "method"),
    [
        ("declared", "statement"), ("declared", "contract"), ("contractual", "contract"), ("contractual", "inspection"),
        ("observed", "inspection"),
    ],
)  # fmt: skip
def test_a_fact_may_name_how_it_was_learned(grade, method):
    fact, mistakes = read(**BASE, grade=grade, method=method)
    assert mistakes == []
    assert fact.grade.name.lower() == grade


@pytest.mark.parametrize(
    ("grade", "method", "problem"),
    [
        ("contractual", "statement", "more than the method 'statement' earns"),
        ("observed", "contract", "more than the method 'contract' earns"),
        ("observed", "management-api", "is what a probe does"),
        ("observed", "light-answer", "is what a probe does"),
        ("observed", "attestation", "no verifier"),
        ("observed", "hearsay", "is not a method"),
        ("attested", "attestation", "'attested' can't be used"),
        ("attested", None, "'attested' can't be used"),
    ],
)
def test_no_grade_is_had_by_asking_for_it(grade, method, problem):
    _, mistakes = read(**BASE, grade=grade, **({} if method is None else {"method": method}))
    assert any(problem in one.problem for one in mistakes), mistakes
    assert all(one.remedy for one in mistakes)
