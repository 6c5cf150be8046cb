"""`sekisho keys`: make, show and end API keys. It works whether or not the installation runs."""

import argparse
import json
import sys
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from sekisho.identity.errors import KeyRequestInvalid
from sekisho.identity.interfaces import ApiKey
from sekisho.kernel.clock import RFC3339, SystemClock, utc
from sekisho.kernel.errors import SekishoError, UsageError
from sekisho.kernel.words import alternatives
from sekisho.settings import require_known_format

if TYPE_CHECKING:  # SQLAlchemy is loaded only when a register is opened
    from sekisho.identity.sql import SqlIdentity

SETTINGS_FILE: Final = "sekisho.toml"
STATE_FILE: Final = "state.sqlite"
ACTOR: Final = "operator"  # who has the data directory; a user's name must not get into the ledger (G6)

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

_COLUMNS: Final = ("id", "organisation", "name", "roles", "class", "residency", "created", "revoked")


class DeclaredNames(NamedTuple):
    """What a key may refer to. None: not known here, so not checked."""

    organisations: frozenset[str]
    classes: frozenset[str] | None = None
    jurisdictions: frozenset[str] | None = None


def declared_names(directory: Path) -> DeclaredNames:
    """What an installation's declarations name. Where they hold mistakes, the organisations' files alone count."""
    from sekisho.catalog.files import read_declarations  # needed by `create` only
    from sekisho.catalog.interfaces import ANYWHERE

    catalogue = read_declarations(directory / "declarations").catalogue
    if catalogue is None:
        organisations = (directory / "declarations" / "organisations").glob("*.toml")
        return DeclaredNames(frozenset(path.stem for path in organisations))
    return DeclaredNames(
        frozenset(organisation.name for organisation in catalogue.organisations),
        frozenset(data_class.name for data_class in catalogue.boundary.classes),
        frozenset(catalogue.boundary.jurisdictions) | {ANYWHERE},
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare `sekisho keys create|list|revoke|forget|renew`."""
    parser.description = (
        "Create, list and revoke API keys; forget or renew an organisation's commitment key. It works whether or not\n"
        "the installation runs."
    )
    parser.epilog = "`sekisho keys create --help` and so on tell the rest."
    acts = parser.add_subparsers(dest="act", required=True, metavar="create|list|revoke|forget|renew")

    create = acts.add_parser("create", help="make a key and print it once", description="Make a key; print it once.")
    create.add_argument("--organisation", default="default", help="whose key it is (default: default)")
    create.add_argument("--name", required=True, help="a label for people; it never reaches the ledger")
    create.add_argument("--role", action="append", dest="roles", help="repeat for several (default: caller)")
    create.add_argument(
        "--class", dest="data_class", metavar="CLASS", help="class of its data (default: the organisation's)"
    )
    create.add_argument(
        "--residency",
        help="where its data may be processed, ISO 3166-1 codes with commas (default: the organisation's)",
    )
    add_directory(create)

    listing = acts.add_parser("list", help="show every key, revoked ones too", description="Show every key.")
    listing.add_argument("--json", action="store_true", help="as JSON, for programs")
    add_directory(listing)

    revoke = acts.add_parser(
        "revoke",
        help="end a key, with what it has running",
        description="End a key. Running gateways refuse it within a second and end its streams.",
    )
    revoke.add_argument("id", help="the key's id, from `sekisho keys list`")
    add_directory(revoke)

    forget = acts.add_parser(
        "forget",
        help="destroy an organisation's commitment key, for good",
        description=(
            "Destroy the key that ties an organisation's entries to their content. The entries still verify, but\n"
            "nothing links them to text any more, and no receipt of them can be made; receipts fetched before stay\n"
            "valid. Its requests are refused until `sekisho keys renew`. Copies in backups are yours to destroy."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    forget.add_argument("organisation", metavar="ORGANISATION")
    forget.add_argument("--confirm", metavar="ORGANISATION", help="its name again: this can't be undone")
    add_approval(forget)
    forget.add_argument("--dir", dest="dir_option", type=Path, metavar="DIR", help="the installation (default: .)")

    renew = acts.add_parser(
        "renew",
        help="give an organisation whose key was forgotten a new one",
        description="Make a new commitment key after `forget`. Older entries stay unlinked.",
    )
    renew.add_argument("organisation", metavar="ORGANISATION")
    renew.add_argument("--dir", dest="dir_option", type=Path, metavar="DIR", help="the installation (default: .)")
    for act in (forget, renew):
        act.set_defaults(directory=None)


def run(arguments: argparse.Namespace, declared: Callable[[Path], DeclaredNames] = declared_names) -> int:
    """Do what `arguments` say. Returns 0 when done, 1 when it couldn't be done, 2 when the words are off."""
    try:
        directory = installation(arguments)
        if arguments.act == "create":
            _create(arguments, directory, declared(directory))
        elif arguments.act == "list":
            _list(arguments, directory)
        elif arguments.act == "forget":
            _forget(arguments, directory)
        elif arguments.act == "renew":
            _renew(arguments, directory)
        else:
            _revoke(arguments, directory)
    except SekishoError as error:
        print(f"sekisho keys: {error}", file=sys.stderr)
        return EXIT_USAGE if isinstance(error, UsageError | KeyRequestInvalid) else EXIT_FAILED
    return EXIT_DONE


def _create(arguments: argparse.Namespace, directory: Path, names: DeclaredNames) -> None:
    residency = _split(arguments.residency)
    _require_declared("organisation", (arguments.organisation,), names.organisations, "declarations/organisations/")
    _require_declared("data class", (arguments.data_class,), names.classes, "declarations/boundary.toml")
    _require_declared("jurisdiction", residency or (), names.jurisdictions, "declarations/boundary.toml")
    with closing(_open(directory)) as register:
        key, text = register.create_key(
            arguments.organisation,
            arguments.name,
            tuple(arguments.roles or ("caller",)),
            arguments.data_class,
            residency,
            ACTOR,
        )
    print(text, flush=True)
    print(
        f"Key {key.id} for organisation {key.principal.organisation}. It is shown only this once and kept nowhere: "
        f"store it now. To end it: sekisho keys revoke {key.id} --dir {directory}",
        file=sys.stderr,
    )


def _list(arguments: argparse.Namespace, directory: Path) -> None:
    with closing(_open(directory)) as register:
        keys = register.list_keys()
    if arguments.json:
        print(json.dumps([_as_object(key) for key in keys], ensure_ascii=False, indent=2))
        return
    rows = [_COLUMNS, *(_as_row(key) for key in keys)]
    widths = [max(_width(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        cells = (cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def _revoke(arguments: argparse.Namespace, directory: Path) -> None:
    with closing(_open(directory)) as register:
        key = register.revoke_key(arguments.id, ACTOR)
    print(
        f"Key {key.id} is revoked since {utc(key.revoked_at or 0, RFC3339)}; running gateways follow within a second."
    )


def _forget(arguments: argparse.Namespace, directory: Path) -> None:
    from sekisho.app.commitment_keys import forget_organisation

    name = arguments.organisation
    if arguments.confirm != name:
        raise UsageError(
            f"The commitment key of {name} would be destroyed: nothing could link its entries to their content again",
            remedy=f"If that is meant, add --confirm {name}",
        )
    forget_organisation(directory, name, ACTOR, arguments.approval)
    print(
        f"The commitment key of {name} is destroyed; running gateways follow within a second and refuse its requests.\n"
        f"Destroy it in your backups too. A new one: sekisho keys renew {name} --dir {directory}"
    )


def _renew(arguments: argparse.Namespace, directory: Path) -> None:
    from sekisho.app.commitment_keys import renew_organisation

    renew_organisation(directory, arguments.organisation, ACTOR)
    print(f"{arguments.organisation} has a new commitment key; its requests are served again within a second.")


def _open(directory: Path) -> "SqlIdentity":
    from sekisho.identity.sql import SqlIdentity

    return SqlIdentity(directory / STATE_FILE, SystemClock())


def add_directory(parser: argparse.ArgumentParser) -> None:
    """Let a command be told which installation is meant, in either way."""
    parser.add_argument("directory", nargs="?", type=Path, metavar="DIR", help="the installation (default: .)")
    parser.add_argument("--dir", dest="dir_option", type=Path, metavar="DIR", help="the same, as an option")


def add_approval(parser: argparse.ArgumentParser) -> None:
    """Let a command be brought the approval of its act."""
    parser.add_argument(
        "--approval",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="where declarations/approvals.toml demands it; repeat for copies that different persons signed",
    )


def installation(arguments: argparse.Namespace) -> Path:
    """The installation meant; raises UsageError if two are named or there is none."""
    positional, option = arguments.directory, arguments.dir_option
    if positional is not None and option is not None and positional != option:
        raise UsageError(f"Two installations are named: {positional} and {option}", remedy="Name one")
    directory: Path = positional or option or Path()
    require_known_format(directory)
    if not (directory / SETTINGS_FILE).is_file():
        raise UsageError(
            f"{directory} is no installation: it has no {SETTINGS_FILE}",
            remedy="Name one with --dir, or make one with `sekisho init DIR`",
        )
    return directory


def _split(residency: str | None) -> tuple[str, ...] | None:
    return None if residency is None else tuple(part.strip() for part in residency.split(",") if part.strip())


def _require_declared(what: str, names: tuple[str | None, ...], known: frozenset[str] | None, where: str) -> None:
    for name in names:
        if name is not None and known is not None and name not in known:
            there = alternatives(name, known) or "none"
            raise UsageError(f"No {what} {name!r} is declared (there is: {there})", remedy=f"Declare it in {where}")


def _as_object(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "organisation": key.principal.organisation,
        "name": key.name,
        "roles": key.principal.roles,
        "class": key.principal.data_class,
        "residency": key.principal.residency,
        "created": utc(key.created_at, RFC3339),
        "revoked": None if key.revoked_at is None else utc(key.revoked_at, RFC3339),
    }


def _as_row(key: ApiKey) -> tuple[str, ...]:
    values = _as_object(key).values()
    return tuple("-" if v is None else ",".join(v) if isinstance(v, tuple) else str(v) for v in values)


def _width(text: str) -> int:
    """Columns on a terminal: wide characters take two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
