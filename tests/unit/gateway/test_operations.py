"""Reading requests: what can be one, what leaves, and what bounds its cost."""

import orjson
import pytest

from gateway_fakes import asking
from sekisho.gateway.dialects.operations import (
    CHAT,
    CHOICES_MAX,
    COMPLETIONS,
    EMBEDDINGS,
    OPERATIONS,
    TEXTS_MAX,
    parse_request,
    upstream_body,
)
from sekisho.gateway.errors import BadRequest, UnsupportedEncoding

GOOD = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)


@every_operation
def test_unknown_fields_pass_and_the_model_is_renamed(operation) -> None:
    document = {**asking(operation, "hi"), "user": "u", "vendor_field": {"a": [1, 2.5]}, "stream": True}
    asked = parse_request(operation, {}, orjson.dumps(document))
    assert asked.stream
    assert orjson.loads(upstream_body(asked.document, "upstream-m")) == {**document, "model": "upstream-m"}


@every_operation
@pytest.mark.parametrize("store", [True, None, "yes", 1, {}], ids=repr)
def test_nobody_has_a_provider_keep_anything(operation, store) -> None:
    asked = parse_request(operation, {}, orjson.dumps({**asking(operation, "hi"), "store": store}))
    for say_store in (False, True):
        assert orjson.loads(upstream_body(asked.document, "m", say_store=say_store))["store"] is False


def test_where_a_caller_is_silent_store_is_said_only_to_who_would_keep_it_by_default() -> None:
    document = parse_request(CHAT, {}, orjson.dumps(GOOD)).document
    assert orjson.loads(upstream_body(document, "m")) == GOOD
    assert orjson.loads(upstream_body(document, "m", say_store=True)) == {**GOOD, "store": False}
    assert document == GOOD  # what was inspected is not changed


def test_of_duplicate_keys_the_inspected_value_is_the_one_that_leaves() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"shown","content":"used"}]}'
    sent = upstream_body(parse_request(CHAT, {}, body).document, "m")
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
        parse_request(CHAT, {}, body)
    assert caught.value.param == param
    error = orjson.loads(caught.value.body())["error"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("operation", [COMPLETIONS, EMBEDDINGS], ids=lambda operation: operation.name)
@pytest.mark.parametrize(
    "value", [None, "absent", 7, {}, [], [[]], [{"text": "hi"}], ["hi", 1], [1, "hi"], [[1], 2], [[1.5]], [True]]
)
def test_texts_are_strings_or_tokens_and_nothing_that_reads_as_both(operation, value) -> None:
    (name,) = asking(operation, "").keys() - {"model"}
    body = orjson.dumps({"model": "m"} if value == "absent" else {"model": "m", name: value})
    with pytest.raises(BadRequest) as caught:
        parse_request(operation, {}, body)
    assert caught.value.param == name


def test_texts_are_bounded_but_not_the_tokens_of_one() -> None:
    parse_request(EMBEDDINGS, {}, orjson.dumps({"model": "m", "input": [1] * (TEXTS_MAX + 1)}))
    with pytest.raises(BadRequest, match=str(TEXTS_MAX)):
        parse_request(EMBEDDINGS, {}, orjson.dumps({"model": "m", "input": ["a"] * (TEXTS_MAX + 1)}))


def test_large_numbers_that_fit_are_kept_exactly() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"1234567890123456789"}],"seed":9223372036854775807}'
    assert parse_request(CHAT, {}, body).document["seed"] == 9223372036854775807


@every_operation
def test_other_media_types_are_415(operation) -> None:
    body = orjson.dumps(asking(operation, "hi"))
    with pytest.raises(UnsupportedEncoding):
        parse_request(operation, {b"content-type": b"text/plain"}, body)
    parse_request(operation, {b"content-type": b"Application/JSON; charset=utf-8"}, body)


@pytest.mark.parametrize(
    ("operation", "fields", "bound"),
    [
        (CHAT, {}, None),
        (CHAT, {"max_completion_tokens": 10, "max_tokens": 99, "n": 3}, 30),
        (COMPLETIONS, {"max_tokens": None}, None),
        (COMPLETIONS, {"max_tokens": 10}, 10),
        (COMPLETIONS, {"max_tokens": 10, "n": 2, "best_of": 3}, 30),
        (COMPLETIONS, {"max_tokens": 10, "n": 2, "prompt": ["a", "b", "c"]}, 60),
        (COMPLETIONS, {"max_tokens": 10, "prompt": [1, 2, 3]}, 10),
        (COMPLETIONS, {"max_tokens": 10, "prompt": [[1, 2], [3]]}, 20),
        (EMBEDDINGS, {"max_tokens": 10, "input": ["a", "b"]}, 0),
    ],
)
def test_the_bound_on_completion_counts_all_choices_of_all_prompts(operation, fields, bound) -> None:
    body = orjson.dumps(asking(operation, "hi") | fields)
    assert parse_request(operation, {}, body).completion_tokens_max == bound


@pytest.mark.parametrize("value", [0, -1, CHOICES_MAX + 1, 1.5, "3", True])
@pytest.mark.parametrize("bounded", [{}, {"max_tokens": 10}])
@pytest.mark.parametrize(("operation", "name"), [(CHAT, "n"), (COMPLETIONS, "n"), (COMPLETIONS, "best_of")])
def test_a_number_of_choices_that_bounds_nothing_is_refused(operation, name, bounded, value) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(operation, {}, orjson.dumps(asking(operation, "hi") | bounded | {name: value}))
    assert caught.value.param == name


@every_operation
@pytest.mark.parametrize("in_body", [{}, {"model": None}, {"model": "m"}])
def test_a_model_in_the_path_may_be_repeated_or_left_out_of_the_body(operation, in_body) -> None:
    document = {**asking(operation, "hi"), **in_body}
    if not in_body:
        del document["model"]
    asked = parse_request(operation, {}, orjson.dumps(document), "m")
    assert asked.model == asked.document["model"] == "m"


@every_operation
def test_two_names_for_the_model_are_refused(operation) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(operation, {}, orjson.dumps(asking(operation, "hi")), "n")
    assert caught.value.param == "model"
