"""`sekisho explain`: what would happen to a request, without sending it."""

import argparse
import datetime
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sekisho.kernel.clock import MINUTES, utc
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory, load_settings

ENGLISH: Final = "en"
JAPANESE: Final = "ja"
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "monitored": (
        "though policy denies it: the organisation is in monitor mode",
        "ポリシーでは拒否。組織が監視モードのため通過",
    ),
    "exempted": ("though this forbids it (exemption {names})", "本来は次により拒否（適用除外 {names}）"),
    "by_exemption": ("by the exemption {names}", "適用除外 {names} による許可"),
    "stopped": ("stopped by the operator", "運用者が停止中"),
    "would_stop": (
        "WOULD BE REFUSED: all that policy permits is stopped",
        "拒否されます（許可される送信先はすべて停止中）",
    ),
    "mask": ("in the answer these would be masked: {labels}", "回答では次の値を伏せます：{labels}"),
    "restore": ("in the answer these would be put back: {labels}", "回答では次の値を元に戻します：{labels}"),
    "undecided": ("it could not be decided", "判定できません"),
    "kept": ("what is sent and answered is kept for {days} days", "送信した内容と応答を {days} 日間保存します"),
    "would_send": ("WOULD BE SENT", "送信されます"),
    "would_deny": ("WOULD BE DENIED: nothing would leave", "拒否されます：何も送信されません"),
    "sendRaw": ("as it is", "原文のまま"),
    "sendRedacted": ("with sensitive values masked", "機微な値を伏せて"),
    "to": ("to", "送信先"),
    "one_of": ("to one of (load decides)", "送信先の候補（負荷で決定）"),
    "model": ("model", "モデル"),
    "asked_by": ("asked by", "利用者"),
    "class": ("class", "データ区分"),
    "residency": ("residency", "処理できる国・地域"),
    "nowhere": ("nowhere", "なし"),
    "labels": ("labels", "ラベル"),
    "none": ("none", "なし"),
    "not_redactable": ("can't be masked where they stand", "伏せることができない場所にあります"),
    "left": ("left when masked", "伏せた後に残るもの"),
    "snapshot": ("snapshot", "構成"),
    "boundary": ("boundary", "境界"),
    "organisation": ("organisation", "組織"),
    "key": ("key", "キー"),
    "request": ("request", "リクエスト"),
    "structure": ("by what it is", "項目の種類から"),
    "object_key": ("in an object's key", "項目名の中"),
    "number": ("in a number", "数値の中"),
    "parts": ("across parts read as one text", "続けて読まれる複数の部分にまたがる"),
    "whole": ("all over the request", "リクエスト全体"),
    "raw": ("as it is", "原文のまま"),
    "redacted": ("masked", "伏せた場合"),
    "permitted": ("permitted", "許可"),
    "denied": ("denied", "拒否"),
    "default": ("no policy permits it", "許可する規則がありません"),
    "facts": ("facts looked at", "参照された事実"),
    "expires": ("until", "期限"),
    "observed": ("of", "確認日時"),
    "error": ("could not be decided", "判定できません"),
}
_KINDS: Final = {"key": "object_key", "number": "number", "parts": "parts", "structure": "structure", "whole": "whole"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Say what would happen to a request, candidate by candidate and policy by policy. Nothing is sent, nothing is\n"
        "recorded and nothing needs to run: the snapshot in force is read from the directory."
    )
    parser.epilog = "exit status: 0 explained, whatever the answer; 1 it could not be; 2 wrong usage"
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the installation (default: here)"
    )
    parser.add_argument("--request", metavar="FILE", help="the request's JSON body; - reads standard input")
    parser.add_argument("--model", help="the model asked for (default: the request's)")
    parser.add_argument("--text", help="in place of --request: one message with this text")
    parser.add_argument("--key-id", metavar="ID", help="as this API key would ask; see `sekisho keys list`")
    parser.add_argument("--organisation", help="who asks, where no key is named (default: the only one)")
    parser.add_argument(
        "--role", action="append", default=[], dest="roles", help="repeat for several (default: caller)"
    )
    parser.add_argument("--class", dest="data_class", metavar="CLASS", help="the x-sekisho-data-class header")
    parser.add_argument("--residency", help="the x-sekisho-residency header, ISO 3166-1 codes with commas between")
    supposed = parser.add_argument_group("to suppose something, as a counter-example of `sekisho prove` does")
    supposed.add_argument(
        "--label", action="append", dest="labels", metavar="LABEL", help="the request holds it; repeat, or none: ''"
    )
    supposed.add_argument(
        "--left", action="append", metavar="LABEL", help="with sensitive values masked it still holds this, or none: ''"
    )
    supposed.add_argument("--principal", metavar="ID", help="this principal asks; with --organisation and --role")
    supposed.add_argument(
        "--older", action="append", default=[], metavar="ROLE=DAYS", help="catalog, intel, models or policy is so old"
    )
    supposed.add_argument("--at", metavar="TIME", help="it is then, such as 2027-03-31T00:00+00:00")
    parser.add_argument(
        "--declarations", action="store_true", help="with declarations/ as it stands, not what is in force"
    )
    parser.add_argument("--json", action="store_true", help="print the explanation as JSON")
    parser.add_argument("--language", choices=(ENGLISH, JAPANESE), help="of the text; default: from the environment")


