"""An installation for a journey: made as `sekisho init` makes it, run by `sekisho up`, on free loopback ports."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from unittest import mock

from sekisho.app.installation import DeclarationsRefused, Listen, create_installation, put_declarations_in_force
from sekisho.catalog.watch import fingerprint
from sekisho.cli import main as program
from sekisho.settings import DataDirectory

READY_S = 60
SEKISHO = [sys.executable, "-m", "sekisho"]
SOURCE = str(Path(__file__).parents[2] / "src")
ENVIRONMENT = {**os.environ, "PYTHONPATH": SOURCE, "NO_PROXY": "*"}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def sekisho(*arguments: object, check: bool = True, **kwargs) -> subprocess.CompletedProcess:
    """Run a command to its end."""
    command = [*SEKISHO, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=ENVIRONMENT, **kwargs)
    if check and done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def inside(*arguments: object, check: bool = True, input: str = "") -> subprocess.CompletedProcess:
    """The same command in this process, for what is asked again and again: half of a short one is Python's start."""
    command = list(map(str, arguments))
    given, out, err = (io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="") for data in (input.encode(), b"", b""))
    with mock.patch.multiple(sys, stdin=given, stdout=out, stderr=err):
        try:
            code = program.main(command)
        except SystemExit as error:  # argparse's
            code = error.code
    said, wrong = (stream.seek(0) or stream.read() for stream in (out, err))
    if check and code != 0:
        raise AssertionError(f"{command} ended with {code}:\n{said}{wrong}")
    return subprocess.CompletedProcess(command, code, said, wrong)


def get(url: str, key: str = "", timeout: float = 10) -> tuple[int, bytes, dict]:
    """(status, body, headers); status 0 when nobody answers."""
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(), dict(error.headers)
    except OSError:
        return 0, b"", {}


def until(condition, seconds: float = 60, what: str = "the condition", every_s: float = 0.05):
    """The first true value of `condition()`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(every_s)
    raise AssertionError(f"{what} did not come true in {seconds} s")


class Installation:
    """`root` holds it; `key` is its first API key (organisation `default`, role `caller`).

    Made here and not by a process, which would take a second to start, unless `words` are added to `sekisho init`.
    """

    in_force = b""  # the declarations that are known to be dealt with, as they look

    def __init__(self, root: Path, *words: str) -> None:
        self.root = root
        self.gateway_port, self.control_port, self.manual_port = (free_port() for _ in range(3))
        self.base = f"http://127.0.0.1:{self.gateway_port}"
        self.control = f"http://127.0.0.1:{self.control_port}"
        listen = Listen(*(f"127.0.0.1:{port}" for port in (self.gateway_port, self.control_port, self.manual_port)))
        if words:
            addresses = (word for name, address in listen._asdict().items() for word in (f"--{name}", address))
            self.key = sekisho("init", root, *words, *addresses).stdout.strip()
        else:
            self.key = create_installation(root, listen).key_text
        self.in_force = self.looks
        self.setting("probes", "enabled", False)  # upstreams that count connections would count those of probes
        self.process: subprocess.Popen | None = None
        self.log = root.parent / f"{root.name}.log"

    def declare(self, kind: str, name: str, text: str) -> None:
        """Write a declaration: kind "deployments", name "x" writes declarations/deployments/x.toml."""
        suffix = "cedar" if kind == "policies" else "toml"
        (self.root / "declarations" / kind / f"{name}.{suffix}").write_text(text)

    def deployment(
        self,
        name: str,
        port: int,
        model: str | None = None,
        extra: str = "",
        path: str = "/v1",
        origin: str = "http://127.0.0.1",
    ) -> None:
        """A model and a deployment of it at home, answered by whatever listens on `port`."""
        self.declare("models", model or name, f'title = "{model or name}"\n')
        url = f"{origin}:{port}{path}"
        text = f'model = "{model or name}"\nprovider = "local"\nsite = "local"\ntype = "engine"\nurl = "{url}"\n{extra}'
        self.declare("deployments", name, text)

    def setting(self, table: str, key: str, value: object) -> None:
        """Set a key of sekisho.toml."""
        path = self.root / "sekisho.toml"
        path.write_text(path.read_text().replace(f"[{table}]\n", f"[{table}]\n{key} = {json.dumps(value)}\n"))

    @property
    def looks(self) -> bytes:
        """What the tree of declarations looks like now."""
        return fingerprint(self.root / "declarations")

    def apply(self) -> None:
        """Put the declarations in force without control."""
        looks = self.looks
        put_declarations_in_force(DataDirectory(self.root))
        self.in_force = looks

    def start(self, *command: str, within: tuple[str, ...] = ()) -> None:
        """`sekisho up` (or another command over the directory), until it is ready; `within`: what executes it.

        Declarations that hold no mistake are put in force before: control lets a changed tree settle for seconds.
        """
        if not command and self.looks != self.in_force:
            with contextlib.suppress(DeclarationsRefused):
                self.apply()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*within, *SEKISHO, *(command or ("up",)), str(self.root)], stdout=log, stderr=log, env=ENVIRONMENT
            )
        if not command:
            self.await_ready()

    def await_ready(self) -> None:
        until(lambda: get(f"{self.base}/readyz")[0] == 200, READY_S, f"the gateway; see {self.log}")
        until(lambda: get(f"{self.control}/healthz")[0] == 200, READY_S, f"control; see {self.log}")
        until(lambda: get(f"http://127.0.0.1:{self.manual_port}/healthz")[0] == 200, READY_S, "the engine")
        looks = self.looks
        until(self.agree, READY_S, "the gateway's taking over of the declarations")
        self.in_force = looks

    def agree(self) -> bool:
        """Whether control has taken over what is declared, or refused it, and the gateway serves with its snapshot."""
        gateway, control = get(f"{self.base}/readyz")[1], get(f"{self.control}/api/status")[1]
        if not gateway or not control:
            return False
        told = json.loads(control)
        dealt_with = self.looks == self.in_force or told["declarations"].startswith(("in force", "refused"))
        return dealt_with and json.loads(gateway)["snapshot"] == told["snapshot"]

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        if self.process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None

    def children(self) -> dict[str, int]:
        """Process ids of the supervisor's children by role: "gateway", "control", "engine"."""
        found = {}
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):  # it has just gone
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
                # One that has ended has no words any more; one that is just being started still has its parent's.
                for role, word in (
                    ("engine", b"sekisho.capacity.manual"),
                    ("gateway", b"gateway"),
                    ("control", b"control"),
                ):
                    if word in words:
                        found[role] = int(child)
        return found

    def receipt(self, identifier: str, key: str | None = None) -> bytes:
        """The receipt file, once it is complete."""

        def fetched():
            status, body, _ = get(f"{self.base}/receipts/{identifier}", key or self.key)
            assert status in (200, 202), (status, body)
            return body if status == 200 else None

        return until(fetched, 30, f"the receipt {identifier}")

    def __enter__(self) -> "Installation":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def openai_client(installation: Installation, key: str | None = None):
    """The official client, pointed at the gateway, no retries, no proxies. Use it in a `with`."""
    import httpx
    from openai import OpenAI

    http = httpx.Client(trust_env=False, timeout=30)
    return OpenAI(base_url=f"{installation.base}/v1", api_key=key or installation.key, max_retries=0, http_client=http)
