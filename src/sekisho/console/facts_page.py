"""The facts of all deployments, as policies see them now: value, grade, source, age, end. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from sekisho.catalog.interfaces import UNKNOWN
from sekisho.console.html import Html, join, tag
from sekisho.console.pages import Frame, framed, time_element
from sekisho.console.words import Words

SHOWN_MAX: Final = 100  # deployments on a page


def facts_page(frame: Frame, deployments: Sequence[Mapping[str, Any]], begin: int) -> Html:
    """`deployments` as `Ports.facts` gives them; those that a probe contradicts come first. `begin`: which is shown
    first.
    """
    words = frame.words
    ordered = sorted(deployments, key=lambda one: (not _is_lowered(one), one["name"]))
    shown = ordered[begin : begin + SHOWN_MAX]
    cards = [_card(words, one) for one in shown] or [tag("p", words("no_deployments"))]
    following = None
    if begin + SHOWN_MAX < len(ordered):
        more = f"/facts?{urlencode({'from': begin + SHOWN_MAX})}"
        following = tag("nav", tag("a", words("more"), href=more, rel="next"), class_="paging")
    return framed(frame, words("facts_of_all"), tag("p", words("facts_help"), class_="help"), *cards, following)


def _is_lowered(deployment: Mapping[str, Any]) -> bool:
    return any(fact["lowered"] for fact in deployment["facts"].values())


def _card(words: Words, deployment: Mapping[str, Any]) -> Html:
    about = f"{deployment['model']} · {deployment['provider']}, {deployment['type']}"
    facts = deployment["facts"]
    known = [name for name, fact in facts.items() if fact["value"] != [UNKNOWN] or fact["lowered"]]
    lines = [tag("li", _fact(words, name, facts[name])) for name in known]
    others = [tag("code", name) for name in facts if name not in known]
    if others:
        lines.append(tag("li", words("not_known"), ":", *(join(" ", name) for name in others)))
    return tag(
        "section", tag("h3", deployment["name"], " ", tag("small", about)), tag("ul", lines), class_="card candidate"
    )


def _fact(words: Words, name: str, fact: Mapping[str, Any]) -> Html:
    notes: list[object] = [fact["grade"]]
    if fact["source"]:
        notes += [", ", fact["source"]]
    for key, at in (("observed_at", fact["observed_at"]), ("ends_at", fact["expires"])):
        if at is not None:
            notes += [", ", words(key), " ", time_element(at)]
    badge = tag("span", words("contradicted_fact"), class_="badge denied") if fact["lowered"] else None
    return join(tag("code", name), " = ", ", ".join(fact["value"]), " ", badge, tag("small", *notes))
