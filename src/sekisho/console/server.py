"""The control server: health, the public part of the log, and the console's pages. It rules nothing itself.

Checkpoint and hash tiles are public (C2SP tlog-tiles); entry bundles hold labels and ids of requests and are not
served here. Any static file server can serve the same files. The pages ask for a session, but for the sign-in.
"""

import logging
import re
from importlib import resources
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse

from sekisho import __version__
from sekisho.console.interfaces import Ports, Served
from sekisho.console.routes import add_pages
from sekisho.console.security import App, Guard, Receive, Scope, Send

_TILE: Final = re.compile(r"[0-9]{1,2}(/x[0-9]{3})*/[0-9]{3}(\.p/[0-9]{1,3})?", re.ASCII)
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_STATIC: Final = {
    "console.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript; charset=utf-8",
    "receipt.js": "text/javascript; charset=utf-8",
    "sign-in.js": "text/javascript; charset=utf-8",
    "verify.js": "text/javascript; charset=utf-8",
}

log = logging.getLogger(__name__)


def control_app(ledger: Path, ports: Ports, served: Served) -> App:
    """The ASGI application over a ledger directory. `ports.status` is asked at each call; it must not block long."""
    app = FastAPI(title="Sekisho control", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/api/status")
    def api_status() -> dict[str, Any]:
        return ports.status()._asdict()

    @app.get("/ledger/checkpoint")
    def checkpoint() -> Response:
        try:
            note = (ledger / "checkpoint").read_text()
        except FileNotFoundError:
            raise HTTPException(404, "nothing has been published yet") from None
        return PlainTextResponse(note, headers={"cache-control": "no-cache"})

    @app.get("/ledger/tile/{path:path}")
    def tile(path: str) -> Response:
        file = ledger / "tile" / path
        if _TILE.fullmatch(path) is None or not file.is_file():
            raise HTTPException(404, "no such hash tile")
        return FileResponse(file, media_type="application/octet-stream", headers={"cache-control": _IMMUTABLE})

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in _STATIC:
            raise HTTPException(404, "no such file")
        data = resources.files("sekisho.console").joinpath("static", name).read_bytes()
        return Response(data, headers={"content-type": _STATIC[name], "cache-control": "no-cache"})

    add_pages(app, ports, served)

    @app.exception_handler(Exception)
    def fault(request: Request, error: Exception) -> Response:
        return PlainTextResponse("The console failed; control's log tells more.\n", 500)

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        """Starlette raises what `fault` has answered again: told here, it is not the server's to tell once more."""
        try:
            await app(scope, receive, send)
        except Exception as error:
            log.error("%s %s: a fault of the console", scope.get("method"), scope.get("path"), exc_info=error)

    return Guard(logged, served)
