"""The console's words in English and Japanese. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from sekisho.console.interfaces import BUILDING, CHANGED, FAILED, GIT, IN_FORCE, REFUSED
from sekisho.kernel.clock import utc

ENGLISH: Final = "en"
JAPANESE: Final = "ja"
LANGUAGES: Final = (ENGLISH, JAPANESE)

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    # the frame
    "lead": (
        "A request crosses only where your rules allow, and leaves a receipt that anyone can check.",
        "規則の許すところだけを通し、誰でも検証できる受領証を残します。",
    ),
    "requests": ("Requests", "リクエスト"),
    "explain": ("Explain", "判定の説明"),
    "verify": ("Verify a receipt", "受領証の検証"),
    "sign_out": ("Sign out", "サインアウト"),
    "sign_in": ("Sign in", "サインイン"),
    "other_language": ("日本語", "English"),
    "operator": ("operator", "運用者"),
    "auditor": ("auditor", "監査人"),
    "skip": ("Skip to the content", "本文へ移動"),
    # signing in
    "token": ("One-time token", "使い捨てトークン"),
    "token_help": (
        "sekisho console token DIR prints one, and on a terminal sekisho up does. Good once, for 15 minutes.",
        "sekisho console token DIR で発行されます（端末では sekisho up も表示）。有効期間は15分、一度だけ使えます。",
    ),
    "refused": (
        "This token does not open the console: it is wrong, used or too old.",
        "このトークンではサインインできません。誤っているか、使用済みか、期限切れです。",
    ),
    "sessions_full": (
        "As many are signed in as may be. Sign out where it is not needed; this token can still be used.",
        "サインイン数が上限に達しています。不要なところでサインアウトしてください。このトークンは引き続き使えます。",
    ),
    "too_many": (
        "Too many wrong tokens. Try again in {seconds} s.",
        "誤ったトークンが続きました。{seconds}秒後にもう一度お試しください。",
    ),
    # the panel
    "gateway": ("Gateway", "ゲートウェイ"),
    "ready": ("ready", "稼働中"),
    "not ready": ("not ready", "受付停止"),
    "unknown": ("can't be asked", "状態不明"),
    "log": ("Log", "台帳"),
    "entries": ("{count} entries", "{count}件"),
    "snapshot": ("Snapshot in force", "適用中の構成"),
    "snapshot_of": ("Snapshot", "構成"),
    "lag": ("Published up to", "公開の遅れ"),
    "lag_ago": ("{seconds} s ago", "{seconds}秒"),
    "never": ("nothing yet", "まだありません"),
    "declarations": ("Declarations", "宣言"),
    "witnesses": ("Witnesses", "証人"),
    "contradicted": ("A probe contradicts what is declared: {fact}", "調査結果が宣言と食い違っています: {fact}"),
    "cosigned_by": ("{count} of {of} cosign", "{of}者のうち{count}者が連署"),
    # facts
    "facts_of_all": ("Facts", "事実"),
    "facts_help": (
        "What policies see of each deployment now: by what is declared, and by what probes have read.",
        "各配備先について、ポリシーが現在見ている内容です。宣言と、調査の結果によります。",
    ),
    "observed_at": ("observed", "確認"),
    "ends_at": ("until", "期限"),
    "not_known": ("not known", "不明"),
    "contradicted_fact": ("contradicted", "食い違い"),
    "no_deployments": ("No deployment is in force.", "適用中の配備先はありません。"),
    "more": ("More", "続き"),
    # the list
    "all": ("All", "すべて"),
    "permitted": ("Permitted", "許可"),
    "denied": ("Denied", "拒否"),
    "monitored": ("Monitored", "監視のみ"),
    "filter": ("Show", "表示"),
    "time": ("Time", "時刻"),
    "organisation": ("Organisation", "組織"),
    "model": ("Model", "モデル"),
    "deployment": ("Deployment", "配備先"),
    "decision": ("Decision", "判定"),
    "labels": ("Labels", "ラベル"),
    "ended": ("Ended", "結果"),
    "tokens": ("Tokens", "トークン"),
    "tokens_help": ("prompt + completion", "入力＋出力"),
    "no_requests": ("No requests yet.", "リクエストはまだありません。"),
    "none_such": ("None found.", "該当するものはありません。"),
    "call_it": ("Point an OpenAI client at the gateway:", "OpenAIクライアントの接続先をゲートウェイに向けてください。"),
    "older": ("Older", "前の記録"),
    "newest": ("Newest", "最新"),
    "searched": ("Searched back to {time}.", "{time}まで検索しました。"),
    "search_on": ("Search further back", "さらに前を検索"),
    "masked": ("masked", "伏せて送信"),
    "running": ("running", "処理中"),
    # one request
    "request": ("Request", "リクエスト"),
    "back": ("All requests", "リクエスト一覧へ"),
    "denied_words": (
        "Denied. Nothing of this request left the installation.",
        "拒否されました。このリクエストの内容は一切送信されていません。",
    ),
    "permitted_words": ("Permitted, and sent to {deployment}.", "許可され、{deployment} に送信されました。"),
    "permitted_masked": (
        "Permitted with sensitive values masked, and sent to {deployment}.",
        "機微な値を伏せることを条件に許可され、{deployment} に送信されました。",
    ),
    "monitored_words": (
        "Denied by policy. Monitor mode let it pass, and it was sent to {deployment}.",
        "ポリシーでは拒否ですが、監視モードのため {deployment} に送信されました。",
    ),
    "asked": ("What was asked", "リクエストの内容"),
    "principal": ("Asked by", "利用者"),
    "roles": ("Roles", "役割"),
    "class": ("Data class", "データ区分"),
    "residency": ("May be processed in", "処理できる国・地域"),
    "nowhere": ("nowhere", "なし"),
    "none": ("none", "なし"),
    "why": ("Why", "判定の理由"),
    "sendRaw": ("as it is", "原文のまま"),
    "sendRedacted": ("with sensitive values masked", "機微な値を伏せて"),
    "exempted": (
        "Did not count, because of the exemption {names}",
        "適用除外 {names} により適用されませんでした",
    ),
    "default_deny": (
        "No policy permits it. What is not permitted is denied.",
        "許可する規則がありません。許可されていないものはすべて拒否されます。",
    ),
    "undecidable": ("It could not be decided, so it is denied", "判定できなかったため、拒否されました"),
    "attempts": ("Attempts", "試行"),
    "attempt": ("Attempt {number}", "試行{number}"),
    "status": ("Status", "ステータス"),
    "error": ("Error", "エラー"),
    "peer": ("Peer", "接続先"),
    "via_egress_proxy": (
        "an egress proxy: the deployment's own address is not known",
        "外向きプロキシ。デプロイメント自身のアドレスは不明",
    ),
    "sent": ("Sent", "送信量"),
    "answer": ("Answer", "応答量"),
    "bytes": ("{count} bytes", "{count}バイト"),
    "first_byte": ("First byte after", "最初の応答まで"),
    "total": ("Whole time", "全体の時間"),
    "ms": ("{count} ms", "{count}ミリ秒"),
    "receipt": ("Receipt", "受領証"),
    "download": ("Download the receipt", "受領証をダウンロード"),
    "receipt_pending": (
        "The receipt is not complete yet: it is there about a second after the request has ended.",
        "受領証はまだ完成していません。リクエストの終了から約1秒後に用意されます。",
    ),
    "receipt_unlinked": (
        "No receipt can be made any more: the key that its content was committed with was destroyed.",
        "受領証はもう作成できません。内容を結び付けていた鍵が破棄されています。",
    ),
    "reload": ("Look again", "再読み込み"),
    "verified_here": (
        "Verified in this page by your browser, from the file alone:",
        "この画面の中で、ブラウザーが受領証ファイルだけから検証します。",
    ),
    "needs_script": (
        "No scripts run here. Download the receipt and run: sekisho verify receipt.json --trust site.vkey",
        "スクリプトが無効です。受領証を保存し、sekisho verify receipt.json --trust site.vkey を実行してください。",
    ),
    "site_key": ("Site key to pin", "固定する拠点の鍵"),
    "site_key_help": (
        "This is the key as this installation states it. Who audits it puts the key here that came from elsewhere.",
        "この設備自身が示す鍵です。監査する人は、別の経路で入手した鍵に置き換えてください。",
    ),
    "tlog_policy": (
        "Policy: which logs, how many witnesses (C2SP tlog-policy)",
        "ポリシー：台帳と証人の条件（C2SP tlog-policy）",
    ),
    "verify_help": (
        "Choose a receipt file or drop it here. It is read by your browser alone and sent nowhere.",
        "受領証ファイルを選ぶか、ここにドロップしてください。読み取るのはブラウザーだけで、どこにも送信されません。",
    ),
    "file": ("Receipt file", "受領証ファイル"),
    # explaining
    "explain_help": (
        "What would happen to a request, without sending it. Nothing you type here is kept.",
        "リクエストを送らずに、どう判定されるかを示します。ここに入力した内容は保存されません。",
    ),
    "text": ("Text of the message", "メッセージ本文"),
    "role": ("Role", "役割"),
    "by_default": ("(default)", "（既定）"),
    "ask": ("Explain", "説明する"),
    "let_pass": (
        "Policy denies it; the organisation is in monitor mode.",
        "ポリシーでは拒否ですが、組織が監視モードです。",
    ),
    "would_stop": (
        "It would be refused: what policy permits is stopped ({where}).",
        "拒否されます。許可される送信先（{where}）は停止中です。",
    ),
    "mask": ("in the answer these would be masked: {labels}", "回答では次の値を伏せます：{labels}"),
    "restore": ("in the answer these would be put back: {labels}", "回答では次の値を元に戻します：{labels}"),
    "rewritten_masked": ("Masked in the answer", "回答で伏せた値"),
    "rewritten_restored": ("Put back into the answer", "回答で元に戻した値"),
    "kept": (
        "What is sent to {where} and answered is kept for {days} days ({policies}).",
        "{where} に送信した内容と応答を {days} 日間保存します（{policies}）。",
    ),
    "would_send": ("It would be sent, {how}, to {where}.", "{how}、{where} に送信されます。"),
    "would_send_one_of": ("It would be sent, {how}, to one of {where}.", "{how}、{where} のいずれかに送信されます。"),
    "would_deny": ("It would be denied. Nothing would leave.", "拒否されます。何も送信されません。"),
    "refused_before": ("It would be answered {status} before anything is decided", "判定の前に {status} が返されます"),
    "facts": ("Facts looked at", "参照された事実"),
    "until": ("until {time}", "{time}まで"),
    "observed": ("of {time}", "{time}に確認"),
    "found": ("Found", "検出箇所"),
    "raw": ("As it is", "原文のまま"),
    "redacted": ("With sensitive values masked", "機微な値を伏せた場合"),
    "boundary": ("boundary", "境界"),
    "key": ("key", "キー"),
    # compliance
    "compliance": ("Compliance", "コンプライアンス"),
    "compliance_help": (
        "What each policy did to each deployment, counted in verdicts. A number leads to the decisions behind it.",
        "各ポリシーが各配備先に対してどう働いたかを、判定結果の件数で示します。件数から、その判定を開けます。",
    ),
    "compliance_ask": (
        "Choose the days. The whole log is read, which takes about a second for 100,000 requests.",
        "期間を選んでください。台帳全体を読むため、10万件につき1秒ほどかかります。",
    ),
    "compliance_busy": (
        "Another view is being made. Try again in a moment.",
        "ほかの集計を作成中です。少し待ってからもう一度お試しください。",
    ),
    "compliance_back": ("All policies", "全ポリシーへ"),
    "day_from": ("From", "開始日"),
    "day_to": ("To, included", "終了日（当日を含む）"),
    "show": ("Show", "表示"),
    "today": ("Today", "今日"),
    "days": ("{count} days", "{count}日間"),
    "all_days": ("All", "全期間"),
    "span": ("{first} to {last}, UTC{zone}", "{first} 〜 {last}（UTC{zone}）"),
    "whole_log": ("the whole log", "台帳の全期間"),
    "fates_help": (
        "Exempt: forbidden, and an exemption says that it does not count. Unknown: denied for want of a fact.",
        "除外は、禁止されるはずが、適用除外により適用されなかったもの。不明は、配備先の事実が不明なために拒否されたもの。",
    ),
    "sent_requests": ("Sent", "送信"),
    "sent_how": ("{exempt} exempt, {monitored} by monitor mode", "適用除外 {exempt}、監視モード {monitored}"),
    "counted_to": ("Counted up to", "集計の時点"),
    "snapshots_missing": (
        "{count} snapshots are not here: for their decisions, what forbids let pass is not counted.",
        "スナップショット {count} 件がないため、その判定では、禁止ポリシーを通過した数を数えていません。",
    ),
    "left_out": (
        "{count} verdicts found no row and are left out: choose fewer days.",
        "行が多すぎるため {count} 件の結果を省きました。期間を短くしてください。",
    ),
    "by_policy": ("By policy and deployment", "ポリシーと配備先ごと"),
    "policy": ("Policy", "ポリシー"),
    "fate_permitted": ("Permitted", "許可"),
    "fate_denied": ("Denied", "拒否"),
    "fate_exempt": ("Exempt", "除外"),
    "fate_unknown": ("Unknown", "不明"),
    "effect_permit": ("permits", "許可"),
    "effect_forbid": ("forbids", "禁止"),
    "past_policy": ("not in force any more", "現在は適用されていません"),
    "exemptions": ("Exemptions", "適用除外"),
    "no_exemptions": ("There are none.", "ありません。"),
    "more_exemptions": (
        "{count} more: sekisho exemptions list",
        "ほかに {count} 件: sekisho exemptions list",
    ),
    "exemption": ("Exemption", "適用除外"),
    "control": ("Compensating control", "代替統制"),
    "excuses": ("Excused from", "適用しないポリシー"),
    "for_whom": ("For requests of", "対象のリクエスト"),
    "where_to": ("To", "送信先"),
    "ends": ("Until", "期限"),
    "exemption_ended": ("ended", "終了"),
    "exemption_ends_soon": ("ends soon", "まもなく終了"),
    "classes": ("Classes", "区分"),
    "deployments": ("Deployments", "配備先"),
    "models": ("Models", "モデル"),
    # errors
    "no_such_request": (
        "The log has no request of this id. It may not be published yet, which takes about a second.",
        "このIDのリクエストは台帳にありません。公開までに約1秒かかります。",
    ),
    "auditors_read": ("Auditors read; this is for operators.", "監査人は閲覧のみです。この操作は運用者に限られます。"),
}

# What became of the declarations on disk; `count` is of the mistakes in them.
_DECLARATIONS: Final[Mapping[str, tuple[str, str]]] = {
    IN_FORCE: ("in force", "適用済み"),
    CHANGED: ("changed, waiting for it to settle", "変更を検出。落ち着くのを待っています"),
    GIT: ("changed, waiting for git to finish", "変更を検出。gitの完了を待っています"),
    BUILDING: ("being checked and built", "確認と構築の途中です"),
    REFUSED: ("mistakes: {count}; the snapshot in force stays", "誤り{count}件：適用中の構成を維持しています"),
    FAILED: ("could not be taken over, tried again", "適用できません。再試行します"),
}

# How an attempt ended, as outcomes say it.
_ENDED: Final[Mapping[str, tuple[str, str]]] = {
    "complete": ("complete", "完了"),
    "caller_left": ("the caller left", "利用者が切断"),
    "upstream_failed": ("the deployment failed", "配備先の障害"),
    "upstream_refused": ("the deployment refused", "配備先が拒否"),
    "revoked": ("the key was revoked", "キーの失効"),
    "stopped": ("stopped by the operator", "運用者が停止"),
    "superseded": ("it outlived its rules", "規則の更新により終了"),
    "withheld": ("the answer was withheld", "回答を差し止め"),
    "not_sent": ("not sent", "未送信"),
    "interrupted": ("interrupted", "中断"),
}
_SOURCES: Final[Mapping[str, tuple[str, str]]] = {
    "upstream": ("as the deployment reports", "配備先の報告"),
    "estimated": ("estimated", "推定"),
    "upper_bound": ("upper bound", "上限"),
}


class Words:
    """One language's words. `words("key")` raises KeyError for a key that is not there: a bug of a page."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._column = LANGUAGES.index(language)

    def __call__(self, key: str, **values: object) -> str:
        return _WORDS[key][self._column].format(**values) if values else _WORDS[key][self._column]

    def declarations(self, state: str, mistakes: int) -> str:
        return self._of(_DECLARATIONS, state).format(count=mistakes)

    def ended(self, ended: object) -> str:
        return self._of(_ENDED, ended)

    def source(self, source: object) -> str:
        return self._of(_SOURCES, source)

    def _of(self, table: Mapping[str, tuple[str, str]], key: object) -> str:
        """What a newer version wrote is shown as it stands."""
        return table[key][self._column] if isinstance(key, str) and key in table else str(key)

    @property
    def other(self) -> str:
        return LANGUAGES[1 - self._column]


def choose_language(asked: str | None, kept: str | None, accepted: str) -> str:
    """The language of a page: what the address asks for, what a cookie keeps, what the browser would like."""
    for choice in (asked, kept):
        if choice in LANGUAGES:
            return str(choice)
    ranked = [part.split(";")[0].strip().lower()[:2] for part in accepted.split(",")]
    return next((language for language in ranked if language in LANGUAGES), ENGLISH)


def time_text(at_us: int) -> str:
    """Whole seconds, UTC; beyond what a calendar holds, the number."""
    return utc(at_us) or f"{at_us} µs"


def listed(items: Sequence[str], empty: str) -> str:
    return ", ".join(items) or empty
