"""The engine as an OpenAI-compatible HTTP server: chat completions (streaming and not), models, healthz."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sekisho.capacity.errors import BadChatRequest
from sekisho.capacity.manual.answers import Library, Reply
from sekisho.capacity.manual.chat import ChatRequest, parse
from sekisho.capacity.serving import EngineServer, decode, model_list, not_found, read_body, refusal, require_model

PIECES_PER_CHUNK: Final = 3  # small, as engines stream


class _Engine:
    """The endpoints over one library."""

    def __init__(self, model_name: str) -> None:
        self._model = model_name
        self._created = int(time.time())
        self._library = Library()

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(self, _request: Request) -> Response:
        return model_list(self._model, self._created)

    async def chat(self, request: Request) -> Response:
        try:
            asked = parse(decode(await read_body(request)))
            require_model(asked.model, self._model)
        except BadChatRequest as error:
            return refusal(error)
        reply = self._library.reply(asked)
        head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": self._model}
        if asked.stream:
            return StreamingResponse(_events(head, asked, reply), media_type="text/event-stream")
        choice = {
            "index": 0,
            "message": _message(reply),
            "logprobs": None,
            "finish_reason": reply.finish_reason,
        }
        return JSONResponse({**head, "object": "chat.completion", "choices": [choice], "usage": _usage(asked, reply)})


def app(model_name: str) -> Starlette:
    """The ASGI application that serves the manual under `model_name`."""
    engine = _Engine(model_name)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", engine.chat, methods=["POST"]),
            Route("/v1/models", engine.models),
            Route("/healthz", engine.health),
        ],
        exception_handlers={404: not_found, 405: not_found},
    )


def run(host: str, port: int, model_name: str, *, exit_with_parent: bool = False) -> None:
    """Serve until told to stop; see EngineServer.run."""
    EngineServer(app(model_name)).run(host, port, model_name, exit_with_parent=exit_with_parent)


def _message(reply: Reply) -> dict[str, Any]:
    if reply.tool_call is None:
        return {"role": "assistant", "content": "".join(reply.pieces), "refusal": None}
    return {"role": "assistant", "content": None, "refusal": None, "tool_calls": [_tool_call(reply.tool_call)]}


def _tool_call(tool_call: tuple[str, str]) -> dict[str, Any]:
    name, arguments = tool_call
    function = {"name": name, "arguments": arguments}
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}


def _usage(asked: ChatRequest, reply: Reply) -> dict[str, int]:
    return {
        "prompt_tokens": asked.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": asked.prompt_tokens + reply.completion_tokens,
    }


async def _events(head: dict[str, Any], asked: ChatRequest, reply: Reply) -> AsyncIterator[bytes]:
    """The answer as server-sent events: role, content in small pieces, finish, usage where asked, `[DONE]`."""

    def event(delta: dict[str, Any] | None, finish: str | None = None) -> bytes:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        chunk: dict[str, Any] = {**head, "object": "chat.completion.chunk", "choices": choices}
        if asked.include_usage:
            chunk["usage"] = _usage(asked, reply) if delta is None else None
        return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"

    if reply.tool_call is not None:
        yield event({"role": "assistant", "content": None, "tool_calls": [{"index": 0, **_tool_call(reply.tool_call)}]})
    else:
        yield event({"role": "assistant", "content": ""})
    for start in range(0, len(reply.pieces), PIECES_PER_CHUNK):
        yield event({"content": "".join(reply.pieces[start : start + PIECES_PER_CHUNK])})
        await asyncio.sleep(0)  # other requests go on in between
    yield event({}, reply.finish_reason)
    if asked.include_usage:
        yield event(None)
    yield b"data: [DONE]\n\n"
