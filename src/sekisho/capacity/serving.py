"""What every engine's HTTP server does alike: reading a request, refusing in OpenAI's shape, serving until told."""

import asyncio
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from sekisho.capacity.errors import BadChatRequest, CapacityError

BODY_BYTES_MAX: Final = 32 * 1024 * 1024  # the gateway's own bound
GRACE_SECONDS: Final = 5  # for answers under way when told to stop
MARGIN_SECONDS: Final = 1  # for those that are ended then


async def read_body(request: Request) -> bytes:
    """The whole body. Raises BadChatRequest when it is too large or ends early."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES_MAX:
                raise BadChatRequest(f"The body is larger than {BODY_BYTES_MAX} bytes.", status=413)
    except ClientDisconnect:
        raise BadChatRequest("The body ended early.") from None
    return bytes(body)


def decode(body: bytes) -> Any:
    """The body's JSON. Raises BadChatRequest."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadChatRequest("The body is not valid JSON.") from None


def require_model(asked: str, served: str) -> None:
    """Raises BadChatRequest (404) unless the model asked for is the one served here."""
    if asked != served:
        raise BadChatRequest(
            f"The model '{asked}' is not served here: ask for '{served}'.",
            param="model",
            status=404,
            code="model_not_found",
        )


def model_list(model: str, created: int) -> Response:
    """The answer of `GET /v1/models` for the one model of an engine; `created` in seconds since the epoch."""
    entry = {"id": model, "object": "model", "created": created, "owned_by": "sekisho"}
    return JSONResponse({"object": "list", "data": [entry]})


def refusal(error: BadChatRequest) -> Response:
    """The error in OpenAI's shape."""
    kind = "invalid_request_error" if error.status < 500 and error.status != 429 else "server_error"
    body = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    headers = {"retry-after": str(error.retry_after_s)} if error.retry_after_s is not None else None
    return JSONResponse({"error": body}, status_code=error.status, headers=headers)


async def not_found(request: Request, error: Exception) -> Response:
    """Starlette's handler for paths and methods that are not served."""
    status = getattr(error, "status_code", 404)
    message = f"{request.method} {request.url.path} is not served here."
    return refusal(BadChatRequest(message, status=status, code="not_found" if status == 404 else None))


class _Server(uvicorn.Server):
    """uvicorn, which also says when the time for answers under way is over."""

    def __init__(self, config: uvicorn.Config, on_grace_over: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_grace_over = on_grace_over

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        over = asyncio.get_running_loop().call_later(GRACE_SECONDS, self._on_grace_over)
        await super().shutdown(sockets)
        over.cancel()


class EngineServer:
    """An application on one address, until SIGTERM, SIGINT, `stop` or, where asked, the end of standard input.

    `on_grace_over` is called when answers are still under way GRACE_SECONDS after that; those that haven't ended
    MARGIN_SECONDS later are cut off.
    """

    def __init__(self, app: Starlette, *, on_grace_over: Callable[[], None] = lambda: None) -> None:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS + MARGIN_SECONDS,
        )
        self._server = _Server(config, on_grace_over)

    def stop(self) -> None:
        """Take no more connections, give answers under way GRACE_SECONDS, then return from `run`."""
        self._server.should_exit = True

    def run(self, host: str, port: int, name: str, *, exit_with_parent: bool) -> None:
        """Serve until told to stop; port 0 takes a free one. The address is written to stdout.

        With `exit_with_parent` the end of standard input is a reason to stop as well: a supervisor holds the other
        end of that pipe, and when it dies, however it dies, its engines end too. Raises CapacityError if the
        address can't be had.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            listener = socket.create_server((host, port), family=family)
        except OSError as error:
            remedy = "Stop what listens there, or choose another address"
            raise CapacityError(f"can't listen on {host}:{port}: {error.strerror}", remedy=remedy) from None
        if exit_with_parent:
            threading.Thread(target=self._stop_at_end_of_input, daemon=True).start()
        for number in (signal.SIGTERM, signal.SIGINT):
            # uvicorn stops on these, then raises them again for whoever handled them before: nobody needs to.
            signal.signal(number, lambda *_: None)
        address, bound_port = listener.getsockname()[:2]
        shown = f"[{address}]" if ":" in address else address
        sys.stdout.write(f"{name} listens on http://{shown}:{bound_port}\n")
        sys.stdout.flush()
        self._server.run(sockets=[listener])

    def _stop_at_end_of_input(self) -> None:
        while os.read(0, 4096):
            pass
        self.stop()
