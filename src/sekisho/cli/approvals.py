"""`sekisho approvals`: ask for the approval of an act, show what a file says, check it against the rules in force."""

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

from sekisho.cli.keys import EXIT_DONE, EXIT_FAILED, STATE_FILE, installation
from sekisho.cli.person_keys import add_key, add_language, language, private_key
from sekisho.identity.acts import ENGLISH, KINDS, Act, describe_act, read_act, require_parameters
from sekisho.identity.approval_files import read_approval_file, read_approvals, write_approval_file
from sekisho.identity.approvals import ASKER, Approval, Wanted, combined, require_approval, signed, with_signature
from sekisho.identity.errors import ApprovalError, ApprovalUsed
from sekisho.kernel.clock import RFC3339, SystemClock, utc
from sekisho.kernel.errors import UsageError
from sekisho.kernel.ids import IdSource
from sekisho.settings import DataDirectory, load_settings

HOURS: Final = 24
HOURS_MAX: Final = 720
_HOUR_US: Final = 3_600_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `sekisho approvals ask|show|check`."""
    parser.description = (
        "Ask for the approval of an act, show what a file says, or check it against the rules in force.\n"
        "Which acts need approval, and whose, stands in declarations/approvals.toml."
    )
    parser.epilog = (
        "example: sekisho approvals ask stop.lift kind=provider name=east --by s-017 --out lift.approval\n"
        "         sekisho approve lift.approval        (others, anywhere)\n"
        "         sekisho stop lift provider east --approval lift.approval"
    )
    acts = parser.add_subparsers(dest="do", required=True, metavar="ask|show|check")
    ask = acts.add_parser("ask", help="write an act down and sign the asking", description=_acts_in_words())
    ask.formatter_class = argparse.RawDescriptionHelpFormatter
    ask.add_argument("act", metavar="ACT", help="what is to be done")
    ask.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="its parameters")
    ask.add_argument("--out", required=True, type=Path, metavar="FILE", help="the file that goes round")
    add_asking(ask)
    show = acts.add_parser("show", help="what a file says and who signed", description="It needs no installation.")
    show.add_argument("file", metavar="FILE", type=Path)
    add_language(show)
    check = acts.add_parser(
        "check",
        help="whether it would do now",
        description="Check files (copies of one act that different persons signed) against the rules in force.",
    )
    check.add_argument("files", metavar="FILE", nargs="+", type=Path)
    _add_directory(check)
    add_language(check)


def run(arguments: argparse.Namespace) -> int:
    """Do what `arguments` say. `check` returns 1 for an approval that would not do."""
    if arguments.do == "ask":
        return _ask(arguments)
    if arguments.do == "show":
        return _show(arguments)
    return _check(arguments)


def _ask(arguments: argparse.Namespace) -> int:
    parameters = dict(_parameter(text) for text in arguments.parameters)
    return ask_for(arguments, arguments.act, parameters, arguments.out)


def ask_for(arguments: argparse.Namespace, name: str, parameters: dict[str, str], out: Path) -> int:
    """Write an act down for others to sign, with the asker's signature; `arguments`: by, hours, key, directory."""
    if not 1 <= arguments.hours <= HOURS_MAX:
        raise UsageError("--hours is out of range", remedy=f"Give 1 to {HOURS_MAX}")
    require_parameters(name, parameters)
    if out.exists():
        raise UsageError(f"{out} exists already", remedy="Name a new file")
    origin = load_settings(installation(arguments)).installation.origin
    now_us = SystemClock().now_us() // 1_000_000 * 1_000_000  # whole seconds: people read it
    valid_until = now_us + arguments.hours * _HOUR_US
    asked = Act(name, parameters, arguments.by, now_us, valid_until, origin, IdSource().new(now_us))
    act = read_act(asked.as_object())
    signature = signed(act, ASKER, private_key(arguments))
    write_approval_file(out, with_signature(Approval(act, ()), signature))
    spoken = language(arguments)
    print(describe_act(act.encode(), spoken))
    words = "Written to {}. Others sign it with: sekisho approve {}"
    if spoken != ENGLISH:
        words = "{} に書き込みました。承認者の署名: sekisho approve {}"
    print(words.format(out, out))
    return EXIT_DONE


def _show(arguments: argparse.Namespace) -> int:
    approval = read_approval_file(arguments.file)
    spoken = language(arguments)
    print(describe_act(approval.act.encode(), spoken))
    for signature in approval.signatures:
        print(f"  {_capacity(signature.capacity, spoken)} {signature.key}")
    return EXIT_DONE


def _check(arguments: argparse.Namespace) -> int:
    from sekisho.app.approvals import rules_in_force  # the server's packages: only here
    from sekisho.app.clock import command_clock
    from sekisho.identity.persons_sql import SqlPersons, in_use
    from sekisho.identity.sql import SqlIdentity

    directory = DataDirectory(installation(arguments))
    approval = combined(read_approvals(arguments.files))
    spoken = language(arguments)
    print(describe_act(approval.act.encode(), spoken))
    rules = rules_in_force(directory)
    clock = command_clock(directory)
    with closing(SqlIdentity(directory.root / STATE_FILE, clock)) as register:
        persons = SqlPersons(register, clock)
        keys, names = persons.list_keys(), persons.names()
        used = persons.is_used(approval.act.id)
    by_key = {one.key: one for one in keys}
    for signature in approval.signatures:
        person = by_key.get(signature.key)
        who = "?" if person is None else f"{person.person} {names.get(person.person, '')}".rstrip()
        if person is not None and person.retired_at is not None:
            who += f", retired {utc(person.retired_at, RFC3339)}"
        print(f"  {_capacity(signature.capacity, spoken)} {signature.key[:16]}… {who}")
    wanted = Wanted(approval.act.act, approval.act.parameters, rules.origin)
    try:
        approved = require_approval(wanted, [approval], rules.rules, in_use(keys), now_us=clock.now_us())
        if used:
            raise ApprovalUsed("this approval was used before", remedy="Ask again: one approval is for one act")
    except ApprovalError as error:
        print(f"NOT APPROVED: {error}" if spoken == ENGLISH else f"承認されていません: {error}", file=sys.stderr)
        return EXIT_FAILED
    count, needed = (len(approved.approvals), approved.needed) if approved else (0, 0)
    print(f"APPROVED: {count} of {needed} needed" if spoken == ENGLISH else f"承認済み: 必要 {needed}、承認 {count}")
    return EXIT_DONE


def _parameter(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise UsageError(f"{text!r} is no parameter", remedy="Write NAME=VALUE, like kind=provider")
    return name, value


def _capacity(capacity: str, spoken: str) -> str:
    if spoken == ENGLISH:
        return f"{capacity + ':':<10}"
    return "申請者:" if capacity == ASKER else "承認者:"


def _acts_in_words() -> str:
    lines = [f"  {act} {' '.join(f'{name}=…' for name in sorted(kind.parameters))}" for act, kind in KINDS.items()]
    return "\n".join(["Write an act down and sign the asking. The acts and their parameters:", *lines])


def add_asking(parser: argparse.ArgumentParser) -> None:
    """Who asks, for how long, in which installation."""
    parser.add_argument("--by", required=True, metavar="PERSON", help="who asks: your id, as enrolled")
    parser.add_argument("--hours", type=int, default=HOURS, help="how long it may be used (default: %(default)s)")
    _add_directory(parser)
    add_key(parser)


def _add_directory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", dest="dir_option", type=Path, metavar="DIR", help="the installation (default: .)")
    parser.set_defaults(directory=None)
