"""Heads of requests and answers: from raw bytes to values, strictly.

The grammar is our own, over the whole head in one pass; it leaves out everything that parsers of HTTP are known to
read differently. What passes it, llhttp and h11 read in the same way: the tests hold all three against each other.
"""

import re
from typing import Final, NamedTuple

from sekisho.gateway.http1.errors import RequestRefused, UpstreamEncoded, UpstreamInvalid
from sekisho.gateway.http1.interfaces import ServerLimits

CHUNKED: Final = -1  # stands for a length that is not known beforehand
UNTIL_EOF: Final = -2  # answers only: the body ends with the connection

# RFC 9112 section 3 and RFC 9110 section 5. Narrower where readers differ: one space in the request line, origin-form
# targets, no bare CR or LF, no folding, no space around names, no obs-text from callers. Every repeat is possessive,
# so matching is linear in the head's length whatever it holds.
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_REQUEST_LINE: Final = rb'([A-Z]{1,20}+) (/[!"$-~]*+) HTTP/1\.([01])\r\n'
_STATUS_LINE: Final = rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t -~\x80-\xff]*+)?+\r\n"
_REQUEST: Final = re.compile(_REQUEST_LINE + rb"(?:" + _TOKEN + rb":[\t -~]*+\r\n)*+\r\n")
_RESPONSE: Final = re.compile(_STATUS_LINE + rb"(?:" + _TOKEN + rb":[\t -~\x80-\xff]*+\r\n)*+\r\n")
_HEADER_LINE: Final = re.compile(rb"\n(" + _TOKEN + rb"):([\t -~\x80-\xff]*+)(?=\r\n)")
_FIRST_LINE: Final = re.compile(_REQUEST_LINE)
BARE_LINE_FEED: Final = re.compile(rb"(?<!\r)\n")
# RFC 9112 section 3.2: a Host that is not a name or address and a port is refused.
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~\-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
# RFC 9110 section 9.1 and RFC 5789. Other tokens are refused: readers differ on what they have never heard of.
_METHODS: Final = {
    name.encode("ascii"): name for name in ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE")
}
# RFC 9110 section 8.6: digits. `002` is refused because some read it as octal; 15 digits hold every real length.
_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,14}")

# Headers that are lists by their definition: several lines mean the same as one joined by commas (RFC 9110 5.3).
# Everything else that comes twice is refused: readers disagree on which one counts. So is x-sekisho-residency, a
# list that one line states whole: a second line must not widen what the first one narrowed.
_LISTS: Final = frozenset(
    {
        b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"anthropic-beta", b"baggage",
        b"cache-control", b"connection", b"forwarded", b"if-match", b"if-none-match", b"openai-beta", b"pragma",
        b"prefer", b"te", b"tracestate", b"upgrade", b"via", b"warning", b"x-forwarded-for",
    }
)  # fmt: skip
# In an answer these decide where it ends and how it reads, so they come once.
_ONCE_IN_ANSWERS: Final = frozenset(
    {b"content-encoding", b"content-length", b"content-type", b"location", b"transfer-encoding"}
)


class RequestHead(NamedTuple):
    method: str
    path: str
    query: str
    headers: dict[bytes, bytes]
    length: int  # of the body in bytes, or CHUNKED
    keep_alive: bool
    http_1_0: bool
    expects_continue: bool


