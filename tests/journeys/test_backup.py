"""`sekisho backup` of an installation that serves, `sekisho restore` beside it: nothing lost, no size signed twice."""

import contextlib
import hashlib
import json
import shutil
import signal
import sqlite3
import subprocess
import threading

import pytest

from journeys.installation import ENVIRONMENT, SEKISHO, Installation, free_port, inside, openai_client, sekisho
from journeys.playing_upstream import PlayingUpstream
from journeys.published_log import log_key, require_log_holds
from journeys.test_order_of_syscalls import strace_unusable
from sekisho.ledger.audit import audit_integrity
from sekisho.ledger.log_files import LogFiles

ASK = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with PlayingUpstream() as upstream, Installation(tmp_path_factory.mktemp("backup") / "site") as installation:
        installation.declare("organisations", "gone", 'title = "Gone"\n')
        installation.deployment("chat", upstream.port, path="/chat")
        installation.start()
        yield installation


@pytest.fixture(scope="module")
def passphrase(tmp_path_factory):
    file = tmp_path_factory.mktemp("secret") / "passphrase"
    file.write_text("correct horse battery staple\n")
    return file


NEVER_RESTORED = ("witness.key", "content/gone.key")


def ask(site) -> str:
    with openai_client(site) as client:
        raw = client.chat.completions.with_raw_response.create(model="chat", messages=ASK)
    return raw.headers["x-sekisho-receipt"]


@pytest.fixture(scope="module")
def backup(site, passphrase, tmp_path_factory):
    """Made while requests come; (the directory, requests that were answered before it began)."""
    target = tmp_path_factory.mktemp("target") / "backup"
    before = [ask(site) for _ in range(5)]
    for name in NEVER_RESTORED:
        (site.root / "keys" / name).parent.mkdir(exist_ok=True)
        (site.root / "keys" / name).write_text(f"what {name} holds is for this machine alone\n")
    person = tmp_path_factory.mktemp("person") / "s-001"
    inside("persons", "new-key", person, "--no-passphrase")
    inside("persons", "enrol", "s-001", "--key", f"{person}.pub", "--dir", site.root)
    sekisho("keys", "create", "--name", "late", site.root)  # its entry is on its way through the outbox
    stop, asked = threading.Event(), []

    def load():
        while not stop.is_set():
            asked.append(ask(site))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        said = sekisho("backup", site.root, target, "--with-keys", "--passphrase-file", passphrase).stdout
    finally:
        stop.set()
        thread.join()
    assert "verified" in said
    assert asked
    return target, before


class Restored(Installation):
    """What a restore made, on ports of its own."""

    def __init__(self, root, original):
        self.root, self.key = root, original.key
        self.process, self.log = None, root.parent / f"{root.name}.log"
        ports = {name: free_port() for name in ("gateway_port", "control_port", "manual_port")}
        settings = (root / "sekisho.toml").read_text()
        for name, port in ports.items():
            settings = settings.replace(f"127.0.0.1:{getattr(original, name)}", f"127.0.0.1:{port}")
            setattr(self, name, port)
        (root / "sekisho.toml").write_text(settings)
        self.base = f"http://127.0.0.1:{self.gateway_port}"
        self.control = f"http://127.0.0.1:{self.control_port}"


def test_a_backup_is_complete_and_holds_no_key_in_the_clear(site, backup):
    target, _ = backup
    report = audit_integrity(target / "ledger", log_key(site.root))
    assert report.size == json.loads((target / "backup.json").read_text())["size"]
    everything = b"".join(path.read_bytes() for path in target.rglob("*") if path.is_file())
    secrets = [path for path in (site.root / "keys").rglob("*") if path.is_file()]
    assert secrets
    for path in secrets:
        lines = [line for line in path.read_bytes().splitlines() if len(line) > 40]
        assert not any(line in everything for line in lines), path.name
    assert not list(target.rglob("log.key"))
    assert target.stat().st_mode & 0o077 == 0


def test_it_is_restored_as_a_new_node_beside_the_original(site, backup, passphrase, tmp_path):
    target, before = backup
    root = tmp_path / "restored"
    said = sekisho("restore", target, root, "--passphrase-file", passphrase).stdout
    assert "revoked after the backup" in said
    assert (root / "keys/organisations").is_dir()
    assert not any((root / "keys" / name).exists() for name in NEVER_RESTORED)
    assert root.stat().st_mode & 0o007 == 0
    old, new = ((one / "ledger/enrolment").read_text().splitlines()[1:3] for one in (site.root, root))
    assert old[0] != new[0]
    assert old[1] != new[1]
    pin = ("--trust", site.root / "site.vkey")
    with Restored(root, site) as restored:
        restored.start()
        receipts = [restored.receipt(request) for request in (*before, ask(restored))]
        ask(site)  # and the original goes on
        restored.stop()
    for number, receipt in enumerate(receipts):
        file = tmp_path / f"{number}.json"
        file.write_bytes(receipt)
        assert "VERIFIED" in sekisho("verify", file, *pin, "--language", "en").stdout
    entries = require_log_holds(root)
    manifest = json.loads((target / "backup.json").read_text())
    (told,) = [e["body"] for e in entries if e["body"].get("act") == "ledger.restore"]
    assert (told["origin_before"], told["size"], told["root"]) == (old[0], manifest["size"], manifest["root"])
    bodies = [e["body"] for e in entries if e["kind"] == "change"]
    (carried,) = [body for body in bodies if body["act"] == "person.carry"]
    assert (carried["person"], len(carried["key"])) == ("s-001", 64)
    activated = next(body for body in bodies if body["act"] == "snapshot.activate")
    assert activated["before"] == activated["snapshot"] == (target / "files/snapshots/current").read_text().strip()
    report = json.loads(sekisho("audit", root, *pin, "--json").stdout)
    assert (report["depth"], report["found"]["errors"]) == (3, 0)
    assert set(report["found"]["by_code"]) == {"key_unknown", "person_carried"}, "what only the old log tells"
    former = audit_integrity(root / "ledger/former/0001", log_key(site.root))
    assert former.size == manifest["size"]
    acts = [e["body"]["act"] for e in entries if e["kind"] == "change"]
    logged = [
        json.loads(entry)["body"].get("act")
        for _, bundle in LogFiles(root / "ledger/former/0001").entries(0, former.size)
        for entry in bundle
    ]
    assert (acts + logged).count("key.create") == 2, "the outbox's acts are told once, there or here"


