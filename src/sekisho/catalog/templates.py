"""The starter tree of declarations that a new installation begins with, kept as package data under `starter/`."""

from collections.abc import Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from sekisho.catalog.nations import default_nation, load_nation
from sekisho.kernel.files import sync_directory, write_durable

MANUAL_URL: Final = "http://127.0.0.1:8402/v1"  # where the built-in engine listens unless the settings say otherwise
_PLACE: Final = "@MANUAL_URL@"


def write_declarations(directory: Path, *, manual_url: str = MANUAL_URL, nation: str | None = None) -> None:
    """Write the starter tree into `directory`, which must not exist or be empty.

    It is `nation`'s, else the default one's. The built-in model `manual` is declared in it, answering at `manual_url`.
    Durable when this returns. Raises KeyError for a nation that there is no starter for, FileExistsError if there is
    something in `directory`, and OSError if it can't be written.
    """
    places = load_nation(nation or default_nation()).places() | {_PLACE: manual_url}
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError(f"{directory} is not empty")
    _copy(resources.files("sekisho.catalog").joinpath("starter"), directory, places)


def _copy(source: Traversable, target: Path, places: Mapping[str, str]) -> None:
    for entry in source.iterdir():
        path = target / entry.name
        if entry.is_dir():
            path.mkdir()
            _copy(entry, path, places)
        else:
            text = entry.read_text(encoding="utf-8")
            for place, value in places.items():
                text = text.replace(place, value)
            write_durable(path, text.encode())
    sync_directory(target)
