"""Errors of capacity.

SekishoError
└── CapacityError
    └── BadChatRequest   a chat completion request that the built-in engine can't answer; has an HTTP status
"""

from sekisho.kernel.errors import SekishoError


class CapacityError(SekishoError):
    """An engine can't do what it was asked."""


class BadChatRequest(CapacityError):
    """The caller's request is off: `param` names the field, `status` and `code` are what OpenAI's API gives."""

    def __init__(self, message: str, *, param: str | None = None, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.status = status
        self.code = code
