"""An answer in events is put together as the whole answer reads, whatever its texts, fields, choices and cuts."""

import functools
import itertools
import json
from collections import defaultdict

import orjson
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sekisho.gateway.rewriting.answers import AnswerRewriter
from sekisho.gateway.sse import EventSplitter, event_data
from sekisho.inspection.rules import compile_inspector, rules_bytes

LABELS = frozenset({"email", "jp.my_number", "phone", "payment_card", "secret.api_key"})
VALUES = {"[email#1]": 'own@example.jp "x"\n', "[email#12]": "second@example.jp"}
BITS = (
    *(
        "番号は",
        "個人番号: ",
        "1234-5678-9018",
        "123456789018",
        "4111 1111 1111 1111",
        "taro@",
        "example",
        ".jp",
        "ghp_",
    ),
    *(
        "0a1B2c3D4e" * 4,
        "電話 ",
        "03-1234-5678",
        "。",
        " ",
        "\n",
        '"',
        "\\",
        "😀",
        "\x1e",
        "[email#1]",
        "[ema",
        "il#12]",
    ),
    *("[", "#1]", "u0031", "\\u0040", "\u200b", "（", "１２３４", "５６７８－９０１８"),
)
TEXT = st.lists(st.sampled_from(BITS), max_size=7).map("".join)
ARGUMENTS = st.tuples(st.one_of(TEXT, st.dictionaries(TEXT, TEXT, max_size=2), st.lists(TEXT)), st.booleans()).map(
    lambda drawn: json.dumps({"個人番号": drawn[0], "n": 123456789018}, ensure_ascii=drawn[1])
)
FIELDS = {
    ("content",): TEXT,
    ("reasoning_content",): TEXT,
    ("refusal",): TEXT,
    ("audio", "transcript"): TEXT,
    ("個人番号", "inner"): TEXT,
    ("function_call", "arguments"): ARGUMENTS,
    ("tool_calls", 0, "function", "arguments"): ARGUMENTS,
    ("tool_calls", 1, "function", "arguments"): st.one_of(TEXT, ARGUMENTS),
    ("content_parts", 0, "text"): TEXT,
}
ANSWER = st.fixed_dictionaries(
    {}, optional={(number, *field): made for field, made in FIELDS.items() for number in (0, 1)}
)


@functools.cache
def masking():
    return compile_inspector(rules_bytes(("jp",))).masking(LABELS)


def put(container, path, text):
    """As a delta or a message has it: items of lists with their index."""
    for step, following in itertools.pairwise(path):
        if type(step) is int:
            container = (
                next((one for one in container if one["index"] == step), None)
                or container.append({"index": step})
                or container[-1]
            )
        else:
            container = container.setdefault(step, [] if type(following) is int else {})
    container[path[-1]] = text


def put_in(container, path, text):
    put(container, path, text)
    return container


def read(value, path=()):
    """The texts of a delta or a message, by path."""
    if type(value) is str:
        yield path, value
    elif type(value) is dict:
        for key, item in value.items():
            yield from read(item, (*path, key))
    elif type(value) is list:
        for item in value:
            yield from read(item, (*path, item["index"]))


def in_events(texts, random):
    """Events that say them in pieces, several at a time or none; the last of a choice may say its finish too."""
    left, finished = dict(texts), set()
    while left or len(finished) < 2:
        choices = {}
        for path in random.sample(sorted(left, key=repr), random.randint(0, min(3, len(left)))):
            size = random.choice((0, 1, 2, 5, 40))
            put(choices.setdefault(path[0], {}), path[1:], left[path][:size])
            left[path] = left[path][size:]
            if not left[path]:
                del left[path]
        over = [one for one in (0, 1) if one not in finished and not any(path[0] == one for path in left)]
        ending = over if random.random() < 0.5 else []
        finished.update(ending)
        yield {"id": "c", "choices": [
            {"index": one, "delta": choices.get(one, {}), "finish_reason": "stop" if one in ending else None}
            for one in sorted({*choices, *ending})
        ]}  # fmt: skip


def put_together(events):
    texts = defaultdict(str)
    for document in events:
        for choice in document["choices"]:
            for path, text in read(choice["delta"]):
                texts[choice["index"], *path] += text
    return {path: text for path, text in texts.items() if text}


DRAWN = given(ANSWER, st.randoms(use_true_random=False), st.booleans(), st.booleans())
# To make an example of so many texts and cuts smaller takes minutes: what fails is better made smaller by hand, in one
# text, and put among the texts below.
UNSHRUNK = (Phase.explicit, Phase.reuse, Phase.generate)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("path", [("content",), ("tool_calls", 0, "function", "arguments")])
@pytest.mark.parametrize("text", ["4111 1111 1111 18１1[email#個人番号]", "123456789018 [email#個人番号]。"])
def test_texts_that_once_were_masked_otherwise_in_pieces(text, path, size):
    arguments = path[-1] == "arguments"
    written = json.dumps({"text": text}, ensure_ascii=size % 2 == 0) if arguments else text
    events = [
        {"choices": [{"index": 0, "delta": put_in({}, path, piece), "finish_reason": None}]}
        for piece in (written[at : at + size] for at in range(0, len(written), size))
    ]
    rewriter = AnswerRewriter(masking(), {})
    body = b"".join(map(rewriter.event, events)) + rewriter.rest()
    got = put_together(orjson.loads(event_data(event)) for event in EventSplitter().feed(body))[(0, *path)]
    whole = orjson.loads(
        AnswerRewriter(masking(), {}).whole({"choices": [{"index": 0, "message": put_in({}, path, written)}]})
    )
    assert "[jp.my_number]" in got
    assert got == dict(read(whole["choices"][0]["message"]))[path]


@settings(max_examples=25, deadline=None, phases=UNSHRUNK)
@DRAWN
def test_in_events_as_in_whole(texts, random, is_masked, is_restored):
    check(texts, random, is_masked, is_restored)


@pytest.mark.long
@settings(max_examples=500, deadline=None, phases=UNSHRUNK)
@DRAWN
def test_in_events_as_in_whole_many_times(texts, random, is_masked, is_restored):
    check(texts, random, is_masked, is_restored)


def check(texts, random, is_masked, is_restored):
    def rewriter():
        return AnswerRewriter(masking() if is_masked else None, VALUES if is_restored else {})

    messages = {0: {}, 1: {}}
    for path, text in texts.items():
        put(messages[path[0]], path[1:], text)
    whole = rewriter()
    choices = [{"index": index, "message": message} for index, message in messages.items()]
    found = orjson.loads(whole.whole({"choices": choices}))["choices"]
    expected = {(one["index"], *path): text for one in found for path, text in read(one["message"]) if text}

    streamed = rewriter()
    upstream = list(in_events(texts, random))
    body = b"".join([streamed.event(orjson.loads(orjson.dumps(one))) for one in upstream]) + streamed.rest()
    splitter = EventSplitter()
    got = [orjson.loads(event_data(event)) for event in splitter.feed(body)]
    assert put_together(got) == expected
    assert streamed.counts() == whole.counts()
    assert splitter.pending == b""
    # Nothing of a choice comes after its finish, and each finish once.
    for index in (0, 1):
        reasons = [one["finish_reason"] for event in got for one in event["choices"] if one["index"] == index]
        assert reasons == [None] * (len(reasons) - 1) + ["stop"]
