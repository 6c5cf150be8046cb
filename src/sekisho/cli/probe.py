"""`sekisho probe`."""

import argparse
import asyncio
import datetime
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sekisho.kernel.errors import UsageError
from sekisho.settings import DataDirectory, load_settings

if TYPE_CHECKING:  # the server's dependencies are loaded when they are needed
    from sekisho.app.probe import Looked, Probed

EXIT_DONE: Final = 0
EXIT_CONTRADICTED: Final = 3
METHODS: Final = ("light-answer", "light-connect", "management-api", "networks", "tls-chain", "tls-pin")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Look at the declared deployments from here: addresses and their networks, round trips, the TLS chain, the\n"
        "provider's management API. Say what each method reads, and what the facts would be by it. What was read is\n"
        "recorded in the ledger. Control does the same every quarter of an hour, and puts in force what changes."
    )
    parser.epilog = (
        "No request is sent to a deployment, unless the method light-answer is asked for: then a few for one token.\n"
        "exit status: 0 done; 1 it could not be done; 2 wrong usage; 3 a probe contradicts what is declared"
    )
    parser.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the installation (default: here)"
    )
    parser.add_argument("--deployment", metavar="NAME", action="append", help="only this one; may be given again")
    parser.add_argument("--method", choices=METHODS, action="append", help="only this one; may be given again")
    parser.add_argument("--json", action="store_true", help="print what was read as JSON")


def run(arguments: argparse.Namespace) -> int:
    from sekisho.app.probe import probe_here
    from sekisho.app.probing import ProbeOptions

    directory = DataDirectory(arguments.directory)
    settings = load_settings(directory.root)
    methods = None if arguments.method is None else frozenset(arguments.method)
    options = ProbeOptions(settings.probes.valid_seconds, methods)
    looked = asyncio.run(probe_here(directory, settings, arguments.deployment, options, os.environ))
    if not looked.deployments:
        raise UsageError("there is no deployment to look at", remedy="Declare one: `sekisho providers add`")
    if arguments.json:
        print(json.dumps(as_object(looked), ensure_ascii=False, indent=2))
    else:
        print("\n".join(as_lines(looked)))
    contradicted = any(fact.lowered for one in looked.deployments for fact in one.facts)
    return EXIT_CONTRADICTED if contradicted else EXIT_DONE


def as_object(looked: "Looked") -> dict[str, object]:
    return {
        "deployments": [_object_of(one) for one in looked.deployments],
        "registry": [
            {"date": str(one.date), "registry": one.registry, "sha256": one.sha256} for one in looked.published
        ],
    }


def _object_of(one: "Probed") -> dict[str, object]:
    methods: list[dict[str, object]] = []
    for taken in one.taken:
        reading = taken.reading
        if reading is None:
            methods.append({"failed": taken.failed, "detail": taken.detail, "method": taken.method})
        else:
            methods.append(
                {
                    "contradicts": reading.contradicts,
                    "evidence": reading.evidence,
                    "method": taken.method,
                    "values": reading.values,
                }
            )
    facts = [
        {
            "declared": {"grade": fact.declared.grade.name.lower(), "value": fact.declared.value},
            "expires": fact.expires,
            "fact": fact.name,
            "grade": fact.grade,
            "lowered": fact.lowered,
            "value": fact.value,
        }
        for fact in one.facts
    ]
    return {"facts": facts, "methods": methods, "name": one.name, "stopped": one.stopped}


def as_lines(looked: "Looked") -> list[str]:
    lines = []
    for one in looked.deployments:
        lines.append(f"{one.name}")
        if one.stopped:
            lines.append("  an operator has stopped it: nothing was looked at")
        for taken in one.taken:
            reading = taken.reading
            if reading is None:
                lines.append(f"  {taken.method:<15} no reading: {taken.detail}")
                continue
            said = [f"{key} {', '.join(value)}" for key, value in reading.values.items()]
            said += ["CONTRADICTS what is declared"] if reading.contradicts else []
            said += _evidence(reading.evidence)
            lines.append(f"  {taken.method:<15} {'; '.join(said)}")
        for fact in one.facts:
            until = "" if fact.expires is None else f", until {_when(fact.expires)}"
            declared = f"{', '.join(fact.declared.value)} ({fact.declared.grade.name.lower()})"
            mark = "LOWERED: " if fact.lowered else ""
            lines.append(f"  → {mark}{fact.name}: {', '.join(fact.value)} ({fact.grade}{until}); declared: {declared}")
    lines += ["", *_registry(looked)]
    return lines


def _evidence(evidence: "dict[str, str | int | tuple[str, ...]]") -> Iterable[str]:
    for key, value in evidence.items():
        if key == "us" and isinstance(value, int):
            yield f"{value / 1000:.1f} ms"
        elif not key.endswith("sha256"):
            yield f"{key} {', '.join(value) if isinstance(value, tuple) else value}"


def _registry(looked: "Looked") -> list[str]:
    if not looked.published:
        return ["No registry's file is in registry/: networks tell no country (docs/facts.md)."]
    today = datetime.datetime.now(datetime.UTC).date()
    return [
        f"Networks by {one.registry} of {one.date}, {(today - one.date).days} days old." for one in looked.published
    ]


def _when(at_us: int) -> str:
    return f"{datetime.datetime.fromtimestamp(at_us / 1_000_000, datetime.UTC):%Y-%m-%d %H:%M} UTC"
