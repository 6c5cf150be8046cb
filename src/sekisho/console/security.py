"""What stands before every page: which hosts we answer to, which origins may post, headers, and a brake on guessing.

- *DNS rebinding*: a foreign name that was made to point at 127.0.0.1 comes with its own Host, and gets 403.
- *Cross-site requests*: nothing changes by GET; a POST needs an Origin that is ours. (Other ports of this machine are
  the same *site* to a cookie, never the same origin.)
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from sekisho.console.interfaces import Served

# No script, style, frame or form but our own; nothing inline. `same-origin` and not `no-referrer`: the latter makes
# browsers send `Origin: null` with our own forms (Fetch, "append a request Origin header"). Neither tells others.
_CONTENT_POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = (
    (b"content-security-policy", _CONTENT_POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")
GUESSES_MAX: Final = 10  # failed sign-ins …
GUESSES_WINDOW_US: Final = 60_000_000  # … in a minute, all callers together: nobody has so many tokens to mistype

_PUBLIC: Final = ("/healthz", "/ledger/")  # the same for everybody under whatever name (C2SP tlog-tiles)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """ASGI middleware; the outermost."""

    def __init__(self, app: App, served: Served) -> None:
        self._app = app
        self._served = served
        scheme = "https" if served.secure else "http"
        self._origins = frozenset(f"{scheme}://{host}" for host in served.hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reason = self._refused(scope)
        if reason is not None:
            await _refuse(reason, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name for name, _ in message["headers"]}
                added = [*SECURITY_HEADERS, HSTS] if self._served.secure else SECURITY_HEADERS
                message["headers"] = [*message["headers"], *(item for item in added if item[0] not in names)]
            await send(message)

        await self._app(scope, receive, send_guarded)

    def _refused(self, scope: Scope) -> str | None:
        """Why this request is not let through, or None."""
        if scope["path"].startswith(_PUBLIC) and scope["method"] in ("GET", "HEAD"):
            return None
        values: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            values.setdefault(name, []).append(value)
        hosts = [value.decode("latin-1").lower() for value in values.get(b"host", [])]
        if len(hosts) != 1 or hosts[0] not in self._served.hosts:
            return "The console does not answer to this host name. Use the address that `sekisho up` prints."
        if scope["method"] in ("GET", "HEAD"):
            return None
        origins = [value.decode("latin-1").lower() for value in values.get(b"origin", [])]
        if len(origins) != 1 or origins[0] not in self._origins:
            return "A request that changes or asks something needs the console's own Origin header."
        return None


async def _refuse(reason: str, send: Send) -> None:
    body = f"{reason}\n".encode()
    headers = [*SECURITY_HEADERS, (b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class Brake:
    """Counts failed sign-ins. 256 random bits can't be guessed: this keeps the trying from costing us anything."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self._failed: list[int] = []

    def wait_s(self) -> int:
        """Seconds until another try is heard, 0 for now."""
        now_us = self._now_us()
        self._failed = [at for at in self._failed if at > now_us - GUESSES_WINDOW_US]
        if len(self._failed) < GUESSES_MAX:
            return 0
        return max(1, (self._failed[0] + GUESSES_WINDOW_US - now_us) // 1_000_000)

    def failed(self) -> None:
        self._failed.append(self._now_us())
