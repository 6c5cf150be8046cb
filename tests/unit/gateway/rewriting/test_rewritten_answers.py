"""An answer through the pipeline: what the caller gets, what the entries say, and what is never in them."""

import asyncio
import functools
import itertools
import json
import threading
from collections import Counter, defaultdict

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_fakes import Script, World
from sekisho.gateway.attempt import Recorder
from sekisho.gateway.dialects.operations import CHAT, COMPLETIONS, EMBEDDINGS
from sekisho.gateway.dialects.surfaces import AZURE, OPENAI, Call
from sekisho.gateway.errors import AnswerWithheld, UpstreamFailed
from sekisho.gateway.http1.errors import UpstreamClosed
from sekisho.gateway.rewriting.answers import EVENT_TEXT_MAX
from sekisho.inspection.masking import HOLD_MAX
from sekisho.inspection.rules import compile_inspector, rules_bytes
from sekisho.kernel.clock import SystemClock
from sekisho.policy.interfaces import Answering

EVENT_STREAM = {b"content-type": b"text/event-stream"}
MASKS = ("email", "jp.my_number", "secret.api_key")
NUMBER, MAIL = "1234-5678-9018", "taro@example.co.jp"
KEY = "ghp_" + "0a1B2c3D4e" * 4
DONE = b"data: [DONE]\n\n"


@functools.cache
def inspector():
    return compile_inspector(rules_bytes(("jp",)))


def world(mask=MASKS, restore=(), raw=("a",), redacted=()):
    made = World(raw=raw, redacted=redacted)
    decider = made.in_force.snapshot.decider
    decider.answers, decider.answered = True, Answering(tuple(sorted(mask)), tuple(sorted(restore)), (0,))
    snapshot = made.in_force.snapshot
    object.__setattr__(snapshot, "inspector", inspector())
    object.__setattr__(snapshot, "inspector_aside", inspector())
    return made


def event(choices, **fields):
    return b"data: " + orjson.dumps({"id": "chatcmpl-1", "created": 1764000000, "choices": choices, **fields}) + b"\n\n"


def delta(index=0, finish=None, **fields):
    return {"index": index, "delta": fields, "finish_reason": finish}


def split(text, size):
    return [text[start : start + size] for start in range(0, len(text), size)]


def said(text, size=3, key="content"):
    """Events that say `text`, a few characters at a time, and finish."""
    return [event([delta(**{key: piece})]) for piece in split(text, size)] + [event([delta(finish="stop")])]


async def streamed(made, events, call=None, text="hi", chunk=0):
    """What the caller got of these events."""
    data = b"".join((*events, DONE))
    made.script("a", Script(chunks=split(data, chunk) if chunk else [data], headers=EVENT_STREAM))
    await made.ask(call or Call(CHAT, OPENAI), text, stream=True)
    return made.responder.body


def documents(body):
    return [orjson.loads(line[6:]) for line in body.split(b"\n\n") if line[:6] == b"data: " and line[6:7] == b"{"]


def accumulated(body):
    """As a client puts it together: texts by (choice, field), and those of tool calls by their index."""
    texts = defaultdict(str)
    for document in documents(body):
        for choice in document["choices"]:
            texts[choice["index"], "finish"] = choice.get("finish_reason")
            texts[choice["index"], "text"] += choice.get("text") or ""
            for key, value in (choice.get("delta") or {}).items():
                if key != "tool_calls":
                    texts[choice["index"], key] += value or ""
                for call in value if key == "tool_calls" else ():
                    for name, part in call.get("function", {}).items():
                        texts[choice["index"], call["index"], name] += part
    return {key: value for key, value in texts.items() if value}


async def test_a_value_split_over_events_is_masked_and_counted():
    made = world()
    text = f"番号は{NUMBER}、連絡は {MAIL} まで。鍵は {KEY} です。"
    body = await streamed(made, said(text, 2))
    assert accumulated(body)[0, "content"] == "番号は[jp.my_number]、連絡は [email] まで。鍵は [secret.api_key] です。"
    (decision,), (outcome,) = made.writer.bodies("decision"), made.writer.bodies("outcome")
    assert decision["rewrite"] == {"mask": sorted(MASKS), "reasons": [0], "restore": []}
    assert decision["policies"] == {"0": "test.rule"}
    counted = {"email": 1, "jp.my_number": 1, "secret.api_key": 1}
    assert outcome["rewritten"] == {"masked": counted, "restored": {}}
    assert (outcome["ended"], outcome["answer"]["bytes"]) == ("complete", len(body))
    assert body.endswith(DONE)
    assert made.responder.headers[b"x-sekisho-masks"] == b"email, jp.my_number, secret.api_key"


