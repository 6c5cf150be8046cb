"""Reading what a deployment answers: what it used, and what it says went wrong."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

_NOTHING: Final = ("", "None", "null")  # how some servers write null


class Usage(NamedTuple):
    """Tokens. `source`: "upstream" as the deployment reported, "estimated" as we count."""

    prompt: int
    completion: int
    source: str


class WholeAnswer(NamedTuple):
    """What a whole answer used: as it reports, and else the bytes of text in it to estimate from."""

    usage: Usage | None
    text_bytes: int
    reports_error: bool = False  # and nothing else: some servers do so with status 200


def read_answer(answer: bytes, text_bytes: Callable[[dict[str, Any]], int]) -> WholeAnswer | None:
    """None where the answer is not a JSON object."""
    document = json_object(answer)
    if document is None:
        return None
    usage = read_usage(document.get("usage"))
    reports_error = bool(document.get("error")) and not (document.get("choices") or document.get("data"))
    return WholeAnswer(usage, 0 if usage is not None else text_bytes(document), reports_error)


def json_object(answer: bytes) -> dict[str, Any] | None:
    """An answer's body; None where it is not a JSON object."""
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
    return document if type(document) is dict else None


def read_usage(usage: object) -> Usage | None:
    """`{"prompt_tokens", "completion_tokens"}` as reported, or None where it is absent or not counts."""
    if type(usage) is not dict:
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens", 0)
    if type(prompt) is not int or type(completion) is not int:
        return None
    if not (0 <= prompt < 2**53 and 0 <= completion < 2**53):
        return None
    return Usage(prompt, completion, "upstream")


def estimate_tokens(byte_count: int) -> int:
    """Our own count where the deployment reports none: four bytes of UTF-8 to a token, rounded up."""
    return (byte_count + 3) // 4


def chat_text_bytes(event: dict[str, Any]) -> int:
    """Bytes of text in a streamed chunk or a whole answer: content, refusals, reasoning, tool names and arguments."""
    total = 0
    choices = event.get("choices")
    for choice in choices if type(choices) is list else ():
        delta = (choice.get("delta") or choice.get("message")) if type(choice) is dict else None
        if type(delta) is dict and len(delta) == 1 and type(delta.get("content")) is str:
            total += len(delta["content"].encode())  # nearly every chunk of a long answer
            continue
        stack = [delta]
        while stack:
            value = stack.pop()
            if type(value) is str:
                total += len(value.encode())
            elif type(value) is dict:
                stack.extend(item for key, item in value.items() if key not in ("role", "type", "id"))
            elif type(value) is list:
                stack.extend(value)
    return total


def completion_text_bytes(event: dict[str, Any]) -> int:
    choices = event.get("choices")
    texts = [choice.get("text") for choice in choices if type(choice) is dict] if type(choices) is list else []
    return sum(len(text.encode()) for text in texts if type(text) is str)


def no_text_bytes(event: dict[str, Any]) -> int:
    """Of an operation whose answers hold no text."""
    return 0


class ErrorAnswer(NamedTuple):
    """A deployment's own error: what it says, and its body in OpenAI's shape."""

    message: str
    body: bytes


def read_error(answer: bytes) -> ErrorAnswer | None:
    """An error in OpenAI's shape: `message`, `type`, `param`, `code`, and what else its error object has.

    Absent values are null, never the text "None". Also reads what FastAPI (`detail`) and older engines (members at the
    top, an integer `code`, `error` as a text) answer. None where there is no message, as in HTML.
    """
    document = json_object(answer)
    if document is None:
        return None
    error = document.get("error")
    fields = dict(error) if type(error) is dict else document
    message = fields.get("message") or fields.get("detail") or (error if type(error) is str else None)
    if not message:
        return None
    try:
        text = message if type(message) is str else orjson.dumps(message).decode()
        fields |= {"message": text, **{name: _text_or_null(fields.get(name)) for name in ("type", "param", "code")}}
        kept = {name: value for name, value in fields.items() if name not in ("error", "detail", "object")}
        return ErrorAnswer(text, orjson.dumps({"error": kept}))
    except orjson.JSONEncodeError:  # nested too deeply to be written again
        return None


def _text_or_null(value: object) -> str | None:
    text = str(value) if type(value) is int else value
    return text if type(text) is str and text not in _NOTHING else None
