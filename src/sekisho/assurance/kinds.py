"""The kinds of finding of depth 3 (re-performance) and depth 4 (reconciliation)."""

from typing import Final

from sekisho.ledger.findings import ERROR, NOTE, WARNING, Kind, Words

_DECIDE: Final = Words(
    "Look at the request's entries and its snapshot. Keep this copy: with the snapshot, anybody can decide it again",
    "リクエストのエントリーとスナップショットを確認してください。この複製とスナップショットがあれば、誰でも再判定できます",
)
_SNAPSHOT: Final = Words(
    "Get the snapshot from the site (its snapshots/ directory) and name it with --snapshots",
    "拠点の snapshots/ ディレクトリーからスナップショットを入手し、--snapshots で指定してください",
)
_ASK_PROVIDER: Final = Words(
    "Ask the provider for its record of the call, and the site for its entries",
    "プロバイダーに呼び出しの記録を、拠点にエントリーを求めてください",
)

_ASK_WHO: Final = Words(
    "Ask the site who did it and how: the register refuses such an act. Keep this copy as evidence",
    "誰がどのように行ったかを拠点に確認してください。登録簿はこの操作を拒否します。この複製を証拠として保全してください",
)

# Depth 3

DECISION_WRONG: Final = Kind(
    "decision_wrong",
    ERROR,
    Words(
        "The engine decides otherwise from the recorded input and snapshot: the recorded verdict is wrong",
        "記録された入力とスナップショットから再判定すると結果が異なります。記録された判定は誤りです",
    ),
    _DECIDE,
)
REASONS_DIFFER: Final = Kind(
    "reasons_differ",
    ERROR,
    Words(
        "The engine reaches the same verdicts, but for other reasons than those recorded",
        "再判定の結果は同じですが、理由が記録と異なります",
    ),
    _DECIDE,
)
CHOSEN_NOT_PERMITTED: Final = Kind(
    "chosen_not_permitted",
    ERROR,
    Words("It was sent where the policies do not permit it", "ポリシーが許可しない先に送信されています"),
    _DECIDE,
)
DENIED_THOUGH_PERMITTED: Final = Kind(
    "denied_though_permitted",
    ERROR,
    Words("It was denied though the policies permit it", "ポリシーが許可するのに拒否されています"),
    _DECIDE,
)
MONITORED_WRONG: Final = Kind(
    "monitored_wrong",
    ERROR,
    Words(
        "It says that monitor mode let it pass, and its organisation had none, or the denial was not one to lift",
        "監視モードで通過とありますが、組織が監視モードでないか、通過させてよい拒否ではありません",
    ),
    _DECIDE,
)
RETENTION_WRONG: Final = Kind(
    "retention_wrong",
    ERROR,
    Words(
        "It says that content was kept, and the policies do not let it be kept, or not for so long, or for that reason",
        "内容を保存したとありますが、ポリシーは保存を許可しないか、保存日数または理由が異なります",
    ),
    _DECIDE,
)
REWRITE_WRONG: Final = Kind(
    "rewrite_wrong",
    ERROR,
    Words(
        "What was to be masked in the answer, or put back into it, is not what the policies say",
        "回答で伏せる値、または元に戻す値の記録が、ポリシーの定めと異なります",
    ),
    _DECIDE,
)
INPUT_MALFORMED: Final = Kind(
    "input_malformed",
    ERROR,
    Words(
        "A decision's recorded input is none that can be decided on", "判定の入力の記録が、判定できる形ではありません"
    ),
    _DECIDE,
)
POLICIES_MISNAMED: Final = Kind(
    "policies_misnamed",
    ERROR,
    Words(
        "A decision names its policies otherwise than its snapshot",
        "判定にあるポリシーの名がスナップショットと異なります",
    ),
    _DECIDE,
)
EXEMPTIONS_MISNAMED: Final = Kind(
    "exemptions_misnamed",
    ERROR,
    Words(
        "A decision names other exemptions than those that permit its candidates",
        "判定にある適用除外が、候補を許可した適用除外と異なります",
    ),
    _DECIDE,
)
EXEMPTION_UNGRANTED: Final = Kind(
    "exemption_ungranted",
    ERROR,
    Words(
        "A decision stands on an exemption that nobody had approved, as far as this log tells",
        "台帳に承認の記録がない適用除外に基づく判定です",
    ),
    Words(
        "Ask the site who approved it. In the log of a restored site, the grant may stand in the log before it",
        "誰が承認したかを拠点に確認してください。復元した拠点では、以前の台帳に記録があるかもしれません",
    ),
)
OBSERVED_UNSUPPORTED: Final = Kind(
    "observed_unsupported",
    ERROR,
    Words(
        "A snapshot takes for observed what no entry supports: the log tells of no such reading, or of another",
        "スナップショットで確認済みとされる事実に、根拠となる調査の記録が台帳にないか、内容が異なります",
    ),
    Words(
        "Ask the site who made this snapshot. Treat what was decided under it as decided on made-up facts",
        "誰がこのスナップショットを作ったかを拠点に確認し、その下での判定は事実の裏付けがないものとして扱ってください",
    ),
)
SCHEMA_DIFFERS: Final = Kind(
    "schema_differs",
    ERROR,
    Words("A decision's schema is not its snapshot's", "判定のスキーマがスナップショットのものと異なります"),
    _DECIDE,
)
EPOCH_WRONG: Final = Kind(
    "epoch_wrong",
    ERROR,
    Words(
        "It was decided with facts, exemptions or a monitor mode that did not hold at that time",
        "その時点では有効でない事実、適用除外、または監視モードで判定されています",
    ),
    _DECIDE,
)
APPROVAL_MISSING: Final = Kind(
    "approval_missing",
    ERROR,
    Words(
        "An act was done without the approval that the rules in force demanded",
        "適用中の規則が求める承認なしに操作が行われています",
    ),
    _ASK_WHO,
)
APPROVAL_INVALID: Final = Kind(
    "approval_invalid",
    ERROR,
    Words("The approval that an act's entry bears does not hold", "操作のエントリーにある承認が有効ではありません"),
    _ASK_WHO,
)
APPROVAL_USED_AGAIN: Final = Kind(
    "approval_used_again",
    ERROR,
    Words("One approval stands in the entries of two acts", "一つの承認が、二つの操作のエントリーにあります"),
    _ASK_WHO,
)
PERSON_CARRIED: Final = Kind(
    "person_carried",
    WARNING,
    Words(
        "A person's key was enrolled in an earlier log, and carried over into this one when the site was restored",
        "人の鍵が以前の台帳で登録され、復元の際にこの台帳へ引き継がれたとあります",
    ),
    Words(
        "Look for its enrolment in the log that the entry ledger.restore names",
        "ledger.restore のエントリーが示す以前の台帳で、登録を確認してください",
    ),
)
RULES_UNKNOWN: Final = Kind(
    "rules_unknown",
    WARNING,
    Words(
        "The log does not tell which snapshot was in force when an act was done, so nobody can say what it needed",
        "操作の時点でどのスナップショットが適用中だったか台帳に記録がなく、承認が必要だったか判断できません",
    ),
    Words("Ask the site which rules it had then", "その時点の規則を拠点に確認してください"),
)
SNAPSHOT_MISSING: Final = Kind(
    "snapshot_missing",
    WARNING,
    Words(
        "A snapshot is not here, so what was decided under it could not be decided again",
        "スナップショットがないため、その下での判定を再判定できません",
    ),
    _SNAPSHOT,
)
SNAPSHOT_UNUSABLE: Final = Kind(
    "snapshot_unusable",
    ERROR,
    Words(
        "A snapshot is not what its digest says, or can't be decided with",
        "スナップショットがダイジェストと一致しないか、判定に使えません",
    ),
    _SNAPSHOT,
)
SNAPSHOT_SUPERSEDED: Final = Kind(
    "snapshot_superseded",
    WARNING,
    Words(
        "A request was decided under a snapshot that was not in force when it arrived",
        "到着時に有効でなかったスナップショットで判定されています",
    ),
    Words(
        "Ask the site whether that gateway could load the new rules, or whether they were applied without control",
        "ゲートウェイが新しい規則を読み込めたか、control なしで適用されたかを拠点に確認してください",
    ),
)
SITE_UNKNOWN: Final = Kind(
    "site_unknown",
    WARNING,
    Words(
        "An entry's site is not among those that its snapshot declares",
        "エントリーの拠点が、スナップショットの宣言にありません",
    ),
    Words("Ask the site why it is not declared", "宣言にない理由を拠点に確認してください"),
)
PRINCIPAL_UNDECLARED: Final = Kind(
    "principal_undeclared",
    WARNING,
    Words(
        "A caller by token or certificate, of an organisation that declares no issuer or certificate",
        "トークンまたは証明書の呼び出し元ですが、組織は発行者も証明書も宣言していません",
    ),
    Words("Ask the site who let it in", "誰が許可したかを拠点に確認してください"),
)
ENGINE_DIFFERS: Final = Kind(
    "engine_differs",
    NOTE,
    Words(
        "Decisions were made with another version of the engine than this audit's",
        "判定に使われたエンジンの版が、この監査のものと異なります",
    ),
    Words(
        "If decisions differ, audit with that version before you conclude",
        "判定が異なる場合は、その版でも監査してから結論を出してください",
    ),
)

