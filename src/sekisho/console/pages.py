"""The frame of every page, the sign-in, and the list of requests. Pure: values in, HTML out."""

from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlencode

from sekisho import __version__
from sekisho.console.html import Html, document, join, tag
from sekisho.console.interfaces import FAILED, IN_FORCE, REFUSED, Panel, Status
from sekisho.console.requests import DENIED, PERMITTED, Page, RequestView
from sekisho.console.words import Words, time_text
from sekisho.kernel.clock import RFC3339, utc

MISTAKES_SHOWN_MAX: Final = 5  # `sekisho check` names the rest
_DECLARED: Final = {IN_FORCE: "good", REFUSED: "bad", FAILED: "bad"}


class Frame(NamedTuple):
    """What every page shows around its content: the language, who is signed in ("" nobody), and where we are."""

    words: Words
    role: str
    path: str  # of this page, for the language switch
    query: tuple[tuple[str, str], ...] = ()


def framed(frame: Frame, title: str, *content: object, scripts: Sequence[str] = ("page.js",)) -> Html:
    """A whole page."""
    words = frame.words
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{title} · Sekisho"),
        tag("link", rel="icon", href="/static/icon.svg", type="image/svg+xml"),
        tag("link", rel="stylesheet", href="/static/console.css"),
        [tag("script", type="module", src=f"/static/{name}") for name in scripts],
    )
    header = tag(
        "header",
        tag("a", words("skip"), class_="skip", href="#content"),
        tag("a", "Sekisho ", tag("span", "関所", lang="ja"), class_="brand", href="/"),
        _navigation(frame) if frame.role else None,
        tag("div", _language_switch(frame), _sign_out(frame) if frame.role else None, class_="aside"),
    )
    footer = tag("footer", f"Sekisho {__version__} · ", words("lead"))
    body = tag("body", header, tag("main", tag("h1", title), *content, id="content"), footer)
    return document(words.language, head, body)


def _navigation(frame: Frame) -> Html:
    words = frame.words
    places = [
        ("/", "requests"), ("/compliance", "compliance"), ("/facts", "facts_of_all"), ("/explain", "explain"),
        ("/verify", "verify"),
    ]  # fmt: skip
    here = "/" if frame.path.startswith("/requests/") else frame.path
    links = [
        tag("a", words(key), href=path, aria_current="page" if path == here else None)
        for path, key in places
        if key != "explain" or frame.role == "operator"
    ]
    return tag("nav", *links)


def _language_switch(frame: Frame) -> Html:
    query = urlencode([item for item in frame.query if item[0] != "lang"] + [("lang", frame.words.other)])
    return tag(
        "a", frame.words("other_language"), href=f"{frame.path}?{query}", lang=frame.words.other, class_="language"
    )


def _sign_out(frame: Frame) -> Html:
    button = tag("button", frame.words("sign_out"), type="submit", class_="quiet")
    return tag("form", tag("span", frame.words(frame.role), class_="who"), button, method="post", action="/sign-out")


def sign_in_page(frame: Frame, problem: str) -> Html:
    words = frame.words
    form = tag(
        "form",
        tag("p", problem, class_="problem", role="alert") if problem else None,
        tag("label", words("token"), for_="token"),
        tag(
            "input", id="token", name="token", type="password", required=True, autocomplete="off", spellcheck="false",
            autofocus=True, aria_describedby="token-help",
        ),
        tag("p", words("token_help"), id="token-help", class_="help"),
        tag("button", words("sign_in"), type="submit"),
        method="post", action="/sign-in", class_="card narrow",
    )  # fmt: skip
    return framed(frame, words("sign_in"), form, scripts=("sign-in.js",))


def message_page(frame: Frame, message: str) -> Html:
    """An error, or the absence of something."""
    return framed(frame, "Sekisho", tag("p", message, role="alert"))


def requests_page(frame: Frame, page: Page, only: str | None, status: Status, panel: Panel) -> Html:
    words = frame.words
    return framed(
        frame, words("requests"), panel_section(words, status, panel), _filters(words, only),
        _table(words, page.rows) if page.rows else _nothing(words, only, status), _paging(words, page, only),
    )  # fmt: skip


