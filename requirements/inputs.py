"""Print every requirement that `pyproject.toml` states: build, base, extras and groups. Input of `make lock`."""

import sys
import tomllib
from pathlib import Path


def main() -> None:
    document = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    project = document["project"]
    requirements = [*document["build-system"]["requires"], *project["dependencies"]]
    for group in (project["optional-dependencies"], document["dependency-groups"]):
        for names in group.values():
            requirements += names
    sys.stdout.write("".join(f"{requirement}\n" for requirement in requirements))


if __name__ == "__main__":
    main()
