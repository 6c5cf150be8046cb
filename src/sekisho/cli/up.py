"""`sekisho up`: the whole installation."""

import argparse
import http.client
import json
import shlex
import socket
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sekisho.app.process import configure_log
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.files import FileLock, LockHeld
from sekisho.settings import DataDirectory, EngineSettings, Settings, load_settings, split_address
from sekisho.supervisor import Child, Supervisor, bind

_ANSWER_BYTES_MAX: Final = 64 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run an installation: control, gateway workers and the engines that sekisho.toml names. What ends is started\n"
        "again. Ctrl-C or SIGTERM stops all: requests in flight may finish within gateway.drain_seconds."
    )
    parser.epilog = "Log lines go to standard error."
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the installation (default: here)"
    )


def run(arguments: argparse.Namespace) -> int:
    import uvloop  # noqa: F401 - the processes need it: its absence is said here, not by each of them again and again

    root: Path = arguments.directory.resolve()
    settings = load_settings(root)
    directory = DataDirectory(root)
    directory.run.mkdir(exist_ok=True)
    configure_log("up")
    try:
        lock = FileLock(directory.run / "up.lock").acquire()
    except LockHeld:
        raise SekishoError(f"{root} is running already", remedy="Stop the other `sekisho up` first") from None
    with lock:
        supervisor = Supervisor(children(root, settings))
        supervisor.run(_announce_when_ready(directory, settings))
    print("stopped", file=sys.stderr)
    return 0


def children(root: Path, settings: Settings) -> list[Child]:
    """Control, gateway workers on one inherited socket, and the declared engines. Binds the addresses."""
    listens = [settings.gateway.listen, settings.control.listen]
    if settings.witness.listen:
        listens.append(settings.witness.listen)
    bound: list[socket.socket] = []
    try:
        for listen in listens:
            bound.append(bind(*split_address(listen)))
    except SekishoError:
        for listener in bound:
            listener.close()
        raise
    gateway_fd, control_fd, *witness_fds = [listener.detach() for listener in bound]
    inherit = ["--exit-with-parent", "--listen-fd"]
    found = [
        Child(
            "control",
            ["-m", "sekisho", "control", str(root), *inherit, str(control_fd), *_options("--witness-fd", witness_fds)],
            stop_order=2, stop_bound_s=15, pass_fds=(control_fd, *witness_fds), hears_hangup=True,
        )
    ]  # fmt: skip
    for name, engine in settings.engines.items():
        found.append(Child(f"engine {name}", engine_arguments(root, engine), stop_order=1, stop_bound_s=5))
    for number in range(settings.gateway.workers):
        found.append(
            Child(
                f"gateway {number}", ["-m", "sekisho", "gateway", str(root), *inherit, str(gateway_fd)],
                stop_order=0, stop_bound_s=settings.gateway.drain_seconds, pass_fds=(gateway_fd,),
            )
        )  # fmt: skip
    return found


def _options(name: str, values: list[int]) -> list[str]:
    return [word for value in values for word in (name, str(value))]


def engine_arguments(root: Path, engine: EngineSettings) -> list[str]:
    """What Python is told to run an engine of the installation in `root`."""
    common = ["--listen", engine.listen, "--model", engine.model, "--exit-with-parent"]
    if engine.kind == "manual":
        return ["-m", "sekisho.capacity.manual", *common]
    numbers = {"--context": engine.context, "--parallel": engine.parallel, "--threads": engine.threads}
    words = [str(word) for pair in numbers.items() if pair[1] for word in pair]
    words += ["--embeddings"] if engine.embeddings else []
    return ["-m", "sekisho", "engine", "serve", *common, *words, str(root / engine.file)]


def _announce_when_ready(directory: DataDirectory, settings: Settings) -> Callable[[], None]:
    scheme = "https" if settings.gateway.tls_certificate_file else "http"
    url = f"{scheme}://{settings.gateway.listen}"
    said = False

    def announce() -> None:
        nonlocal said
        if not said and _is_ready(settings, None if scheme == "https" else f"{url}/readyz"):
            said = True
            print(f"gateway  {url}/v1\ncontrol  http://{settings.control.listen}/", file=sys.stderr)
            _invite(directory, settings)
            print("Ctrl-C stops it.", file=sys.stderr)

    return announce


def _invite(directory: DataDirectory, settings: Settings) -> None:
    """Print how to sign in to the console, unless an operator is. Without it everything else still runs.

    The address lets in whoever reads it: it is for the person at a terminal and not for a service's log.
    """
    if not sys.stderr.isatty():
        print(f"sign in  sekisho console token {shlex.quote(str(directory.root))}", file=sys.stderr)
        return
    from sekisho.app.console import issue_token, sign_in_url
    from sekisho.identity.console_sign_in import OPERATOR

    try:
        token = issue_token(directory, OPERATOR, unless_signed_in=True)
    except SekishoError as error:
        print(f"no sign-in token: {error}", file=sys.stderr)
        return
    if token is not None:
        print(f"sign in  {sign_in_url(settings, token)}  (once, within 15 minutes)", file=sys.stderr)


def _is_ready(settings: Settings, gateway: str | None) -> bool:
    """Whether control has dealt with what is declared, and the gateway serves with it. `gateway` None: not asked."""
    from sekisho.app.console import ask_control
    from sekisho.console.interfaces import BUILDING, CHANGED

    control = ask_control(settings)
    if control is None or control.get("declarations") in (CHANGED, BUILDING):
        return False
    if gateway is None:
        return True
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(gateway, timeout=1) as answer:
            return bool(json.loads(answer.read(_ANSWER_BYTES_MAX))["snapshot"] == control["snapshot"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return False
