"""Header lines: nothing in a name or a value makes a line of its own."""

import pytest

from sekisho.gateway.http1 import wire

HEADERS = [(b"x-a", b"b"), (b"x-c", b""), (b"x-d", b"e")]


def test_lines_are_written_as_given():
    assert wire.answer_headers(HEADERS) == b"x-a: b\r\nx-c: \r\nx-d: e\r\n"
    assert wire.request_headers([]) == b""


@pytest.mark.parametrize("bad", [b"\r", b"\n", b"\r\n", b"\n\r", b"\0"])
@pytest.mark.parametrize("write", [wire.answer_headers, wire.request_headers])
def test_line_breaks_and_nul_are_refused_wherever_they_stand(write, bad):
    for index, pair in enumerate(HEADERS):
        for part in (0, 1):
            text = pair[part]
            for position in range(len(text) + 1):
                spoilt = list(pair)
                spoilt[part] = text[:position] + bad + text[position:]
                with pytest.raises(ValueError, match="line break"):
                    write([*HEADERS[:index], tuple(spoilt), *HEADERS[index + 1 :]])


def test_framing_is_ours_alone():
    for name in (b"connection", b"content-length", b"transfer-encoding", b"date"):
        with pytest.raises(ValueError, match="core itself"):
            wire.answer_headers([*HEADERS, (name, b"1")])
    for name in (b"connection", b"content-length", b"transfer-encoding", b"host", b"expect"):
        with pytest.raises(ValueError, match="core itself"):
            wire.request_headers([(name, b"1"), *HEADERS])
