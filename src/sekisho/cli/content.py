"""`sekisho content`: what is kept, reading it with a role and a reason, and forgetting it."""

import argparse
import json
import os
import sys
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sekisho.cli.keys import ACTOR, EXIT_DONE, STATE_FILE, add_approval, add_directory, installation
from sekisho.content.interfaces import FIELDS, READER_ROLE
from sekisho.kernel.clock import RFC3339, Clock, utc
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory

if TYPE_CHECKING:  # SQLAlchemy is loaded only when a register is opened
    from sekisho.content.acts import ContentActs, Reader
    from sekisho.content.interfaces import Held
    from sekisho.identity.sql import SqlIdentity

KEY_VARIABLE: Final = "SEKISHO_API_KEY"
_KEY_BYTES_MAX: Final = 1_024
_DRIVING: Final = ("Cc", "Cf")  # Unicode categories: control characters, and those that turn the direction of text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `sekisho content list|show|reads|forget`."""
    parser.description = (
        "What a policy has let be kept of requests and answers. By default nothing is; see docs/content.md. It works\n"
        "whether or not the installation runs."
    )
    parser.epilog = 'example: sekisho content show ID --reason "complaint 2027-14" --api-key-file reader.key'
    acts = parser.add_subparsers(dest="do", required=True, metavar="list|show|reads|forget")
    listing = acts.add_parser("list", help="what is kept, without its text", description="Show what is kept.")
    listing.add_argument("--organisation", metavar="NAME", help="of this organisation alone")
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    add_directory(listing)
    show = acts.add_parser(
        "show",
        help="read it",
        description=f"Read what is kept: with an API key of the organisation that has the role {READER_ROLE}, and for\n"
        "a reason. The reading is recorded before anything is shown.",
    )
    show.add_argument("id", metavar="ID", help="as `list` shows it: the id of the decision's entry")
    show.add_argument("--reason", required=True, help="why; it stays in the register, the log holds its digest")
    show.add_argument("--api-key-file", type=Path, metavar="FILE", help=f"the reader's key (default: {KEY_VARIABLE})")
    show.add_argument("--field", choices=FIELDS, help="its bytes alone (default: both, with their names)")
    add_directory(show)
    reads = acts.add_parser("reads", help="who read what, when and why", description="Show every reading.")
    add_directory(reads)
    forget = acts.add_parser(
        "forget",
        help="delete it before its end",
        description="Delete what is kept under an id, or all of an organisation with the key it is kept under.",
    )
    forget.add_argument("id", nargs="?", metavar="ID")
    forget.add_argument("--organisation", metavar="NAME", help="all of it, and its key: copies become unreadable too")
    forget.add_argument("--dir", dest="dir_option", type=Path, metavar="DIR", help="the installation (default: .)")
    forget.set_defaults(directory=None)
    add_approval(forget)


def run(arguments: argparse.Namespace) -> int:
    """Do what `arguments` say. Raises SekishoError."""
    from sekisho.content.acts import ContentActs
    from sekisho.content.files import ContentFiles
    from sekisho.identity.sql import SqlIdentity

    directory = DataDirectory(installation(arguments))
    files = ContentFiles(directory.content, directory.content_keys)
    if arguments.do == "list":
        _list(arguments, files.held(arguments.organisation))
        return EXIT_DONE
    from sekisho.app.clock import command_clock  # the server's packages: only here

    clock = command_clock(directory)
    with closing(SqlIdentity(directory.root / STATE_FILE, clock)) as register:
        acts = ContentActs(files, register, clock)
        if arguments.do == "show":
            _show(arguments, acts, register)
        elif arguments.do == "reads":
            for entry, at, reader, reason in acts.reasons():
                print(f"{utc(at, RFC3339)}  {entry}  {reader}  {reason}")
        else:
            _forget(arguments, acts, register, clock)
    return EXIT_DONE


def _list(arguments: argparse.Namespace, held: "list[Held]") -> None:
    if arguments.json:
        rows = [
            {"id": one.entry, "organisation": one.organisation, "until": utc(one.until, RFC3339), "bytes": one.bytes}
            for one in held
        ]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    if not held:
        print("Nothing is kept.")
    for one in held:
        print(f"{one.entry}  {one.organisation:<16}  until {utc(one.until, RFC3339)}  {one.bytes} bytes")


def _show(arguments: argparse.Namespace, acts: "ContentActs", register: "SqlIdentity") -> None:
    content = acts.read(arguments.id, _reader(arguments, register), arguments.reason)
    for name, data in zip(FIELDS, (content.sent, content.answer), strict=True):
        if arguments.field is None:
            print(f"-- {name}", flush=True)
        if arguments.field in (None, name):
            sys.stdout.buffer.write(for_terminal(data) if sys.stdout.isatty() else data)
            sys.stdout.buffer.flush()
        if arguments.field is None:
            print(flush=True)


def for_terminal(data: bytes) -> bytes:
    """Text that can't drive the terminal that shows it: callers and providers wrote it. A file gets its bytes."""
    text = data.decode(errors="replace")
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in _DRIVING else "�" for c in text).encode()


def _reader(arguments: argparse.Namespace, register: "SqlIdentity") -> "Reader":
    """Whom the API key stands for. Raises UsageError, AuthenticationError."""
    from sekisho.content.acts import Reader
    from sekisho.identity.keyring import Keyring

    if arguments.api_key_file is not None:
        with arguments.api_key_file.open("rb") as file:
            text = file.read(_KEY_BYTES_MAX).strip()
    else:
        text = os.environ.get(KEY_VARIABLE, "").encode()
    if not text:
        raise UsageError("no API key says who reads", remedy=f"Give --api-key-file FILE, or set {KEY_VARIABLE}")
    keyring = Keyring()
    keyring.apply(register.changes_since(0))
    principal = keyring.authenticate(None, text)
    return Reader(principal.id, principal.organisation, principal.roles)


def _forget(arguments: argparse.Namespace, acts: "ContentActs", register: "SqlIdentity", clock: Clock) -> None:
    from sekisho.app.approvals import demand_of
    from sekisho.identity.acts import CONTENT_FORGET, EVERYTHING

    if (arguments.id is None) == (arguments.organisation is None):
        raise UsageError("say what to forget", remedy="Give an ID, or --organisation NAME for all of it")
    organisation = arguments.organisation or acts.organisation_of(arguments.id)
    demand = demand_of(
        DataDirectory(installation(arguments)),
        register,
        clock,
        CONTENT_FORGET,
        {"entry": arguments.id or EVERYTHING, "organisation": organisation},
        arguments.approval,
    )
    if arguments.id is not None:
        acts.forget_entry(arguments.id, ACTOR, demand)
        print(f"What was kept under {arguments.id} is deleted.")
        return
    count = acts.forget_organisation(organisation, ACTOR, demand)
    print(f"The content key of {organisation} is destroyed and {count} kept contents are deleted.")
    print("Destroy copies of the key in your backups of keys/ as well.", file=sys.stderr)
