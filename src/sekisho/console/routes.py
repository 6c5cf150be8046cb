"""The console's pages and what they ask: sessions, languages, forms. Readers see ids and labels: there is no content.

Nothing changes by GET. Endpoints are plain functions where they only read, so that they run in threads.
"""

import functools
import urllib.parse
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from sekisho.console.compliance_page import PATH, chosen_of, compliance_page, days_of, entries_page
from sekisho.console.errors import (
    ComplianceRefused,
    ConsoleError,
    ExplainRefused,
    NotAllowed,
    NotSignedIn,
    NotThere,
    TooLarge,
    TooMany,
)
from sekisho.console.explain_page import asked_of_form, explain_page
from sekisho.console.facts_page import facts_page
from sekisho.console.interfaces import ExplainAsked, Ports, Served
from sekisho.console.pages import Frame, message_page, requests_page, sign_in_page
from sekisho.console.plans import add_plans
from sekisho.console.request_page import request_page, verify_page
from sekisho.console.requests import DENIED, END, PERMITTED, page, request_view
from sekisho.console.security import Brake
from sekisho.console.words import Words, choose_language
from sekisho.identity.interfaces import AuthenticationError, ConsoleSession, SessionsFull, SignInRefused
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.ids import is_uuid7
from sekisho.policy.interfaces import PolicyTitle

OPERATOR: Final = "operator"
LANGUAGE_COOKIE: Final = "sekisho_language"
LANGUAGE_SECONDS: Final = 365 * 24 * 3600  # a preference, nothing else
FORM_BYTES_MAX: Final = 256 * 1024  # of a form: a long text to explain; tokens are 43 bytes
FORM_FIELDS_MAX: Final = 32  # the largest of ours has seven
BODY_BYTES_MAX: Final = 4 * 1024 * 1024  # of a request to explain
COMPLIANCE_OPTIONS: Final = frozenset({"after", "deployment", "fate", "from", "limit", "policy", "to"})
AT_ONCE_MAX: Final = 200_000  # entries that are counted before days are chosen; some two seconds
ASKING: Final = frozenset({"days", "from", "to"})  # choose days
_NO_STORE: Final = {"cache-control": "no-store"}


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/explain."""

    request: msgspec.Raw
    key_id: str | None = None
    organisation: str | None = None
    roles: tuple[str, ...] = ()
    data_class: str | None = msgspec.field(name="class", default=None)
    residency: str | None = None
    declarations: bool = False
    labels: tuple[str, ...] | None = None
    labels_left: tuple[str, ...] | None = None
    principal: str | None = None
    staleness: dict[str, int] = {}
    at: int | None = None


class _Statement(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /api/prove."""

    statement: str | None = None
    declarations: bool = False
    any_deployment: bool = False


class _Pages:
    """What the endpoints share: who is signed in, the frame of a page, and its answer."""

    def __init__(self, ports: Ports, served: Served) -> None:
        self._ports = ports
        self._served = served

    def signed_in(self, request: Request) -> ConsoleSession:
        """Raises NotSignedIn."""
        session = self._ports.sign_in.session(request.cookies.get(self._served.cookie, ""))
        if session is None:
            raise NotSignedIn("nobody is signed in here", remedy="Sign in with a token: sekisho console token DIR")
        return session

    def operator(self, request: Request) -> ConsoleSession:
        """Raises NotSignedIn or NotAllowed."""
        session = self.signed_in(request)
        if session.role != OPERATOR:
            raise NotAllowed(self.words(request)("auditors_read"))
        return session

    def words(self, request: Request) -> Words:
        asked, kept = request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)
        return Words(choose_language(asked, kept, request.headers.get("accept-language", "")))

    def frame(self, request: Request, role: str = "") -> Frame:
        return Frame(self.words(request), role, request.url.path, tuple(request.query_params.items()))

    def answer(self, request: Request, html: str, status: int = 200) -> Response:
        response = HTMLResponse(html, status, headers=_NO_STORE)
        if "lang" in request.query_params:
            response.set_cookie(
                LANGUAGE_COOKIE, self.words(request).language, max_age=LANGUAGE_SECONDS, httponly=True,
                samesite="lax", secure=self._served.secure,
            )  # fmt: skip
        return response


def add_pages(app: FastAPI, ports: Ports, served: Served) -> None:
    """Add every page and endpoint that asks for a session, and the sign-in."""
    pages = _Pages(ports, served)
    _add_sign_in(app, ports, served, pages)
    _add_reading(app, ports, pages)
    _add_explaining(app, ports, pages)
    _add_compliance(app, ports, pages)
    add_plans(app, ports, pages.operator, _body)

    @app.exception_handler(SekishoError)
    def refused(request: Request, error: Exception) -> Response:
        status = error.status if isinstance(error, ConsoleError) else 503
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": {"message": str(error)}}, status, headers=_NO_STORE)
        if isinstance(error, NotSignedIn):
            return RedirectResponse("/sign-in", 303, headers=_NO_STORE)
        return pages.answer(request, message_page(pages.frame(request), str(error)), status)

    @app.exception_handler(ClientDisconnect)
    def left(request: Request, error: Exception) -> Response:
        return Response(status_code=400)  # to nobody: whoever sent half a body has gone


