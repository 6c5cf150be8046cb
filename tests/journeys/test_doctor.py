"""`sekisho doctor` over a real installation: a healthy one has no problem, and a broken one has just those it has."""

import asyncio
import json
import os
import shutil
import ssl
import subprocess
import sys
import time

import pytest
import trustme

from journeys.installation import ENVIRONMENT, Installation, free_port, get, inside, sekisho, until
from journeys.provider_upstream import PARTS, ProviderUpstream
from sekisho.app.installation import put_declarations_in_force
from sekisho.app.keys import create_signing_key
from sekisho.cli import main as program
from sekisho.kernel.ids import IdSource
from sekisho.ledger.interfaces import EntryDraft
from sekisho.ledger.writer import WriteAheadSettings, WriteAheadWriter
from sekisho.settings import FORMAT, DataDirectory

HOLD = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
AHEAD_US = 3_600_000_000
OF_THE_MACHINE = {"clock.unsynchronised", "disk.volatile", "disk.layered", "disk.sync_slow", "disk.short", "disk.low"}


class InAnHour:
    def now_us(self):
        return time.time_ns() // 1000 + AHEAD_US


async def append_from_the_future(root) -> None:
    clock = InAnHour()
    writer = WriteAheadWriter.open(
        root / "ledger", site="local", clock=clock, ids=IdSource(), settings=WriteAheadSettings(256 * 1024, 0)
    )
    now_us = clock.now_us()
    body = b'{"act":"provider.test","deployment":"d","provider":"p"}'
    await writer.append(EntryDraft("change", IdSource().new(now_us), now_us, "operator", body))
    await writer.close()


def examined(root, *options, code=0) -> list[dict]:
    done = inside("doctor", root, "--json", "--language", "en", *options, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout)


def of(severity, findings) -> set[str]:
    return {one["code"] for one in findings if one["severity"] == severity} - OF_THE_MACHINE


def looks(root) -> dict:
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.stat()
        found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
    return found


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    """One that ran, answered and was stopped; `found` is what a doctor said while it ran."""
    installation = Installation(tmp_path_factory.mktemp("doctor") / "site")
    with installation:
        installation.start()
        until(lambda: get(f"{installation.control}/api/status")[0] == 200)
        installation.found = examined(installation.root, "--connect")
    return installation


@pytest.fixture
def root(installation, tmp_path):
    """A copy of its own for each test."""
    return shutil.copytree(installation.root, tmp_path / "site")


def copied(installation, root) -> Installation:
    """The installation that `root` is a copy of, there."""
    copy = Installation.__new__(Installation)
    copy.__dict__ |= installation.__dict__ | {"root": root, "log": root.parent / "log", "process": None}
    return copy


def test_one_that_runs_has_no_problem(installation):
    assert of("warning", installation.found) == set()
    assert {"lock.held", "process.ready", "declared.in_force", "key.all", "connect.ok", "clock.ahead"} <= of(
        "ok", installation.found
    )


def test_one_that_is_stopped_has_no_problem_and_is_left_as_it_is(root):
    before = looks(root)
    found = examined(root)
    assert of("warning", found) == set()
    assert {"lock.nobody", "declared.in_force", "key.all", "register.keys", "clock.ahead"} <= of("ok", found)
    assert looks(root) == before


