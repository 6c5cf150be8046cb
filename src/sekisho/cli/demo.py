"""`sekisho demo`: a short story with real processes, told on the terminal.

Every line that claims something checks it first; `--once` ends with a non-zero exit code if any step did not hold.
"""

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from sekisho.app.installation import Created, Listen, create_installation, put_declarations_in_force
from sekisho.cli.demo_story import DECLARATIONS, ENGINE, MY_NUMBER, NATION, POLICY, STORY
from sekisho.kernel.errors import SekishoError
from sekisho.settings import DataDirectory

_READY_S: Final = 60
_RECEIPT_S: Final = 30
_STOP_S: Final = 45
_USUAL_PORTS: Final = (8400, 8401, 8402, 8403)
_ANY_PORTS: Final = (0, 0, 0, 0)


class StepFailed(SekishoError):
    """Something that the demonstration claims did not hold."""


class PortsTaken(StepFailed):
    """Another program took a port between our look and our use of it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Make an installation in a temporary directory, run it, and tell the story of governed requests. Each step is\n"
        "checked before it is told. Then it prints a URL and a key to go on by hand, and runs until Ctrl-C."
    )
    parser.epilog = "exit status: 0 every step held; 1 one did not. Needs the openai client."
    parser.add_argument("--once", action="store_true", help="tell the story and exit, non-zero if a step did not hold")
    parser.add_argument("--language", choices=("en", "ja"), default=_language(), help="default: by your locale")


def run(arguments: argparse.Namespace) -> int:
    try:
        import openai  # noqa: F401 - asked for here, so that its absence is said before anything starts
    except ModuleNotFoundError:
        raise SekishoError("the demonstration speaks through the openai client", remedy="pip install openai") from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: end the processes, remove the files
    print(f"\n{STORY['title'][arguments.language]}", flush=True)
    try:
        _tell(arguments, _USUAL_PORTS)
    except PortsTaken:
        _tell(arguments, _ANY_PORTS)
    return 0


def _tell(arguments: argparse.Namespace, wanted: Sequence[int]) -> None:
    with tempfile.TemporaryDirectory(prefix="sekisho-demo-") as temporary:
        demonstration = Demonstration(Path(temporary) / "installation", arguments.language, _free_ports(wanted))
        demonstration.tell(once=arguments.once)


def _language() -> str:
    return "ja" if os.environ.get("LC_ALL", os.environ.get("LANG", "")).startswith("ja") else "en"


class Demonstration:
    """One telling. Numbers its steps; raises StepFailed at the first that does not hold."""

    def __init__(self, root: Path, language: str, ports: Sequence[int]) -> None:
        self._root = root
        self._language = language
        self._step = 0
        self._log = root.parent / "up.log"
        self._ports = ports
        self._listen = Listen(*(f"127.0.0.1:{port}" for port in self._ports[:3]))
        self._base = f"http://{self._listen.gateway}"
        self._receipts = root.parent / "receipts"
        self._key = ""
        self._origin = ""

    def tell(self, *, once: bool) -> None:
        created = self._make()
        self._origin = created.origin
        self._key = created.key_text
        with self._running() as process:
            self._held("made", origin=created.origin)
            self._held("running")
            ids = [self._answered_at_home(), self._redacted(), self._permitted_abroad(), self._refused()]
            self._verified(ids)
            self._tampered(ids[0])
            if once:
                self._say("held")
                return
            self._say("go_on", url=f"{self._base}/v1", key=self._key, control=f"http://{self._listen.control}/")
            with contextlib.suppress(KeyboardInterrupt):
                process.wait()

    # -- the steps

    def _make(self) -> Created:
        created = create_installation(self._root, self._listen, NATION)
        directory = DataDirectory(self._root)
        for name, text in DECLARATIONS.items():
            path = directory.declarations / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.format(abroad=f"127.0.0.1:{self._ports[3]}", manual=self._listen.manual))
        (directory.declarations / "policies" / "demonstration.cedar").write_text(POLICY)
        with directory.settings.open("a") as settings:
            settings.write(ENGINE.format(abroad=f"127.0.0.1:{self._ports[3]}"))
        put_declarations_in_force(directory)
        return created

    @contextlib.contextmanager
    def _running(self) -> Iterator[subprocess.Popen[bytes]]:
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "sekisho", "up", str(self._root)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
            try:
                self._await_ready(process)
                yield process
            except BaseException as error:
                if not isinstance(error, (KeyboardInterrupt, PortsTaken)):
                    sys.stderr.write("".join(self._log.read_text(errors="replace").splitlines(keepends=True)[-30:]))
                raise
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                try:
                    process.wait(timeout=_STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _answered_at_home(self) -> str:
        question = self._text("question")
        pieces, headers = [], {}
        with self._client().chat.completions.with_streaming_response.create(
            model="manual", messages=[{"role": "user", "content": question}], stream=True
        ) as response:
            headers = dict(response.headers)
            for line in response.iter_lines():
                if line.startswith("data: {"):
                    choices = json.loads(line[6:])["choices"]
                    pieces.append(choices[0]["delta"].get("content") or "" if choices else "")
        answer = "".join(pieces)
        self._require(bool(answer) and len(pieces) > 2, "no streamed answer came")
        self._require(headers["x-sekisho-jurisdiction"] == "JP", "the answer did not come from Japan")
        self._held("home", question=question, answer=_first_line(answer), **_facts(headers))
        return str(headers["x-sekisho-receipt"])

    def _redacted(self) -> str:
        text = self._text("my_number", number=MY_NUMBER)
        headers, _ = self._ask("manual", text)
        receipt = self._receipt(headers["x-sekisho-receipt"])
        decision = next(e["entry"] for e in receipt["entries"] if e["entry"]["kind"] == "decision")
        chosen = decision["body"]["chosen"]
        self._require(chosen["action"] == "sendRedacted", "the My Number was not redacted")
        self._require(MY_NUMBER not in json.dumps(receipt), "the receipt holds the My Number")
        self._held("redacted", text=text, **_facts(headers))
        return headers["x-sekisho-receipt"]

    def _permitted_abroad(self) -> str:
        headers, _ = self._ask("manual-global", self._text("question"), {"x-sekisho-data-class": "public"})
        self._held("abroad", **_facts(headers))
        return headers["x-sekisho-receipt"]

    def _refused(self) -> str:
        from openai import PermissionDeniedError

        try:
            self._ask("manual-global", self._text("question"), {"x-sekisho-data-class": "confidential"})
        except PermissionDeniedError as error:
            message = error.body["message"] if isinstance(error.body, dict) else str(error)
            self._held("refused", reasons=message)
            return str(error.response.headers["x-sekisho-receipt"])
        raise StepFailed("a confidential request crossed to the deployment abroad")

    def _verified(self, ids: list[str]) -> None:
        self._receipts.mkdir()
        for identifier in ids:
            (self._receipts / f"{identifier}.json").write_bytes(self._receipt_bytes(identifier))
            code, output = self._verify(self._receipts / f"{identifier}.json")
            self._require(code == 0, f"the receipt {identifier} does not verify: {output}")
        self._held("verified", count=len(ids))

    def _tampered(self, identifier: str) -> None:
        original = (self._receipts / f"{identifier}.json").read_bytes()
        position = original.index(b'"permitted":true') + len(b'"permitted":t')
        changed = self._receipts / "changed.json"
        changed.write_bytes(original[:position] + b"R" + original[position + 1 :])
        code, output = self._verify(changed)
        self._require(code == 1, "a changed receipt was taken for valid")
        # And a change that leaves the JSON well-formed: one digit of a time.
        position = original.index(b'"at":') + len(b'"at":1')
        digit = b"7" if original[position : position + 1] != b"7" else b"3"
        changed.write_bytes(original[:position] + digit + original[position + 1 :])
        code, output = self._verify(changed)
        self._require(code == 1, "a changed receipt was taken for valid")
        self._held("tampered", verdict=_first_line(output))

    # -- how

    def _client(self) -> Any:
        from openai import DefaultHttpxClient, OpenAI

        http = DefaultHttpxClient(trust_env=False)
        return OpenAI(base_url=f"{self._base}/v1", api_key=self._key, max_retries=0, http_client=http)

    def _ask(self, model: str, text: str, headers: dict[str, str] | None = None) -> tuple[dict[str, str], str]:
        raw = self._client().chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": text}], extra_headers=headers or {}
        )
        return dict(raw.headers), raw.parse().choices[0].message.content

    def _receipt(self, identifier: str) -> dict[str, Any]:
        receipt: dict[str, Any] = json.loads(self._receipt_bytes(identifier))
        return receipt

    def _receipt_bytes(self, identifier: str) -> bytes:
        deadline = time.monotonic() + _RECEIPT_S
        while time.monotonic() < deadline:
            status, body = _get(f"{self._base}/receipts/{identifier}", self._key)
            if status == 200:
                return body
            self._require(status == 202, f"GET /receipts answered {status}")
            time.sleep(0.2)
        raise StepFailed("the receipt was not signed in time")

    def _verify(self, receipt: Path) -> tuple[int, str]:
        command = [sys.executable, "-m", "sekisho", "verify", str(receipt), "--trust", str(self._root / "site.vkey")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    def _await_ready(self, process: subprocess.Popen[bytes]) -> None:
        wanted = [f"{self._base}/readyz", f"http://{self._listen.control}/healthz"]
        wanted += [f"http://127.0.0.1:{port}/healthz" for port in self._ports[2:4]]
        deadline = time.monotonic() + _READY_S
        for url in wanted:
            while _get(url, "")[0] != 200:
                self._require_our_ports(process)
                if process.poll() is not None or time.monotonic() > deadline:
                    raise StepFailed(f"{url} did not come up")
                time.sleep(0.1)
        # What answers there must be ours.
        _, status = _get(f"http://{self._listen.control}/api/status", "")
        self._require_our_ports(process)
        self._require(self._origin.encode() in status, "another program answers on our ports")

    def _require_our_ports(self, process: subprocess.Popen[bytes]) -> None:
        if (process.poll() or 0) > 0 and _free_ports(self._ports) != self._ports:
            raise PortsTaken("the demonstration's ports were taken by another program", remedy="Start it again")

    def _require(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise StepFailed(f"the demonstration failed: {otherwise}")

    def _held(self, name: str, **values: object) -> None:
        self._step += 1
        print(f"\n{self._step}. {self._text(name, **values)}", flush=True)

    def _say(self, name: str, **values: object) -> None:
        print(f"\n{self._text(name, **values)}", flush=True)

    def _text(self, name: str, **values: object) -> str:
        return STORY[name][self._language].format(**values)


def _facts(headers: dict[str, str]) -> dict[str, str]:
    return {
        "deployment": headers["x-sekisho-deployment"],
        "labels": headers["x-sekisho-labels"],
        "receipt": headers["x-sekisho-receipt"],
    }


def _first_line(text: str) -> str:
    line = text.strip().splitlines()[0] if text.strip() else ""
    return line if len(line) <= 100 else line[:99] + "…"


def _get(url: str, key: str) -> tuple[int, bytes]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {key}"} if key else {})  # noqa: S310
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except (urllib.error.URLError, OSError):
        return 0, b""


def _free_ports(wanted: Sequence[int]) -> list[int]:
    """The ports wanted where they are free, any others where they are not."""
    ports: list[int] = []
    with contextlib.ExitStack() as held:
        for first in wanted:
            for port in (first, 0):
                listener = held.enter_context(socket.socket())
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    listener.bind(("127.0.0.1", port))
                except OSError:
                    continue
                ports.append(listener.getsockname()[1])
                break
    return ports
