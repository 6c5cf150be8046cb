"""`sekisho exemptions`: those that are declared and in force, and asking for the approval of one."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from sekisho.app.clock import command_clock
from sekisho.app.exemptions import declared_exemption, listed_exemptions
from sekisho.app.installation import snapshot_store
from sekisho.catalog.exemptions import grant_parameters
from sekisho.catalog.files import APPROVAL_ENDING
from sekisho.cli.approvals import add_asking, ask_for
from sekisho.cli.exemption_words import described
from sekisho.cli.keys import EXIT_DONE, installation
from sekisho.cli.person_keys import add_language, language
from sekisho.identity.acts import EXEMPTION_GRANT, JAPANESE
from sekisho.kernel.clock import MINUTES, utc
from sekisho.settings import DataDirectory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `sekisho exemptions list|ask`."""
    parser.description = (
        "Exemptions excuse named requests from named forbids until an end. One comes in force with an approval only:\n"
        "NAME.toml and NAME.approval in declarations/exemptions/. See docs/exemptions.md."
    )
    parser.epilog = (
        "example: sekisho exemptions ask trial.toml --by s-017 --key person.key --dir ./here\n"
        "         sekisho approve trial.approval --key person.key        (others; trial.toml lies beside it)\n"
        "         cp trial.toml trial.approval ./here/declarations/exemptions/"
    )
    acts = parser.add_subparsers(dest="do", required=True, metavar="list|ask")
    listing = acts.add_parser("list", help="those of the snapshot in force, ended ones too")
    listing.add_argument("directory", metavar="DIR", type=Path, nargs="?", help="the installation (default: .)")
    listing.add_argument("--dir", dest="dir_option", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    listing.add_argument("--json", action="store_true", help="print them as JSON")
    add_language(listing)
    ask = acts.add_parser("ask", help="write down what is to be approved and sign the asking")
    ask.add_argument("file", metavar="FILE", type=Path, help="NAME.toml; NAME.approval is written beside it")
    add_asking(ask)


def run(arguments: argparse.Namespace) -> int:
    """Do what `arguments` say."""
    directory = DataDirectory(installation(arguments))
    return _ask(arguments, directory) if arguments.do == "ask" else _list(arguments, directory)


def _ask(arguments: argparse.Namespace, directory: DataDirectory) -> int:
    file: Path = arguments.file
    exemption = declared_exemption(directory, file)
    parameters = dict(grant_parameters(exemption))
    words = described(file, parameters, language(arguments))
    done = ask_for(arguments, EXEMPTION_GRANT, parameters, file.with_suffix(APPROVAL_ENDING))
    print("\n".join(words))
    return done


def _list(arguments: argparse.Namespace, directory: DataDirectory) -> int:
    found = listed_exemptions(snapshot_store(directory), command_clock(directory))
    if arguments.json:
        json.dump(found, sys.stdout, indent=2, ensure_ascii=False)
        print()
        return EXIT_DONE
    japanese = language(arguments) == JAPANESE
    if not found:
        print("適用除外はありません。" if japanese else "There are no exemptions.")
    for one in found:
        print("\n".join(_lines(one, japanese)))
    return EXIT_DONE


def _lines(one: dict[str, Any], japanese: bool) -> list[str]:
    state = {
        "in force": "in force" if not japanese else "有効",
        "ended": "ended" if not japanese else "終了",
    }[one["state"]]
    end = utc(one["until"], MINUTES)
    head = f"{one['name']}  {state}  {'〜 ' if japanese else 'until '}{end}"
    names = (
        ("organisation", "組織"), ("roles", "ロール"), ("policies", "ポリシー"), ("deployments", "配備先"),
        ("models", "モデル"), ("classes", "区分"), ("labels", "ラベル"), ("why", "理由"),
        ("compensating_control", "代替統制"), ("sha256", "SHA-256"),
    )  # fmt: skip
    lines = [head]
    for key, ja in names:
        value = one[key]
        text = value if isinstance(value, str) else ", ".join(value)
        if text:
            lines.append(f"  {ja if japanese else key.replace('_', ' ')}: {text}")
    return lines
