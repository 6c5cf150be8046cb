"""What `sekisho doctor` says, by the code of a finding: message and remedy, in English and in Japanese."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from sekisho.app.doctor.findings import Finding
from sekisho.kernel.clock import MINUTES, utc

JAPANESE: Final = "ja"


class Words(NamedTuple):
    """Templates over a finding's values; a value with a unit at the end of its name is put in words first."""

    message: str
    message_ja: str
    remedy: str = ""
    remedy_ja: str = ""


WORDS: Final[Mapping[str, Words]] = {
    # processes
    "lock.nobody": Words("nothing of it runs", "起動していません"),
    "lock.held": Words(
        "{lock} lock: held by process {process} ({command})", "{lock} ロック: プロセス {process}（{command}）が保持"
    ),
    "lock.unknown": Words(
        "this system does not tell who holds locks: what is said below takes nothing for running",
        "このシステムではロックの保持者が分かりません。以下は停止中とみなした結果です",
        "Ask where /proc/locks is there, such as on the host",
        "/proc/locks のある場所（ホストなど）で実行してください",
    ),
    "lock.unseen": Words(
        "{lock} lock: held by a process that can't be seen from here",
        "{lock} ロック: ここからは見えないプロセスが保持",
        "Look on the host, or in the other container that has this directory",
        "ホスト、またはこのディレクトリを共有する別のコンテナを確認してください",
    ),
    "lock.stopped": Words(
        "{lock} lock: process {process} ({command}) is stopped and does nothing",
        "{lock} ロック: プロセス {process}（{command}）は停止状態です",
        "Let it go on: kill -CONT {process}; or end it: kill -KILL {process}",
        "再開: kill -CONT {process}、終了: kill -KILL {process}",
    ),
    "lock.foreign": Words(
        "{lock} lock: held by process {process}, which is something else ({command})",
        "{lock} ロック: 別のプログラム {process}（{command}）が保持",
        "Find out what it is and end it; the lock goes with it",
        "何のプロセスかを確かめて終了してください。ロックも同時に外れます",
    ),
    "lock.no_control": Words(
        "`sekisho up` runs (process {process}), and control does not: nothing is published",
        "`sekisho up`（プロセス {process}）は起動中ですが、コントロールが動いておらず、公開が止まっています",
        "Its log says why it ends; it is started again and again",
        "終了の理由はログにあります。再起動は自動で繰り返されます",
    ),
    "lock.gateway_alone": Words(
        "a gateway runs (process {process}), and control does not: nothing is published",
        "ゲートウェイ（プロセス {process}）は起動中ですが、コントロールが動いておらず、公開が止まっています",
        "Start it: sekisho control DIR",
        "起動してください: sekisho control DIR",
    ),
    "lock.unmerged": Words(
        "{count} write-ahead logs wait to be merged into the log",
        "先行書き込みログ {count} 個が台帳への統合待ちです",
        "Start control (sekisho up): it merges them first",
        "コントロールを起動してください（sekisho up）。最初に統合されます",
    ),
    "process.ready": Words("the gateway is ready", "ゲートウェイは準備完了です"),
    "process.not_ready": Words(
        "the gateway is not ready: {reason}",
        "ゲートウェイは準備未完了です: {reason}",
        "See what is said of it below, and the gateway's log",
        "以下の項目とゲートウェイのログを確認してください",
    ),
    "process.gateway_silent": Words(
        "the gateway does not answer: {reason}",
        "ゲートウェイが応答しません: {reason}",
        "Its log says why; `sekisho up` starts it again",
        "理由はログにあります。`sekisho up` が再起動します",
    ),
    "process.control_silent": Words(
        "control holds its lock and does not answer",
        "コントロールがロックを保持したまま応答しません",
        "Give it a minute if it has just started (it recovers the log first); then look at its log",
        "起動直後は台帳の復旧中です。1 分待っても応答がなければログを確認してください",
    ),
    # declarations
    "declared.in_force": Words(
        "the declarations hold no mistakes and are in force ({snapshot})",
        "宣言に誤りはなく、適用されています（{snapshot}）",
    ),
    "declared.changed": Words(
        "the declarations on disk ({declared}) are not in force ({snapshot} is)",
        "ディスク上の宣言（{declared}）は未適用です（適用中: {snapshot}）",
        "They are taken over when control runs: sekisho up",
        "コントロールの起動時に適用されます: sekisho up",
    ),
    "declared.changed_running": Words(
        "the declarations on disk ({declared}) are not in force yet ({snapshot} is)",
        "ディスク上の宣言（{declared}）はまだ適用されていません（適用中: {snapshot}）",
        "They are taken over within seconds; if not, control's log says why",
        "数秒で適用されます。されない場合、理由はコントロールのログにあります",
    ),
    "declared.nothing_in_force": Words(
        "no snapshot is in force: a gateway can't start",
        "適用中のスナップショットがなく、ゲートウェイを起動できません",
        "Mend what `sekisho check` names, then start control",
        "`sekisho check` が示す誤りを直し、コントロールを起動してください",
    ),
    "declared.mistake": Words("{where} {detail}", "{where} {detail}", "{remedy}", "{remedy}"),
    "declared.mistakes_more": Words(
        "{count} more mistakes in the declarations", "宣言の誤りがほかに {count} 件", "sekisho check", "sekisho check"
    ),
    "declared.git_lock": Words(
        "{path} is there for {age_s}: the declarations are not taken over while git holds it",
        "{path} が {age_s}前から残っています。この間、宣言は適用されません",
        "If no git command runs there, delete it",
        "そこで git が動いていなければ、削除してください",
    ),
    "declared.stop": Words(
        "the {kind} {name} is stopped since {set_at} ({reason})",
        "{kind} {name} は {set_at} から緊急停止中です（{reason}）",
        "When it may be used again: sekisho stop lift {kind} {name}",
        "再開するとき: sekisho stop lift {kind} {name}",
    ),
    "declared.approval_short": Words(
        "{act} needs {needed} approvals, and of those who are enrolled at most {can} can give one",
        "{act} には承認が {needed} 件必要ですが、登録済みの人から得られるのは最大 {can} 件です",
        "Enrol more of its approvers, or change declarations/approvals.toml; whoever asks does not count",
        "承認者を登録するか、declarations/approvals.toml を見直してください。申請者は数えません",
    ),
    "declared.approval_open": Words(
        "acts need approval, and enrolling a person does not",
        "承認の必要な行為がありますが、人の登録には承認が要りません",
        "Add a rule for person.enrol, or whoever has this directory can enrol a key of their own as another's",
        "person.enrol の規則を加えてください。ないと、このディレクトリを扱える人が他人の鍵として登録できます",
    ),
    "declared.stops_more": Words(
        "{count} more stops are set", "緊急停止がほかに {count} 件", "sekisho stop list", "sekisho stop list"
    ),
    "declared.monitor": Words(
        "the organisation {organisation} is in monitor mode until {until_at}: what policy denies is sent",
        "組織 {organisation} は {until_at} まで監視モードです。ポリシーが拒否するものも送信されます",
        'To enforce: mode = "enforce" in organisations/{organisation}.toml',
        'ポリシーを強制するには organisations/{organisation}.toml に mode = "enforce"',
    ),
    "declared.monitor_more": Words("{count} more are in monitor mode", "監視モードの組織がほかに {count} 件"),
    "declared.fact_ends": Words(
        "{what}: the fact {fact} ends at {ends_at} and is unknown from then on",
        "{what}: 事実 {fact} は {ends_at} に期限が切れ、以後は不明として扱われます",
        "Look for new evidence, and declare it with its new end",
        "根拠を取り直し、新しい期限とともに宣言してください",
    ),
    "declared.fact_ended": Words(
        "{what}: the fact {fact} has ended at {ends_at} and is unknown",
        "{what}: 事実 {fact} は {ends_at} に期限が切れ、不明として扱われています",
        "Look for new evidence, or remove the fact",
        "根拠を取り直すか、この事実を削除してください",
    ),
    "declared.facts_more": Words(
        "{count} more facts end soon or have ended", "期限の近い、または切れた事実がほかに {count} 件"
    ),
    # keys
    "key.all": Words("all keys are there, private and of one piece", "鍵はすべて揃い、保護され、整合しています"),
    "key.open": Words(
        "{path} is open to others (mode {mode})",
        "{path} を他の利用者が読めます（モード {mode}）",
        "chmod {right} {path}; if others use this machine, take it for known to them",
        "chmod {right} {path}。ほかに利用者がいるマシンなら、漏えいしたものとして扱ってください",
    ),
    "key.open_more": Words("{count} more files are open to others", "他の利用者が読めるファイルがほかに {count} 件"),
    "key.missing": Words(
        "{path} is missing",
        "{path} がありません",
        "Restore it from your backup of keys/",
        "keys/ の控えから復元してください",
    ),
    "key.site_away": Words(
        "{path} is not here",
        "{path} がここにありません",
        "Fine where you keep it elsewhere: it is needed to enrol a log, not to run one",
        "別の場所に保管しているなら問題ありません。必要になるのは台帳を登録するときだけです",
    ),
    "key.other": Words(
        "{path} is not the key that site.vkey and the ledger's enrolment name",
        "{path} は、site.vkey と台帳の登録が示す鍵ではありません",
        "Restore the right one from your backup of keys/; with this one nothing would verify",
        "keys/ の控えから正しい鍵を復元してください。この鍵では何も検証できません",
    ),
    "key.unreadable": Words(
        "{path} can't be used: {detail}",
        "{path} を使えません: {detail}",
        "Restore it from your backup of keys/",
        "keys/ の控えから復元してください",
    ),
    "key.enrolment": Words(
        "the ledger's enrolment does not stand under this site's key: {detail}",
        "台帳の登録が、このサイトの鍵で確かめられません: {detail}",
        "Restore site.vkey and ledger/enrolment from a backup",
        "site.vkey と ledger/enrolment を控えから復元してください",
    ),
    "key.origin": Words(
        "sekisho.toml says origin {origin}, and the log is enrolled as {enrolled}",
        "sekisho.toml の origin は {origin} ですが、台帳は {enrolled} として登録されています",
        'Write origin = "{enrolled}" under [installation]',
        '[installation] に origin = "{enrolled}" と書いてください',
    ),
    "key.organisation": Words(
        "the organisation {organisation} has no key: its requests fail",
        "組織 {organisation} の鍵がなく、リクエストが失敗します",
        "Restore keys/organisations/{organisation}.key from your backup of keys/",
        "keys/ の控えから keys/organisations/{organisation}.key を復元してください",
    ),
    "key.organisations_more": Words("{count} more organisations' keys", "ほかに {count} 件の組織の鍵"),
    "register.keys": Words("API keys that may call: {count}", "有効な API キー: {count} 件"),
    "register.no_keys": Words(
        "nobody may call: there is no live API key, and no issuer or certificate is declared",
        "呼び出せる利用者がいません。有効な API キーも、発行者や証明書の宣言もありません",
        "sekisho keys create --name NAME",
        "sekisho keys create --name NAME",
    ),
    "register.unreadable": Words("{detail}", "{detail}", "{remedy}", "{remedy}"),
    "register.waiting": Words(
        "administrative acts that become entries of the ledger when control runs: {count}",
        "コントロールの起動時に台帳へ記録される管理操作: {count} 件",
    ),
    "register.stuck": Words(
        "{count} administrative acts wait since {waits_s} to become entries, though control runs",
        "コントロールが起動しているのに、管理操作 {count} 件が {waits_s}記録待ちです",
        "Control's log says why: mostly a full disk",
        "理由はコントロールのログにあります。多くはディスク不足です",
    ),
    # providers
    "credential.all": Words(
        "credentials and TLS files of {count} deployments are readable",
        "{count} 件のデプロイメントの認証情報と TLS ファイルを読めます",
    ),
    "credential.missing": Words("{deployment}: {detail}", "{deployment}: {detail}", "{remedy}", "{remedy}"),
    "credential.unseen": Words(
        "{deployment}: the environment variable {variable} is not set here",
        "{deployment}: 環境変数 {variable} がここでは設定されていません",
        'Set it where the gateway starts, or use a file: credential = {{ file = "keys/providers/…" }}',
        'ゲートウェイの起動環境で設定するか、ファイルを使ってください: credential = {{ file = "keys/providers/…" }}',
    ),
    "credential.environment": Words(
        "{deployment}: the secret stands in the environment ({variable}), which every child process inherits",
        "{deployment}: 認証情報が環境変数 {variable} にあり、すべての子プロセスに引き継がれます",
        'Use a file of mode 600: credential = {{ file = "keys/providers/…" }}',
        'モード 600 のファイルを使ってください: credential = {{ file = "keys/providers/…" }}',
    ),
    "credential.group": Words(
        "{deployment}: the credential file {path} can be read by its group (mode {mode})",
        "{deployment}: 認証情報のファイル {path} をグループが読めます（モード {mode}）",
        "chmod 600 {path}, unless an orchestrator mounts it so",
        "chmod 600 {path}（オーケストレーターがそうマウントしている場合を除く）",
    ),
    "credential.signing": Words(
        "{deployment}: {detail}",
        "{deployment}: {detail}",
        "Put the certificate and its own unencrypted RSA key there, as docs/sign-in.md says",
        "証明書と、対応する暗号化なしの RSA 秘密鍵を置いてください（docs/sign-in.ja.md）",
    ),
    "credential.tls": Words(
        "{deployment}: the TLS files ({files}) can't be used: {detail}",
        "{deployment}: TLS ファイル（{files}）を使えません: {detail}",
        "Put PEM files there that the gateway's user may read",
        "ゲートウェイの実行ユーザーが読める PEM ファイルを置いてください",
    ),
    "credential.more": Words("{count} more findings of credentials", "認証情報についてほかに {count} 件"),
    "connect.ok": Words("{address} takes connections ({deployments})", "{address} に接続できます（{deployments}）"),
    "connect.proxy": Words(
        "the egress proxy {address} takes connections; what lies behind was not tried ({deployments})",
        "プロキシ {address} に接続できます。その先は試していません（{deployments}）",
    ),
    "connect.engine": Words(
        "{address} is an engine of this installation, which does not run ({deployments})",
        "{address} はこの環境のエンジンで、起動していません（{deployments}）",
    ),
    "connect.failed": Words(
        "{address} can't be reached: {detail} ({deployments})",
        "{address} に接続できません: {detail}（{deployments}）",
        "Is it running, and open from here? `sekisho providers test` tells more",
        "起動しているか、ここから届くかを確認してください。詳しくは `sekisho providers test`",
    ),
    "connect.more": Words("{count} more addresses were not tried", "ほかに {count} 件のアドレスは試していません"),
    # disk
    "disk.filesystem": Words("the ledger is on {filesystem}", "台帳のファイルシステムは {filesystem} です"),
    "disk.network": Words(
        "the ledger is on a network file system ({filesystem}): SQLite and locks don't work there as they must",
        "台帳がネットワークファイルシステム（{filesystem}）にあります。SQLite とロックが正しく働きません",
        "Move the installation to a local disk",
        "ローカルディスクに移してください",
    ),
    "disk.volatile": Words(
        "the ledger is in memory ({filesystem}): it is gone after a restart of the machine",
        "台帳がメモリー上（{filesystem}）にあり、マシンの再起動で失われます",
        "Move the installation to a disk",
        "ディスクに移してください",
    ),
    "disk.layered": Words(
        "the ledger is in a container's own layer ({filesystem}): it is gone with the container",
        "台帳がコンテナのレイヤー（{filesystem}）にあり、コンテナとともに失われます",
        "Mount a volume there",
        "ボリュームをマウントしてください",
    ),
    "disk.room": Words(
        "the ledger takes {used_bytes}; {free_bytes} are free, {reserve_bytes} of them kept back; "
        "too young to say how long that lasts",
        "台帳は {used_bytes}、空きは {free_bytes}（うち予約 {reserve_bytes}）。増加量の推定にはまだ早すぎます",
    ),
    "disk.lasts": Words(
        "the ledger takes {used_bytes}; {free_bytes} are free, {reserve_bytes} of them kept back; "
        "at the last day's rate that lasts {lasts_s}",
        "台帳は {used_bytes}、空きは {free_bytes}（うち予約 {reserve_bytes}）。直近 1 日の増え方であと {lasts_s}",
    ),
    "disk.short": Words(
        "the ledger takes {used_bytes}; {free_bytes} are free, {reserve_bytes} of them kept back; "
        "at the last day's rate that lasts only {lasts_s}",
        "台帳は {used_bytes}、空きは {free_bytes}（うち予約 {reserve_bytes}）。直近 1 日の増え方であと {lasts_s}"
        "しかもちません",
        "Free space, or move the installation to a larger disk; when it is full, requests are answered 503",
        "空きを増やすか、大きなディスクに移してください。尽きるとリクエストは 503 になります",
    ),
    "disk.low": Words(
        "only {free_bytes} are free for the ledger, {reserve_bytes} of them kept back",
        "台帳のディスクの空きは {free_bytes}（うち予約 {reserve_bytes}）しかありません",
        "Free space, or move the installation to a larger disk; when it is full, requests are answered 503",
        "空きを増やすか、大きなディスクに移してください。尽きるとリクエストは 503 になります",
    ),
    "disk.full": Words(
        "the ledger takes no new decision: {free_bytes} are free, and {reserve_bytes} are kept back",
        "台帳は新しい判定を受け付けません。空き {free_bytes} に対し、予約は {reserve_bytes} です",
        "Free space, or lower [ledger] free_reserve_bytes; a running gateway recovers by itself",
        "空きを増やすか、[ledger] free_reserve_bytes を下げてください。ゲートウェイは自動で復旧します",
    ),
    "disk.uncounted": Words(
        "the ledger takes more than that: it could not be counted within {counting_s}",
        "台帳の実際の使用量はこれより多く、{counting_s}では数え切れませんでした",
    ),
    "disk.sync": Words(
        "the ledger's disk makes a write durable in {p50_us} (median), {worst_us} at worst",
        "台帳のディスクの永続化は中央値 {p50_us}、最大 {worst_us} です",
    ),
    "disk.sync_slow": Words(
        "the ledger's disk is slow: a write is durable after {p50_us} (median), {worst_us} at worst",
        "台帳のディスクが遅いです。永続化に中央値 {p50_us}、最大 {worst_us} かかります",
        "Every request waits for one: use a disk with power-loss protection",
        "すべてのリクエストがこれを待ちます。電源断保護のあるディスクを使ってください",
    ),
    # clock
    "clock.nothing": Words(
        "nothing is recorded yet to hold the clock against", "時計と突き合わせる記録がまだありません"
    ),
    "clock.ahead": Words("the clock is ahead of all that is recorded", "時計は、すべての記録より進んでいます"),
    "clock.behind": Words(
        "the clock is {ahead_s} behind what it stamped before ({what}, {newest_at})",
        "時計が、以前に刻んだ時刻（{what}、{newest_at}）より {ahead_s}遅れています",
        "Set the clock right; then look at what was recorded with the wrong time",
        "時計を合わせ、誤った時刻の記録がないか確認してください",
    ),
    "clock.synchronised": Words("the clock is held to a time source", "時計は時刻源に同期しています"),
    "clock.unsynchronised": Words(
        "the kernel says that nothing keeps the clock right",
        "時計が時刻源に同期していません（カーネルの報告）",
        "Run chrony or systemd-timesyncd, on the host where this is a container",
        "chrony か systemd-timesyncd を動かしてください。コンテナではホスト側で",
    ),
    # kept content
    "content.ends": Words("no kept content lies there past its end", "保存期限を過ぎた内容は残っていません"),
    "content.waits": Words(
        "{count} kept contents have reached their end (the first {end_at}) and wait to be deleted",
        "保存期限を過ぎた内容が {count} 件あり（最も古い期限 {end_at}）、削除を待っています",
        "Start control (sekisho up): it deletes them within seconds; nobody can read them meanwhile",
        "コントロールを起動してください（sekisho up）。数秒で削除されます。それまでも、読むことはできません",
    ),
    "content.overdue": Words(
        "{count} kept contents have reached their end (the first {end_at}) and are not deleted",
        "保存期限を過ぎた内容が {count} 件、削除されていません（最も古い期限 {end_at}）",
        "Control's log says why; nobody can read them meanwhile",
        "理由はコントロールのログにあります。それまでも、読むことはできません",
    ),
    # witnesses
    "witness.cosigned": Words(
        "witness {witness}: {size} entries of the log cosigned", "証人 {witness}: 台帳の {size} 件まで連署済み"
    ),
    "witness.behind": Words(
        "witness {witness} has not cosigned what is published for {lag_s} ({detail})",
        "証人 {witness} は、公開済みの台帳に {lag_s} 連署していません（{detail}）",
        "Look whether it is reached, and whether it declares this log's key: sekisho witness key",
        "接続できるか、この台帳の鍵（sekisho witness key）が相手の宣言にあるかを確認してください",
    ),
    "witness.alarm": Words(
        "ALARM: witness {witness}: {detail}",
        "警報: 証人 {witness}: {detail}",
        "This directory may be a clone or an old copy of a log that went on elsewhere: see docs/witness.md",
        "このディレクトリは、別の場所で先へ進んだ台帳の複製か古い写しかもしれません。docs/witness.ja.md をご覧ください",
    ),
    "witness.signs": Words(
        "as a witness: {count} logs cosigned, the record is whole", "証人として: {count} 個の台帳に連署。控えは健全です"
    ),
    "witness.record": Words(
        "as a witness: {detail}, and nothing is signed",
        "証人として: {detail}。何にも署名しません",
        "Never restore an older record: see docs/witness.md",
        "古い控えを戻さないでください。docs/witness.ja.md をご覧ください",
    ),
    # settings
    "settings.wrong": Words("{detail}", "{detail}", "{remedy}", "{remedy}"),
    "smell.none": Words("nothing odd in sekisho.toml", "sekisho.toml に気になる点はありません"),
    "smell.public": Words(
        "the gateway listens on {listen}: whoever reaches it may try keys",
        "ゲートウェイは {listen} で待ち受けており、到達できる誰もがキーを試せます",
    ),
    "smell.workers": Words(
        "{workers} gateway workers share {cores} cores",
        "ゲートウェイのワーカー {workers} 個に対し、コアは {cores} 個です",
        "Set [gateway] workers to at most {cores}",
        "[gateway] workers を {cores} 以下にしてください",
    ),
    "smell.drain": Words(
        "on stop, requests get {drain_s} s, but a deployment may be silent for {idle_s} s: such requests would be cut",
        "停止時の猶予は {drain_s} 秒ですが、デプロイメントは最長 {idle_s} 秒無応答になり得ます。その応答は途切れます",
        "Set [gateway] drain_seconds to {idle_s}, or the deployments' idle_timeout_ms lower",
        "[gateway] drain_seconds を {idle_s} にするか、idle_timeout_ms を下げてください",
    ),
    "smell.plain_console": Words(
        "[control] public_host {host} is plain HTTP: the console's cookie travels by TLS only, nobody can sign in",
        "[control] public_host {host} は平文の HTTP です。Cookie は TLS でしか送られず、サインインできません",
        "Put a TLS proxy in front and give its host name, without a port if it is 443",
        "前段に TLS プロキシを置き、そのホスト名を書いてください（443 ならポート不要）",
    ),
    "smell.loopback_console": Words(
        "[control] public_host {host} is loopback: the console answers to that name alone, and by TLS only",
        "[control] public_host {host} はループバックです。コンソールはその名前と TLS でしか応答しません",
        "Leave public_host out, unless a TLS proxy listens there",
        "そこに TLS プロキシがなければ、public_host を消してください",
    ),
    "smell.certificate_ended": Words(
        "{path}: the certificate has ended at {ends_at}",
        "{path}: 証明書は {ends_at} に失効しました",
        "Renew it and restart the gateway",
        "更新して、ゲートウェイを再起動してください",
    ),
    "smell.certificate_ends": Words(
        "{path}: the certificate ends at {ends_at}",
        "{path}: 証明書は {ends_at} に失効します",
        "Renew it and restart the gateway",
        "更新して、ゲートウェイを再起動してください",
    ),
    "smell.tls_file": Words(
        "{path} can't be used: {detail}",
        "{path} を使えません: {detail}",
        "Put a PEM file there that the gateway's user may read",
        "ゲートウェイの実行ユーザーが読める PEM ファイルを置いてください",
    ),
    "smell.readable": Words(
        "everybody on this machine may look into the installation (mode {mode}), at the ledger's entries too",
        "このマシンの全利用者が、台帳の内容を含めて中を見られます（モード {mode}）",
        "chmod o= DIR",
        "chmod o= DIR",
    ),
    "smell.writable": Words(
        "everybody on this machine may exchange the installation's files (mode {mode})",
        "このマシンの全利用者が、ファイルを差し替えられます（モード {mode}）",
        "chmod o= DIR, and look at what is there",
        "chmod o= DIR。あわせて中身を確認してください",
    ),
    # versions
    "version.all": Words(
        "Sekisho {version}, Python {python}, data format {format}; all packages are recent enough",
        "Sekisho {version}、Python {python}、データ形式 {format}。パッケージはすべて要件を満たしています",
    ),
    "version.unknown": Words(
        "Sekisho {version}, data format {format}; not installed as a package, so its requirements can't be told",
        "Sekisho {version}、データ形式 {format}。パッケージとして未導入のため、要件は確認できません",
    ),
    "version.lacks": Words(
        "the package {package} ({wanted}) is missing",
        "パッケージ {package}（{wanted}）がありません",
        "pip install 'sekisho[server]', with the extra engine for llama.cpp",
        "pip install 'sekisho[server]'（llama.cpp には engine も）",
    ),
    "version.package": Words(
        "the package {package} is {version}; {wanted} is needed",
        "パッケージ {package} は {version} ですが、{wanted} が必要です",
        "pip install '{package}{wanted}'",
        "pip install '{package}{wanted}'",
    ),
    "version.running": Words(
        "version {running} runs, and {installed} is installed",
        "起動中の版は {running}、導入済みの版は {installed} です",
        "Restart `sekisho up`",
        "`sekisho up` を再起動してください",
    ),
    "format.unknown": Words("{detail}", "{detail}", "{remedy}", "{remedy}"),
    # looking itself
    "look.failed": Words(
        "{theme}: this could not be looked at: {detail}",
        "{theme}: 確認できませんでした: {detail}",
        "{remedy}",
        "{remedy}",
    ),
    "look.denied": Words(
        "{theme}: {path} may not be read by you",
        "{theme}: {path} を読む権限がありません",
        "Ask as the user that runs the installation",
        "この環境を動かしているユーザーで実行してください",
    ),
    "look.broken": Words(
        "{theme}: this could not be looked at: {detail}",
        "{theme}: 確認できませんでした: {detail}",
        "Look at the file that it names, or restore it from a backup",
        "示されたファイルを確認するか、控えから復元してください",
    ),
    "look.no_catalogue": Words(
        "what the deployments need could not be looked at: no catalogue can be read",
        "カタログを読めないため、デプロイメントは確認できませんでした",
        "Mend the declarations first: sekisho check",
        "先に宣言を直してください: sekisho check",
    ),
}


