"""`sekisho check`."""

import argparse
import json
from pathlib import Path
from typing import Final

from sekisho.app.installation import check_declarations
from sekisho.catalog.interfaces import Mistake
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory, load_settings

_NO_MISTAKES: Final = "The declarations hold no mistakes."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Read declarations/ and its policies and name every mistake: file, key, what is wrong, what would be right.\n"
        "Nothing is changed. What holds no mistakes is taken over within seconds if control runs, else when it starts."
    )
    parser.epilog = "exit status: 0 no mistakes; 1 mistakes, or it could not be read; 2 wrong usage"
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the installation (default: here)"
    )
    parser.add_argument("--json", action="store_true", help="print the mistakes as JSON")


def run(arguments: argparse.Namespace) -> int:
    root: Path = arguments.directory
    directory = DataDirectory(root)
    if not directory.declarations.is_dir():
        raise UsageError(f"{root} has no declarations/", remedy="Name an installation's directory")
    load_settings(root)
    mistakes, notes, layers = check_declarations(directory)
    if arguments.json:
        fields = ("file", "key", "problem", "remedy")
        print(json.dumps([{name: getattr(mistake, name) for name in fields} for mistake in mistakes], indent=2))
    else:
        for mistake in mistakes:
            _print(mistake)
        print(f"\n{len(mistakes)} mistake{'s' if len(mistakes) != 1 else ''}." if mistakes else _NO_MISTAKES)
        if layers and not mistakes:
            held = ", ".join(f"{name} {count}" for name, count in layers)
            print(f"Policies by layer: {held}. Each layer only tightens those above it.")
        if notes:
            print("\nNo mistakes, but worth a look:")
        for note in notes:
            _print(note)
    return 1 if mistakes else 0


def _print(mistake: Mistake) -> None:
    where = f"{mistake.file}: {mistake.key}" if mistake.key else mistake.file
    print(f"{where}\n    {mistake.problem}\n    → {mistake.remedy}")
