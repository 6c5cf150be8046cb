"""The compliance page: which days are counted, what is shown first, and where each number leads."""

import datetime
import html
import re
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from console_fakes import HOST, ORIGIN, SERVED, World

from sekisho.console.compliance_page import EXEMPTIONS_MAX, ROWS_MAX, Days, chosen_of, days_of
from sekisho.console.errors import TooMany
from sekisho.console.routes import AT_ONCE_MAX
from sekisho.console.server import control_app

NOON_US = int(datetime.datetime(2026, 11, 25, 20, tzinfo=datetime.UTC).timestamp()) * 1_000_000  # 05:00 in Tokyo
REQUEST = "01a21113-e2b0-72ac-a15a-ba5ff5ee0d73"


def row(policy, deployment, *counts, **changes):
    fates = dict(zip(("permitted", "denied", "exempt", "unknown"), counts, strict=True))
    titles = {"title": f"Title of <{policy}>", "title_ja": f"題名<{policy}>"}
    told = {"deployment": deployment, "effect": "forbid", "in_force": True, "policy": policy}
    return fates | titles | told | changes


VIEW = {
    "decisions": 1_234, "sent": 1_000, "denied": 234, "exempt": 5, "monitored": 6, "latest": NOON_US, "log_size": 4_321,
    "left_out": 0, "snapshots_missing": 0,
    "rows": [
        row("(default)", "seoul", 0, 2, 0, 0, effect=None, in_force=False, title="No policy permits it"),
        row("a.permit", "tokyo", 9, 0, 0, 0, effect="permit"),
        row("b.past", "tokyo", 1, 7, 0, 0, in_force=False),
        row("c.forbid", "seoul", 1_000, 2, 3, 4),
        row("c.forbid", "tokyo", 8, 0, 0, 0),
    ],
}  # fmt: skip
EXEMPTION = {
    "name": "trial", "organisation": "research", "policies": ["c.forbid"], "classes": ["internal"], "roles": [],
    "labels": ["jp.phone"], "deployments": ["seoul"], "models": [], "why": "<why>", "compensating_control": "Read it",
    "until": NOON_US, "state": "in force", "ends_soon": False,
}  # fmt: skip


@pytest.fixture
def world():
    world = World(log=None)
    world.view, world.exemptions = VIEW, []

    def compliance(words):
        world.asked.append(words)
        if isinstance(world.view, Exception):
            raise world.view
        return world.view

    world.ports = world.ports._replace(compliance=compliance, exemptions=lambda: world.exemptions)
    return world


@pytest.fixture
async def client(tmp_path, world):
    transport = httpx.ASGITransport(control_app(tmp_path, world.ports, SERVED), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{HOST}", trust_env=False) as opened:
        await opened.post("/sign-in", data={"token": "auditor-token"}, headers={"origin": ORIGIN})
        world.now_us = NOON_US
        yield opened


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ("2026-11-19", "2026-11-25", "+00:00")),
        ({"days": "1", "zone": "+09:00"}, ("2026-11-26", "2026-11-26", "+09:00")),
        ({"days": "1", "zone": "-05:00"}, ("2026-11-25", "2026-11-25", "-05:00")),
        ({"days": "30", "from": "2026-01-01"}, ("2026-10-27", "2026-11-25", "+00:00")),
        ({"days": "31"}, ("2026-11-19", "2026-11-25", "+00:00")),
        ({"days": "all", "from": "2026-01-01"}, (None, None, "+00:00")),
        ({"from": "2026-11-01", "to": "2026-11-30", "zone": "+09:00"}, ("2026-11-01", "2026-11-30", "+09:00")),
        ({"from": "2026-11-01", "to": ""}, ("2026-11-01", None, "+00:00")),
        ({"from": "2026-13-01", "to": "x"}, ("2026-11-19", "2026-11-25", "+00:00")),
        ({"to": "9999-12-31"}, ("2026-11-19", "2026-11-25", "+00:00")),
        ({"zone": "+99:99"}, ("2026-11-19", "2026-11-25", "+00:00")),
    ],
)
def test_days_are_those_of_the_readers_zone(query, expected):
    first, last, zone = expected
    days = [None if day is None else datetime.date.fromisoformat(day) for day in (first, last)]
    found = days_of(query, NOON_US)
    assert found == Days(*days, zone)
    assert days_of(dict(found.query()), NOON_US) == found


def test_the_last_day_is_counted_whole():
    days = Days(datetime.date(2026, 11, 1), datetime.date(2026, 11, 30), "+09:00")
    assert days.options() == ["--from=2026-11-01T00:00+09:00", "--to=2026-12-01T00:00+09:00"]
    assert Days(None, None).options() == []


@pytest.mark.parametrize("odd", [{"fate": "denid"}, {"policy": ""}, {"policy": "a\0b"}, {"deployment": None}])
def test_what_names_no_number_is_not_listed(odd):
    named = {"policy": "p", "deployment": "d", "fate": "denied"}
    assert chosen_of(named) == ("p", "d", "denied")
    assert chosen_of({key: text for key, text in {**named, **odd}.items() if text is not None}) is None