async def test_each_event_that_comes_goes_on_in_its_order():
    """Ids, usage and finish reasons stay where they are; what was held comes before its finish."""
    usage = {"prompt_tokens": 5, "completion_tokens": 6}
    events = [event([delta(role="assistant", content="")]), *said(f"write {MAIL}", 4), event([], usage=usage)]
    body = await streamed(world(), events)
    found = documents(body)
    assert [one["choices"][0]["finish_reason"] for one in found[:-1]] == [None] * (len(found) - 2) + ["stop"]
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert found[-1]["usage"] == usage
    assert found[-1]["choices"] == []
    assert all(one["id"] == "chatcmpl-1" for one in found)
    assert len(found) == len(events) + 1
    assert accumulated(body)[0, "content"] == "write [email]"


@pytest.mark.parametrize("surface", [OPENAI, AZURE])
async def test_tool_calls_keep_their_order_and_stay_json(surface):
    arguments = [json.dumps({"to": MAIL, "n": 1, "text": "\u3042\n"}), json.dumps({"my_number": int("123456789018")})]
    events = [event([delta(role="assistant", content=None)])]
    for number, text in enumerate(arguments):
        call = {"index": number, "id": f"call_{number}", "type": "function"}
        events.append(event([delta(tool_calls=[call | {"function": {"name": "send_mail", "arguments": ""}}])]))
        for piece in split(text, 3):
            events.append(event([delta(tool_calls=[{"index": number, "function": {"arguments": piece}}])]))
    events.append(event([delta(finish="tool_calls")]))
    body = await streamed(world(), events, Call(CHAT, surface), chunk=50)
    texts = accumulated(body)
    assert json.loads(texts[0, 0, "arguments"]) == {"to": "[email]", "n": 1, "text": "\u3042\n"}
    assert json.loads(texts[0, 1, "arguments"]) == {"my_number": "[jp.my_number]"}
    assert (texts[0, 0, "name"], texts[0, 1, "name"], texts[0, "finish"]) == ("send_mail", "send_mail", "tool_calls")
    calls = [call for one in documents(body) for call in one["choices"][0]["delta"].get("tool_calls", ())]
    assert [call["index"] for call in calls] == sorted(call["index"] for call in calls)
    assert [call["id"] for call in calls if "id" in call] == ["call_0", "call_1"]
    assert len(documents(body)) == len(events)  # a call's arguments are over with their last brace: nothing is held


async def test_choices_and_fields_are_texts_of_their_own():
    """Nothing of one runs on into another, and each is held by itself."""
    events = [
        event([delta(0, content="1234-"), delta(1, content="9018 x"), delta(0, reasoning_content="5678-9018")]),
        event([delta(0, content="5678-", reasoning="taro@exam"), delta(1, content="yz")]),
        event([delta(0, content="9018。", reasoning="ple.jp"), delta(1, refusal=f"no {MAIL}")]),
        event([delta(1, finish="stop")]),
        event([delta(0, finish="stop")]),
    ]
    texts = accumulated(await streamed(world(), events))
    assert texts[0, "content"] == "[jp.my_number]。"
    assert texts[1, "content"] == "9018 xyz"
    assert texts[0, "reasoning_content"] == "5678-9018"
    assert texts[0, "reasoning"] == "[email]"
    assert texts[1, "refusal"] == "no [email]"


