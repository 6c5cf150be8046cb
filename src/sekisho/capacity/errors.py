"""Errors of capacity.

SekishoError
└── CapacityError
    ├── BadChatRequest   a request that an engine can't answer; has an HTTP status
    ├── ModelFileError   a file that is no model which can be served
    └── ModelFailed      a model that can't be loaded, with the reason
"""

from sekisho.kernel.errors import SekishoError


class CapacityError(SekishoError):
    """An engine can't do what it was asked."""


class BadChatRequest(CapacityError):
    """The request can't be answered: `param` names the field, `status` and `code` are what OpenAI's API gives.

    `retry_after_s` (seconds) is given where the same request may do later.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        status: int = 400,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.param = param
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class ModelFileError(CapacityError):
    """The file is missing, is not GGUF, or is damaged."""


class ModelFailed(CapacityError):
    """llama.cpp could not load the model."""
