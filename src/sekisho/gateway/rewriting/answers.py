"""An answer on its way to the caller, rewritten: whole, or event by event.

Every text of a message is a stream of its own (content, reasoning, each tool call's arguments, whatever a provider
adds) and goes on as soon as it is settled. One event goes out for each that comes in, in their order, with what its
texts have come to; what is still held when a choice finishes goes out before the finish does. Texts that come whole
(names, ids, citations, everything beside messages) are looked at whole, and watched in case they grow all the same.

Fails closed: what can't be told within bounds, or can't be rewritten where it stands, raises, and nothing follows.
"""

import re
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
WATCHED_MAX: Final = 4_096  # texts of one stream that come whole: search results of every event are some hundred
EVENT_TEXT_MAX: Final = 262_144  # characters looked at in one event: more would hold up every other request
GROWN_MAX: Final = 256  # characters, of what came of such a text in several events, that are looked at together
KNOWN_MAX: Final = 256  # names of fields and short texts in which nothing is: the same in every event
_AGAIN_MIN: Final = 16  # characters: an id of so many that comes twice is said again; shorter ones may be halves …
_AGAIN_SURE: Final = 64  # … until they are this together: no value repeats itself further
_NUMBER_MIN: Final = 10**10  # no identifier has fewer than eleven digits once it is a number
_NUMBER_END: Final = 10**40

# Texts of these grow, event by event; what stands beside them comes whole, as content filters' verdicts do.
_GROWING: Final = frozenset({"delta", "message", "text"})
# Come whole, in one event: holding their end back would break clients that wait for it.
_WHOLE: Final = frozenset({"id", "type", "role", "name", "object", "call_id", "format", "status", "finish_reason"})
_ITEMS: Final = frozenset({"annotations", "citations", "context", "search_results"})  # in them each item does
_JSON: Final = frozenset({"arguments", "partial_json"})
_LOGPROBS: Final = "logprobs"
# The answer once more, token by token, as OpenAI, vLLM, SGLang and llama.cpp name it: it can't be masked in step.
_TOKENS: Final = (_LOGPROBS, "tokens", "token_ids", "output_ids", "probabilities")
# What can't be read, which `opaque` is about: as it is called, and in links that hold what they lead to.
_PAYLOADS: Final = frozenset({"data", "b64_json", "file_data", "encrypted_content"})
_LINKS: Final = frozenset({"url", "uri", "image_url"})
_UNREAD_MIN: Final = 256  # characters; what is shorter is looked at all the same
_PAYLOAD: Final = re.compile(r"(?:data:[a-z0-9.+/;=-]{0,64},)?[A-Za-z0-9+/]+={0,2}", re.ASCII | re.IGNORECASE)
_NOT_YET: Final = ("", "null", "None")  # how some servers write null
_USUAL: Final = frozenset({"index", "delta", "finish_reason", _LOGPROBS})