def run(arguments: argparse.Namespace) -> int:
    from sekisho.app.explanation import Explainer  # the server's dependencies, loaded when they are needed
    from sekisho.console.interfaces import ExplainAsked
    from sekisho.gateway.explanation import explanation_bytes
    from sekisho.kernel.clock import SystemClock

    load_settings(arguments.directory)
    explainer = Explainer(DataDirectory(arguments.directory.resolve()), SystemClock())
    asked = ExplainAsked(
        _body(arguments),
        arguments.key_id,
        arguments.organisation,
        tuple(arguments.roles),
        arguments.data_class,
        arguments.residency,
        arguments.declarations,
        _labels(arguments.labels),
        _labels(arguments.left),
        arguments.principal,
        tuple(sorted(_age(text) for text in arguments.older)),
        None if arguments.at is None else _instant(arguments.at),
    )
    explanation = explainer.explain(asked)
    if arguments.json:
        print(explanation_bytes(explanation).decode(), end="")
    else:
        print(describe_explanation(explanation, arguments.language or language_of(os.environ)))
    return 0


def _labels(given: list[str] | None) -> tuple[str, ...] | None:
    return None if given is None else tuple(label for label in given if label)


def _age(text: str) -> tuple[str, int]:
    role, _, days = text.partition("=")
    if not (days.isascii() and days.isdigit()):
        raise UsageError(f"--older {text!r} is no age", remedy="Write --older policy=31")
    return role, int(days)


def _instant(text: str) -> int:
    """Microseconds since the epoch."""
    try:
        instant = datetime.datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise UsageError(f"--at {text!r} is no time with an offset", remedy="Write --at 2027-03-31T00:00+00:00")
    return (instant - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)


def _body(arguments: argparse.Namespace) -> bytes:
    from sekisho.app.explanation import REQUEST_BYTES_MAX, chat_body, with_model

    if (arguments.request is None) == (arguments.text is None):
        raise UsageError("there is no request to explain, or two", remedy="Give either --request FILE or --text TEXT")
    if arguments.text is not None:
        if arguments.model is None:
            raise UsageError("--text needs a model", remedy="Add --model NAME")
        if any("\ud800" <= character <= "\udfff" for character in arguments.text):  # bytes that Python could not read
            raise UsageError("--text is not UTF-8", remedy="Write it in UTF-8, or give the request as --request FILE")
        return chat_body(arguments.model, arguments.text)
    if arguments.request == "-":
        body = sys.stdin.buffer.read(REQUEST_BYTES_MAX + 1)
    else:
        with Path(arguments.request).open("rb") as file:
            body = file.read(REQUEST_BYTES_MAX + 1)
    return body if arguments.model is None else with_model(body, arguments.model)


