"""Persons' keys in files, and what may be registered."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from sekisho.identity.errors import PersonKeyUnusable, PersonRequestInvalid
from sekisho.identity.persons import (
    is_encrypted,
    is_weak,
    new_private_key,
    read_private_key,
    read_public_key,
    require_person,
)

PASSPHRASE = "a long enough passphrase"
# Points of small order, as libraries refuse them (y = 0, 1, -1, the two of order 8), and the same written otherwise.
SMALL_ORDER = (
    "00" * 32,
    "01" + "00" * 31,
    "ec" + "ff" * 30 + "7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)


def test_a_key_is_read_with_its_passphrase_and_not_without():
    private, public = new_private_key(PASSPHRASE)
    assert is_encrypted(private)
    assert read_private_key(private, PASSPHRASE).public_key().public_bytes_raw().hex() == read_public_key(public)
    for wrong in (None, "another passphrase", ""):
        with pytest.raises(PersonKeyUnusable):
            read_private_key(private, wrong)


def test_a_key_without_a_passphrase_is_made_only_where_that_is_asked_for():
    private, _ = new_private_key(None)
    assert not is_encrypted(private)
    assert read_private_key(private, None)
    with pytest.raises(PersonKeyUnusable, match="has no passphrase"):
        read_private_key(private, PASSPHRASE)


def test_a_short_passphrase_is_refused():
    with pytest.raises(PersonRequestInvalid, match="too short"):
        new_private_key("x" * 11)


def test_keys_of_other_kinds_are_refused():
    other = ec.generate_private_key(ec.SECP256R1())
    private = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(PersonKeyUnusable, match="not an Ed25519 key"):
        read_private_key(private, None)
    with pytest.raises(PersonKeyUnusable, match="not an Ed25519 key"):
        read_public_key(public)


@pytest.mark.parametrize("read", [lambda data: read_private_key(data, None), read_public_key])
@pytest.mark.parametrize(
    "data", [b"", b"secret words", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
)
def test_what_is_no_key_is_refused_and_not_repeated(read, data):
    with pytest.raises(PersonKeyUnusable) as raised:
        read(data)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("raw", SMALL_ORDER)
@pytest.mark.parametrize("sign", [0, 0x80])
def test_keys_for_which_anybody_can_sign_are_refused(raw, sign):
    data = bytearray.fromhex(raw)
    data[31] |= sign
    assert is_weak(bytes(data))
    pem = Ed25519PublicKey.from_public_bytes(bytes(data)).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(PersonKeyUnusable, match="anybody can sign"):
        read_public_key(pem)


def test_the_same_points_written_beyond_the_field_are_refused():
    for y in (0, 1):
        assert is_weak((2**255 - 19 + y).to_bytes(32, "little"))
    assert not is_weak(bytes.fromhex(read_public_key(new_private_key(None)[1])))


@pytest.mark.parametrize("person", ["", "Taro Yamada", "山田", "-x", "x.", "x" * 65, "a\nb"])
def test_what_is_no_id_is_refused(person):
    with pytest.raises(PersonRequestInvalid, match="person's id"):
        require_person(person, "")


@pytest.mark.parametrize("name", [" x", "a\nb", "x" * 101])
def test_what_is_no_line_is_no_name(name):
    with pytest.raises(PersonRequestInvalid, match="line of text"):
        require_person("s-001", name)
