"""`sekisho audit` over a real installation: clean to every depth, each damage named, from a directory and from afar."""

import contextlib
import functools
import http.server
import itertools
import json
import shutil
import socket
import threading
import urllib.error
import urllib.request

import pytest

from audited_log import ready
from journeys.installation import Installation, get, inside, openai_client, sekisho, until
from journeys.published_log import log_key
from sekisho.ledger.checkpoint import read_checkpoint
from sekisho.ledger.errors import SourceRefused, SourceUnavailable
from sekisho.ledger.log_files import LogFiles
from sekisho.ledger.remote_log import TRIES_MAX, RemoteLog

QUESTION = [{"role": "user", "content": "What is a receipt?"}]
ABROAD = {"x-sekisho-data-class": "confidential", "x-sekisho-residency": "US"}


def audit(*words, status=0):
    """The JSON report of an audit that ends with `status`."""
    done = inside("audit", *words, "--json", check=False)
    assert done.returncode == status, (done.stdout[-2_000:], done.stderr)
    assert done.stderr == ""
    return json.loads(done.stdout)


def entries_at(site):
    """What a running site has published, at one checkpoint."""
    files = LogFiles(site.root / "ledger")
    size = read_checkpoint(files.checkpoint()).size
    return [json.loads(entry) for _, bundle in files.entries(0, size) for entry in bundle]


class StaticServer:
    """Any static file server over a directory; `requests` are the paths asked for, `failures` those still to fail."""

    def __init__(self, directory):
        self.requests, self.failures = [], {}
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.requests.append(self.path)
                failure = outer.failures.get(self.path, [])
                if failure:
                    what = failure.pop(0)
                    if what == "cut":
                        self.send_response(200)
                        self.send_header("content-length", "1000000")
                        self.end_headers()
                        self.wfile.write(b"x")
                    self.close_connection = True
                    if what != "cut":
                        self.send_error(what)
                    return
                super().do_GET()

            def log_message(self, *_):
                pass

        handler = functools.partial(Handler, directory=str(directory))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """An installation that runs, after requests of several kinds; and whose provider is a Sekisho of its own."""
    directory = tmp_path_factory.mktemp("audit")
    with Installation(directory / "theirs") as theirs, Installation(directory / "ours") as ours:
        theirs.start()
        (ours.root / "their.key").write_text(theirs.key)
        (ours.root / "their.key").chmod(0o600)
        ours.declare("providers", "theirs", 'title = "Another Sekisho"\n')
        ours.declare("models", "far", 'title = "far"\n')
        ours.declare(
            "deployments",
            "far",
            f'model = "far"\nprovider = "theirs"\nsite = "local"\ntype = "engine"\nurl = "{theirs.base}/v1"\n'
            'upstream_model = "manual"\ncredential = { file = "their.key" }\n',
        )
        assert sekisho("check", ours.root).returncode == 0
        ours.start()
        with openai_client(ours) as client:
            for number in range(12):
                client.chat.completions.create(model="manual", messages=QUESTION)
                answer = client.chat.completions.create(model="far", messages=QUESTION, stream=number % 2 == 0)
                if number % 2 == 0:
                    assert list(answer)
            answer = client.chat.completions.with_raw_response.create(model="manual", messages=QUESTION)
            last = answer.headers["x-sekisho-receipt"]
        request = urllib.request.Request(
            f"{ours.base}/v1/chat/completions",
            json.dumps({"model": "manual", "messages": QUESTION}).encode(),
            {"authorization": f"Bearer {ours.key}", "content-type": "application/json", **ABROAD},
        )
        with pytest.raises(urllib.error.HTTPError, match="403") as refused:
            urllib.request.urlopen(request, timeout=10)
        for one in (last, refused.value.headers["x-sekisho-receipt"]):
            ours.receipt(one)
        yield ours, theirs


@pytest.fixture(scope="module")
def trusted(running):
    ours, _ = running
    return ("--trust", ours.root / "site.vkey")


@pytest.fixture
def copy(running, tmp_path):
    """A copy of what an auditor is given: the log, the snapshots, the key."""
    ours, _ = running
    for name in ("ledger", "snapshots"):
        shutil.copytree(ours.root / name, tmp_path / "copy" / name, ignore=shutil.ignore_patterns("wal", ".*"))
    return tmp_path / "copy"


def test_a_running_installation_holds_to_every_depth(running, trusted):
    ours, _ = running
    report = audit(ours.root, *trusted)
    assert (report["depth"], report["found"]["errors"], report["found"]["warnings"]) == (3, 0, 0)
    assert report["not_done"] == []
    assert report["counts"]["decisions_made_again"] == report["kinds"]["decision"] >= 26
    text = sekisho("audit", ours.root, *trusted, "--language", "ja").stdout
    assert text.startswith("問題なし（深さ 3 まで）")


