"""What the product writes, an outsider accepts, and rejects once a single byte is changed."""

import ast
import subprocess
import sys
from pathlib import Path

import pymerkle
import pytest
from ledger_fakes import ORGANISATION_KEY, ORIGIN, World
from receipt_corpus import COSIGNED_AT, WITNESSES, cosigned, policy, policy_cases, verdict_of

import outsider
from sekisho.ledger.checkpoint import make_enrolment
from sekisho.ledger.errors import ReceiptInvalid
from sekisho.ledger.reader import LogReader
from sekisho.ledger.receipts import build_receipt
from sekisho.ledger.verify import verify_receipt


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("outsider") / "ledger")
    writer = world.writer("w1")
    publisher = world.publisher()
    for _ in range(120):
        world.request(writer)
    world.asked = world.request(writer)
    for _ in range(30):
        world.request(writer)
    publisher.merge_once()
    publisher.close()
    return world


@pytest.fixture(scope="module")
def receipt(world):
    reader = LogReader(world.root)
    state = reader.state(world.asked, world.clock.now_us())
    reader.close()
    assert state.state == "complete"
    enrolment = make_enrolment(world.site_key, ORIGIN, world.log_key.verifier)
    return build_receipt(world.asked, world.site_key.verifier, enrolment, state.entries, ORGANISATION_KEY)


def accepts(check, *arguments):
    """Whether the check passes; a malformed value may also trip over its own type."""
    try:
        check(*arguments)
    except (outsider.Rejected, KeyError, TypeError, AttributeError, ValueError):
        return False
    return True


def test_the_outsider_shares_no_code_with_the_product():
    tree = ast.parse(Path(outsider.__file__).read_text(encoding="utf-8"))
    modules = {alias.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    modules |= {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules - set(sys.stdlib_module_names) == {"cryptography"}


def test_the_receipt_is_accepted(world, receipt):
    outsider.check_receipt(receipt, world.site_key.verifier.vkey)


def test_every_changed_byte_of_the_receipt_is_rejected_by_both(world, receipt):
    site = world.site_key.verifier
    for offset in range(len(receipt)):
        changed = bytearray(receipt)
        changed[offset] ^= 0x20 if offset % 7 == 0 else 0x01  # the letters' case, or their last bit
        assert not accepts(outsider.check_receipt, bytes(changed), site.vkey), f"byte {offset}"
        with pytest.raises(ReceiptInvalid):
            verify_receipt(bytes(changed), trusted=[site])


def test_the_outsider_and_the_product_agree_on_cosigned_receipts_under_policies(world, receipt):
    site = world.site_key.verifier.vkey
    verdicts = []
    for data, text in policy_cases(receipt, world):
        verdict, reason = verdict_of(data, [site], text)
        if verdict == "unusable":
            continue  # the outsider takes policies to be well formed
        demanded = text.decode("utf-8", "surrogateescape")
        assert accepts(outsider.check_receipt, data, site, demanded) == (verdict == "verified"), reason
        verdicts.append(verdict)
    assert {"verified", "unmet", "invalid"} == set(verdicts)


def test_every_changed_byte_of_a_cosigned_checkpoint_is_rejected_by_the_outsider(world):
    note = (world.root / "checkpoint").read_text(encoding="utf-8")
    text = note.rpartition("\n\n")[0] + "\n"
    cosigned_note = (note + WITNESSES["a"].cosign(text, COSIGNED_AT)).encode()
    demanded = policy(world.log_key.verifier, quorum="a", names="a").decode()
    assert outsider.check_policy(cosigned_note.decode(), demanded) == {"a"}
    assert outsider.cosigned_at(cosigned_note.decode(), WITNESSES["a"].verifier.vkey) == COSIGNED_AT
    for offset in range(len(cosigned_note)):
        changed = bytearray(cosigned_note)
        changed[offset] ^= 0x01
        assert not accepts(lambda data: outsider.check_policy(data.decode(), demanded), bytes(changed)), offset


def test_the_outsiders_program_takes_a_policy(world, receipt, tmp_path):
    (tmp_path / "receipt.json").write_bytes(cosigned(receipt, "a", "b"))
    (tmp_path / "policy.txt").write_bytes(policy(world.log_key.verifier, quorum="abc"))
    words = [sys.executable, outsider.__file__, "receipt", tmp_path / "receipt.json", world.site_key.verifier.vkey]
    done = subprocess.run([*words, tmp_path / "policy.txt"], capture_output=True, text=True, check=False)
    assert done.stdout == f"receipt holds: {world.asked}\n", done.stderr
    (tmp_path / "policy.txt").write_bytes(policy(world.log_key.verifier, quorum="d"))
    assert subprocess.run([*words, tmp_path / "policy.txt"], capture_output=True, check=False).returncode == 1


def test_the_log_is_accepted_and_its_root_is_what_pymerkle_computes(world):
    entries = outsider.check_log(world.root, world.log_key.verifier.vkey)
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    for entry in entries:
        tree.append_entry(entry)
    _, root = outsider.open_checkpoint(
        (world.root / "checkpoint").read_text(encoding="utf-8"), outsider.Key(world.log_key.verifier.vkey)
    )
    assert tree.get_root() == root


def test_every_changed_byte_of_the_checkpoint_is_rejected(world):
    require_each_change_rejected(world, world.root / "checkpoint", step=1)


@pytest.mark.parametrize("level", ["0", "1", "entries"])
def test_changed_bytes_of_tiles_and_bundles_are_rejected(world, level):
    files = [path for path in (world.root / "tile" / level).rglob("*") if path.is_file()]
    assert files
    for path in files:
        # Each change costs a whole audit: a prime step over larger files meets lengths, text and hashes alike.
        require_each_change_rejected(world, path, step=max(1, path.stat().st_size // 60) | 1)


def test_every_changed_byte_of_a_small_log_is_rejected(tmp_path):
    """Bundles and tiles of a log small enough to try each byte."""
    small = World(tmp_path / "ledger")
    writer = small.writer("w1")
    publisher = small.publisher()
    small.request(writer)
    publisher.merge_once()
    publisher.close()
    outsider.check_log(small.root, small.log_key.verifier.vkey)
    files = [path for path in (small.root / "tile").rglob("*") if path.is_file()]
    assert len(files) == 2  # one bundle, one tile
    for path in files:
        require_each_change_rejected(small, path, step=1)


def require_each_change_rejected(world, path, step):
    good = path.read_bytes()
    try:
        for offset in range(0, len(good), step):
            changed = bytearray(good)
            changed[offset] ^= 0x01
            path.write_bytes(changed)
            assert not accepts(outsider.check_log, world.root, world.log_key.verifier.vkey), f"{path}: byte {offset}"
    finally:
        path.write_bytes(good)
    assert accepts(outsider.check_log, world.root, world.log_key.verifier.vkey)
