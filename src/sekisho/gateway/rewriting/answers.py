"""An answer on its way to the caller, rewritten: whole, or event by event.

Every text of a choice is a stream of its own (content, reasoning, each tool call's arguments, whatever a provider adds)
and goes on as soon as it is settled. One event goes out for each that comes in, in their order, with what its texts
have come to; what is still held when a choice finishes goes out before the finish does. Texts that come whole (names,
ids, everything outside choices) are looked at whole.

Fails closed: what can't be told within bounds, or can't be rewritten where it stands, raises, and nothing follows.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import orjson

from sekisho.gateway.errors import AnswerWithheld
from sekisho.gateway.rewriting.json_text import JsonText, Text, TooLongBetween
from sekisho.gateway.rewriting.restoring import RestoredText
from sekisho.inspection.interfaces import OPAQUE, HeldTooMuch, Masking

TEXTS_MAX: Final = 1_024  # streams of one answer: 128 choices with some tool calls each
HELD_MAX: Final = 262_144  # characters held of all of them together
DEPTH_MAX: Final = 64  # as for requests
NAME_MAX: Final = 512  # characters of what comes whole and grows all the same; no name or id is longer
KNOWN_MAX: Final = 256  # names of fields, and texts outside choices: the same in every event
_NUMBER_MIN: Final = 10**10  # no identifier has fewer than eleven digits once it is a number
_NUMBER_END: Final = 10**40

# Come whole, in one event: holding their end back would break clients that wait for it.
_WHOLE: Final = frozenset({"id", "type", "role", "name", "object", "call_id", "format", "status", "finish_reason"})
_JSON: Final = frozenset({"arguments", "partial_json"})
_LOGPROBS: Final = "logprobs"  # the answer once more, token by token: it can't be masked in step
_PAYLOADS: Final = frozenset({"data", "b64_json", "file_data", "encrypted_content"})  # where `opaque` is masked

_LINKS: Final = frozenset({"url", "uri", "image_url"})  # likewise, if they hold what they lead to
_USUAL: Final = frozenset({"index", "delta", "finish_reason", _LOGPROBS})

Path = tuple[str | int, ...]


class AnswerRewriter:
    """Of one answer. Belongs to the thread of its masking."""

    def __init__(self, masking: Masking | None, values: Mapping[str, str]) -> None:
        """`masking`: what the caller must not get; `values`: what it gets back, by placeholder."""
        self.masked: Counter[str] = Counter()
        self.restored: Counter[str] = Counter()
        self._masking = masking
        self._values = values
        self._opaque = masking is not None and OPAQUE in masking.labels
        self._texts: dict[Path, Text] = {}
        self._over: set[Path] = set()
        self._names: dict[Path, tuple[str, str]] = {}  # the last that came of each, and all of it
        self._known: dict[str, str] = {}
        self._held = 0
        self._touched: dict[Path, tuple[Any, str]] = {}  # where the texts of this event stand in it
        self._last: dict[str, Any] = {}  # what an event of our own repeats of the last

    def event(self, document: dict[str, Any]) -> bytes:
        """What goes out for a streamed event, as events. Raises AnswerWithheld."""
        try:
            return self._event(document)
        except (HeldTooMuch, TooLongBetween) as error:
            raise AnswerWithheld(str(error)) from None

    def rest(self) -> bytes:
        """What is still held when the stream says that it is over, as events. Raises AnswerWithheld."""
        try:
            choices = self._ended({path[0] for path in self._texts})
        except (HeldTooMuch, TooLongBetween) as error:
            raise AnswerWithheld(str(error)) from None
        return self._own_event(choices)

    def whole(self, document: dict[str, Any]) -> bytes:
        """A whole answer, or an error. Raises AnswerWithheld."""
        try:
            self._outside(document)
            for number, choice in enumerate(_choices(document)):
                self._choice(choice, number)
            self._put_ends()
        except (HeldTooMuch, TooLongBetween) as error:
            raise AnswerWithheld(str(error)) from None
        return _json(document)

    def counts(self) -> dict[str, dict[str, int]]:
        """Labels and how many values, for the outcome."""
        return {"masked": dict(self.masked), "restored": dict(self.restored)}

    # -- events

    def _event(self, document: dict[str, Any]) -> bytes:
        choices = _choices(document)
        self._outside(document)
        self._touched = {}
        finished: set[str | int] = set()
        for number, choice in enumerate(choices):
            index = self._choice(choice, number)
            if choice.get("finish_reason") is not None:
                finished.add(index)
        self._last = document
        before = b""
        if finished:
            self._put_ends(finished)
            before = self._own_event(self._ended(finished))
        return before + b"data: " + _json(document) + b"\n\n"

    def _put_ends(self, finished: set[str | int] | None = None) -> None:
        """The ends of texts that stand in this event, where they stand."""
        for path, (container, key) in self._touched.items():
            if (finished is None or path[0] in finished) and path not in self._over:
                container[key] += self._end(path)

    def _ended(self, finished: set[str | int]) -> dict[int, dict[str, Any]]:
        """The ends of all other texts of these choices: a choice by index, as it stands in an event."""
        choices: dict[int, dict[str, Any]] = {}
        for path in self._texts:
            if path[0] in finished and path not in self._over and (end := self._end(path)):
                index = int(path[0])
                choice = choices.setdefault(index, {"index": index, "finish_reason": None})
                _put(choice, path[1:], end)
        return choices

    def _end(self, path: Path) -> str:
        text = self._texts[path]
        self._over.add(path)
        self._held -= text.held
        return text.end()

    def _own_event(self, choices: dict[int, dict[str, Any]]) -> bytes:
        if not choices:
            return b""
        document = {key: value for key, value in self._last.items() if key not in ("choices", "usage")}
        return b"data: " + _json({**document, "choices": list(choices.values())}) + b"\n\n"

    # -- choices

    def _choice(self, choice: dict[str, Any], number: int) -> int:
        """Rewrite a choice where it stands; its index."""
        index = choice.get("index")
        if type(index) is not int:
            index = number
        if self._masking is not None and choice.get(_LOGPROBS) is not None:
            choice[_LOGPROBS] = None
        delta = choice.get("delta")
        is_text = type(delta) is dict and len(delta) == 1 and type(delta.get("content")) is str
        if is_text and choice.get("finish_reason") is None and choice.keys() <= _USUAL:
            self._text((index, "delta", "content"), delta, "content")  # nearly every event of a long answer
            return index
        for key, value in self._members(choice, 0):
            if key != "index" or type(value) is not int:
                self._value((index, key), choice, key, value, 0)
        return index

    def _value(self, path: Path, container: Any, key: Any, value: Any, depth: int) -> None:
        kind = type(value)
        if kind is str:
            if self._opaque and value and (key in _PAYLOADS or (key in _LINKS and value[:5].lower() == "data:")):
                raise AnswerWithheld("the answer holds what can't be read, and the policies have that masked")
            if key in _WHOLE:
                container[key] = self._name(path, value)
            else:
                self._text(path, container, key)
        elif kind is dict:
            for name, item in self._members(value, depth):
                self._value((*path, name), value, name, item, depth + 1)
        elif kind is list:
            for number, item in self._items(value, depth):
                if type(item) is dict:
                    own = item.get("index")
                    self._value((*path, own if type(own) is int else number), value, number, item, depth + 1)
                else:
                    self._plain(value, number, item, depth + 1)
        else:
            self._number(container, key, value)

    def _text(self, path: Path, container: Any, key: Any) -> None:
        piece = container[key]
        self._touched[path] = (container, key)
        if not piece:
            return
        text = self._texts.get(path)
        if text is None:
            if len(self._texts) >= TEXTS_MAX:
                raise AnswerWithheld(f"the answer has more than {TEXTS_MAX} texts")
            text = self._texts[path] = JsonText(self._make) if path[-1] in _JSON else self._make(separated=False)
        if path in self._over:
            raise AnswerWithheld("the answer goes on after it has finished")
        before = text.held
        container[key] = text.feed(piece)
        self._held += text.held - before
        if self._held > HELD_MAX:
            raise AnswerWithheld(f"more than {HELD_MAX} characters of the answer would have to be held back")

    def _make(self, *, separated: bool) -> Text:
        if self._masking is None:
            return RestoredText(self._values, self.restored, separated=separated)
        masked = self._masking.text(self.masked, separated=separated)
        if not self._values:
            return masked
        return _Both(masked, RestoredText(self._values, self.restored, separated=separated))

    def _name(self, path: Path, value: str) -> str:
        """What comes whole. If it grows all the same, all of it is looked at; what has gone can't be called back."""
        last, so_far = self._names.get(path, ("", ""))
        if value == last:
            return self._masked(value)
        so_far += value
        if len(so_far) > NAME_MAX:
            raise AnswerWithheld(f"a name in the answer is longer than {NAME_MAX} characters")
        self._names[path] = (value, so_far)
        masked = self._masked(value)
        if so_far != value and self._masked(so_far) != so_far:
            raise AnswerWithheld("a name in the answer grows into a value that the policies have masked")
        return masked

    # -- outside choices

    def _outside(self, document: dict[str, Any]) -> None:
        if self._masking is None:
            return
        for key, value in self._members(document, 0):
            if type(value) is str:
                document[key] = self._known_masked(value)
            elif key not in ("choices", "created"):
                self._plain(document, key, value, 0)

    def _plain(self, container: Any, key: Any, value: Any, depth: int) -> None:
        kind = type(value)
        if kind is str:
            container[key] = self._masked(value)
        elif kind is dict:
            for name, item in self._members(value, depth):
                self._plain(value, name, item, depth + 1)
        elif kind is list:
            for number, item in self._items(value, depth):
                self._plain(value, number, item, depth + 1)
        else:
            self._number(container, key, value)

    # -- what both look at

    def _members(self, value: dict[str, Any], depth: int) -> list[tuple[str, Any]]:
        if depth > DEPTH_MAX:
            raise AnswerWithheld("the answer is nested too deeply to be looked at")
        for name in value:
            if self._known_masked(name) != name:
                raise AnswerWithheld("a value that the policies have masked is the name of a field in the answer")
        return list(value.items())

    def _items(self, value: list[Any], depth: int) -> list[tuple[int, Any]]:
        if depth > DEPTH_MAX:
            raise AnswerWithheld("the answer is nested too deeply to be looked at")
        return list(enumerate(value))

    def _number(self, container: Any, key: Any, value: Any) -> None:
        if type(value) not in (int, float) or not _NUMBER_MIN <= abs(value) < _NUMBER_END:
            return
        text = str(int(value)) if value == int(value) else repr(value)
        masked = self._masked(text)
        if masked != text:
            container[key] = masked

    def _known_masked(self, text: str) -> str:
        known = self._known.get(text)
        if known is None:
            known = self._masked(text)
            if len(self._known) < KNOWN_MAX:
                self._known[text] = known
        return known

    def _masked(self, text: str) -> str:
        return text if self._masking is None or not text else self._masking.whole(text, self.masked)