def panel_section(words: Words, status: Status, panel: Panel) -> Html:
    """The state of the installation."""
    good = {"ready": "good", "not ready": "bad"}
    lag = words("never") if panel.lag_us is None else words("lag_ago", seconds=max(0, panel.lag_us) // 1_000_000)
    declared = words.declarations(status.declarations, status.mistakes)
    facts = [
        (words("gateway"), tag("span", words(panel.gateway), class_=good.get(panel.gateway, "")), status.gateway),
        (words("log"), words("entries", count=f"{status.log_size:,}"), status.origin),
        (words("lag"), lag, ""),
        (words("snapshot"), tag("code", status.snapshot[:16]), ""),
        (words("declarations"), tag("span", declared, class_=_DECLARED.get(status.declarations, "")), ""),
    ]
    if panel.witnesses:
        cosigned = words("cosigned_by", count=panel.cosigning, of=panel.witnesses)
        well = panel.cosigning == panel.witnesses and not panel.alarms
        facts.append((words("witnesses"), tag("span", cosigned, class_="good" if well else "bad"), ""))
    cells = [
        tag("div", tag("dt", name), tag("dd", value, tag("small", note) if note else None))
        for name, value, note in facts
    ]
    contradicted = [words("contradicted", fact=line) for line in panel.contradicted[:MISTAKES_SHOWN_MAX]]
    notes = [*panel.alarms, *contradicted, *panel.reasons, *panel.mistakes[:MISTAKES_SHOWN_MAX]]
    listing = tag("ul", [tag("li", note) for note in notes], class_="notes") if notes else None
    return join(tag("dl", *cells, class_="panel"), listing)


def _filters(words: Words, only: str | None) -> Html:
    choices = [(None, "all"), (PERMITTED, "permitted"), (DENIED, "denied")]
    links = [
        tag("a", words(key), href="/" if value is None else f"/?decision={value}",
            aria_current="true" if value == only else None)
        for value, key in choices
    ]  # fmt: skip
    return tag("nav", *links, class_="filters", aria_label=words("filter"))


def _table(words: Words, rows: Sequence[RequestView]) -> Html:
    columns = ("time", "decision", "organisation", "model", "deployment", "labels", "ended", "tokens")
    heads = [
        tag("th", words(column), scope="col", title=words("tokens_help") if column == "tokens" else None)
        for column in columns
    ]
    lines = [_row(words, row, columns) for row in rows]
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *lines), class_="requests")


def _row(words: Words, row: RequestView, columns: Sequence[str]) -> Html:
    chosen, ending = row.attempts[-1].chosen, row.attempts[-1].ending
    masked = bool(chosen) and chosen is not None and chosen.get("action") == "sendRedacted"
    cells = (
        tag("a", time_element(row.at), href=f"/requests/{row.id}"),
        verdict_badge(words, row.verdict),
        row.organisation,
        str(row.asked.get("model", "")),
        join(row.deployment, tag("small", words("masked")) if masked else None),
        [tag("span", label, class_="label") for label in row.labels],
        join(_ended(words, row), tag("small", ending["status"]) if isinstance(ending.get("status"), int) else None),
        tokens(ending.get("usage")),
    )
    return tag(
        "tr",
        [
            tag("td", tag("div", cell) if cell else None, data_name=words(column), class_=column)
            for column, cell in zip(columns, cells, strict=True)
        ],
    )


def _ended(words: Words, row: RequestView) -> str:
    last = row.attempts[-1]
    if last.chosen is None:
        return ""
    return words("running") if last.outcome is None else words.ended(last.ending.get("ended", ""))


def tokens(usage: object) -> str:
    """Prompt and completion tokens; an estimate is marked by ≈, an upper bound by ≤."""
    if not isinstance(usage, dict):
        return ""
    mark = {"estimated": "≈ ", "upper_bound": "≤ "}.get(str(usage.get("source")), "")
    count = [f"{usage[name]:,}" if isinstance(usage.get(name), int) else "?" for name in ("prompt", "completion")]
    return f"{mark}{count[0]} + {count[1]}"


def verdict_badge(words: Words, verdict: str) -> Html:
    return tag("span", words(verdict), class_=f"badge {verdict}")


def time_element(at_us: int) -> Html:
    """UTC; page.js shows it in the reader's own zone."""
    return tag("time", time_text(at_us), datetime=utc(at_us, RFC3339) or None)


def _nothing(words: Words, only: str | None, status: Status) -> Html:
    if only is not None:
        return tag("p", words("none_such"))
    example = f'client = OpenAI(base_url="{status.gateway}/v1", api_key="sk-…")'
    return join(tag("p", words("no_requests"), " ", words("call_it")), tag("pre", example))


def _paging(words: Words, page: Page, only: str | None) -> Html | None:
    query = [("decision", only)] if only is not None else []
    searched = None
    if page.looked_back_to is not None:
        searched = tag("span", words("searched", time=time_text(page.looked_back_to)))
    if page.before is None:
        return None
    older = f"/?{urlencode([*query, ('before', str(page.before))])}"
    return tag(
        "nav", searched,
        tag("a", words("newest"), href=f"/?{urlencode(query)}" if query else "/"),
        tag("a", words("search_on" if searched else "older"), href=older, rel="next"), class_="paging",
    )  # fmt: skip


def terms(*pairs: tuple[str, object]) -> Html:
    """A list of terms and what they are; without a value, the term is left out."""
    return tag("dl", [join(tag("dt", name), tag("dd", value)) for name, value in pairs if value not in (None, "")],
               class_="terms")  # fmt: skip