# Depth 4

EGRESS_UNRECEIPTED: Final = Kind(
    "egress_unreceipted",
    ERROR,
    Words(
        "The provider knows of a call that the ledger does not: something went past the checkpoint",
        "プロバイダーの記録にあり、台帳にない呼び出しです。関所を通らずに送信されています",
    ),
    Words(
        "Find out with whose credential it was made, and withdraw that credential",
        "どの認証情報による呼び出しかを調べ、その認証情報を失効させてください",
    ),
)
MISSING_AT_PROVIDER: Final = Kind(
    "missing_at_provider",
    WARNING,
    Words(
        "The ledger tells of an answer of which the provider knows nothing",
        "台帳には回答の記録がありますが、プロバイダーの記録にありません",
    ),
    Words(
        "Look whether the provider's file covers that time and this account; if it does, ask the provider",
        "プロバイダーの記録がその時刻とアカウントを含むか確認し、含むならプロバイダーに確認してください",
    ),
)
TIME_DIFFERS: Final = Kind(
    "time_differs",
    WARNING,
    Words("The provider's time of the call is not near the ledger's", "呼び出しの時刻が台帳と離れています"),
    _ASK_PROVIDER,
)
TOKENS_DIFFER: Final = Kind(
    "tokens_differ",
    WARNING,
    Words("The provider counts other tokens than the ledger", "トークン数がプロバイダーと台帳で異なります"),
    _ASK_PROVIDER,
)
NOTHING_COMPARED: Final = Kind(
    "nothing_compared",
    WARNING,
    Words(
        "Nothing in the provider's record lies within the log's time: no call without a receipt could be found",
        "プロバイダーの記録に台帳の期間内に収まるものがなく、受領証のない呼び出しを見つけられません",
    ),
    Words(
        "Get the provider's record of that time, and check how its times are written",
        "その期間のプロバイダーの記録を入手し、時刻の書き方を確認してください",
    ),
)
PROVIDER_LOG_DAMAGED: Final = Kind(
    "provider_log_damaged",
    ERROR,
    Words("The provider's own log does not hold", "プロバイダー側の台帳に問題があります"),
    Words("Audit that log by itself: sekisho audit", "その台帳を単独で監査してください: sekisho audit"),
)

KINDS: Final = (
    DECISION_WRONG, REASONS_DIFFER, CHOSEN_NOT_PERMITTED, DENIED_THOUGH_PERMITTED, MONITORED_WRONG, RETENTION_WRONG,
    REWRITE_WRONG, INPUT_MALFORMED, POLICIES_MISNAMED, EXEMPTIONS_MISNAMED, EXEMPTION_UNGRANTED, OBSERVED_UNSUPPORTED,
    SCHEMA_DIFFERS, EPOCH_WRONG,
    APPROVAL_MISSING, APPROVAL_INVALID, APPROVAL_USED_AGAIN, PERSON_CARRIED, RULES_UNKNOWN,
    SNAPSHOT_MISSING, SNAPSHOT_UNUSABLE, SNAPSHOT_SUPERSEDED, SITE_UNKNOWN, PRINCIPAL_UNDECLARED, ENGINE_DIFFERS,
    EGRESS_UNRECEIPTED, MISSING_AT_PROVIDER, TIME_DIFFERS, TOKENS_DIFFER, NOTHING_COMPARED,
    PROVIDER_LOG_DAMAGED,
)  # fmt: skip
