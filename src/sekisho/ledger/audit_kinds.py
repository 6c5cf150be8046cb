"""The kinds of finding of depth 1 (integrity) and depth 2 (completeness)."""

from typing import Final

from sekisho.ledger.findings import ERROR, NOTE, WARNING, Kind, Words

_RESTORE: Final = Words(
    "Get the file from another copy of the log. If all copies are like this, the log was altered: keep it as evidence",
    "別の複製からこのファイルを取り直してください。どの複製も同じなら台帳が改変されています。証拠として保全してください",
)
_ASK_SITE: Final = Words(
    "Ask the site's operator what happened there, and keep this copy of the log",
    "拠点の運用者に経緯を確認し、この複製を保全してください",
)
_LOOK_AT_REQUEST: Final = Words(
    "Look at the request's entries: sekisho's own software never writes them so. Keep this copy as evidence",
    "該当リクエストのエントリーを確認してください。Sekisho はこのように書きません。この複製を保全してください",
)
_CLOCK: Final = Words(
    "Compare with the machine's time synchronisation log for that time",
    "その時刻の時刻同期のログと照合してください",
)

# Depth 1

CHECKPOINT_INVALID: Final = Kind(
    "checkpoint_invalid",
    ERROR,
    Words(
        "The checkpoint is missing, malformed, or not signed by this log's key",
        "チェックポイントがないか、壊れているか、この台帳の鍵で署名されていません",
    ),
    Words(
        "Look at --trust first: is it this site's key? Else the copy is damaged, or of another log",
        "まず --trust がこの拠点の鍵か確認してください。そうであれば複製が壊れているか、別の台帳のものです",
    ),
)
HISTORY_FORKED: Final = Kind(
    "history_forked",
    ERROR,
    Words(
        "The log does not extend a checkpoint that its key signed before: history was rewritten, or cut",
        "以前に署名されたチェックポイントの続きになっていません。履歴が書き換えられたか、切り詰められています",
    ),
    Words(
        "Keep both checkpoints: together they prove it. Tell the site and its witnesses",
        "両方のチェックポイントを保全してください。二つで証拠になります。拠点と証人に知らせてください",
    ),
)
HISTORY_UNPROVEN: Final = Kind(
    "history_unproven",
    ERROR,
    Words(
        "Because of the damage, nothing proves that the log extends a checkpoint seen before",
        "破損のため、以前のチェックポイントの続きであることを証明できません",
    ),
    _RESTORE,
)
COSIGNATURE_INVALID: Final = Kind(
    "cosignature_invalid",
    ERROR,
    Words(
        "A witness's cosignature on the checkpoint does not verify", "チェックポイントにある証人の連署が検証できません"
    ),
    Words(
        "Ask the witness which checkpoints of this log it has cosigned",
        "証人に、この台帳のどのチェックポイントに連署したか確認してください",
    ),
)
QUORUM_NOT_MET: Final = Kind(
    "quorum_not_met",
    ERROR,
    Words(
        "The checkpoint lacks the cosignatures that your policy demands",
        "方針が求める証人の連署がチェックポイントに足りません",
    ),
    Words(
        "Ask the site for a checkpoint with cosignatures; without, it may show others a different log",
        "連署のあるチェックポイントを拠点に求めてください。連署がなければ、他者に別の台帳を見せている可能性があります",
    ),
)
ROOT_MISMATCH: Final = Kind(
    "root_mismatch",
    ERROR,
    Words(
        "The files do not lead to the root that the checkpoint commits to",
        "ファイルから、チェックポイントのルートハッシュが導けません",
    ),
    _RESTORE,
)
TILE_DAMAGED: Final = Kind(
    "tile_damaged",
    ERROR,
    Words(
        "A hash tile is missing, or is not the one that the checkpoint commits to",
        "ハッシュタイルがないか、チェックポイントが示すものと異なります",
    ),
    _RESTORE,
)
BUNDLE_DAMAGED: Final = Kind(
    "bundle_damaged",
    ERROR,
    Words(
        "A bundle of entries is missing or can't be taken apart; its entries could not be audited",
        "エントリーの束がないか、読み取れません。その中のエントリーは監査できていません",
    ),
    _RESTORE,
)
ENTRY_ALTERED: Final = Kind(
    "entry_altered",
    ERROR,
    Words(
        "An entry is not the one that the checkpoint commits to", "エントリーが、チェックポイントが示すものと異なります"
    ),
    _RESTORE,
)
ENTRIES_UNPROVEN: Final = Kind(
    "entries_unproven",
    ERROR,
    Words(
        "Nothing left leads from these entries to the checkpoint",
        "これらのエントリーからチェックポイントに至る道が残っていません",
    ),
    _RESTORE,
)

