import base64
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from issuer_keys import CURVES, b64, jwk, key_set, private_key, token
from sekisho.catalog.interfaces import TOKEN_ALGORITHMS
from sekisho.identity.errors import TokenBadSignature, TokenMalformed
from sekisho.identity.key_set import read_key_set
from sekisho.identity.tokens import TOKEN_BYTES_MAX, looks_like_token, read_token, verify_signature

CLAIMS = {"iss": "https://idp.example", "sub": "secret-name"}


KEY_SETS = {}


def keys_of(*rows):
    """Hypothesis asks for the same ones again and again."""
    document = key_set(*rows)
    if document not in KEY_SETS:
        KEY_SETS[document] = read_key_set(document)
    return KEY_SETS[document]


def verified(text, algorithm, *rows):
    """The token, read and verified; a key that is not found counts as a signature that is not its issuer's."""
    read = read_token(text)
    key = keys_of(*(rows or (jwk(algorithm),))).find(read.key_id, read.algorithm)
    if key is None:
        raise TokenBadSignature("no such key")
    verify_signature(read, key)
    return read


@pytest.mark.parametrize("algorithm", TOKEN_ALGORITHMS)
def test_each_algorithm_that_can_be_declared_verifies_and_says_what_was_signed(algorithm):
    read = verified(token(CLAIMS, algorithm), algorithm)
    assert (read.algorithm, read.key_id, read.claims) == (algorithm, "k1", CLAIMS)


@pytest.mark.parametrize("algorithm", TOKEN_ALGORITHMS)
def test_another_key_of_the_kind_did_not_sign_it(algorithm):
    signed = token(CLAIMS, algorithm)
    with pytest.raises(TokenBadSignature):
        verified(signed, algorithm, jwk(algorithm, which=1))


SIGNED = {algorithm: token(CLAIMS, algorithm) for algorithm in ("RS256", "PS256", "ES256", "ES512", "EdDSA")}


@pytest.mark.parametrize("algorithm", SIGNED)
@given(data=st.data())
def test_any_changed_byte_of_a_token_is_refused(algorithm, data):
    text = bytearray(SIGNED[algorithm])
    position = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != text[position]))
    text[position] = byte
    with pytest.raises((TokenMalformed, TokenBadSignature)):
        verified(bytes(text), algorithm)


@pytest.mark.parametrize("algorithm", SIGNED)
@given(cut=st.integers(1, 60), more=st.binary(min_size=1, max_size=8))
def test_a_signature_of_another_length_is_refused(algorithm, cut, more):
    head, _, signature = SIGNED[algorithm].rpartition(b".")
    raw = base64.urlsafe_b64decode(signature + b"=" * (-len(signature) % 4))
    for other in (raw[:-cut], raw + more, b"", b"\0" + raw):
        with pytest.raises(TokenBadSignature):
            verified(head + b"." + b64(other).encode(), algorithm)


@pytest.mark.parametrize("algorithm", CURVES)
def test_zeros_are_no_signature(algorithm):
    """CVE-2022-21449: r = s = 0 fits every message where it is not looked at."""
    head, size = token(CLAIMS, algorithm).rpartition(b".")[0], CURVES[algorithm][2]
    for r, s in ((0, 0), (0, 1), (1, 0)):
        raw = r.to_bytes(size, "big") + s.to_bytes(size, "big")
        with pytest.raises(TokenBadSignature):
            verified(head + b"." + b64(raw).encode(), algorithm)