def describe_explanation(explanation: Mapping[str, Any], language: str) -> str:
    """An explanation in words."""
    words = {name: pair[1 if language == JAPANESE else 0] for name, pair in _WORDS.items()}
    outcome, principal = explanation["outcome"], explanation["principal"]
    residency = ", ".join(explanation["residency"]["value"]) or words["nowhere"]
    lines = []
    if outcome["deployments"]:
        several = len(outcome["deployments"]) > 1
        where = f"{words['one_of' if several else 'to']}: {', '.join(outcome['deployments'])}"
        lines.append(f"{words['would_send']}, {words[outcome['action']]}, {where}")
        if outcome["monitored"]:
            lines.append(f"  {words['monitored']}")
        if outcome["exemptions"]:
            lines.append(f"  {words['by_exemption'].format(names=', '.join(outcome['exemptions']))}")
        for kept in outcome["retain"]:
            said = words["kept"].format(days=kept["days"])
            lines.append(f"  {said} ({kept['deployment']}; {', '.join(kept['policies'])})")
        for done in outcome["rewrite"]:
            said = "; ".join(
                words[name].format(labels=", ".join(done[name])) for name in ("mask", "restore") if done[name]
            )
            lines.append(f"  {said} ({done['deployment']}; {', '.join(done['policies']) or words['undecided']})")
    elif outcome["stopped"]:
        lines.append(words["would_stop"])
    else:
        lines.append(words["would_deny"])
    lines += [
        f"  {words['model']}: {explanation['model']}",
        f"  {words['asked_by']}: {principal['id']} ({principal['organisation']}; {', '.join(principal['roles'])})",
        f"  {words['class']}: {explanation['class']['value']} ({_sources(explanation['class'], words)})",
        f"  {words['residency']}: {residency} ({_sources(explanation['residency'], words)})",
        f"  {words['snapshot']}: {explanation['snapshot'][:16]}",
        *_label_lines(explanation["labels"], words),
    ]
    if outcome["stopped"]:
        lines.append(f"  {words['stopped']}: {', '.join(outcome['stopped'])}")
    for deployment in explanation["deployments"]:
        lines += ["", f"{deployment['name']}  ({deployment['provider']}, {deployment['type']})"]
        for form in ("raw", "redacted"):
            if deployment[form] is not None:
                lines += _verdict_lines(form, deployment[form], words, language)
        if deployment["facts"]:
            lines.append(f"  {words['facts']}:")
            lines += [f"    {_fact(fact, words)}" for fact in deployment["facts"]]
    if not explanation["deployments"]:
        lines += ["", *explanation["words"][language]]
    return "\n".join(lines)


def _sources(stated: Mapping[str, Any], words: Mapping[str, str]) -> str:
    said = []
    for item in stated["from"]:
        value = item["value"] if isinstance(item["value"], str) else ",".join(item["value"])
        said.append(f"{words[item['by']]}: {value}")
    return "; ".join(said)


def _label_lines(labels: Mapping[str, Any], words: Mapping[str, str]) -> list[str]:
    if not labels["raw"]:
        return [f"  {words['labels']}: {words['none']}"]
    lines = [f"  {words['labels']}: {', '.join(labels['raw'])}"]
    if not labels["redactable"]:
        lines[0] += f" ({words['not_redactable']})"
    else:
        lines[0] += f" ({words['left']}: {', '.join(labels['redacted']) or words['none']})"
    for found in labels["found"]:
        where = words[_KINDS[found["kind"]]] if found["kind"] in _KINDS else found["excerpt"]
        lines.append(f"    {found['label']}  {found['path']}  {where}")
    return lines


def _verdict_lines(form: str, verdict: Mapping[str, Any], words: Mapping[str, str], language: str) -> list[str]:
    lines = [f"  {words[form]}: {words['permitted' if verdict['permitted'] else 'denied']}"]
    lines += [f"    {words['error']}: {error}" for error in verdict["errors"]]
    lines += [f"    {_policy(policy, language)}" for policy in verdict["policies"]]
    if verdict["exempted"]:
        lines.append(f"    {words['exempted'].format(names=', '.join(verdict['exemptions']))}:")
        lines += [f"      {_policy(policy, language)}" for policy in verdict["exempted"]]
    if not verdict["policies"] and not verdict["errors"]:
        lines.append(f"    {words['default']}")
    return lines


def _policy(policy: Mapping[str, Any], language: str) -> str:
    title = policy["title_ja"] if language == JAPANESE else policy["title"]
    return f"{title} [{policy['id']}, {policy['file']}]"


def _fact(fact: Mapping[str, Any], words: Mapping[str, str]) -> str:
    notes = [note for note in (fact["grade"], fact["source"]) if note]
    if fact["observed_at"] is not None:
        notes.append(f"{words['observed']} {utc(fact['observed_at'], MINUTES)}")
    if fact["expires"] is not None:
        notes.append(f"{words['expires']} {utc(fact['expires'], MINUTES)}")
    return f"{fact['name']} = {', '.join(fact['value'])}" + (f"  ({', '.join(notes)})" if notes else "")


def language_of(environment: Mapping[str, str]) -> str:
    """JAPANESE where the locale is Japanese, else ENGLISH."""
    locale = environment.get("LC_ALL") or environment.get("LC_MESSAGES") or environment.get("LANG") or ""
    return JAPANESE if locale.startswith("ja") else ENGLISH
