"""`sekisho prove`: whether the policies keep a statement, over every case that they can tell apart."""

import argparse
import json
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from sekisho.cli.explain import ENGLISH, JAPANESE, language_of
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory, load_settings

EXIT_FAILS: Final = 3
EXIT_OPEN: Final = 4
_EXITS: Final = {"holds": 0, "fails": EXIT_FAILS, "undecided": EXIT_OPEN, "too_many": EXIT_OPEN}
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "holds": ("HOLDS: {cases} cases, none of which is permitted", "成立：{cases} 通りのすべてが許可されません"),
    "fails": ("DOES NOT HOLD: there is a case that is permitted", "不成立：許可される場合があります"),
    "undecided": ("UNDECIDED: {obstacles}", "判定できません：{obstacles}"),
    "too_many": ("NOT DECIDED: {why}", "判定できません：{why}"),
    "obstacle": ("{policy} uses {why}, which can't be enumerated", "{policy} は列挙できない式を使っています（{why}）"),
    "left_out": (
        "not counted on: {obstacles}",
        "判定に使っていないもの：{obstacles}",
    ),
    "holds_anywhere": (
        "HOLDS for every deployment that could be declared: no case is permitted",
        "登録し得るすべての配備先について成立：許可される場合はありません",
    ),
    "no_deployment": (
        "none of the deployments declared is of this kind",
        "登録された配備先に該当するものはありません",
    ),
    "vacuous": (
        "no request that can come is of this kind: is the statement what you mean?",
        "該当するリクエストは届き得ません。文の意味を確かめてください",
    ),
    "deployments": (
        "deployments: {deployments} declared; {kinds} kinds told apart, now and as facts end; {about} in question",
        "配備先：登録 {deployments}、区別できるもの {kinds} 種類（現在と、事実の期限後）、対象 {about} 種類",
    ),
    "reads": ("cases differ in: {reads}", "場合を分けるもの：{reads}"),
    "monitored": (
        "not enforced while in monitor mode: {names}",
        "監視モードのため、実際には通過する組織：{names}",
    ),
    "exempt": ("proved without these exemptions: {names}", "次の適用除外がないものとして証明：{names}"),
    "to": ("to: {deployment} (model {model}; {alike} alike)", "送信先：{deployment}（モデル {model}、同種 {alike}）"),
    "to_any": ("to: a deployment that could be declared, with {facts}", "送信先：登録し得る配備先（{facts}）"),
    "from": ("from: {organisation}, roles: {roles}", "利用者：{organisation}、役割：{roles}"),
    "principal": ("principal: {principal}", "利用者の識別子：{principal}"),
    "data": (
        "data: class {data_class}, residency {residency}, labels {labels}",
        "データ：区分 {data_class}、処理できる国・地域 {residency}、ラベル {labels}",
    ),
    "left": ("sent redacted, with these labels left: {left}", "伏せて送信。残るラベル：{left}"),
    "ages": ("when older than usual, in days: {ages}", "経過日数：{ages}"),
    "at": ("from {at} on, when a fact has ended", "{at} 以降（事実の期限後）"),
    "permits": ("permitted by: {permits}", "許可する規則：{permits}"),
    "see": ("see: {command}", "確認：{command}"),
    "none": ("none", "なし"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = (
        "Say whether policies keep a statement. Every case that the policies can tell apart is enumerated: either\n"
        "none of them is permitted, or one that is gets printed, with the command that explains it. Nothing needs to\n"
        "run.\n\n"
        "  no DATA [from WHO] [to WHERE]      each of them terms joined by `and`, any of them after `not`\n"
        "  DATA   data (any)  class:NAME  class:NAME+ (or higher)  label:NAME  residency within|outside PLACES\n"
        "         raw  redacted  policy older than DAYS (catalog, intel, models)\n"
        "  WHO    organisation:NAME  role:NAME  principal:ID\n"
        "  WHERE  deployment:NAME  model:NAME  provider:NAME  site:NAME  type:TYPE\n"
        "         FACT within|outside|including|without VALUES  FACT is WORD  FACT unknown  FACT below GRADE\n\n"
        '  sekisho prove "no class:confidential+ to processing including anywhere"\n'
        '  sekisho prove "no label:payment_card and raw from not role:hr to tenancy is shared" ./here'
    )
    parser.epilog = (
        "exit status: 0 it holds (with --all: all do); 1 it could not be read; 2 wrong usage; 3 it does not hold\n"
        "(with --all: one does not); 4 not decided: too many cases, or a policy that can't be enumerated"
    )
    parser.add_argument(
        "words", metavar="STATEMENT [DIR]", nargs="*", help="the statement, in quotes; the installation"
    )
    parser.add_argument("--all", action="store_true", help="in place of a statement: those declared in statements.toml")
    parser.add_argument(
        "--any-deployment", action="store_true", help="over every deployment that could be declared, not those that are"
    )
    parser.add_argument(
        "--declarations", action="store_true", help="with declarations/ as it stands, not what is in force"
    )
    parser.add_argument("--json", action="store_true", help="print the proofs as JSON")
    parser.add_argument("--language", choices=(ENGLISH, JAPANESE), help="of the text; default: from the environment")


def run(arguments: argparse.Namespace) -> int:
    from sekisho.app.prove import Proving  # the server's dependencies, loaded when they are needed
    from sekisho.kernel.clock import SystemClock

    words = list(arguments.words)
    statement = None if arguments.all or not words else words.pop(0)
    if len(words) > 1 or (statement is None and not arguments.all):
        raise UsageError("say what to prove", remedy='sekisho prove "no class:… to …" [DIR], or --all [DIR]')
    root = Path(words[0]) if words else Path()
    load_settings(root)
    proving = Proving(DataDirectory(root.resolve()), SystemClock())
    found = proving.prove(statement, declarations=arguments.declarations, anything=arguments.any_deployment)
    if arguments.json:
        print(json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False))
    else:
        language = arguments.language or language_of(os.environ)
        print("\n\n".join(_described(proof, found, str(root), language) for proof in found["proofs"]))
    return exit_status(proof["outcome"] for proof in found["proofs"])