def _add_sign_in(app: FastAPI, ports: Ports, served: Served, pages: _Pages) -> None:
    brake = Brake(ports.now_us)

    @app.get("/sign-in")
    def sign_in_form(request: Request) -> Response:
        return pages.answer(request, sign_in_page(pages.frame(request), ""))

    @app.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        form = await _form(request)
        frame = pages.frame(request)
        wait_s = brake.wait_s()
        if wait_s:
            problem = frame.words("too_many", seconds=wait_s)
            response = pages.answer(request, sign_in_page(frame, problem), TooMany.status)
            response.headers["retry-after"] = str(wait_s)
            return response
        try:
            session, secret = await run_in_threadpool(ports.sign_in.sign_in, form.get("token", "").strip())
        except SessionsFull:
            return pages.answer(request, sign_in_page(frame, frame.words("sessions_full")), TooMany.status)
        except SignInRefused:
            brake.failed()
            return pages.answer(request, sign_in_page(frame, frame.words("refused")), NotAllowed.status)
        response = RedirectResponse("/", 303, headers=_NO_STORE)
        max_age = max(0, session.expires_at - ports.now_us()) // 1_000_000
        response.set_cookie(
            served.cookie, secret, max_age=max_age, path="/", httponly=True, samesite="strict", secure=served.secure
        )
        return response

    @app.post("/sign-out")
    def sign_out(request: Request) -> Response:
        secret = request.cookies.get(served.cookie)
        if secret is not None:
            ports.sign_in.sign_out(secret)
        response = RedirectResponse("/sign-in", 303, headers=_NO_STORE)
        response.delete_cookie(served.cookie, path="/", httponly=True, samesite="strict", secure=served.secure)
        return response


def _add_reading(app: FastAPI, ports: Ports, pages: _Pages) -> None:
    Session = Annotated[ConsoleSession, Depends(pages.signed_in)]

    @app.get("/")
    def front(request: Request, session: Session) -> Response:
        before, only = request.query_params.get("before", ""), request.query_params.get("decision")
        found = page(ports.log, _number(before, END), only if only in (PERMITTED, DENIED) else None)
        frame = pages.frame(request, session.role)
        return pages.answer(request, requests_page(frame, found, only, ports.status(), ports.panel()))

    @app.get("/requests/{request_id}")
    def one(request: Request, request_id: str, session: Session) -> Response:
        frame = pages.frame(request, session.role)
        view = _require(request_id, frame.words, lambda identifier: request_view(ports.log, identifier))
        titles = _titles(ports, str(view.asked.get("snapshot", "")))
        state = ports.receipts.state(request_id)
        return pages.answer(request, request_page(frame, view, titles, state, ports.site_key()))

    @app.get("/requests/{request_id}/receipt.json")
    def receipt(request: Request, request_id: str, session: Session) -> Response:
        file = _require(request_id, pages.words(request), lambda identifier: ports.receipts.of_any(identifier) or None)
        disposition = f'attachment; filename="receipt-{request_id}.json"'
        return Response(file, media_type="application/json", headers={**_NO_STORE, "content-disposition": disposition})

    @app.get("/facts")
    def facts(request: Request, session: Session) -> Response:
        begin = request.query_params.get("from", "")
        first = int(begin) if begin.isascii() and begin.isdigit() and len(begin) < 9 else 0
        return pages.answer(request, facts_page(pages.frame(request, session.role), ports.facts(), first))

    @app.get("/api/facts")
    def api_facts(session: Session) -> Response:
        return JSONResponse(ports.facts(), headers=_NO_STORE)

    @app.get("/verify")
    def verify(request: Request, session: Session) -> Response:
        return pages.answer(request, verify_page(pages.frame(request, session.role), ports.site_key()))


