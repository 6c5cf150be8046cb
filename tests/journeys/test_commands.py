"""What an operator types, and what happens to the processes behind it."""

import http.client
import json
import os
import signal
import socket
import threading
from pathlib import Path

import openai
import pytest

from journeys.installation import Installation, get, openai_client, sekisho, until
from journeys.playing_upstream import PlayingUpstream

ASK = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def upstream():
    with PlayingUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("commands") / "site") as installation:
        installation.declare("organisations", "other", 'title = "Others"\n')
        for part in ("chat", "started"):
            installation.deployment(part, upstream.port, path=f"/{part}")
        installation.start()
        yield installation


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def key_id(running, name: str) -> str:
    listed = json.loads(sekisho("keys", "list", "--json", running.root).stdout)
    return next(key["id"] for key in listed if key["name"] == name)


# -- without an installation


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 0, "usage: sekisho COMMAND"),
        (("--version",), 0, "sekisho "),
        (("fly",), 2, "no command 'fly'"),
        (("init",), 2, "DIR"),
        (("up", "--fast"), 2, "--fast"),
        (("up", "nowhere"), 1, "sekisho init"),
        (("gateway", "nowhere"), 1, "sekisho init nowhere"),
        (("control", "nowhere"), 1, "sekisho init nowhere"),
        (("check", "nowhere"), 2, "no declarations/"),
        (("keys",), 2, "create|list|revoke"),
        (("keys", "create", "--name", "x", "nowhere"), 2, "no installation"),
        (("init", "there", "--gateway", "8400"), 2, "--gateway: '8400'"),
        (("verify", "nothing.json"), 2, "nothing.json"),
        (("demo", "--language", "fr"), 2, "'fr'"),
    ],
)
def test_wrong_words_are_answered_with_right_ones(tmp_path, arguments, code, words):
    done = sekisho(*arguments, check=False, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_never_touches_what_is_there(tmp_path):
    (tmp_path / "mine").write_text("kept")
    done = sekisho("init", tmp_path, check=False)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    done = sekisho("init", tmp_path / "mine", check=False)
    assert done.returncode == 2


def test_check_shows_every_mistake_at_once(tmp_path):
    installation = Installation(tmp_path / "site")
    assert sekisho("check", installation.root).stdout == "The declarations hold no mistakes.\n"
    assert json.loads(sekisho("check", "--json", installation.root).stdout) == []
    installation.declare("sites", "paris", 'title = "Paris"\njurisdiction = "France"\n')
    installation.declare("models", "broken", "title = \n")
    installation.declare("deployments", "x", 'model = "none"\nprovider = "local"\ntype = "engine"\nurll = "http://a"\n')
    installation.declare("policies", "bad", '@id("a")\nforbid (principal, action, resource) when { context.clas };\n')
    installation.declare("policies", "typo", "permit everything;\n")
    done = sekisho("check", "--json", installation.root, check=False)
    assert done.returncode == 1
    mistakes = json.loads(done.stdout)
    assert all(mistake["problem"] and mistake["remedy"] for mistake in mistakes)
    found = {(mistake["file"], mistake["key"]) for mistake in mistakes}
    files = {file for file, _ in found}
    assert {"sites/paris.toml", "models/broken.toml", "deployments/x.toml"} <= files
    assert ("sites/paris.toml", "jurisdiction") in found
    text = sekisho("check", installation.root, check=False)
    assert text.returncode == 1
    assert f"{len(mistakes)} mistakes." in text.stdout
    assert all(file in text.stdout for file in files)
    assert "policies/typo.cedar" in files
    # With the declarations mended, what policies mean is checked too.
    for kind, name in (("sites", "paris"), ("models", "broken"), ("deployments", "x")):
        (installation.root / "declarations" / kind / f"{name}.toml").unlink()
    done = sekisho("check", installation.root, check=False)
    assert done.returncode == 1
    assert "policies/bad.cedar" in done.stdout


def test_a_port_in_use_is_named(tmp_path):
    installation = Installation(tmp_path / "site")
    with socket.create_server(("127.0.0.1", installation.gateway_port)):
        done = sekisho("up", installation.root, check=False)
    assert done.returncode == 1
    assert f"127.0.0.1:{installation.gateway_port}" in done.stderr
    assert "sekisho.toml" in done.stderr
    assert "Traceback" not in done.stderr


# -- one that runs


def test_up_twice_is_refused_and_the_first_runs_on(running):
    done = sekisho("up", running.root, check=False)
    assert done.returncode == 1
    assert "running already" in done.stderr
    assert get(f"{running.base}/readyz")[0] == 200


def test_keys_are_made_listed_and_belong_to_an_organisation(running):
    done = sekisho("keys", "create", "--name", "経理", "--organisation", "other", "--residency", "JP", running.root)
    text = done.stdout.strip()
    assert text.startswith("sk-")
    assert len(done.stdout.splitlines()) == 1  # so that it can be piped
    listed = sekisho("keys", "list", running.root).stdout
    assert "経理" in listed
    assert text not in listed
    until(lambda: get(f"{running.base}/v1/models", text)[0] == 200, 5, "the new key's working")
    refused = sekisho("keys", "create", "--name", "x", "--organisation", "nobody", running.root, check=False)
    assert refused.returncode == 2
    assert "default, other" in refused.stderr
    refused = sekisho("keys", "create", "--name", "x", "--class", "secret", running.root, check=False)
    assert refused.returncode == 2
    assert "confidential, internal, public, restricted" in refused.stderr
    gone = sekisho("keys", "revoke", "0000", running.root, check=False)
    assert gone.returncode in (1, 2)
    assert "0000" in gone.stderr


def revoked_stream(running, upstream, name: str) -> openai.APIError:
    """A stream whose key is revoked while it runs: how it ends for the caller."""
    key = sekisho("keys", "create", "--name", name, running.root).stdout.strip()
    until(lambda: get(f"{running.base}/v1/models", key)[0] == 200, 5, "the new key's working")
    with (
        openai_client(running, key) as client,
        client.chat.completions.create(model="started", messages=ASK, stream=True) as stream,
    ):
        assert next(stream).choices[0].delta.content == "begun"
        seen = upstream.of("started")[-1]
        sekisho("keys", "revoke", key_id(running, name), running.root)
        with pytest.raises(openai.APIError) as ended:
            list(stream)
        assert seen.left.wait(10), "the upstream goes on working for a revoked key"
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
    return ended.value


def test_revoking_a_key_ends_its_running_stream(running, upstream):
    ended = revoked_stream(running, upstream, "one")
    assert ended.code == "key_revoked"
    seen = upstream.of("started")[-1]
    entries = [item["entry"] for item in json.loads(running.receipt(seen.headers["x-request-id"]))["entries"]]
    assert [entry["body"]["ended"] for entry in entries if entry["kind"] == "outcome"] == ["revoked"]


def test_revoking_works_while_control_does_not(running, upstream):
    control = running.children()["control"]
    os.kill(control, signal.SIGSTOP)
    try:
        assert revoked_stream(running, upstream, "two").code == "key_revoked"
    finally:
        os.kill(control, signal.SIGCONT)
    until(lambda: get(f"{running.control}/healthz")[0] == 200, what="control")


def test_receipts_are_pending_then_complete_and_for_their_organisation_only(running, tmp_path):
    other = sekisho("keys", "create", "--name", "stranger", "--organisation", "other", running.root).stdout.strip()
    until(lambda: get(f"{running.base}/v1/models", other)[0] == 200, 5, "the new key's working")
    control = running.children()["control"]
    os.kill(control, signal.SIGSTOP)
    try:
        with openai_client(running) as client:
            raw = client.chat.completions.with_raw_response.create(model="chat", messages=ASK)
        url = f"{running.base}/receipts/{raw.headers['x-sekisho-receipt']}"
        status, body, headers = get(url, running.key)
        assert (status, json.loads(body)["status"]) == (202, "pending")
        assert headers["retry-after"]
    finally:
        os.kill(control, signal.SIGCONT)
    file = tmp_path / "receipt.json"
    file.write_bytes(running.receipt(raw.headers["x-sekisho-receipt"]))
    assert get(url, other)[0] == 404
    assert get(url)[0] == 401
    # and what `sekisho verify` says about it
    pin = ("--trust", running.root / "site.vkey")
    assert "VERIFIED" in sekisho("verify", file, *pin, "--language", "en").stdout
    assert json.loads(sekisho("verify", file, *pin, "--json").stdout)["verdict"] == "verified"
    assert sekisho("verify", file, check=False).returncode == 3
    sent = tmp_path / "sent.json"
    sent.write_bytes(b"something else")
    refuted = sekisho("verify", file, *pin, "--content", f"received={sent}", check=False)
    assert refuted.returncode == 1
    assert refuted.stdout.startswith("NOT VALID")
    stranger = Installation(tmp_path / "stranger")
    foreign = sekisho("verify", file, "--trust", stranger.root / "site.vkey", check=False)
    assert foreign.returncode == 1
    assert foreign.stdout.startswith("NOT VALID")
    file.write_bytes(file.read_bytes().replace(b'"JP"', b'"US"', 1))
    assert sekisho("verify", file, *pin, check=False).returncode == 1
    assert sekisho("verify", file, "--trust", "not a key", check=False).returncode == 2


def raw_get(port: int, target: str) -> int:
    """Without a client that tidies the path up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest("GET", target, skip_host=False)
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


def test_control_shows_what_is_public_and_nothing_else(running):
    status, body, headers = get(f"{running.control}/")
    assert status == 200
    assert "One-time token" in body.decode()
    assert running.base not in body.decode()  # whoever is not signed in is told how to, and no more
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert json.loads(get(f"{running.control}/healthz")[1]) == {"status": "ok"}
    told = json.loads(get(f"{running.control}/api/status")[1])
    assert told["gateway"] == running.base
    note = until(lambda: get(f"{running.control}/ledger/checkpoint")[1], what="a checkpoint").decode()
    assert note.splitlines()[0] == told["origin"]
    size = int(note.splitlines()[1])
    assert 0 < size < 256
    status, tile, _ = get(f"{running.control}/ledger/tile/0/000.p/{size}")
    assert (status, len(tile)) == (200, 32 * size)
    assert list((running.root / "ledger" / "tile" / "entries").iterdir())
    for target in (
        "/ledger/tile/../checkpoint",
        "/ledger/tile/0/../../../keys/log.key", "/ledger/tile/0/%2e%2e/%2e%2e/%2e%2e/keys/log.key",
        "/ledger/tile//etc/passwd", "/ledger/tile/%2Fetc%2Fpasswd", "/ledger/tile/0/000.p/999",
        "/ledger/wal", "/state.sqlite", "/docs", "/ledger/tile/0/000%00",
    ):  # fmt: skip
        assert raw_get(running.control_port, target) == 404, target
    for target in ("/ledger/tile/entries/000", f"/ledger/tile/entries/000.p/{size}", "/ledger/snapshots/current"):
        assert raw_get(running.control_port, target) == 401, target  # for auditors' keys


def test_what_is_killed_comes_back(running):
    before = running.children()
    assert set(before) == {"gateway", "control", "engine"}
    for process in before.values():
        os.kill(process, signal.SIGKILL)

    def back() -> bool:
        now = running.children()
        return set(now) == set(before) and not set(now.values()) & set(before.values())

    until(back, 30, "three new processes")
    running.await_ready()
    with openai_client(running) as client:
        raw = client.chat.completions.with_raw_response.create(model="manual", messages=ASK)
    assert running.receipt(raw.headers["x-sekisho-receipt"])
    log = running.log.read_text()
    for name in ("gateway 0", "control", "engine manual"):
        assert f"{name} ended (signal 9); starting it again" in log


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.long), signal.SIGTERM])
def test_a_stop_lets_what_runs_finish_and_leaves_nothing_behind(running, upstream, number):
    """The last tests with this installation: they stop it and start it again."""
    upstream.release.clear()
    children = running.children()
    process = running.process
    with (
        openai_client(running) as client,
        client.chat.completions.create(model="started", messages=ASK, stream=True) as stream,
    ):
        begun = next(stream).choices[0].delta.content
        process.send_signal(number)
        until(lambda: not listens(running.gateway_port), what="the gateway's closing its door")
        timer = threading.Timer(0.2, upstream.release.set)
        timer.start()
        rest = [chunk.choices[0].delta.content for chunk in stream]
        timer.join()
    assert (begun, rest) == ("begun", [" and finished"])
    assert process.wait(30) == 0
    assert not any(alive(child) for child in children.values())
    assert not any(map(listens, (running.gateway_port, running.control_port, running.manual_port)))
    text = running.log.read_text()
    assert "Traceback" not in text
    running.start()


def test_children_do_not_outlive_a_killed_supervisor(running):
    children = running.children()
    running.process.kill()
    running.process.wait()
    until(lambda: not any(alive(child) for child in children.values()), 30, "the children's end")
    running.start()  # nothing was left that would be in its way
