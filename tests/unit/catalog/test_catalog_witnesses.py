"""Declared witnesses and logs: read strictly, every mistake named."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sekisho.catalog.interfaces import LogOfOthers, Witness
from sekisho.catalog.table import Table
from sekisho.catalog.witnesses import WITNESSES_MAX, read_log, read_witness, witness_mistakes
from sekisho.kernel.cosignatures import CosignatureSigner
from sekisho.kernel.notes import NoteSigner


def key(number):
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


WITNESS = CosignatureSigner("osaka/w", key(1)).verifier.vkey  # one long run of base64: as a credential looks
LOG = NoteSigner("osaka.example/log", key(2)).verifier.vkey
NEXT = NoteSigner("osaka.example/log", key(3)).verifier.vkey
OTHER = NoteSigner("other.example/log", key(3)).verifier.vkey


def read(reader, **values):
    mistakes = []
    table = Table(values, "x.toml", mistakes)
    value = reader("x", table)
    table.finish()
    return value, [mistake.key for mistake in mistakes]


def test_a_witness_with_and_without_a_url():
    assert read(read_witness, key=WITNESS) == (Witness("x", "x", WITNESS), [])
    url = "https://osaka.example/w"
    assert read(read_witness, key=WITNESS, url=url + "/", ca_file="ca.pem", title="Osaka") == (
        Witness("x", "Osaka", WITNESS, url, "ca.pem"),
        [],
    )


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, "key"),
        ({"key": LOG}, "key"),  # a log's key is no witness's
        ({"key": WITNESS[:-1]}, "key"),
        ({"key": 7}, "key"),
        ({"key": WITNESS, "url": "http://osaka.example"}, "url"),
        ({"key": WITNESS, "url": "https://osaka.example?x"}, "url"),
        ({"key": WITNESS, "ca_file": "ca.pem"}, "ca_file"),
        ({"key": WITNESS, "url": "http://127.0.0.1:1", "ca_file": "ca.pem"}, "ca_file"),
        ({"key": WITNESS, "quorum": 1}, "quorum"),
    ],
)
def test_what_is_wrong_with_a_witness_is_named(values, wrong):
    assert read(read_witness, **values)[1] == [wrong]


def test_a_log_with_the_keys_that_it_had_and_has():
    assert read(read_log, keys=[LOG, NEXT]) == (LogOfOthers("x", "x", "osaka.example/log", (LOG, NEXT)), [])
    found, mistakes = read(read_log, keys=[LOG, OTHER], origin="go.sum database tree")
    assert (found.origin, mistakes) == ("go.sum database tree", [])


@pytest.mark.parametrize(
    ("values", "wrong"),
    [
        ({}, "keys"),
        ({"keys": []}, "keys"),
        ({"keys": LOG}, "keys"),
        ({"keys": [LOG] * 9}, "keys"),
        ({"keys": [LOG, WITNESS]}, "keys[1]"),
        ({"keys": [LOG, 7]}, "keys[1]"),
        ({"keys": [LOG, OTHER]}, "keys"),
        ({"keys": [LOG], "url": "https://x.example"}, "url"),
    ],
)
def test_what_is_wrong_with_a_log_is_named(values, wrong):
    assert read(read_log, **values)[1] == [wrong]


def test_what_two_files_declare_is_named():
    witnesses = [Witness("a", "a", WITNESS), Witness("b", "b", WITNESS)]
    logs = [LogOfOthers("a", "a", "o", (LOG,)), LogOfOthers("b", "b", "o", (NEXT,))]
    assert [(one.file, one.key) for one in witness_mistakes(witnesses, logs)] == [
        ("witnesses/b.toml", "key"),
        ("logs/b.toml", "origin"),
    ]
    many = [Witness(f"w{n}", "", f"key {n}") for n in range(WITNESSES_MAX + 1)]
    assert [one.file for one in witness_mistakes(many, [])] == [f"witnesses/w{WITNESSES_MAX}.toml"]
