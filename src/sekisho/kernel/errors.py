"""The root of every error family.

SekishoError
├── UsageError            the caller's words are off (command line, header, declaration)
├── CanonicalError        bytes or values outside the canonical form        (kernel.canonical)
└── NoteError             a signed note that is malformed or does not verify (kernel.notes)

Each context adds its own family under SekishoError, drawn at the top of its `errors.py`.
"""


class SekishoError(Exception):
    """Something a person must know: `message` says what happened, `remedy` what to do about it."""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class UsageError(SekishoError):
    """The caller's words are off; nothing was done."""


class CanonicalError(SekishoError):
    """A value has no canonical form, or bytes are not in it."""


class NoteError(SekishoError):
    """A signed note is malformed, or a signature of a known key does not verify."""
