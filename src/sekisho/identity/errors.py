"""What can go wrong around identity.

IdentityError
├── AuthenticationError      the caller is not let in (HTTP 401)
│   ├── KeyMissing               no key came with the request, or not in a form we read
│   ├── KeyUnknown               a key came that is not registered
│   ├── KeyRevoked               a key came that was revoked
│   ├── CredentialsConflict      two came that don't belong together: which one to believe is not ours to guess
│   ├── CertificateRefused       a client certificate alone, that no organisation (or more than one) declares
│   └── TokenRefused             a token (JWT) came, and
│       ├── TokenMalformed           it is not a signed token as we read them
│       ├── TokenUnknownIssuer       no organisation declares its issuer
│       ├── TokenWrongAudience       it was issued for something else
│       ├── TokenExpired             it is over
│       ├── TokenNotYetValid         it begins later
│       ├── TokenUnknownKey          its issuer publishes no such key
│       ├── TokenBadSignature        the key it names did not sign it
│       └── TokenClaimsRefused       its claims are not those that were declared
├── IssuerKeysUnavailable    an issuer's keys have never been read, so its tokens can't be verified yet (HTTP 503)
├── KeySetError              bytes that are no key set, or an answer that is no key set or discovery document
├── SignInRefused            a console token that opens nothing; nothing was changed
│   └── SessionsFull             a right one, while too many are signed in
├── KeyRequestInvalid        what was asked of a new key can't be registered; nothing was written
├── KeyNotRegistered         an administrative act names a key that doesn't exist; nothing was written
├── StopRequestInvalid       what was asked of a stop can't be registered; nothing was written
├── StopNotSet               a stop is to be lifted that is not set; nothing was written
├── PersonRequestInvalid     what was asked of a person can't be registered; nothing was written
├── PersonKeyUnusable        a person's key file that can't be read or used
├── ApprovalError            an act was not approved; nothing was done
│   ├── ApprovalMissing          a rule demands an approval, and none came
│   └── ApprovalRefused          one came that does not do:
│       ├── ApprovalMalformed        it is none as we read them, or of an act that can't be shown
│       ├── ApprovalBadSignature     a signature in it is not of these bytes
│       ├── ApprovalForAnother       it is for another act, or another installation
│       ├── ApprovalExpired          it is over, begins later, or is valid for too long
│       ├── ApprovalNotAsked         whoever asked is not enrolled, or did not sign
│       ├── ApprovalInsufficient     too few of those whom the rule names approve
│       └── ApprovalUsed             it approved an act already
└── RegisterError            the register of keys itself
    ├── RegisterUnavailable      it can't be read or written now
    ├── RegisterUnsupported      its schema is not the one this program knows
    └── RegisterRewound          it holds less than it did: an older copy took its place
"""

from sekisho.kernel.errors import SekishoError


class IdentityError(SekishoError):
    """The family of this context."""


class AuthenticationError(IdentityError):
    """The caller is not let in. Messages never hold any part of what the caller sent. `code` is the error's code."""

    code = "invalid_api_key"


class KeyMissing(AuthenticationError):
    pass


class KeyUnknown(AuthenticationError):
    pass


class KeyRevoked(AuthenticationError):
    pass


class CredentialsConflict(AuthenticationError):
    code = "credentials_conflict"


class CertificateRefused(AuthenticationError):
    code = "certificate_refused"


class TokenRefused(AuthenticationError):
    code = "invalid_token"


class TokenMalformed(TokenRefused):
    code = "token_malformed"


class TokenUnknownIssuer(TokenRefused):
    code = "token_unknown_issuer"


class TokenWrongAudience(TokenRefused):
    code = "token_wrong_audience"


class TokenExpired(TokenRefused):
    code = "token_expired"


class TokenNotYetValid(TokenRefused):
    code = "token_not_yet_valid"


class TokenUnknownKey(TokenRefused):
    code = "token_unknown_key"


class TokenBadSignature(TokenRefused):
    code = "token_bad_signature"


class TokenClaimsRefused(TokenRefused):
    code = "token_claims_refused"


class IssuerKeysUnavailable(IdentityError):
    pass


class KeySetError(IdentityError):
    pass


class SignInRefused(IdentityError):
    """By default it says the least: whether a token was unknown, used or too old is nobody's business."""

    def __init__(
        self, message: str = "the token does not open the console", *, remedy: str = "Ask for a new one"
    ) -> None:
        super().__init__(message, remedy=remedy)


class SessionsFull(SignInRefused):
    def __init__(self) -> None:
        super().__init__("too many are signed in", remedy="Sign out where it is not needed")


class KeyRequestInvalid(IdentityError):
    pass


class KeyNotRegistered(IdentityError):
    pass


class StopRequestInvalid(IdentityError):
    pass


class StopNotSet(IdentityError):
    pass


class PersonRequestInvalid(IdentityError):
    pass


class PersonKeyUnusable(IdentityError):
    pass


class ApprovalError(IdentityError):
    pass


class ApprovalMissing(ApprovalError):
    pass


class ApprovalRefused(ApprovalError):
    pass


class ApprovalMalformed(ApprovalRefused):
    pass


class ApprovalBadSignature(ApprovalRefused):
    pass


class ApprovalForAnother(ApprovalRefused):
    pass


class ApprovalExpired(ApprovalRefused):
    pass


class ApprovalNotAsked(ApprovalRefused):
    pass


class ApprovalInsufficient(ApprovalRefused):
    pass


class ApprovalUsed(ApprovalRefused):
    pass


class RegisterError(IdentityError):
    pass


class RegisterUnavailable(RegisterError):
    pass


class RegisterUnsupported(RegisterError):
    pass


class RegisterRewound(RegisterError):
    pass
