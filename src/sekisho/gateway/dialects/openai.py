"""The OpenAI chat dialect: reading a request, and reading what an answer used.

What leaves is what was read here and written again, never the caller's bytes: parsers differ on duplicate keys, and
a second value must not slip by uninspected (orjson keeps the last one, and so does everything after it).
"""

import re
from typing import Any, Final, NamedTuple

import orjson

from sekisho.gateway.errors import BadRequest, UnsupportedEncoding

MESSAGES_MAX: Final = 10_000  # a bound on work per request; contexts of real models hold far fewer turns
MODEL_NAME_MAX: Final = 128
_LONG_INTEGER: Final = re.compile(rb"[:\[,][ \t\r\n]*-?[0-9]{19}")  # where a JSON number can stand
_NO_DIGITS: Final = bytes(set(range(256)) - set(b"0123456789"))
_INTEGER_LIMIT: Final = float(2**63)


class ChatRequest(NamedTuple):
    """A chat request as it will be inspected: `document` is the whole body, unknown fields included."""

    document: dict[str, Any]
    model: str
    stream: bool
    completion_tokens_max: int | None  # what the caller allows the answer to cost, all choices together


class Usage(NamedTuple):
    """Tokens. `source`: "upstream" as the deployment reported, "estimated" as we count."""

    prompt: int
    completion: int
    source: str


def parse_chat(headers: dict[bytes, bytes], body: bytes) -> ChatRequest:
    """Read a `chat/completions` body; raises BadRequest or UnsupportedEncoding with what would be right."""
    media_type = headers.get(b"content-type", b"application/json").split(b";", 1)[0].strip().lower()
    if media_type != b"application/json":
        raise UnsupportedEncoding("the body's content-type is not application/json", remedy="Send JSON")
    document = _parse_json(body)
    if type(document) is not dict:
        raise BadRequest("the body is not a JSON object", remedy='Send {"model": …, "messages": […]}')
    model = document.get("model")
    if type(model) is not str or not model or len(model) > MODEL_NAME_MAX:
        raise BadRequest("'model' must be the name of a model", param="model", remedy="GET /v1/models lists them")
    messages = document.get("messages")
    if type(messages) is not list or not messages:
        raise BadRequest("'messages' must be a list with at least one message", param="messages")
    if len(messages) > MESSAGES_MAX:
        raise BadRequest(f"'messages' holds more than {MESSAGES_MAX} messages", param="messages")
    for index, message in enumerate(messages):
        if type(message) is not dict or type(message.get("role")) is not str:
            raise BadRequest("a message must be an object with a 'role'", param=f"messages[{index}]")
    stream = document.get("stream", False)
    if stream is not None and type(stream) is not bool:
        raise BadRequest("'stream' must be true or false", param="stream")
    return ChatRequest(document, model, bool(stream), _completion_tokens_max(document))


def _parse_json(body: bytes) -> Any:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the body is not valid JSON: {error}", code="invalid_json") from None
    # orjson turns integers beyond 64 bits into floats: the upstream would get another number than was inspected.
    if len(body.translate(None, _NO_DIGITS)) >= 19 and _LONG_INTEGER.search(body) and _has_huge_number(document):
        raise BadRequest("the body holds a number beyond 64 bits", remedy="Send it as a string", code="invalid_json")
    return document


def _has_huge_number(document: Any) -> bool:
    stack = [document]
    while stack:
        value = stack.pop()
        kind = type(value)
        if kind is float:
            if abs(value) >= _INTEGER_LIMIT:
                return True
        elif kind is dict:
            stack.extend(value.values())
        elif kind is list:
            stack.extend(value)
    return False


def _completion_tokens_max(document: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = document.get(name)
        if value is None:
            continue
        if type(value) is not int or not 0 < value < 2**31:
            raise BadRequest(f"'{name}' must be a positive whole number", param=name)
        choices = document.get("n")
        return value * (choices if type(choices) is int and 0 < choices <= 128 else 1)
    return None


def upstream_body(document: dict[str, Any], upstream_model: str) -> bytes:
    """The body for a deployment: the inspected document under the deployment's own model name, nothing injected.

    Raises BadRequest for a document that is nested too deeply.
    """
    if document["model"] != upstream_model:
        document = {**document, "model": upstream_model}
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:  # orjson reads 1024 levels and writes 254
        raise BadRequest(
            "the body is nested too deeply to be written again", remedy="Nest at most 250 levels", code="invalid_json"
        ) from None


class WholeAnswer(NamedTuple):
    """What a whole answer used: as it reports, and else the bytes of text in it to estimate from."""

    usage: Usage | None
    text_bytes: int
    reports_error: bool = False  # instead of choices: some servers do so with status 200


def read_answer(answer: bytes) -> WholeAnswer | None:
    """None where the answer is not a JSON object."""
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return None
    if type(document) is not dict:
        return None
    usage = read_usage(document.get("usage"))
    reports_error = bool(document.get("error")) and not document.get("choices")
    return WholeAnswer(usage, 0 if usage is not None else text_bytes(document), reports_error)


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


def text_bytes(event: dict[str, Any]) -> int:
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
