"""Reading answers: what they used, and errors in whatever shape they come."""

import orjson
import pytest

from sekisho.gateway.dialects.answers import (
    Usage,
    chat_text_bytes,
    completion_text_bytes,
    estimate_tokens,
    no_text_bytes,
    read_answer,
    read_error,
    read_usage,
)


def test_usage_is_taken_only_where_it_is_counts() -> None:
    assert read_usage({"prompt_tokens": 3, "completion_tokens": 4}) == Usage(3, 4, "upstream")
    assert read_usage({"prompt_tokens": 3, "total_tokens": 3}) == Usage(3, 0, "upstream")
    for nonsense in (None, 7, {}, {"prompt_tokens": "3"}, {"prompt_tokens": -1}, {"prompt_tokens": 2**60}):
        assert read_usage(nonsense) is None
    assert read_answer(b"<html>", chat_text_bytes) is None
    assert read_answer(b"[]", chat_text_bytes) is None
    assert read_answer(b"{}", chat_text_bytes) == (None, 0, False)
    answer = b'{"choices":[{"message":{"role":"assistant","content":"abcd"}}]}'
    assert read_answer(answer, chat_text_bytes) == (None, 4, False)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"error": {"message": "x"}}, True),
        ({"error": "x", "choices": []}, True),
        ({"error": None, "choices": [{}]}, False),
        ({"error": {"message": "content filter"}, "choices": [{}]}, False),
        ({"error": {"message": "one of them is empty"}, "data": [{}]}, False),
    ],
)
def test_an_answer_that_is_only_an_error_is_known_for_one(answer, expected) -> None:
    assert read_answer(orjson.dumps(answer), no_text_bytes).reports_error is expected


def test_text_is_counted_wherever_it_stands() -> None:
    delta = {"role": "assistant", "content": "あい", "tool_calls": [{"id": "x", "function": {"arguments": "{}"}}]}
    assert chat_text_bytes({"choices": [{"delta": delta}]}) == 6 + 2
    assert completion_text_bytes({"choices": [{"text": "あ", "logprobs": None}, {"text": "b"}, {"text": None}, 7]}) == 4
    for count in (chat_text_bytes, completion_text_bytes, no_text_bytes):
        assert count({"choices": []}) == 0
        assert count({"choices": None}) == 0
        assert count({"choices": [7]}) == 0
    assert [estimate_tokens(n) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        ({"error": {"message": "no", "type": "t", "param": "p", "code": "c"}}, ("no", "t", "p", "c")),
        ({"error": {"message": "no", "param": "None", "code": None}}, ("no", None, None, None)),
        ({"error": {"code": "OperationNotSupported", "message": "no"}}, ("no", None, None, "OperationNotSupported")),
        ({"error": {"code": 400, "message": "no", "type": "BadRequestError"}}, ("no", "BadRequestError", None, "400")),
        ({"object": "error", "message": "no", "type": "t", "param": None, "code": 400}, ("no", "t", None, "400")),
        ({"error": "no"}, ("no", None, None, None)),
        ({"detail": "Not Found"}, ("Not Found", None, None, None)),
        ({"detail": [{"loc": ["body", "x"]}]}, ('[{"loc":["body","x"]}]', None, None, None)),
    ],
)
def test_an_error_is_read_in_whatever_shape_it_comes(answer, fields) -> None:
    read = read_error(orjson.dumps(answer))
    assert read.message == fields[0]
    assert orjson.loads(read.body) == {"error": dict(zip(("message", "type", "param", "code"), fields, strict=True))}


def test_what_else_an_error_says_is_kept() -> None:
    inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}
    answer = {"error": {"message": "filtered", "code": "content_filter", "status": 400, "innererror": inner}}
    error = orjson.loads(read_error(orjson.dumps(answer)).body)["error"]
    assert (error["status"], error["innererror"]) == (400, inner)
    assert "None" not in error.values()


@pytest.mark.parametrize(
    "answer", [b"<html>", b"", b"[]", b"{}", b'{"error":{}}', b'{"error":{"message":' + b"[" * 300 + b"]" * 300 + b"}}"]
)
def test_what_says_nothing_is_not_passed_for_an_error(answer) -> None:
    assert read_error(answer) is None
