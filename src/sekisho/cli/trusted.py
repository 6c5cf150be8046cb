"""Keys that an auditor trusts, as given on a command line."""

from pathlib import Path
from typing import Final

from sekisho.kernel.errors import NoteError, UsageError
from sekisho.kernel.notes import AROUND_KEY, NoteVerifier

VKEY_FILE_BYTES_MAX: Final = 64 << 10


def trusted_keys(text: str, option: str = "--trust") -> list[NoteVerifier]:
    """A vkey as it is, or the vkeys in a file, one per line; empty lines and `#` comments are passed over.

    Raises UsageError.
    """
    path = Path(text)
    try:
        if not path.is_file():
            return [NoteVerifier.parse(text)]
        with path.open("rb") as file:
            data = file.read(VKEY_FILE_BYTES_MAX + 1)
        if len(data) > VKEY_FILE_BYTES_MAX:  # of what was cut off, a key might be left that is another's
            raise UsageError(f"{text} is larger than {VKEY_FILE_BYTES_MAX >> 10} KiB, no file of keys")
        lines = [line.strip(AROUND_KEY) for line in data.decode("utf-8-sig").split("\n")]
        keys = [NoteVerifier.parse(line) for line in lines if line and not line.startswith("#")]
    except (NoteError, UnicodeDecodeError, ValueError, OSError) as error:
        raise UsageError(f"{option} {text[:80]!r} is neither a key nor a readable file of keys: {error}") from None
    if not keys:
        raise UsageError(f"{text} holds no key")
    return keys
