"""Layers of policies: their names in `boundary.toml`, the highest first, and the directories that hold them. Pure."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Final

from sekisho.catalog.interfaces import Mistake
from sekisho.catalog.table import NAME, NAME_REMEDY, Table, nearest, shown

LAYERS_MAX: Final = 8  # more than any administration hands rules down through; each is proved against all above it
POLICIES: Final = "policies"
_REMEDY: Final = 'Name the layers, the highest first, like layers = ["nation", "ministry", "organisation"]'


def read_layers(table: Table) -> tuple[str, ...]:
    """The boundary's `layers`, the highest first; empty: all policies are of one layer."""
    if "layers" not in table.values:
        table.take("layers")
        return ()
    layers = table.take_list("layers") or ()
    for layer in layers:
        if not NAME.fullmatch(layer):
            table.mistake("layers", f"{shown(layer)} can't name a layer", NAME_REMEDY)
    if len(layers) > LAYERS_MAX:
        table.mistake("layers", f"are {len(layers)}", f"Keep at most {LAYERS_MAX}")
    return layers


def directory_mistakes(directories: Iterable[str], layers: tuple[str, ...]) -> list[Mistake]:
    """Directories under `policies/` that are no layer: what stands there would be in force at a level that nobody
    named."""
    mistakes = []
    for name in directories:
        if not layers:
            remedy = f"{_REMEDY}, in boundary.toml, or put the files into {POLICIES}/"
            mistakes.append(Mistake(f"{POLICIES}/{name}", "", "is a directory, and no layers are declared", remedy))
        elif name not in layers:
            remedy = nearest(name, layers, "Layers in boundary.toml are")
            mistakes.append(Mistake(f"{POLICIES}/{name}", "", "is not a layer", remedy))
    return mistakes


def layer_of(file: str, layers: tuple[str, ...]) -> int:
    """The place in `layers` of what a policy's file belongs to, 0 being the highest; 0 where there are none.

    `policies/nation/x.cedar` is the nation's, `policies/x.cedar` the lowest layer's. What is not under `policies/` is a
    pack's, which frames everything: the highest layer's.
    """
    directory = PurePosixPath(file).parent
    if directory.parts[:1] != (POLICIES,) or not layers:
        return 0
    return layers.index(directory.name) if directory.name in layers else len(layers) - 1
