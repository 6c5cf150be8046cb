"""Where in a body the labels stand, for people: never the values themselves.

The values are those of the same pass that labels a request (`BodyText`, one scan). A place that can be replaced has
its path; object keys, numbers and joined parts are found again by what stands there.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from sekisho.inspection.body import DEPTH_MAX, FIXED_KEYS, BodyText
from sekisho.inspection.interfaces import OPAQUE, Location

LOCATIONS_MAX: Final = 200  # more than anybody reads; the labels themselves are never cut
KEY_SHOWN_MAX: Final = 64  # characters of an object key in a path

Path = tuple[str | int, ...]
TEXT: Final = "text"
KEY: Final = "key"
NUMBER: Final = "number"
PARTS: Final = "parts"
STRUCTURE: Final = "structure"
WHOLE: Final = "whole"


class BodyPlaces:
    """Every place of a body by what `BodyText` knows it by. Depth is bounded as inspection's is."""

    def __init__(self, body: Any) -> None:
        self.containers: dict[int, Path] = {}  # by identity: the body outlives this
        self.keys: dict[str, Path] = {}
        self.numbers: dict[str, Path] = {}
        self.structural: list[tuple[str, Path]] = []
        self._walk(body, (), 0)

    def _walk(self, value: Any, path: Path, depth: int) -> None:
        if type(value) in (dict, list):
            self.containers[id(value)] = path
            if depth > DEPTH_MAX:
                self.structural.append((OPAQUE, path))
                return
        for key, item in _members(value):
            here = (*path, key)
            if type(value) is dict and type(key) is str:
                if key not in FIXED_KEYS:
                    self.keys.setdefault(key, here)
                self.structural += [(label, here) for label in _labels_of(key, item, depth)]
            if type(item) in (int, float):
                self.numbers.update((text, here) for text in BodyText(item).texts if text not in self.numbers)
            else:
                self._walk(item, here, depth + 1)


def _members(value: Any) -> Iterator[tuple[str | int, Any]]:
    if type(value) is dict:
        yield from value.items()
    elif type(value) is list:
        yield from enumerate(value)


def _labels_of(key: str, item: Any, depth: int) -> list[str]:
    """The labels that this one member brings without being read: asked of the very rules that inspection uses."""
    probe = BodyText(None)
    probe.watch(key, item, depth)
    return sorted(probe.labels)


def locate_text(text: BodyText, places: BodyPlaces, index: int) -> tuple[str, Path]:
    """(kind, path) of the text with this index."""
    place = text.places[index]
    if place is not None:
        container, key = place
        return TEXT, (*places.containers.get(id(container), ()), key)
    if index in text.joined:
        return PARTS, _path_of_parts(text, places, index)
    found = places.keys.get(text.texts[index])
    if found is not None:
        return KEY, found
    return NUMBER, places.numbers.get(text.texts[index], ())


def _path_of_parts(text: BodyText, places: BodyPlaces, index: int) -> Path:
    """Joined parts follow their last part: the array is what holds it."""
    for before in range(index - 1, -1, -1):
        place = text.places[before]
        if place is not None and text.texts[index].endswith(text.texts[before]):
            path = places.containers.get(id(place[0]), ())
            return path if type(place[0]) is list else path[:-1]
    return ()


def path_text(path: Path, marked: Callable[[str], str]) -> str:
    """JSONPath (RFC 9535, normalised but for dots): `$.messages[0].content`. `marked` hides what a key may hold."""
    pieces = ["$"]
    for step in path:
        if type(step) is int:
            pieces.append(f"[{step}]")
        elif step in FIXED_KEYS:
            pieces.append(f".{step}")
        else:
            shown = marked(str(step))
            pieces.append(f"[{json.dumps(shown[:KEY_SHOWN_MAX], ensure_ascii=False)}]")
    return "".join(pieces)


def sorted_locations(found: set[Location]) -> tuple[Location, ...]:
    return tuple(sorted(found, key=lambda item: (item.path, item.label, item.kind))[:LOCATIONS_MAX])
