"""Secrets of a backup, sealed with a passphrase: scrypt (RFC 7914) and AES-256-GCM.

The seal covers what it is `bound` to as well: who opens it knows that the rest of the backup is what was sealed with
it.
"""

import base64
import binascii
import json
import os
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sekisho.kernel.errors import SekishoError, UsageError

FORMAT: Final = "sekisho.sealed/1"
PASSPHRASE_LENGTH_MIN: Final = 16  # characters; each guess costs 64 MiB and a tenth of a second
SECRETS_BYTES_MAX: Final = 16 << 20  # keys are small; whoever has more in keys/ has something else there
_SCRYPT_N: Final = 1 << 16
_SCRYPT_R: Final = 8
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12


def seal(secrets: Mapping[str, bytes], passphrase: str, bound: bytes) -> bytes:
    """A file that holds `secrets` by name. Raises UsageError for a passphrase that is too short, or too much."""
    if len(passphrase) < PASSPHRASE_LENGTH_MIN:
        raise UsageError(
            f"a passphrase of {len(passphrase)} characters", remedy=f"Choose at least {PASSPHRASE_LENGTH_MIN}"
        )
    data = json.dumps({name: base64.b64encode(secret).decode() for name, secret in sorted(secrets.items())}).encode()
    if len(data) > SECRETS_BYTES_MAX:
        raise UsageError(f"the keys take more than {SECRETS_BYTES_MAX >> 20} MiB", remedy="Keep other files elsewhere")
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    sealed = AESGCM(_key(passphrase, salt)).encrypt(nonce, data, FORMAT.encode() + bound)
    fields = {"data": sealed, "nonce": nonce, "salt": salt}
    encoded = {name: base64.b64encode(value).decode() for name, value in fields.items()}
    return json.dumps({"format": FORMAT, **encoded}, indent=1).encode()


def unseal(file: bytes, passphrase: str, bound: bytes) -> dict[str, bytes]:
    """The secrets. Raises SekishoError if the passphrase is another one, or if file or `bound` were altered."""
    try:
        fields: dict[str, Any] = json.loads(file)
        if fields["format"] != FORMAT:
            raise SekishoError("the sealed keys are in a format that this version does not know")
        data, nonce, salt = (base64.b64decode(fields[name], validate=True) for name in ("data", "nonce", "salt"))
        opened = AESGCM(_key(passphrase, salt)).decrypt(nonce, data, FORMAT.encode() + bound)
    except InvalidTag:
        raise SekishoError(
            "the sealed keys don't open: the passphrase is another one, or the backup was altered"
        ) from None
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise SekishoError("the sealed keys can't be read") from None
    return {name: base64.b64decode(secret) for name, secret in json.loads(opened).items()}


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_SCRYPT_N, r=_SCRYPT_R, p=1).derive(passphrase.encode())
