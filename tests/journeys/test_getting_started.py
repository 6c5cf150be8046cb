"""The getting-started pages, run as they are written: each command, and the output that they promise."""

import json
import os
import re
import signal
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest

from journeys.installation import ENVIRONMENT, free_port, get, inside, until
from tiny_gguf import write_tiny_gguf

pytest.importorskip("xllamacpp", reason="llama.cpp is not installed: pip install 'sekisho[server,engine]'")

DOCUMENTS = Path(__file__).parents[2] / "docs"
PAGES = ("getting-started.md", "getting-started.ja.md")
BLOCK = re.compile(r"^(<!-- needs the internet -->\n)?```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND_S = 60
ADDRESSES = ("127.0.0.1:8400", "127.0.0.1:8401", "127.0.0.1:8402")


class Step(NamedTuple):
    """A command as typed, and what the page says that it prints ("…": anything)."""

    command: str
    output: str


def steps(page: str) -> list[Step]:
    found: list[Step] = []
    for internet, block in BLOCK.findall((DOCUMENTS / page).read_text(encoding="utf-8")):
        lines = iter([] if internet else block.splitlines())
        for line in lines:
            if not line.startswith("$ "):
                found[-1] = Step(found[-1].command, found[-1].output + line + "\n")
                continue
            command = line[2:]
            while command.endswith(("\\", "&&", "|")):
                command += "\n" + next(lines)
            if "<<'EOF'" in command:
                command += "\n" + "\n".join(takewhile(lambda typed: typed != "EOF", lines)) + "\nEOF"
            found.append(Step(command, ""))
    return found


def promised(output: str) -> re.Pattern:
    """A line that is only "…" stands for any lines, "…" in a line for anything."""
    lines = ["(?:.*\n)*" if line == "…" else ".*".join(map(re.escape, line.split("…"))) + "\n"
             for line in output.splitlines()]  # fmt: skip
    return re.compile("".join(lines))


class Terminals:
    """A newcomer's two: one for commands, whose variables stay, and one in which `sekisho up` runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = {address: f"127.0.0.1:{free_port()}" for address in ADDRESSES}
        self.up: subprocess.Popen | None = None
        self.log = folder / "up.log"
        programs = folder / "programs"
        programs.mkdir()
        for name, words in (("sekisho", " -m sekisho"), ("python", "")):
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable}{words} "$@"\n')
            (programs / name).chmod(0o755)
        self.environment = {**ENVIRONMENT, "PATH": f"{programs}:{os.environ['PATH']}", "NO_PROXY": "*"}
        (folder / "variables").touch()

    def run(self, command: str) -> str:
        """What the command prints, errors too."""
        for address, ours in self.ports.items():
            command = command.replace(address, ours)
        gateway, control, manual = self.ports.values()
        command = command.replace(
            "sekisho init ./here", f"sekisho init ./here --gateway {gateway} --control {control} --manual {manual}"
        )
        script = f"source ./variables\n{command}\nexport -p > ./variables\n"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self.environment, timeout=COMMAND_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        text = done.stdout
        for address, ours in self.ports.items():
            text = text.replace(ours, address)
        return text if text.endswith("\n") or not text else text + "\n"

    def start(self) -> str:
        """Run `sekisho up ./here` in the second terminal, again if it runs; what it prints until all answers."""
        self.stop()
        with self.log.open("wb") as log:
            command = [str(self.folder / "programs" / "sekisho"), "up", "./here"]
            self.up = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        until(lambda: b"Ctrl-C stops it" in self.log.read_bytes(), COMMAND_S, f"sekisho up; see {self.log}")
        until(self._settled, COMMAND_S, f"engines and snapshot; see {self.log}")
        text = self.log.read_text()
        for address, ours in self.ports.items():
            text = text.replace(ours, address)
        return text

    def _settled(self) -> bool:
        gateway, control, _ = (f"http://{address}" for address in self.ports.values())
        states = [get(f"{gateway}/readyz")[1], get(f"{control}/api/status")[1]]
        if not all(states) or json.loads(states[0])["snapshot"] != json.loads(states[1])["snapshot"]:
            return False
        engines = json.loads(inside("engine", "list", "--json", "--dir", self.folder / "here").stdout)
        return all(engine["answers"] in ("ok", "ready") for engine in engines)

    def stop(self) -> None:
        if self.up is not None:
            self.up.send_signal(signal.SIGINT)
            assert self.up.wait(COMMAND_S) == 0
            self.up = None


# The other page has the same commands (below); here too it is a page's own words that count.
@pytest.mark.parametrize("page", [PAGES[0], pytest.param(PAGES[1], marks=pytest.mark.long)])
def test_each_command_does_what_the_page_says(page, tmp_path):
    terminals = Terminals(tmp_path)
    write_tiny_gguf(tmp_path / "model.gguf")
    try:
        for step in steps(page):
            if step.command == "source .venv/bin/activate":
                continue
            printed = terminals.start() if step.command == "sekisho up ./here" else terminals.run(step.command)
            assert promised(step.output).fullmatch(printed), (step.command, step.output, printed)
    finally:
        terminals.stop()


def test_both_pages_tell_the_same_steps():
    english, japanese = (steps(page) for page in PAGES)
    assert len(english) > 20
    assert [step.command.split("\n")[0] for step in english] == [step.command.split("\n")[0] for step in japanese]
