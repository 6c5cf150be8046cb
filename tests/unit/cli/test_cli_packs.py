"""`sekisho packs`: what it tells people and programs, and what it says when a case differs."""

import dataclasses
import json

import pytest

from sekisho.cli.main import main
from sekisho.policy import pack_cases
from sekisho.policy.packs import load_pack, pack_names


def run(capsys, *words, status=0):
    assert main(["packs", *words]) == status
    return capsys.readouterr()


def test_list_names_every_pack(capsys):
    lines = run(capsys, "list", "--language", "en").out.splitlines()
    assert [line.split()[0] for line in lines] == list(pack_names())
    assert all("rules, " in line and line.endswith(" cases)") for line in lines)


@pytest.mark.parametrize(("language", "title", "denied"), [("en", "title", "denied"), ("ja", "title_ja", "拒否")])
def test_show_tells_rules_and_cases_in_the_language_asked_for(capsys, language, title, denied):
    [pack] = [json.loads(run(capsys, "show", "jp-my-number", "--json").out)]
    shown = run(capsys, "show", "jp-my-number", "--language", language).out
    assert '["jp-residency", "jp-my-number"]\n' in shown
    for told in (*pack["rules"], *pack["cases"]):
        assert told[title] in shown
    assert f"→ {denied}: jp-my-number.handler\n" in shown
    assert all(case["outcome"] is None for case in pack["cases"])


def test_show_policies_prints_the_text_itself(capsys):
    sources = {source.file: source.text for source in load_pack("jp-residency").sources}
    assert run(capsys, "show", "jp-residency", "--policies").out == "\n".join(sources.values())
    assert json.loads(run(capsys, "show", "jp-residency", "--policies", "--json").out) == sources


def test_check_decides_the_cases_of_every_pack(capsys):
    lines = run(capsys, "check", "--language", "en").out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(pack_names())
    told = json.loads(run(capsys, "check", "jp-my-number", "--json").out)
    assert all(case["agrees"] and case["outcome"] == case["expect"] for case in told[0]["cases"])


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", ("1 of 27 cases differ", "expected: sent as it is", "found:    denied: jp-residency.processing")),
        ("ja", ("27 ケース中 1 ケースが異なります", "記載：原文のまま送信", "結果：拒否: jp-residency.processing")),
    ],
)
def test_a_case_that_differs_is_told_and_fails(capsys, monkeypatch, language, told):
    pack = load_pack("jp-residency")
    was = '["US"] } }\nexpect = "denied"\nby = ["jp-residency.processing"]'
    assert was in pack.cases
    wrong = dataclasses.replace(pack, cases=pack.cases.replace(was, '["US"] } }\nexpect = "raw"', 1))
    monkeypatch.setattr(pack_cases, "with_foundations", lambda name: (wrong,))
    shown = run(capsys, "check", "jp-residency", "--language", language, status=1).out
    assert all(words in shown for words in told)


def test_a_pack_that_does_not_ship_is_named_with_those_that_do(capsys):
    shown = run(capsys, "show", "jp-nothing", status=2).err
    assert "'jp-nothing' is not a pack" in shown
    assert "jp-residency" in shown
