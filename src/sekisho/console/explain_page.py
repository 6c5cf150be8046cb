"""Asking what would happen to a request, and the answer in words. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from sekisho.console.html import Html, join, tag
from sekisho.console.interfaces import ExplainAsked
from sekisho.console.pages import Frame, framed, terms, verdict_badge
from sekisho.console.requests import MONITORED
from sekisho.console.words import Words, listed, time_text


def explain_page(
    frame: Frame,
    organisations: Sequence[str],
    form: Mapping[str, str],
    explanation: Mapping[str, Any] | None = None,
    problem: str = "",
) -> Html:
    """`form` holds what was typed; the explanation, or the problem, stands below it."""
    words = frame.words
    return framed(
        frame, words("explain"), tag("p", words("explain_help")), _form(words, organisations, form),
        tag("p", problem, class_="problem", role="alert") if problem else None,
        _explanation(words, explanation) if explanation is not None else None,
    )  # fmt: skip


def asked_of_form(form: Mapping[str, str], body: bytes) -> ExplainAsked:
    """Fields left empty are not there."""
    return ExplainAsked(
        body,
        form.get("key_id") or None,
        form.get("organisation") or None,
        tuple(form["role"].split()) if form.get("role") else (),
        form.get("class") or None,
        form.get("residency") or None,
    )


def _form(words: Words, organisations: Sequence[str], form: Mapping[str, str]) -> Html:
    chosen = form.get("organisation", "")
    options = [tag("option", words("by_default"), value="")] if len(organisations) == 1 else []
    options += [tag("option", name, value=name, selected=name == chosen) for name in organisations]

    def field(name: str, label: str, placeholder: str = "", *, required: bool = False) -> Html:
        box = tag("input", id=name, name=name, value=form.get(name, ""), placeholder=placeholder or None,
                  required=required, autocomplete="off", spellcheck="false")  # fmt: skip
        return tag("div", tag("label", label, for_=name), box)

    text = tag("textarea", "\n", form.get("text", ""), id="text", name="text", rows="5", required=True)
    return tag(
        "form",
        tag("div", tag("label", words("text"), for_="text"), text, class_="wide"),
        field("model", words("model"), required=True),
        tag("div", tag("label", words("organisation"), for_="organisation"),
            tag("select", *options, id="organisation", name="organisation")),
        field("role", words("role"), "caller"),
        field("class", words("class"), words("by_default")),
        field("residency", words("residency"), words("by_default")),
        tag("div", tag("button", words("ask"), type="submit"), class_="wide"),
        method="post", action="/explain", class_="card form",
    )  # fmt: skip


def _explanation(words: Words, explanation: Mapping[str, Any]) -> Html:
    outcome = explanation["outcome"]
    if outcome["deployments"]:
        key = "would_send" if len(outcome["deployments"]) == 1 else "would_send_one_of"
        said = words(key, how=words(outcome["action"]), where=", ".join(outcome["deployments"]))
        if outcome["monitored"]:
            said = f"{said} {words('let_pass')}"
    elif outcome["stopped"]:
        said = words("would_stop", where=", ".join(outcome["stopped"]))
    else:
        said = words("would_deny")
    verdict = MONITORED if outcome["monitored"] else "permitted" if outcome["permitted"] else "denied"
    badge = verdict_badge(words, verdict)
    return join(
        tag("p", badge, " ", said, class_="verdict"),
        [
            tag("p", words("kept", where=kept["deployment"], days=kept["days"], policies=", ".join(kept["policies"])))
            for kept in outcome["retain"]
        ],
        [_rewrite(words, done) for done in outcome["rewrite"]],
        terms(
            (words("class"), _with_sources(words, explanation["class"]["value"], explanation["class"])),
            (
                words("residency"),
                _with_sources(
                    words, listed(explanation["residency"]["value"], words("nowhere")), explanation["residency"]
                ),
            ),
            (words("labels"), [tag("span", x, class_="label") for x in explanation["labels"]["raw"]] or words("none")),
            (words("found"), _found(explanation["labels"]["found"])),
            (words("snapshot_of"), tag("code", explanation["snapshot"])),
        ),
        [_deployment(words, deployment) for deployment in explanation["deployments"]]
        or [tag("p", sentence) for sentence in explanation["words"][words.language]],
    )


def _rewrite(words: Words, done: Mapping[str, Any]) -> Html:
    said = [words(name, labels=", ".join(done[name])) for name in ("mask", "restore") if done[name]]
    return tag("p", f"{done['deployment']}: {'; '.join(said)} ({', '.join(done['policies']) or words('undecidable')})")


def _with_sources(words: Words, value: str, stated: Mapping[str, Any]) -> Html:
    said = []
    for item in stated["from"]:
        what = item["value"] if isinstance(item["value"], str) else ", ".join(item["value"])
        said.append(f"{words(item['by'])}: {what}")
    return join(value, tag("small", "; ".join(said)))


def _found(found: Sequence[Mapping[str, Any]]) -> Html | None:
    if not found:
        return None
    items = []
    for item in found:
        label, path = tag("span", item["label"], class_="label"), tag("code", item["path"])
        items.append(tag("li", label, " ", path, tag("small", item["excerpt"])))
    return tag("ul", items, class_="found")


def _deployment(words: Words, deployment: Mapping[str, Any]) -> Html:
    facts = [
        tag("li", tag("code", fact["name"]), " = ", ", ".join(fact["value"]), tag("small", _evidence(words, fact)))
        for fact in deployment["facts"]
    ]
    return tag(
        "section",
        tag("h3", deployment["name"], " ", tag("small", f"{deployment['provider']}, {deployment['type']}")),
        [_verdict(words, words(form), deployment[form]) for form in ("raw", "redacted") if deployment[form]],
        [tag("h4", words("facts")), tag("ul", facts)] if facts else None,
        class_="card candidate",
    )


def _verdict(words: Words, form: str, verdict: Mapping[str, Any]) -> Html:
    reasons = [_policy(words, policy) for policy in verdict["policies"]]
    if verdict["exempted"]:
        exempted = words("exempted", names=", ".join(verdict["exemptions"]))
        reasons.append(tag("li", exempted, tag("ul", [_policy(words, policy) for policy in verdict["exempted"]])))
    reasons += [tag("li", words("undecidable"), ": ", error) for error in verdict["errors"]]
    badge = verdict_badge(words, "permitted" if verdict["permitted"] else "denied")
    return join(tag("h4", form, " ", badge), tag("ul", reasons or [tag("li", words("default_deny"))]))


def _policy(words: Words, policy: Mapping[str, Any]) -> Html:
    title = policy["title_ja"] if words.language == "ja" else policy["title"]
    return tag("li", title, tag("small", tag("code", policy["id"]), " ", policy["file"]))


def _evidence(words: Words, fact: Mapping[str, Any]) -> str:
    notes = [note for note in (fact["grade"], fact["source"]) if note]
    if fact["observed_at"] is not None:
        notes.append(words("observed", time=time_text(fact["observed_at"])))
    if fact["expires"] is not None:
        notes.append(words("until", time=time_text(fact["expires"])))
    return ", ".join(notes)
