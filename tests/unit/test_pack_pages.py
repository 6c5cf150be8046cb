"""Each pack has a page in both languages, which tells of each of its rules and how to switch it on."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from sekisho.app.inspecting import labels_that_ship
from sekisho.assurance.prove import HOLDS, Prover
from sekisho.assurance.statements import read_statement, vocabulary
from sekisho.catalog.facts import deployment_facts, provider_facts
from sekisho.catalog.jurisdictions import ISO_3166_1
from sekisho.catalog.table import Table
from sekisho.policy import pack_cases
from sekisho.policy.check import compile_policies
from sekisho.policy.pack_cases import DENIED, OUTCOMES, PackTrial
from sekisho.policy.packs import load_pack, pack_names, with_foundations
from sekisho.policy.schema import deployment_attributes
from support_decide import DIGEST, catalogue, deployment

PAGES = Path(__file__).parents[2] / "docs" / "packs"
ENDINGS = (".md", ".ja.md")
EVERY_PAGE = [(name, ending) for name in pack_names() for ending in ENDINGS]
RULE = re.compile(r"^\| `([a-z0-9.-]+\.[a-z0-9-]+)` \| .{4,} \| .{2,} \|$", re.MULTILINE)
BLOCK = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)
PROVED = re.compile(r'sekisho prove "([^"]+)"')
READ = re.compile(r"resource\.([a-z_]+)")


def text_of(name, ending):
    return (PAGES / f"{name}{ending}").read_text(encoding="utf-8")


def test_packs_and_pages_are_the_same():
    expected = {f"{name}{ending}" for name in (*pack_names(), "README") for ending in ENDINGS}
    assert {path.name for path in PAGES.iterdir()} == expected
    for ending in ENDINGS:
        index = text_of("README", ending)
        assert all(f"| [{name}]({name}{ending}) |" in index for name in pack_names())


@pytest.mark.parametrize(("name", "ending"), EVERY_PAGE)
def test_a_page_tells_of_every_rule_once(name, ending):
    rules = [rule.id for rule in PackTrial(name, labels_that_ship()).rules]
    assert RULE.findall(text_of(name, ending)) == rules


@pytest.mark.parametrize(("name", "ending"), EVERY_PAGE)
def test_a_page_names_every_fact_that_the_pack_reads(name, ending):
    text = text_of(name, ending)
    read = {word for source in load_pack(name).sources for word in READ.findall(source.text)}
    assert read <= set(deployment_attributes())
    for fact in {word.removesuffix("_grade") for word in read}:
        assert f"`{fact}`" in text, fact


@pytest.mark.parametrize(("name", "ending"), EVERY_PAGE)
def test_the_facts_that_a_page_declares_can_be_declared(name, ending):
    for block in BLOCK.findall(text_of(name, ending)):
        mistakes = []
        declared = Table(tomllib.loads(block).get("facts", {}), "", mistakes)
        read = deployment_facts if block.startswith("# declarations/deployments/") else provider_facts
        read(declared, tuple(ISO_3166_1))
        declared.finish()
        assert mistakes == []


@pytest.mark.parametrize("name", pack_names())
def test_what_a_page_says_can_be_proved_holds_whatever_is_declared(name):
    english, japanese = (PROVED.findall(text_of(name, ending)) for ending in ENDINGS)
    assert english == japanese
    packs = [pack.name for pack in with_foundations(name)]
    found = catalogue(deployment(), packs=tuple(dict.fromkeys(("jp-residency", *packs))))  # one that permits
    parts = compile_policies(found, (), labels_that_ship())
    prover = Prover(parts, found, snapshot=DIGEST, now_us=0)
    for statement in english:
        read = read_statement(statement, vocabulary(found, prover.world.names))
        assert prover.prove_of_anything(read).outcome == HOLDS, statement


def test_a_statement_that_no_pack_keeps_does_not_hold():
    """What the test above would notice."""
    found = catalogue(deployment())
    prover = Prover(compile_policies(found, (), labels_that_ship()), found, snapshot=DIGEST, now_us=0)
    read = read_statement("no data to tenancy is shared", vocabulary(found, prover.world.names))
    assert prover.prove_of_anything(read).outcome != HOLDS


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_case_in_the_index_comes_out_as_it_says(ending, monkeypatch):
    [cases] = [block for block in BLOCK.findall(text_of("README", ending)) if "[[cases]]" in block]
    pack = dataclasses.replace(load_pack("jp-residency"), cases=cases)
    monkeypatch.setattr(pack_cases, "with_foundations", lambda name: (pack,))
    assert [result.agrees for result in PackTrial("jp-residency", labels_that_ship()).results()] == [True]


@pytest.mark.parametrize(("name", "ending"), EVERY_PAGE)
def test_a_page_says_how_to_switch_it_on_and_that_it_is_no_legal_advice(name, ending):
    text, pack = text_of(name, ending), load_pack(name)
    listed = ", ".join(f'"{one}"' for one in (*pack.builds_on, name))
    assert f"packs = [{listed}]" in text
    assert ("not legal advice" if ending == ".md" else "法的助言ではありません") in text
    assert (pack.title if ending == ".md" else pack.title_ja) in text.splitlines()[0]


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_index_tells_every_outcome_of_a_case(ending):
    for ask, outcomes in OUTCOMES.items():
        row = next(line for line in text_of("README", ending).splitlines() if line.startswith(f"| `{ask}`"))
        assert all(f"`{outcome}`" in row for outcome in (*outcomes, *((DENIED,) if ask != "answer" else ())))
