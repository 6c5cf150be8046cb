"""`sekisho gateway`: one gateway process."""

import argparse
import os
import socket
from pathlib import Path

import uvloop

from sekisho.app.gateway import run_gateway
from sekisho.app.process import configure_log
from sekisho.settings import load_settings, split_address
from sekisho.supervisor import bind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run one gateway process, for a supervisor of your own; `sekisho up` runs as many as sekisho.toml says.\n"
        "SIGINT or SIGTERM stops it: requests in flight may finish within gateway.drain_seconds."
    )
    add_process_arguments(parser)


def add_process_arguments(parser: argparse.ArgumentParser) -> None:
    """What the supervisor says to every process of an installation."""
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the installation (default: here)"
    )
    parser.add_argument("--listen-fd", type=int, metavar="N", help="an inherited listening socket to serve on")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when standard input ends")


def listener(listen_fd: int | None, listen: str) -> socket.socket:
    """The inherited socket, or one bound to `listen`."""
    if listen_fd is None:
        return bind(*split_address(listen))
    inherited = socket.socket(fileno=listen_fd)
    inherited.setblocking(False)
    return inherited


def run(arguments: argparse.Namespace) -> int:
    configure_log("gateway")
    settings = load_settings(arguments.directory)
    sock = listener(arguments.listen_fd, settings.gateway.listen)
    uvloop.run(
        run_gateway(arguments.directory, settings, sock, dict(os.environ), with_parent=arguments.exit_with_parent)
    )
    return 0
