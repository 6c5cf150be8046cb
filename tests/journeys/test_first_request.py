"""The narrow path: init, up, a question through the official client, a receipt, verified."""

import pytest

from journeys.installation import Installation, openai_client, sekisho


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Installation(tmp_path_factory.mktemp("first") / "site", "--no-discover") as installation:
        installation.start()
        yield installation


def test_a_question_is_answered_and_its_receipt_verifies_offline(running, tmp_path):
    with openai_client(running) as client:
        raw = client.chat.completions.with_raw_response.create(
            model="manual", messages=[{"role": "user", "content": "What is a receipt?"}]
        )
    assert "receipt" in raw.parse().choices[0].message.content.lower()
    file = tmp_path / "receipt.json"
    file.write_bytes(running.receipt(raw.headers["x-sekisho-receipt"]))
    assert "VERIFIED" in sekisho("verify", file, "--trust", running.root / "site.vkey").stdout
    unpinned = sekisho("verify", file, check=False)
    assert unpinned.returncode == 3
