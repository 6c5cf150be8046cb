"""The report of an audit: for people in English or Japanese, for machines as JSON. Pure."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sekisho.app.audit import Report
from sekisho.ledger.description import JAPANESE
from sekisho.ledger.findings import ERROR, KEPT_PER_KIND_MAX, NOTE, WARNING, Finding

FORMAT: Final = "sekisho.audit/1"
SHOWN_PER_KIND_MAX: Final = 10  # of each kind, to people; JSON has them all
DETAIL_MAX: Final = 400
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "holds": ("HOLDS, to depth {depth}", "問題なし（深さ {depth} まで）"),
    "holds_not": ("DOES NOT HOLD", "問題があります"),
    "incomplete": (
        "NOTHING WRONG FOUND, BUT NOT ALL COULD BE LOOKED AT",
        "問題は見つかりませんが、確認できない部分があります",
    ),
    "log": ("log", "台帳"),
    "key": ("log key", "台帳の鍵"),
    "size": ("entries", "エントリー"),
    "root": ("root", "ルート"),
    "held_against": ("held against the checkpoints seen at", "照合した以前のチェックポイント"),
    "witnesses": ("cosigned by", "連署した証人"),
    "looked_at": ("looked at", "確認した件数"),
    "took": ("took", "所要時間"),
    "gaps": ("Not done", "実施していないこと"),
    ERROR: ("ERROR", "エラー"),
    WARNING: ("WARNING", "警告"),
    NOTE: ("note", "参考"),
    "times": ("{n} times", "{n} 件"),
    "entry": ("entry", "エントリー"),
    "request": ("request", "リクエスト"),
    "what_to_do": ("What to do", "対処"),
    "more": ("and {n} more; --json lists them", "ほか {n} 件（--json で一覧）"),
    "entries": ("entries", "エントリー"),
    "files": ("files", "ファイル"),
    "requests": ("requests", "リクエスト"),
    "entries_unreadable": ("entries that could not be read", "読めなかったエントリー"),
    "decisions_made_again": ("decisions made again", "再判定した判定"),
    "decisions_distinct": ("distinct ones", "うち異なる入力"),
    "decisions_left_out": ("decisions left out", "再判定できなかった判定"),
    "acts_under_approval": ("acts that needed approval", "承認を要する操作"),
    "acts_left_out": ("acts of which that is not known", "承認の要否が不明な操作"),
    "provider_attempts": ("attempts at the provider", "プロバイダーへの試行"),
    "provider_stretches": ("stretches of time in its record", "プロバイダーの記録にある期間"),
    "provider_calls": ("calls in its record", "プロバイダーの記録"),
    "provider_matched": ("matched", "一致"),
    "provider_tests": ("tests by the operator", "運用者による試験"),
    "provider_outside": ("outside the time that both cover", "期間外"),
    "provider_tokens_ledger": ("tokens compared, ledger", "照合したトークン（台帳）"),
    "provider_tokens_provider": ("tokens compared, provider", "照合したトークン（プロバイダー）"),
}


def describe_report(report: Report, language: str) -> str:
    """In words: the verdict, what was looked at, what was not, and each finding with what to do."""
    words = {name: pair[1 if language == JAPANESE else 0] for name, pair in _WORDS.items()}
    verdict = "holds" if report.holds else "holds_not"
    if report.holds and report.left_out:
        verdict = "incomplete"
    lines = [words[verdict].format(depth=report.depth), f"  {words['log']}: {_clean(report.origin or report.source)}"]
    if report.log_key:
        lines += [
            f"  {words['key']}: {_clean(report.log_key)}",
            f"  {words['size']}: {report.size:,}   {words['root']}: {report.root}",
        ]
    if report.held_against:
        lines.append(f"  {words['held_against']}: {', '.join(f'{size:,}' for size in report.held_against)}")
    if report.witnesses:
        lines.append(f"  {words['witnesses']}: {', '.join(map(_clean, report.witnesses))}")
    looked_at = [f"{words[name]} {count:,}" for name, count in report.counts.items() if count]
    looked_at += [f"{_clean(kind)} {count:,}" for kind, count in report.kinds.items()]
    lines.append(f"  {words['looked_at']}: {', '.join(looked_at) or '-'}")
    lines.append(f"  {words['took']}: {report.seconds:.1f} s")
    if report.gaps:
        lines += ["", f"{words['gaps']}:"]
        lines += [f"  - {text.ja if language == JAPANESE else text.en}" for _, text in report.gaps]
    shown: dict[str, list[Finding]] = {}
    for finding in report.findings.sorted():
        shown.setdefault(finding.kind.code, []).append(finding)
    for code, findings in shown.items():
        lines += ["", *_kind_lines(findings, report.findings.counts[code], words, language)]
    return "\n".join(lines)


def _kind_lines(findings: list[Finding], count: int, words: Mapping[str, str], language: str) -> list[str]:
    kind = findings[0].kind
    meaning, remedy = (text.ja if language == JAPANESE else text.en for text in (kind.meaning, kind.remedy))
    times = f", {words['times'].format(n=f'{count:,}')}" if count > 1 else ""
    lines = [f"{words[kind.severity]} {kind.code}{times}: {meaning}"]
    for finding in findings[:SHOWN_PER_KIND_MAX]:
        where = []
        if finding.index is not None:
            where.append(f"{words['entry']} {finding.index:,}" + (f" {finding.id}" if finding.id else ""))
        if finding.request is not None and finding.request != finding.id:
            where.append(f"{words['request']} {finding.request}")
        lines.append(f"  - {', '.join([*where, _clean(finding.detail)])}")
    if count > SHOWN_PER_KIND_MAX:
        lines.append(f"  … {words['more'].format(n=f'{count - SHOWN_PER_KIND_MAX:,}')}")
    lines.append(f"  {words['what_to_do']}: {remedy}")
    return lines


def report_json(report: Report) -> str:
    """One JSON object; docs/audit.md names its fields."""
    findings = report.findings
    value: dict[str, Any] = {
        "format": FORMAT,
        "source": report.source,
        "holds": report.holds,
        "complete": not report.left_out,
        "depth": report.depth,
        "log": {"origin": report.origin, "key": report.log_key, "size": report.size, "root": report.root},
        "held_against": list(report.held_against),
        "witnesses": list(report.witnesses),
        "counts": report.counts,
        "kinds": report.kinds,
        "not_done": [{"code": code, "text": text.en, "text_ja": text.ja} for code, text in report.gaps],
        "found": {
            "errors": findings.count(ERROR),
            "warnings": findings.count(WARNING),
            "notes": findings.count(NOTE),
            "by_code": dict(sorted(findings.counts.items())),
            "listed_per_code_max": KEPT_PER_KIND_MAX,
        },
        "findings": [_finding(one) for one in findings.sorted()],
        "seconds": round(report.seconds, 3),
    }
    return json.dumps(value, ensure_ascii=False, indent=1)


def _finding(finding: Finding) -> dict[str, Any]:
    kind = finding.kind
    return {
        "code": kind.code,
        "severity": kind.severity,
        "index": finding.index,
        "id": finding.id,
        "request": finding.request,
        "detail": finding.detail,
        "meaning": kind.meaning.en,
        "meaning_ja": kind.meaning.ja,
        "what_to_do": kind.remedy.en,
        "what_to_do_ja": kind.remedy.ja,
    }


def _clean(text: str) -> str:
    """Foreign text, which must not move a terminal's cursor."""
    shown = "".join(one if one.isprintable() else "�" for one in text[: DETAIL_MAX + 1])
    return shown if len(text) <= DETAIL_MAX else shown[:DETAIL_MAX] + "…"
