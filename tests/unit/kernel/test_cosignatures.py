import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sekisho.kernel.cosignatures import TIME_MAX, CosignatureSigner, CosignatureVerifier, add_signatures, cosigned_by
from sekisho.kernel.errors import NoteError
from sekisho.kernel.notes import SIGNATURES_MAX, NoteSigner, NoteVerifier, SignedNote

LOG = NoteSigner("example.internal/log", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
WITNESS = CosignatureSigner("witness.example/w1", Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
OTHER = CosignatureSigner("witness.example/w2", Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34))))
TEXT = "example.internal/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
TIME = 1_679_315_147
NOTE = LOG.sign(TEXT)


def test_a_cosignature_is_verified_with_its_time() -> None:
    note = SignedNote.parse(NOTE + WITNESS.cosign(TEXT, TIME))
    (found,) = cosigned_by(note, [WITNESS.verifier, OTHER.verifier])
    assert (found.cosigner, found.time) == (WITNESS.verifier, TIME)
    assert note.verified_by([LOG.verifier]) == (LOG.verifier,)


def test_the_signed_message_is_the_one_of_the_specification() -> None:
    """Made by hand from the words of tlog-cosignature: header line, time line, the whole note text."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
    message = f"cosignature/v1\ntime {TIME}\n{TEXT}".encode()
    blob = WITNESS.verifier.key_id + TIME.to_bytes(8, "big") + key.sign(message)
    assert WITNESS.cosign(TEXT, TIME) == f"— witness.example/w1 {base64.b64encode(blob).decode()}\n"


def test_a_cosignature_of_the_public_witness_network_verifies() -> None:
    """A certificate transparency log's checkpoint and the cosignature of a witness: other implementations' bytes."""
    witness = CosignatureVerifier.parse(
        "witness.navigli.sunlight.geomys.org+a3e00fe2+BNy/co4C1Hn1p+INwJrfUlgz7W55dSZReusH/GhUhJ/G"
    )
    checkpoint = (
        "coachandhorses2026h1.staging.certificate.transparency.goog\n"
        "185550722\n"
        "YXAM0VmnrfvLaBCOOYSJhCaE5F10oGBOo+hkbDa1kng=\n"
        "\n"
        "— coachandhorses2026h1.staging.certificate.transparency.goog MpXgsHy8ZwxXnO+WjtVrPxAzL49Rs1gWTkNVNeEa//5peAza"
        "ocRCB3qt3EaibjzY5GILLtGgBP7dBhgcSHy+JQh0OAc=\n"
        "— witness.navigli.sunlight.geomys.org o+AP4gAAAABqb7DzNrGFRJnQ9vrJ8xpnwZytnr/ZYczDIsvwvouiSjwOjn7a72ccxBk+lKnZ"
        "7dKqkYKER1s/KxLTaVwQD7lJZTC/CQ==\n"
    )
    (found,) = cosigned_by(SignedNote.parse(checkpoint), [witness])
    assert (found.cosigner, found.time) == (witness, 1_785_704_691)
    with pytest.raises(NoteError, match="does not verify"):
        cosigned_by(SignedNote.parse(checkpoint.replace("185550722", "185550723")), [witness])


@given(st.data())
def test_no_changed_byte_of_a_cosigned_checkpoint_passes(data: st.DataObject) -> None:
    note = (NOTE + WITNESS.cosign(TEXT, TIME)).encode()
    position = data.draw(st.integers(0, len(note) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda b: b != note[position]))
    changed = note[:position] + bytes([byte]) + note[position + 1 :]
    try:
        signed = SignedNote.parse(changed.decode())
        log, cosigned = signed.verified_by([LOG.verifier]), cosigned_by(signed, [WITNESS.verifier])
    except (NoteError, UnicodeDecodeError):
        return
    assert not (log and cosigned)


@given(st.binary(min_size=72, max_size=72))
def test_no_other_bytes_are_a_cosignature(signature: bytes) -> None:
    with pytest.raises(NoteError):
        WITNESS.verifier.verify(TEXT, signature)


@pytest.mark.parametrize("length", [0, 8, 64, 71, 73])
def test_a_cosignature_of_another_length_is_refused(length: int) -> None:
    signature = SignedNote.parse(NOTE + WITNESS.cosign(TEXT, TIME)).signatures[1].signature
    with pytest.raises(NoteError, match="72 bytes"):
        WITNESS.verifier.verify(TEXT, (signature + b"\0")[:length])


def test_a_time_beyond_63_bits_is_refused_even_if_it_was_signed() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
    time = TIME_MAX + 1
    signature = time.to_bytes(8, "big") + key.sign(f"cosignature/v1\ntime {time}\n{TEXT}".encode())
    with pytest.raises(NoteError, match="impossible time"):
        WITNESS.verifier.verify(TEXT, signature)
    for refused in (-1, time):
        with pytest.raises(ValueError, match="no time"):
            WITNESS.cosign(TEXT, refused)


def test_of_several_cosignatures_all_must_hold_and_the_latest_counts() -> None:
    lines = WITNESS.cosign(TEXT, TIME) + WITNESS.cosign(TEXT, TIME + 5) + WITNESS.cosign(TEXT, TIME + 2)
    (found,) = cosigned_by(SignedNote.parse(NOTE + lines), [WITNESS.verifier])
    assert found.time == TIME + 5
    stray = WITNESS.cosign(TEXT.replace("7", "8"), TIME + 9)
    with pytest.raises(NoteError, match="does not verify"):
        cosigned_by(SignedNote.parse(NOTE + lines + stray), [WITNESS.verifier])


def test_a_key_of_one_type_is_not_one_of_the_other() -> None:
    for parse, vkey, words in (
        (CosignatureVerifier.parse, LOG.verifier.vkey, r"cosigner's key \(type 04\), but an Ed25519 key \(type 01\)"),
        (NoteVerifier.parse, WITNESS.verifier.vkey, r"type 01\), but an Ed25519 cosigner's key \(type 04\)"),
        (NoteVerifier.parse, "x+00000000+Bg==", "ML-DSA-44"),
    ):
        with pytest.raises(NoteError, match=words):
            parse(vkey)


def test_signature_lines_of_witnesses_are_added_once() -> None:
    first, second = WITNESS.cosign(TEXT, TIME), OTHER.cosign(TEXT, TIME)
    note = add_signatures(add_signatures(NOTE, first), second + first)
    assert note == NOTE + first + second
    for malformed in ("", "\n", first[:-1], first + "\n", "text\n\n" + first):
        with pytest.raises(NoteError):
            add_signatures(NOTE, malformed)
    many = "".join(WITNESS.cosign(TEXT, time) for time in range(SIGNATURES_MAX))
    with pytest.raises(NoteError, match="more than"):
        add_signatures(NOTE, many)