async def test_completions_and_whole_answers():
    events = [event([{"index": 0, "text": piece, "finish_reason": None}]) for piece in split(f"at {MAIL}", 2)]
    body = await streamed(world(), events, Call(COMPLETIONS, OPENAI))
    assert accumulated(body)[0, "text"] == "at [email]"  # no finish reason: the end of the stream is the texts' end
    made = world()
    message = {"role": "assistant", "content": f"{MAIL}", "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"k": KEY})}}
    ]}  # fmt: skip
    answer = {"id": "x", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "note": NUMBER}
    made.script("a", Script(body=orjson.dumps(answer)))
    await made.chat()
    found = orjson.loads(made.responder.body)
    assert found["choices"][0]["message"]["content"] == "[email]"
    assert found["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == '{"k": "[secret.api_key]"}'
    assert found["note"] == "[jp.my_number]"
    (outcome,) = made.writer.bodies("outcome")
    assert outcome["answer"]["bytes"] == len(made.responder.body)
    assert outcome["rewritten"]["masked"] == {"email": 1, "jp.my_number": 1, "secret.api_key": 1}


async def test_in_a_whole_answer_each_item_stands_for_itself():
    """Whatever index servers give them all."""
    call = {"index": 0, "function": {"arguments": "1234-"}}
    choice = {"index": 0, "message": {"content": "call 1234-", "tool_calls": [call, call]}}
    made = world()
    made.script("a", Script(body=orjson.dumps({"choices": [choice, choice]})))
    await made.chat()
    assert orjson.loads(made.responder.body) == {"choices": [choice, choice]}


async def test_a_large_answer_is_masked_too():
    """It is beside the loop that this is done, with the inspector that belongs there."""
    made = world()
    answer = {"choices": [{"message": {"content": f"{MAIL}、" + "あ" * 300_000 + MAIL}}]}
    made.script("a", Script(body=orjson.dumps(answer)))
    await made.chat()
    text = orjson.loads(made.responder.body)["choices"][0]["message"]["content"]
    assert text == "[email]、" + "あ" * 300_000 + "[email]"
    assert made.writer.bodies("outcome")[0]["rewritten"]["masked"] == {"email": 2}


async def test_what_takes_long_is_done_beside_the_loop():
    """With names to find, far less is much: where the inspector says so, the loop's own one is left alone."""

    class Slow:
        large_bytes = 8

        def __getattr__(self, name):
            assert name != "redact_reversibly"
            return getattr(inspector(), name)

        def masking(self, labels):
            assert threading.current_thread() is not threading.main_thread()
            return inspector().masking(labels)

    made = world(restore=("email",), raw=(), redacted=("a",))
    object.__setattr__(made.in_force.snapshot, "inspector", Slow())
    made.script("a", Script(body=orjson.dumps({"choices": [{"message": {"content": f"[email#1] {NUMBER}"}}]})))
    await made.chat(MAIL)
    assert orjson.loads(made.responder.body)["choices"][0]["message"]["content"] == f"{MAIL} [jp.my_number]"


async def test_nothing_is_passed_over_by_its_place():
    fields = {"usage": {"note": MAIL}, "created": [MAIL], "model": MAIL, "list": [[MAIL, {"my_number": 123456789018}]]}
    choice = delta(content="x", finish=MAIL) | {"index": MAIL, "more": {"created": MAIL}}
    card = {"index": 4111111111111111, "delta": {"content": "y"}}
    body = await streamed(world((*MASKS, "payment_card")), [event([choice, card], **fields)])
    assert MAIL.encode() not in body
    assert b"123456789018" not in body
    assert b"4111111111111111" not in body
    document = documents(body)[0]
    assert document["usage"] == {"note": "[email]"}
    assert document["choices"][0]["index"] == "[email]"


async def test_tokens_would_tell_and_do_not_go_on():
    """The answer once more, token by token, wherever it stands; and how many they are may be told."""
    spelt = {"content": [{"token": "taro@"}, {"token": "example.co.jp"}]}
    more = {"logprobs": spelt, "tokens": ["taro@", "example.co.jp"]}
    choice = delta(content="x", **more) | {"logprobs": spelt, "token_ids": [1, 2], "n_tokens": 7}
    body = await streamed(world(), [event([choice], prompt_logprobs=[spelt]), event([delta(finish="stop")])])
    found = documents(body)[0]
    assert found["prompt_logprobs"] is None
    choice = found["choices"][0]
    assert (choice["logprobs"], choice["token_ids"], choice["n_tokens"]) == (None, None, 7)
    assert (choice["delta"]["logprobs"], choice["delta"]["tokens"]) == (None, None)


async def test_what_comes_whole_goes_on_whole():
    """Nothing of a filter's verdict or a citation is held, whatever may follow a text that ends so."""
    beside = {"content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
    cited = [{"type": "url_citation", "url_citation": {"url": f"https://x.jp/{number}"}} for number in (2024, 2025)]
    events = [event([delta(annotations=[one]) | beside], obfuscation="aB3") for one in cited]
    events.append(event([delta(annotations=[{"url_citation": {"title": MAIL}}], context={"intent": "2026"}) | beside]))
    found = [one["choices"][0] for one in documents(await streamed(world(), [*events, event([delta(finish="stop")])]))]
    assert [one.get("content_filter_results") for one in found] == [beside["content_filter_results"]] * 3 + [None]
    assert [one["delta"]["annotations"] for one in found[:2]] == [[one] for one in cited]
    assert found[2]["delta"] == {"annotations": [{"url_citation": {"title": "[email]"}}], "context": {"intent": "2026"}}


async def test_what_cant_be_read_goes_on_as_it_is():
    """A client decodes each piece of sound by itself; and who passes a text off as one has it looked at."""
    sound = "UklGRiQ0MTExMTEx" * 40_000
    picture = {"image_url": {"url": "data:image/png;base64," + sound}}
    events = [event([delta(audio={"id": "a", "data": sound[:400], "transcript": "mail taro@"}, images=[picture])])]
    events.append(event([delta(audio={"data": sound[400:1000], "transcript": "example.co.jp "})]))
    events.append(event([delta(audio={"data": f"{MAIL} " + sound[:300]}), delta(finish="stop")]))
    body = await streamed(world((*MASKS, "payment_card")), events)
    found = [one["choices"][0]["delta"] for one in documents(body)]
    assert [one["audio"]["data"] for one in found] == [sound[:400], sound[400:1000], "[email] " + sound[:300]]
    assert found[0]["images"] == [picture]
    assert found[0]["audio"]["transcript"] + found[1]["audio"]["transcript"] == "mail [email] "


async def test_what_is_said_again_in_every_event_grows_into_nothing():
    said_again = {"model": "m4111", "system_fingerprint": "fp_4111111111111", "service": "1111"}
    choice = delta(role="assistant", tool_calls=[{"index": 0, "id": "4111", "type": "function"}])
    events = [event([choice], obfuscation=f"{number:x}" * 3, **said_again) for number in range(100)]
    body = await streamed(world(("email", "secret.api_key")), events)
    assert body.endswith(DONE)
    assert documents(body) == documents(b"".join(events))


async def test_the_names_of_fields_are_words_beside_what_they_hold():
    """As in requests, and as where a tool's arguments come as a text."""
    arguments = {"個人番号": "123456789018", "my_number": {"value": 123456789018}, "n": 123456789018}
    answer = {"choices": [{"message": {"tool_calls": [{"function": {"arguments": arguments}}]}}], "マイナンバー": [
        "123456789018"
    ]}  # fmt: skip
    made = world()
    made.script("a", Script(body=orjson.dumps(answer)))
    await made.chat()
    found, mark = orjson.loads(made.responder.body), "[jp.my_number]"
    assert found["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == {
        "個人番号": mark, "my_number": {"value": mark}, "n": 123456789018,
    }  # fmt: skip
    assert found["マイナンバー"] == [mark]


@pytest.mark.parametrize("nothing", ["", "null", None])
async def test_what_is_no_reason_finishes_nothing(nothing):
    events = [event([delta(content=piece, finish=nothing)]) for piece in split(f"write {MAIL}", 3)]
    body = await streamed(world(), [*events, event([delta(finish="stop")])])
    assert accumulated(body)[0, "content"] == "write [email]"


async def test_texts_of_nothing_are_texts():
    events = [event([delta(content="")]), event([delta(content="", refusal="", finish="stop")])]
    assert documents(await streamed(world(), events)) == documents(b"".join(events))
    made = world()
    answer = {"choices": [{"message": {"content": "", "tool_calls": [{"function": {"arguments": ""}}]}}]}
    made.script("a", Script(body=orjson.dumps(answer)))
    assert await made.chat() == 200
    assert orjson.loads(made.responder.body) == answer


async def test_what_stands_beside_the_data_of_an_event_does_not_go_on():
    events = [f": {MAIL}\n\n".encode(), f"event: {MAIL}\nid: {NUMBER}\n".encode() + event([delta(content="x")])]
    done = f": {MAIL}\nid: {NUMBER}\n".encode() + DONE
    body = await streamed(world(), [*events, event([delta(content=" y 12", finish=None)]), done])
    assert body.startswith(b":\n\ndata: {")
    assert accumulated(body)[0, "content"] == "x y 12"  # no finish: what was held comes before the end
    assert body.endswith(b"\n\n" + DONE)
    assert MAIL.encode() not in body
    assert NUMBER.encode() not in body


@pytest.mark.parametrize("cut", [UpstreamClosed("closed", phase="body"), None])
async def test_a_stream_that_breaks_lets_nothing_go_that_was_held(cut):
    made = world()
    chunks = [event([delta(content="call 1234-")]), event([delta(content="5678-90")])]
    made.script("a", Script(chunks=[*chunks, *([cut] if cut else [])], headers=EVENT_STREAM))
    await made.chat(stream=True)
    assert accumulated(made.responder.body.rsplit(b"data: ", 1)[0])[0, "content"] == "call "
    assert b'"error"' in made.responder.body
    assert b"[DONE]" not in made.responder.body
    (outcome,) = made.writer.bodies("outcome")
    assert outcome["ended"] == "upstream_failed"
    assert outcome["answer"]["bytes"] == len(made.responder.body)


WITHHELD = {
    "a value that never ends": said("-----BEGIN PRIVATE KEY-----" + "A" * (HOLD_MAX + 1), 1_000),
    "text after the finish": [*said("x"), event([delta(content="1234")])],
    "a value as a field's name": [event([delta(content="ok "), delta(1, **{MAIL: 1})])],
    "a value as a choice's field": [event([delta(content="ok ") | {MAIL: 1}])],
    "a value as an event's field": [event([], **{MAIL: 1})],
    "a name that grows into one": [
        event([delta(tool_calls=[{"index": 0, "function": {"name": piece}}])]) for piece in ("taro@", "example.jp")
    ],
    "a name in equal pieces": [
        event([delta(tool_calls=[{"index": 0, "function": {"name": piece}}])]) for piece in split("4111" + "1" * 12, 4)
    ],
    "a text beside choices that grows into one": [event([], note=piece) for piece in ("taro@", "example.jp ")],
    "a text beside a message that grows into one": [
        event([delta() | {"notes": [piece]}]) for piece in ("taro@", "example.jp ")
    ],
    "a field that changes its shape": [
        *(event([delta(content="ok ", x=value)]) for value in ("1234-", {"y": "1234-"})),
        event([delta(finish="stop")]),
    ],
    "an event that would hold up others": [event([delta(content="あ" * EVENT_TEXT_MAX, refusal="あ")])],
    "choices that are none": [b'data: {"choices":{"0":"x"}}\n\n'],
    "too many texts": [event([delta(number, content="a") for number in range(1_025)])],
}


@pytest.mark.parametrize("case", WITHHELD)
async def test_what_cant_be_masked_is_withheld(case):
    made = world(mask=(*MASKS, "payment_card", "secret.private_key"))
    made.script("a", Script(chunks=[event([delta(content="go ")]), *WITHHELD[case], DONE], headers=EVENT_STREAM))
    await made.chat(stream=True)
    last = documents(made.responder.body)[-1]
    assert last["error"]["code"] == "answer_withheld"
    assert b"[DONE]" not in made.responder.body
    assert made.client.exchanges[0].aborted
    (outcome,) = made.writer.bodies("outcome")
    assert (outcome["ended"], outcome["error"]) == ("withheld", "answer_withheld")


async def test_withheld_before_anything_was_given_is_an_error_and_is_not_tried_elsewhere():
    made = world(raw=("a", "b"))
    for name in "ab":
        made.script(name, Script(chunks=[WITHHELD["choices that are none"][0]], headers=EVENT_STREAM))
    with pytest.raises(AnswerWithheld) as told:
        await made.chat(stream=True)
    assert told.value.has_receipt
    assert len(made.client.exchanges) == 1
    made = world(mask=("opaque",))
    made.script("a", Script(body=orjson.dumps({"choices": [{"message": {"audio": {"data": "UklGRg=="}}}]})))
    with pytest.raises(AnswerWithheld):
        await made.chat()
    assert made.writer.bodies("outcome")[0]["ended"] == "withheld"


async def test_where_a_label_cant_be_masked_at_all_nothing_is_sent():
    made = world(mask=("email", "no.such_label"))
    made.script("a", Script(body=b"{}"))
    with pytest.raises(AnswerWithheld, match=r"nothing finds no\.such_label"):
        await made.chat()
    assert made.client.exchanges == []
    assert made.writer.entries == []


async def test_an_error_of_the_deployment_is_masked_too():
    made = world()
    made.script("a", Script(status=400, body=orjson.dumps({"error": {"message": f"bad value {MAIL}", "code": 7}})))
    assert await made.chat() == 400
    assert orjson.loads(made.responder.body)["error"]["message"] == "bad value [email]"
    made = world()
    made.script("a", Script(status=404, body=orjson.dumps({"error": {"message": f"no model {MAIL}"}})))
    with pytest.raises(UpstreamFailed) as told:
        await made.chat()
    assert MAIL not in str(told.value)
    made = world()
    error = event([delta(content="x")]), b"data: " + orjson.dumps({"error": {"message": MAIL}}) + b"\n\n"
    made.script("a", Script(chunks=error, headers=EVENT_STREAM))
    await made.chat(stream=True)
    assert MAIL.encode() not in made.responder.body


async def test_embeddings_are_left_alone():
    made = world()
    answer = orjson.dumps({"data": [{"embedding": [0.1]}], "usage": {"prompt_tokens": 1}})
    made.script("a", Script(body=answer))
    await made.ask(Call(EMBEDDINGS, OPENAI))
    assert made.responder.body == answer
    assert "rewrite" not in made.writer.bodies("decision")[0]


async def test_where_no_policy_is_about_answers_nobody_is_asked_and_nothing_is_touched():
    """The fake decider fails the test if it is asked."""
    made = World()
    body = await streamed(made, [b"event: x\n" + event([delta(content=MAIL)])])
    assert body == b"event: x\n" + event([delta(content=MAIL)]) + DONE
    assert b"x-sekisho-masks" not in made.responder.headers
    assert "rewrite" not in made.writer.bodies("decision")[0]
    assert "rewritten" not in made.writer.bodies("outcome")[0]


# -- put back


async def test_the_model_sees_placeholders_and_the_caller_its_values():
    made = world(mask=(), restore=("email", "jp.my_number"), raw=(), redacted=("a",))
    text = f"{MAIL}, hanako@example.jp, {MAIL} and {NUMBER}; key {KEY}"
    answer = "To [email#2]: [email#1] has [jp.my_number#1], not [email#3], [email #1] or [Email#1]. [secret.api_key]"
    body = await streamed(made, said(answer, 3), text=text)
    sent = orjson.loads(made.client.exchanges[0].sent)["messages"][0]["content"]
    assert sent == "[email#1], [email#2], [email#1] and [jp.my_number#1]; key [secret.api_key]"
    assert accumulated(body)[0, "content"] == (
        f"To hanako@example.jp: {MAIL} has {NUMBER}, not [email#3], [email #1] or [Email#1]. [secret.api_key]"
    )
    (decision,), (outcome,) = made.writer.bodies("decision"), made.writer.bodies("outcome")
    assert decision["rewrite"] == {"mask": [], "reasons": [0], "restore": ["email", "jp.my_number"]}
    assert outcome["rewritten"] == {"masked": {}, "restored": {"email": 2, "jp.my_number": 1}}
    assert outcome["answer"]["bytes"] == len(body)
    recorded = b"".join(entry.body for entry in made.writer.entries)
    assert not any(value.encode() in recorded for value in (MAIL, NUMBER, "hanako"))


async def test_where_nothing_is_masked_an_event_may_be_large():
    made = world(mask=(), restore=("email",), raw=(), redacted=("a",))
    body = await streamed(made, said("あ" * EVENT_TEXT_MAX + "[email#1]", EVENT_TEXT_MAX + 5), text=MAIL)
    assert accumulated(body)[0, "content"] == "あ" * EVENT_TEXT_MAX + MAIL


async def test_put_back_into_tool_arguments_as_json_writes_it():
    made = world(mask=(), restore=("secret.private_key",), raw=(), redacted=("a",))
    pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----"
    arguments = json.dumps({"key": "[secret.private_key#1]"})
    events = [
        event([delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}])]) for piece in split(arguments, 4)
    ]
    body = await streamed(made, [*events, event([delta(finish="tool_calls")])], text=pem)
    assert json.loads(accumulated(body)[0, 0, "arguments"]) == {"key": pem}