Path = tuple[str | int, ...]
Fields = tuple[str, ...]


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
        self._streams = False
        self._looked = 0  # characters of this event
        self._watched: dict[Path, tuple[int, str]] = {}  # of texts that come whole: the last, hashed, and all of it
        self._clean: set[tuple[Fields, str]] = set()  # fields and texts in which nothing is masked
        self._names: set[str] = set()  # fields whose name is no value, and that are no tokens
        self._again: dict[str, str] = {}  # texts beside choices that are said again in every event, by field
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
        self._streams, self._looked = True, 0
        choices = _choices(document)
        self._outside(document)
        self._touched = {}
        finished: set[str | int] = set()
        for number, choice in enumerate(choices):
            index = self._choice(choice, number)
            if _finishes(choice):
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
        given = choice.get("index")
        index = self._number_of(choice, number)
        if self._masking is not None and choice.get(_LOGPROBS) is not None:
            choice[_LOGPROBS] = None
        delta = choice.get("delta")
        is_text = type(delta) is dict and len(delta) == 1 and type(delta.get("content")) is str
        if is_text and index == given and not _finishes(choice) and choice.keys() <= _USUAL:
            self._text((index, "delta", "content"), delta, "content")  # nearly every event of a long answer
            return index
        for key, value in self._members(choice, 0):
            look = self._value if key in _GROWING else self._plain
            look((index, key), choice, key, value, 0)
        return index

    def _value(self, path: Path, container: Any, key: Any, value: Any, depth: int) -> None:
        kind = type(value)
        if kind is str and key not in _WHOLE and key not in _PAYLOADS and key not in _LINKS:
            self._text(path, container, key)
        elif kind is dict and key not in _ITEMS:
            for name, item in self._members(value, depth):
                self._value((*path, name), value, name, item, depth + 1)
        elif kind is list and key not in _ITEMS:
            for number, item in self._items(value, depth):
                if type(item) is dict:
                    self._value((*path, self._number_of(item, number)), value, number, item, depth + 1)
                else:
                    self._plain((*path, number), value, number, item, depth + 1)
        else:
            self._plain(path, container, key, value, depth)

    def _number_of(self, item: dict[str, Any], number: int) -> int:
        """By which the events of a stream tell an item of a list; in a whole answer each stands for itself."""
        index = item.get("index")
        return int(index) if self._streams and type(index) is int and abs(index) < _NUMBER_MIN else number

    def _text(self, path: Path, container: Any, key: Any) -> None:
        piece = container[key]
        text = self._texts.get(path)
        if text is None:
            if not piece:
                return
            if len(self._texts) >= TEXTS_MAX:
                raise AnswerWithheld(f"the answer has more than {TEXTS_MAX} texts")
            text = self._texts[path] = JsonText(self._make) if key in _JSON else self._make(fields=_fields(path))
        self._touched[path] = (container, key)
        if not piece:
            return
        if path in self._over:
            raise AnswerWithheld("the answer goes on after it has finished")
        self._look(piece)
        before = text.held
        container[key] = text.feed(piece)
        self._held += text.held - before
        if self._held > HELD_MAX:
            raise AnswerWithheld(f"more than {HELD_MAX} characters of the answer would have to be held back")

    def _make(self, *, separated: bool = False, fields: Fields = ()) -> Text:
        if self._masking is None:
            return RestoredText(self._values, self.restored, separated=separated)
        masked = self._masking.text(self.masked, separated=separated, fields=fields)
        if not self._values:
            return masked
        return _Both(masked, RestoredText(self._values, self.restored, separated=separated))

    # -- what comes whole

    def _outside(self, document: dict[str, Any]) -> None:
        if self._masking is None:
            return
        for key, value in self._members(document, 0):
            if key == "choices" or (key == "created" and type(value) is int):
                continue
            if type(value) is not str or self._again.get(key) != value:
                self._plain((key,), document, key, value, 0)

    def _plain(self, path: Path, container: Any, key: Any, value: Any, depth: int) -> None:
        kind = type(value)
        if kind is str:
            fields = _fields(path)
            if self._is_unread(fields[-1], value):
                return
            masked = container[key] = self._masked(value, fields)
            if self._streams and self._masking is not None:
                self._watch(path, value, masked, fields)
            if self._values and type(path[0]) is int and key not in _WHOLE:
                restored = RestoredText(self._values, self.restored, separated=False)
                container[key] = restored.feed(masked) + restored.end()
        elif kind is dict:
            for name, item in self._members(value, depth):
                self._plain((*path, name), value, name, item, depth + 1)
        elif kind is list:
            for number, item in self._items(value, depth):
                self._plain((*path, number), value, number, item, depth + 1)
        else:
            self._number(path, container, key, value)

    def _watch(self, path: Path, value: str, masked: str, fields: Fields) -> None:
        """If a text that comes whole grows all the same, all of it is looked at; what has gone can't be called back."""
        last, so_far = self._watched.get(path, (0, ""))
        said = hash(value)
        if said == last and (len(value) >= _AGAIN_MIN or len(so_far) >= _AGAIN_SURE):
            if len(path) == 1 and masked == value and len(value) <= GROWN_MAX:
                self._again[fields[0]] = value
            return
        if len(self._watched) >= WATCHED_MAX and path not in self._watched:
            raise AnswerWithheld(f"the answer has more than {WATCHED_MAX} texts beside its messages")
        grown = (so_far + masked)[-GROWN_MAX:]
        self._watched[path] = (said, grown)
        if so_far and self._masking is not None and self._masking.whole(grown, Counter(), fields=fields) != grown:
            raise AnswerWithheld("a text beside the answer's messages grows into a value that the policies have masked")

    # -- what both look at

    def _members(self, value: dict[str, Any], depth: int) -> list[tuple[str, Any]]:
        if depth > DEPTH_MAX:
            raise AnswerWithheld("the answer is nested too deeply to be looked at")
        for name, item in value.items():
            if name in self._names:
                continue
            if self._masked(name) != name:
                raise AnswerWithheld("a value that the policies have masked is the name of a field in the answer")
            if not name.endswith(_TOKENS):
                if len(self._names) < KNOWN_MAX and len(name) <= GROWN_MAX:
                    self._names.add(name)
            elif self._masking is not None and type(item) in (list, dict):
                value[name] = None
        return list(value.items())

    def _items(self, value: list[Any], depth: int) -> list[tuple[int, Any]]:
        if depth > DEPTH_MAX:
            raise AnswerWithheld("the answer is nested too deeply to be looked at")
        return list(enumerate(value))

    def _is_unread(self, key: str, value: str) -> bool:
        """Whether it is sound, a picture or the like. Raises AnswerWithheld where the policies have that masked."""
        if key not in _PAYLOADS and not (key in _LINKS and value[:5].lower() == "data:"):
            return False
        if self._opaque and value:
            raise AnswerWithheld("the answer holds what can't be read, and the policies have that masked")
        return len(value) >= _UNREAD_MIN and _PAYLOAD.fullmatch(value) is not None

    def _look(self, text: str) -> None:
        self._looked += len(text)
        if self._streams and self._masking is not None and self._looked > EVENT_TEXT_MAX:
            raise AnswerWithheld(f"an event of the answer has more than {EVENT_TEXT_MAX} characters of text")

    def _number(self, path: Path, container: Any, key: Any, value: Any) -> None:
        if type(value) not in (int, float) or not _NUMBER_MIN <= abs(value) < _NUMBER_END:
            return
        text = str(int(value)) if value == int(value) else repr(value)
        masked = self._masked(text, _fields(path))
        if masked != text:
            container[key] = masked

    def _masked(self, text: str, fields: Fields = ()) -> str:
        if self._masking is None or not text or (fields, text) in self._clean:
            return text
        self._look(text)
        masked = self._masking.whole(text, self.masked, fields=fields)
        if masked == text and len(text) <= GROWN_MAX and len(self._clean) < KNOWN_MAX:
            self._clean.add((fields, text))
        return masked


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


def _finishes(choice: dict[str, Any]) -> bool:
    reason = choice.get("finish_reason")
    return type(reason) is str and reason not in _NOT_YET


def _fields(path: Path) -> Fields:
    """The names of the fields that hold what `path` leads to; the last is its own, though it be in a list."""
    return tuple([step for step in path if type(step) is str])


def _put(container: dict[str, Any], path: Path, text: str) -> None:
    """Put a text where `path` leads, as a delta would bring it: items of lists say their index. Raises AnswerWithheld
    where a text stands in its way.
    """
    here: Any = container
    for step, following in zip(path, (*path[1:], None), strict=True):
        if type(step) is int:
            item = next((one for one in here if one["index"] == step), None)
            if item is None:
                item = {"index": step}
                here.append(item)
            here = item
            continue
        fresh: Any = text if following is None else [] if type(following) is int else {}
        here = here.setdefault(step, fresh)
        if type(here) is not type(fresh):
            raise AnswerWithheld("a field of the answer is a text in one event and holds others in another")


def _json(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document)
    except (orjson.JSONEncodeError, UnicodeEncodeError):
        raise AnswerWithheld("the answer is nested too deeply to be written again") from None