def test_an_ecdsa_signature_in_der_is_refused():
    """RFC 7518 section 3.4 has r and s side by side; DER beside it would be a second text for one signature."""
    head = token(CLAIMS, "ES256").rpartition(b".")[0]
    der = private_key("ES256").sign(head, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(TokenBadSignature):
        verified(head + b"." + b64(der).encode(), "ES256")


@pytest.mark.parametrize(
    ("signed_with", "named"), [("RS256", "PS256"), ("PS256", "RS256"), ("RS256", "RS512"), ("PS384", "PS256")]
)
def test_an_algorithm_of_the_same_key_does_not_stand_for_another(signed_with, named):
    header = json.dumps({"alg": named, "kid": "k1"}).encode()
    with pytest.raises(TokenBadSignature):
        verified(token(CLAIMS, signed_with, header=header), named)


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "HS512", "RS1", "ES256K", "ES521", "Ed448", ""])
def test_no_key_is_ever_found_for_none_and_symmetric_and_unknown_algorithms(algorithm):
    """Of which the first two are the classics: nothing signed it, or the public key did as an HMAC's secret."""
    for secret in (
        private_key("RS256").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk("RS256")).encode(),
    ):
        signed = ".".join(b64(json.dumps(part).encode()) for part in ({"alg": algorithm, "kid": "k1"}, CLAIMS)).encode()
        mac = hmac.digest(secret, signed, hashlib.sha256)
        for signature in (b64(mac), ""):
            read = read_token(signed + b"." + signature.encode())
            found = read_key_set(key_set(*(jwk(name) for name in ("RS256", "ES256", "EdDSA"))))
            assert found.find(read.key_id, read.algorithm) is None


HOSTILE_HEADERS = [
    {"jku": "https://evil.example/keys"},
    {"jwk": jwk("RS256", which=1)},
    {"x5u": "https://evil.example/chain"},
    {"x5c": ["MIIB"]},
    {"crit": ["exp"]},
    {"b64": False, "crit": ["b64"]},
    {"zip": "DEF"},
    {"cty": "JWT"},
    {"typ": "dpop+jwt"},
    {"typ": "logout+jwt"},
    {"typ": "secevent+jwt"},
    {"typ": 1},
    {"typ": ""},
    {"kid": 7},
    {"kid": ""},
    {"kid": "k" * 257},
    {"kid": ["k1"]},
    {"alg": None},
    {"alg": ["RS256"]},
    {"alg": 256},
]


@pytest.mark.parametrize("changes", HOSTILE_HEADERS, ids="+".join)
def test_headers_that_bring_keys_ask_for_processing_or_mean_another_kind_are_refused(changes):
    with pytest.raises(TokenMalformed):
        read_token(token(CLAIMS, **changes))


@pytest.mark.parametrize("kind", [None, "JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt"])
def test_the_types_of_access_tokens_are_taken(kind):
    assert read_token(token(CLAIMS, typ=kind)).claims == CLAIMS


@pytest.mark.parametrize(
    "text",
    [
        token(CLAIMS, header=b'{"alg": "RS256", "alg": "none", "kid": "k1"}'),
        token(CLAIMS, header=b'{"alg": "RS256", "kid": "k1", "kid": "k2"}'),
        token(b'{"sub": "secret-name", "sub": "root"}'),
        token(b'{"realm": {"roles": ["a"], "roles": ["secret-name"]}}'),
        token(b'["secret-name"]'),
        token(b'{"exp": Infinity, "sub": "secret-name"}'),
        token(b"secret-name"),
        token(b"\xff\xfe"),
        token(b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
        token(CLAIMS) + b"=",
        token(CLAIMS).replace(b".", b"=.", 1),
        b"a.b",
        b".eyJ9.x",
        b"..",
        token(CLAIMS) + b".AA",
        token(CLAIMS | {"groups": ["g" * 99] * 170}),
    ],
)
def test_what_is_no_token_or_could_be_read_in_two_ways_is_refused_and_not_repeated(text):
    with pytest.raises(TokenMalformed) as raised:
        read_token(text)
    assert "secret-name" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_an_encrypted_token_is_told_what_it_is():
    with pytest.raises(TokenMalformed, match="encrypted"):
        read_token(b"a.b.c.d.e")


def test_tokens_are_told_from_keys_by_their_dots():
    assert looks_like_token(token(CLAIMS))
    assert looks_like_token(b"eyJhbGciOiJub25lIn0.e30.")
    assert looks_like_token(b"a.b.c.d.e")
    for other in (b"sk-abc_DEF-123", b"", b"a.b", b"a b.c.d", b"a\xff.b.c", b".b.c"):
        assert not looks_like_token(other)
    assert not looks_like_token(b"sk-" + b"A" * TOKEN_BYTES_MAX)