def _add_explaining(app: FastAPI, ports: Ports, pages: _Pages) -> None:
    Operator = Annotated[ConsoleSession, Depends(pages.operator)]

    @app.get("/explain")
    def form(request: Request, session: Operator) -> Response:
        frame = pages.frame(request, session.role)
        return pages.answer(request, explain_page(frame, ports.organisations(), {}))

    @app.post("/explain")
    async def explained(request: Request, session: Operator) -> Response:
        form = await _form(request)
        frame = pages.frame(request, session.role)
        message = {"content": form.get("text", "").replace("\r\n", "\n"), "role": "user"}
        body = msgspec.json.encode({"messages": [message], "model": form.get("model", "")})
        organisations = await run_in_threadpool(ports.organisations)
        try:
            explanation = await run_in_threadpool(ports.explain, asked_of_form(form, body))
        except ExplainRefused as refused:
            problem = f"{frame.words('refused_before', status=refused.status)}: {refused}"
            return pages.answer(request, explain_page(frame, organisations, form, problem=problem))
        return pages.answer(request, explain_page(frame, organisations, form, explanation))

    @app.post("/api/explain")
    async def api_explain(request: Request, session: Operator) -> Response:
        data = await _body(request, BODY_BYTES_MAX)
        try:
            asked = msgspec.json.decode(data, type=_Request)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ExplainRefused(400, f"the body can't be read: {error}", remedy="See docs/explain.md") from None
        explanation = await run_in_threadpool(
            ports.explain,
            ExplainAsked(
                bytes(asked.request), asked.key_id, asked.organisation, asked.roles, asked.data_class,
                asked.residency, asked.declarations, asked.labels, asked.labels_left, asked.principal,
                tuple(sorted(asked.staleness.items())), asked.at,
            ),
        )  # fmt: skip
        return JSONResponse(explanation, headers=_NO_STORE)

    @app.post("/api/prove")
    async def api_prove(request: Request, session: Operator) -> Response:
        data = await _body(request, FORM_BYTES_MAX)
        try:
            asked = msgspec.json.decode(data, type=_Statement)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ExplainRefused(400, f"the body can't be read: {error}", remedy="See docs/prove.md") from None
        prove = functools.partial(ports.prove, declarations=asked.declarations, anything=asked.any_deployment)
        return JSONResponse(await run_in_threadpool(prove, asked.statement), headers=_NO_STORE)


def _add_compliance(app: FastAPI, ports: Ports, pages: _Pages) -> None:
    @app.get("/api/compliance")
    def compliance(request: Request) -> Response:
        if "authorization" in request.headers:
            try:
                ports.auditors.admit(request.headers["authorization"])
            except AuthenticationError as error:
                raise NotSignedIn(str(error)) from None
        else:
            pages.signed_in(request)
        words = []
        for name, value in request.query_params.multi_items():
            if name not in COMPLIANCE_OPTIONS:
                known = ", ".join(sorted(COMPLIANCE_OPTIONS))
                raise ComplianceRefused(f"{name!r} can't be asked for", remedy=f"There is {known}")
            if not value.isprintable():
                raise ComplianceRefused(f"{name} holds what can't be printed", remedy="See docs/compliance.md")
            words.append(f"--{name}={value}")
        return JSONResponse(ports.compliance(tuple(words)), headers=_NO_STORE)

    @app.get(PATH)
    def compliance_of_days(request: Request) -> Response:
        frame = pages.frame(request, pages.signed_in(request).role)
        query, status = request.query_params, ports.status()
        days, chosen = days_of(query, ports.now_us()), chosen_of(query)
        try:
            if chosen is not None:
                after = f"--after={_number(query.get('after', ''), -1)}"
                listed = ports.compliance((*days.options(), *chosen.options(), after))
                titles = _titles(ports, status.snapshot)
                return pages.answer(request, entries_page(frame, days, chosen, titles, listed))
            asked = not ASKING.isdisjoint(query.keys())
            view = ports.compliance(tuple(days.options())) if asked or status.log_size <= AT_ONCE_MAX else None
        except TooMany:
            return pages.answer(request, message_page(frame, frame.words("compliance_busy")), TooMany.status)
        begin = _number(query.get("row", ""), 0)
        return pages.answer(request, compliance_page(frame, days, view, ports.exemptions(), begin))


def _require(request_id: str, words: Words, find: Callable[[str], Any]) -> Any:
    """What `find` finds. Raises NotThere; what can't be an id is not looked for."""
    found = find(request_id) if is_uuid7(request_id) else None
    if found is None:
        raise NotThere(words("no_such_request"))
    return found


def _titles(ports: Ports, snapshot: str) -> tuple[PolicyTitle, ...]:
    """Of a snapshot that may be gone from this disk: then the entry's own policy ids have to do."""
    try:
        return ports.titles(snapshot)
    except SekishoError:
        return ()


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else otherwise


async def _form(request: Request) -> dict[str, str]:
    """The fields of a form, the last of each name. Raises TooLarge, ConsoleError for more than FORM_FIELDS_MAX."""
    text = (await _body(request, FORM_BYTES_MAX)).decode("utf-8", "replace")
    try:
        return dict(urllib.parse.parse_qsl(text, keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX))
    except ValueError:
        raise ConsoleError(f"a form of more than {FORM_FIELDS_MAX} fields is not read here") from None


async def _body(request: Request, bytes_max: int) -> bytes:
    """Raises TooLarge as soon as it is."""
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > bytes_max:
            raise TooLarge(f"more than {bytes_max >> 10} KiB are not read here")
    return bytes(data)
