"""`sekisho init`."""

import argparse
import sys
from pathlib import Path

from sekisho.app.installation import Listen, create_installation
from sekisho.catalog.nations import default_nation, nation_names
from sekisho.cli.offer import offer_servers
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory, SettingsError, is_loopback, split_address


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make an installation in DIR: sekisho.toml, declarations/ to make your own, keys, the register of API keys.\n"
        "The first API key goes to standard output, once; everything else to standard error.\n"
        "Servers of models on this machine's usual loopback ports are found and offered; none is added unasked."
    )
    parser.epilog = "example: sekisho init ./here && sekisho up ./here"
    parser.add_argument("directory", metavar="DIR", type=Path, help="a directory that is empty or does not exist")
    defaults = Listen()
    # Loopback, because a new installation has no certificate yet.
    parser.add_argument("--gateway", metavar="ADDRESS", default=defaults.gateway, help="where it listens (%(default)s)")
    parser.add_argument("--control", metavar="ADDRESS", default=defaults.control, help="likewise (%(default)s)")
    parser.add_argument("--manual", metavar="ADDRESS", default=defaults.manual, help="the model manual (%(default)s)")
    nations = nation_names()
    parser.add_argument(
        "--nation",
        choices=nations,
        default=default_nation(),
        metavar="NATION",
        help=f"whose places, packs and identifiers the declarations begin with: {', '.join(nations)} (%(default)s)",
    )
    parser.add_argument("--no-discover", action="store_true", help="don't look for servers on loopback")
    parser.add_argument("--add-found", action="store_true", help="declare every server found, without asking")
    parser.add_argument(
        "--discover-port",
        action="append",
        type=int,
        metavar="PORT",
        help="look here, not on the usual ports; repeatable",
    )


def run(arguments: argparse.Namespace) -> int:
    listen = Listen(arguments.gateway, arguments.control, arguments.manual)
    for option, address in listen._asdict().items():
        try:
            host, _ = split_address(address)
        except SettingsError as error:
            raise UsageError(f"--{option}: {error.message}", remedy=error.remedy) from None
        if not is_loopback(host):
            raise UsageError(
                f"--{option}: {address} is not a loopback address",
                remedy="Begin on 127.0.0.1; for others set a certificate in sekisho.toml first",
            )
    root: Path = arguments.directory
    ports = None if arguments.discover_port is None else tuple(arguments.discover_port)
    if any(not 0 < port < 65_536 for port in ports or ()):
        raise UsageError("--discover-port is no port", remedy="Give a number from 1 to 65535")
    created = create_installation(root, listen, arguments.nation)
    vkey = root / "site.vkey"
    print(f"Made an installation in {root}. Its log is {created.origin}.", file=sys.stderr)
    print("This API key is shown once; only its digest is kept:", file=sys.stderr)
    print(created.key_text, flush=True)
    if not arguments.no_discover:
        offer_servers(DataDirectory(root), ports, add_all=arguments.add_found)
    print(f"\nNext:\n  sekisho up {root}", file=sys.stderr)
    print(f'  OpenAI(base_url="http://{listen.gateway}/v1", api_key="sk-…"), model "manual"', file=sys.stderr)
    print(f"  auditors pin {vkey}: sekisho verify RECEIPT --trust {vkey}", file=sys.stderr)
    return 0
