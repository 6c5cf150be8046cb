"""`sekisho stop`: emergency stops. They work whether or not the installation runs."""

import argparse
import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sekisho.cli.keys import ACTOR, STATE_FILE, add_approval, add_directory, installation
from sekisho.identity.errors import StopRequestInvalid
from sekisho.identity.interfaces import STOP_KINDS
from sekisho.kernel.clock import RFC3339, Clock, SystemClock, utc
from sekisho.kernel.errors import UsageError
from sekisho.kernel.words import alternatives
from sekisho.settings import DataDirectory

if TYPE_CHECKING:  # SQLAlchemy is loaded only when a register is opened
    from sekisho.identity.sql import SqlIdentity


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `sekisho stop deployment|provider|organisation|list|lift`."""
    parser.description = (
        "Stop a deployment, a provider or an organisation at once, list the stops that are set, or lift one.\n"
        "Running gateways follow within a second: nothing more is sent, and running streams end. It works whether\n"
        "or not the installation runs; each stop becomes an entry of the ledger, without its reason."
    )
    parser.epilog = 'example: sekisho stop deployment east --dir ./here --reason "wrong region, see the incident"'
    acts = parser.add_subparsers(dest="act", required=True, metavar="deployment|provider|organisation|list|lift")
    for kind in STOP_KINDS:
        act = acts.add_parser(kind, help=f"stop {_a(kind)}", description=f"Stop {_a(kind)} at once.")
        act.add_argument("name", metavar="NAME", help=f"its file's name under declarations/{kind}s/")
        act.add_argument("--reason", default="", help="for people on this machine; it never reaches the ledger")
        act.add_argument("--force", action="store_true", help="even if nothing of that name is declared")
        add_directory(act)
    listing = acts.add_parser("list", help="show the stops that are set", description="Show the stops that are set.")
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    add_directory(listing)
    lift = acts.add_parser("lift", help="lift a stop", description="Lift a stop; running gateways follow at once.")
    lift.add_argument("kind", choices=STOP_KINDS)
    lift.add_argument("name", metavar="NAME")
    add_approval(lift)
    add_directory(lift)


def run(arguments: argparse.Namespace) -> int:
    directory = installation(arguments)
    try:
        if arguments.act == "list":
            _list(arguments, directory)
        elif arguments.act == "lift":
            _lift(arguments, directory)
        else:
            _stop(arguments, directory)
    except StopRequestInvalid as error:
        raise UsageError(error.message, remedy=error.remedy) from None
    return 0


def _stop(arguments: argparse.Namespace, directory: Path) -> None:
    kind, name = arguments.act, arguments.name
    from sekisho.catalog.files import declared_names  # in an emergency mistakes in the tree don't matter: names count

    known = declared_names(directory / "declarations", f"{kind}s")
    if name not in known and not arguments.force:
        raise UsageError(
            f"No {kind} {name!r} is declared (there is: {alternatives(name, known) or 'none'})",
            remedy="Name one of these, or use --force if you know it better",
        )
    with closing(_open(directory)) as register:
        stop = register.set_stop(kind, name, arguments.reason, ACTOR)
    print(
        f"The {kind} {name} is stopped since {utc(stop.set_at, RFC3339)}; running gateways follow within a second.\n"
        f"To lift it: sekisho stop lift {kind} {name} --dir {directory}"
    )


def _lift(arguments: argparse.Namespace, directory: Path) -> None:
    from sekisho.app.approvals import demand_of  # lifting can wait for this; stopping doesn't load it
    from sekisho.app.clock import command_clock
    from sekisho.identity.acts import STOP_LIFT

    kind, name, clock = arguments.kind, arguments.name, command_clock(DataDirectory(directory))
    with closing(_open(directory, clock)) as register:
        parameters = {"kind": kind, "name": name}
        demand = demand_of(DataDirectory(directory), register, clock, STOP_LIFT, parameters, arguments.approval)
        register.lift_stop(kind, name, ACTOR, demand)
    print(f"The {kind} {name} may be used again; running gateways follow within a second.")


def _list(arguments: argparse.Namespace, directory: Path) -> None:
    with closing(_open(directory)) as register:
        stops = register.list_stops()
    if arguments.json:
        rows = [{"kind": s.kind, "name": s.name, "reason": s.reason, "set": utc(s.set_at, RFC3339)} for s in stops]
        print(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    if not stops:
        print("Nothing is stopped.")
    for stop in stops:
        print(f"{stop.kind:<12}  {stop.name:<24}  {utc(stop.set_at, RFC3339)}  {stop.reason}".rstrip())


def _open(directory: Path, clock: Clock | None = None) -> "SqlIdentity":
    from sekisho.identity.sql import SqlIdentity

    return SqlIdentity(directory / STATE_FILE, clock or SystemClock())


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
