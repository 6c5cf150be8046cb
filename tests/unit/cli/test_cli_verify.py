"""`sekisho verify`: what it prints and the status it ends with."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sekisho.cli import verify

sys.path.insert(0, str(Path(__file__).parents[1] / "ledger"))

from ledger_fakes import ORGANISATION_KEY, ORIGIN, World  # the ledger's units lend their world
from receipt_corpus import cosigned, policy

from sekisho.ledger.checkpoint import make_enrolment
from sekisho.ledger.reader import LogReader
from sekisho.ledger.receipts import build_receipt


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("verify")
    world = World(directory / "ledger")
    request = world.request(world.writer())
    publisher = world.publisher()
    publisher.merge_once()
    publisher.close()
    reader = LogReader(world.root)
    entries = reader.state(request, world.clock.now_us()).entries
    reader.close()
    site = world.site_key.verifier
    note = make_enrolment(world.site_key, ORIGIN, world.log_key.verifier)
    data = build_receipt(request, site, note, entries, ORGANISATION_KEY)
    (directory / "receipt.json").write_bytes(data)
    (directory / "cosigned.json").write_bytes(cosigned(data, "a"))
    log = world.log_key.verifier
    for name, text in (
        ("one", policy(log, quorum="a")), ("two", policy(log, quorum="abc")), ("open", policy(quorum="a")),
        ("malformed", b"quorum a\n"),
    ):  # fmt: skip
        (directory / f"{name}.policy").write_bytes(text)
    (directory / "changed.json").write_bytes(data.replace(b"domestic", b"elsewhere"))
    (directory / "site.vkey").write_text(f"# our site\n{site.vkey}\n", encoding="utf-8")
    (directory / "question").write_bytes(b"question")
    (directory / "other").write_bytes(b"other")
    directory.joinpath("vkey").write_text(site.vkey, encoding="utf-8")
    return directory


def run(files, *words):
    parser = argparse.ArgumentParser()
    verify.add_arguments(parser)
    return verify.run(parser.parse_args([word.replace("@", f"{files}/") for word in words]))


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["@receipt.json", "--trust", "@site.vkey"], verify.EXIT_VERIFIED),
        (["@receipt.json", "--trust", "@site.vkey", "--content", "received=@question"], verify.EXIT_VERIFIED),
        (["@receipt.json", "--trust", "@site.vkey", "--content", "received=@other"], verify.EXIT_NOT_VALID),
        (["@changed.json", "--trust", "@site.vkey"], verify.EXIT_NOT_VALID),
        (["@changed.json"], verify.EXIT_NOT_VALID),
        (["@receipt.json"], verify.EXIT_NOT_PINNED),
        (["@missing.json"], verify.EXIT_USAGE),
        (["@receipt.json", "--trust", "@missing.vkey"], verify.EXIT_USAGE),
        (["@receipt.json", "--trust", "@question"], verify.EXIT_USAGE),
        (["@receipt.json", "--content", "received"], verify.EXIT_USAGE),
        (["@receipt.json", "--content", "prompt=@question"], verify.EXIT_USAGE),
        (["@cosigned.json", "--policy", "@one.policy"], verify.EXIT_VERIFIED),
        (["@cosigned.json", "--policy", "@open.policy"], verify.EXIT_NOT_PINNED),
        (["@cosigned.json", "--policy", "@open.policy", "--trust", "@site.vkey"], verify.EXIT_VERIFIED),
        (["@cosigned.json", "--policy", "@two.policy", "--trust", "@site.vkey"], verify.EXIT_POLICY_UNMET),
        (["@receipt.json", "--policy", "@one.policy"], verify.EXIT_POLICY_UNMET),
        (["@changed.json", "--policy", "@one.policy"], verify.EXIT_NOT_VALID),
        (["@cosigned.json", "--policy", "@malformed.policy"], verify.EXIT_USAGE),
        (["@cosigned.json", "--policy", "@missing.policy"], verify.EXIT_USAGE),
        ([], verify.EXIT_USAGE),
        (["@receipt.json", "--html"], verify.EXIT_USAGE),
    ],
)
def test_the_status_tells_the_verdict(files, capsys, words, status):
    assert run(files, *words) == status
    printed = capsys.readouterr()
    assert (printed.out == "") == (status == verify.EXIT_USAGE)
    assert (printed.err != "") == (status == verify.EXIT_USAGE)


def test_the_key_itself_can_be_given(files, capsys):
    assert run(files, "@receipt.json", "--trust", (files / "vkey").read_text(encoding="utf-8")) == 0
    assert capsys.readouterr().out.startswith("VERIFIED")


def test_json_and_japanese(files, capsys):
    assert run(files, "@receipt.json", "--json") == verify.EXIT_NOT_PINNED
    assert json.loads(capsys.readouterr().out)["verdict"] == "consistent"
    assert run(files, "@changed.json", "--json") == verify.EXIT_NOT_VALID
    failure = json.loads(capsys.readouterr().out)
    assert (failure["verdict"], failure["reason"]) == ("invalid", "inclusion")
    assert "does not lead to the root" in failure["message"]
    assert run(files, "@changed.json", "--language", "ja") == verify.EXIT_NOT_VALID
    assert "すべての記録は、チェックポイントの台帳に含まれている (inclusion)" in capsys.readouterr().out
    assert run(files, "@receipt.json", "--trust", "@site.vkey", "--language", "ja") == verify.EXIT_VERIFIED
    assert capsys.readouterr().out.startswith("検証済み")


def test_a_malformed_policy_is_named_with_its_line(files, capsys):
    assert run(files, "@receipt.json", "--policy", "@malformed.policy") == verify.EXIT_USAGE
    assert "malformed.policy: line 1: no witness or group" in capsys.readouterr().err


def test_verifying_needs_none_of_the_servers_dependencies():
    program = "import sys, sekisho.cli.verify; print(*{name.split('.')[0] for name in sys.modules})"
    source = str(Path(verify.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": source}, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert {"sekisho", "cryptography"} <= loaded
    assert not loaded & {"orjson", "msgspec", "uvloop", "httptools", "sqlalchemy", "fastapi", "hyperscan", "cedarpy"}


def test_files_of_keys_are_read_as_the_page_reads_them(files):
    key = (files / "vkey").read_text(encoding="utf-8").strip()
    for text in (f"\ufeff{key}\r\n", f" # ours\n\n\t{key} \n", f"# x\u2028\n{key}"):
        (files / "keys").write_bytes(text.encode())
        assert run(files, "@receipt.json", "--trust", "@keys") == verify.EXIT_VERIFIED, text
    (files / "keys").write_bytes(f"{key}\n".encode() * 1_000)
    assert run(files, "@receipt.json", "--trust", "@keys") == verify.EXIT_USAGE  # what is cut off might be the key