# Depth 2

ENTRY_MALFORMED: Final = Kind(
    "entry_malformed",
    ERROR,
    Words(
        "An entry is not canonical JSON with exactly an envelope's fields",
        "エントリーが正規形の JSON でないか、封筒の項目が正しくありません",
    ),
    Words(
        "If its version is newer, use a newer sekisho; else the log was written by something else",
        "新しい版のエントリーなら新しい sekisho を使ってください。そうでなければ別のものが書き込んでいます",
    ),
)
ID_TWICE: Final = Kind(
    "id_twice",
    ERROR,
    Words("Two entries have the same id", "二つのエントリーが同じ ID を持っています"),
    _LOOK_AT_REQUEST,
)
SEQUENCE_GAP: Final = Kind(
    "sequence_gap",
    ERROR,
    Words(
        "A gateway's numbers have a gap: entries that it wrote are not in the log",
        "ゲートウェイの連番が飛んでいます。書かれたエントリーが台帳にありません",
    ),
    Words(
        "Look for the write-ahead directory of that writer on the site's disk, and ask what became of it",
        "拠点のディスクでそのライターの先行書き込みディレクトリーを探し、経緯を確認してください",
    ),
)
SEQUENCE_GAP_RELAY: Final = Kind(
    "sequence_gap_relay",
    WARNING,
    Words(
        "A writer of administrative acts has a gap in its numbers: an act relayed twice leaves one, a loss too",
        "管理操作のライターの連番が飛んでいます。中継の重複を省いた跡か、欠落です",
    ),
    Words("Compare with the acts that the operators know of", "運用者が把握している操作と照合してください"),
)
LOSS_TOLD: Final = Kind(
    "loss_told",
    ERROR,
    Words(
        "Entries were lost, and a repair of the ledger says so in an entry of its own",
        "失われたエントリーがあり、台帳の修復がそのことをエントリーに記録しています",
    ),
    Words(
        "Ask the site for what the repair kept aside (the folder that its entry names), and what damaged the disk",
        "修復が退避したもの（エントリーにあるフォルダー）と、ディスクが損傷した原因を拠点に確認してください",
    ),
)
LOSS_POSSIBLE: Final = Kind(
    "loss_possible",
    WARNING,
    Words(
        "A repair could not know whether a damaged write-ahead log held more entries",
        "損傷した先行書き込みログにまだエントリーがあったかどうか、修復では分かりませんでした",
    ),
    Words(
        "Compare with what callers and providers know of that time: depth 4",
        "その時間帯について、呼び出し元とプロバイダーの記録と照合してください（深さ 4）",
    ),
)
LOSS_FOLLOWS: Final = Kind(
    "loss_follows",
    ERROR,
    Words(
        "A request's entries do not fit together, and a repair says that the same gateway's were lost: likely its own",
        "リクエストのエントリーが揃っていません。同じゲートウェイのエントリーが失われたと修復が記録しており、その一部と思われます",
    ),
    Words(
        "Ask the site for what the repair kept aside: it may still name the request's lost entries",
        "修復が退避したものを拠点に確認してください。失われたエントリーの ID が残っていることがあります",
    ),
)
LOSS_FALSE: Final = Kind(
    "loss_false",
    ERROR,
    Words(
        "An entry says that a repair found something lost, and it is not so",
        "失われたと修復が記録したエントリーが実際には失われていないか、その記録自体が正しくありません",
    ),
    Words(
        "sekisho's own software never writes this: it could cover up a deletion. Keep this copy as evidence",
        "Sekisho はこのように書きません。削除を隠すためのものかもしれません。この複製を証拠として保全してください",
    ),
)
LOSS_RECOVERED: Final = Kind(
    "loss_recovered",
    NOTE,
    Words(
        "A repair named entries of the log as lost which are here: another copy had them",
        "修復で失われたとされた台帳のエントリーが、ここにはあります。別の複製に残っていたものです",
    ),
    Words(
        "Give the site this copy: sekisho ledger repair --from",
        "この複製を拠点に渡してください: sekisho ledger repair --from",
    ),
)
SEQUENCE_BACK: Final = Kind(
    "sequence_back",
    ERROR,
    Words("A writer's number comes twice, or out of order", "ライターの連番が重複しているか、順序が逆です"),
    _LOOK_AT_REQUEST,
)
REQUEST_MISSING: Final = Kind(
    "request_missing",
    ERROR,
    Words(
        "A decision or outcome does not say which request it is of", "判定または結果に、リクエストの ID がありません"
    ),
    _LOOK_AT_REQUEST,
)
BODY_MALFORMED: Final = Kind(
    "body_malformed",
    ERROR,
    Words("A decision or outcome lacks what it must say", "判定または結果に、必要な項目がありません"),
    _LOOK_AT_REQUEST,
)
ATTEMPT_OUT_OF_ORDER: Final = Kind(
    "attempt_out_of_order",
    ERROR,
    Words(
        "A request's attempts are not numbered 1, 2, … one after the other",
        "リクエストの試行が 1, 2, … と順に並んでいません",
    ),
    _LOOK_AT_REQUEST,
)
DECISION_AFTER_DENIAL: Final = Kind(
    "decision_after_denial",
    ERROR,
    Words("Something was decided for a request after its denial", "拒否のあとに、同じリクエストの判定があります"),
    _LOOK_AT_REQUEST,
)
OUTCOME_UNEXPECTED: Final = Kind(
    "outcome_unexpected",
    ERROR,
    Words(
        "An outcome's decision is not before it, was a denial, or has an outcome already",
        "結果に対応する判定が前にないか、拒否であるか、すでに結果があります",
    ),
    _LOOK_AT_REQUEST,
)
OUTCOME_DIFFERS: Final = Kind(
    "outcome_differs",
    ERROR,
    Words(
        "An outcome is of another attempt or actor than its decision", "結果の試行番号または主体が、判定と異なります"
    ),
    _LOOK_AT_REQUEST,
)
OUTCOME_MISSING: Final = Kind(
    "outcome_missing",
    ERROR,
    Words(
        "A decision to send has no outcome, though the log went on for longer than any answer takes",
        "送信の判定に結果がありません。どの回答よりも長い時間が経過しています",
    ),
    Words(
        "Ask the site whether that process still runs; its publisher closes what a dead one left open",
        "そのプロセスがまだ動いているか拠点に確認してください。終了していれば中断として記録されるはずです",
    ),
)
OUTCOME_PENDING: Final = Kind(
    "outcome_pending",
    NOTE,
    Words(
        "A decision to send has no outcome yet: it was under way when the checkpoint was signed",
        "送信の判定にまだ結果がありません。チェックポイントの時点で処理中でした",
    ),
    Words("Audit a later checkpoint", "後のチェックポイントを監査してください"),
)
ACTOR_DIFFERS: Final = Kind(
    "actor_differs",
    ERROR,
    Words(
        "A decision's actor is not the principal that it was decided for", "判定の主体が、判定対象の主体と異なります"
    ),
    _LOOK_AT_REQUEST,
)
KEY_UNKNOWN: Final = Kind(
    "key_unknown",
    WARNING,
    Words(
        "Something was decided for a key whose creation is not in this log",
        "この台帳に作成の記録がないキーについて判定されています",
    ),
    Words(
        "It may be older than this log. If not, ask the site where the key comes from",
        "台帳より古いキーの可能性があります。そうでなければ、キーの出所を拠点に確認してください",
    ),
)
KEY_DIFFERS: Final = Kind(
    "key_differs",
    ERROR,
    Words(
        "A key's organisation or roles are not those that it was created with",
        "キーの組織または役割が、作成時の記録と異なります",
    ),
    _LOOK_AT_REQUEST,
)
KEY_REVOKED: Final = Kind(
    "key_revoked",
    ERROR,
    Words("A request was taken from a key after its revocation", "失効したキーのリクエストが受け付けられています"),
    Words(
        "Ask the site whether its gateways could read the register then",
        "その時点でゲートウェイが登録簿を読めていたか確認してください",
    ),
)
ACTOR_UNKNOWN: Final = Kind(
    "actor_unknown",
    NOTE,
    Words("An act's actor is none that this log tells of", "操作の主体が、この台帳に現れないものです"),
    Words("Ask the site who it is", "拠点に確認してください"),
)
SITE_DIFFERS: Final = Kind(
    "site_differs",
    ERROR,
    Words("An entry names another site than the log's first one", "エントリーの拠点が、台帳の最初のものと異なります"),
    _ASK_SITE,
)
TIME_BACKWARDS: Final = Kind(
    "time_backwards",
    WARNING,
    Words("Within one process the time went backwards", "一つのプロセスの中で時刻が逆行しています"),
    _CLOCK,
)
CLOCK_STOOD_STILL: Final = Kind(
    "clock_stood_still",
    WARNING,
    Words(
        "A process's time stood still: the machine's clock was set back while it ran",
        "プロセスの時刻が止まっています。動作中に時計が戻されています",
    ),
    _CLOCK,
)
CLOCK_JUMPED: Final = Kind(
    "clock_jumped",
    WARNING,
    Words(
        "A process began more than a day before what the log held already: one of the clocks was wrong",
        "プロセスの最初の時刻が、台帳の既存の時刻より一日以上前です。どちらかの時計が誤っています",
    ),
    _CLOCK,
)
TIME_FUTURE: Final = Kind(
    "time_future",
    WARNING,
    Words("An entry is stamped later than now", "エントリーの時刻が現在より先です"),
    _CLOCK,
)
ID_TIME: Final = Kind(
    "id_time",
    WARNING,
    Words(
        "The time in an entry's id is not near the entry's own", "ID に含まれる時刻が、エントリーの時刻と離れています"
    ),
    _CLOCK,
)

