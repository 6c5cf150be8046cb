import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer_keys import b64, jwk, key_set, number, private_key
from sekisho.catalog.interfaces import TOKEN_ALGORITHMS
from sekisho.identity.errors import KeySetError
from sekisho.identity.key_set import KEY_SET_BYTES_MAX, KEYS_MAX, RSA_BITS_MAX, read_key_set

RSA_ALGORITHMS = {name for name in TOKEN_ALGORITHMS if name[:2] in ("RS", "PS")}


def algorithms(row):
    return {algorithm for _, algorithm in read_key_set(key_set(row)).keys}


def test_a_key_is_found_under_the_algorithms_of_its_type_only():
    assert algorithms(jwk("RS256")) == RSA_ALGORITHMS
    for name in ("ES256", "ES384", "ES512", "EdDSA"):
        assert algorithms(jwk(name)) == {name}
    assert algorithms(jwk("RS256", alg="PS384")) == {"PS384"}


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "ES512", "EdDSA"])
def test_the_key_is_the_one_that_was_published(algorithm):
    key = read_key_set(key_set(jwk(algorithm))).find("k1", algorithm)
    assert key == private_key(algorithm).public_key()


@given(st.sampled_from(["RS256", "ES256", "EdDSA"]), st.data())
def test_no_member_that_pyjwt_refuses_is_taken(algorithm, data):
    """PyJWT as oracle: whatever we take, it takes; we refuse more."""
    row = jwk(algorithm)
    name = data.draw(st.sampled_from(sorted(set(row) - {"kid", "kty", "crv"})))
    text = list(row[name])
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.sampled_from("AQz_-=+/ é"))
    row[name] = "".join(text)
    try:
        taken = read_key_set(key_set(row)).find("k1", algorithm)
    except KeySetError:
        return
    assert taken == jwt.PyJWK(row, algorithm).key


def test_a_token_without_key_id_means_the_only_key_for_its_algorithm():
    keys = read_key_set(key_set(jwk("RS256"), jwk("ES256", "k2")))
    assert keys.find(None, "RS256") is not None
    assert keys.find(None, "EdDSA") is None
    two = read_key_set(key_set(jwk("RS256", "k1"), jwk("RS256", "k2", which=1)))
    assert two.find(None, "RS256") is None
    assert two.find("k2", "RS256") == private_key("RS256", 1).public_key()
    assert two.find("k3", "RS256") is None


def test_a_key_without_id_is_not_found_by_any_id():
    keys = read_key_set(key_set(jwk("RS256", None)))
    assert keys.find(None, "RS256") is not None
    assert keys.find("k1", "RS256") is None


def test_two_keys_with_one_id_are_neither():
    keys = read_key_set(key_set(jwk("RS256"), jwk("RS256", which=1), jwk("ES256")))
    assert keys.find("k1", "RS256") is None
    assert keys.find(None, "RS256") is None
    assert keys.find("k1", "ES256") is not None
    assert any("same id" in reason for reason in keys.passed_over)


def test_three_keys_with_one_id_are_none_of_them():
    keys = read_key_set(key_set(*(jwk("RS256", which=which) for which in range(3)), jwk("ES256", "k2")))
    assert keys.find("k1", "RS256") is None


PRIVATE = [
    {"d": "AQAB"},
    {"p": "AQAB"},
    {"q": "AQAB"},
    {"dp": "AQAB"},
    {"dq": "AQAB"},
    {"qi": "AQAB"},
    {"oth": []},
    {"k": "c2VjcmV0"},
]


@pytest.mark.parametrize("members", PRIVATE, ids=lambda members: next(iter(members)))
@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_private_key_refuses_the_whole_set(members, algorithm):
    with pytest.raises(KeySetError, match="private or secret") as raised:
        read_key_set(key_set(jwk("RS256", "good"), jwk(algorithm, **members)))
    assert "AQAB" not in str(raised.value)


def test_a_secret_key_refuses_the_whole_set():
    with pytest.raises(KeySetError, match="private or secret"):
        read_key_set(key_set(jwk("RS256", "good"), {"kty": "oct", "k": "c2VjcmV0", "kid": "k1", "alg": "HS256"}))


