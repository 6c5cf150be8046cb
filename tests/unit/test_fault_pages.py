"""docs/faults.md and its Japanese twin: every code there is, with the status that the gateway answers with."""

import re
from pathlib import Path

import pytest

import sekisho.gateway.halts  # noqa: F401 - so that every GatewayError is known
from sekisho.gateway import errors
from sekisho.gateway.entries import Ended
from sekisho.gateway.errors import CODES, GatewayError, TransportRefused, UpstreamAnswered
from sekisho.gateway.metrics import METRICS
from sekisho.identity.errors import AuthenticationError

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("faults.md", "faults.ja.md")}
EVENT = {"faults.md": "error event", "faults.ja.md": "エラーイベント"}
SOURCES = [*(ROOT / "src/sekisho/gateway").glob("**/*.py"), ROOT / "src/sekisho/identity/errors.py"]
CODE = re.compile(r'\bcode(?:: Final)? ?= ?"([a-z_]+)"')
TRANSPORT_STATUSES = (400, 408, 413, 415, 417, 431, 503)


def rows(page: str) -> list[list[str]]:
    """The cells of each row that begins with a code."""
    lines = re.findall(r"^\| (`[a-zA-Z_]+` \|.*) \|$", PAGES[page], re.MULTILINE)
    return [[cell.strip() for cell in line.split(" | ")] for line in lines]


def of(page: str) -> dict[str, list[str]]:
    return {row[0].strip("`").replace("NNN", ""): row[1:] for row in rows(page)}


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(one) for one in kind.__subclasses__()))


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_hold_every_code_once(page):
    codes = [row[0].strip("`").replace("NNN", "") for row in rows(page)]
    assert len(codes) == len(set(codes))
    assert set(codes) == set(CODES)


def test_every_code_in_the_sources_is_known():
    found = {code for path in SOURCES for code in CODE.findall(path.read_text(encoding="utf-8"))}
    found |= {code for _, code, _ in errors._UPSTREAM_KINDS} | {f"upstream_{phase}" for phase in errors._BROKE}
    found |= {code for code, _ in errors._TRANSPORT.values()}
    abstract = {"unavailable", "invalid_token"}  # of families whose members all have codes of their own
    assert found - abstract == set(CODES) - {"upstream_status_", "upstream_error_event"}
    assert UpstreamAnswered(401).code.startswith("upstream_status_")


@pytest.mark.parametrize("page", PAGES)
def test_the_statuses_are_those_of_the_answers(page):
    told = of(page)
    known = {
        kind.code: kind.status
        for kind in subclasses(GatewayError)
        if isinstance(kind.__dict__.get("code"), str) and kind.code in CODES
    }
    known |= {kind.code: 401 for kind in subclasses(AuthenticationError) if kind.code in CODES}
    known |= {TransportRefused(status, "").code: status for status in TRANSPORT_STATUSES}
    known |= dict.fromkeys((code for code in CODES if code.startswith("upstream_") and code != "upstream_timeout"), 502)
    assert len(known) > 40
    for code, status in known.items():
        assert told[code][1].startswith(str(status)), code


def test_both_languages_tell_the_same():
    english, japanese = of("faults.md"), of("faults.ja.md")
    assert list(english) == list(japanese)
    for code, cells in english.items():
        there = japanese[code]
        assert re.findall(r"\d{3}", cells[1]) == re.findall(r"\d{3}", there[1]), code
        assert (EVENT["faults.md"] in cells[1]) == (EVENT["faults.ja.md"] in there[1]), code
        assert re.findall(r"`([a-z_0-9]+)`", cells[2]) == re.findall(r"`([a-z_0-9]+)`", there[2]), code
        assert cells[3] == there[3], code


@pytest.mark.parametrize("page", PAGES)
def test_what_it_names_exists(page):
    text = PAGES[page]
    assert set(re.findall(r"\bsekisho_[a-z_]+", text)) <= set(METRICS)
    ended = {word for cells in of(page).values() for word in re.findall(r"`([a-z_]+)`", cells[2])}
    assert ended <= {end.value for end in Ended}
    settings = (ROOT / "src/sekisho/settings.py").read_text(encoding="utf-8")
    declared = (ROOT / "src/sekisho/catalog/interfaces.py").read_text(encoding="utf-8")
    for key in set(re.findall(r"`(?!sekisho_)([a-z_]+_(?:ms|max|seconds|file|name))`", text)):
        assert f"{key}:" in settings + declared, key
