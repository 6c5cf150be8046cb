"""The documentation that the engine quotes: one section per file, English and Japanese."""

from importlib import resources
from typing import Final, NamedTuple

LANGUAGES: Final = ("en", "ja")


class Section(NamedTuple):
    """`name` is the file's name without language and ending, the same in every language."""

    name: str
    title: str
    paragraphs: tuple[str, ...]


def load_sections(language: str) -> tuple[Section, ...]:
    """The sections in one of LANGUAGES, in reading order."""
    folder = resources.files(__package__).joinpath(language)
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".md")), key=lambda file: file.name)
    return tuple(_section(file.name, file.read_text(encoding="utf-8")) for file in files)


def _section(file: str, text: str) -> Section:
    head, _, rest = text.partition("\n")
    paragraphs = tuple(paragraph.strip() for paragraph in rest.split("\n\n") if paragraph.strip())
    return Section(file.removesuffix(".md"), head.removeprefix("# "), paragraphs)
