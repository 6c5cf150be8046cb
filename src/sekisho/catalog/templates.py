"""The starter tree of declarations that a new installation begins with, kept as package data under `starter/`."""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from sekisho.kernel.files import sync_directory, write_durable

MANUAL_URL: Final = "http://127.0.0.1:8402/v1"  # where the built-in engine listens unless the settings say otherwise
_PLACE: Final = "@MANUAL_URL@"


def write_declarations(directory: Path, *, manual_url: str = MANUAL_URL) -> None:
    """Write the starter tree into `directory`, which must not exist or be empty.

    The built-in model `manual` is declared in it, answering at `manual_url`. Durable when this returns.
    Raises FileExistsError if there is something in `directory`, and OSError if it can't be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError(f"{directory} is not empty")
    _copy(resources.files("sekisho.catalog").joinpath("starter"), directory, manual_url)


def _copy(source: Traversable, target: Path, manual_url: str) -> None:
    for entry in source.iterdir():
        path = target / entry.name
        if entry.is_dir():
            path.mkdir()
            _copy(entry, path, manual_url)
        else:
            write_durable(path, entry.read_text(encoding="utf-8").replace(_PLACE, manual_url).encode())
    sync_directory(target)
