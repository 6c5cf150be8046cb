"""The control server: health, the public part of the log, and the console's pages. It rules nothing itself.

Checkpoint, hash tiles and enrolment are public (C2SP tlog-tiles). Entry bundles hold labels and ids of requests, and
snapshots the rules; both ask for a key with the role `auditor`. Any static file server can serve the same files.
The pages ask for a session, but for the sign-in.
"""

import logging
import re
from importlib import resources
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse

from sekisho import __version__
from sekisho.console.errors import NotAllowed
from sekisho.console.interfaces import Ports, Served
from sekisho.console.routes import add_pages
from sekisho.console.security import App, Guard, Receive, Scope, Send
from sekisho.identity.interfaces import AuthenticationError
from sekisho.ledger.log_files import LogFiles

_TILE: Final = re.compile(r"(?:[0-9]{1,2}|entries)(/x[0-9]{3})*/[0-9]{3}(\.p/[0-9]{1,3})?", re.ASCII)
_ENTRIES: Final = "entries/"
_SNAPSHOT: Final = re.compile(r"current|[0-9a-f]{64}\.json|parts/[0-9a-f]{64}", re.ASCII)
_WHOLE_SECONDS: Final = 31_536_000  # a full tile never changes
_PARTIAL_SECONDS: Final = 60  # one that is not full never changes either, but it goes when the full one is there
_NOTE: Final = "public, max-age=1, must-revalidate"  # a checkpoint is published about once a second
_STATIC: Final = {
    "console.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "notes.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "receipt.js": "text/javascript; charset=utf-8",
    "sign-in.js": "text/javascript; charset=utf-8",
    "tlog-policy.js": "text/javascript; charset=utf-8",
    "verify.js": "text/javascript; charset=utf-8",
}

log = logging.getLogger(__name__)


def control_app(ledger: Path, ports: Ports, served: Served, *, snapshots: Path | None = None) -> App:
    """The ASGI application over a ledger directory, and the snapshots that its decisions name.

    `ports.status` is asked at each call; it must not block long.
    """
    app = FastAPI(title="Sekisho control", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/api/status")
    def api_status() -> dict[str, Any]:
        return ports.status()._asdict()

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(ports.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/ledger/checkpoint")
    def checkpoint() -> Response:
        try:
            note = (ledger / "checkpoint").read_text()
        except FileNotFoundError:
            raise HTTPException(404, "nothing has been published yet") from None
        return PlainTextResponse(ports.with_cosignatures(note), headers={"cache-control": _NOTE})

    @app.get("/ledger/enrolment")
    def enrolment() -> Response:
        return PlainTextResponse((ledger / "enrolment").read_text(), headers={"cache-control": _NOTE})

    @app.get("/ledger/tile/{path:path}")
    def tile(request: Request, path: str) -> Response:
        if _TILE.fullmatch(path) is None:
            raise HTTPException(404, "no such tile")
        refused = _refused(ports, request) if path.startswith(_ENTRIES) else None
        if refused is not None:
            return refused
        file = ledger / "tile" / path
        if not file.is_file():
            file = LogFiles(ledger).archived(f"tile/{path}") or file
        if not file.is_file():
            raise HTTPException(404, "no such tile")
        return FileResponse(file, media_type="application/octet-stream", headers={"cache-control": _cache(path)})

    @app.get("/ledger/snapshots/{path:path}")
    def snapshot(request: Request, path: str) -> Response:
        if snapshots is None or _SNAPSHOT.fullmatch(path) is None:
            raise HTTPException(404, "no such file of a snapshot")
        refused = _refused(ports, request)
        if refused is not None:
            return refused
        if not (snapshots / path).is_file():
            raise HTTPException(404, "no such file of a snapshot")
        cache = "private, max-age=1" if path == "current" else f"private, max-age={_WHOLE_SECONDS}, immutable"
        return FileResponse(snapshots / path, media_type="application/octet-stream", headers={"cache-control": cache})

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


def _refused(ports: Ports, request: Request) -> Response | None:
    """Why this request may not read what auditors read; None if it may."""
    try:
        ports.auditors.admit(request.headers.get("authorization"))
    except AuthenticationError as error:
        headers = {"www-authenticate": "Bearer", "cache-control": "no-store"}
        return PlainTextResponse(f"{error}\n", 401, headers=headers)
    except NotAllowed as error:
        return PlainTextResponse(f"{error}\n", error.status, headers={"cache-control": "no-store"})
    return None


def _cache(path: str) -> str:
    """Of a tile that is there. Entries are for who asked, and for no cache in between."""
    whose = "private" if path.startswith(_ENTRIES) else "public"
    if ".p/" in path:
        return f"{whose}, max-age={_PARTIAL_SECONDS}"
    return f"{whose}, max-age={_WHOLE_SECONDS}, immutable"
