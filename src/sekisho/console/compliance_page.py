"""What policies did to the traffic of some days, the exemptions in force, and the decisions behind each number. Pure.

Days are those of the reader's zone, which the form tells (`page.js` puts it in); without a script they are UTC's.
"""

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from sekisho.console.html import Html, join, tag
from sekisho.console.pages import Frame, framed, time_element
from sekisho.console.words import JAPANESE, Words
from sekisho.policy.interfaces import PolicyTitle

PATH: Final = "/compliance"
DAYS: Final = 7  # unless others are asked for
CHOICES: Final = (1, 7, 30)  # days to choose at once, today the last of them
ROWS_MAX: Final = 200  # of the table, on a page
EXEMPTIONS_MAX: Final = 100  # `sekisho exemptions list` shows all
FATES: Final = ("permitted", "denied", "exempt", "unknown")
UTC: Final = "+00:00"
_ZONE: Final = re.compile(r"[+-](?:0[0-9]|1[0-4]):[0-5][0-9]", re.ASCII)
_COLORS: Final = {"denied": "bad", "exempt": "fair", "unknown": "fair"}


class Days(NamedTuple):
    """From the first day to the last, both included; None: no bound. `zone` is an offset from UTC."""

    first: datetime.date | None
    last: datetime.date | None
    zone: str = UTC

    def options(self) -> list[str]:
        """Of `sekisho compliance`, whose `--to` is exclusive."""
        found = [] if self.first is None else [f"--from={self.first.isoformat()}T00:00{self.zone}"]
        if self.last is not None:
            following = self.last + datetime.timedelta(1)
            found.append(f"--to={following.isoformat()}T00:00{self.zone}")
        return found

    def query(self) -> list[tuple[str, str]]:
        """So that a link asks for the same."""
        if self.first is None and self.last is None:
            return [("days", "all"), ("zone", self.zone)]
        named = [("from", self.first), ("to", self.last)]
        return [*((key, day.isoformat()) for key, day in named if day is not None), ("zone", self.zone)]


class Chosen(NamedTuple):
    """One number of the view, whose decisions are listed."""

    policy: str
    deployment: str
    fate: str

    def options(self) -> list[str]:
        return [f"--{name}={text}" for name, text in self._asdict().items()]


