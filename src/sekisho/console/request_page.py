"""One request: the decision in words, its attempts, and its receipt. And receipts of anywhere. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sekisho.console.html import Html, join, tag
from sekisho.console.pages import Frame, framed, terms, time_element, tokens, verdict_badge
from sekisho.console.requests import DENIED, MONITORED, Attempt, RequestView
from sekisho.console.words import Words, listed
from sekisho.policy.interfaces import PolicyTitle

DEPLOYMENTS_SHOWN_MAX: Final = 64  # of one group: as many as a model has


def request_page(
    frame: Frame, request: RequestView, titles: Sequence[PolicyTitle], receipt_state: str, site_key: str
) -> Html:
    """`titles` are those of the request's snapshot, by index; empty where it is not on this disk any more."""
    words, last = frame.words, request.attempts[-1]
    return framed(
        frame, words("request"),
        tag("p", tag("a", words("back"), href="/"), class_="back"),
        tag("p", verdict_badge(words, request.verdict), " ", _in_words(words, request), class_="verdict"),
        tag("h2", words("asked")), _asked(words, request),
        tag("h2", words("why")), [_group(words, item, last.body, titles) for item in _objects(last.body, "candidates")],
        [tag("h2", words("attempts")), [_attempt(words, attempt) for attempt in request.attempts]]
        if request.verdict != DENIED else None,
        tag("h2", words("receipt")), _receipt(words, request.id, receipt_state, site_key),
        scripts=("page.js", "receipt.js"),
    )  # fmt: skip


def verify_page(frame: Frame, site_key: str) -> Html:
    """Any receipt, chosen or dropped, verified by the browser."""
    words = frame.words
    drop = tag(
        "div",
        tag("label", words("file"), for_="receipt-file"),
        tag("input", id="receipt-file", type="file", accept=".json,application/json", class_="receipt-file"),
        tag("p", words("verify_help"), class_="help"),
        class_="card drop",
    )
    return framed(frame, words("verify"), _verifier(words, site_key, drop), scripts=("page.js", "receipt.js"))


def _in_words(words: Words, request: RequestView) -> str:
    chosen = request.attempts[-1].chosen
    if chosen is None:
        return words("denied_words")
    if request.verdict == MONITORED:
        return words("monitored_words", deployment=request.deployment)
    key = "permitted_words" if chosen.get("action") == "sendRaw" else "permitted_masked"
    return words(key, deployment=request.deployment)


def _asked(words: Words, request: RequestView) -> Html:
    asked = request.asked
    named = asked.get("principal")
    principal: dict[str, Any] = named if isinstance(named, dict) else {}
    return terms(
        (words("time"), time_element(request.at)),
        (words("request"), tag("code", request.id)),
        (words("model"), str(asked.get("model", ""))),
        (words("principal"), str(principal.get("id", ""))),
        (words("organisation"), request.organisation),
        (words("roles"), listed(_texts(principal, "roles"), words("none"))),
        (words("class"), str(asked.get("class", ""))),
        (words("residency"), listed(_texts(asked, "residency"), words("nowhere"))),
        (words("labels"), [tag("span", label, class_="label") for label in request.labels] or words("none")),
        (words("snapshot_of"), tag("code", str(asked.get("snapshot", "")))),
    )


def _group(words: Words, group: Mapping[str, Any], body: Mapping[str, Any], titles: Sequence[PolicyTitle]) -> Html:
    """Candidates of one fate."""
    permitted = group.get("permitted") is True
    named = ", ".join(_texts(group, "deployments")[:DEPLOYMENTS_SHOWN_MAX])
    action = group.get("action")
    how = words(action) if action in ("sendRaw", "sendRedacted") else str(action)
    reasons = [_reason(words, index, body, titles) for index in group.get("reasons", ()) if isinstance(index, int)]
    errors = _texts(group, "errors")
    if errors:
        reasons.append(tag("li", words("undecidable"), ": ", "; ".join(errors)))
    if not reasons:
        reasons.append(tag("li", words("default_deny")))
    badge = verdict_badge(words, "permitted" if permitted else "denied")
    return tag("section", tag("h3", badge, " ", named, " ", tag("small", how)), tag("ul", reasons), class_="candidate")


