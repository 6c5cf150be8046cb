"""The wheel: what an auditor installs. It holds all its data, and verifies with `cryptography` alone."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEDGER_FAKES = ROOT / "tests" / "unit" / "ledger"
DATA = (
    "sekisho/py.typed",
    "sekisho/policy/packs/jp_residency/pack.toml",
    "sekisho/policy/packs/jp_residency/20_places.cedar",
    "sekisho/policy/packs/jp_residency/cases.toml",
    "sekisho/catalog/nations/sg.toml",
    "sekisho/catalog/starter/boundary.toml",
    "sekisho/catalog/starter/deployments/manual-local.toml",
    "sekisho/catalog/starter/policies/example.cedar",
    "sekisho/capacity/manual/en/06-receipts.md",
    "sekisho/capacity/manual/ja/06-receipts.md",
    "sekisho/console/static/verify.js",
)
# What `cryptography` itself is and needs; nothing else of the environment can be seen.
VERIFYING = ("cryptography", "cffi", "pycparser", "_cffi_backend")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("hatchling", reason="the build backend is missing: make setup")
    made = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    build += ["--disable-pip-version-check", "--wheel-dir", str(made), str(ROOT)]
    subprocess.run(build, check=True, timeout=120)
    (file,) = made.glob("sekisho-*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the unpacked wheel and links to what `cryptography` needs; nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    for name in VERIFYING:
        found = importlib.util.find_spec(name)
        if found is not None and found.origin is not None:
            origin = Path(found.origin)
            origin = origin.parent if origin.name == "__init__.py" else origin
            (folder / origin.name).symlink_to(origin)
    return folder


def sekisho(installed, *words):
    command = [sys.executable, "-S", "-m", "sekisho", *words]  # -S: without the environment's packages
    environment = {"PYTHONPATH": str(installed), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    return subprocess.run(
        command, cwd=installed, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_wheel_holds_its_data_and_every_tracked_file_of_the_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert set(DATA) <= names
    listed = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert {line.removeprefix("src/") for line in listed.stdout.splitlines()} <= names
    assert not [name for name in names if name.startswith("tests/")]


def test_it_depends_on_cryptography_alone_unless_the_server_is_asked_for(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    required = [line for line in lines if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert [line.split()[1].partition(">")[0] for line in required] == ["cryptography"]


def test_a_receipt_verifies_with_cryptography_alone(installed, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(LEDGER_FAKES)
    from ledger_fakes import ORGANISATION_KEY, ORIGIN, World

    from sekisho.ledger.checkpoint import make_enrolment
    from sekisho.ledger.reader import LogReader
    from sekisho.ledger.receipts import build_receipt

    world = World(tmp_path / "ledger")
    request = world.request(world.writer())
    publisher = world.publisher()
    publisher.merge_once()
    reader = LogReader(world.root)
    state = reader.state(request, world.clock.now_us())
    note = make_enrolment(world.site_key, ORIGIN, world.log_key.verifier)
    data = build_receipt(request, world.site_key.verifier, note, state.entries, ORGANISATION_KEY)
    reader.close()
    publisher.close()
    (tmp_path / "receipt.json").write_bytes(data)
    (tmp_path / "changed.json").write_bytes(data.replace(b'"v":1', b'"v":2', 1))
    vkey = world.site_key.verifier.vkey
    verified = sekisho(installed, "verify", str(tmp_path / "receipt.json"), "--trust", vkey)
    assert verified.returncode == 0, verified.stderr
    assert sekisho(installed, "verify", str(tmp_path / "receipt.json")).returncode == 3
    assert sekisho(installed, "verify", str(tmp_path / "changed.json"), "--trust", vkey).returncode == 1
    (tmp_path / "policy.txt").write_text(f"log {world.log_key.verifier.vkey}\nquorum none\n", encoding="utf-8")
    demanded = ("--policy", str(tmp_path / "policy.txt"))
    assert sekisho(installed, "verify", str(tmp_path / "receipt.json"), *demanded).returncode == 0


def test_the_verifiers_page_is_written_with_cryptography_alone(installed):
    printed = sekisho(installed, "verify", "--html")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout.startswith("<!doctype html>")
    assert printed.stdout.rstrip().endswith("</html>")


def test_other_commands_say_what_to_install(installed):
    done = sekisho(installed, "init", "new")
    assert done.returncode == 1
    assert "pip install 'sekisho[server]'" in done.stderr
    assert sekisho(installed, "--help").returncode == 0


def test_a_log_is_audited_to_depth_two_with_cryptography_alone(installed, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(LEDGER_FAKES)
    from ledger_fakes import World

    world = World(tmp_path / "log")
    writer, publisher = world.writer(), world.publisher()
    for _ in range(300):
        writer.append("change", {"act": "x"})
    publisher.merge_once()
    publisher.close()
    done = sekisho(installed, "audit", str(tmp_path / "log"), "--trust", world.log_key.verifier.vkey)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("HOLDS, to depth 2")
    assert "pip install 'sekisho[server]'" in done.stdout
    done = sekisho(installed, "audit", str(tmp_path / "log"), "--trust", world.log_key.verifier.vkey, "--depth", "3")
    assert (done.returncode, "sekisho[server]" in done.stderr) == (2, True)
