"""`sekisho models`."""

import argparse
import json
from pathlib import Path

from sekisho.app.providers import declared_catalogue
from sekisho.catalog.interfaces import ANYWHERE, Deployment
from sekisho.settings import DataDirectory, load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = "List the models declared, and where each may be processed."
    acts = parser.add_subparsers(dest="act", required=True, metavar="list")
    listed = acts.add_parser("list", help="the models, each with its deployments")
    listed.add_argument("--dir", type=Path, default=Path(), metavar="DIR", help="the installation (default: here)")
    listed.add_argument("--json", action="store_true", help="print it as JSON")


def run(arguments: argparse.Namespace) -> int:
    directory = DataDirectory(arguments.dir)
    load_settings(directory.root)
    catalogue = declared_catalogue(directory)
    served = {
        model.name: [one for one in catalogue.deployments if one.model == model.name] for model in catalogue.models
    }
    if arguments.json:
        models = [
            {"name": model.name, "title": model.title, "deployments": [as_object(one) for one in served[model.name]]}
            for model in catalogue.models
        ]
        print(json.dumps(models, ensure_ascii=False, indent=2))
        return 0
    for model in catalogue.models:
        print(f"{model.name}: {model.title}")
        for one in served[model.name]:
            where = f"{', '.join(_briefly(one))} ({_grade(one)})"
            print(f"  {one.name:<34} {one.provider}, {one.deployment_type}; processes in {where}")
        if not served[model.name]:
            print("  no deployment: requests for it are refused")
    return 0


def as_object(deployment: Deployment) -> dict[str, object]:
    return {
        "name": deployment.name,
        "provider": deployment.provider,
        "type": deployment.deployment_type,
        "upstream_model": deployment.upstream_model,
        "processing": _briefly(deployment),
        "grade": _grade(deployment),
    }


def _grade(deployment: Deployment) -> str:
    return deployment.facts["processing"].grade.name.lower()


def _briefly(deployment: Deployment) -> list[str]:
    """`anywhere` stands for all that it was written out to."""
    value = deployment.facts["processing"].value
    return [ANYWHERE] if ANYWHERE in value else list(value)
