"""Resolving credential references at the site. No error, log line or representation holds the secret."""

import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from sekisho.catalog.errors import CredentialError
from sekisho.catalog.interfaces import CredentialReference

CREDENTIAL_BYTES_MAX: Final = 16_384  # far above any token in use; a larger file is the wrong file
PEM_BYTES_MAX: Final = 262_144  # a certificate with its chain, or a key, and room to spare
_FORBIDDEN: Final = stat.S_IWGRP | stat.S_IRWXO  # whoever may write it decides whom we are
_OF_GROUP: Final = stat.S_IRWXG

log = logging.getLogger(__name__)


class Credentials:
    """Reads secrets by reference, each time anew, and keeps none. Blocking for one small file.

    A file that its group may read is used, with a warning in the log: that is how orchestrators mount secrets for a
    user who is not root. One that everybody may read, or others may write, is refused.
    """

    def __init__(self, data_directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = data_directory
        self._environment = environment
        self._looked_at: dict[str, tuple[int, ...]] = {}  # files as they were when their modes were looked at

    def secret(self, reference: CredentialReference) -> str:
        """The secret's text, as it goes into a header; raises CredentialError (never naming the secret)."""
        if reference.kind == "env":
            value = self._environment.get(reference.name)
            if value is None:
                raise CredentialError(
                    f"the environment variable {reference.name} is not set", remedy="Set it where the gateway starts"
                )
            return _checked(value, f"the environment variable {reference.name}")
        if reference.kind == "file":
            data = self._content(reference.name, CREDENTIAL_BYTES_MAX)
            return _checked(data.decode("latin-1"), f"the credential file {reference.name}")
        raise CredentialError(f"a credential of kind {reference.kind!r} is not known", remedy="Use file or env")

    def pem(self, name: str) -> bytes:
        """The content of a file of certificates or keys, by its path relative to the data directory.

        Raises CredentialError.
        """
        return self._content(name, PEM_BYTES_MAX)

    def _content(self, name: str, bytes_max: int) -> bytes:
        try:
            descriptor = os.open(self._directory / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            self._unreadable(name, error.strerror)
        try:
            # The open file is looked at, not its name: nothing can be exchanged in between.
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                self._unreadable(name, "it is not a regular file")
            version = (status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode)
            if self._looked_at.get(name) != version:
                self._look_at_mode(name, status.st_mode)
                self._looked_at[name] = version
            data = os.read(descriptor, bytes_max + 1)
        except OSError as error:
            self._unreadable(name, error.strerror)
        finally:
            os.close(descriptor)
        if len(data) > bytes_max:
            self._unreadable(name, f"it is larger than {bytes_max} bytes")
        return data

    def _look_at_mode(self, name: str, mode: int) -> None:
        shown = f"mode {stat.S_IMODE(mode):04o}"
        if mode & _FORBIDDEN:
            raise CredentialError(f"the credential file {name} is open to others ({shown})", remedy=f"chmod 600 {name}")
        if mode & _OF_GROUP:
            log.warning("the credential file %s can be read by its group (%s): chmod 600 %s", name, shown, name)

    def _unreadable(self, name: str, reason: str | None) -> NoReturn:
        raise CredentialError(
            f"the credential file {name} can't be read: {reason}",
            remedy="Put the secret there, readable by the gateway's user only",
        ) from None


def _checked(text: str, where: str) -> str:
    """One line of visible ASCII: anything else would break, or break out of, a header (RFC 9110 section 5.5)."""
    secret = text.strip("\r\n \t")
    if not secret or not all(0x21 <= ord(character) <= 0x7E or character == " " for character in secret):
        raise CredentialError(f"{where} does not hold one line of visible ASCII", remedy="Write only the secret there")
    return secret
