"""What differs from nation to nation in the declarations that a new installation begins with.

One small file per nation, kept as package data under `nations/`; its name is what `sekisho init --nation` takes. A
further nation is one file more (and the pack and the profile that it names). The rest of the starter tree is the same
everywhere and names none.
"""

import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final

import msgspec

_ENDING: Final = ".toml"


class ExamplePolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The policy that the starter shows as an example, commented out."""

    id: str
    label: str
    says: str
    policy_title: str
    policy_title_ja: str


class Nation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One nation's values. `home` and `abroad` are ISO 3166-1 codes; `packs` and `profiles` ship."""

    title: str
    home: str
    abroad: str
    packs: tuple[str, ...]
    profiles: tuple[str, ...]
    company: str
    domain: str
    region: str
    example: ExamplePolicy
    default: bool = False

    def places(self) -> dict[str, str]:
        """What stands in the starter's files for each value."""
        return {
            "@HOME@": self.home,
            "@ABROAD@": self.abroad,
            "@PACKS@": json.dumps(self.packs),
            "@PROFILES@": json.dumps(self.profiles),
            "@COMPANY@": self.company,
            "@DOMAIN@": self.domain,
            "@REGION@": self.region,
            "@EXAMPLE_ID@": self.example.id,
            "@EXAMPLE_LABEL@": self.example.label,
            "@EXAMPLE_SAYS@": self.example.says,
            "@EXAMPLE_TITLE@": self.example.policy_title,
            "@EXAMPLE_TITLE_JA@": self.example.policy_title_ja,
        }


def nation_names() -> tuple[str, ...]:
    """Every nation that there is a starter for, sorted."""
    return tuple(sorted(entry.name.removesuffix(_ENDING) for entry in _root().iterdir() if _is_nation(entry)))


def load_nation(name: str) -> Nation:
    """The nation of that name, which `nation_names` holds (KeyError otherwise)."""
    if name not in nation_names():
        raise KeyError(name)
    return msgspec.toml.decode(_root().joinpath(name + _ENDING).read_bytes(), type=Nation)


def default_nation() -> str:
    """The one whose file says so."""
    (name,) = [name for name in nation_names() if load_nation(name).default]
    return name


def _is_nation(entry: Traversable) -> bool:
    return entry.is_file() and entry.name.endswith(_ENDING)


def _root() -> Traversable:
    return resources.files("sekisho.catalog").joinpath("nations")