@pytest.mark.parametrize("thirds", [(1,), pytest.param((0, 1, 2, 3), marks=pytest.mark.long)], ids=["once", "again"])
def test_a_restore_that_is_killed_anywhere_is_begun_anew_by_the_same_command(
    site, backup, passphrase, tmp_path, thirds
):
    if reason := strace_unusable():
        pytest.skip(reason)
    command = ("restore", backup[0], "--passphrase-file", passphrase)

    def traced(root, *injection):
        words = ["strace", "-f", "-o", tmp_path / "trace", *injection, *SEKISHO, *command, root]
        return subprocess.run(list(map(str, words)), env=ENVIRONMENT, timeout=60, capture_output=True).returncode

    assert traced(tmp_path / "whole", "-e", "trace=fsync") == 0
    count = (tmp_path / "trace").read_text().count("fsync(")
    assert count > 20
    root = tmp_path / "killed"
    for third in thirds:
        number = max(1, min(count * third // 3, count - 2))  # the last of them before the settings are there
        assert traced(root, "-e", "trace=fsync", "-e", f"inject=fsync:signal=KILL:when={number}") == -signal.SIGKILL
        assert not (root / "sekisho.toml").exists(), number
    sekisho(*command, root)
    former = audit_integrity(root / "ledger/former/0001", log_key(site.root))
    assert former.size == json.loads((backup[0] / "backup.json").read_text())["size"]
    assert not (root / ".restoring").exists()
    assert sekisho("ledger", "status", "--dir", root).returncode == 0


def test_an_altered_backup_is_refused(site, backup, passphrase, tmp_path):
    def refused(change, *, code=1):
        copy = tmp_path / "copy"
        shutil.copytree(backup[0], copy)
        change(copy)
        done = inside("restore", copy, tmp_path / "new", "--passphrase-file", passphrase, check=False)
        shutil.rmtree(copy)
        assert done.returncode == code, done.stderr
        assert not (tmp_path / "new").exists()
        return done.stderr

    def change_register(copy):
        with contextlib.closing(sqlite3.connect(copy / "state.sqlite")) as register, register:
            register.execute("UPDATE identity_api_keys SET revoked_at = NULL")
            register.execute("UPDATE identity_state SET value = value + 1")

    def change_manifest_too(copy):
        path = copy / "files/declarations/boundary.toml"
        manifest = json.loads((copy / "backup.json").read_text())
        path.write_text(path.read_text() + "\n")
        manifest["files"]["files/declarations/boundary.toml"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (copy / "backup.json").write_text(json.dumps(manifest))

    def change_tile(copy):
        path = next(path for path in (copy / "ledger/tile/entries").rglob("*") if path.is_file())
        path.write_bytes(path.read_bytes()[:-1] + b"!")

    assert "state.sqlite" in refused(change_register)
    assert "altered" in refused(change_manifest_too)
    refused(change_tile)
    assert "files/sekisho.toml" in refused(lambda copy: (copy / "files/sekisho.toml").unlink())
    refused(lambda copy: (copy / "backup.json").unlink(), code=2)


def test_without_keys_the_sites_key_is_asked_for(site, tmp_path):
    target = tmp_path / "bare"
    sekisho("keys", "forget", "gone", "--confirm", "gone", "--dir", site.root)
    sekisho("backup", site.root, target)
    assert not (target / "keys.sealed").exists()
    refused = sekisho("restore", target, tmp_path / "new", check=False)
    assert refused.returncode == 2
    assert "--site-key" in refused.stderr
    said = sekisho("restore", target, tmp_path / "new", "--site-key", site.root / "keys/site.key").stdout
    assert "New commitment keys: default" in said
    assert not (tmp_path / "new/keys/site.key").exists()
    keys = sorted(path.name for path in (tmp_path / "new/keys/organisations").iterdir())
    assert keys == ["default.key", "gone.forgotten"], "what was forgotten stays so"


def test_words_that_are_off_change_nothing(site, passphrase, tmp_path):
    for words in (
        ("backup", site.root, tmp_path),
        ("backup", site.root, site.root / "inside"),
        ("backup", site.root, tmp_path / "new", "--with-keys"),
        ("backup", site.root, tmp_path / "new", "--passphrase-file", passphrase),
        ("restore", tmp_path, tmp_path / "new"),
    ):
        assert inside(*words, check=False).returncode == 2, words
    assert not (tmp_path / "new").exists()
