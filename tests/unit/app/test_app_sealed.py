"""Sealed keys: they open with their passphrase and with what they were sealed to, and not otherwise."""

import json

import pytest

from sekisho.app.sealed import seal, unseal
from sekisho.kernel.errors import SekishoError, UsageError

PASSPHRASE = "correct horse battery staple"
SECRETS = {"keys/site.key": b"\x00\xff secret", "keys/organisations/bank.key": b""}


@pytest.fixture(scope="module")
def sealed():
    return seal(SECRETS, PASSPHRASE, b"manifest")


def test_what_was_sealed_comes_out(sealed):
    assert unseal(sealed, PASSPHRASE, b"manifest") == SECRETS
    assert b"secret" not in sealed


def test_another_passphrase_binding_or_byte_opens_nothing(sealed):
    fields = json.loads(sealed)
    fields["data"] = "A" + fields["data"][1:] if fields["data"][0] != "A" else "B" + fields["data"][1:]
    for file, passphrase, bound in (
        (sealed, PASSPHRASE + "!", b"manifest"),
        (sealed, PASSPHRASE, b"another manifest"),
        (json.dumps(fields).encode(), PASSPHRASE, b"manifest"),
    ):
        with pytest.raises(SekishoError, match="don't open"):
            unseal(file, passphrase, bound)
    for file in (b"", b"{}", b'{"format":"sekisho.sealed/1"}', sealed[:-20]):
        with pytest.raises(SekishoError, match="can't be read"):
            unseal(file, PASSPHRASE, b"manifest")


def test_a_short_passphrase_is_refused():
    with pytest.raises(UsageError, match="at least 16"):
        seal(SECRETS, "short", b"")
