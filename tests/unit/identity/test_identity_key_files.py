import json
import stat

import pytest

from issuer_keys import jwk, key_set
from sekisho.catalog.interfaces import Issuer
from sekisho.identity.errors import KeySetError
from sekisho.identity.key_files import KeyFiles, source_of
from sekisho.identity.key_set import KEY_SET_BYTES_MAX
from sekisho.kernel import canonical

DOCUMENT = key_set(jwk("RS256"))


def source(**changes):
    return source_of(Issuer("https://idp.example", ("a",), ("RS256",), **changes))


@pytest.fixture
def files(tmp_path):
    return KeyFiles(tmp_path, tmp_path / "copies")


def test_a_declared_file_is_read_and_a_missing_one_is_named(files, tmp_path):
    (tmp_path / "keys.json").write_bytes(DOCUMENT)
    assert files.read("keys.json") == DOCUMENT
    with pytest.raises(KeySetError, match=r"none\.json can't be read"):
        files.read("none.json")


def test_of_a_huge_file_one_byte_too_many_is_read(files, tmp_path):
    (tmp_path / "keys.json").write_bytes(b"x" * (KEY_SET_BYTES_MAX + 100))
    assert len(files.read("keys.json")) == KEY_SET_BYTES_MAX + 1


def test_a_copy_is_kept_with_its_time_for_this_user_only(files, tmp_path):
    assert files.load(source()) is None
    files.save(source(), DOCUMENT, 1_700_000_000_000_000)
    held = files.load(source())
    assert held.read_at == 1_700_000_000_000_000
    assert held.key_set.find("k1", "RS256") is not None
    (copy,) = (tmp_path / "copies").iterdir()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


def test_another_url_or_authority_or_issuer_is_another_source(files):
    files.save(source(), DOCUMENT, 1)
    assert files.load(source(jwks_url="https://idp.example/keys")) is None
    assert files.load(source(ca_file="keys/ca.pem")) is None
    assert files.load(source_of(Issuer("https://idp2.example", ("a",), ("RS256",)))) is None
    # How often it is read and what is asked of tokens say nothing about where the keys come from.
    assert files.load(source(refresh_seconds=30, roles=("caller",))) is not None


@pytest.mark.parametrize("damage", ["cut", "other source", "member", "keys", "empty"])
def test_a_damaged_copy_is_refused(files, tmp_path, damage):
    files.save(source(), DOCUMENT, 1)
    (path,) = (tmp_path / "copies").iterdir()
    text = path.read_text()
    copy = json.loads(text)
    damaged = {
        "cut": text[:-9].encode(),
        "other source": canonical.encode(copy | {"source": ["https://evil.example", None, None]}),
        "member": canonical.encode(copy | {"more": 1}),
        "keys": canonical.encode(copy | {"document": "{}"}),
        "empty": b"",
    }[damage]
    path.write_bytes(damaged)
    with pytest.raises(KeySetError):
        files.load(source())


def test_a_copy_of_a_document_full_of_quotes_fits(files):
    document = key_set(jwk("RS256"))[:-1] + b', "x": "' + b'\\"' * 60_000 + b'"}'
    files.save(source(), document, 1)
    assert files.load(source()) is not None
