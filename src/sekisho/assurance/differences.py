"""How two sets of declarations differ: object by object, fact by fact, policy by policy. Pure.

Everything in a catalogue is compared, by the fields of its values, so that a field which a later version adds is told
of without a word here.
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

import msgspec

from sekisho.catalog.interfaces import Catalogue, Fact, Grade
from sekisho.catalog.jurisdictions import shortened
from sekisho.kernel import canonical
from sekisho.kernel.clock import MINUTES, utc
from sekisho.policy.interfaces import PolicyParts

ADDED: Final = "added"
REMOVED: Final = "removed"
CHANGED: Final = "changed"
FACT: Final = "fact"  # what `what` says of a field that is a fact
POLICIES: Final = "policies"
LAYER: Final = "layer"  # of a policy: the directory of its file, like policies/nation
_POLICY_FIELDS: Final = ("effect", "enforce", "retain_days", "text", "title", "title_ja")
_TIMES: Final = ("monitor_until", "until")
_ANNOTATION: Final = re.compile(r'@\w+\s*\(\s*"(?:[^"\\]|\\.)*"\s*\)', re.DOTALL)
_SHOWN_MAX: Final = 300  # characters of a value
_SHOWN_BEFORE: Final = 40  # of them, before the first that differs


class Difference(NamedTuple):
    """`kind` and `name` say which object (the directory under declarations/ and the file's name; a policy's id),
    `field` which of its fields (empty: all of it), `before` and `after` what stood and stands there, in words.

    `title` and `title_ja` are a policy's, as it is proposed, or as it was where it is removed.
    """

    kind: str
    name: str
    what: str
    field: str = ""
    before: str = ""
    after: str = ""
    title: str = ""
    title_ja: str = ""


def differences(
    before: Catalogue, before_policies: PolicyParts, after: Catalogue, after_policies: PolicyParts
) -> tuple[Difference, ...]:
    """All of them, in the order of the catalogue's fields, then policies; within a kind by name."""
    found: list[Difference] = []
    for kind in Catalogue.__struct_fields__:
        old, new = getattr(before, kind), getattr(after, kind)
        if isinstance(new, tuple):
            found += _objects(kind, _named(old), _named(new))
        elif isinstance(new, msgspec.Struct):
            found += _fields(kind, "", old, new)
        elif old != new:
            found.append(Difference(kind, "", CHANGED, "", *_both(said(old), said(new))))
    return (*found, *_policies(before_policies, after_policies))


def _named(values: Iterable[Any]) -> dict[str, Any]:
    """Objects by what names them (approval rules their act), else by their place."""
    named = {}
    for place, value in enumerate(values):
        names = (getattr(value, name, None) for name in ("name", "act", "id"))
        named[next((name for name in names if isinstance(name, str) and name), str(place))] = value
    return named


def _objects(kind: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Difference]:
    for name in sorted({*old, *new}):
        if name not in new:
            yield Difference(kind, name, REMOVED)
        elif name not in old:
            yield Difference(kind, name, ADDED)
        else:
            yield from _fields(kind, name, old[name], new[name])


def _fields(kind: str, name: str, old: Any, new: Any) -> Iterator[Difference]:
    for field in new.__struct_fields__:
        was, now = getattr(old, field), getattr(new, field)
        if was == now:
            continue
        if field == "facts":
            yield from _facts(kind, name, was, now)
        else:
            yield Difference(kind, name, CHANGED, field, *_both(said(was, field), said(now, field)))


def _facts(kind: str, name: str, old: Mapping[str, Fact], new: Mapping[str, Fact]) -> Iterator[Difference]:
    for key in sorted({*old, *new}):
        was, now = old.get(key), new.get(key)
        if was != now:
            yield Difference(kind, name, FACT, key, *_both(_fact(was), _fact(now)))


def _fact(fact: Fact | None) -> str:
    if fact is None:
        return ""
    notes = [Grade(fact.grade).name.lower(), fact.source]
    if fact.observed_at is not None:
        notes.append(f"observed {utc(fact.observed_at, MINUTES)}")
    if fact.expires is not None:
        notes.append(f"until {utc(fact.expires, MINUTES)}")
    value = ", ".join(shortened(fact.value))
    return f"{value} ({'; '.join(note for note in notes if note)})"


def said(value: Any, field: str = "") -> str:
    """A field's value for people, on one line."""
    if value is None or value == () or value == "":
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and field in _TIMES:
        return utc(value, MINUTES)
    if isinstance(value, tuple) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, str | int):
        return str(value)
    return canonical.encode(_plain(value)).decode()


def _plain(value: Any) -> Any:
    """Without what is not set: a line says what stands there."""
    plain = msgspec.to_builtins(value)
    if isinstance(plain, dict):
        return {key: _plain(item) for key, item in plain.items() if item not in (None, "", [], {})}
    return [_plain(item) for item in plain] if isinstance(plain, list) else plain


def _both(was: str, now: str) -> tuple[str, str]:
    """Bounded, each from a little before the place where they part: two long texts must not look the same."""
    begin = 0
    if was and now and max(len(was), len(now)) > _SHOWN_MAX:
        alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(was, now, strict=False))
        begin = max(0, sum(1 for _ in alike) - _SHOWN_BEFORE)
    return _bounded(was, begin), _bounded(now, begin)


def _bounded(text: str, begin: int) -> str:
    shown = text[begin : begin + _SHOWN_MAX]
    return f"{'…' if begin else ''}{shown}{'…' if len(text) > begin + _SHOWN_MAX else ''}"


def _policies(before: PolicyParts, after: PolicyParts) -> Iterator[Difference]:
    old, new = _policy_rows(before), _policy_rows(after)
    for name in sorted({*old, *new}):
        row = new.get(name) or old[name]
        titles = (row["title"], row["title_ja"])
        if name not in new or name not in old:
            yield Difference(POLICIES, name, ADDED if name in new else REMOVED, "", "", "", *titles)
            continue
        for field in _POLICY_FIELDS:
            was, now = old[name].get(field), new[name].get(field)
            if was != now:
                # A policy's text holds its annotations as well: told once, by what they are.
                if field == "text" and _rule(str(was)) == _rule(str(now)):
                    continue
                yield Difference(POLICIES, name, CHANGED, field, *_both(said(was), said(now)), *titles)
        was, now = _directory(old[name]), _directory(new[name])
        if was != now:  # of another layer, or in a pack's place
            yield Difference(POLICIES, name, CHANGED, LAYER, was, now, *titles)


def _policy_rows(parts: PolicyParts) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in canonical.decode(parts.policies)["policies"]}


def _directory(row: Mapping[str, Any]) -> str:
    return PurePosixPath(row["file"]).parent.as_posix()


def _rule(text: str) -> str:
    """A policy's text without its annotations, which are fields of their own; white space counts once."""
    return " ".join(_ANNOTATION.sub(" ", text).split())
