"""Policy packs that ship with the software, as package data under `packs/`.

A pack is a directory: `pack.toml` (what it is about), `*.cedar` (its policies) and `cases.toml` (`policy.pack_cases`).
"""

import tomllib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from sekisho.catalog.interfaces import PolicyText

PACKS: Final = "packs/"  # what the names of packs' files begin with
CASES: Final = "cases.toml"


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack: its name (as in `boundary.toml`), what it is about, and its sources in their order.

    `builds_on` names the packs that must be in force beside it. `cases` is the text of its cases.
    """

    name: str
    title: str
    title_ja: str
    description: str
    description_ja: str
    builds_on: tuple[str, ...]
    sources: tuple[PolicyText, ...]
    cases: str


def pack_names() -> tuple[str, ...]:
    """Every pack that ships, sorted."""
    return tuple(
        sorted(entry.name.replace("_", "-") for entry in _root().iterdir() if entry.joinpath("pack.toml").is_file())
    )


def load_pack(name: str) -> Pack:
    """The pack of that name, which `pack_names` holds (KeyError otherwise)."""
    if name not in pack_names():
        raise KeyError(name)
    directory = _root().joinpath(name.replace("-", "_"))
    about = tomllib.loads(directory.joinpath("pack.toml").read_text(encoding="utf-8"))
    files = sorted(entry.name for entry in directory.iterdir() if entry.name.endswith(".cedar"))
    sources = tuple(
        PolicyText(f"{PACKS}{name}/{file}", directory.joinpath(file).read_text(encoding="utf-8")) for file in files
    )
    return Pack(
        name=name,
        title=about["title"],
        title_ja=about["title_ja"],
        description=about["description"],
        description_ja=about["description_ja"],
        builds_on=tuple(about.get("builds_on", ())),
        sources=sources,
        cases=directory.joinpath(CASES).read_text(encoding="utf-8"),
    )


def with_foundations(name: str) -> tuple[Pack, ...]:
    """The pack, after all that it builds on. Raises KeyError for one that doesn't ship."""
    found: dict[str, Pack] = {}

    def add(wanted: str) -> None:
        pack = load_pack(wanted)
        for below in pack.builds_on:
            if below not in found:
                add(below)
        found[wanted] = pack

    add(name)
    return tuple(found.values())


def _root() -> Traversable:
    return resources.files("sekisho.policy").joinpath("packs")