def days_of(query: Mapping[str, str], now_us: int) -> Days:
    """What a query asks for; what can't be read is as if it were not there."""
    zone = query.get("zone", UTC)
    zone = zone if _ZONE.fullmatch(zone) else UTC
    if query.get("days") == "all":
        return Days(None, None, zone)
    first, last = _day(query.get("from", "")), _day(query.get("to", ""))
    if query.get("days", "").isdecimal() or (first is None and last is None):
        today = (datetime.datetime.fromtimestamp(now_us // 1_000_000, datetime.UTC) + _offset(zone)).date()
        days = next((count for count in CHOICES if str(count) == query.get("days")), DAYS)
        return Days(today - datetime.timedelta(days - 1), today, zone)
    return Days(first, last, zone)


def chosen_of(query: Mapping[str, str]) -> Chosen | None:
    """The number that a query names; None unless it names one."""
    named = Chosen(*(query.get(name, "") for name in Chosen._fields))
    return named if all(text and text.isprintable() for text in named) and named.fate in FATES else None


def compliance_page(
    frame: Frame,
    days: Days,
    view: Mapping[str, Any] | None,
    exemptions: Sequence[Mapping[str, Any]],
    begin: int = 0,
) -> Html:
    """`view` as docs/compliance.md tells; None: not asked for yet. `begin`: which row is shown first."""
    words = frame.words
    of_days: list[object] = [tag("p", words("compliance_ask"), class_="help")]
    table: list[object] = []
    if view is not None:
        of_days = [_summary(words, view, days)]
        table = [tag("h2", words("by_policy")), tag("p", words("fates_help"), class_="help")]
        table += _table(words, view, days, begin)
    return framed(
        frame, words("compliance"),
        tag("p", words("compliance_help"), class_="help"), _form(words, days), *of_days,
        tag("h2", words("exemptions")), _exemptions(words, exemptions), *table,
    )  # fmt: skip


def entries_page(
    frame: Frame, days: Days, chosen: Chosen, titles: Sequence[PolicyTitle], view: Mapping[str, Any]
) -> Html:
    """The decisions behind one number, a page of them. `titles`: of the policies in force."""
    words = frame.words
    known = next((one for one in titles if one.id == chosen.policy), None)
    title = "" if known is None else known.title_ja if words.language == JAPANESE else known.title
    back = tag("a", words("compliance_back"), href=f"{PATH}?{urlencode(days.query())}")
    badge = tag("span", words(f"fate_{chosen.fate}"), class_=f"badge {chosen.fate}")
    about = tag("p", badge, " ", title, " ", tag("code", chosen.policy), " → ", chosen.deployment, class_="verdict")
    rows = [
        tag(
            "tr",
            _cell(words, "time", tag("a", time_element(one["at"]), href=f"/requests/{one['request']}")
                  if one["request"] else time_element(one["at"])),
            _cell(words, "organisation", one["organisation"]),
            _cell(words, "request", tag("code", one["request"] or one["id"])),
        )
        for one in view["entries"]
    ]  # fmt: skip
    table = _grid(words, ("time", "organisation", "request"), rows) if rows else tag("p", words("none_such"))
    following = None
    if view["next"] is not None:
        query = [*days.query(), *chosen._asdict().items(), ("after", str(view["next"]))]
        following = tag("nav", tag("a", words("more"), href=f"{PATH}?{urlencode(query)}", rel="next"), class_="paging")
    span = tag("p", _span(words, days), class_="help")
    return framed(frame, words("compliance"), tag("p", back, class_="back"), about, span, table, following)


def _form(words: Words, days: Days) -> Html:
    fields = [
        tag(
            "div",
            tag("label", words(f"day_{key}"), for_=f"day-{key}"),
            tag("input", id=f"day-{key}", name=key, type="date", value=None if day is None else day.isoformat()),
        )
        for key, day in (("from", days.first), ("to", days.last))
    ]
    quick = [
        tag("button", words("today") if count == 1 else words("days", count=count), name="days", value=count,
            class_="quiet")
        for count in CHOICES
    ]  # fmt: skip
    return tag(
        "form", *fields,
        tag("div", tag("button", words("show")), class_="submit"),
        tag("div", *quick, tag("button", words("all_days"), name="days", value="all", class_="quiet"), class_="quick"),
        tag("input", type="hidden", name="zone", value=days.zone, class_="zone"),
        method="get", action=PATH, class_="card range",
    )  # fmt: skip


def _summary(words: Words, view: Mapping[str, Any], days: Days) -> Html:
    latest = words("never") if view["latest"] is None else time_element(view["latest"])
    shown = [
        (words("requests"), f"{view['decisions']:,}", _span(words, days)),
        (words("sent_requests"), f"{view['sent']:,}",
         words("sent_how", exempt=f"{view['exempt']:,}", monitored=f"{view['monitored']:,}")),
        (words("fate_denied"), f"{view['denied']:,}", ""),
        (words("counted_to"), latest, words("entries", count=f"{view['log_size']:,}")),
    ]  # fmt: skip
    cells = [
        tag("div", tag("dt", name), tag("dd", value, tag("small", note) if note else None))
        for name, value, note in shown
    ]
    notes = [words(key, count=f"{view[key]:,}") for key in ("snapshots_missing", "left_out") if view[key]]
    listing = tag("ul", [tag("li", note) for note in notes], class_="notes") if notes else None
    return join(tag("dl", *cells, class_="panel"), listing)


def _exemptions(words: Words, exemptions: Sequence[Mapping[str, Any]]) -> Html:
    if not exemptions:
        return tag("p", words("no_exemptions"))
    rows = [
        tag(
            "tr",
            _cell(words, "exemption", join(tag("strong", one["name"]), tag("p", one["why"]),
                                           tag("small", words("control"), ": ", one["compensating_control"]))),
            _cell(words, "excuses", [tag("div", tag("code", policy)) for policy in one["policies"]]),
            _cell(words, "for_whom", _listing(words, one, ("organisation", "roles", "classes", "labels"))),
            _cell(words, "where_to", _listing(words, one, ("deployments", "models"))),
            _cell(words, "ends", _end(words, one)),
        )
        for one in exemptions[:EXEMPTIONS_MAX]
    ]  # fmt: skip
    more = len(exemptions) - EXEMPTIONS_MAX
    note = tag("p", words("more_exemptions", count=more), class_="help") if more > 0 else None
    return join(_grid(words, ("exemption", "excuses", "for_whom", "where_to", "ends"), rows), note)


def _end(words: Words, one: Mapping[str, Any]) -> Html:
    badge = None
    if one["state"] == "ended":
        badge = tag("span", words("exemption_ended"), class_="badge denied")
    elif one["ends_soon"]:
        badge = tag("span", words("exemption_ends_soon"), class_="badge exempt")
    return join(time_element(one["until"]), badge and tag("div", badge))


def _listing(words: Words, one: Mapping[str, Any], keys: Sequence[str]) -> list[Html]:
    """What is named, each with its name; what is not named is left out."""
    named = [(key, [one[key]] if isinstance(one[key], str) else one[key]) for key in keys]
    return [tag("div", tag("small", words(key)), " ", ", ".join(items)) for key, items in named if items]


def _table(words: Words, view: Mapping[str, Any], days: Days, begin: int) -> list[Html]:
    """Policies that did more than permit come first. A policy's name is shown once, where there is room for a table."""
    did = {row["policy"] for row in view["rows"] if any(row[fate] for fate in FATES[1:])}
    ordered = sorted(
        view["rows"],
        key=lambda row: (row["policy"] not in did, row["effect"] is None, row["policy"], row["deployment"]),
    )
    shown = ordered[begin : begin + ROWS_MAX]
    if not shown:
        return [tag("p", words("none_such"))]
    before = [None, *(row["policy"] for row in shown)]
    rows = [
        tag(
            "tr",
            _cell(words, "policy", _policy(words, row)),
            _cell(words, "deployment", row["deployment"]),
            [_cell(words, f"fate_{fate}", _count(row, fate, days), "count") for fate in FATES],
            class_=None if row["policy"] == previous else "first",
        )
        for row, previous in zip(shown, before, strict=False)
    ]
    table = _grid(words, ("policy", "deployment", *(f"fate_{fate}" for fate in FATES)), rows)
    if begin + ROWS_MAX >= len(ordered):
        return [table]
    query = [*days.query(), ("row", str(begin + ROWS_MAX))]
    return [table, tag("nav", tag("a", words("more"), href=f"{PATH}?{urlencode(query)}", rel="next"), class_="paging")]


def _policy(words: Words, row: Mapping[str, Any]) -> Html:
    title = row["title_ja"] if words.language == JAPANESE else row["title"]
    past = row["effect"] is not None and not row["in_force"]
    kind = words("past_policy") if past else "" if row["effect"] is None else words(f"effect_{row['effect']}")
    return join(title or tag("code", row["policy"]), tag("small", tag("code", row["policy"]), " ", kind))


def _count(row: Mapping[str, Any], fate: str, days: Days) -> Html:
    count = row[fate]
    if not count:
        return tag("span", "0", class_="zero")
    query = [*days.query(), *Chosen(row["policy"], row["deployment"], fate)._asdict().items()]
    return tag("a", f"{count:,}", href=f"{PATH}?{urlencode(query)}", class_=_COLORS.get(fate))


def _span(words: Words, days: Days) -> str:
    if days.first is None and days.last is None:
        return words("whole_log")
    first, last = (day.isoformat() if day else "" for day in days[:2])
    return words("span", first=first, last=last, zone=days.zone)


def _grid(words: Words, columns: Sequence[str], rows: Sequence[Html]) -> Html:
    heads = [tag("th", words(key), scope="col", class_="count" if key.startswith("fate_") else None) for key in columns]
    return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows), class_="requests compliance")


def _cell(words: Words, key: str, content: object, name: str | None = None) -> Html:
    return tag("td", tag("div", content) if content else None, data_name=words(key), class_=name or key)


def _day(text: str) -> datetime.date | None:
    try:
        day = datetime.date.fromisoformat(text) if len(text) == len("2026-11-01") else None
    except ValueError:
        return None
    return day if day is not None and 1970 <= day.year < datetime.MAXYEAR else None  # others are in no log


def _offset(zone: str) -> datetime.timedelta:
    hours, minutes = int(zone[1:3]), int(zone[4:])
    return datetime.timedelta(hours=hours, minutes=minutes) * (-1 if zone[0] == "-" else 1)