class AnswerHead(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    length: int  # of the body in bytes, CHUNKED, or UNTIL_EOF
    keep_alive: bool


def parse_request(raw: bytes, limits: ServerLimits) -> RequestHead:
    """A request's head from its bytes, the empty line included; raises RequestRefused (400, 413, 415, 417, 431)."""
    match = _REQUEST.fullmatch(raw)
    if match is None:
        refuse_early(raw)
        raise RequestRefused(400, "a malformed header line")
    token, target, minor = match.groups()
    block = raw[match.end(3) + 2 : -4]
    lines = block.split(b"\r\n") if block else []
    if len(lines) > limits.headers_max:
        raise RequestRefused(431, f"more than {limits.headers_max} headers")
    method = _METHODS.get(token)
    if method is None:
        raise RequestRefused(400, "a method that is not served here")
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    if len(headers) != len(lines):
        headers = _joined_request_headers(raw)
    http_1_0 = minor == b"0"
    host = headers.get(b"host")
    if host is None or _HOST.fullmatch(host) is None:
        _refuse_host(host, http_1_0)
    path, _, query = target.decode("ascii").partition("?")
    try:
        length = _request_length(headers, http_1_0, limits.body_bytes_max)
        expects_continue = b"expect" in headers and _expects_continue(headers, http_1_0)
    except RequestRefused as refusal:
        refusal.path = path
        raise
    keep_alive = not http_1_0 and not (b"connection" in headers and _says_close(headers[b"connection"]))
    return RequestHead(method, path, query, headers, length, keep_alive, http_1_0, expects_continue)


def refuse_early(raw: bytes | bytearray) -> None:
    """Raise RequestRefused if `raw`, the beginning of a head, can't become one any more."""
    if raw and not 0x41 <= raw[0] <= 0x5A:  # a method begins with a capital letter; TLS and proxy protocols don't
        raise RequestRefused(400, "not an HTTP/1.1 request")
    if b"\n" not in raw:
        return
    if _FIRST_LINE.match(raw) is None:
        raise RequestRefused(400, "a malformed request line; it reads METHOD /path HTTP/1.1")
    if BARE_LINE_FEED.search(raw) is not None:
        raise RequestRefused(400, "a line that does not end in CR LF")


def parse_answer(raw: bytes, *, to_head: bool) -> AnswerHead:
    """An answer's head from its bytes; `to_head`: it answers a HEAD request. Raises UpstreamInvalid."""
    match = _RESPONSE.fullmatch(raw)
    if match is None:
        raise UpstreamInvalid("the answer's head is not HTTP/1.1", phase="head")
    minor, digits = match.groups()
    status = int(digits)
    block = raw[raw.index(b"\n") + 1 : -4]
    lines = block.split(b"\r\n") if block else []
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    if len(headers) != len(lines):
        headers = _joined_answer_headers(raw)
    http_1_0 = minor == b"0"
    length = _answer_length(status, headers, http_1_0, to_head)
    closes = b"connection" in headers and _says_close(headers[b"connection"])
    keep_alive = length != UNTIL_EOF and not http_1_0 and not closes
    return AnswerHead(status, headers, length, keep_alive)


def _pairs(raw: bytes) -> list[tuple[bytes, bytes]]:
    return [(name.lower(), value.strip()) for name, value in _HEADER_LINE.findall(raw)]


def _joined_request_headers(raw: bytes) -> dict[bytes, bytes]:
    joined: dict[bytes, bytes] = {}
    for name, value in _pairs(raw):
        if name not in joined:
            joined[name] = value
        elif name in _LISTS:
            joined[name] += b", " + value
        else:
            raise RequestRefused(400, f"the header {name.decode('ascii')} comes twice")
    return joined


def _joined_answer_headers(raw: bytes) -> dict[bytes, bytes]:
    joined: dict[bytes, bytes] = {}
    for name, value in _pairs(raw):
        if name not in joined:
            joined[name] = value
        elif name in _ONCE_IN_ANSWERS:
            raise UpstreamInvalid(f"the answer's header {name.decode('ascii')} comes twice", phase="head")
        else:
            joined[name] += b", " + value
    return joined


def _refuse_host(host: bytes | None, http_1_0: bool) -> None:
    """Only a caller of HTTP/1.0 may leave it out (RFC 9112 section 3.2)."""
    if host is not None:
        raise RequestRefused(400, "the header host is not a host")
    if not http_1_0:
        raise RequestRefused(400, "the header host is missing")


def _request_length(headers: dict[bytes, bytes], http_1_0: bool, bytes_max: int) -> int:
    """RFC 9112 section 6.3, without its ways of guessing."""
    length = headers.get(b"content-length")
    if b"transfer-encoding" in headers:
        if http_1_0 or length is not None:
            raise RequestRefused(400, "transfer-encoding in HTTP/1.0 or beside content-length")
        if headers[b"transfer-encoding"].lower() != b"chunked":
            raise RequestRefused(400, "a transfer-encoding other than chunked")
    if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
        raise RequestRefused(415, "a content-encoding other than identity")
    if length is None:
        return CHUNKED if b"transfer-encoding" in headers else 0
    if _LENGTH.fullmatch(length) is None:
        raise RequestRefused(400, "content-length is not a number")
    wanted = int(length)
    if wanted > bytes_max:
        raise RequestRefused(413, f"a body of more than {bytes_max} bytes")
    return wanted


def _answer_length(status: int, headers: dict[bytes, bytes], http_1_0: bool, to_head: bool) -> int:
    coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
    if b"content-encoding" in headers and headers[b"content-encoding"].lower() != b"identity":
        raise UpstreamEncoded("the answer has a content-encoding that we did not ask for", phase="head")
    if coding is not None and (http_1_0 or length is not None or coding.lower() != b"chunked"):
        raise UpstreamInvalid("the answer has a transfer-encoding that we don't accept", phase="head")
    if length is not None and _LENGTH.fullmatch(length) is None:
        raise UpstreamInvalid("the answer's content-length is not a number", phase="head")
    if to_head or status in (204, 304) or status < 200:
        return 0
    if coding is not None:
        return CHUNKED
    return UNTIL_EOF if length is None else int(length)


def _says_close(options: bytes) -> bool:
    options = options.lower()
    return b"close" in options and b"close" in [option.strip() for option in options.split(b",")]


def _expects_continue(headers: dict[bytes, bytes], http_1_0: bool) -> bool:
    """RFC 9110 section 10.1.1: ignored in 1.0; an expectation that we don't know is 417."""
    if headers[b"expect"].lower() != b"100-continue":
        raise RequestRefused(417, "an expectation other than 100-continue")
    return not http_1_0
