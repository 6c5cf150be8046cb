"""A verified receipt in words, on one screen. Pure.

Bodies belong to whoever wrote them, so this reads them with care: what is absent is left out, and text from the
receipt can't move the cursor or turn the writing direction of a terminal.
"""

from collections.abc import Mapping
from typing import Any, Final

from sekisho.kernel.clock import utc
from sekisho.ledger.verify import VERIFIED, Attempt, Verification

ENGLISH: Final = "en"
JAPANESE: Final = "ja"
LINES_MAX: Final = 40  # a screen; attempts beyond it are counted, not shown
_TEXT_MAX: Final = 120
_ITEMS_MAX: Final = 6
_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "verified": ("VERIFIED", "検証済み"),
    "consistent": ("CONSISTENT, BUT THE SIGNER IS NOT PINNED", "整合していますが、署名者は固定されていません"),
    "pin": (
        "Pin the site's key to know whose receipt this is: --trust site.vkey",
        "発行者を確かめるには、拠点の公開鍵を指定してください: --trust site.vkey",
    ),
    "request": ("request", "リクエスト"),
    "site": ("site key", "拠点の鍵"),
    "log": ("log", "台帳"),
    "entries": ("entries", "件"),
    "content": ("content compared", "照合した内容"),
    "attempt": ("Attempt", "試行"),
    "asked": ("asked", "要求"),
    "model": ("model", "モデル"),
    "class": ("class", "区分"),
    "residency": ("residency", "所在地"),
    "labels": ("labels", "ラベル"),
    "by": ("by", "主体"),
    "permitted": ("permitted", "許可"),
    "refused": ("refused", "拒否"),
    "chosen": ("chosen", "選択"),
    "denied": ("DENIED: nothing left", "拒否: 何も送信されていません"),
    "monitored": (
        "MONITORED: policy denies this; monitor mode let it pass",
        "監視モード: ポリシーでは拒否ですが、監視モードのため送信されました",
    ),
    "outcome": ("outcome", "結果"),
    "because": ("because of", "理由"),
    "more": ("more attempts", "件の試行を省略"),
}


def describe(verification: Verification, language: str = ENGLISH) -> str:
    """What the receipt proves, in English or Japanese."""
    words = {name: pair[1 if language == JAPANESE else 0] for name, pair in _WORDS.items()}
    pinned = verification.verdict == VERIFIED
    checkpoint = verification.checkpoint
    lines = [
        words["verified"] if pinned else words["consistent"],
        f"  {words['request']}: {_clean(verification.request)}",
        f"  {words['site']}: {_clean(verification.site_key.vkey)}",
        f"  {words['log']}: {_clean(checkpoint.origin)} ({checkpoint.size} {words['entries']})",
    ]
    if verification.content:
        lines.append(f"  {words['content']}: {', '.join(verification.content)}")
    for number, attempt in enumerate(verification.attempts):
        block = _describe_attempt(attempt, words, language)
        if len(lines) + len(block) > LINES_MAX:
            lines.append(f"… {len(verification.attempts) - number} {words['more']}")
            break
        lines.extend(block)
    if not pinned:
        lines.append(words["pin"])
    return "\n".join(lines)


def summary(verification: Verification) -> dict[str, Any]:
    """The same for programs: JSON values only."""
    return {
        "attempts": [
            {
                "attempt": attempt.decision["body"]["attempt"],
                "at": attempt.decision["at"],
                "chosen": attempt.decision["body"]["chosen"],
                "decision": attempt.decision["id"],
                "ended": attempt.outcome["body"].get("ended") if attempt.outcome else None,
                "monitored": attempt.decision["body"].get("monitored", False),
                "outcome": attempt.outcome["id"] if attempt.outcome else None,
                "status": attempt.outcome["body"].get("status") if attempt.outcome else None,
            }
            for attempt in verification.attempts
        ],
        "content": list(verification.content),
        "origin": verification.checkpoint.origin,
        "request": verification.request,
        "site_key": verification.site_key.vkey,
        "size": verification.checkpoint.size,
        "verdict": verification.verdict,
    }


def _describe_attempt(attempt: Attempt, words: Mapping[str, str], language: str) -> list[str]:
    body = attempt.decision["body"]
    lines = [f"{words['attempt']} {body['attempt']}  {_time(attempt.decision['at'])}"]
    if asked := _asked(_object(body.get("input")), words):
        lines.append(f"  {words['asked']}: {asked}")
    for group in _list(body.get("candidates"))[:_ITEMS_MAX]:
        lines.append(_describe_candidates(_object(group), body, words))
    chosen = body["chosen"]
    if chosen is None:
        lines.append(f"  {words['denied']}")
    else:
        if body.get("monitored") is True:
            lines.append(f"  {words['monitored']}")
        lines.append(f"  {words['chosen']}: {_clean(chosen['deployment'])} ({_clean(chosen['action'])})")
    if attempt.outcome is not None:
        lines.append(f"  {words['outcome']}: {_outcome(attempt.outcome)}")
    return lines


def _asked(asked: Mapping[str, Any], words: Mapping[str, str]) -> str:
    named = [
        ("model", asked.get("model")),
        ("class", asked.get("class")),
        ("residency", _list(asked.get("residency"))),
        ("labels", _list(asked.get("labels_raw"))),
        ("by", _object(asked.get("principal")).get("id")),
    ]
    return ", ".join(f"{words[name]} {_join(value)}" for name, value in named if value)


def _describe_candidates(group: Mapping[str, Any], body: Mapping[str, Any], words: Mapping[str, str]) -> str:
    permitted = group.get("permitted") is True
    line = f"  {words['permitted' if permitted else 'refused']}: {_join(_list(group.get('deployments')))}"
    line += f" ({_clean(group.get('action', ''))})"
    reasons = [_policy(reason, _object(body.get("policies"))) for reason in _list(group.get("reasons"))]
    reasons += [_clean(error) for error in _list(group.get("errors"))]
    return f"{line} {words['because']}: {_join(reasons)}" if reasons else line


def _policy(reason: object, policies: Mapping[str, Any]) -> str:
    """A policy's id. `reason` indexes the snapshot's policies; the body names those that it mentions."""
    return _clean(policies.get(str(reason)) or f"policy {reason}")


def _outcome(outcome: Mapping[str, Any]) -> str:
    body = outcome["body"]
    parts = [_clean(body.get("ended", "?"))]
    if isinstance(body.get("status"), int):
        parts.append(str(body["status"]))
    parts += [f"{_clean(name)} {value}" for name, value in sorted(_object(body.get("usage")).items())
              if isinstance(value, int) and not isinstance(value, bool)][:_ITEMS_MAX]  # fmt: skip
    return ", ".join([*parts, _time(outcome["at"])])


def _time(at_us: int) -> str:
    return utc(at_us) or f"{at_us} µs"


def _join(value: object) -> str:
    if not isinstance(value, list):
        return _clean(value)
    more = f" +{len(value) - _ITEMS_MAX}" if len(value) > _ITEMS_MAX else ""
    return ", ".join(map(_clean, value[:_ITEMS_MAX])) + more


def _clean(value: object) -> str:
    text = "".join(c if c.isprintable() else "�" for c in str(value)[: _TEXT_MAX + 1])
    return text if len(text) <= _TEXT_MAX else text[:_TEXT_MAX] + "…"


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
