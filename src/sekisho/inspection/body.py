"""What there is to read in a request body, and what can't be read or reaches further than the answer.

Nothing is passed over by its position: a string is skipped only if it is one of the chat dialects' fixed words, and
none of those can be a value that a rule looks for. So no field can be used to smuggle text past inspection.
"""

from typing import Any, Final

from sekisho.inspection.interfaces import EGRESS_TOOL, EGRESS_URL, OPAQUE

DEPTH_MAX: Final = 64  # real requests nest about ten deep (JSON schemas of tools); deeper is `opaque`
NUMBER_MIN: Final = 10**5  # no identifier we look for has fewer than six digits
NUMBER_END: Final = 10**40  # the longest identifier has 19; Python refuses to write out absurdly long ones
FIXED_WORD_MAX: Final = 24  # characters; spares hashing long texts

# Values of the OpenAI dialects' enumerated fields (`role`, `type`, `finish_reason`, `tool_choice`, …).
FIXED_WORDS: Final = frozenset(
    {
        *("system", "developer", "user", "assistant", "tool", "function", "custom"),
        *("text", "image_url", "input_audio", "file", "refusal", "input_text", "input_image", "output_text"),
        *("auto", "none", "required", "low", "medium", "high", "minimal", "default", "flex", "priority"),
        *("json_object", "json_schema", "object", "string", "number", "integer", "boolean", "array", "null"),
        *("stop", "length", "tool_calls", "content_filter", "function_call", "wav", "mp3", "float", "base64"),
    }
)
# Names that need not be read as text: the dialects' own.
FIXED_KEYS: Final = frozenset(
    {
        *("model", "messages", "role", "content", "type", "text", "name", "stream", "stream_options", "include_usage"),
        *("temperature", "top_p", "n", "stop", "max_tokens", "max_completion_tokens", "presence_penalty", "seed"),
        *("frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "user", "tools", "tool_choice", "function"),
        *("functions", "function_call", "tool_calls", "tool_call_id", "id", "index", "arguments", "parameters"),
        *("properties", "required", "description", "items", "enum", "strict", "additionalProperties", "schema"),
        *("parallel_tool_calls", "response_format", "json_schema", "service_tier", "store", "metadata", "modalities"),
        *("image_url", "url", "detail", "input_audio", "data", "format", "file", "file_data", "file_id", "filename"),
        *("reasoning_effort", "refusal", "prediction", "audio", "web_search_options", "input", "prompt"),
        *("suffix", "best_of", "echo", "encoding_format", "dimensions"),
    }
)
_FUNCTION_TOOLS: Final = frozenset({"function", "custom"})  # run by the caller; every other type by the provider

# Ask the provider to fetch, search or call by itself: OpenAI, Azure, Anthropic, xAI, OpenRouter, Qwen.
_HOSTED: Final = frozenset({"web_search_options", "data_sources", "search_parameters", "plugins", "enable_search"})
_HOSTED_ANYWHERE: Final = frozenset({"server_url", "mcp_servers", "connector_id"})
_LINKS: Final = frozenset({"url", "uri", "image_url", "file_url", "video_url", "audio_url", "document_url"})
# Payloads and references to content that lies with the provider: nothing there can be read.
_PAYLOADS: Final = frozenset({"file_data", "file_id", "encrypted_content", "prompt_embeds"})
_STORED: Final = frozenset({"previous_response_id", "conversation"})
_TOKENS: Final = frozenset({"prompt", "input"})  # may be lists of token numbers
_WATCHED: Final = frozenset(
    {"tools", "input_audio", "audio"} | _HOSTED | _HOSTED_ANYWHERE | _LINKS | _PAYLOADS | _STORED | _TOKENS
)

Place = tuple[Any, Any]  # the container and the key or index of a string in it


class BodyText:
    """Every text of a body in reading order, so that a key stands before its value, and labels known without reading.

    `places[i]` says where `texts[i]` can be replaced; None for object keys, numbers and joined parts, which can't.
    `joined` are the indices of joined parts. `root` is a list whose only element is the body.
    """

    __slots__ = ("joined", "labels", "places", "root", "texts")

    def __init__(self, body: Any) -> None:
        self.texts: list[str] = []
        self.places: list[Place | None] = []
        self.joined: set[int] = set()
        self.labels: set[str] = set()
        self.root = [body]
        self._value(body, self.root, 0, 0)

    def _value(self, value: Any, container: Any, key: Any, depth: int) -> None:
        kind = type(value)
        if kind is str:
            if len(value) > FIXED_WORD_MAX or value not in FIXED_WORDS:
                self.texts.append(value)
                self.places.append((container, key))
        elif kind is dict:
            self._object(value, depth)
        elif kind is list:
            self._array(value, key, depth)
        elif kind is int or kind is float:
            self._number(value)

    def _object(self, members: dict[str, Any], depth: int) -> None:
        if depth > DEPTH_MAX:
            self.labels.add(OPAQUE)
            return
        for key, value in members.items():
            if key not in FIXED_KEYS:
                self.texts.append(key)
                self.places.append(None)
            if key in _WATCHED and self.watch(key, value, depth):
                continue
            if type(value) is str:  # as `_value` does; most members are strings, and a call each would show
                if len(value) > FIXED_WORD_MAX or value not in FIXED_WORDS:
                    self.texts.append(value)
                    self.places.append((members, key))
            else:
                self._value(value, members, key, depth + 1)

    def _array(self, values: list[Any], key: Any, depth: int) -> None:
        if depth > DEPTH_MAX:
            self.labels.add(OPAQUE)
            return
        for index, value in enumerate(values):
            self._value(value, values, index, depth + 1)
        if len(values) > 1:
            self._parts(values, key)

    def _parts(self, values: list[Any], key: Any) -> None:
        """A model reads the text parts of a message as one text: so do we, or a value split over two would slip."""
        parts = [value["text"] for value in values if type(value) is dict and type(value.get("text")) is str]
        if key == "content":
            parts = parts or [value for value in values if type(value) is str]
        if len(parts) > 1:
            self.joined.add(len(self.texts))
            self.texts.append("".join(parts))
            self.places.append(None)

    def _number(self, value: float) -> None:
        if not NUMBER_MIN <= abs(value) < NUMBER_END:  # NaN and the infinities are out too
            return
        self.texts.append(str(int(value)) if value == int(value) else repr(value))
        self.places.append(None)

    def watch(self, key: str, value: Any, depth: int) -> bool:
        """Labels that stand without reading; True if the value is not to be read as text."""
        if key in _PAYLOADS:
            if type(value) not in (str, list):
                return False
            self.labels.add(OPAQUE)
            return True
        if key in _LINKS:
            if type(value) is not str:
                return False
            unreadable = value[:5].lower() == "data:"
            self.labels.add(OPAQUE if unreadable else EGRESS_URL)
            return unreadable
        if key == "input_audio" and type(value) is dict and type(value.get("data")) is str:
            self.labels.add(OPAQUE)
            return True
        if key == "audio" and type(value) is dict and type(value.get("id")) is str:
            self.labels.add(OPAQUE)  # an earlier spoken answer, kept by the provider
        elif key in _HOSTED_ANYWHERE or (key in _HOSTED and depth == 0):
            # A tool's schema may have a property of this name: its value is an object, deeper down.
            if value is not None and value is not False and (type(value) is not dict or depth == 0):
                self.labels.add(EGRESS_TOOL)
        elif depth == 0:
            return self._watched_at_top(key, value)
        return False

    def _watched_at_top(self, key: str, value: Any) -> bool:
        if key == "tools" and type(value) is list and any(_is_hosted(tool) for tool in value):
            self.labels.add(EGRESS_TOOL)
        elif key in _STORED and value is not None:
            self.labels.add(OPAQUE)
        elif key in _TOKENS and _holds_tokens(value):
            self.labels.add(OPAQUE)
            return True
        return False


def _is_hosted(tool: Any) -> bool:
    if type(tool) is not dict:
        return False
    kind = tool.get("type")
    return type(kind) is not str or kind not in _FUNCTION_TOOLS


def _holds_tokens(value: Any) -> bool:
    if type(value) is not list or not value:
        return False
    return any(
        type(item) is int or (type(item) is list and any(type(token) is int for token in item)) for item in value
    )
