"""The pages on signing in say what can be declared, and what they show can be declared so."""

import re
import tomllib
from pathlib import Path

import pytest

from sekisho.catalog.declarations import catalogue_of
from sekisho.catalog.sign_in import API_KEY_HEADERS, ENTRA_AUTHORITY, ENTRA_SCOPE, KINDS, METADATA_URL
from sekisho.gateway.metrics import METRICS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [(DOCS / name).read_text(encoding="utf-8") for name in ("sign-in.md", "sign-in.ja.md")]
EXAMPLE = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)
TREE = {
    "boundary.toml": {
        "home": ["JP"], "classes": [{"name": "c"}], "default_class": "c", "default_residency": ["JP"], "packs": [],
    },
    "organisations/default.toml": {},
    "providers/p.toml": {},
    "models/m.toml": {"title": "M"},
}  # fmt: skip
DEPLOYMENT = {"model": "m", "provider": "p", "url": "https://a.example/v1", "type": "openai-compatible"}


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_can_be_declared(page):
    examples = EXAMPLE.findall(page)
    assert len(examples) == 5
    for example in examples:
        declared = DEPLOYMENT | tomllib.loads(example)
        catalogue, mistakes = catalogue_of(TREE | {"deployments/d.toml": declared})
        assert mistakes == ()
        deployment = catalogue.deployments[0]
        assert any((deployment.credential, deployment.sign_in, deployment.egress_proxy, deployment.tls.ca_file))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_names_every_kind_header_default_and_metric(page):
    kinds = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    assert kinds == {"kind", *KINDS}
    for word in (*API_KEY_HEADERS, ENTRA_AUTHORITY, ENTRA_SCOPE, METADATA_URL, '"via": "egress_proxy"'):
        assert word in page
    metrics = set(re.findall(r"`(sekisho_[a-z_]+)", page))
    assert metrics <= set(METRICS)
    assert len(metrics) == 3


def test_both_pages_show_the_same():
    english, japanese = ([tomllib.loads(one) for one in EXAMPLE.findall(page)] for page in PAGES)
    assert english == japanese
    codes = [re.findall(r"^\| `([a-z_0-9]+)`", page, re.MULTILINE) for page in PAGES]
    assert codes[0] == codes[1]
