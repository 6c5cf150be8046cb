"""`sekisho control`: the control process."""

import argparse
import asyncio

from sekisho.app.control import run_control
from sekisho.app.process import configure_log
from sekisho.cli.gateway import add_process_arguments, listener
from sekisho.settings import load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run the control process: it puts the declarations in force, signs and publishes the log about once a second\n"
        "and serves the control page. One per installation; `sekisho up` runs it too. SIGINT or SIGTERM stops it."
    )
    add_process_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    configure_log("control")
    settings = load_settings(arguments.directory)
    sock = listener(arguments.listen_fd, settings.control.listen)
    asyncio.run(run_control(arguments.directory, settings, sock, with_parent=arguments.exit_with_parent))
    return 0