def test_two_sekisho_ledgers_agree_on_what_went_between_them(running, trusted):
    ours, theirs = running
    provider = ("--provider", "theirs", "--provider-log", theirs.root, "--account", "default")
    keys = ("--provider-trust", theirs.root / "site.vkey")
    until(lambda: audit(ours.root, *trusted, *provider, *keys)["counts"]["provider_matched"] == 12, 20, "the merge")
    report = audit(ours.root, *trusted, *provider, *keys)
    assert report["depth"] == 4
    assert report["found"]["by_code"] == {}
    assert report["counts"]["provider_tokens_ledger"] == report["counts"]["provider_tokens_provider"] > 0
    with openai_client(theirs) as client:  # past our checkpoint, with our account there
        client.chat.completions.create(model="manual", messages=QUESTION)
    codes = until(
        lambda: json.loads(sekisho("audit", ours.root, *trusted, *provider, *keys, "--json", check=False).stdout)[
            "found"
        ]["by_code"],
        20,
        "the call's being found",
    )
    assert codes == {"egress_unreceipted": 1}


def test_a_usage_file_of_the_provider_is_held_against_the_log(running, trusted, tmp_path):
    ours, _ = running
    rows = ["request_id,time,prompt_tokens,completion_tokens"]
    entries = entries_at(ours)
    far = {
        e["id"] for e in entries if e["kind"] == "decision" and (e["body"]["chosen"] or {}).get("deployment") == "far"
    }
    for entry in entries:
        if entry["kind"] == "outcome" and entry["body"]["decision"] in far:
            usage = entry["body"]["usage"]
            rows.append(f"{entry['request']},{entry['at'] // 1_000_000},{usage['prompt']},{usage['completion']}")
    file = tmp_path / "usage.csv"
    file.write_text("\n".join(rows))
    report = audit(ours.root, *trusted, "--provider", "theirs", "--usage", file)
    assert (report["depth"], report["counts"]["provider_matched"], report["found"]["by_code"]) == (4, 12, {})
    file.write_text("\n".join([*rows, rows[1]]))
    report = audit(ours.root, *trusted, "--provider", "theirs", "--usage", file, status=1)
    assert report["found"]["by_code"] == {"egress_unreceipted": 1}


def test_each_damage_to_a_copy_is_named(copy, trusted, running):
    assert audit(copy, *trusted)["found"]["by_code"] == {}
    bundle = max((copy / "ledger/tile/entries/000.p").iterdir(), key=lambda path: int(path.name))
    tile = copy / "ledger/tile/0/000.p" / bundle.name
    good = bundle.read_bytes()
    altered = good.replace(b'"complete"', b'"revoked_"', 1)
    bundle.write_bytes(altered)
    report = audit(copy, *trusted, status=1)
    (finding,) = [one for one in report["findings"] if one["code"] == "entry_altered"]
    assert finding["index"] > 0
    assert finding["id"]
    bundle.write_bytes(good)
    for path, code in (
        (tile, "tile_damaged"),
        (bundle, "bundle_damaged"),
        (copy / "ledger/checkpoint", "checkpoint_invalid"),
    ):
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        assert code in audit(copy, *trusted, status=1)["found"]["by_code"], path
        path.write_bytes(data)
    shutil.rmtree(copy / "snapshots")
    assert [one["code"] for one in audit(copy, *trusted)["not_done"]] == ["snapshots"]


def test_a_mirror_on_any_static_file_server_is_audited_and_an_audit_that_broke_off_goes_on(copy, trusted, tmp_path):
    with StaticServer(copy / "ledger") as server:
        assert audit(server.url, *trusted)["depth"] == 2
        assert audit(server.url, *trusted, "--snapshots", copy / "snapshots")["depth"] == 3
        (copy / "snapshots").rename(copy / "ledger" / "snapshots")
        assert audit(server.url, *trusted)["depth"] == 3
        parts = (copy / "ledger" / "snapshots" / "parts").iterdir()
        (part,) = (path for path in parts if path.read_bytes().startswith(b'{"policies"'))
        whole = part.read_bytes()
        for data in (whole[:-1], whole + b" ", whole.replace(b"a", b"b")):
            part.write_bytes(data)
            report = audit(server.url, *trusted, status=1)
            assert report["found"]["by_code"] == {"snapshot_unusable": 1}
        part.write_bytes(whole)
        asked = [path for path in server.requests if path.startswith("/tile/entries")]
        server.failures = {asked[0]: [503, "cut"], "/checkpoint": [500]}
        assert audit(server.url, *trusted)["depth"] == 3  # tried again until it is whole
        assert not any(server.failures.values())
        assert audit(server.url, *trusted, "--state", tmp_path / "state")["depth"] == 3
        assert audit(server.url, *trusted, "--state", tmp_path / "state")["held_against"] != []


