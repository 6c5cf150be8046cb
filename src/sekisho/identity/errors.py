"""What can go wrong around identity.

IdentityError
├── AuthenticationError      the caller is not let in (HTTP 401)
│   ├── KeyMissing               no key came with the request, or not in a form we read
│   ├── KeyUnknown               a key came that is not registered
│   └── KeyRevoked               a key came that was revoked
├── SignInRefused            a console token that opens nothing; nothing was changed
├── KeyRequestInvalid        what was asked of a new key can't be registered; nothing was written
├── KeyNotRegistered         an administrative act names a key that doesn't exist; nothing was written
└── RegisterError            the register of keys itself
    ├── RegisterUnavailable      it can't be read or written now
    ├── RegisterUnsupported      its schema is not the one this program knows
    └── RegisterRewound          it holds less than it did: an older copy took its place
"""

from sekisho.kernel.errors import SekishoError


class IdentityError(SekishoError):
    """The family of this context."""


class AuthenticationError(IdentityError):
    """The caller is not let in. Messages never hold any part of what the caller sent."""


class KeyMissing(AuthenticationError):
    pass


class KeyUnknown(AuthenticationError):
    pass


class KeyRevoked(AuthenticationError):
    pass


class SignInRefused(IdentityError):
    """By default it says the least: whether a token was unknown, used or too old is nobody's business."""

    def __init__(
        self, message: str = "the token does not open the console", *, remedy: str = "Ask for a new one"
    ) -> None:
        super().__init__(message, remedy=remedy)


class KeyRequestInvalid(IdentityError):
    pass


class KeyNotRegistered(IdentityError):
    pass


class RegisterError(IdentityError):
    pass


class RegisterUnavailable(RegisterError):
    pass


class RegisterUnsupported(RegisterError):
    pass


class RegisterRewound(RegisterError):
    pass