INTEGRITY: Final = (
    CHECKPOINT_INVALID, HISTORY_FORKED, HISTORY_UNPROVEN, COSIGNATURE_INVALID, QUORUM_NOT_MET, ROOT_MISMATCH,
    TILE_DAMAGED, BUNDLE_DAMAGED, ENTRY_ALTERED, ENTRIES_UNPROVEN,
)  # fmt: skip
DAMAGE: Final = (ROOT_MISMATCH, TILE_DAMAGED, BUNDLE_DAMAGED, ENTRY_ALTERED, ENTRIES_UNPROVEN)  # of files
COMPLETENESS: Final = (
    ENTRY_MALFORMED, ID_TWICE, SEQUENCE_GAP, SEQUENCE_GAP_RELAY, LOSS_TOLD, LOSS_POSSIBLE, LOSS_FOLLOWS, LOSS_FALSE,
    LOSS_RECOVERED, SEQUENCE_BACK, REQUEST_MISSING, BODY_MALFORMED,
    ATTEMPT_OUT_OF_ORDER, DECISION_AFTER_DENIAL, OUTCOME_UNEXPECTED, OUTCOME_DIFFERS, OUTCOME_MISSING,
    OUTCOME_PENDING, ACTOR_DIFFERS, KEY_UNKNOWN, KEY_DIFFERS, KEY_REVOKED, ACTOR_UNKNOWN, SITE_DIFFERS,
    TIME_BACKWARDS, CLOCK_JUMPED, CLOCK_STOOD_STILL, TIME_FUTURE, ID_TIME,
)  # fmt: skip
KINDS: Final = (*INTEGRITY, *COMPLETENESS)
