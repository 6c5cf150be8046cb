"""The engine: an OpenAI-compatible server before a model process.

It answers from the first moment: while the model loads, and when it can't be loaded, it says so. llama.cpp's own
handlers do the inference; what this adds is a bound on what may wait, the end of a generation whose caller has left,
and an answer when the model process dies.
"""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sekisho.capacity.errors import BadChatRequest, CapacityError
from sekisho.capacity.llama.exchange import Answer, ModelGone, post
from sekisho.capacity.llama.gguf import read_head
from sekisho.capacity.llama.model_process import ModelProcess
from sekisho.capacity.llama.options import EngineOptions, context_of
from sekisho.capacity.serving import EngineServer, decode, model_list, not_found, read_body, refusal, require_model

# So many requests may wait beside those that are computed, or as many as are computed: more would wait for minutes,
# and had better go elsewhere. Each takes a thread of llama.cpp's.
WAITING: Final = 8
RETRY_AFTER_S: Final = 1  # a slot may be free by then
RETRY_AFTER_LOADING_S: Final = 5
_ERROR_BYTES_MAX: Final = 64 * 1024  # of llama.cpp's error answers, which are some hundred
_EVENTS: Final = "text/event-stream"

log = logging.getLogger(__name__)


class Engine:
    """The endpoints over one model process."""

    def __init__(self, options: EngineOptions, model: ModelProcess, in_flight_max: int) -> None:
        self._options = options
        self._model = model
        self._in_flight_max = in_flight_max
        self._created = int(time.time())
        self.in_flight = 0

    async def health(self, _request: Request) -> Response:
        """200 when ready, 503 otherwise; `status` is "loading", "ready" or "failed" (then with `reason`)."""
        state = self._model.state
        body: dict[str, Any] = {"status": state.word, "model": self._options.model, "in_flight": self.in_flight}
        if state.reason:
            body["reason"] = state.reason
        return JSONResponse(body, status_code=200 if state.word == "ready" else 503)

    async def models(self, _request: Request) -> Response:
        return model_list(self._options.model, self._created)

    async def infer(self, request: Request) -> Response:
        """Chat completions, completions and embeddings alike."""
        try:
            asked = decode(await read_body(request))
            self._check(asked, request.url.path)
            self._admit()
        except BadChatRequest as error:
            return refusal(error)
        # What was checked is what is sent: parsers differ on duplicate keys.
        return _Relayed(self, request.url.path, json.dumps(asked).encode())

    def _check(self, asked: Any, path: str) -> None:
        if not isinstance(asked, dict):
            raise BadChatRequest("The body must be a JSON object.")
        if not isinstance(asked.get("model"), str):
            raise BadChatRequest("'model' must be a string.", param="model")
        require_model(asked["model"], self._options.model)
        if path.endswith("/embeddings"):
            if not self._options.embeddings:
                raise BadChatRequest("This engine was not started with --embeddings.", code="unsupported")
            if asked.get("dimensions") is not None:  # llama.cpp would pass over it
                raise BadChatRequest("This engine can't shorten embeddings.", param="dimensions")

    def _admit(self) -> None:
        state = self._model.state
        if state.word == "loading":
            raise BadChatRequest(
                "The model is being loaded.", status=503, code="model_loading", retry_after_s=RETRY_AFTER_LOADING_S
            )
        if state.word == "failed":
            raise BadChatRequest(f"The model can't be loaded: {state.reason}", status=503, code="model_failed")
        if self.in_flight >= self._in_flight_max:
            raise BadChatRequest(
                f"{self.in_flight} requests are being answered or wait already.",
                status=429,
                code="engine_busy",
                retry_after_s=RETRY_AFTER_S,
            )

    def ask(self, path: str, body: bytes) -> AbstractAsyncContextManager[Answer]:
        """The model process's answer; see `exchange.post`."""
        return post(self._model.socket, path, body)


