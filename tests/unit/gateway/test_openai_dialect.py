import orjson
import pytest

from sekisho.gateway.dialects.openai import (
    Usage,
    estimate_tokens,
    parse_chat,
    read_answer,
    read_usage,
    text_bytes,
    upstream_body,
)
from sekisho.gateway.errors import BadRequest, UnsupportedEncoding

GOOD = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_unknown_fields_pass_and_the_model_is_renamed() -> None:
    document = {**GOOD, "user": "u", "vendor_field": {"a": [1, 2.5]}, "stream": True}
    chat = parse_chat({}, orjson.dumps(document))
    assert chat.stream
    assert orjson.loads(upstream_body(chat.document, "upstream-m")) == {**document, "model": "upstream-m"}


def test_of_duplicate_keys_the_inspected_value_is_the_one_that_leaves() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"shown","content":"used"}]}'
    sent = upstream_body(parse_chat({}, body).document, "m")
    assert b"used" in sent
    assert b"shown" not in sent


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', None),
        (b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}', None),
        (b'{"model":"m","messages":[{"role":"user","content":"x"}],"seed":123456789012345678901234567890}', None),
        (b"[" * 100_000 + b"]" * 100_000, None),
        (b'{"messages":[]}', "model"),
        (b'{"model":7,"messages":[]}', "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m","messages":["x"]}', "messages[0]"),
        (b'{"model":"m","messages":[{"content":"x"}]}', "messages[0]"),
        (b'{"model":"m","messages":[{"role":"user"}],"stream":"yes"}', "stream"),
        (b'{"model":"m","messages":[{"role":"user"}],"max_tokens":-1}', "max_tokens"),
    ],
)
def test_what_cannot_be_a_request_is_a_clear_400(body: bytes, param: str | None) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_chat({}, body)
    assert caught.value.param == param
    error = orjson.loads(caught.value.body())["error"]
    assert set(error) == {"message", "type", "param", "code"}


def test_large_numbers_that_fit_are_kept_exactly() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"1234567890123456789"}],"seed":9223372036854775807}'
    assert parse_chat({}, body).document["seed"] == 9223372036854775807


def test_other_media_types_are_415() -> None:
    with pytest.raises(UnsupportedEncoding):
        parse_chat({b"content-type": b"text/plain"}, orjson.dumps(GOOD))
    parse_chat({b"content-type": b"Application/JSON; charset=utf-8"}, orjson.dumps(GOOD))


def test_the_bound_on_completion_counts_all_choices() -> None:
    chat = parse_chat({}, orjson.dumps({**GOOD, "max_completion_tokens": 10, "max_tokens": 99, "n": 3}))
    assert chat.completion_tokens_max == 30


def test_usage_is_taken_only_where_it_is_counts() -> None:
    assert read_usage({"prompt_tokens": 3, "completion_tokens": 4}) == Usage(3, 4, "upstream")
    assert read_usage({"prompt_tokens": 3}) == Usage(3, 0, "upstream")
    for nonsense in (None, 7, {}, {"prompt_tokens": "3"}, {"prompt_tokens": -1}, {"prompt_tokens": 2**60}):
        assert read_usage(nonsense) is None
    assert read_answer(b"<html>") is None
    assert read_answer(b"[]") is None
    assert read_answer(b"{}") == (None, 0, False)
    assert read_answer(b'{"error":{"message":"x"}}').reports_error
    assert not read_answer(b'{"error":null,"choices":[{}]}').reports_error
    assert not read_answer(b'{"error":{"message":"content filter"},"choices":[{}]}').reports_error
    assert read_answer(b'{"choices":[{"message":{"role":"assistant","content":"abcd"}}]}') == (None, 4, False)


def test_streamed_text_is_counted_wherever_it_stands() -> None:
    delta = {"role": "assistant", "content": "あい", "tool_calls": [{"id": "x", "function": {"arguments": "{}"}}]}
    assert text_bytes({"choices": [{"delta": delta}]}) == 6 + 2
    assert text_bytes({"choices": []}) == 0
    assert text_bytes({"choices": None}) == 0
    assert [estimate_tokens(n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
