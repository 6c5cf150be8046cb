"""Each pack has a page in both languages, which tells of each of its rules and how to switch it on."""

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from sekisho.app.inspecting import labels_that_ship
from sekisho.catalog.facts import provider_facts
from sekisho.catalog.table import Table
from sekisho.policy import pack_cases
from sekisho.policy.pack_cases import DENIED, OUTCOMES, PackTrial
from sekisho.policy.packs import load_pack, pack_names
from sekisho.policy.schema import deployment_attributes

PAGES = Path(__file__).parents[2] / "docs" / "packs"
ENDINGS = (".md", ".ja.md")
EVERY_PAGE = [(name, ending) for name in pack_names() for ending in ENDINGS]
RULE = re.compile(r"^\| `([a-z0-9.-]+\.[a-z0-9-]+)` \| .{4,} \| .{2,} \|$", re.MULTILINE)
BLOCK = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)
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
        declared = Table(tomllib.loads(block).get("facts", {}), "providers/NAME.toml", mistakes)
        provider_facts(declared, ("JP", "SG", "US"))
        declared.finish()
        assert mistakes == []


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
