"""`sekisho models`."""

import argparse
import json
from pathlib import Path

from sekisho.app.installation import snapshot_store
from sekisho.app.observed import facts_of, facts_told, observed_now
from sekisho.app.providers import declared_catalogue
from sekisho.catalog.interfaces import Deployment, Fact
from sekisho.catalog.jurisdictions import shortened
from sekisho.catalog.observations import is_lowered
from sekisho.kernel.clock import SystemClock
from sekisho.settings import DataDirectory, load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "List the models declared, and where each may be processed: by what is declared, and by what probes have read."
    )
    acts = parser.add_subparsers(dest="act", required=True, metavar="list")
    listed = acts.add_parser("list", help="the models, each with its deployments")
    listed.add_argument("--dir", type=Path, default=Path(), metavar="DIR", help="the installation (default: here)")
    listed.add_argument("--facts", action="store_true", help="every fact, with its grade, source and age")
    listed.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> int:
    directory = DataDirectory(arguments.dir)
    load_settings(directory.root)
    now_us = SystemClock().now_us()
    catalogue = observed_now(snapshot_store(directory), declared_catalogue(directory), now_us)
    served = {
        model.name: [one for one in catalogue.deployments if one.model == model.name] for model in catalogue.models
    }
    if arguments.json:
        told = {one["name"]: one["facts"] for one in facts_told(catalogue)}
        models = [
            {
                "name": model.name,
                "title": model.title,
                "deployments": [as_object(one, told[one.name]) for one in served[model.name]],
            }
            for model in catalogue.models
        ]
        print(json.dumps(models, ensure_ascii=False, indent=2))
        return 0
    facts = facts_of(catalogue)
    for model in catalogue.models:
        print(f"{model.name}: {model.title}")
        for one in served[model.name]:
            where = f"{', '.join(_briefly(one))} ({_support(one.facts['processing'], now_us)})"
            print(f"  {one.name:<34} {one.provider}, {one.deployment_type}; processes in {where}")
            for name, fact in facts[one.name].items() if arguments.facts else ():
                source = f"; {fact.source}" if fact.source else ""
                print(f"    {name:<27} {', '.join(shortened(fact.value))} ({_support(fact, now_us)}){source}")
        if not served[model.name]:
            print("  no deployment: requests for it are refused")
    return 0


def as_object(deployment: Deployment, facts: dict[str, object]) -> dict[str, object]:
    """`facts`: all of them, as `app.observed.facts_told` has them."""
    return {
        "name": deployment.name,
        "provider": deployment.provider,
        "type": deployment.deployment_type,
        "upstream_model": deployment.upstream_model,
        "processing": _briefly(deployment),
        "grade": deployment.facts["processing"].grade.name.lower(),
        "facts": facts,
    }


def _support(fact: Fact, now_us: int) -> str:
    """The grade, how old what it rests on is, and whether a probe has taken from it."""
    age = "" if fact.observed_at is None else f", {told_age(now_us - fact.observed_at)} old"
    lowered = ", LOWERED by a probe" if is_lowered(fact) else ""
    return f"{fact.grade.name.lower()}{age}{lowered}"


def _briefly(deployment: Deployment) -> list[str]:
    """`anywhere` stands for all that it was written out to."""
    return list(shortened(deployment.facts["processing"].value))


def told_age(age_us: int) -> str:
    seconds = max(0, age_us) // 1_000_000
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
