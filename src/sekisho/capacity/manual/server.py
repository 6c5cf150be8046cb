"""The engine as an OpenAI-compatible HTTP server: chat completions (streaming and not), models, healthz."""

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sekisho.capacity.errors import BadChatRequest
from sekisho.capacity.manual.answers import Library, Reply
from sekisho.capacity.manual.chat import ChatRequest, parse

BODY_BYTES_MAX: Final = 32 * 1024 * 1024  # the gateway's own bound
PIECES_PER_CHUNK: Final = 3  # small, as engines stream
GRACE_SECONDS: Final = 5  # for answers under way when told to stop


class _Engine:
    """The endpoints over one library."""

    def __init__(self, model_name: str) -> None:
        self._model = model_name
        self._created = int(time.time())
        self._library = Library()

    async def health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(self, _request: Request) -> Response:
        model = {"id": self._model, "object": "model", "created": self._created, "owned_by": "sekisho"}
        return JSONResponse({"object": "list", "data": [model]})

    async def chat(self, request: Request) -> Response:
        try:
            asked = parse(_decode(await _read(request)))
            if asked.model != self._model:
                raise BadChatRequest(
                    f"The model '{asked.model}' is not served here: ask for '{self._model}'.",
                    param="model",
                    status=404,
                    code="model_not_found",
                )
        except BadChatRequest as error:
            return _refusal(error)
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
        exception_handlers={404: _not_found, 405: _not_found},
    )


def run(host: str, port: int, model_name: str, *, exit_with_parent: bool = False) -> None:
    """Serve until SIGTERM or SIGINT, then return; port 0 takes a free one. The address is written to stdout.

    With `exit_with_parent` the end of standard input is a reason to stop as well: a supervisor holds the other end
    of that pipe, and when it dies, however it dies, its engines end too. Raises OSError if the address is taken.
    """
    listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    config = uvicorn.Config(
        app(model_name),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    if exit_with_parent:
        threading.Thread(target=_stop_at_end_of_input, args=(server,), daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn stops on these, then raises them again for whoever handled them before: nobody needs to.
        signal.signal(number, lambda *_: None)
    address, bound_port = listener.getsockname()[:2]
    sys.stdout.write(f"{model_name} listens on http://{f'[{address}]' if ':' in address else address}:{bound_port}\n")
    sys.stdout.flush()
    server.run(sockets=[listener])


def _stop_at_end_of_input(server: uvicorn.Server) -> None:
    while os.read(0, 4096):
        pass
    server.should_exit = True


async def _read(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise BadChatRequest(f"The body is larger than {BODY_BYTES_MAX} bytes.", status=413)
    except ClientDisconnect:
        raise BadChatRequest("The body ended early.") from None
    return bytes(body)


def _decode(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadChatRequest("The body is not valid JSON.") from None


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


def _refusal(error: BadChatRequest) -> Response:
    body = {"message": error.message, "type": "invalid_request_error", "param": error.param, "code": error.code}
    return JSONResponse({"error": body}, status_code=error.status)


async def _not_found(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    message = f"{request.method} {request.url.path} is not served here."
    return _refusal(BadChatRequest(message, status=status, code="not_found" if status == 404 else None))
