import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.gateway.errors import UpstreamFailed
from sekisho.gateway.sse import EventSplitter, event_data

pieces = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"data: {}", b"data: x\n\n", b": ping", b"a"])
streams = st.lists(pieces, max_size=30).map(b"".join)


def split(parts: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = EventSplitter()
    events = [event for part in parts for event in splitter.feed(part)]
    events += splitter.end()
    return events, splitter.pending


@given(streams, st.data())
def test_any_split_of_the_same_bytes_gives_the_same_events(stream: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    events, rest = split(parts)
    assert (events, rest) == split([stream])
    assert b"".join(events) + rest == stream  # not a byte is changed or lost


def test_events_end_at_an_empty_line_whatever_the_line_ends() -> None:
    for newline in (b"\n", b"\r\n", b"\r"):
        stream = newline.join([b"data: 1", b"", b"data: 2", b"data: 3", b"", b"data: 4"])
        events, rest = split([stream])
        assert [event_data(event) for event in events] == [b"1", b"2\n3"]
        assert rest == b"data: 4"


def test_comments_and_pings_have_no_data() -> None:
    assert event_data(b": ping\n\n") is None
    assert event_data(b"event: x\ndata:y\n\n") == b"y"


def test_an_endless_event_is_refused() -> None:
    splitter = EventSplitter(event_bytes_max=1000)
    fed = 0
    with pytest.raises(UpstreamFailed):  # noqa: PT012 - which of the feeds raises is what the loop finds
        for _ in range(200):
            splitter.feed(b"data: aaaaaaaaa")
            fed += 15
    assert 985 <= fed <= 1000
