"""Decisions in words: why nothing was sent, for the person who asked."""

from typing import Final

from sekisho.policy.interfaces import NO_RESIDENCY, SEND_RAW, Decider, Decision, Verdict

_WORDS: Final = {
    "en": {
        "raw": "{deployment}, as it is",
        "redacted": "{deployment}, with sensitive values masked",
        "permitted": "{where}: permitted by: {titles}",
        "exempted": "{where}: permitted by the exemption {exemptions}, though this forbids it: {titles}",
        "forbidden": "{where}: denied: {titles}",
        "default": "{where}: denied: no policy permits it. What is not permitted is denied; ask the person who keeps "
        "the policies for a role or a rule",
        "error": "{where}: denied because it could not be decided: {errors}",
        "no_residency": "{where}: denied: no jurisdiction is left where the data may go. The residencies of the "
        "request, the key and the organisation have nothing in common",
        "nobody": "No deployment of the model {model!r} is declared",
        "join": "; ",
    },
    "ja": {
        "raw": "{deployment}（原文のまま）",
        "redacted": "{deployment}（機微な値を伏せた場合）",
        "permitted": "{where}：許可。根拠：{titles}",
        "exempted": "{where}：適用除外 {exemptions} により許可。本来は次の規則により拒否：{titles}",
        "forbidden": "{where}：拒否。理由：{titles}",
        "default": "{where}：拒否。許可する規則がありません。許可されていないものはすべて拒否されます。"
        "必要な権限または規則を管理者に依頼してください",
        "error": "{where}：判定できなかったため拒否。{errors}",
        "no_residency": "{where}：拒否。データを置ける国・地域が残っていません。リクエスト、キー、組織の指定に"
        "共通する国・地域がありません",
        "nobody": "モデル {model!r} の配備先は登録されていません",
        "join": "；",
    },
}


def explain(decision: Decision, decider: Decider, language: str = "en") -> list[str]:
    """One sentence per candidate and action, in the order of the verdicts; candidates of one fate share theirs.

    `language` is "en" or "ja" (KeyError for any other).
    """
    words = _WORDS[language]
    if not decision.verdicts:
        return [words["nobody"].format(model=decision.input.model)]
    groups: dict[Verdict, list[Verdict]] = {}
    for verdict in decision.verdicts:
        groups.setdefault(verdict._replace(deployment=""), []).append(verdict)
    return [_sentence(verdicts, decider, language) for verdicts in groups.values()]


def _sentence(verdicts: list[Verdict], decider: Decider, language: str) -> str:
    words, first = _WORDS[language], verdicts[0]
    names = ", ".join(verdict.deployment for verdict in verdicts)
    where = words["raw" if first.action == SEND_RAW else "redacted"].format(deployment=names)
    if first.errors == (NO_RESIDENCY,):
        return words["no_residency"].format(where=where)
    if first.errors:
        return words["error"].format(where=where, errors=words["join"].join(first.errors))
    if not first.reasons:
        return words["default"].format(where=where)
    policies = [decider.policies[index] for index in first.exempted or first.reasons]
    titles = [f"{policy.title_ja if language == 'ja' else policy.title} [{policy.id}]" for policy in policies]
    kind = "exempted" if first.exempted else "permitted" if first.permitted else "forbidden"
    return words[kind].format(where=where, titles=words["join"].join(titles), exemptions=", ".join(first.exemptions))
