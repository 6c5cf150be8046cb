"""Client assertions, held against what their receiver checks; the signature with other code than what made it."""

import base64
import hashlib
import json
import ssl

import pytest
import trustme
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from sekisho.catalog.interfaces import EntraSignIn
from sekisho.gateway.assertions import LIFE_S, client_assertion, signing_key
from sekisho.gateway.errors import CantSignIn
from sekisho.gateway.tokens import Material, token_request

PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


def pair(name="app.test", key_type=trustme.KeyType.RSA):
    made = trustme.CA().issue_cert(name, key_type=key_type)
    return made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()


@pytest.fixture(scope="module")
def pem():
    return pair()


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@pytest.mark.parametrize(("algorithm", "scheme"), [("PS256", PSS), ("RS256", padding.PKCS1v15())])
def test_an_assertion_says_and_proves_what_it_must(pem, algorithm, scheme):
    text = client_assertion(signing_key(*pem), algorithm, "app-1", "https://login.example/t", 1_000, "id-1")
    head, claims, signature = text.split(".")
    certificate = x509.load_pem_x509_certificate(pem[0])
    thumbprint = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
    assert json.loads(decoded(head)) == {
        "alg": algorithm, "typ": "JWT", "x5t#S256": base64.urlsafe_b64encode(thumbprint).decode().rstrip("="),
    }  # fmt: skip
    assert json.loads(decoded(claims)) == {
        "aud": "https://login.example/t", "iss": "app-1", "sub": "app-1", "jti": "id-1",
        "iat": 1_000, "nbf": 1_000, "exp": 1_000 + LIFE_S,
    }  # fmt: skip
    signed = f"{head}.{claims}".encode()
    certificate.public_key().verify(decoded(signature), signed, scheme, hashes.SHA256())
    with pytest.raises(InvalidSignature):
        certificate.public_key().verify(decoded(signature), signed + b"x", scheme, hashes.SHA256())


def test_a_request_carries_an_assertion_for_the_endpoint_it_goes_to_and_no_secret(pem):
    sign_in = EntraSignIn("t", "app-1", "api://x/.default", "https://login.example", certificate_file="c", key_file="k")
    request = token_request(sign_in, Material(pair=signing_key(*pem)), 2_000_000_000, "id-2")
    form = dict(part.split("=", 1) for part in request.body.decode().split("&"))
    assert form["client_assertion_type"] == "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
    assert "client_secret" not in form
    claims = json.loads(decoded(form["client_assertion"].split(".")[1]))
    assert (claims["aud"], claims["iat"], claims["jti"]) == ("https://login.example/t/oauth2/v2.0/token", 2_000, "id-2")


def test_equal_files_are_the_same_key_and_others_another(pem):
    assert signing_key(*pem) == signing_key(*pem)
    assert hash(signing_key(*pem)) == hash(signing_key(*pem))
    assert signing_key(*pem) != signing_key(*pair())
    assert pem[1].decode().splitlines()[1][:16] not in repr(signing_key(*pem))


def serialised(key, encryption=NoEncryption()):  # noqa: B008 - a value without state
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


# DER of curves (RFC 5480 section 2.1.1.1; SM2: GB/T 33560) and of versions (RFC 5280 section 4.1.2.1).
CURVE_P256, CURVE_SM2 = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a811ccf5501822d")
CURVE_MALFORMED = bytes.fromhex("06082b81048000000006")
VERSION_3, VERSION_6 = bytes.fromhex("a003020102"), bytes.fromhex("a003020105")


def altered(old, new):
    """A certificate with other bytes in the place of `old`; nobody has looked at its signature yet."""
    made, _ = pair(key_type=trustme.KeyType.ECDSA)
    der = x509.load_pem_x509_certificate(made).public_bytes(Encoding.DER)
    assert old in der
    return ssl.DER_cert_to_PEM_cert(der.replace(old, new)).encode()


def test_what_does_not_fit_is_told_of_without_what_it_holds(pem):
    certificate, key = pem
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    for wrong, said in (
        ((b"not a certificate", key), "certificate_file holds no PEM certificate"),
        ((altered(CURVE_P256, CURVE_SM2), key), "with a key known here"),
        ((altered(CURVE_P256, CURVE_MALFORMED), key), "with a key known here"),
        ((altered(VERSION_3, VERSION_6), key), "holds no PEM certificate"),
        ((certificate, b"not a key"), "key_file holds no unencrypted PEM private key"),
        ((certificate, serialised(small, BestAvailableEncryption(b"p"))), "key_file holds no unencrypted"),
        ((certificate, serialised(small)), "at least 2048 bits"),
        ((certificate, serialised(ed25519.Ed25519PrivateKey.generate())), "holds no RSA key"),
        (pair(key_type=trustme.KeyType.ECDSA), "holds no RSA key"),
        ((certificate, pair()[1]), "is not the key of the certificate"),
    ):
        with pytest.raises(CantSignIn) as raised:
            signing_key(*wrong)
        assert said in raised.value.detail
        assert key.decode().splitlines()[1][:16] not in str(raised.value)
