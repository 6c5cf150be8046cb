"""`sekisho restore`: an installation out of a backup, as a new node."""

import argparse
from pathlib import Path

from sekisho.cli.backup import passphrase_of
from sekisho.kernel.clock import RFC3339, utc


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make the installation DIR out of the backup TARGET, here or on another machine. It is a new node of the\n"
        "site, with a log of its own: the old log comes along to be read, and is never signed again."
    )
    parser.epilog = (
        "The site's key enrols the new log: out of the backup's sealed keys, or from --site-key. The original may\n"
        "still run: the two don't disturb each other, but share API keys. See docs/ledger.md."
    )
    parser.add_argument("target", metavar="TARGET", type=Path, help="the backup")
    parser.add_argument("directory", metavar="DIR", type=Path, help="a directory that is empty or does not exist")
    parser.add_argument("--passphrase-file", metavar="FILE", type=Path, help="of keys that were backed up sealed")
    parser.add_argument("--site-key", metavar="FILE", type=Path, help="the site's key, if the backup has no keys")


def run(arguments: argparse.Namespace) -> int:
    from sekisho.app.restore import restore

    passphrase = passphrase_of(arguments.passphrase_file)
    done = restore(arguments.target, arguments.directory, passphrase=passphrase, site_key=arguments.site_key)
    print(f"{arguments.directory} is restored as of {utc(done.made_at_us, RFC3339)}.")
    print(f"Its log is {done.origin}, a new one; that of {done.origin_before} can be read, and is never signed again.")
    if done.new_organisation_keys:
        print(
            f"New commitment keys: {', '.join(done.new_organisation_keys)}. No receipts can be made of older requests."
        )
    for name in done.left_out:
        print(f"Not in the backup, put it there: {name}")
    print("API keys that were revoked after the backup count again: look at `sekisho keys list` before you start it.")
    print(f"\nNext:\n  sekisho up {arguments.directory}")
    return 0