def told(finding: Finding, language: str) -> tuple[str, str]:
    """Message and remedy (empty where there is nothing to do)."""
    words = WORDS[finding.code]
    japanese = language == JAPANESE
    values = {name: _shown(name, value, japanese=japanese) for name, value in finding.values.items()}
    if japanese:
        return words.message_ja.format(**values), words.remedy_ja.format(**values)
    return words.message.format(**values), words.remedy.format(**values)


def _shown(name: str, value: str | int, *, japanese: bool) -> str:
    if isinstance(value, int):
        if name.endswith("_bytes"):
            return _size(value)
        if name.endswith("_us"):
            return f"{value / 1_000:.1f} ms"
        if name.endswith("_at"):
            return utc(value, MINUTES)
        if name.endswith("_s") and name not in ("drain_s", "idle_s"):
            return _span(value, japanese=japanese)
    return "".join(c if c.isprintable() else "?" for c in str(value))  # names of files may hold anything


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _span(seconds: int, *, japanese: bool) -> str:
    """A span of time in its largest unit that is not below two."""
    units = ((86_400 * 365, "years", "年"), (86_400, "days", "日"), (3_600, "hours", "時間"), (60, "minutes", "分"))
    for length, name, name_ja in units:
        if seconds >= 2 * length:
            return f"{seconds // length} {name_ja}" if japanese else f"{seconds // length} {name}"
    return f"{seconds} 秒" if japanese else f"{seconds} s"
