"""`sekisho doctor`: what is wrong with an installation, and what to do about it."""

import argparse
import json
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sekisho.cli.doctor_words import JAPANESE, told
from sekisho.cli.explain import ENGLISH, language_of
from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory

if TYPE_CHECKING:  # the server's dependencies are loaded when they are needed
    from sekisho.app.doctor.examine import Theme

EXIT_DONE: Final = 0
EXIT_PROBLEMS: Final = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Look at an installation, running or not, and say what is wrong with it: disk, clock, processes, keys,\n"
        "declarations, providers, settings and versions. Nothing is changed and nothing is sent."
    )
    parser.epilog = "exit status: 0 no problem (warnings may be); 1 problems; 2 wrong usage"
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the installation (default: here)"
    )
    parser.add_argument(
        "--connect", action="store_true", help="connect to each deployment's address too; no request is sent"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.add_argument("--language", choices=(ENGLISH, JAPANESE), help="of the text; default: from the environment")


def run(arguments: argparse.Namespace) -> int:
    from sekisho.app.doctor.examine import Doctor
    from sekisho.kernel.clock import SystemClock

    directory = DataDirectory(arguments.directory.resolve())
    if not directory.settings.is_file():
        raise UsageError(f"{arguments.directory} is not an installation", remedy="Name its directory")
    # What the parts that we ask would log is among the findings.
    logging.getLogger("sekisho").addHandler(logging.NullHandler())
    language = arguments.language or language_of(os.environ)
    themes = Doctor(directory, os.environ, SystemClock()).examine(connect=arguments.connect)
    if arguments.json:
        print(json.dumps(as_objects(themes, language), ensure_ascii=False, indent=2))
    else:
        print("\n".join(as_lines(themes, language)))
    return EXIT_PROBLEMS if counted(themes)["problem"] else EXIT_DONE


def counted(themes: "Iterable[Theme]") -> Mapping[str, int]:
    """How many findings there are of each severity."""
    found = [one.severity for theme in themes for one in theme.findings]
    return {severity: found.count(severity) for severity in ("ok", "warning", "problem")}


def as_objects(themes: "Iterable[Theme]", language: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for theme in themes:
        for one in theme.findings:
            message, remedy = told(one, language)
            row = {"theme": theme.name, "severity": one.severity, "code": one.code, "message": message}
            rows.append({**row, "remedy": remedy, "values": dict(one.values)})
    return rows


def as_lines(themes: "Iterable[Theme]", language: str) -> list[str]:
    themes = list(themes)
    english = language != JAPANESE
    marks = {"ok": "ok      ", "warning": "WARNING ", "problem": "PROBLEM "}
    if not english:
        marks = {"ok": "正常  ", "warning": "警告  ", "problem": "問題  "}
    lines: list[str] = []
    for theme in themes:
        for one in theme.findings:
            message, remedy = told(one, language)
            lines.append(f"{marks[one.severity]}{message}")
            lines += [f"        → {remedy}"] if remedy else []
    count = counted(themes)
    if english:
        problems, warnings = (
            f"{count[name]} {name}{'' if count[name] == 1 else 's'}" for name in ("problem", "warning")
        )
        lines += ["", f"{problems}, {warnings}."]
    else:
        lines += ["", f"問題 {count['problem']} 件、警告 {count['warning']} 件。"]
    return lines
