import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import NoteSigner, NoteVerifier, SignedNote

SIGNER = NoteSigner("example.internal/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = NoteSigner("example.internal/log", Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
TEXT = "example.internal/log\n7\nAAAA\n"


def test_a_note_is_verified_by_its_signer_only() -> None:
    note = SignedNote.parse(SIGNER.sign(TEXT))
    assert note.text == TEXT
    assert note.verified_by([SIGNER.verifier, OTHER.verifier]) == (SIGNER.verifier,)


def test_a_known_key_whose_signature_fails_rejects_the_note() -> None:
    signed = SIGNER.sign(TEXT).replace("\n7\n", "\n8\n")
    with pytest.raises(NoteError):
        SignedNote.parse(signed).verified_by([SIGNER.verifier])


@given(st.data())
def test_no_changed_byte_of_a_note_passes(data: st.DataObject) -> None:
    note = SIGNER.sign(TEXT).encode()
    position = data.draw(st.integers(0, len(note) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != note[position]))
    changed = note[:position] + bytes([byte]) + note[position + 1 :]
    try:
        verified = SignedNote.parse(changed.decode()).verified_by([SIGNER.verifier])
    except (NoteError, UnicodeDecodeError):
        return
    assert verified == ()


def test_a_vkey_reads_back() -> None:
    assert NoteVerifier.parse(SIGNER.verifier.vkey) == SIGNER.verifier


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        "name+00000000+" + base64.b64encode(b"\x01" + bytes(32)).decode(),
        SIGNER.verifier.vkey.replace("example", "exemple"),
        SIGNER.verifier.vkey[:-2],
        "a b" + SIGNER.verifier.vkey[len("example.internal/log") :],
        NoteVerifier("x", bytes(32)).vkey.replace("+AQ", "+Bg"),
    ],
)
def test_a_malformed_vkey_is_refused(vkey: str) -> None:
    with pytest.raises(NoteError):
        NoteVerifier.parse(vkey)


@pytest.mark.parametrize(
    "public_key",
    [
        bytes(32),
        bytes(31) + b"\x80",
        b"\x01" + bytes(31),
        (2**255 - 20).to_bytes(32, "little"),
        (2**255 - 18).to_bytes(32, "little"),  # 1, not reduced
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    ],
)
def test_a_key_under_which_one_signature_fits_any_text_is_refused(public_key: bytes) -> None:
    """Points of order 1, 2, 4 and 8: the identity with s = 0 verifies under some of them, whatever the text."""
    with pytest.raises(NoteError, match="small order"):
        NoteVerifier.parse(NoteVerifier("x", public_key).vkey)


@pytest.mark.parametrize("text", ["no newline", "a\tb\n", "a\rb\n"])
def test_text_that_is_no_note_is_not_signed(text: str) -> None:
    with pytest.raises(NoteError):
        SIGNER.sign(text)


def test_the_published_example_of_signed_note_verifies() -> None:
    # golang.org/x/mod/sumdb/note's documented key and note: an independent implementation's bytes.
    verifier = NoteVerifier.parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    note = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
        "\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )
    assert SignedNote.parse(note).verified_by([verifier]) == (verifier,)
