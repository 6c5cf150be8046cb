"""What the page for auditors tells to type, typed: openssl and jq against a receipt, none of our code."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ledger_fakes import World
from receipt_corpus import WITNESSES, cosigned, receipt_of, recorded

from sekisho.ledger.verify import REASONS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("auditors.md", "auditors.ja.md")
GOOD = "Signature Verified Successfully"


def commands(page):
    """The commands of the section on openssl, as one shell script."""
    section = (DOCS / page).read_text(encoding="utf-8").partition("openssl")[2]
    blocks = re.findall(r"^```console\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return "\n".join(line[2:] for block in blocks for line in block.splitlines())


def typed(folder, page):
    done = subprocess.run(["bash", "-c", commands(page)], cwd=folder, capture_output=True, text=True, check=False)
    return re.findall(r"Signature Verif\w+ \w+", done.stdout + done.stderr)


@pytest.fixture
def folder(tmp_path):
    missing = [tool for tool in ("bash", "openssl", "jq", "awk", "od") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    world = World(tmp_path / "ledger")
    request, entries = recorded(world, failures=1)
    data = cosigned(receipt_of(world, entries, request=request), "a", "b")
    (tmp_path / "receipt.json").write_bytes(data)
    (tmp_path / "site.vkey").write_text(f"{world.site_key.verifier.vkey}\n", encoding="utf-8")
    (tmp_path / "witness.vkey").write_text(f"{WITNESSES['b'].verifier.vkey}\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_openssl_verifies_site_log_and_witness(folder, page):
    assert typed(folder, page) == [GOOD] * 3


def test_openssl_refuses_what_was_changed(folder):
    good = (folder / "receipt.json").read_bytes()
    (folder / "receipt.json").write_bytes(good.replace(b"\\n4\\n", b"\\n5\\n"))
    assert typed(folder, PAGES[0]) == [GOOD, "Signature Verification Failure", "Signature Verification Failure"]
    (folder / "receipt.json").write_bytes(good)
    (folder / "witness.vkey").write_text(WITNESSES["c"].verifier.vkey, encoding="utf-8")
    assert typed(folder, PAGES[0]).count(GOOD) == 2


@pytest.mark.parametrize("page", PAGES)
def test_the_page_names_every_obligation_with_its_reason(page):
    rows = dict(re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE))
    assert rows == {str(number): reason for number, reason in REASONS.items()}
