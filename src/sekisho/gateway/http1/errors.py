"""What can go wrong between a caller and us, and between us and an upstream.

RequestRefused              a caller's request we don't take: `status` is the answer, the connection ends with it
BodyError                   the framing of a body (chunks), on either side; turned into one of the others
└── BodyTooLarge            a body beyond its bound

Between us and an upstream, by phase:

UpstreamError
├── UpstreamUnreachable     no connection: refused, timed out, name unknown
│   ├── UpstreamForbiddenAddress   an address outside the deployment's declared networks; nothing was connected
│   ├── UpstreamTlsError           the handshake or the certificate
│   └── UpstreamProxyError         the egress proxy: not reached, or it opened no tunnel (`phase`: "proxy")
├── UpstreamClosed          the connection ended before the answer was complete
├── UpstreamTimeout         silence, or the whole exchange, beyond the bound (`phase`: "write", "head" or "body")
├── UpstreamInvalid         the answer is not HTTP/1.1 that we accept
│   └── UpstreamEncoded            a coding of the body that we did not ask for
└── UpstreamTooLarge        head or body beyond its bound
"""

from sekisho.kernel.errors import SekishoError


class RequestRefused(SekishoError):
    """`status` is 400, 408, 413, 415, 417, 431 or 503; `path` what was asked for, "" where that is not known."""

    def __init__(self, status: int, message: str, path: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.path = path


class BodyError(SekishoError):
    """A body whose chunks are not what RFC 9112 section 7.1 says, or not what we accept of it."""


class BodyTooLarge(BodyError):
    """A body with more bytes than its bound."""


class UpstreamError(SekishoError):
    """`phase` is "connect", "proxy", "write", "head" or "body"."""

    def __init__(self, message: str, *, phase: str) -> None:
        super().__init__(message)
        self.phase = phase


class UpstreamUnreachable(UpstreamError):
    pass


class UpstreamForbiddenAddress(UpstreamUnreachable):
    pass


class UpstreamTlsError(UpstreamUnreachable):
    pass


class UpstreamProxyError(UpstreamUnreachable):
    def __init__(self, message: str) -> None:
        super().__init__(message, phase="proxy")


class UpstreamClosed(UpstreamError):
    pass


class UpstreamTimeout(UpstreamError):
    pass


class UpstreamInvalid(UpstreamError):
    pass


class UpstreamEncoded(UpstreamInvalid):
    pass


class UpstreamTooLarge(UpstreamError):
    pass
