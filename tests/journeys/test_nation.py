"""An installation of another nation: made, run, asked; its pack refuses, and nothing in it is Japanese."""

import json
import re

import httpx
import pytest

from journeys.installation import Installation, get, openai_client, sekisho
from journeys.playing_upstream import PlayingUpstream

NRIC = "S1234567D"
JAPANESE = re.compile(r"jp[.-]|(?<![A-Za-z])JP(?![A-Za-z])|japan|my.?number", re.IGNORECASE)
ABROAD = """\
model = "abroad"
provider = "local"
type = "openai-compatible"
url = "http://127.0.0.1:{port}/v1"

[facts]
processing = {{ value = ["US"], grade = "contractual", source = "contract 2026-114" }}
storage = ["US"]
"""


@pytest.fixture(scope="module")
def upstream():
    with PlayingUpstream() as playing:
        yield playing


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("nation") / "site", "--nation", "sg") as installation:
        installation.declare("models", "abroad", 'title = "Abroad"\n')
        installation.declare("deployments", "abroad", ABROAD.format(port=upstream.port))
        installation.apply()
        installation.start()
        yield installation


def ask(running, model, text):
    headers = {"authorization": f"Bearer {running.key}"}
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    with httpx.Client(trust_env=False, timeout=30) as client:
        return client.post(f"{running.base}/v1/chat/completions", json=body, headers=headers)


def verified(running, identifier, tmp_path):
    """The receipt's text, which verifies against the pinned site."""
    file = tmp_path / "receipt.json"
    file.write_bytes(running.receipt(identifier))
    assert "VERIFIED" in sekisho("verify", file, "--trust", running.root / "site.vkey").stdout
    return file.read_text(encoding="utf-8")


def test_a_question_is_answered_at_home(running, tmp_path):
    with openai_client(running) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="manual", messages=[{"role": "user", "content": f"NRIC {NRIC}: what is a receipt?"}]
        )
    assert "receipt" in raw.parse().choices[0].message.content.lower()
    assert raw.headers["x-sekisho-jurisdiction"] == "SG"
    assert raw.headers["x-sekisho-labels"] == "sg.nric"
    receipt = verified(running, raw.headers["x-sekisho-receipt"], tmp_path)
    assert NRIC not in receipt
    assert JAPANESE.findall(receipt) == []


def test_an_nric_for_a_deployment_in_the_united_states_is_refused_with_the_reason(running, upstream, tmp_path):
    answer = ask(running, "abroad", f"Her NRIC is {NRIC}.")
    assert answer.status_code == 403
    assert "sg-residency.nric" in answer.text
    assert "An NRIC or FIN would leave in readable form" in answer.text
    receipt = verified(running, answer.headers["x-sekisho-receipt"], tmp_path)
    decision = json.loads(receipt)["entries"][0]["entry"]["body"]
    assert decision["input"]["labels_raw"] == ["sg.nric"]
    assert NRIC not in receipt
    assert JAPANESE.findall(receipt) == []
    assert upstream.seen == []


def test_nothing_declared_served_or_listed_is_japanese(running):
    for path in (running.root / "declarations").rglob("*.*"):
        assert JAPANESE.findall(path.read_text(encoding="utf-8")) == [], path
    assert JAPANESE.findall(sekisho("models", "list", "--dir", running.root, "--facts").stdout) == []
    assert JAPANESE.findall(get(f"{running.control}/api/status")[1].decode()) == []


def test_a_japanese_number_has_no_label_here(running):
    answer = ask(running, "manual", "個人番号 123456789018")
    assert answer.status_code == 200
    assert answer.headers["x-sekisho-labels"] == ""


def test_a_nation_without_a_starter_is_refused(tmp_path):
    done = sekisho("init", tmp_path / "x", "--nation", "atlantis", check=False)
    assert done.returncode == 2
    assert "jp" in done.stderr
    assert "sg" in done.stderr
    assert not (tmp_path / "x").exists()