def test_a_server_that_does_not_answer_breaks_the_audit_off_and_says_nothing_of_the_log(tmp_path):
    (tmp_path / "checkpoint").write_text("a note")
    waits = []
    with StaticServer(tmp_path) as server:
        log = RemoteLog(server.url, sleep=waits.append)
        assert log.read("checkpoint", 100) == b"a note"
        assert log.read("checkpoint", 3) == b"a no"  # a byte more than allowed, so that it shows
        assert log.read("tile/0/000", 100) is None
        server.failures = {"/checkpoint": [503] * TRIES_MAX, "/refused": [403], "/moved": [302]}
        with pytest.raises(SourceUnavailable, match="status 503"):
            log.read("checkpoint", 100)
        with pytest.raises(SourceRefused, match="status 403"):
            log.read("refused", 100)
        with pytest.raises(SourceUnavailable, match="status 302"):
            log.read("moved", 100)
        log.close()
    assert waits == [0.5, 1.0, 2.0, 4.0]
    with pytest.raises(SourceUnavailable, match="refused"):
        log.read("checkpoint", 100)


def test_full_tiles_that_were_fetched_are_kept_and_not_asked_for_again(tmp_path):
    log = ready(tmp_path / "site", 200)
    log.close()
    trust = ("--trust", tmp_path / "site" / "site.vkey")
    with StaticServer(log.ledger) as server:
        first = audit(server.url, *trust, "--state", tmp_path / "state")
        assert first["log"]["size"] > 256
        assert "/tile/entries/000" in server.requests
        server.requests.clear()
        audit(server.url, *trust, "--state", tmp_path / "state")
        assert {"/tile/entries/000", "/tile/0/000"}.isdisjoint(server.requests)
        kept = next((tmp_path / "state" / "tiles").rglob("tile/entries/000"))
        kept.write_bytes(kept.read_bytes().replace(b"tokyo", b"kyoto"))  # what is kept is not believed either
        report = audit(server.url, *trust, "--state", tmp_path / "state", status=1)
        assert set(report["found"]["by_code"]) == {"entry_altered"}
        assert audit(server.url, *trust, "--state", tmp_path / "state")["found"]["by_code"] == {}  # and asked for anew
        aside = next((tmp_path / "state" / "tiles").rglob("*.damaged/tile/entries/000"))
        assert b"kyoto" in aside.read_bytes()


ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trailers": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n"),
}


@pytest.mark.parametrize("part", ENDLESS)
def test_a_server_that_never_ends_its_answer_is_given_up(part):
    """Each byte comes in time; the whole never would."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        minutes = itertools.count(0, 60)  # a minute passes between two looks at the clock
        log = RemoteLog(f"http://127.0.0.1:{listener.getsockname()[1]}", monotonic=lambda: next(minutes))

        def serve():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                first, again = ENDLESS[part]
                connection.sendall(first)
                while True:
                    connection.sendall(again)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(SourceUnavailable, match="took longer than 600 s"):
            log.read("checkpoint", 100)
        log.close()
        thread.join()


def test_a_sites_address_gives_hash_tiles_to_all_and_entries_to_an_auditors_key(running, trusted, tmp_path):
    ours, _ = running
    report = audit(ours.control, *trusted)
    assert (report["depth"], [one["code"] for one in report["not_done"]]) == (1, ["entries"])
    assert (
        "sekisho keys create --role auditor"
        in sekisho("audit", ours.control, *trusted, "--depth", "2", check=False).stderr
    )
    key = tmp_path / "auditor.key"
    made = ("keys", "create", ours.root, "--organisation", "default", "--name", "audit 2026", "--role", "auditor")
    key.write_text(sekisho(*made).stdout)
    report = audit(ours.control, *trusted, "--key", key)
    assert (report["depth"], report["found"]["errors"]) == (3, 0)
    (tmp_path / "caller.key").write_text(ours.key)
    done = sekisho("audit", ours.control, *trusted, "--key", tmp_path / "caller.key", check=False)
    assert (done.returncode, "role auditor" in done.stderr) == (2, True)
    assert get(f"{ours.base}/v1/models", key.read_text().strip())[0] == 200  # it is known, and may call nothing

    def accesses():
        return [entry for entry in entries_at(ours) if entry["kind"] == "access"]

    (access,) = until(accesses, 20, "the access entry")
    assert access["body"]["act"] == "ledger.read"
    assert access["actor"] == f"key-{access['body']['key']}"


def test_the_log_key_that_signed_is_the_enrolled_one(running):
    ours, _ = running
    assert audit(ours.root, "--trust", log_key(ours.root).vkey)["log"]["key"] == log_key(ours.root).vkey
