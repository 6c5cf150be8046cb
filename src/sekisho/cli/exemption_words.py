"""What an exemption's own file says beside what is signed word by word: why, and what guards the data meanwhile.

The act names the file by the digest of its content, so the words shown here are bound to the bytes that are signed.
They are free text: whatever could move the cursor or turn the writing direction is shown as a code point.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from sekisho.catalog.exemption_digest import exemption_digest
from sekisho.identity.acts import JAPANESE
from sekisho.kernel.errors import CanonicalError, UsageError

FILE_BYTES_MAX: Final = 262_144  # as of any declaration
_SHOWN: Final = (
    ("why", "why:                 ", "理由:     "),
    ("compensating_control", "compensating control: ", "代替統制: "),
)


def described(file: Path, parameters: Mapping[str, str], language: str) -> list[str]:
    """The lines to show. Raises UsageError where the file is not there, or not the one that the act names: nobody
    should sign reasons that they can't read."""
    table = read_table(file, parameters["exemption"])
    if exemption_digest(parameters["exemption"], table) != parameters["sha256"]:
        raise UsageError(
            f"{file} is not the exemption that is asked for: it was changed since",
            remedy="Get the file as it was when its approval was asked for, or ask anew",
        )
    return [f"  {ja if language == JAPANESE else en}{_plain(table.get(key, ''))}" for key, en, ja in _SHOWN]


def read_table(file: Path, name: str) -> dict[str, Any]:
    """An exemption's file. Raises UsageError."""
    try:
        with file.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise UsageError(
            f"the exemption's own file is not there: {file}", remedy=f"Give {name}.toml with --exemption FILE"
        ) from None
    try:
        table = tomllib.loads(data.decode("utf-8-sig"))
        exemption_digest(name, table)
    except (ValueError, RecursionError, CanonicalError) as error:
        raise UsageError(f"{file} can't be read: {error}", remedy="It must be the TOML that was asked for") from None
    return table


def _plain(text: object) -> str:
    return "".join(letter if letter.isprintable() else f"<U+{ord(letter):04X}>" for letter in str(text))
