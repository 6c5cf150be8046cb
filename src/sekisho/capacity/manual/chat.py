"""A chat completion request, checked and reduced to what this engine uses. Pure."""

import re
from typing import Any, Final, NamedTuple

from sekisho.capacity.errors import BadChatRequest

MESSAGES_MAX: Final = 10_000
STOPS_MAX: Final = 16
# A token here is a word, or one letter of a script without spaces, with the white space before it.
_TOKEN: Final = re.compile(r"\s*(?:[A-Za-z0-9_]+|[^\sA-Za-z0-9_])|\s+")


class ChatRequest(NamedTuple):
    """`forced_tool` is the function that `tool_choice` forces, as declared in `tools`."""

    model: str
    question: str
    prompt_tokens: int
    stream: bool
    include_usage: bool
    tokens_max: int | None
    stops: tuple[str, ...]
    json_mode: bool
    forced_tool: dict[str, Any] | None


def tokens(text: str) -> list[str]:
    """`text` cut into what we count as tokens; joined they are the text."""
    return _TOKEN.findall(text)


def parse(body: Any) -> ChatRequest:
    """Raises BadChatRequest naming the field that is off. Unknown fields are passed over."""
    if not isinstance(body, dict):
        raise BadChatRequest("The body must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str):
        raise BadChatRequest("'model' must be a string.", param="model")
    if body.get("n") not in (None, 1):
        raise BadChatRequest("This engine gives one choice: 'n' must be 1.", param="n")
    texts = _message_texts(body.get("messages"))
    questions = [text for role, text in texts if role == "user"]
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise BadChatRequest("'stream_options' must be an object.", param="stream_options")
    return ChatRequest(
        model=model,
        question=questions[-1] if questions else "",
        prompt_tokens=sum(len(tokens(text)) for _, text in texts),
        stream=_flag(body, "stream"),
        include_usage=bool(options and options.get("include_usage")),
        tokens_max=_limit(body),
        stops=_stops(body.get("stop")),
        json_mode=_is_json_mode(body.get("response_format")),
        forced_tool=_forced_tool(body),
    )


def _message_texts(messages: Any) -> list[tuple[str, str]]:
    if not isinstance(messages, list) or not 0 < len(messages) <= MESSAGES_MAX:
        raise BadChatRequest(f"'messages' must be an array of 1 to {MESSAGES_MAX} messages.", param="messages")
    texts: list[tuple[str, str]] = []
    for position, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadChatRequest("Each message must be an object with a 'role'.", param=f"messages[{position}]")
        texts.append((message["role"], _content_text(message.get("content"), f"messages[{position}].content")))
    return texts


def _content_text(content: Any, param: str) -> str:
    """The text of a message; images and other parts can't be read here and are passed over."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise BadChatRequest("'content' must be a string or an array of parts.", param=param)
    parts: list[str] = []
    for part in content:
        if not isinstance(part, dict):
            raise BadChatRequest("A content part must be an object.", param=param)
        if part.get("type") == "text":
            if not isinstance(part.get("text"), str):
                raise BadChatRequest("A text part needs its 'text'.", param=param)
            parts.append(part["text"])
    return "".join(parts)


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadChatRequest(f"'{name}' must be true or false.", param=name)
    return bool(value)


def _limit(body: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        value = body.get(name)
        if value is None:
            continue
        if type(value) is not int or value < 1:
            raise BadChatRequest(f"'{name}' must be a positive integer.", param=name)
        return value
    return None


def _stops(stop: Any) -> tuple[str, ...]:
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or len(stops) > STOPS_MAX or not all(isinstance(text, str) for text in stops):
        raise BadChatRequest(f"'stop' must be a string or at most {STOPS_MAX} strings.", param="stop")
    return tuple(text for text in stops if text)


def _is_json_mode(response_format: Any) -> bool:
    if response_format is None:
        return False
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind not in ("text", "json_object"):
        raise BadChatRequest(
            "This engine offers the response formats 'text' and 'json_object'.", param="response_format"
        )
    return bool(kind == "json_object")


def _forced_tool(body: dict[str, Any]) -> dict[str, Any] | None:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if choice in (None, "auto", "none"):
        return None
    functions: list[dict[str, Any]] = [
        tool["function"]
        for tool in (tools if isinstance(tools, list) else [])
        if isinstance(tool, dict) and isinstance(tool.get("function"), dict)
    ]
    if choice == "required":
        named = functions[:1]
    else:
        wanted = choice.get("function") if isinstance(choice, dict) else None
        name = wanted.get("name") if isinstance(wanted, dict) else None
        named = [function for function in functions if name is not None and function.get("name") == name]
    if not named or not isinstance(named[0].get("name"), str):
        raise BadChatRequest("'tool_choice' forces a function that 'tools' does not offer.", param="tool_choice")
    return named[0]
