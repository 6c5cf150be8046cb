"""Content that a policy lets be kept: sealed on disk, read with a role and a reason, deleted at its end."""

import json
import time

import openai
import pytest

from journeys.installation import Installation, openai_client, sekisho, until
from journeys.published_log import require_log_holds
from sekisho.content.files import ContentFiles
from sekisho.content.interfaces import Content
from sekisho.kernel.ids import IdSource

POLICY = """
@id("keep.other") @title("Keep the requests of other for a week") @title_ja("other のリクエストを一週間保存します")
@retain_days("7")
permit (principal in Organisation::"other", action == Action::"retain", resource);
"""
QUESTION = "何を保存しますか 0x5ec1"


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Installation(tmp_path_factory.mktemp("content") / "site") as installation:
        installation.declare("organisations", "other", 'title = "Others"\n')
        installation.declare("policies", "keep", POLICY)
        installation.start()
        yield installation


def new_key(running, *words):
    return sekisho("keys", "create", running.root, "--name", "k", "--organisation", "other", *words).stdout.strip()


def asked(running, key, **options):
    """The id of a request's receipt."""
    with openai_client(running, key) as client:
        messages = [{"role": "user", "content": QUESTION}]

        def ask():
            try:
                return client.chat.completions.with_raw_response.create(model="manual", messages=messages, **options)
            except openai.AuthenticationError:  # the key was made a moment ago
                return None

        answer = until(ask, 10, "the gateway's taking over of the key")
        answer.parse() if not options.get("stream") else answer.http_response.read()
        return answer.headers["x-sekisho-receipt"]


def held(running):
    return json.loads(sekisho("content", "list", "--json", running.root).stdout)


def entries(running, kind, act=None):
    found = [entry for entry in require_log_holds(running.root) if entry["kind"] == kind]
    return [entry for entry in found if act is None or entry["body"].get("act") == act]


def read(running, identifier, key_file, *words, check=True):
    given = ("content", "show", identifier, "--dir", running.root, "--api-key-file", key_file, *words)
    return sekisho(*given, check=check)


def test_content_is_kept_sealed_read_with_a_role_and_a_reason_and_forgotten(running, tmp_path):
    receipt = asked(running, new_key(running))
    asked(running, running.key)  # of the organisation default, of which nothing is kept
    (kept,) = until(lambda: held(running), what="the content")
    assert kept["organisation"] == "other"
    on_disk = b"".join(path.read_bytes() for path in running.root.rglob("*") if path.is_file())
    assert b"0x5ec1" not in on_disk

    reader, caller = tmp_path / "reader", tmp_path / "caller"
    reader.write_text(new_key(running, "--role", "content-reader"))
    caller.write_text(new_key(running))
    refused = read(running, kept["id"], caller, "--reason", "curious", check=False)
    assert refused.returncode == 1
    assert "may not read" in refused.stderr
    assert "0x5ec1" not in refused.stdout
    assert read(running, kept["id"], reader, check=False).returncode == 2  # no reason
    shown = read(running, kept["id"], reader, "--reason", "complaint 2027-14").stdout
    assert QUESTION in shown
    sent = json.loads(read(running, kept["id"], reader, "--reason", "again", "--field", "sent").stdout)
    assert sent["messages"][0]["content"] == QUESTION
    readings = until(lambda: [*entries(running, "access")][1:] and entries(running, "access"), what="the readings")
    assert {entry["body"]["entry"] for entry in readings} == {kept["id"]}
    assert all(entry["actor"].startswith("key-k") for entry in readings)
    assert "complaint" not in json.dumps(readings)
    assert "complaint 2027-14" in sekisho("content", "reads", running.root).stdout
    audited = json.loads(sekisho("audit", running.root, "--trust", running.root / "site.vkey", "--json").stdout)
    assert (audited["depth"], audited["found"]["by_code"]) == (3, {}), "what was kept is decided again"

    (decision,) = [entry for entry in entries(running, "decision") if entry["id"] == kept["id"]]
    assert decision["request"] == receipt
    assert decision["body"]["retain"]["days"] == 7
    assert all("retain" not in other["body"] for other in entries(running, "decision") if other["id"] != kept["id"])

    sekisho("content", "forget", "--organisation", "other", "--dir", running.root)
    assert held(running) == []
    assert read(running, kept["id"], reader, "--reason", "again", check=False).returncode == 1
    until(lambda: entries(running, "change", "content.forget"), what="the entry of the forgetting")


def test_a_stream_is_kept_and_its_receipt_verifies(running, tmp_path):
    key = new_key(running)
    receipt = asked(running, key, stream=True)
    (kept,) = until(lambda: held(running), what="the content")
    reader = tmp_path / "reader"
    reader.write_text(new_key(running, "--role", "content-reader"))
    answer = tmp_path / "answer"
    answer.write_bytes(read(running, kept["id"], reader, "--reason", "check", "--field", "answer").stdout.encode())
    assert answer.read_bytes().endswith(b"data: [DONE]\n\n")
    sent = tmp_path / "sent"
    sent.write_bytes(read(running, kept["id"], reader, "--reason", "check", "--field", "sent").stdout.encode())
    file = tmp_path / "receipt.json"
    file.write_bytes(running.receipt(receipt, key))
    words = ("--trust", running.root / "site.vkey", "--content", f"sent={sent}", "--content", f"answer={answer}")
    assert "VERIFIED" in sekisho("verify", file, *words).stdout.upper()
    sekisho("content", "forget", kept["id"], "--dir", running.root)
    assert held(running) == []


def test_control_deletes_what_has_reached_its_end(running):
    now_us = time.time_ns() // 1000
    entry = IdSource().new(now_us)
    files = ContentFiles(running.root / "content", running.root / "keys" / "content")
    files.write(Content("other", entry, entry, now_us - 1, b"asked", b"answered"))
    until(lambda: files.held() == [], 30, "the deletion")
    (ended,) = until(lambda: entries(running, "change", "content.end"), what="the entry of the ending")
    assert ended["body"]["entries"] == [entry]
