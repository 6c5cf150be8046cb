"""What `sekisho doctor` says of facts: see `doctor_words`."""

from collections.abc import Mapping
from typing import Final

# By code: message in English and Japanese, and, where there is something to do, the remedy in both.
FACT_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "facts.lowered": (
        "{deployment}: a probe contradicts the fact {fact}, which now counts as {value} ({source})",
        "{deployment}: 事実 {fact} が調査結果と食い違うため、{value} とみなしています（{source}）",
        "Correct the declaration, or have the provider mend it; the next round of probes takes it over",
        "宣言を直すか、事業者に是正を求めてください。次回の調査で反映されます",
    ),
    "facts.lowered_more": (
        "and {count} more facts that probes contradict",
        "ほかに {count} 件の事実が調査結果と食い違っています",
        "sekisho models list --facts shows all",
        "一覧: sekisho models list --facts",
    ),
    "facts.confirmed": ("{count} facts are confirmed by probes", "{count} 件の事実が調査で確認されています"),
    "facts.round": ("the last round of probes: {age_s} ago", "前回の調査: {age_s} 前"),
    "facts.late": (
        "the last round of probes was {age_s} ago: what it confirmed will count as declared when it ends",
        "前回の調査から {age_s} たっています。確認済みの事実は、期限が来ると宣言どおりの扱いに戻ります",
        "Control's log says why the rounds fail",
        "調査できない理由はコントロールのログにあります",
    ),
    "facts.failed": (
        "{deployment}: no reading by {method} in the last round: {detail}",
        "{deployment}: 前回の調査で {method} の結果が得られませんでした: {detail}",
        "Try it: sekisho probe DIR --deployment {deployment} --method {method}",
        "確認: sekisho probe DIR --deployment {deployment} --method {method}",
    ),
    "facts.failed_more": (
        "and {count} more readings that failed",
        "ほかに {count} 件の調査が失敗しています",
        "sekisho probe DIR shows all",
        "一覧: sekisho probe DIR",
    ),
    "facts.disabled": (
        "deployments are not probed: nobody sees when one of them changes",
        "配備先の調査が無効です。配備先が変わっても分かりません",
        "Set enabled = true under [probes] in sekisho.toml",
        "sekisho.toml の [probes] で enabled = true にしてください",
    ),
    "facts.off": ("probes are switched off", "調査は無効に設定されています"),
    "facts.no_registry": (
        "no registry's file in registry/: networks tell no country",
        "registry/ に割り振り統計ファイルがないため、ネットワークから国は分かりません",
    ),
    "facts.registry": (
        "networks by {registry} of {date} ({days} days old)",
        "ネットワークの根拠: {registry}、{date}（{days} 日前）",
    ),
    "facts.registry_old": (
        "networks by {registry} of {date}: {days} days old",
        "ネットワークの根拠 {registry} は {date} のもので、{days} 日前です",
        "Put a newer file into registry/; see docs/facts.md",
        "新しいファイルを registry/ に置いてください。docs/facts.ja.md をご覧ください",
    ),
    "facts.registry_ahead": (
        "the file of {registry} is dated {date}, which has not come yet: its age can't be told",
        "{registry} のファイルの日付 {date} は未来のもので、経過日数が分かりません",
        "Get the file from the registry again, and look at this machine's clock",
        "レジストリからファイルを入手し直し、このマシンの時計を確認してください",
    ),
    "facts.registry_wrong": ("{detail}", "{detail}", "{remedy}", "{remedy}"),
}
