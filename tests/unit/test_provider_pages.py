"""Each template has a page in both languages, and page and template say the same."""

import datetime
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from sekisho.catalog.provider_templates import rendered, templates
from sekisho.cli import providers
from sekisho.cli.main import build_parser

PAGES = Path(__file__).parents[2] / "docs" / "providers"
TEMPLATES = templates()
TODAY = datetime.date(2026, 11, 25)
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
ROW = re.compile(r"^\| `([a-z_]+)` \| `(.+)` \| (.+) \| (\d{4}-\d\d-\d\d) \|$", re.MULTILINE)
EVERY_PAGE = [(name, ending) for name in TEMPLATES for ending in (".md", ".ja.md")]


def text_of(name, ending):
    return (PAGES / f"{name}{ending}").read_text(encoding="utf-8")


def request_on(name, ending, **changes):
    """Template and request of the page's own `providers add`."""
    line = next(line for line in BLOCK.findall(text_of(name, ending))[0].splitlines() if " providers add " in line)
    arguments = build_parser("providers").parse_args(shlex.split(line)[3:])
    template, request = providers.request_of(arguments, "local")
    assert template.name == name
    return template, request._replace(**changes)


def facts_of(template, request):
    """(fact, source) of everything that the template states."""
    files = rendered(template, request, {"local": "JP"}, TODAY)
    tables = [tomllib.loads(text).get("facts", {}) for text in files.values()]
    return {(key, fact["source"], str(fact["observed_at"])) for table in tables for key, fact in table.items()}


def test_templates_and_pages_are_the_same():
    expected = {f"{name}{ending}" for name in (*TEMPLATES, "README") for ending in (".md", ".ja.md")}
    assert {path.name for path in PAGES.iterdir()} == expected
    for ending in (".md", ".ja.md"):
        overview = text_of("README", ending)
        assert all(f"]({name}{ending})" in overview for name in TEMPLATES)


@pytest.mark.parametrize(("name", "ending"), EVERY_PAGE)
def test_the_command_of_a_page_writes_what_the_page_says(name, ending):
    template, request = request_on(name, ending)
    listed = {(fact, source, date) for fact, _, source, date in ROW.findall(text_of(name, ending))}
    assert listed == facts_of(template, request)


@pytest.mark.parametrize(("name", "ending"), EVERY_PAGE)
def test_a_page_says_what_is_verified_and_what_is_not(name, ending):
    text, file = text_of(name, ending), TEMPLATES[name].file
    words = ("not verified", "unverified", "uncertain") if ending == ".md" else ("未検証", "不確か")
    assert any(word in text.lower() for word in words)
    unverified = "**unverified" if ending == ".md" else "**未検証"
    assert (unverified in text.lower()) == (file.status == "unverified")
    if file.url:
        assert file.url in text
    if file.status == "documented" and file.types != ("openai-compatible",):
        assert str(file.read_at) in text


@pytest.mark.parametrize("name", TEMPLATES)
def test_both_languages_show_the_same(name):
    english, japanese = text_of(name, ".md"), text_of(name, ".ja.md")
    assert BLOCK.findall(english) == BLOCK.findall(japanese)
    assert ROW.findall(english) == ROW.findall(japanese)
    assert english.count("\n- ") == japanese.count("\n- ")
    assert english.count("\n## ") == japanese.count("\n## ") == 4