async def test_it_is_for_who_is_signed_in(client, world):
    await client.post("/sign-out", headers={"origin": ORIGIN})
    for query in ("", "?days=7", "?policy=p&deployment=d&fate=denied"):
        answer = await client.get(f"/compliance{query}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert world.asked == []


async def test_each_number_leads_to_its_decisions_of_the_same_days(client, world):
    page = (await client.get("/compliance?from=2026-11-01&to=2026-11-30&zone=%2B09:00&lang=en")).text
    assert world.asked == [("--from=2026-11-01T00:00+09:00", "--to=2026-12-01T00:00+09:00")]
    links = [html.unescape(link) for link in re.findall(r'<td[^>]*class="count"><div><a href="([^"]+)"', page)]
    assert len(links) == 9  # as many as there are numbers beside 0
    asked = parse_qs(urlsplit(links[0]).query)
    assert asked == {
        "from": ["2026-11-01"], "to": ["2026-11-30"], "zone": ["+09:00"],
        "policy": ["b.past"], "deployment": ["tokyo"], "fate": ["permitted"],
    }  # fmt: skip
    world.view = {
        "entries": [
            {"leaf": 7, "id": "e-1", "request": REQUEST, "at": NOON_US, "organisation": "<org>"},
            {"leaf": 9, "id": "e-2", "request": None, "at": NOON_US, "organisation": "o"},
        ],
        "next": 9,
    }
    listed = (await client.get(links[0])).text
    assert world.asked[1][2:] == ("--policy=b.past", "--deployment=tokyo", "--fate=permitted", "--after=-1")
    assert f'href="/requests/{REQUEST}"' in listed
    assert "&lt;org&gt;" in listed
    assert "e-2" in listed
    following = html.unescape(re.search(r'href="([^"]+)" rel="next"', listed)[1])
    await client.get(following)
    assert world.asked[2] == (*world.asked[1][:-1], "--after=9")
    back = html.unescape(re.search(r'class="back"><a href="([^"]+)"', listed)[1])
    await client.get(back)
    assert world.asked[3] == world.asked[0]


async def test_what_did_more_than_permit_comes_first_in_either_language(client, world):
    english = (await client.get("/compliance?days=all&lang=en")).text
    shown = re.findall(r"<small><code>([^<]+)</code>", english)
    assert shown == ["b.past", "c.forbid", "c.forbid", "(default)", "a.permit"]
    assert english.count('<tr class="first">') == 4
    assert "Title of &lt;c.forbid&gt;" in english
    assert "not in force any more" in english
    assert "5 exempt, 6 by monitor mode" in english
    japanese = (await client.get("/compliance?days=all&lang=ja")).text
    assert "題名&lt;c.forbid&gt;" in japanese
    assert "現在は適用されていません" in japanese
    assert 'href="/compliance" aria-current="page"' in japanese


async def test_exemptions_are_shown_with_their_ends(client, world):
    assert "There are none" in (await client.get("/compliance?lang=en")).text
    world.exemptions = [EXEMPTION, EXEMPTION | {"name": "near", "ends_soon": True},
                        EXEMPTION | {"name": "over", "state": "ended"}]  # fmt: skip
    page = (await client.get("/compliance?lang=en")).text
    assert "&lt;why&gt;" in page
    for name, words in (("trial", ""), ("near", "ends soon"), ("over", "ended")):
        (line,) = [part for part in page.split("<tr>") if f"<strong>{name}</strong>" in part]
        assert (">ends soon<" in line, ">ended<" in line) == (words == "ends soon", words == "ended")
        assert '<time datetime="2026-11-25T20:00:00Z">' in line
    world.exemptions = [EXEMPTION] * (EXEMPTIONS_MAX + 2)
    assert "2 more: sekisho exemptions list" in (await client.get("/compliance?lang=en")).text


async def test_a_large_log_is_read_when_days_are_chosen(client, world):
    world.status = world.status._replace(log_size=AT_ONCE_MAX + 1)
    world.exemptions = [EXEMPTION]
    page = (await client.get("/compliance?lang=en")).text
    assert "Choose the days" in page
    assert "trial" in page
    assert world.asked == []
    assert "c.forbid" in (await client.get("/compliance?days=7")).text


async def test_what_is_not_counted_is_told_and_many_rows_are_on_several_pages(client, world):
    rows = [row("p", f"d-{number:04}", 1, 0, 0, 0) for number in range(ROWS_MAX + 1)]
    world.view = VIEW | {"rows": rows, "left_out": 1_234, "snapshots_missing": 2}
    page = (await client.get("/compliance?days=7&lang=en")).text
    assert "1,234 verdicts found no row" in page
    assert "2 snapshots are not here" in page
    assert f"d-{ROWS_MAX:04}" not in page
    following = html.unescape(re.search(r'href="([^"]+)" rel="next"', page)[1])
    last = (await client.get(following)).text
    assert f"d-{ROWS_MAX:04}" in last
    assert "d-0000" not in last
    assert "None found" in (await client.get("/compliance?days=7&row=99999&lang=en")).text


async def test_another_that_is_being_made_is_told_in_the_readers_language(client, world):
    world.view = TooMany("another is being made")
    answer = await client.get("/compliance?lang=ja")
    assert answer.status_code == 429
    assert "作成中" in answer.text
