"""`sekisho persons`: who may ask for and approve acts, by their keys. It works whether or not the installation runs."""

import argparse
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sekisho.cli.keys import ACTOR, EXIT_DONE, STATE_FILE, add_approval, add_directory, installation
from sekisho.cli.person_keys import add_passphrase_file, passphrase
from sekisho.identity.approval_files import read_approvals, read_key_file, write_key_files
from sekisho.identity.persons import new_private_key, read_public_key
from sekisho.kernel.clock import RFC3339, SystemClock, utc
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory

if TYPE_CHECKING:  # SQLAlchemy is loaded only when a register is opened
    from sekisho.identity.sql import SqlIdentity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `sekisho persons new-key|enrol|list|retire|erase-name`."""
    parser.description = (
        "Who may ask for and approve acts. A person makes a key (new-key, on their own machine, with no installation)\n"
        "and hands over the .pub file; the operator enrols it under an id that names nobody, such as a staff number."
    )
    parser.epilog = "example: sekisho persons new-key person.key && sekisho persons enrol s-017 --key person.key.pub"
    acts = parser.add_subparsers(dest="do", required=True, metavar="new-key|enrol|list|retire|erase-name")
    new = acts.add_parser(
        "new-key",
        help="make a key pair, for yourself",
        description="Make an Ed25519 key: FILE (0600, encrypted under a passphrase) and FILE.pub, to be enrolled.",
    )
    new.add_argument("file", metavar="FILE", type=Path, help="a new file")
    new.add_argument("--no-passphrase", action="store_true", help="leave it readable: only where a disk is encrypted")
    add_passphrase_file(new)
    enrol = acts.add_parser("enrol", help="register a key as a person's", description="Register a key as a person's.")
    enrol.add_argument("person", metavar="ID", help="names nobody: it stands in declarations and in the ledger")
    enrol.add_argument("--key", required=True, type=Path, metavar="FILE.pub", help="the public key")
    enrol.add_argument("--name", default="", help="for people on this machine; erasable, and never in the ledger")
    add_approval(enrol)
    add_directory(enrol)
    listing = acts.add_parser("list", help="every key, retired ones too", description="Show every key.")
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    add_directory(listing)
    retire = acts.add_parser("retire", help="end a person's keys", description="What they sign counts no longer.")
    retire.add_argument("person", metavar="ID")
    retire.add_argument("--key", metavar="HEX", help="this key only, as `list` shows it")
    add_directory(retire)
    erase = acts.add_parser("erase-name", help="forget who a person is", description="The id and the keys stay.")
    erase.add_argument("person", metavar="ID")
    add_directory(erase)


def run(arguments: argparse.Namespace) -> int:
    """Do what `arguments` say. Raises SekishoError."""
    if arguments.do == "new-key":
        _new_key(arguments)
        return EXIT_DONE
    directory = DataDirectory(installation(arguments))
    with closing(_open(directory)) as register:
        {"enrol": _enrol, "list": _list, "retire": _retire, "erase-name": _erase_name}[arguments.do](
            arguments, directory, register
        )
    return EXIT_DONE


def _new_key(arguments: argparse.Namespace) -> None:
    if arguments.no_passphrase and arguments.passphrase_file is not None:
        raise UsageError("--no-passphrase and --passphrase-file exclude one another")
    secret = None if arguments.no_passphrase else passphrase(arguments, "New passphrase: ")
    if secret is not None and arguments.passphrase_file is None and secret != passphrase(arguments, "Once more: "):
        raise UsageError("the two passphrases differ; nothing was written")
    private, public = new_private_key(secret)
    beside = write_key_files(arguments.file, private, public)
    print(f"{arguments.file} is yours alone; hand {beside} to the operator:")
    print(f"  sekisho persons enrol YOUR-ID --key {beside.name}")
    print(f"The key is {read_public_key(public)}: compare it when it is enrolled.")


def _enrol(arguments: argparse.Namespace, directory: DataDirectory, register: "SqlIdentity") -> None:
    from sekisho.app.approvals import rules_in_force
    from sekisho.app.clock import command_clock
    from sekisho.identity.persons_sql import SqlPersons

    key = read_public_key(read_key_file(arguments.key, private=False))
    enrolled = SqlPersons(register, command_clock(directory)).enrol(
        arguments.person, arguments.name, key, ACTOR, rules_in_force(directory), read_approvals(arguments.approval)
    )
    print(f"{enrolled.person} signs with {enrolled.key} since {utc(enrolled.enrolled_at, RFC3339)}.")
    print("Compare it with what the person's `new-key` printed, by voice or on paper.", file=sys.stderr)


def _list(arguments: argparse.Namespace, directory: DataDirectory, register: "SqlIdentity") -> None:
    from sekisho.identity.persons_sql import SqlPersons

    persons = SqlPersons(register, SystemClock())
    keys, names = persons.list_keys(), persons.names()
    if arguments.json:
        rows = [
            {
                "person": one.person,
                "name": names.get(one.person),
                "key": one.key,
                "enrolled": utc(one.enrolled_at, RFC3339),
                "retired": None if one.retired_at is None else utc(one.retired_at, RFC3339),
            }
            for one in keys
        ]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    if not keys:
        print("Nobody is enrolled.")
    for one in keys:
        times = utc(one.enrolled_at, RFC3339)
        if one.retired_at is not None:
            times += f"  retired {utc(one.retired_at, RFC3339)}"
        print(f"{one.person:<16}  {one.key}  {times}  {names.get(one.person, '')}".rstrip())


def _retire(arguments: argparse.Namespace, directory: DataDirectory, register: "SqlIdentity") -> None:
    from sekisho.identity.persons_sql import SqlPersons

    for one in SqlPersons(register, SystemClock()).retire(arguments.person, arguments.key, ACTOR):
        print(f"{one.person}'s key {one.key} is retired since {utc(one.retired_at or 0, RFC3339)}.")


def _erase_name(arguments: argparse.Namespace, directory: DataDirectory, register: "SqlIdentity") -> None:
    from sekisho.identity.persons_sql import SqlPersons

    SqlPersons(register, SystemClock()).erase_name(arguments.person, ACTOR)
    print(f"The name of {arguments.person} is erased; the id and its keys stay.")


def _open(directory: DataDirectory) -> "SqlIdentity":
    from sekisho.identity.sql import SqlIdentity

    return SqlIdentity(directory.root / STATE_FILE, SystemClock())
