"""`sekisho backup`: a verified copy of an installation, while it runs."""

import argparse
import sys
from pathlib import Path

from sekisho.cli.keys import installation
from sekisho.kernel.clock import RFC3339, utc
from sekisho.kernel.errors import UsageError

PASSPHRASE_BYTES_MAX = 64 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Copy the installation DIR to the new directory TARGET while it runs: settings, declarations, snapshots, the\n"
        "register of API keys, and the log up to a checkpoint. The copy is consistent, and verified when it is written."
    )
    parser.epilog = (
        "Keys are left out unless you say --with-keys; then they are sealed with a passphrase (scrypt, AES-256-GCM),\n"
        "which the rest of the backup is bound to. The key that signs the log is never in a backup: see docs/ledger.md."
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="the installation")
    parser.add_argument("target", metavar="TARGET", type=Path, help="a directory that does not exist")
    parser.add_argument("--with-keys", action="store_true", help="the keys as well, sealed; needs --passphrase-file")
    parser.add_argument("--passphrase-file", metavar="FILE", type=Path, help="its first line; - reads standard input")
    parser.set_defaults(dir_option=None)


def run(arguments: argparse.Namespace) -> int:
    from sekisho.app.backup import back_up

    directory = installation(arguments)
    if arguments.with_keys != (arguments.passphrase_file is not None):
        raise UsageError("--with-keys and --passphrase-file belong together", remedy="Give both, or neither")
    passphrase = passphrase_of(arguments.passphrase_file)
    made = back_up(directory, arguments.target, passphrase).manifest
    print(
        f"{arguments.target}: {made['size']} entries of {made['origin']}, {utc(made['made_at_us'], RFC3339)}, verified."
    )
    print("The keys are in it, sealed." if made["with_keys"] else "No keys are in it: keep those apart (--with-keys).")
    for name in made["left_out"]:
        print(f"Not in it, keep it apart: {name}", file=sys.stderr)
    return 0


def passphrase_of(file: Path | None) -> str | None:
    """The first line of a file. Raises UsageError if there is none."""
    if file is None:
        return None
    if str(file) == "-":
        text = sys.stdin.readline()
    else:
        with file.open(encoding="utf-8") as stream:
            text = stream.readline(PASSPHRASE_BYTES_MAX)
    if not text.strip():
        raise UsageError(f"{file} holds no passphrase", remedy="Write it on the first line")
    return text.rstrip("\r\n")