def test_what_is_broken_is_found_and_nothing_else(installation, root):
    # A wrong clock, while it is published; then everything at once.
    copy = copied(installation, root)
    with copy:
        copy.start()
        size = json.loads(get(f"{copy.control}/api/status")[1])["log_size"]
        asyncio.run(append_from_the_future(root))
        until(lambda: json.loads(get(f"{copy.control}/api/status")[1])["log_size"] > size, what="the merge")
    (root / "keys" / "log.key").chmod(0o640)
    (root / "keys" / "organisations" / "default.key").unlink()
    (root / "keys" / "site.key").unlink()
    create_signing_key(root / "keys" / "site.key", "another")
    copy.setting("ledger", "free_reserve_bytes", 1 << 60)
    copy.declare("models", "later", 'title = "Later"\n')
    copy.deployment("nokey", free_port(), extra='credential = { file = "keys/nobody" }\n')
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, root / "ledger" / "publish.lock"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        found = examined(root, code=1)
    finally:
        holder.communicate(b"\n", timeout=20)
    assert of("problem", found) == {
        "clock.behind", "credential.missing", "disk.full", "key.open", "key.organisation", "key.other",
        "lock.foreign",
    }  # fmt: skip
    assert of("warning", found) == {"declared.changed"}
    by_code = {one["code"]: one for one in found}
    assert by_code["key.open"]["values"]["path"] == "keys/log.key"
    assert by_code["key.other"]["values"]["path"] == "keys/site.key"
    assert by_code["lock.foreign"]["values"]["process"] == holder.pid
    assert by_code["clock.behind"]["values"]["what"] == "entry"
    assert all(one["remedy"] for one in found if one["severity"] != "ok")


def test_mistakes_stops_and_monitor_mode_are_told(root):
    declarations = root / "declarations"
    watching = declarations / "organisations" / "watching.toml"
    watching.write_text('title = "W"\nmode = "monitor"\nmonitor_until = 2199-01-01\n')
    put_declarations_in_force(DataDirectory(root))
    watching.write_text('title = "W"\n')  # which is not in force yet: what policy denies is sent all the same
    sekisho("stop", "provider", "local", "--dir", root, "--reason", "a test")
    found = examined(root)
    assert of("warning", found) == {"declared.changed", "declared.monitor", "declared.stop"}
    (declarations / "models" / "odd.toml").write_text("titel = 1\n")
    lock = declarations / ".git" / "index.lock"
    lock.parent.mkdir()
    lock.touch()
    os.utime(lock, (0, 0))
    found = examined(root, code=1)
    assert {"declared.mistake", "declared.git_lock"} <= of("problem", found)
    assert {"declared.monitor", "declared.stop"} <= of("warning", found)
    said = sekisho("doctor", root, "--language", "ja", check=False)
    assert "問題  models/odd.toml" in said.stdout


def test_other_ways_to_be_broken(root):
    (root / "site.vkey").write_text("nonsense\n")
    (root / "state.sqlite").write_bytes(b"no database at all" * 100)
    (root / "snapshots" / "current").write_text("nonsense\n")
    found = examined(root, code=1)
    failed = [one["values"]["theme"] for one in found if one["code"] == "look.failed"]
    assert failed == ["declarations"]
    assert of("problem", found) == {"look.failed", "key.enrolment", "register.unreadable"}
    (root / "sekisho.toml").write_text("[gateway]\nworkers = 0\n")
    assert of("problem", examined(root, code=1)) == {"settings.wrong"}


def test_what_is_stopped_is_told_whatever_is_wrong_with_the_declarations(root):
    sekisho("stop", "provider", "local", "--dir", root)
    (root / "snapshots" / "current").write_text("nonsense\n")
    found = examined(root, code=1)
    assert of("warning", found) == {"declared.stop", "look.no_catalogue"}
    assert of("problem", found) == {"look.failed"}


def test_a_gateway_under_a_supervisor_of_its_own_is_seen_and_asked(installation, root, monkeypatch):
    """First without control, then with one whose console has a public name."""
    copy = copied(installation, root)
    copy.deployment("secret", free_port(), extra='credential = { env = "SECRET_OF_THE_GATEWAY" }\n')
    copy.apply()
    copy.setting("control", "public_host", "console.example.jp")
    monkeypatch.setitem(ENVIRONMENT, "SECRET_OF_THE_GATEWAY", "of the gateway")
    with copy:
        copy.start("gateway")
        until(lambda: get(f"{copy.base}/readyz")[0] == 200, what="the gateway")
        monkeypatch.delitem(ENVIRONMENT, "SECRET_OF_THE_GATEWAY")  # neither control nor the doctor has it
        alone = examined(root, code=1)
        assert of("problem", alone) == {"lock.gateway_alone"}
        assert {"lock.held", "process.ready"} <= of("ok", alone)
        assert of("warning", alone) == {"credential.environment"}
        other = copied(installation, root)
        with other:
            other.start("control")
            until(lambda: get(f"{copy.control}/healthz")[0] == 200, what="control")
            both = examined(root)
        assert "process.ready" in of("ok", both)
        assert of("warning", both) == {"credential.environment"}


