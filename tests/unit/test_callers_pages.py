"""docs/callers.md in both languages: its declarations are right, and it leaves out no key and no error."""

import re
import tomllib
from pathlib import Path

import pytest

from sekisho.catalog.declarations import catalogue_of
from sekisho.catalog.interfaces import ClientCertificate, Issuer
from sekisho.identity.errors import AuthenticationError

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("callers.md", "callers.ja.md")
TOML = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)
CELLS = re.compile(r"^\| ((?:`[A-Za-z0-9_]+`(?:, |、)?)+) \|", re.MULTILINE)


def declarations(page):
    return [tomllib.loads(block) for block in TOML.findall((DOCS / page).read_text(encoding="utf-8"))]


def words(page):
    """What stands in the first column of a table."""
    return set(re.findall("`([^`]+)`", " ".join(CELLS.findall((DOCS / page).read_text(encoding="utf-8")))))


def codes(family=AuthenticationError):
    return {family.code}.union(*map(codes, family.__subclasses__()))


def test_both_languages_declare_the_same():
    assert declarations(PAGES[0]) == declarations(PAGES[1])
    assert words(PAGES[0]) == words(PAGES[1])


def test_what_is_shown_can_be_declared():
    classes = [{"name": "public"}, {"name": "internal", "title": "Internal", "title_ja": "社内"}]
    boundary = {"home": ["JP"], "classes": classes, "default_class": "public", "default_residency": ["JP"], "packs": []}
    shown = [table for table in declarations(PAGES[0]) if "gateway" not in table]
    assert len(shown) == 4
    for table in shown:
        files = {"boundary.toml": boundary, "sites/local.toml": {"jurisdiction": "JP"}}
        catalogue, mistakes = catalogue_of(files | {"organisations/default.toml": table})
        assert mistakes == ()
        assert catalogue.organisations[0].issuers or catalogue.organisations[0].certificates


@pytest.mark.parametrize("page", PAGES)
def test_every_key_and_every_error_is_explained(page):
    keys = {*Issuer.__struct_fields__, *ClientCertificate.__struct_fields__}
    # The family's own code stands for tokens of no kind in particular, and is never answered with.
    assert keys | (codes() - {"invalid_token"}) == words(page)
