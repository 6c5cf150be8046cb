"""`sekisho approve`: read an act in words, and sign it. Needs no installation, no network and no server's packages."""

import argparse
import sys
from pathlib import Path

from sekisho.cli.person_keys import add_key, language, private_key
from sekisho.identity.acts import ENGLISH, describe_act
from sekisho.identity.approval_files import read_approval_file, write_approval_file
from sekisho.identity.approvals import APPROVER, signed, with_signature
from sekisho.kernel.errors import UsageError

YES = {"yes", "はい"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Show what is to be approved, made from exactly the bytes that are signed, ask, and sign them with your key.\n"
        "It works anywhere: the file may come and go on a disk."
    )
    parser.epilog = (
        "example: sekisho approve lift.approval --key person.key\nexit status: 0 signed; 1 not signed; 2 wrong usage"
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="from `sekisho approvals ask`; may hold signatures")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write it here and leave FILE as it is")
    parser.add_argument("--yes", action="store_true", help="sign without asking, after showing it")
    add_key(parser)


def run(arguments: argparse.Namespace) -> int:
    approval = read_approval_file(arguments.file)
    spoken = language(arguments)
    print(describe_act(approval.act.encode(), spoken), flush=True)
    if not arguments.yes and not _confirmed(spoken):
        print("not signed" if spoken == ENGLISH else "署名しませんでした", file=sys.stderr)
        return 1
    signature = signed(approval.act, APPROVER, private_key(arguments))
    target: Path = arguments.out or arguments.file
    write_approval_file(target, with_signature(approval, signature))
    words = "Signed with {}; written to {}." if spoken == ENGLISH else "{} で署名し、{} に書き込みました。"
    print(words.format(f"{signature.key[:16]}…", target))
    return 0


def _confirmed(spoken: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here", remedy="Read what is shown, then give --yes")
    prompt = "Sign this? Type yes: " if spoken == ENGLISH else "署名しますか。「はい」または yes と入力: "
    return input(prompt).strip().lower() in YES
