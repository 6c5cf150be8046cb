"""Kept content as sealed bytes, and back. Pure.

`sekisho.content/1`, a newline, a header (canonical JSON: `{answer, entry, organisation, request, sent, until}`, the
sizes in bytes), a newline, then for each field a nonce (12 bytes) and AES-256-GCM's ciphertext with its tag.

The key of an entry is derived from the organisation's (HKDF-SHA256, RFC 5869) and the entry's id, so that no two
entries share one; with it two nonces are used, drawn at random. The associated data are the header and the field's
name: neither the end date nor the entry that it belongs to can be changed, and no field can stand for the other.
"""

import os
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from sekisho.content.errors import ContentUnreadable
from sekisho.content.interfaces import FIELDS, Content
from sekisho.kernel import canonical
from sekisho.kernel.errors import CanonicalError

MAGIC: Final = b"sekisho.content/1\n"
KEY_BYTES: Final = 32
HEADER_BYTES_MAX: Final = 1_024  # ids, sizes and a time
_NONCE_BYTES: Final = 12  # NIST SP 800-38D section 8.2.1
_TAG_BYTES: Final = 16
_HEADER: Final = frozenset({"answer", "entry", "organisation", "request", "sent", "until"})
_TEXTS: Final = ("entry", "organisation", "request")
_COUNTS: Final = ("answer", "sent", "until")


def seal(content: Content, key: bytes) -> bytes:
    """The file of kept content under the organisation's key (32 bytes)."""
    header = canonical.encode(
        {
            "answer": len(content.answer),
            "entry": content.entry,
            "organisation": content.organisation,
            "request": content.request,
            "sent": len(content.sent),
            "until": content.until,
        }
    )
    cipher = AESGCM(_entry_key(key, content.entry))
    pieces = [MAGIC, header, b"\n"]
    for name, data in zip(FIELDS, (content.sent, content.answer), strict=True):
        nonce = os.urandom(_NONCE_BYTES)
        pieces += [nonce, cipher.encrypt(nonce, data, _associated(header, name))]
    return b"".join(pieces)


def unseal(data: bytes, key: bytes) -> Content:
    """What `seal` has sealed. Raises ContentUnreadable for another key and for any changed byte."""
    header, values, start = _split(data)
    cipher = AESGCM(_entry_key(key, values["entry"]))
    fields = []
    for name in FIELDS:
        end = start + _NONCE_BYTES + values[name] + _TAG_BYTES
        nonce, sealed = data[start : start + _NONCE_BYTES], data[start + _NONCE_BYTES : end]
        try:
            fields.append(cipher.decrypt(nonce, sealed, _associated(header, name)))
        except (InvalidTag, ValueError):
            raise ContentUnreadable(
                "the content can't be decrypted: its bytes were changed, or its key was destroyed",
                remedy="There is no other copy; `sekisho content forget` removes what is left",
            ) from None
        start = end
    if start != len(data):
        raise ContentUnreadable("the content is followed by something else")
    return Content(values["organisation"], values["entry"], values["request"], values["until"], *fields)


def _split(data: bytes) -> tuple[bytes, dict[str, Any], int]:
    """The header's bytes, what it says, and where the first nonce begins."""
    end = data.find(b"\n", len(MAGIC), len(MAGIC) + HEADER_BYTES_MAX)
    if not data.startswith(MAGIC) or end < 0:
        raise ContentUnreadable("this is no kept content of a form that we know")
    header = data[len(MAGIC) : end]
    try:
        values = canonical.decode(header)
    except CanonicalError as error:
        raise ContentUnreadable(f"the content's header is damaged: {error.message}") from None
    if (
        not isinstance(values, dict)
        or values.keys() != _HEADER
        or not all(isinstance(values[name], str) for name in _TEXTS)
        or not all(type(values[name]) is int and values[name] >= 0 for name in _COUNTS)
    ):
        raise ContentUnreadable("the content's header is damaged")
    return header, values, end + 1


def _entry_key(key: bytes, entry: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=MAGIC + entry.encode()).derive(key)


def _associated(header: bytes, field: str) -> bytes:
    return header + b"\n" + field.encode()
