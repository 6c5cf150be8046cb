"""Policy packs that ship with the software, as package data under `packs/`."""

import tomllib
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

from sekisho.catalog.interfaces import PolicyText

PACKS: Final = "packs/"  # what the names of packs' files begin with


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack: its name (as in `boundary.toml`), what it is about, and its sources in their order."""

    name: str
    title: str
    title_ja: str
    description: str
    sources: tuple[PolicyText, ...]


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
    return Pack(name, about["title"], about["title_ja"], about["description"], sources)


def _root() -> Traversable:
    return resources.files("sekisho.policy").joinpath("packs")
