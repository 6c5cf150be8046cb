"""What the product publishes, read by Go's `sumdb/tlog` and `sumdb/note`.

It needs Debian's golang-go and golang-golang-x-mod-dev, which `make test-full` installs, and skips without them.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from ledger_fakes import World

GO_CODE = Path("/usr/share/gocode")  # where Debian's packages of Go libraries lie
REQUESTS = 400  # 800 entries: full tiles and partial ones, on two levels

pytestmark = pytest.mark.skipif(
    shutil.which("go") is None or not (GO_CODE / "src/golang.org/x/mod/sumdb/tlog").is_dir(),
    reason="golang-go and golang-golang-x-mod-dev are not installed",
)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("go")
    environment = {"PATH": os.environ["PATH"], "GOPATH": str(GO_CODE), "GO111MODULE": "off", "GOCACHE": str(scratch)}
    source = Path(__file__).parent / "go_tlog" / "main.go"
    subprocess.run(["go", "build", "-o", scratch / "check", source], env=environment, check=True)
    return scratch / "check"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("log") / "ledger")
    writer, publisher = world.writer(), world.publisher()
    for _ in range(REQUESTS):
        world.request(writer)
    publisher.merge_once()
    publisher.close()
    return world


def check(program, root, world):
    vkey = world.log_key.verifier.vkey
    return subprocess.run([program, root, vkey], capture_output=True, text=True, check=False)


def test_go_accepts_every_entry_and_every_proof(program, world):
    done = check(program, world.root, world)
    assert done.stdout == f"{2 * REQUESTS} entries hold\n", done.stderr


@pytest.mark.parametrize("name", ["checkpoint", "tile/0/001", "tile/1/000.p/3", "tile/entries/002"])
def test_go_refuses_a_changed_byte(program, world, tmp_path, name):
    root = shutil.copytree(world.root, tmp_path / "ledger")
    data = bytearray((root / name).read_bytes())
    data[len(data) // 2] ^= 1
    (root / name).write_bytes(data)
    assert check(program, root, world).returncode == 1
