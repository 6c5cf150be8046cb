"""The page on policies: its policies hold, and every message that it explains is one that is said."""

import re
from pathlib import Path

import pytest

from sekisho.catalog.interfaces import PolicyText
from sekisho.policy.check import check_policies, policies_in_force
from sekisho.policy.lints import lint
from support_decide import LABELS, catalogue, declared, deployment

ROOT = Path(__file__).parents[3]
PAGES = ("docs/policies.md", "docs/policies.ja.md")
MESSAGE = re.compile(r"`([^`]+)`")


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def source():
    files = [*(ROOT / "src/sekisho/policy").glob("*.py"), *(ROOT / "src/sekisho/catalog").glob("*.py")]
    return "".join(file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize("page", PAGES)
def test_the_policies_that_it_shows_hold(page):
    blocks = re.findall(r"^```\n(@id.*?)^```", read(page), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    shown = PolicyText("policies/page.cedar", "\n".join(blocks))
    tokyo = deployment("tokyo", processing=declared("JP"))
    assert check_policies(catalogue(tokyo), (shown,), LABELS).mistakes == ()
    assert lint(policies_in_force((), (shown,))) == ((), ())


def messages(page):
    """What stands in the first column of its tables of messages."""
    rows = [
        line
        for line in read(page).splitlines()
        if re.match(r"\| `(?:is|has|names|reads|forbids|can|permits|says|holds|no|never)\b", line)
    ]
    return [message for row in rows for message in MESSAGE.findall(row.split(" | ")[0])]


def test_both_pages_explain_the_same_messages():
    english, japanese = (messages(page) for page in PAGES)
    assert english == japanese
    assert len(english) > 25


@pytest.mark.parametrize("message", messages(PAGES[0]))
def test_what_it_explains_is_said(message):
    """The longest stretch of words between what differs."""
    stretches = re.split(r"…|\d+|\"|@|::|the layer nation|relayRaw|context\.\w*", message)
    words = max((stretch.strip(" ,;") for stretch in stretches), key=len)
    assert len(words) > 5
    assert words in source()
