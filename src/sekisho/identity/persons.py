"""Persons who may ask for and approve acts: what may be registered, their key files, what the ledger is told.

A person has an identifier that names nobody (a staff number, say), which stands in declarations and in entries. A name
may stand beside it in the register, for people on this machine; it can be erased and never reaches the ledger (G6).
"""

from typing import Any, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from sekisho.identity.acts import NAME, PERSON_ENROL, told
from sekisho.identity.errors import PersonKeyUnusable, PersonRequestInvalid
from sekisho.identity.interfaces import PersonKey
from sekisho.kernel import canonical

PERSON_CARRY: Final = "person.carry"  # enrolled in an earlier log of this installation, and still
PERSON_RETIRE: Final = "person.retire"
FULL_NAME_MAX: Final = 100  # shown in one line of a table
PASSPHRASE_MIN: Final = 12  # letters; the file may be copied, and then nothing slows guessing but the key derivation
_FIELD: Final = 2**255 - 19
# The y coordinates of edwards25519's points of small order (0, 1, -1, and the roots of d·y⁴ + 2y² = 1): under such a
# key anybody can make signatures.
_ORDER_8: Final = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL_ORDER: Final = frozenset((0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8))


def new_private_key(passphrase: str | None) -> tuple[bytes, bytes]:
    """A fresh key as two PEM files: the private one (PKCS #8, encrypted unless `passphrase` is None), the public one.

    Raises PersonRequestInvalid for a passphrase that is too short.
    """
    if passphrase is not None and len(passphrase) < PASSPHRASE_MIN:
        raise PersonRequestInvalid("the passphrase is too short", remedy=f"Use at least {PASSPHRASE_MIN} characters")
    key = Ed25519PrivateKey.generate()
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase.encode())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return private, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def read_private_key(pem: bytes, passphrase: str | None) -> Ed25519PrivateKey:
    """Raises PersonKeyUnusable, which never tells what was in the file."""
    try:
        key: Any = load_pem_private_key(pem, None if passphrase is None else passphrase.encode())
    except TypeError:
        wrong = "needs a passphrase" if passphrase is None else "has no passphrase, but one was given"
        raise PersonKeyUnusable(f"the private key {wrong}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise PersonKeyUnusable("the file is no private key (PEM), or the passphrase is wrong") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise PersonKeyUnusable(
            "the private key is not an Ed25519 key", remedy="Make one: sekisho persons new-key FILE"
        )
    return key


def is_encrypted(pem: bytes) -> bool:
    """Whether a private key file asks for a passphrase."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in pem


def read_public_key(pem: bytes) -> str:
    """The key of a PEM file, in hex. Raises PersonKeyUnusable."""
    try:
        key: Any = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise PersonKeyUnusable(
            "the file is no public key (PEM)", remedy="Give the .pub file that `sekisho persons new-key` wrote"
        ) from None
    if not isinstance(key, Ed25519PublicKey):
        raise PersonKeyUnusable("the public key is not an Ed25519 key")
    raw = key.public_bytes_raw()
    if is_weak(raw):
        raise PersonKeyUnusable("the public key is one for which anybody can sign", remedy="Make another")
    return raw.hex()


def is_weak(public_key: bytes) -> bool:
    """Whether it encodes a point of small order, in whatever way."""
    return int.from_bytes(public_key, "little") % 2**255 % _FIELD in _SMALL_ORDER


def require_person(person: str, name: str) -> None:
    """Raises PersonRequestInvalid."""
    if NAME.fullmatch(person) is None:
        raise PersonRequestInvalid(
            f"{person!r} can't be a person's id",
            remedy="Use up to 64 of a-z, 0-9, '.', '_' and '-': something that names nobody, like a staff number",
        )
    if len(name) > FULL_NAME_MAX or name != name.strip() or (name and not name.isprintable()):
        raise PersonRequestInvalid("the name is not a line of text", remedy=f"Use at most {FULL_NAME_MAX} characters")


def enrolled_body(key: PersonKey, approval: dict[str, Any] | None) -> bytes:
    """What the ledger is told (canonical JSON): whoever audits approvals finds the keys here."""
    return told(PERSON_ENROL, {"key": key.key, "person": key.person}, approval)


def retired_body(key: PersonKey) -> bytes:
    return canonical.encode({"act": PERSON_RETIRE, "key": key.key, "person": key.person})


def carried_body(key: PersonKey) -> bytes:
    """What a new log is told of a key that an earlier log of this installation holds the enrolment of."""
    return canonical.encode({"act": PERSON_CARRY, "key": key.key, "person": key.person})


def erased_body(person: str) -> bytes:
    return canonical.encode({"act": "person.erase_name", "person": person})
