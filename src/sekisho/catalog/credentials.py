"""Resolving credential references at the site. No error, log line or representation holds the secret."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from sekisho.catalog.errors import CredentialError
from sekisho.catalog.interfaces import CredentialReference

CREDENTIAL_BYTES_MAX: Final = 16_384  # far above any token in use; a larger file is the wrong file
_FORBIDDEN_MODE: Final = stat.S_IRWXG | stat.S_IRWXO


class Credentials:
    """Reads secrets by reference, again whenever a file changes. Blocking for one small file."""

    def __init__(self, data_directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = data_directory
        self._environment = environment
        self._read: dict[str, tuple[tuple[int, int, int], str]] = {}

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
            return self._from_file(reference.name)
        raise CredentialError(f"a credential of kind {reference.kind!r} is not known", remedy="Use file or env")

    def _from_file(self, name: str) -> str:
        path = self._directory / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            self._unreadable(name, error.strerror)
        try:
            # The open file is looked at, not its name: nothing can be exchanged in between.
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                self._unreadable(name, "it is not a regular file")
            if status.st_mode & _FORBIDDEN_MODE:
                raise CredentialError(
                    f"the credential file {name} is open to others (mode {stat.S_IMODE(status.st_mode):04o})",
                    remedy=f"chmod 600 {name}",
                )
            version = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._read.get(name)
            if known is not None and known[0] == version:
                return known[1]
            data = os.read(descriptor, CREDENTIAL_BYTES_MAX + 1)
        except OSError as error:
            self._unreadable(name, error.strerror)
        finally:
            os.close(descriptor)
        if len(data) > CREDENTIAL_BYTES_MAX:
            self._unreadable(name, f"it is larger than {CREDENTIAL_BYTES_MAX} bytes")
        secret = _checked(data.decode("latin-1"), f"the credential file {name}")
        self._read[name] = (version, secret)
        return secret

    def _unreadable(self, name: str, reason: str | None) -> NoReturn:
        raise CredentialError(
            f"the credential file {name} can't be read: {reason}",
            remedy="Put the secret there as one line, readable by the gateway's user only",
        ) from None


def _checked(text: str, where: str) -> str:
    """One line of visible ASCII: anything else would break, or break out of, a header (RFC 9110 section 5.5)."""
    secret = text.strip("\r\n \t")
    if not secret or not all(0x21 <= ord(character) <= 0x7E or character == " " for character in secret):
        raise CredentialError(f"{where} does not hold one line of visible ASCII", remedy="Write only the secret there")
    return secret
