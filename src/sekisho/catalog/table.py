"""Reading one TOML table: takes keys out by kind, notes everything that is wrong, and what is left over."""

import difflib
import re
from collections.abc import Iterable
from typing import Any, Final

from sekisho.catalog.interfaces import Mistake

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
NAME_REMEDY: Final = "Use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
TEXT_MAX: Final = 512  # titles and sources: a line for a person
ITEMS_MAX: Final = 512  # of one list; every ISO code fits

# What a credential looks like: a known prefix and a digit after it, or one long run of base64 with letters and digits.
_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:(?:sk|pk|rk|ghp|gho|xox[abp])[-_]|AKIA|AIza|eyJ|Bearer )(?=[^\s]*[0-9])[A-Za-z0-9_.\-]{12,}"
)
_RUN = re.compile(r"(?!https?://)(?=[^\s]*[0-9])(?=[^\s]*[A-Za-z])[A-Za-z0-9+/=_:]{32,}")
_PEM: Final = "-----BEGIN"


def looks_like_credential(text: str) -> bool:
    """Whether `text` has the shape of a key or token, which must never stand in a declaration."""
    return _PEM in text or _PREFIXED.search(text) is not None or _RUN.fullmatch(text) is not None


def shown(value: object) -> str:
    """A value as it may stand in a message: short, and hidden where it could be a credential."""
    text = str(value)
    if looks_like_credential(text):
        return "a value that looks like a credential (not shown)"
    return repr(text if len(text) <= 60 else text[:57] + "...")


def nearest(word: str, known: Iterable[str], otherwise: str) -> str:
    """A remedy: the known word nearest to `word`, or `otherwise` and the list of what is known."""
    words = sorted(known)
    by_case = {candidate.lower(): candidate for candidate in words}
    close = difflib.get_close_matches(word.lower(), by_case, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {by_case[close[0]]!r}?"
    listed = ", ".join(words[:12]) + (", …" if len(words) > 12 else "")
    return f"{otherwise}: {listed}" if words else otherwise


class Table:
    """One TOML table under way to a value. Every `take_…` notes a mistake and returns None for what doesn't fit."""

    def __init__(self, values: dict[str, Any], file: str, mistakes: list[Mistake], prefix: str = "") -> None:
        self.values = values
        self.file = file
        self.mistakes = mistakes
        self.prefix = prefix
        self._known: set[str] = set()

    def mistake(self, key: str, problem: str, remedy: str) -> None:
        """Note one about a key of this table, or, with an empty key, about the table itself."""
        place = f"{self.prefix}{key}" if key else self.prefix.removesuffix(".")
        self.mistakes.append(Mistake(self.file, place, problem, remedy))

    def take(self, key: str) -> Any:
        """The raw value, or None where the key is absent (TOML has no null)."""
        self._known.add(key)
        return self.values.get(key)

    def missing(self, key: str, remedy: str) -> None:
        self.mistake(key, "is missing", remedy)

    def take_text(self, key: str, *, remedy: str | None = None, default: str | None = None) -> str | None:
        """A non-empty single line; `remedy` makes the key required."""
        value = self.take(key)
        if value is None:
            if remedy is not None:
                self.missing(key, remedy)
            return default
        if not isinstance(value, str) or not value.strip() or len(value) > TEXT_MAX or not value.isprintable():
            self.mistake(key, "is not a line of text", f"Write a string in quotes, at most {TEXT_MAX} characters")
            return default
        if looks_like_credential(value):
            self.mistake(key, "looks like a credential", "Refer to it: credential = { file = … } or { env = … }")
            return default
        return value

    def take_choice(self, key: str, known: Iterable[str], what: str, *, required: bool = True) -> str | None:
        """One of `known` words; a near miss is suggested."""
        value = self.take_text(key, remedy=f"Name {what}" if required else None)
        if value is None:
            return None
        words = set(known)
        if value in words:
            return value
        self.mistake(key, f"{shown(value)} is not {what}", nearest(value, words, "Known are"))
        return None

    def take_list(self, key: str, *, remedy: str | None = None) -> tuple[str, ...] | None:
        """A non-empty list of strings; `remedy` makes the key required."""
        value = self.take(key)
        if value is None:
            if remedy is not None:
                self.missing(key, remedy)
            return None
        return self.as_list(key, value)

    def as_list(self, key: str, value: object) -> tuple[str, ...] | None:
        """`value` as a non-empty tuple of distinct strings, a mistake noted otherwise."""
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self.mistake(key, "is not a list of strings", 'Write it as ["A", "B"]')
            return None
        if not value or len(value) > ITEMS_MAX:
            self.mistake(key, f"holds {len(value)} items", f"Give 1 to {ITEMS_MAX}; leave the key out if none is known")
            return None
        if len(set(value)) != len(value):
            self.mistake(key, "names something twice", "Name each once")
            return None
        return tuple(value)

    def take_codes(
        self, key: str, allowed: Iterable[str], *, remedy: str | None = None, value: object = None
    ) -> tuple[str, ...] | None:
        """A list of jurisdictions out of `allowed`; every one that is not is a mistake of its own."""
        items = self.take_list(key, remedy=remedy) if value is None else self.as_list(key, value)
        if items is None:
            return None
        known = set(allowed)
        wrong = [item for item in items if item not in known]
        for item in wrong:
            self.mistake(key, f"{shown(item)} is not a known jurisdiction", nearest(item, known, "Known are"))
        return None if wrong else items

    def take_integer(self, key: str, default: int, low: int, high: int) -> int:
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.mistake(key, "is out of range", f"Give a whole number from {low} to {high}")
            return default
        return value

    def take_table(self, key: str) -> "Table | None":
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.mistake(key, "is not a table", f"Write it as {key} = {{ … }} or under [{self.prefix}{key}]")
            return None
        return Table(value, self.file, self.mistakes, f"{self.prefix}{key}.")

    def finish(self) -> None:
        """Every key that nobody took is a mistake: a typo must not silently mean the default."""
        for key in self.values.keys() - self._known:
            if key == "name":
                remedy = "Remove it: the file's name is the object's name"
            else:
                remedy = nearest(key, self._known, "Known keys are")
            self.mistake(shown(key).strip("'"), "is not a known key", remedy)