async def test_what_is_masked_in_the_answer_is_not_what_is_put_back():
    """The answer's own address is masked; the caller's own, by its placeholder, is put back."""
    made = world(mask=("email",), restore=("email",), raw=(), redacted=("a",))
    body = await streamed(made, said(f"[email#1] and {MAIL.replace('taro', 'other')}", 2), text=MAIL)
    assert accumulated(body)[0, "content"] == f"{MAIL} and [email]"


@pytest.mark.parametrize(
    "forged", ["[email#1]", "［ｅｍａｉｌ＃１］", "[email#01]", "\\u005bemail\\u00231]", "say # 1"]
)
async def test_a_forged_placeholder_names_nothing(forged):
    made = world(mask=(), restore=("email",), raw=(), redacted=("a",))
    body = await streamed(made, said("[email#1] [email#2]"), text=f"{forged} {MAIL}")
    assert "[email#2]" in orjson.loads(made.client.exchanges[0].sent)["messages"][0]["content"]
    assert accumulated(body)[0, "content"] == f"[email#1] {MAIL}"


async def test_where_placeholders_would_leave_as_something_else_they_are_not_used():
    """Decided were the labels of what leaves with plain marks; FakeInspector-like surprises must not slip by."""

    class Surprising:
        def __getattr__(self, name):
            return getattr(inspector(), name)

        def redact_reversibly(self, body, labels):
            return inspector().redact_reversibly(body, labels)._replace(labels=("opaque",))

    made = world(mask=(), restore=("email",), raw=(), redacted=("a",))
    object.__setattr__(made.in_force.snapshot, "inspector", Surprising())
    body = await streamed(made, said("[email#1]"), text=MAIL)
    assert orjson.loads(made.client.exchanges[0].sent)["messages"][0]["content"] == "[email]"
    assert accumulated(body)[0, "content"] == "[email#1]"
    assert "rewrite" not in made.writer.bodies("decision")[0]


