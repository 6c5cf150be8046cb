"""`sekisho control`: the control process."""

import argparse
import asyncio

from sekisho.app.control import Listeners, run_control
from sekisho.app.process import configure_log
from sekisho.cli.gateway import add_process_arguments, listener
from sekisho.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run the control process: it puts the declarations in force, signs and publishes the log about once a second\n"
        "and serves the control page. One per installation; `sekisho up` runs it too. SIGINT or SIGTERM stops it."
    )
    add_process_arguments(parser)
    parser.add_argument("--witness-fd", type=int, metavar="N", help="an inherited listening socket for the witness")


def run(arguments: argparse.Namespace) -> int:
    configure_log("control")
    settings = load_settings(arguments.directory)
    sock = listener(arguments.listen_fd, settings.control.listen)
    witness = listener(arguments.witness_fd, settings.witness.listen) if settings.witness.listen else None
    listeners = Listeners(sock, witness)
    asyncio.run(run_control(arguments.directory, settings, listeners, with_parent=arguments.exit_with_parent))
    return 0
