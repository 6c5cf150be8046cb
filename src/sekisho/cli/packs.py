"""`sekisho packs`: the policy packs that ship, what is in them, and whether their cases come out as they say."""

import argparse
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from sekisho.cli.explain import ENGLISH, JAPANESE, language_of
from sekisho.kernel.errors import UsageError

if TYPE_CHECKING:
    from sekisho.policy.pack_cases import PackTrial

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "builds_on": ("builds on: {names}", "前提とするパック：{names}"),
    "switch_on": ("in boundary.toml, packs holds: {packs}", "boundary.toml の packs に書く名前：{packs}"),
    "rules": ("Rules", "規則"),
    "cases": ("Cases", "ケース"),
    "permit": ("permits", "許可"),
    "forbid": ("forbids", "禁止"),
    "counts": ("{rules} rules, {cases} cases", "規則 {rules}、ケース {cases}"),
    "none_of_ours": ("no rule of this pack", "このパックの規則ではない"),
    "raw": ("sent as it is", "原文のまま送信"),
    "redacted": ("sent with sensitive values masked", "機微な値を伏せて送信"),
    "denied": ("denied", "拒否"),
    "kept": ("may be kept", "保存可"),
    "given": ("given to the caller", "利用者に渡す"),
    "masked": ("masked in the answer", "回答で伏せる"),
    "undecided": ("could not be decided", "判定できません"),
    "as_expected": ("{name}: all {cases} cases come out as they say", "{name}：{cases} ケースすべて記載どおり"),
    "differ": ("{name}: {differ} of {cases} cases differ", "{name}：{cases} ケース中 {differ} ケースが異なります"),
    "expected": ("expected: {what}", "記載：{what}"),
    "found": ("found:    {what}", "結果：{what}"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The policy packs that ship. boundary.toml names those in force. Each has cases: requests that people can\n"
        "read, with what must become of them; `check` has the policy engine decide them here and now."
    )
    parser.epilog = "exit status: 0 done, all cases as they say; 1 a case differs; 2 wrong usage"
    acts = parser.add_subparsers(dest="act", required=True, metavar="list|show|check")
    listed = acts.add_parser("list", help="the packs, with their numbers of rules and cases")
    shown = acts.add_parser("show", help="what a pack is about, its rules and its cases")
    shown.add_argument("name", metavar="NAME", help="the pack")
    shown.add_argument("--policies", action="store_true", help="print its policies as they are written, and no more")
    checked = acts.add_parser("check", help="decide the cases of a pack, or of all")
    checked.add_argument("name", metavar="NAME", nargs="?", help="the pack (default: each)")
    for act in (listed, shown, checked):
        act.add_argument("--json", action="store_true", help="print it as JSON")
        act.add_argument("--language", choices=(ENGLISH, JAPANESE), help="of the text; default: from the environment")


def run(arguments: argparse.Namespace) -> int:
    from sekisho.app.inspecting import labels_that_ship  # the server's dependencies, loaded when they are needed
    from sekisho.policy.pack_cases import PackTrial
    from sekisho.policy.packs import pack_names

    names = pack_names()
    wanted = getattr(arguments, "name", None)
    if wanted is not None and wanted not in names:
        raise UsageError(f"{wanted!r} is not a pack", remedy=f"Packs that ship are: {', '.join(names)}")
    labels = labels_that_ship()
    trials = [PackTrial(name, labels) for name in ((wanted,) if wanted is not None else names)]
    if arguments.act == "show" and arguments.policies:
        files = {source.file: source.text for source in trials[0].pack.sources}
        print(json.dumps(files, indent=2, ensure_ascii=False) if arguments.json else "\n".join(files.values()).rstrip())
        return 0
    found = [_as_object(trial, decide=arguments.act == "check") for trial in trials]
    if arguments.json:
        print(json.dumps(found[0] if arguments.act == "show" else found, indent=2, ensure_ascii=False))
    else:
        ending = "_ja" if (arguments.language or language_of(os.environ)) == JAPANESE else ""
        words = {name: pair[1 if ending else 0] for name, pair in _WORDS.items()}
        tell = {"list": _listed, "show": _shown, "check": _checked}[arguments.act]
        print("\n".join(line for pack in found for line in tell(pack, words, ending)))
    return 1 if any(case["agrees"] is False for pack in found for case in pack["cases"]) else 0


def _as_object(trial: "PackTrial", *, decide: bool) -> dict[str, Any]:
    """What `--json` prints of a pack; without `decide` nothing is known of what becomes of its cases."""
    pack = trial.pack
    results = tuple(trial.results()) if decide else (None,) * len(trial.cases)
    return {
        "name": pack.name,
        "title": pack.title,
        "title_ja": pack.title_ja,
        "description": pack.description.strip(),
        "description_ja": pack.description_ja.strip(),
        "builds_on": list(pack.builds_on),
        "rules": [
            {"id": rule.id, "effect": rule.effect, "title": rule.title, "title_ja": rule.title_ja}
            for rule in trial.rules
        ],
        "cases": [
            {
                "title": case.title,
                "title_ja": case.title_ja,
                "expect": case.expect,
                "by": None if case.by is None else list(case.by),
                "outcome": None if result is None else result.outcome,
                "outcome_by": None if result is None else list(result.by),
                "errors": [] if result is None else list(result.errors),
                "agrees": None if result is None else result.agrees,
            }
            for case, result in zip(trial.cases, results, strict=True)
        ],
    }


def _listed(pack: dict[str, Any], words: Mapping[str, str], ending: str) -> list[str]:
    counts = words["counts"].format(rules=len(pack["rules"]), cases=len(pack["cases"]))
    return [f"{pack['name']:<28} {pack['title' + ending]} ({counts})"]


def _shown(pack: dict[str, Any], words: Mapping[str, str], ending: str) -> list[str]:
    lines = [f"{pack['name']}: {pack['title' + ending]}", "", pack["description" + ending], ""]
    if pack["builds_on"]:
        lines.append(words["builds_on"].format(names=", ".join(pack["builds_on"])))
    lines.append(words["switch_on"].format(packs=json.dumps([*pack["builds_on"], pack["name"]])))
    lines += ["", f"{words['rules']}:"]
    for rule in pack["rules"]:
        lines += [f"  {rule['id']} ({words[rule['effect']]})", f"    {rule['title' + ending]}"]
    lines += ["", f"{words['cases']}:"]
    for case in pack["cases"]:
        lines += [f"  {case['title' + ending]}", f"    → {_told(case['expect'], case['by'], words)}"]
    return lines


def _checked(pack: dict[str, Any], words: Mapping[str, str], ending: str) -> list[str]:
    differing = [case for case in pack["cases"] if not case["agrees"]]
    word = "differ" if differing else "as_expected"
    lines = [words[word].format(name=pack["name"], cases=len(pack["cases"]), differ=len(differing))]
    for case in differing:
        found = _told(case["outcome"], case["outcome_by"], words)
        lines += [
            f"  {case['title' + ending]}",
            f"    {words['expected'].format(what=_told(case['expect'], case['by'], words))}",
            f"    {words['found'].format(what='; '.join([found, *case['errors']]))}",
        ]
    return lines


def _told(outcome: str, by: list[str] | None, words: Mapping[str, str]) -> str:
    if by is None or (not by and outcome != "denied"):
        return words[outcome]
    return f"{words[outcome]}: {', '.join(by) or words['none_of_ours']}"
