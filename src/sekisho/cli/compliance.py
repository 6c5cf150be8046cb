"""`sekisho compliance`: per policy and deployment, what was permitted, denied, exempt and unknown."""

import argparse
import datetime
import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sekisho.app.compliance import PAGE, ComplianceAsked, cell, compliance_of
from sekisho.assurance.compliance import PAGE_MAX, Fate, Span
from sekisho.cli.keys import EXIT_DONE, SETTINGS_FILE, installation
from sekisho.cli.person_keys import add_language, language
from sekisho.identity.acts import JAPANESE
from sekisho.kernel.clock import MINUTES, utc
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "decisions": (
        "{decisions:,} requests: {sent:,} sent ({exempt:,} exempt, {monitored:,} monitored), {denied:,} denied.",
        "リクエスト {decisions:,} 件: 送信 {sent:,}（適用除外 {exempt:,}、監視モード {monitored:,}）、拒否 {denied:,}",
    ),
    "log": (
        "Log {origin}, {log_size:,} entries, the last of {latest}.",
        "台帳 {origin}、{log_size:,} エントリー、最後は {latest}",
    ),
    "policy": ("POLICY", "ポリシー"),
    "deployment": ("DEPLOYMENT", "配備先"),
    "permitted": ("PERMITTED", "許可"),
    "denied": ("DENIED", "拒否"),
    "exempt": ("EXEMPT", "除外"),
    "unknown": ("UNKNOWN", "不明"),
    "missing": (
        "{snapshots_missing} snapshots are not here: for their decisions, what forbids let pass is not counted.",
        "スナップショット {snapshots_missing} 件がないため、その判定では、禁止ポリシーを通過した数を数えていません。",
    ),
    "left_out": (
        "{left_out:,} verdicts found no row and are left out: name a span with --from and --to.",
        "行が多すぎるため {left_out:,} 件の結果を省きました。--from と --to で期間を指定してください。",
    ),
    "next": ("More: --after {next}", "続き: --after {next}"),
    "no_entries": ("There is no such entry.", "該当するエントリーはありません。"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Per policy and deployment: how many verdicts it permitted or denied, how many were exempt from it, and how\n"
        "many it denied because a fact is unknown. Out of the published log; with --policy, --deployment and --fate,\n"
        "the entries behind one count. Nothing needs to run. See docs/compliance.md."
    )
    parser.epilog = (
        "example: sekisho compliance ./here --from 2026-11-01 --to 2026-12-01\n"
        "         sekisho compliance ./here --policy our.places --deployment east --fate denied"
    )
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", help="the installation, or a copy (default: .)"
    )
    parser.add_argument("--from", dest="since", metavar="TIME", help="a date (UTC) or a time with its offset")
    parser.add_argument("--to", dest="until", metavar="TIME", help="up to then, exclusive")
    parser.add_argument("--policy", metavar="ID", help="an @id, (default) or (error)")
    parser.add_argument("--deployment", metavar="NAME")
    parser.add_argument("--fate", choices=[str(fate) for fate in Fate])
    parser.add_argument("--after", type=int, default=-1, metavar="LEAF", help="the next page of entries")
    parser.add_argument("--limit", type=int, default=PAGE, help=f"entries of a page, at most {PAGE_MAX}")
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(dir_option=None)
    add_language(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do what `arguments` say."""
    found = compliance_of(DataDirectory(_directory(arguments)), _asked(arguments))
    column = 1 if language(arguments) == JAPANESE else 0
    if arguments.json:
        print(json.dumps(found, ensure_ascii=False, indent=2))
    elif "entries" in found:
        print(_entries(found, column))
    else:
        print(_table(found, column))
    return EXIT_DONE


def _directory(arguments: argparse.Namespace) -> Path:
    """An installation, or a copy of its `ledger/` and `snapshots/`."""
    directory: Path = arguments.directory or Path()
    if (directory / SETTINGS_FILE).exists() or not (directory / "ledger").is_dir():
        return installation(arguments)
    return directory


def _asked(arguments: argparse.Namespace) -> ComplianceAsked:
    named = (arguments.policy, arguments.deployment, arguments.fate)
    if any(named) and not all(named):
        raise UsageError("one count is named by three", remedy="Give --policy, --deployment and --fate together")
    span = Span(_time(arguments.since, "--from"), _time(arguments.until, "--to"))
    return ComplianceAsked(span, cell(*named) if all(named) else None, arguments.after, arguments.limit)


def _time(text: str | None, option: str) -> int | None:
    """µs UTC."""
    if text is None:
        return None
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} is no time: {text!r}", remedy="Write 2026-11-01 or 2026-11-01T09:00+09:00"
        ) from None
    if at.tzinfo is None:
        if len(text) > len("2026-11-01"):
            raise UsageError(f"{option} has no offset", remedy="Write 2026-11-01T09:00+09:00, or a date")
        at = at.replace(tzinfo=datetime.UTC)
    return (at - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)


def _table(found: Mapping[str, Any], column: int) -> str:
    said = {name: pair[column] for name, pair in _WORDS.items()}
    latest = "-" if found["latest"] is None else utc(found["latest"], MINUTES)
    lines = [said["log"].format_map({**found, "latest": latest}), said["decisions"].format_map(found)]
    keys = ("policy", "deployment", *map(str, Fate))
    rows = [[said[key] for key in keys]]
    for row in found["rows"]:
        title = row["title_ja" if column else "title"]
        rows.append([row["policy"], row["deployment"], *(f"{row[fate]:,}" for fate in map(str, Fate)), title])
    widths = [max(_width(row[place]) for row in rows) for place in range(len(keys))]
    lines.append("")
    for row in rows:
        cells = [
            _padded(text, width, right=place > 1) for place, (text, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join([*cells, *row[len(widths) :]]).rstrip())
    if found["snapshots_missing"]:
        lines += ["", said["missing"].format_map(found)]
    if found["left_out"]:
        lines += ["", said["left_out"].format_map(found)]
    return "\n".join(lines)


def _entries(found: Mapping[str, Any], column: int) -> str:
    lines = [
        f"{utc(one['at'], MINUTES)}  {one['request'] or '-'}  {one['organisation']}  {one['id']}  ({one['leaf']})"
        for one in found["entries"]
    ]
    if found["next"] is not None:
        lines.append(_WORDS["next"][column].format_map(found))
    return "\n".join(lines or [_WORDS["no_entries"][column]])


def _width(text: str) -> int:
    """Columns of a terminal: East Asian wide letters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _padded(text: str, width: int, *, right: bool) -> str:
    blank = " " * (width - _width(text))
    return blank + text if right else text + blank
