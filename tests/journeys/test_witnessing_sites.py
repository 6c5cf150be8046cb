"""Installations that witness each other, over loopback HTTP and by files, beside a witness that misbehaves."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from journeys.installation import ENVIRONMENT, Installation, free_port, get, inside, openai_client, sekisho, until
from journeys.published_log import log_key
from sekisho.app.cosigning import WitnessCalls
from sekisho.app.witness import WitnessServer, open_witness
from sekisho.gateway.http1.client import HttpClient
from sekisho.gateway.http1.errors import UpstreamTlsError
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.cosignatures import CosignatureVerifier, cosigned_by
from sekisho.kernel.notes import NoteSigner, SignedNote
from sekisho.ledger.checkpoint import open_checkpoint
from sekisho.ledger.cosigner import DeclaredWitness
from sekisho.ledger.cosigning import verify_lines
from sekisho.settings import DataDirectory, WitnessSettings
from sekisho.supervisor import bind

SCRIPT = Path(__file__).with_name("scripted_witness.py")


class ScriptedWitnesses:
    """The process: `keys` are its witnesses' vkeys by behaviour."""

    def __init__(self) -> None:
        self.port = free_port()
        command = [sys.executable, str(SCRIPT), str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        self.keys = json.loads(self.process.stdout.readline())

    def seen(self, behaviour: str) -> list[list[int]]:
        """[old size, size] of each question."""
        return json.loads(get(f"http://127.0.0.1:{self.port}/{behaviour}/seen")[1])

    def verifier(self, behaviour: str) -> CosignatureVerifier:
        return CosignatureVerifier.parse(self.keys[behaviour])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def keys_of(root: Path) -> dict:
    """What `sekisho witness key` prints: `key` of the witness, `keys` of the log."""
    return tomllib.loads(inside("witness", "key", "--dir", root).stdout)


def declare(site: Installation, kind: str, name: str, text: str) -> None:
    (site.root / "declarations" / kind).mkdir(exist_ok=True)
    site.declare(kind, name, text)


def peers(site: Installation, other: Installation, url: str | None) -> None:
    """Let `site` ask `other`, and witness its log."""
    keys = keys_of(other.root)
    declare(site, "witnesses", "peer", f'key = "{keys["key"]}"\n' + (f'url = "{url}"\n' if url else ""))
    declare(site, "logs", "peer", f"keys = {json.dumps(keys['keys'])}\n")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two installations that witness each other; the first has the scripted witnesses, too."""
    directory = tmp_path_factory.mktemp("witness")
    with (
        ScriptedWitnesses() as scripted,
        Installation(directory / "tokyo") as tokyo,
        Installation(directory / "osaka") as osaka,
    ):
        for site, other in ((tokyo, osaka), (osaka, tokyo)):
            site.witness_port = free_port()
            site.setting("witness", "listen", f"127.0.0.1:{site.witness_port}")
            site.other = other
        for site in (tokyo, osaka):
            peers(site, site.other, f"http://127.0.0.1:{site.other.witness_port}")
        for behaviour, key in scripted.keys.items():
            url = f"http://127.0.0.1:{scripted.port}/{behaviour}"
            declare(tokyo, "witnesses", behaviour, f'key = "{key}"\nurl = "{url}"\n')
        tokyo.start()
        osaka.start()
        yield tokyo, osaka, scripted
        assert tokyo.stop() == 0
        assert osaka.stop() == 0


def request(site: Installation) -> str:
    """Something that makes entries; the receipt's id."""
    with openai_client(site) as client:
        answer = client.chat.completions.with_raw_response.create(
            model="manual", messages=[{"role": "user", "content": "What is a receipt?"}]
        )
        return answer.headers["x-sekisho-receipt"]


def checkpoint(site: Installation) -> SignedNote:
    return SignedNote.parse(get(f"{site.control}/ledger/checkpoint")[1].decode())


def size(site: Installation) -> int:
    return int(checkpoint(site).text.split("\n")[1])


def witness_of(site: Installation) -> CosignatureVerifier:
    return CosignatureVerifier.parse((site.root / "witness.vkey").read_text())


def is_cosigned(site: Installation, *verifiers: CosignatureVerifier) -> bool:
    return len(cosigned_by(checkpoint(site), verifiers)) == len(verifiers)


def metric(site: Installation, name: str, **labels: str) -> float:
    inner = ",".join(f'{key}="{value}"' for key, value in labels.items())
    line = f"{name}{{{inner}}} "
    text = get(f"{site.control}/metrics")[1].decode()
    return next((float(row.removeprefix(line)) for row in text.splitlines() if row.startswith(line)), -1.0)


def test_what_is_served_carries_the_cosignatures_of_both_witnesses(world):
    tokyo, osaka, scripted = world
    request(tokyo)
    verifiers = (witness_of(osaka), scripted.verifier("honest"))
    until(lambda: is_cosigned(tokyo, *verifiers), 30, f"cosignatures; see {tokyo.log}")
    until(lambda: is_cosigned(osaka, witness_of(tokyo)), 30, f"cosignatures; see {osaka.log}")
    note = get(f"{tokyo.control}/ledger/checkpoint")[1].decode()
    open_checkpoint(note, log_key(tokyo.root))


def test_a_receipt_meets_a_policy_with_a_quorum(world, tmp_path):
    tokyo, osaka, scripted = world
    identifier = request(tokyo)
    policy = tmp_path / "tlog-policy.txt"
    policy.write_text(
        f"log {log_key(tokyo.root).vkey}\n"
        f"witness osaka {witness_of(osaka).vkey}\n"
        f"witness other {scripted.keys['honest']}\n"
        "group both all osaka other\n"
        "quorum both\n"
    )

    def verified():
        receipt = tmp_path / "receipt.json"
        receipt.write_bytes(tokyo.receipt(identifier))
        done = sekisho("verify", receipt, "--trust", tokyo.root / "site.vkey", "--policy", policy, check=False)
        return done if done.returncode == 0 else None

    assert until(verified, 30, "a receipt with a quorum")
    none = tmp_path / "none.txt"
    none.write_text(policy.read_text().replace(scripted.keys["honest"], scripted.keys["equivocate"]))
    receipt = tmp_path / "receipt.json"
    done = sekisho("verify", receipt, "--trust", tokyo.root / "site.vkey", "--policy", none, check=False)
    assert done.returncode != 0, "another witness's cosignature is not there"


def test_the_witness_shows_what_it_cosigned(world):
    tokyo, osaka, _ = world
    origin = log_key(tokyo.root).name
    url = f"http://127.0.0.1:{osaka.witness_port}/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"
    status, body, _ = until(lambda: (answer := get(url))[0] == 200 and answer, 30, "a cosigned checkpoint")
    note = SignedNote.parse(body.decode())
    assert note.verified_by([log_key(tokyo.root)])
    assert cosigned_by(note, [witness_of(osaka)])
    assert status == 200
    assert get(url.replace("/checkpoint", "0/checkpoint"))[0] == 404
    status = sekisho("witness", "status", "--dir", osaka.root).stdout
    assert origin in status
    assert "peer: " in status


def test_witnesses_that_misbehave_delay_nothing_and_nothing_of_them_is_kept(world):
    """One equivocates, two lie about sizes, others answer garbage, hang, drip and hang up: all of them at once."""
    tokyo, osaka, scripted = world
    bad = set(scripted.keys) - {"honest"}
    before = size(tokyo)
    identifier = request(tokyo)
    until(lambda: size(tokyo) > before, 15, "publication")
    assert tokyo.receipt(identifier)
    until(lambda: is_cosigned(tokyo, witness_of(osaka), scripted.verifier("honest")), 30, "the good ones' cosignatures")
    for behaviour in bad:
        until(lambda behaviour=behaviour: scripted.seen(behaviour), 30, f"{behaviour}'s being asked")
        if behaviour not in ("hang", "drip"):  # ten seconds are given to these
            until(
                lambda b=behaviour: metric(tokyo, "sekisho_witness_failures", witness=b) > 0,
                30,
                f"{behaviour}'s failure",
            )
        assert metric(tokyo, "sekisho_witness_size", witness=behaviour) == 0
        assert metric(tokyo, "sekisho_witness_alarm", witness=behaviour) == (1.0 if behaviour == "ahead" else 0.0)
    for path in (tokyo.root / "ledger" / "cosigned").glob("[0-9]*"):
        names = {line.name for line in SignedNote.parse(path.read_text()).signatures}
        assert names <= {log_key(tokyo.root).name, witness_of(osaka).name, scripted.verifier("honest").name}
    status = sekisho("witness", "status", "--dir", tokyo.root, check=False)
    assert status.returncode == 1
    assert "shows none that this log's own key signed" in next(
        line for line in status.stdout.splitlines() if line.startswith("  ahead:")
    )
    assert "failing" in next(line for line in status.stdout.splitlines() if line.startswith("  garbage:"))
    assert tokyo.log.read_text().count("CRITICAL ALARM: witness ahead") == 1


async def test_a_witness_over_tls_is_asked_under_its_own_authority_only(tmp_path):
    """With a kept connection, too: it is asked again over another when the witness has closed it."""
    directory = DataDirectory(tmp_path)
    directory.keys.mkdir()
    authority, other = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    settings = WitnessSettings(f"127.0.0.1:{port}", "certificate.pem", "key.pem")
    log = NoteSigner("log.example/a", Ed25519PrivateKey.generate())
    book = open_witness(directory, "ours.example/a/b", SystemClock())
    note = log.sign(f"log.example/a\n0\n{base64.b64encode(hashlib.sha256(b'').digest()).decode()}\n")
    verifier = CosignatureVerifier.parse(book.vkey)
    client = HttpClient()
    ask = WitnessCalls(client, tmp_path)
    try:
        for _ in range(2):
            server = WitnessServer(directory, settings, book, lambda: {"log.example/a": (log.verifier,)})
            await server.start(listener)
            trusted = DeclaredWitness("w", verifier, f"https://127.0.0.1:{port}", "ca.pem")
            answer = await ask.add_checkpoint(trusted, f"old 0\n\n{note}".encode())
            assert answer.status == 200
            assert verify_lines(answer.body.decode(), note, verifier)
            with pytest.raises(UpstreamTlsError):
                await ask.add_checkpoint(trusted._replace(ca_file="other.pem"), f"old 0\n\n{note}".encode())
            await server.stop()
            listener = bind("127.0.0.1", port)
    finally:
        listener.close()
        await client.close()


def test_a_clone_is_an_alarm(world, tmp_path):
    """A copy of a data directory, whose log went on elsewhere: its witness tells, though it publishes."""
    tokyo, osaka, _ = world
    old = tmp_path / "old"
    shutil.copytree(osaka.root, old, ignore=shutil.ignore_patterns("run", "wal"))
    (old / "ledger" / "wal").mkdir()
    before = size(osaka)
    request(osaka)
    until(lambda: size(osaka) > before and is_cosigned(osaka, witness_of(tokyo)), 30, "the log's going on")
    (old / "run").mkdir()
    settings = (old / "sekisho.toml").read_text()
    for port in (osaka.gateway_port, osaka.control_port, osaka.manual_port, osaka.witness_port):
        settings = settings.replace(f":{port}", f":{free_port()}")
    (old / "sekisho.toml").write_text(settings)
    log = tmp_path / "old.log"
    with log.open("wb") as stream:
        clone = subprocess.Popen(
            [sys.executable, "-m", "sekisho", "control", str(old)], stdout=stream, stderr=stream, env=ENVIRONMENT
        )
    try:
        until(lambda: "CRITICAL ALARM: witness peer" in log.read_text(), 30, f"the alarm; see {log.read_text()}")
    finally:
        clone.terminate()
        clone.wait(timeout=30)
    assert "clone or an old copy" in log.read_text()
    assert "that this log's own key signed" in log.read_text()
    assert "shows none" not in log.read_text()


def test_two_sites_without_a_network_witness_each_other_by_files(tmp_path):
    """A disk goes to and fro: request, sign, add; what is old, replayed, foreign or changed is told apart."""
    with Installation(tmp_path / "here") as here, Installation(tmp_path / "there") as there:
        peers(here, there, None)
        peers(there, here, None)
        here.apply()
        here.start("control")
        until(lambda: get(f"{here.control}/ledger/checkpoint")[0] == 200, 30, f"a checkpoint; see {here.log}")
        ask, signed = tmp_path / "request", tmp_path / "cosigned"

        def cosigned() -> bool:
            """Carried until the log rests for as long as that takes."""
            inside("witness", "request", "--dir", here.root, "-o", ask)
            inside("witness", "sign", ask, "--dir", there.root, "-o", signed)
            assert "peer" in inside("witness", "add", signed, "--dir", here.root).stdout
            return is_cosigned(here, verifier)

        verifier = CosignatureVerifier.parse(keys_of(there.root)["key"])
        until(cosigned, 60, "the cosignature in the checkpoint")
        first = signed.read_bytes()
        inside("keys", "create", here.root, "--name", "grows the log")
        until(lambda: not is_cosigned(here, verifier), 30, "a larger log")
        until(cosigned, 60, "the next cosignature")

        # An old request again: from a size that is not the last one.
        sekisho("witness", "request", "--old", "0", "--dir", here.root, "-o", ask)
        old = sekisho("witness", "sign", ask, "--dir", there.root, check=False)
        assert old.returncode == 3
        assert f"--old {size(here)}" in old.stderr
        # Cosignatures of before are taken in again; changed ones, and those of a stranger, are not.
        assert inside("witness", "add", "-", "--dir", here.root, input=first.decode()).returncode == 0
        spoilt = tmp_path / "spoilt"
        spoilt.write_bytes(first[:-12] + b"A" + first[-11:])
        assert sekisho("witness", "add", spoilt, "--dir", here.root, check=False).returncode == 1
        assert is_cosigned(here, verifier)
        (there.root / "declarations" / "logs" / "peer.toml").unlink()
        inside("witness", "request", "--dir", here.root, "-o", ask)
        stranger = inside("witness", "sign", ask, "--dir", there.root, check=False)
        assert stranger.returncode == 1
        assert "not witnessed here" in stranger.stderr
        assert here.stop() == 0