class _Both:
    """Masked first: what is put back is the caller's own, and is not masked again."""

    __slots__ = ("_masked", "_restored")

    def __init__(self, masked: Text, restored: Text) -> None:
        self._masked = masked
        self._restored = restored

    @property
    def held(self) -> int:
        return self._masked.held + self._restored.held

    def feed(self, piece: str) -> str:
        return self._restored.feed(self._masked.feed(piece))

    def end(self) -> str:
        return self._restored.feed(self._masked.end()) + self._restored.end()


def _choices(document: dict[str, Any]) -> list[dict[str, Any]]:
    choices = document.get("choices")
    if choices is None:
        return []
    if type(choices) is not list or any(type(choice) is not dict for choice in choices):
        raise AnswerWithheld("the answer's choices are no list of objects, so they can't be looked at")
    return choices


def _put(container: dict[str, Any], path: Path, text: str) -> None:
    """Put a text where `path` leads, as a delta would bring it: items of lists say their index."""
    here: Any = container
    for step, following in zip(path, (*path[1:], None), strict=True):
        if following is None:
            here[step] = text
        elif type(following) is int:
            items = here.setdefault(step, [])
            item = next((one for one in items if one["index"] == following), None)
            if item is None:
                item = {"index": following}
                items.append(item)
            here = item
        elif type(step) is str:
            here = here.setdefault(step, {})


def _json(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document)
    except (orjson.JSONEncodeError, UnicodeEncodeError):
        raise AnswerWithheld("the answer is nested too deeply to be written again") from None
