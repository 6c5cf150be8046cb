"""Rows of LiteLLM: its spend logs (table LiteLLM_SpendLogs, as exported or as /spend/logs answers) and the standard
logging payload (docs.litellm.ai, "StandardLoggingPayload Specification"). Pure.

Prompts stand in a spend log only where `store_prompts_in_spend_logs` is set: then in `proxy_server_request` as the
caller's body, or in `messages`. What LiteLLM redacted holds a fixed text, and counts as no content. Texts longer than
`MAX_STRING_LENGTH_PROMPT_IN_DB` are cut in the middle, which a mark there says.
"""

from typing import Any, Final

from sekisho.assurance.foreign_rows import decoded, values

_CUT: Final = "... (litellm_truncated"
_REDACTED: Final = "redacted-by-litellm"
_JSON_FIELDS: Final = ("metadata", "messages", "proxy_server_request", "model_parameters", "request_tags")
_INPUTS: Final = ("messages", "input", "prompt")


def litellm_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row with what is JSON as text in an export decoded; a payload may stand under its name in the callback."""
    inner = row.get("standard_logging_object")
    row = inner if isinstance(inner, dict) else row
    return {**row, **{name: decoded(row[name]) for name in _JSON_FIELDS if name in row}}


def litellm_body(row: dict[str, Any]) -> dict[str, Any] | None:
    """What there is to inspect of a row that was read by `litellm_row`."""
    request = row.get("proxy_server_request")
    if isinstance(request, dict):
        inner = decoded(request.get("body"))
        body = inner if isinstance(inner, dict) else request
        if any(body.get(name) for name in _INPUTS):
            return body if not _is_redacted(body) else None
    messages = row.get("messages")
    if not messages:
        return None
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    elif isinstance(messages, dict):  # as the table stores it: {"messages": […]}, or one message
        messages = messages.get("messages", [messages])
    parameters = row.get("model_parameters")
    body = {**(parameters if isinstance(parameters, dict) else {}), "messages": messages}
    return None if _is_redacted(body) else body


def is_cut(body: dict[str, Any] | None) -> bool:
    """Whether texts of a body are not all there."""
    return any(isinstance(one, str) and _CUT in one for one in values(body))


def _is_redacted(body: dict[str, Any]) -> bool:
    messages = body.get("messages")
    return isinstance(messages, list) and any(
        isinstance(one, dict) and one.get("content") == _REDACTED for one in messages
    )