def _reason(words: Words, index: int, body: Mapping[str, Any], titles: Sequence[PolicyTitle]) -> Html:
    if 0 <= index < len(titles):
        policy = titles[index]
        title = policy.title_ja if words.language == "ja" else policy.title
        return tag("li", title, tag("small", tag("code", policy.id), " ", policy.file))
    named = body.get("policies")
    identifier = named.get(str(index)) if isinstance(named, dict) else None
    return tag("li", tag("code", str(identifier or index)))


def _attempt(words: Words, attempt: Attempt) -> Html:
    body, ending = attempt.body, attempt.ending
    chosen = attempt.chosen or {}
    peer = ending.get("peer") if isinstance(ending.get("peer"), dict) else None
    usage = ending.get("usage")
    source = words.source(usage.get("source")) if isinstance(usage, dict) else ""
    ended = words("running") if attempt.outcome is None else words.ended(ending.get("ended", ""))
    return tag(
        "section",
        tag("h3", words("attempt", number=body.get("attempt", "")), " ", tag("small", chosen.get("deployment", ""))),
        terms(
            (words("ended"), ended),
            (words("status"), ending.get("status")),
            (words("error"), ending.get("error")),
            (words("tokens"), join(tokens(usage), " ", tag("small", source)) if usage else None),
            (words("first_byte"), _milliseconds(words, ending, "first_byte")),
            (words("total"), _milliseconds(words, ending, "total")),
            (words("peer"), _peer(words, peer) if peer else None),
            (words("sent"), _bytes(words, body.get("sent"))),
            (words("answer"), _bytes(words, ending.get("answer"))),
        ),
        class_="card",
    )


def _peer(words: Words, peer: Mapping[str, Any]) -> str:
    told = f"{peer.get('address')} : {peer.get('port')}"
    return f"{told} ({words('via_egress_proxy')})" if peer.get("via") == "egress_proxy" else told


def _milliseconds(words: Words, ending: Mapping[str, Any], name: str) -> str | None:
    timings = ending.get("timings_us")
    value = timings.get(name) if isinstance(timings, dict) else None
    return words("ms", count=f"{value / 1000:,.1f}") if isinstance(value, int) else None


def _bytes(words: Words, commitment: object) -> str | None:
    count = commitment.get("bytes") if isinstance(commitment, dict) else None
    return words("bytes", count=f"{count:,}") if isinstance(count, int) else None


def _receipt(words: Words, request_id: str, state: str, site_key: str) -> Html:
    if state == "unlinked":
        return tag("p", words("receipt_unlinked"))
    if state != "complete":
        return tag("p", words("receipt_pending"), " ", tag("a", words("reload"), href=f"/requests/{request_id}"))
    link = f"/requests/{request_id}/receipt.json"
    download = tag("a", words("download"), href=link, download=f"receipt-{request_id}.json", class_="button")
    return join(tag("p", download), _verifier(words, site_key, tag("p", words("verified_here")), link))


def _verifier(words: Words, site_key: str, content: Html, receipt: str | None = None) -> Html:
    """What receipt.js brings to life."""
    return tag(
        "section",
        content,
        tag("noscript", tag("p", words("needs_script"), class_="problem")),
        tag("label", words("site_key"), for_="site-key"),
        tag("input", id="site-key", class_="site-key", value=site_key, spellcheck="false", autocomplete="off",
            aria_describedby="site-key-help"),
        tag("p", words("site_key_help"), id="site-key-help", class_="help"),
        tag("details", tag("summary", words("tlog_policy")),
            tag("textarea", id="policy", class_="policy", rows=8, spellcheck="false", autocomplete="off", wrap="off",
                aria_label=words("tlog_policy"))),
        tag("div", class_="verification", aria_live="polite"),
        class_="verifier", data_receipt=receipt,
    )  # fmt: skip


def _objects(value: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = value.get(key)
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _texts(value: Mapping[str, Any], key: str) -> list[str]:
    items = value.get(key)
    return [str(item) for item in items] if isinstance(items, list) else []
