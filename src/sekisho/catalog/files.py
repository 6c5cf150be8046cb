"""Reading a tree of declarations from a directory. Never raises for what is in it: mistakes are values."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sekisho.catalog.declarations import APPROVALS_FILE, BOUNDARY_FILE, KINDS, Declarations, catalogue_of
from sekisho.catalog.interfaces import Mistake, PolicyText
from sekisho.catalog.layers import LAYERS_MAX, POLICIES, directory_mistakes, read_layers
from sekisho.catalog.prices import prices_of
from sekisho.catalog.statements import STATEMENTS_FILE
from sekisho.catalog.table import Table, nearest

FILE_BYTES_MAX: Final = 262_144  # a declaration is a page, not a book
FILES_MAX: Final = 10_000  # of one kind; bounds the time of a check
FILES: Final = (APPROVALS_FILE, BOUNDARY_FILE, STATEMENTS_FILE)  # beside the directories
EXEMPTIONS: Final = "exemptions"
APPROVAL_ENDING: Final = ".approval"
_NOTES: Final = (".md", ".txt")  # people keep notes beside their declarations


def read_declarations(directory: Path, added: Mapping[str, str] | None = None) -> Declarations:
    """Everything declared under `directory`, or every mistake in it at once.

    `added` (file names → TOML texts) are read as though they stood there already.

    Layout: `boundary.toml`, `approvals.toml` and `statements.toml` (may be absent), `organisations/*.toml`,
    `sites/*.toml`, `providers/*.toml`, `models/*.toml`, `deployments/*.toml`, `witnesses/*.toml`, `logs/*.toml`,
    `exemptions/*.toml` (with their `*.approval` beside them, which are read where they are held against rules and
    persons), `inspection/*.toml`, `policies/*.cedar`, `policies/<layer>/*.cedar`.
    One file is one object, named by its file. Names beginning with a dot and notes (`.md`, `.txt`) are passed over;
    anything else is a mistake.
    """
    reader = _Tree(directory)
    tables, policies = reader.read()
    tables.update({file: tomllib.loads(text) for file, text in (added or {}).items()})
    catalogue, mistakes = catalogue_of(tables, {mistake.file for mistake in reader.mistakes})
    every = tuple(sorted({*reader.mistakes, *mistakes}))
    if every:
        return Declarations(None, policies, every)
    return Declarations(catalogue, policies, every, prices_of(tables))


class _Tree:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mistakes: list[Mistake] = []
        self._root: Path | None = None
        self._layers: list[str] = []  # directories under `policies/`

    def read(self) -> tuple[dict[str, dict[str, Any]], tuple[PolicyText, ...]]:
        tables: dict[str, dict[str, Any]] = {}
        policies: list[PolicyText] = []
        for file in self._files():
            text = self._text(file)
            if text is None:
                continue
            if file.endswith(".cedar"):
                policies.append(PolicyText(file, text))
                continue
            try:
                tables[file] = tomllib.loads(text)
            except (ValueError, RecursionError) as error:  # ValueError: also an integer of thousands of digits
                self._mistake(file, f"is not TOML: {error}", "Correct the line; strings stand in quotes")
        if BOUNDARY_FILE in tables:  # its own mistakes are told of where all of it is read
            layers = read_layers(Table(dict(tables[BOUNDARY_FILE]), BOUNDARY_FILE, []))
            self.mistakes += directory_mistakes(self._layers, layers)
        return tables, tuple(policies)

    def _mistake(self, file: str, problem: str, remedy: str) -> None:
        self.mistakes.append(Mistake(file, "", problem, remedy))

    def _files(self) -> list[str]:
        """Names of the files to read, relative to the tree, sorted."""
        if not self.directory.is_dir():
            self._mistake("", f"{self.directory.name} is not a directory", "Make one with `sekisho init`")
            return []
        self._root = self.directory.resolve()
        found = []
        for entry in self._listed(self.directory):
            if entry.name in FILES:
                found.append(entry.name)
            elif entry.name in (*KINDS, POLICIES):
                found.extend(self._files_under(entry))
            elif not is_passed_over(entry.name):
                remedy = nearest(entry.name, (*FILES, *KINDS, POLICIES), "Here may stand")
                self._mistake(entry.name, "is not part of a tree of declarations", remedy)
        return found

    def _files_under(self, directory: Path) -> list[str]:
        place = self._place(directory)
        ending = ".cedar" if place.partition("/")[0] == POLICIES else ".toml"
        if not directory.is_dir():
            self._mistake(place, "is not a directory", f"Make it one that holds *{ending} files")
            return []
        if not self._is_inside(directory):
            self._mistake(place, "leads out of the tree", "Put the files themselves here")
            return []
        found = []
        for entry in self._listed(directory):
            name = f"{place}/{entry.name}"
            if entry.name.endswith(ending) and not entry.name.startswith("."):
                found.append(name)
            elif is_passed_over(entry.name) or is_approval(name):
                continue
            elif place == POLICIES and entry.is_dir():
                found.extend(self._files_of_layer(entry))
            else:
                self._mistake(name, f"is not a {ending} file", f"Rename it to *{ending}, or move it elsewhere")
        return found

    def _files_of_layer(self, directory: Path) -> list[str]:
        self._layers.append(directory.name)
        if len(self._layers) > LAYERS_MAX:
            self._mistake(self._place(directory), f"is one directory more than {LAYERS_MAX}", "Keep fewer layers")
            return []
        return self._files_under(directory)

    def _place(self, path: Path) -> str:
        return path.name if path == self.directory else path.relative_to(self.directory).as_posix()

    def _listed(self, directory: Path) -> list[Path]:
        place = self._place(directory)
        try:
            entries = sorted(directory.iterdir())
        except OSError as error:
            self._mistake(place, f"can't be read: {error.strerror}", "Check its permissions")
            return []
        if len(entries) > FILES_MAX:
            self._mistake(place, f"holds {len(entries)} files", f"Keep at most {FILES_MAX}")
            return []
        return entries

    def _is_inside(self, path: Path) -> bool:
        """Whether `path`, symbolic links followed, stays in the tree: what `check` reads must be what is signed."""
        try:
            return self._root is not None and path.resolve().is_relative_to(self._root)
        except (OSError, RuntimeError):  # RuntimeError: a loop of links
            return False

    def _text(self, file: str) -> str | None:
        path = self.directory / file
        if not self._is_inside(path):
            self._mistake(file, "leads out of the tree", "Put the file itself here instead of a link")
            return None
        if not path.is_file():
            self._mistake(file, "is not a regular file", "Put a file here")
            return None
        try:
            with path.open("rb") as stream:
                data = stream.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            self._mistake(file, f"can't be read: {error.strerror}", "Check its permissions")
            return None
        if len(data) > FILE_BYTES_MAX:
            self._mistake(file, f"is larger than {FILE_BYTES_MAX} bytes", "Split it")
            return None
        try:
            return data.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError as error:
            self._mistake(file, f"is not UTF-8 at byte {error.start}", "Save it as UTF-8")
            return None


def is_passed_over(name: str) -> bool:
    """Whether a name in the tree means nothing to us: hidden files and notes."""
    return name.startswith(".") or name.endswith(_NOTES)


def is_approval(name: str) -> bool:
    """Whether a file of the tree is the approval that stands beside an exemption."""
    return name.startswith(f"{EXEMPTIONS}/") and name.endswith(APPROVAL_ENDING)


def declared_names(tree: Path, kind: str) -> frozenset[str]:
    """The names that files give to objects of a kind (`deployments`, …), whether or not the tree holds mistakes."""
    return frozenset(path.stem for path in (tree / kind).glob("*.toml"))
