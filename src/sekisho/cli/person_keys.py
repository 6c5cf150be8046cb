"""What `approve`, `approvals` and `persons` share: private keys with their passphrases, and the language of words."""

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.identity.acts import ENGLISH, JAPANESE
from sekisho.identity.approval_files import read_key_file
from sekisho.identity.persons import is_encrypted, read_private_key
from sekisho.kernel.errors import UsageError

DEFAULT_KEY: Final = Path("~/.config/sekisho/person.key")
_PASSPHRASE_BYTES_MAX: Final = 4096


def add_key(parser: argparse.ArgumentParser) -> None:
    """Let a command be told which key signs, and in which language it speaks."""
    parser.add_argument("--key", type=Path, metavar="KEYFILE", help=f"your private key (default: {DEFAULT_KEY})")
    add_passphrase_file(parser)
    add_language(parser)


def add_passphrase_file(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help="read the passphrase here, don't ask")


def add_language(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--language", choices=(ENGLISH, JAPANESE), help="of the text; default: from the environment")


def private_key(arguments: argparse.Namespace) -> Ed25519PrivateKey:
    """The key meant, its passphrase asked for where it has one. Raises PersonKeyUnusable, UsageError, OSError."""
    path: Path = arguments.key or DEFAULT_KEY.expanduser()
    if arguments.key is None and not path.exists():
        raise UsageError(
            f"there is no key {path}", remedy="Name yours with --key, or make one: sekisho persons new-key"
        )
    pem = read_key_file(path, private=True)
    return read_private_key(pem, passphrase(arguments, f"Passphrase of {path}: ") if is_encrypted(pem) else None)


def passphrase(arguments: argparse.Namespace, prompt: str) -> str:
    """From the file named, or asked for on the terminal. Raises UsageError where there is none."""
    if arguments.passphrase_file is not None:
        with arguments.passphrase_file.open("rb") as file:
            data = file.read(_PASSPHRASE_BYTES_MAX)
        try:
            return str(data.decode()).removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise UsageError(f"{arguments.passphrase_file} does not hold text") from None
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked for the passphrase here", remedy="Give it with --passphrase-file FILE")
    return getpass.getpass(prompt)


def language(arguments: argparse.Namespace) -> str:
    """The one asked for, or the environment's."""
    if arguments.language is not None:
        return str(arguments.language)
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_MESSAGES") or os.environ.get("LANG") or ""
    return JAPANESE if locale.startswith("ja") else ENGLISH
