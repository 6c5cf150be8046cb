"""Which addresses are inside, what a name resolves to, and heads as bytes."""

from ipaddress import ip_network

import pytest

from sekisho.gateway.http1 import wire
from sekisho.gateway.http1.addresses import parse_address, require_inside, resolve
from sekisho.gateway.http1.errors import UpstreamForbiddenAddress


def inside(addresses, *networks):
    require_inside([parse_address(a) for a in addresses], [ip_network(n) for n in networks], "name")


def test_every_address_must_lie_inside():
    inside(["203.0.113.7"])  # nothing declared: any
    inside(["10.1.2.3", "10.9.9.9"], "10.0.0.0/8")
    inside(["::ffff:10.1.2.3"], "10.0.0.0/8")
    inside(["fe80::1%lo"], "fe80::/10")
    for addresses in (["11.0.0.1"], ["10.0.0.1", "11.0.0.1"], ["::ffff:11.0.0.1"], ["2001:db8::1"]):
        with pytest.raises(UpstreamForbiddenAddress):
            inside(addresses, "10.0.0.0/8")


@pytest.mark.parametrize("text", ["010.0.0.1", "0x7f.1", "127.1", "localhost", ""])
def test_only_plain_literals_are_addresses(text):
    with pytest.raises(ValueError):
        parse_address(text)


async def test_a_literal_is_not_resolved():
    assert [str(a) for a in await resolve("::ffff:127.0.0.1", 80)] == ["127.0.0.1"]


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\nb"),
        (b"x\r\ny", b"a"),
        (b"x", b"a\0"),
        (b"x", b"a\r"),
        (b"content-length", b"5"),
        (b"transfer-encoding", b"chunked"),
    ],
)
def test_headers_that_would_split_or_frame_a_message_are_refused(header):
    with pytest.raises(ValueError):
        wire.answer_headers([(b"ok", b"1"), header])
    with pytest.raises(ValueError):
        wire.request_headers([(b"ok", b"1"), header])


def test_head_bytes():
    assert wire.answer_headers([(b"a", b"b"), (b"c", b"")]) == b"a: b\r\nc: \r\n"
    assert wire.status_line(200) == b"HTTP/1.1 200 OK\r\n"
    assert wire.status_line(299) == b"HTTP/1.1 299 \r\n"
