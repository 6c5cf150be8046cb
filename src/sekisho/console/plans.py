"""Plans and the shadow for programs: `POST /api/plan` and `GET /api/shadow` (docs/plan.md)."""

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Final

import msgspec
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from sekisho.console.errors import PlanRefused
from sekisho.console.interfaces import Ports
from sekisho.identity.interfaces import ConsoleSession

BODY_BYTES_MAX: Final = 16 * 1024 * 1024  # thousands of declarations, of a page each
FILES_MAX: Final = 10_000  # as many as a check reads of one kind
WITHOUT_MAX: Final = 64
_SHOWN_MAX: Final = 100
# No hidden files, and nothing that leads out of the tree.
_FILE: Final = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]{0,99}/){0,4}[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}", re.ASCII)
_NO_STORE: Final = {"cache-control": "no-store"}
_Word = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]{1,256}\Z")]  # a time or a name, as a command takes it


class _Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/plan."""

    declarations: Annotated[dict[str, str], msgspec.Meta(max_length=FILES_MAX)] | None = None
    from_time: _Word | None = msgspec.field(name="from", default=None)
    to_time: _Word | None = msgspec.field(name="to", default=None)
    without: Annotated[tuple[_Word, ...], msgspec.Meta(max_length=WITHOUT_MAX)] = ()

    def words(self) -> tuple[str, ...]:
        """As options of `sekisho plan`."""
        times = {"--from-time": self.from_time, "--to-time": self.to_time}
        given = [f"{name}={value}" for name, value in times.items() if value is not None]
        return (*given, *(f"--without={one}" for one in self.without))


def add_plans(
    app: FastAPI,
    ports: Ports,
    operator: Callable[[Request], ConsoleSession],
    body: Callable[[Request, int], Awaitable[bytes]],
) -> None:
    """`operator` raises NotSignedIn or NotAllowed; `body` raises TooLarge for more bytes than it is given."""
    Operator = Annotated[ConsoleSession, Depends(operator)]

    @app.post("/api/plan")
    async def plan(request: Request, session: Operator) -> Response:
        asked = _read(await body(request, BODY_BYTES_MAX))
        planned = await run_in_threadpool(ports.plan, asked.declarations, asked.words())
        return JSONResponse(planned, 409 if "mistakes" in planned else 200, headers=_NO_STORE)

    @app.get("/api/shadow")
    def shadow(request: Request, session: Operator) -> Response:
        return JSONResponse(ports.shadow(), headers=_NO_STORE)


def _read(data: bytes) -> _Asked:
    try:
        asked = msgspec.json.decode(data, type=_Asked)
        for name in asked.declarations or ():
            if not _FILE.fullmatch(name):
                remedy = "Name it relative to the tree, like models/manual.toml"
                raise PlanRefused(f"{name[:_SHOWN_MAX]!r} can't name a declaration", remedy=remedy)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise PlanRefused(f"the body can't be read: {error}", remedy="See docs/plan.md") from None
    return asked