def test_endpoints_are_connected_to_as_a_gateway_would_and_sent_nothing(root):
    authority, stranger = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(root / "keys" / "authority.pem")
    stranger.cert_pem.write_to_path(root / "keys" / "stranger.pem")
    (root / "keys" / "garbage.pem").write_text("no certificate")
    nobody = free_port()
    with ProviderUpstream(PARTS, tls=context) as upstream:
        declare = Declarer(root, upstream.port)
        declare("good", ca_file="keys/authority.pem")
        declare("foreign", ca_file="keys/stranger.pem")
        declare("garbage", ca_file="keys/garbage.pem")
        declare("elsewhere", ca_file="keys/authority.pem", more='networks = ["192.0.2.0/24"]\n')
        declare("nobody", ca_file="keys/authority.pem", port=nobody)
        found = examined(root, "--connect", code=1)
        assert upstream.seen == []
    by_deployment = {}
    for one in found:
        if one["code"].startswith(("connect.", "credential.")):
            values = one["values"]
            by_deployment.setdefault(values.get("deployment") or values["deployments"], []).append(one)
    assert {name: sorted(one["code"] for one in ones) for name, ones in by_deployment.items()} == {
        "good": ["connect.ok"],
        "foreign": ["connect.failed"],
        "garbage": ["connect.failed", "credential.tls"],
        "elsewhere": ["connect.failed"],
        "nobody": ["connect.failed"],
        "manual-local": ["connect.engine"],
    }
    assert "certificate" in by_deployment["foreign"][0]["values"]["detail"]
    assert "outside its declared networks" in by_deployment["elsewhere"][0]["values"]["detail"]


class Declarer:
    def __init__(self, root, port):
        self.declarations, self.port = root / "declarations", port

    def __call__(self, name, *, ca_file, more="", port=None):
        (self.declarations / "models" / f"{name}.toml").write_text('title = "X"\n')
        (self.declarations / "deployments" / f"{name}.toml").write_text(
            f'model = "{name}"\nprovider = "local"\nsite = "local"\ntype = "engine"\n{more}'
            f'url = "https://127.0.0.1:{port or self.port}/good/v1"\n[tls]\nca_file = "{ca_file}"\n'
        )


def test_what_is_no_installation_is_a_matter_of_usage(tmp_path):
    done = sekisho("doctor", tmp_path, check=False)
    assert done.returncode == 2
    assert "is not an installation" in done.stderr


# The format of the data directory


@pytest.mark.parametrize(
    "words",
    [
        ("up",),
        ("gateway",),
        ("control",),
        ("check",),
        ("explain", "--model", "manual", "--text", "hi"),
        ("keys", "list", "--dir"),
        ("keys", "create", "--name", "x", "--dir"),
        ("stop", "deployment", "manual-local", "--dir"),
        ("stop", "list", "--dir"),
        ("providers", "test", "local", "--dir"),
        ("providers", "list", "--dir"),
        ("models", "list", "--dir"),
        ("console", "token"),
        ("engine", "list", "--dir"),
    ],
    ids=" ".join,
)
def test_an_older_program_touches_nothing_of_a_newer_directory(root, words, capsys):
    (root / "format").write_text(f"{FORMAT + 1}\n")
    before = looks(root)
    if words[0] in ("up", "gateway", "control"):  # were they to start, they would not end
        done = sekisho(*words, root, check=False)
        code, said = done.returncode, done.stderr
    else:
        code, said = program.main([*words, str(root)]), capsys.readouterr().err
    assert code == 1
    assert f"data format {FORMAT + 1}" in said
    assert looks(root) == before


def test_a_doctor_says_that_the_directory_is_newer(root):
    (root / "format").write_text(f"{FORMAT + 1}\n")
    assert of("problem", examined(root, code=1)) == {"format.unknown"}
    os.unlink(root / "format")  # made before there was one: format 1
    assert of("problem", examined(root)) == set()