PASSED_OVER = {
    "meant for encryption": jwk("RS256", use="enc"),
    "meant for signing only": jwk("RS256", key_ops=["sign"]),
    "operations that are no list": jwk("RS256", key_ops="verify"),
    "an algorithm that is not of its type": jwk("RS256", alg="ES256"),
    "an encryption algorithm": jwk("RS256", alg="RSA-OAEP-256"),
    "HS256 on an RSA key": jwk("RS256", alg="HS256"),
    "none": jwk("RS256", alg="none"),
    "an alg that is no text": jwk("RS256", alg=["RS256"]),
    "RSA of 1024 bits": jwk("RS256", n=number(2**1023 + 1)),
    "RSA of 2047 bits": jwk("RS256", n=number(2**2046 + 1)),
    "RSA larger than we take": jwk("RS256", n=number(2**RSA_BITS_MAX + 1)),
    "a huge exponent": jwk("RS256", e=number(2**2047 + 1)),
    "an exponent just too large": jwk("RS256", e=number(2**32 + 1)),
    "exponent one": jwk("RS256", e="AQ"),
    "an even exponent": jwk("RS256", e="Ag"),
    "no exponent": jwk("RS256", e=None),
    "a number as modulus": jwk("RS256", n=65537),
    "padding": jwk("RS256", e="AQAB=="),
    "a space in the modulus": jwk("RS256", n=" " + jwk("RS256")["n"]),
    "a modulus beyond ASCII": jwk("RS256", n="é" + jwk("RS256")["n"]),
    "a point that is not on its curve": jwk("ES256", y=number(int.from_bytes(b"\1" * 32, "big"), 32)),
    "a point that lacks y": jwk("ES256", y=None),
    "a coordinate that is too short": jwk("ES256", x=b64(b"\1" * 31)),
    "a coordinate that is too long": jwk("ES256", x=b64(b"\0" * 33)),
    "a space in a coordinate": jwk("ES256", x=" " + jwk("ES256")["x"]),
    "a padded coordinate": jwk("ES256", y=jwk("ES256")["y"] + "="),
    "a padded Ed25519 key": jwk("EdDSA", x=jwk("EdDSA")["x"] + "="),
    "another curve's name": jwk("ES256", crv="P-384"),
    "secp256k1": jwk("ES256", crv="secp256k1"),
    "a curve that is no text": jwk("ES256", crv=["P-256"]),
    "Ed448": jwk("EdDSA", crv="Ed448", x=b64(b"\1" * 57)),
    "X25519": jwk("EdDSA", crv="X25519"),
    "Ed25519 of another length": jwk("EdDSA", x=b64(b"\1" * 31)),
    "an unknown type": {"kty": "LWE", "kid": "k1"},
    "no type": {"kid": "k1"},
    "a kid that is no text": jwk("RS256", kid=7),
    "a kid that is too long": jwk("RS256", "k" * 257),
}


@pytest.mark.parametrize("row", PASSED_OVER.values(), ids=PASSED_OVER)
def test_a_key_that_can_not_be_used_is_passed_over_with_its_reason(row):
    keys = read_key_set(key_set(row, jwk("ES256", "good")))
    assert {key_id for key_id, _ in keys.keys} == {"good"}
    assert len(keys.passed_over) == 1
    with pytest.raises(KeySetError, match="no key that can verify"):
        read_key_set(key_set(row))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [1]}',
        b'{"keys": []}',
        b'{"keys": [], "keys": []}',
        key_set(jwk("RS256")).replace(b'"kid"', b'"kid": "x", "kid"'),
        key_set(*(jwk("ES256", f"k{count}") for count in range(KEYS_MAX + 1))),
        key_set(jwk("RS256")) + b" " * KEY_SET_BYTES_MAX,
    ],
    ids=lambda document: document[:30].decode(),
)
def test_what_is_no_key_set_is_refused(document):
    with pytest.raises(KeySetError):
        read_key_set(document)


def test_as_many_keys_as_are_taken_are_taken():
    document = key_set(*(jwk("ES256", f"k{count}") for count in range(KEYS_MAX)))
    assert len(read_key_set(document).keys) == KEYS_MAX


def test_the_digest_tells_documents_apart():
    one, other = key_set(jwk("RS256")), key_set(jwk("ES256"))
    assert read_key_set(one).digest == read_key_set(one).digest != read_key_set(other).digest