class _Relayed(Response):
    """The model process's answer, passed on as it comes, and given up when the caller leaves."""

    def __init__(self, engine: Engine, path: str, body: bytes) -> None:
        super().__init__()
        self._engine = engine
        self._path = path
        self._asked = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._engine.in_flight += 1
        relay = asyncio.create_task(self._relay(scope, receive, send))
        leaving = asyncio.create_task(_caller_left(receive))
        try:
            await asyncio.wait({relay, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if relay.done():
                relay.result()
        finally:
            relay.cancel()
            leaving.cancel()
            await asyncio.gather(relay, leaving, return_exceptions=True)
            self._engine.in_flight -= 1

    async def _relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._engine.ask(self._path, self._asked) as answer:
                if answer.status == 200:
                    await _pass_on(answer, send)
                    return
                error = _reshaped(answer.status, await _whole(answer))
        except ModelGone:
            error = BadChatRequest("The model process ended before it answered.", status=502, code="model_gone")
        await refusal(error)(scope, receive, send)


async def _pass_on(answer: Answer, send: Send) -> None:
    headers = [(b"content-type", answer.media_type.encode())]
    pieces = answer.pieces()
    if not answer.media_type.startswith(_EVENTS):
        body = b"".join([piece async for piece in pieces])  # ModelGone here still is an answer of its own
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    try:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    except ModelGone:
        # Never a clean end: an error event, and no [DONE].
        error = {"message": "The model process ended.", "type": "server_error", "param": None, "code": "model_gone"}
        event = b"\n\ndata: " + json.dumps({"error": error}).encode() + b"\n\n"
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _caller_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _whole(answer: Answer) -> bytes:
    body = bytearray()
    async for piece in answer.pieces():
        body += piece[: _ERROR_BYTES_MAX - len(body)]
    return bytes(body)


def _reshaped(status: int, body: bytes) -> BadChatRequest:
    """llama.cpp's error as OpenAI would put it: what it can't serve is the caller's to mend, so 400."""
    try:
        error = json.loads(body)["error"]
        message, kind = str(error["message"]), error["type"]
    except (ValueError, KeyError, TypeError):
        return BadChatRequest("llama.cpp gave an answer that can't be read.", status=502)
    if kind == "exceed_context_size_error":
        return BadChatRequest(message, param="messages", code="context_length_exceeded")
    if "not supported" in message or "not support" in message:
        return BadChatRequest(message, code="unsupported")
    return BadChatRequest(message, status=status)


def app(engine: Engine, model: ModelProcess, stop: Callable[[], None]) -> Starlette:
    """The ASGI application; its lifespan is the model process's. `stop` is called if that can't be kept."""

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        keeping = asyncio.create_task(model.run())
        keeping.add_done_callback(lambda _: stop())
        try:
            yield
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping

    infer = [f"/v1/{name}" for name in ("chat/completions", "completions", "embeddings")]
    return Starlette(
        routes=[
            *(Route(path, engine.infer, methods=["POST"]) for path in infer),
            Route("/v1/models", engine.models),
            Route("/healthz", engine.health),
        ],
        exception_handlers={404: not_found, 405: not_found},
        lifespan=lifespan,
    )


def serve(options: EngineOptions, host: str, port: int, *, exit_with_parent: bool) -> None:
    """Serve the model until told to stop.

    Raises ModelFileError at once for a file that is none, and ModelFailed when llama.cpp can't load it, unless it
    runs for a supervisor (`exit_with_parent`): then it goes on answering with the reason until the file changes.
    Raises CapacityError if the address can't be had.
    """
    if not exit_with_parent:
        context_of(options, read_head(options.file))
    in_flight_max = options.parallel + max(WAITING, options.parallel)
    failures: list[CapacityError] = []

    def failed(error: CapacityError) -> None:
        if exit_with_parent:
            log.error("%s", error)
        else:
            failures.append(error)
            server.stop()

    with ModelProcess(options, in_flight_max, failed) as model:
        engine = Engine(options, model, in_flight_max)
        server = EngineServer(app(engine, model, lambda: server.stop()), on_grace_over=model.stop)
        server.run(host, port, options.model, exit_with_parent=exit_with_parent)
    if failures:
        raise failures[0]
