"""A receipt's verification in words, on one screen: what held, or what did not. Pure.

Bodies belong to whoever wrote them, so this reads them with care: what is absent is left out, and text from the
receipt can't move the cursor or turn the writing direction of a terminal.
"""

from collections.abc import Mapping
from typing import Any, Final

from sekisho.kernel.clock import utc
from sekisho.ledger.errors import ReceiptInvalid, TlogPolicyUnmet
from sekisho.ledger.tlog_policy import Fulfilment, shown
from sekisho.ledger.verify import INVALID, REASONS, UNMET, VERIFIED, Attempt, Verification

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
    "policy": ("policy", "ポリシー"),
    "by_log": ("met; signed by a log that it lists", "充足。記載された台帳の署名あり"),
    "any_log": ("met; it lists no log", "充足。台帳の記載なし"),
    "cosigned": ("cosigned by", "連署した証人"),
    "invalid": ("NOT VALID", "無効"),
    "unmet": (
        "HOLDS, BUT IS NOT WHAT THE POLICY DEMANDS",
        "受領証は成立していますが、ポリシーの条件を満たしていません",
    ),
    "fails": ("does not hold", "成立しない条件"),
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
OBLIGATIONS: Final[Mapping[int, tuple[str, str]]] = {  # of ledger.verify; console/static/verify.js shows the same words
    1: ("The file is a receipt in its one canonical form", "ファイルは正規形の受領証である"),
    2: ("Its site key is one that you pinned", "拠点の鍵は、固定した鍵と一致する"),
    3: ("The site key signed the enrolment of the log key", "台帳の鍵の登録に、拠点の鍵の署名がある"),
    4: (
        "Every entry is well formed, of this request and of one site",
        "すべての記録は正しい形式で、このリクエストと一つの拠点に属する",
    ),
    5: ("The enrolled log key signed the checkpoint", "チェックポイントに、登録された台帳の鍵の署名がある"),
    6: (
        "Every entry is in the log that the checkpoint commits to",
        "すべての記録は、チェックポイントの台帳に含まれている",
    ),
    7: (
        "The attempts are numbered without a gap, none that followed is missing, and a denial is the last",
        "試行の番号に欠番がなく、続いた試行もすべてあり、拒否は最後にある",
    ),
    8: (
        "Every permitted attempt has its one outcome, a denial has none",
        "許可された試行には結果がちょうど一つあり、拒否には結果がない",
    ),
    9: ("Every commitment has its salt, and they fit", "すべてのコミットメントとソルトが対応し、一致する"),
    10: ("Content that was given is what was committed to", "与えられた内容は、記録された内容と一致する"),
    11: (
        "What was chosen was permitted, or the decision says that monitor mode let it pass",
        "選ばれた配備先は許可されているか、監視モードで通したと記録されている",
    ),
    12: (
        "No signature of a log or witness of the policy fails",
        "ポリシーに記載された台帳と証人の署名に、検証に失敗するものはない",
    ),
    13: ("A log of the policy signed the checkpoint", "チェックポイントに、ポリシーに記載された台帳の署名がある"),
    14: (
        "The witnesses that cosigned are a quorum of the policy",
        "連署した証人は、ポリシーの定足数を満たしている",
    ),
}


def describe(verification: Verification, language: str = ENGLISH) -> str:
    """What the receipt proves, in English or Japanese."""
    words = _words(language)
    pinned = verification.verdict == VERIFIED
    checkpoint = verification.checkpoint
    lines = [
        words["verified"] if pinned else words["consistent"],
        f"  {words['request']}: {_clean(verification.request)}",
        f"  {words['site']}: {_clean(verification.site_key.vkey)}",
        f"  {words['log']}: {_clean(checkpoint.origin)} ({checkpoint.size} {words['entries']})",
    ]
    if verification.fulfilment is not None:
        lines.append(f"  {words['policy']}: {_fulfilment(verification.fulfilment, words)}")
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


def describe_failure(error: ReceiptInvalid | TlogPolicyUnmet, language: str = ENGLISH) -> str:
    """Why a receipt is not verified, in English or Japanese; details stand in English."""
    words = _words(language)
    verdict = words["unmet" if isinstance(error, TlogPolicyUnmet) else "invalid"]
    number = next(number for number, reason in REASONS.items() if reason == error.reason)
    title = OBLIGATIONS[number][_column(language)]
    return f"{verdict}: {_clean(error, 400)}\n  {words['fails']}: {title} ({error.reason})"


def failure_summary(error: ReceiptInvalid | TlogPolicyUnmet) -> dict[str, str]:
    """The same for programs."""
    verdict = UNMET if isinstance(error, TlogPolicyUnmet) else INVALID
    return {"message": error.message, "reason": error.reason, "verdict": verdict}


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
        "policy": _fulfilment_summary(verification.fulfilment),
        "request": verification.request,
        "site_key": verification.site_key.vkey,
        "size": verification.checkpoint.size,
        "verdict": verification.verdict,
    }


def _fulfilment_summary(fulfilment: Fulfilment | None) -> dict[str, Any] | None:
    if fulfilment is None:
        return None
    return {
        "cosignatures": {shown(name): found.time for name, found in fulfilment.cosignatures.items()},
        "logs": [log.vkey for log in fulfilment.logs],
    }


def _fulfilment(fulfilment: Fulfilment, words: Mapping[str, str]) -> str:
    text = words["by_log" if fulfilment.logs else "any_log"]
    if not fulfilment.cosignatures:
        return text
    named = [f"{shown(name)} ({_time(found.time * 1_000_000)})" for name, found in fulfilment.cosignatures.items()]
    return f"{text}; {words['cosigned']}: {_join(named)}"


def _words(language: str) -> Mapping[str, str]:
    return {name: pair[_column(language)] for name, pair in _WORDS.items()}


def _column(language: str) -> int:
    return 1 if language == JAPANESE else 0


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


def _clean(value: object, length_max: int = _TEXT_MAX) -> str:
    text = "".join(c if c.isprintable() else "�" for c in str(value)[: length_max + 1])
    return text if len(text) <= length_max else text[:length_max] + "…"


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
