"""What callers can ask of a model: each operation is one value that knows how its requests and answers are read.

What leaves is what was read here and written again, never the caller's bytes: parsers differ on duplicate keys, and
a second value must not slip by uninspected (orjson keeps the last one, and so does everything after it).
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import orjson

from sekisho.gateway.dialects.answers import chat_text_bytes, completion_text_bytes, no_text_bytes
from sekisho.gateway.errors import BadRequest, UnsupportedEncoding

MESSAGES_MAX: Final = 10_000  # a bound on work per request; contexts of real models hold far fewer turns
TEXTS_MAX: Final = 10_000  # prompts or inputs in one request; OpenAI takes 2,048
MODEL_NAME_MAX: Final = 128
TOKENS_MAX: Final = 2**31  # a bound on the answer beyond this bounds nothing
CHOICES_MAX: Final = 128
_LONG_INTEGER: Final = re.compile(rb"[:\[,][ \t\r\n]*-?[0-9]{19}")  # where a JSON number can stand
_NO_DIGITS: Final = bytes(set(range(256)) - set(b"0123456789"))
_INTEGER_LIMIT: Final = float(2**63)


class ModelRequest(NamedTuple):
    """A request as it will be inspected: `document` is the whole body, unknown fields included."""

    document: dict[str, Any]
    model: str
    stream: bool
    completion_tokens_max: int | None  # what the caller allows the answer to cost, all choices together


class Operation(NamedTuple):
    """`path` follows the base URL of an OpenAI-compatible server, and a deployment's name in Azure's.

    `check_body` checks what is the operation's own in a body; raises BadRequest. It returns how many tokens the caller
    allows the answer, all choices together, None: any number.
    `text_bytes` counts the text in a streamed chunk or a whole answer that reports no usage.
    `streams`: whether who asks for a stream must get one.
    """

    name: str
    path: str
    check_body: Callable[[dict[str, Any]], int | None]
    text_bytes: Callable[[dict[str, Any]], int]
    streams: bool = True


def parse_request(
    operation: Operation, headers: dict[bytes, bytes], body: bytes, model: str | None = None
) -> ModelRequest:
    """Read a body; `model` is the name in the path, where there is one.

    Raises BadRequest or UnsupportedEncoding with what would be right.
    """
    media_type = headers.get(b"content-type", b"application/json").split(b";", 1)[0].strip().lower()
    if media_type != b"application/json":
        raise UnsupportedEncoding("the body's content-type is not application/json", remedy="Send JSON")
    document = _parse_json(body)
    if type(document) is not dict:
        raise BadRequest("the body is not a JSON object", remedy='Send an object, {"model": …}')
    if model is not None:
        if document.get("model") not in (None, model):
            # Policy decides on the model: which of two names is meant is not ours to guess.
            raise BadRequest(
                "'model' is another than the path names",
                param="model",
                remedy="Leave 'model' out, or repeat the path's",
            )
        document["model"] = model
    named = document.get("model")
    if type(named) is not str or not named or len(named) > MODEL_NAME_MAX:
        raise BadRequest("'model' must be the name of a model", param="model", remedy="GET /v1/models lists them")
    stream = document.get("stream", False)
    if stream is not None and type(stream) is not bool:
        raise BadRequest("'stream' must be true or false", param="stream")
    return ModelRequest(document, named, bool(stream), operation.check_body(document))


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


def upstream_body(document: dict[str, Any], upstream_model: str, *, say_store: bool = False) -> bytes:
    """The body for a deployment: the inspected document under the deployment's own model name.

    Nothing else is changed but `store`, OpenAI's field that has a provider keep the request and the answer: it leaves
    as false, whatever the caller says. With `say_store` it is said even where the caller is silent.
    Raises BadRequest for a document that is nested too deeply.
    """
    if document["model"] != upstream_model:
        document = {**document, "model": upstream_model}
    if document.get("store", say_store) is not False:
        document = {**document, "store": False}
    try:
        return orjson.dumps(document)
    except orjson.JSONEncodeError:  # orjson reads 1024 levels and writes 254
        raise BadRequest(
            "the body is nested too deeply to be written again", remedy="Nest at most 250 levels", code="invalid_json"
        ) from None


# -- what is each operation's own


def _chat(document: dict[str, Any]) -> int | None:
    messages = document.get("messages")
    if type(messages) is not list or not messages:
        raise BadRequest("'messages' must be a list with at least one message", param="messages")
    if len(messages) > MESSAGES_MAX:
        raise BadRequest(f"'messages' holds more than {MESSAGES_MAX} messages", param="messages")
    for index, message in enumerate(messages):
        if type(message) is not dict or type(message.get("role")) is not str:
            raise BadRequest("a message must be an object with a 'role'", param=f"messages[{index}]")
    tokens, choices = _tokens_max(document, "max_completion_tokens", "max_tokens"), _choices(document, "n")
    return None if tokens is None else tokens * choices


def _completions(document: dict[str, Any]) -> int | None:
    prompts = _texts(document, "prompt")
    tokens, choices = _tokens_max(document, "max_tokens"), max(_choices(document, "n"), _choices(document, "best_of"))
    return None if tokens is None else tokens * prompts * choices


def _embeddings(document: dict[str, Any]) -> int | None:
    _texts(document, "input")
    return 0


def _texts(document: dict[str, Any], name: str) -> int:
    """How many texts there are: a string, strings, an array of tokens, or arrays of tokens."""
    value = document.get(name)
    if type(value) is str:
        return 1
    if type(value) is list and value:
        if _all(int, value):
            return 1
        if len(value) > TEXTS_MAX:
            raise BadRequest(f"'{name}' holds more than {TEXTS_MAX} texts", param=name)
        if _all(str, value) or all(type(tokens) is list and tokens and _all(int, tokens) for tokens in value):
            return len(value)
    raise BadRequest(f"'{name}' must be a string, or a list of strings or of tokens, not empty", param=name)


def _all(kind: type, values: list[Any]) -> bool:
    return all(type(value) is kind for value in values)


def _tokens_max(document: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = document.get(name)
        if value is None:
            continue
        if type(value) is not int or not 0 < value < TOKENS_MAX:
            raise BadRequest(f"'{name}' must be a positive whole number", param=name)
        return value
    return None


def _choices(document: dict[str, Any], name: str) -> int:
    value = document.get(name)
    if value is None:
        return 1
    if type(value) is not int or not 0 < value <= CHOICES_MAX:
        raise BadRequest(f"'{name}' must be a whole number from 1 to {CHOICES_MAX}", param=name)
    return value


CHAT: Final = Operation("chat", "/chat/completions", _chat, chat_text_bytes)
COMPLETIONS: Final = Operation("completions", "/completions", _completions, completion_text_bytes)
EMBEDDINGS: Final = Operation("embeddings", "/embeddings", _embeddings, no_text_bytes, streams=False)
OPERATIONS: Final = (CHAT, COMPLETIONS, EMBEDDINGS)


def operation_of(body: bytes) -> Operation:
    """The operation that a body without a path is for: what only one of them has decides, else it is read as chat."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return CHAT
    if type(document) is not dict or "messages" in document:
        return CHAT
    return EMBEDDINGS if "input" in document else COMPLETIONS if "prompt" in document else CHAT