def exit_status(outcomes: Iterable[str]) -> int:
    """Of several, one that does not hold says more than one that is not decided."""
    return min((_EXITS[outcome] for outcome in outcomes if _EXITS[outcome]), default=0)


def _described(proof: Mapping[str, Any], found: Mapping[str, Any], root: str, language: str) -> str:
    words = {name: pair[1 if language == JAPANESE else 0] for name, pair in _WORDS.items()}
    obstacles = "; ".join(words["obstacle"].format(**one) for one in proof["obstacles"])
    of_anything = proof["any_deployment"] and proof["outcome"] == "holds"
    lines = [
        words["holds_anywhere" if of_anything else proof["outcome"]].format(
            cases=f"{proof['cases'] or 0:,}", obstacles=obstacles, why=proof["why"]
        )
    ]
    title = proof["title_ja" if language == JAPANESE else "title"]
    lines += [f"  {title} [{proof['id']}]"] if proof["id"] else []
    lines.append(f"  {proof['statement']}")
    example = proof["counter_example"]
    if example is not None:
        lines += _example_lines(example, root, words)
    elif proof["outcome"] == "holds":
        lines += [] if of_anything else [f"  {words['deployments'].format(**proof)}"]
        lines.append(f"  {words['reads'].format(reads=', '.join(proof['reads']))}")
        lines += [f"  {words['left_out'].format(obstacles=obstacles)}"] if obstacles else []
        if not proof["possible"]:
            lines.append(f"  {words['vacuous' if proof['about'] or of_anything else 'no_deployment']}")
    for word, names in (("monitored", found["monitored"]), ("exempt", found["exemptions"])):
        lines += [f"  {words[word].format(names=', '.join(names))}"] if names else []
    return "\n".join(lines)


def _example_lines(example: Mapping[str, Any], root: str, words: Mapping[str, str]) -> list[str]:
    def listed(values: Any) -> str:
        return ", ".join(values) or words["none"]

    facts = example["facts"]
    said = ["to" if facts is None else "to_any", "from"]
    said += ["principal"] if "--principal" in example["command"] else []
    said.append("data")
    said += [] if example["labels_left"] is None else ["left"]
    said += ["ages"] if example["staleness"] else []
    said += [] if example["at"] is None else ["at"]
    said.append("permits")
    said += ["see"] if facts is None else []
    values = {
        **example,
        "ages": ", ".join(f"{role} {days}" for role, days in example["staleness"].items() if days),
        "command": shlex.join(["sekisho", "explain", root, *example["command"]]),
        "facts": listed(f"{name} = {value}" for name, value in facts or ()),
        "labels": listed(example["labels"]),
        "left": listed(example["labels_left"] or ()),
        "permits": listed(example["permits"]),
        "residency": "anywhere" if "anywhere" in example["residency"] else listed(example["residency"]),
        "roles": listed(example["roles"]),
    }
    return [f"  {words[name].format(**values)}" for name in said]