async def test_where_values_are_put_back_keeping_is_decided_on_them():
    """What would be kept is the answer that the caller got, with the values in it."""
    for restore, asked in (((), ()), (("email",), ("email",))):
        made = world(mask=(), restore=restore, raw=(), redacted=("a",))
        made.keeper = object()
        made.use(Recorder(made.writer, SystemClock(), made.ids, made.metrics))
        decider = made.in_force.snapshot.decider
        decider.retains = True
        await streamed(made, said("x"), text=MAIL)
        assert decider.labels == asked


# -- however it is cut

TEXTS = st.lists(
    st.sampled_from(
        ["x ", "番号は", NUMBER, MAIL, KEY, "taro@", "example", ".jp", "。", "[email#1]", "[", "[ema", "#1]", "\n"]
    ),
    min_size=1,
    max_size=8,
).map("".join)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.integers(1, 9), st.lists(st.integers(0, 10_000), max_size=20))
def test_however_a_stream_is_cut_the_caller_puts_together_the_same(content, argument, size, cuts):
    arguments = json.dumps({"a": argument})
    pieces = itertools.zip_longest(split(content, size), split(arguments, size), fillvalue="")
    events = [
        event([delta(content=one, tool_calls=[{"index": 0, "function": {"arguments": other}}])])
        for one, other in pieces
    ]
    data = b"".join((*events, event([delta(finish="stop")]), DONE))
    points = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    chunks = [data[a:b] for a, b in itertools.pairwise(points)]

    async def got(chunks):
        made = world(mask=("email", "jp.my_number"), restore=("email",), raw=(), redacted=("a",))
        made.script("a", Script(chunks=chunks, headers=EVENT_STREAM))
        await made.chat("mail hanako@example.jp", stream=True)
        return made.responder.body, made.writer.bodies("outcome")[0]["rewritten"]

    body, labels = asyncio.run(got([data]))
    assert asyncio.run(got(chunks)) == (body, labels)
    whole = inspector().masking(frozenset(("email", "jp.my_number")))

    def expected(text):
        return whole.whole(text, Counter()).replace("[email#1]", "hanako@example.jp")

    texts = accumulated(body)
    assert texts[0, "content"] == expected(content)
    assert json.loads(texts[0, 0, "arguments"]) == {"a": expected(argument)}
