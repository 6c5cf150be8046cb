"""`sekisho shadow`: other declarations beside those in force, compared on live traffic; they decide nothing."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sekisho.cli.explain import ENGLISH, JAPANESE, language_of
from sekisho.cli.keys import ACTOR
from sekisho.kernel.clock import MINUTES, utc
from sekisho.kernel.errors import UsageError
from sekisho.ledger.findings import Words
from sekisho.settings import DataDirectory, load_settings

if TYPE_CHECKING:  # the server's dependencies, loaded when they are needed
    from sekisho.app.shadow import ShadowState

OFF: Final = "off"
STATUS: Final = "status"
SHOWN_MAX: Final = 20
MISTAKES_SHOWN_MAX: Final = 20
_WORDS: Final = {
    "none": Words("No shadow is set.", "シャドーは設定されていません。"),
    "waiting": Words(
        "The shadow {digest} is set; control has not taken it up yet (does it run?)",
        "シャドー {digest} が設定されています。control はまだ比較を始めていません（稼働中か確認してください）",
    ),
    "set": Words("The shadow {digest} is compared since {since}", "シャドー {digest} を {since} から比較しています"),
    "counts": Words(
        "{decisions} decisions compared, {differences} would be others; {skipped} entries passed over, {unreadable} "
        "could not be compared",
        "比較した判定 {decisions} 件、うち結果が異なるもの {differences} 件。飛ばしたエントリー {skipped} 件、"
        "比較できなかった判定 {unreadable} 件",
    ),
    "causes": Words("What would be others, and why", "異なる判定の内訳と理由"),
    "latest": Words("The latest of them", "最近のもの"),
    "ended": Words("The shadow {digest} has ended.", "シャドー {digest} を終了しました。"),
    "begun": Words(
        "The shadow is {digest}. It decides nothing; running control compares from now on:",
        "シャドーは {digest} です。判定には影響しません。稼働中の control が今から比較します:",
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Have other declarations judge live traffic beside those in force. They permit and deny nothing, and no\n"
        "request waits for them: control compares what the ledger records. Differences are counted (/metrics of\n"
        "control), listed here, and told in the ledger once a minute at most, by ids and verdicts alone."
    )
    parser.epilog = "exit status: 0 done; 1 the declarations hold mistakes, or it could not be done; 2 wrong usage"
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the installation (default: here)"
    )
    parser.add_argument("act", choices=(STATUS, OFF), nargs="?", default=None, help="show it (default), or end it")
    parser.add_argument("--declarations", metavar="TREE", type=Path, help="set the shadow: the tree that is to judge")
    parser.add_argument("--json", action="store_true", help="print the status as JSON")
    parser.add_argument("--language", choices=(ENGLISH, JAPANESE), help="of the text; default: from the environment")


def run(arguments: argparse.Namespace) -> int:
    from sekisho.app.clock import command_clock
    from sekisho.app.installation import DeclarationsRefused
    from sekisho.app.shadow import end_shadow, set_shadow, shadow_status

    load_settings(arguments.directory)
    directory = DataDirectory(arguments.directory.resolve())
    place = 1 if (arguments.language or language_of(os.environ)) == JAPANESE else 0
    if arguments.declarations is not None:
        if arguments.act is not None:
            raise UsageError("--declarations sets a shadow", remedy=f"Leave out {arguments.act}")
        try:
            digest = set_shadow(directory, arguments.declarations, ACTOR, command_clock(directory))
        except DeclarationsRefused as refused:
            for one in refused.mistakes[:MISTAKES_SHOWN_MAX]:
                print(f"{one.file}: {one.key}: {one.problem} → {one.remedy}", file=sys.stderr)
            raise
        print(f"{_WORDS['begun'][place].format(digest=digest[:16])} sekisho shadow {arguments.directory} status")
        return 0
    if arguments.act == OFF:
        ended = end_shadow(directory, ACTOR, command_clock(directory))
        print(_WORDS["none" if ended is None else "ended"][place].format(digest=(ended or "")[:16]))
        return 0
    if arguments.json:
        print(json.dumps(shadow_status(directory), ensure_ascii=False, indent=1))
    else:
        print(_described(directory, place))
    return 0


def _described(directory: DataDirectory, place: int) -> str:
    from sekisho.app.installation import snapshot_store
    from sekisho.app.shadow import shadow_state

    store, state = snapshot_store(directory), shadow_state(directory)
    digest, current = store.shadow(), store.current()
    if state is not None and state.digest != digest:
        state = None  # of one before
    known = [one for name in (current, digest) if name is not None for one in store.policy_titles(name)]
    return describe_shadow(digest, state, {one.id: (one.title, one.title_ja) for one in known}, place)


def describe_shadow(
    digest: str | None, state: "ShadowState | None", titles: dict[str, tuple[str, str]], place: int
) -> str:
    """The status in words; `place` 0 is English, 1 Japanese."""
    from sekisho.cli.plan_report import CAUSES

    words = {name: pair[place] for name, pair in _WORDS.items()}
    if digest is None:
        return words["none"]
    if state is None:
        return words["waiting"].format(digest=digest[:16])

    def cause(name: str) -> str:
        if name in CAUSES:
            return CAUSES[name][place]
        return f"{titles[name][place]} [{name}]" if name in titles else f"[{name}]"

    counts = {name: f"{getattr(state, name):,}" for name in ("decisions", "differences", "skipped", "unreadable")}
    lines = [
        words["set"].format(digest=digest[:16], since=utc(state.since_us, MINUTES)),
        f"  {words['counts'].format(**counts)}",
    ]
    if state.unreadable and state.problem:
        lines.append(f"  {''.join(one if one.isprintable() else ' ' for one in state.problem)}")
    if state.causes:
        lines += ["", words["causes"]]
        for text, count in sorted(state.causes.items(), key=lambda item: (-item[1], item[0]))[:SHOWN_MAX]:
            change, _, causes = text.partition(" ")
            lines.append(f"  {count:,}: {change}")
            lines += [f"      {cause(name)}" for name in causes.split(",") if name]
        lines += ["", words["latest"]]
        for one in state.listed[-1 : -SHOWN_MAX - 1 : -1]:
            lines.append(
                f"  {one['request']}  {one['organisation']} {one['model']}  {one['change']}: {', '.join(one['causes'])}"
            )
    return "\n".join(lines)
