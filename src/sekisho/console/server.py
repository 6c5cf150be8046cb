"""The control server: health, the public part of the log, and a first page. It rules nothing itself.

Checkpoint and hash tiles are public (C2SP tlog-tiles); entry bundles hold labels and ids of requests and are not
served here. Any static file server can serve the same files.
"""

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from fastapi import FastAPI, HTTPException, Response
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse

from sekisho import __version__

_TILE: Final = re.compile(r"[0-9]{1,2}(/x[0-9]{3})*/[0-9]{3}(\.p/[0-9]{1,3})?", re.ASCII)
_IMMUTABLE: Final = "public, max-age=31536000, immutable"


class Status(NamedTuple):
    """What control tells of itself; nothing secret, nothing of any request."""

    origin: str
    log_size: int
    snapshot: str
    gateway: str
    declarations: dict[str, Any] | None = None  # what became of the tree on disk: state, mistakes, error


def control_app(ledger: Path, status: Callable[[], Status]) -> FastAPI:
    """The ASGI application over a ledger directory; `status` is asked at each call and must not block for long."""
    app = FastAPI(title="Sekisho control", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/api/status")
    def api_status() -> dict[str, Any]:
        return status()._asdict()

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

    @app.get("/", response_class=HTMLResponse)
    def front() -> str:
        return _front(status())

    return app


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sekisho</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; }}
body {{ font: 16px/1.6 system-ui, "Noto Sans JP", sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1.2rem }}
h1 {{ font-weight: 600; margin-bottom: 0 }} h1 small {{ font-weight: 400; opacity: .6; font-size: .55em }}
p.lead {{ margin-top: .2rem; opacity: .75 }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .4rem 1.4rem; border-top: 1px solid var(--line);
      border-bottom: 1px solid var(--line); padding: 1rem 0 }}
dt {{ opacity: .7 }} dd {{ margin: 0; overflow-wrap: anywhere; font-family: ui-monospace, monospace; font-size: .92em }}
pre {{ border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem; overflow-x: auto; font-size: .88em }}
</style></head><body>
<h1>Sekisho <small>関所 {version}</small></h1>
<p class="lead">A request crosses only where your rules allow, and leaves a receipt that anyone can check.<br>
<span lang="ja">規則の許すところだけを通し、誰でも検証できる受領証を残します。</span></p>
<dl>
<dt>Gateway / <span lang="ja">ゲートウェイ</span></dt><dd>{gateway}/v1</dd>
<dt>Log / <span lang="ja">ログ</span></dt><dd>{origin}</dd>
<dt>Entries published / <span lang="ja">公開済みの記録</span></dt><dd>{log_size}</dd>
<dt>Snapshot in force / <span lang="ja">適用中の構成</span></dt><dd>{snapshot}</dd>
</dl>
<p>Point an OpenAI client at the gateway / <span lang="ja">OpenAIクライアントの接続先を変えるだけです</span>:</p>
<pre>client = OpenAI(base_url="{gateway}/v1", api_key="sk-…")</pre>
<p><a href="/ledger/checkpoint">signed checkpoint / <span lang="ja">署名済みチェックポイント</span></a></p>
</body></html>
"""


def _front(status: Status) -> str:
    return _PAGE.format(
        version=html.escape(__version__),
        gateway=html.escape(status.gateway),
        origin=html.escape(status.origin),
        log_size=status.log_size,
        snapshot=html.escape(status.snapshot),
    )
