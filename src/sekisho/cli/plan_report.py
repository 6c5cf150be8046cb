"""A plan in words, English or Japanese, and as JSON. Pure; docs/plan.md names the fields."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sekisho.app.plan import DEFAULTS_CHANGED, INSPECTION_CHANGED, Planned
from sekisho.assurance.differences import ADDED, FACT, POLICIES, REMOVED, Difference
from sekisho.assurance.plan import FATE, LISTED_MAX, MOVED, ROUTES, SAME, Changed, Row, RowKey
from sekisho.catalog.interfaces import Mistake
from sekisho.cli.plan_cost import cost_lines, cost_values
from sekisho.kernel.clock import MINUTES, RFC3339, utc
from sekisho.ledger.description import JAPANESE
from sekisho.ledger.findings import Words
from sekisho.policy.fate import (
    GONE,
    NEW,
    NO_DEPLOYMENT,
    NO_PERMIT,
    NO_SUCH_MODEL,
    NOWHERE,
    SENT,
    UNDECIDABLE,
    Fate,
    Route,
)

FORMAT: Final = "sekisho.plan/1"
SHOWN_MAX: Final = 20  # lines of a list, to people; JSON has more
NAMES_SHOWN_MAX: Final = 8

FATES: Final[Mapping[Fate, Words]] = {
    Fate.RAW: Words("permitted as they are", "原文のまま許可"),
    Fate.REDACTED: Words("permitted, masked", "伏せて許可"),
    Fate.MONITORED: Words("denied, passed by monitor mode", "拒否（監視モードで通過）"),
    Fate.DENIED: Words("denied", "拒否"),
    Fate.NO_MODEL: Words("of an undeclared model", "未登録のモデル"),
}
CAUSES: Final[Mapping[str, Words]] = {
    NO_PERMIT: Words("no policy permits it", "許可する規則がありません"),
    NOWHERE: Words("no jurisdiction is left where the data may go", "データを置ける国・地域が残っていません"),
    UNDECIDABLE: Words(
        "it can't be decided: something that it names is not declared",
        "判定できません（リクエストにある名前が宣言されていません）",
    ),
    NO_DEPLOYMENT: Words("the model has no deployment left", "モデルの配備先が残っていません"),
    NO_SUCH_MODEL: Words("the model is not declared", "モデルが宣言されていません"),
    GONE: Words("the deployment is not there", "配備先がありません"),
    NEW: Words("the deployment is new", "新しい配備先です"),
}
LIMITS: Final[Mapping[str, Words]] = {
    INSPECTION_CHANGED: Words(
        "The inspection rules differ. What was recorded has the labels that were found then: no text is kept that "
        "could be inspected again",
        "検査規則が異なります。記録には当時のラベルだけが残り、本文は保存されていないため再検査できません",
    ),
    DEFAULTS_CHANGED: Words(
        "Default classes or residencies differ. What was recorded has the class and the residency that counted then",
        "既定のデータ区分または所在地が異なります。記録には当時適用された値が残っています",
    ),
}
_CHANGES: Final[Mapping[str, Words]] = {
    FATE: Words("other fate", "結果の変化"),
    MOVED: Words("sent elsewhere: where they went would not be permitted", "送信先の変更（従来の送信先は不可）"),
    ROUTES: Words("other choice of deployments", "送信先候補の変化"),
    SAME: Words("unchanged", "変化なし"),
}
_KINDS: Final[Mapping[str, Words]] = {
    "boundary": Words("boundary", "境界"),
    "organisations": Words("organisation", "組織"),
    "sites": Words("site", "拠点"),
    "providers": Words("provider", "プロバイダー"),
    "models": Words("model", "モデル"),
    "deployments": Words("deployment", "配備先"),
    "witnesses": Words("witness", "証人"),
    "logs": Words("log of others", "他者の台帳"),
    "approvals": Words("approval rule", "承認規則"),
    "statements": Words("statement", "守るべき文"),
    "exemptions": Words("exemption", "適用除外"),
    "inspection_rules": Words("inspection rule", "検査規則"),
    POLICIES: Words("policy", "ポリシー"),
}
_WORDS: Final[Mapping[str, Words]] = {
    "added": Words("added", "追加"),
    "removed": Words("removed", "削除"),
    "fact": Words("fact", "事実"),
    "nothing": Words("nothing", "なし"),
    "no_difference": Words("The declarations do not differ.", "宣言に違いはありません。"),
    "differences": Words("Differences in the declarations: {n}", "宣言の違い: {n} 件"),
    "of": Words("Of {n} requests: ", "リクエスト {n} 件のうち、"),
    "comma": Words(", ", "、"),
    "unserved_now": Words("{n} would not be served any more", "提供できなくなる {n} 件"),
    "no_requests": Words("No request is recorded in that time", "この期間のリクエストの記録はありません"),
    "empty": Words("It holds no request that could be read", "読み取れるリクエストがありません"),
    "newly_denied": Words("{n} would be denied that are not", "新たに拒否 {n} 件"),
    "newly_permitted": Words("{n} could go where they can't", "新たに可能な送信先がある {n} 件"),
    "unchanged": Words("{n} meet the same", "変化なし {n} 件"),
    "in_force": Words("in force", "現行"),
    "proposed": Words("proposed", "提案"),
    "with": Words("with it", "停止前"),
    "without": Words("without it", "停止後"),
    "there": Words("there", "移行元"),
    "recorded": Words("recorded", "記録"),
    "window": Words("requests that arrived from {a} to {b}", "対象期間 {a} から {b}"),
    "source": Words("requests in {file}", "対象ファイル {file}"),
    "requests": Words("Requests", "リクエスト"),
    "what_changes": Words("What changes", "変化の内訳"),
    "organisations": Words("organisations", "組織"),
    "models": Words("models", "モデル"),
    "tokens": Words("tokens", "トークン"),
    "deployments": Words("Might be received by", "送信先となりうる件数"),
    "new": Words("new", "新規"),
    "gone": Words("gone", "削除"),
    "changed": Words("Changed requests", "変化するリクエスト"),
    "more": Words("and {n} more", "ほか {n} 件"),
    "more_json": Words("and {n} more; --json lists the first {max}", "ほか {n} 件（--json で先頭 {max} 件）"),
    "limits": Words("What this plan can't know", "この計画で分からないこと"),
    "unreadable": Words("Records that could not be read: {n}", "読めなかった記録: {n} 件"),
    "passed_over": Words("Records that are no requests to a model: {n}", "モデルへのリクエストではない記録: {n} 件"),
    "without_content": Words(
        "Requests without content in the log: {n}. They count as holding nothing that a rule looks for",
        "本文のない記録: {n} 件。検出対象を含まないものとして扱いました",
    ),
    "content_cut": Words(
        "Requests of which the log has only part of the content: {n}. What was cut off counts as holding nothing",
        "本文の一部しかない記録: {n} 件。欠けている部分は検出対象を含まないものとして扱いました",
    ),
    "summed": Words(
        "Requests of more kinds than are told apart: {n}. They are counted by what becomes of them, not by "
        "organisation, model, deployment or cause",
        "種類が上限を超えたリクエスト: {n} 件。結果だけを数え、組織・モデル・配備先・理由には分けていません",
    ),
    "gone_title": Words("Without {names}", "{names} がない場合"),
    "unserved": Words("not served any more", "提供できなくなる"),
    "used": Words("were sent there", "実際にそこへ送信"),
    "elsewhere": Words("of these, served elsewhere", "うち他で提供できる"),
    "masked": Words("served, but only masked", "伏せた場合のみ提供"),
    "could_take": Words("could take them", "代わりの送信先"),
}


class _Report:
    def __init__(self, planned: Planned, language: str) -> None:
        self.planned = planned
        self.plan = planned.plan
        self._place = 1 if language == JAPANESE else 0
        self.lines: list[str] = []

    def word(self, name: str, **values: object) -> str:
        return _WORDS[name][self._place].format(**values)

    def said(self, words: Words) -> str:
        return words[self._place]

    def cause(self, name: str) -> str:
        if name in CAUSES:
            return CAUSES[name][self._place]
        titles = self.planned.titles.get(name)
        return f"[{name}]" if titles is None else f"{titles[self._place]} [{name}]"

    def describe(self) -> str:
        planned = self.planned
        self._head()
        if planned.removed:
            self._without()
        elif not planned.source:
            self._differences()
        if self.plan.rows:
            self._fates()
            self._changes()
            if not planned.source:
                self._deployments()
            self._listed()
        self._limits()
        return "\n".join(self.lines)

    def _head(self) -> None:
        planned, plan = self.planned, self.plan
        total = plan.total().requests
        if total:
            same = total - plan.changed
            said = [self.word("unserved_now" if planned.removed else "newly_denied", n=f"{plan.newly_denied:,}")]
            if not planned.removed:
                said.append(self.word("newly_permitted", n=f"{plan.newly_permitted:,}"))
            said.append(self.word("unchanged", n=f"{same:,}"))
            self.lines.append(f"{self.word('of', n=f'{total:,}')}{self.word('comma').join(said)}")
        else:
            self.lines.append(self.word("empty" if planned.source else "no_requests"))
        if planned.window is not None:
            a, b = (utc(at, MINUTES) for at in planned.window)
            self.lines.append(f"  {self.word('window', a=a, b=b)}")
        if planned.source:
            self.lines.append(f"  {self.word('source', file=planned.source)}")
        if not planned.removed and not planned.source:
            digests = (planned.before[:16], planned.after[:16])
            self.lines.append(f"  {self.word('in_force')}: {digests[0]}   {self.word('proposed')}: {digests[1]}")

    def _differences(self) -> None:
        found = self.planned.differences
        if not found:
            self.lines += ["", self.word("no_difference")]
            return
        self.lines += ["", self.word("differences", n=f"{len(found):,}")]
        self.lines += [f"  {difference_in_words(one, self._place)}" for one in found]

    def _columns(self) -> tuple[str, str]:
        if self.planned.source:
            return self.word("there"), self.word("proposed")
        pair = ("with", "without") if self.planned.removed else ("in_force", "proposed")
        return self.word(pair[0]), self.word(pair[1])

    def _fates(self) -> None:
        counts = fate_counts(self.planned)
        before, after = self._columns()
        shown = ("before", "after") if self.planned.source else ("recorded", "before", "after")
        heads = {"recorded": self.word("recorded"), "before": before, "after": after}
        self.lines += ["", f"{self.word('requests')} ({' / '.join(heads[name] for name in shown)})"]
        for fate, words in FATES.items():
            numbers = [counts[name].get(fate, 0) for name in shown]
            if any(numbers):
                self.lines.append(f"  {self.said(words)}: {' / '.join(f'{n:,}' for n in numbers)}")

    def _changes(self) -> None:
        found = changes(self.planned)
        if not found:
            return
        self.lines += ["", self.word("what_changes")]
        for change in found[:SHOWN_MAX]:
            before, after, kind = change["before"], change["after"], change["change"]
            what = (
                f"{self.said(FATES[before])} → {self.said(FATES[after])}" if kind == FATE else self.said(_CHANGES[kind])
            )
            self.lines.append(f"  {change['requests']:,}: {what}")
            self.lines += [f"      {self.cause(cause)}" for cause in change["causes"]]
            for sign, names in (("+", change["gained"]), ("−", change["lost"])):
                if kind in (ROUTES, MOVED) and names:
                    self.lines.append(f"      {sign} {', '.join(names)}")
            for name in ("organisations", "models"):
                self.lines.append(f"      {self.word(name)}: {_counted(change[name])}")
        self._more(len(found) - SHOWN_MAX)

    def _deployments(self) -> None:
        planned = self.planned
        table = [(name, *counts) for name, counts in self.plan.permitted_at().items()]
        marks = dict.fromkeys(planned.new, self.word("new")) | dict.fromkeys(planned.gone, self.word("gone"))
        if not table:
            return
        self.lines += ["", f"{self.word('deployments')} ({' / '.join(self._columns())})"]
        table.sort(key=lambda row: (row[1] == row[2], row[0]))
        for name, before, after in table[:SHOWN_MAX]:
            mark = f"  ({marks[name]})" if name in marks else ""
            self.lines.append(f"  {name}: {before:,} / {after:,}{mark}")
        self._more(len(table) - SHOWN_MAX)

    def _listed(self) -> None:
        listed = self.plan.listed
        if not listed:
            return
        self.lines += ["", self.word("changed")]
        for one in listed[:SHOWN_MAX]:
            asked, key = one.asked, one.key
            about = [asked.model, asked.principal.organisation, asked.data_class, ",".join(asked.labels_raw)]
            when = "" if one.at is None else f"  {utc(one.at, MINUTES)}"
            causes = ", ".join(key.causes)
            change = f"{key.before.fate} → {key.after.fate}" if key.change == FATE else key.change
            self.lines.append(f"  {one.request}{when}  {' '.join(text for text in about if text)}  {change}: {causes}")
        left = self.plan.changed - len(listed[:SHOWN_MAX])
        if left > 0:
            self.lines.append(f"  … {self.word('more_json', n=f'{left:,}', max=f'{LISTED_MAX:,}')}")

    def _without(self) -> None:
        told = without(self.planned)
        self.lines += ["", self.word("gone_title", names=", ".join(self.planned.removed))]
        for name in ("unserved", "used", "elsewhere", "masked"):
            part = told[name]
            tokens = f"  ({part['tokens']:,} {self.word('tokens')})" if part["readings"] else ""
            self.lines.append(f"  {self.word(name)}: {part['requests']:,}{tokens}")
            if part["requests"] and name in ("unserved", "elsewhere"):
                for of in ("organisations", "models"):
                    self.lines.append(f"      {self.word(of)}: {_counted(part[of])}")
        if told["could_take"]:
            self.lines.append(f"  {self.word('could_take')}: {_counted(told['could_take'])}")
        self.lines += [f"  {line}" for line in cost_lines(self.planned, self._place)]

    def _limits(self) -> None:
        plan = self.plan
        said = [self.said(LIMITS[code]) for code in self.planned.limits]
        for name in ("without_content", "content_cut", "passed_over", "summed"):
            count = getattr(plan, name)
            if count:
                said.append(self.word(name, n=f"{count:,}"))
        if said:
            self.lines += ["", self.word("limits"), *(f"  - {text}" for text in said)]
        if plan.unreadable:
            self.lines += ["", self.word("unreadable", n=f"{plan.unreadable:,}")]
            self.lines += [f"  {_clean(problem)}" for problem in plan.problems]

    def _more(self, left: int) -> None:
        if left > 0:
            self.lines.append(f"  … {self.word('more', n=f'{left:,}')}")


def describe_plan(planned: Planned, language: str) -> str:
    """In words: what changes in the declarations, and what it means for recorded requests."""
    return _Report(planned, language).describe()


def difference_in_words(one: Difference, place: int = 0) -> str:
    """One difference on one line; `place` 0 is English, 1 Japanese."""
    kind = _KINDS[one.kind][place] if one.kind in _KINDS else one.kind
    what = f"{kind} {one.name}".rstrip()
    if one.what in (ADDED, REMOVED):
        title = (one.title_ja if place else one.title) and f" ({one.title_ja if place else one.title})"
        return f"{what}: {_WORDS[one.what][place]}{title}"
    nothing = _WORDS["nothing"][place]
    field = f"{_WORDS['fact'][place]} {one.field}" if one.what == FACT else one.field
    return f"{what}: {field}: {_clean(one.before or nothing)} → {_clean(one.after or nothing)}"


def fate_counts(planned: Planned) -> dict[str, Counter[Fate]]:
    """Requests by fate: as recorded, and under the rules before and after."""
    counts: dict[str, Counter[Fate]] = {"recorded": Counter(), "before": Counter(), "after": Counter()}
    for key, row in planned.plan.rows.items():
        counts["recorded"][key.recorded.fate] += row.requests
        counts["before"][key.before.fate] += row.requests
        counts["after"][key.after.fate] += row.requests
    return counts


def changes(planned: Planned) -> list[dict[str, Any]]:
    """What changes, by cause: most requests first."""
    found: dict[tuple[object, ...], dict[str, Any]] = {}
    for key, row in planned.plan.rows.items():
        if key.change == SAME:
            continue
        gained, lost = _deployments(key.gained), _deployments(key.lost)
        place = (key.change, key.before.fate, key.after.fate, key.causes, gained, lost)
        change = found.setdefault(
            place,
            {
                "change": key.change,
                "before": key.before.fate,
                "after": key.after.fate,
                "causes": key.causes,
                "gained": gained,
                "lost": lost,
                "requests": 0,
                "tokens": 0,
                "organisations": Counter(),
                "models": Counter(),
            },
        )
        change["requests"] += row.requests
        change["tokens"] += row.prompt + row.completion
        change["organisations"][key.organisation] += row.requests
        change["models"][key.model] += row.requests
    return sorted(found.values(), key=lambda change: -change["requests"])


def _deployments(routes: Iterable[Route]) -> tuple[str, ...]:
    return tuple(sorted({deployment for _, deployment in routes}))


def without(planned: Planned) -> dict[str, Any]:
    """What the absence of `removed` means: requests not served, and those that others can serve."""
    gone, plan = frozenset(planned.removed), planned.plan

    def sent_there(key: RowKey) -> bool:
        return key.recorded.route is not None and key.recorded.route[1] in gone

    could_take: Counter[str] = Counter()
    for key, row in plan.rows.items():
        if sent_there(key):
            for name in {deployment for _, deployment in key.after.routes}:
                could_take[name] += row.requests
    parts: dict[str, Callable[[RowKey], bool]] = {
        "unserved": lambda key: key.before.fate in SENT and key.after.fate not in SENT,
        "used": sent_there,
        "elsewhere": lambda key: sent_there(key) and key.after.fate in SENT,
        "masked": lambda key: key.before.fate is Fate.RAW and key.after.fate is Fate.REDACTED,
    }
    told: dict[str, Any] = {name: _part(planned, holds) for name, holds in parts.items()}
    return told | {"could_take": could_take}


def _part(planned: Planned, holds: Callable[[RowKey], bool]) -> dict[str, Any]:
    total, organisations, models = Row(), Counter[str](), Counter[str]()
    for key, row in planned.plan.rows.items():
        if holds(key):
            total.add(row)
            organisations[key.organisation] += row.requests
            models[key.model] += row.requests
    return {
        "requests": total.requests,
        "tokens": total.prompt + total.completion,
        "tokens_prompt": total.prompt,
        "tokens_completion": total.completion,
        "readings": total.readings,
        "organisations": organisations,
        "models": models,
    }


def plan_json(planned: Planned) -> str:
    """One JSON object."""
    plan = planned.plan
    value: dict[str, Any] = {
        "format": FORMAT,
        "in_force": planned.before,
        "proposed": planned.after,
        "source": planned.source or None,
        "from": None if planned.window is None else utc(planned.window.from_us, RFC3339),
        "to": None if planned.window is None else utc(planned.window.to_us, RFC3339),
        "differences": [_difference(one) for one in planned.differences],
        "requests": plan.total().requests,
        "retries": plan.retries,
        "distinct": plan.distinct,
        "newly_denied": plan.newly_denied,
        "newly_permitted": plan.newly_permitted,
        "changed": plan.changed,
        "summed": plan.summed,
        "fates": {name: dict(counts) for name, counts in fate_counts(planned).items()},
        "changes": [
            {**change, "causes": [_cause(planned, cause) for cause in change["causes"]]} for change in changes(planned)
        ],
        "deployments": [
            {
                "name": name,
                "before": before,
                "after": after,
                "new": name in planned.new,
                "gone": name in planned.gone,
            }
            for name, (before, after) in plan.permitted_at().items()
        ],
        "listed": [_listed(one) for one in plan.listed],
        "listed_max": LISTED_MAX,
        "limits": [{"code": code, "text": LIMITS[code].en, "text_ja": LIMITS[code].ja} for code in planned.limits],
        "passed_over": plan.passed_over,
        "without_content": plan.without_content,
        "content_cut": plan.content_cut,
        "usage_unmatched": plan.usage_unmatched,
        "unreadable": plan.unreadable,
        "problems": plan.problems,
    }
    if planned.removed:
        value["removed"] = list(planned.removed)
        value["without"] = without(planned) | {"costs": cost_values(planned)}
    return json.dumps(value, ensure_ascii=False, indent=1)


def mistakes_json(mistakes: Iterable[Mistake]) -> str:
    """In the place of a plan, where there can be none."""
    told = [{name: getattr(one, name) for name in one.__struct_fields__} for one in mistakes]
    return json.dumps({"format": FORMAT, "mistakes": told}, ensure_ascii=False, indent=1)


def _difference(one: Difference) -> dict[str, str]:
    return {**one._asdict(), "text": difference_in_words(one, 0), "text_ja": difference_in_words(one, 1)}


def _cause(planned: Planned, cause: str) -> dict[str, str]:
    words = CAUSES.get(cause) or Words(*planned.titles.get(cause, ("", "")))
    return {"id": cause, "title": words.en, "title_ja": words.ja}


def _listed(one: Changed) -> dict[str, Any]:
    asked, key = one.asked, one.key
    return {
        "request": one.request,
        "at": None if one.at is None else utc(one.at, RFC3339),
        "model": asked.model,
        "organisation": asked.principal.organisation,
        "class": asked.data_class,
        "residency": asked.residency,
        "labels": asked.labels_raw,
        "change": key.change,
        "before": key.before.fate,
        "after": key.after.fate,
        "causes": key.causes,
        "sent_to": None if key.recorded.route is None else key.recorded.route[1],
        "permitted_after": key.after.routes,
    }


def _counted(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown: Iterable[str] = (f"{_clean(name)} {count:,}" for name, count in ordered[:NAMES_SHOWN_MAX])
    return ", ".join(shown) + (" …" if len(ordered) > NAMES_SHOWN_MAX else "")


def _clean(text: str) -> str:
    """Foreign text, which must not move a terminal's cursor."""
    return "".join(one if one.isprintable() else " " for one in text)
