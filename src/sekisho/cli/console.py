"""`sekisho console`: tokens to sign in with. It works whether or not the installation runs."""

import argparse
import sys
from pathlib import Path

from sekisho.settings import DataDirectory, load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "Issue a token for one sign-in to the console; it works whether or not the installation runs."
    parser.epilog = "`sekisho console token --help` tells the rest."
    acts = parser.add_subparsers(dest="act", required=True, metavar="token")
    token = acts.add_parser(
        "token",
        help="issue a one-time token and print the address to open",
        description="Issue a token for one sign-in within 15 minutes, and print the address to open. It is kept by\n"
        "digest alone; its issue and its use are entries in the log.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    token.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the installation (default: here)"
    )
    token.add_argument(
        "--role",
        choices=("operator", "auditor"),
        default="operator",
        help="auditors read; operators also explain (default: operator)",
    )


def run(arguments: argparse.Namespace) -> int:
    from sekisho.app.console import issue_token, sign_in_url  # the server's dependencies, loaded when they are needed

    settings = load_settings(arguments.directory)
    token = issue_token(DataDirectory(arguments.directory.resolve()), arguments.role)
    print(sign_in_url(settings, str(token)), flush=True)
    print(f"Good for one sign-in as {arguments.role} within 15 minutes.", file=sys.stderr)
    return 0
