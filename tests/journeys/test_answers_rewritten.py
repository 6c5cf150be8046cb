"""Answers masked by policy, or with values put back: real clients, a real gateway, an upstream that splits them."""

import asyncio
import base64
import json

import httpx
import openai
import pytest

from journeys.callers import ask
from journeys.installation import Installation, openai_client, sekisho, until
from journeys.playing_upstream import PlayingUpstream
from journeys.published_log import require_log_holds, require_well_formed
from sekisho.inspection.masking import HOLD_MAX

MAIL, NUMBER, KEY = "taro.yamada@example.co.jp", "1234-5678-9018", "ghp_" + "0a1B2c3D4e" * 4
MASKED = ("email", "jp.my_number", "secret.api_key", "secret.private_key")
POLICIES = """
@id("answers.masked") @title("Answers come without these values") @title_ja("回答のこれらの値は伏せられます")
forbid (principal, action == Action::"relayRaw", resource in Model::"masked")
when { context.label in [Label::"email", Label::"jp.my_number", Label::"secret.api_key", Label::"secret.private_key"] };

@id("own.email") @title("Addresses leave only masked") @title_ja("メールアドレスは伏せた形でのみ送信できます")
forbid (principal, action in [Action::"sendRaw", Action::"sendRedacted"], resource in Model::"back")
when { context.labels.contains(Label::"email") };

@id("answers.back") @title("Callers get their addresses back") @title_ja("送信元のメールアドレスは回答で元に戻ります")
permit (principal, action == Action::"restore", resource in Model::"back")
when { context.label == Label::"email" };
"""


@pytest.fixture(scope="module")
def upstream():
    with PlayingUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("rewritten") / "site") as installation:
        for model in ("masked", "back", "plain"):
            installation.deployment(model, upstream.port, path="/plays")
        installation.declare("policies", "answers", POLICIES)
        checked = sekisho("check", installation.root)
        assert checked.returncode == 0
        installation.start()
        yield installation


def event(*choices, **fields):
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices, **fields}


def delta(finish=None, index=0, **fields):
    return {"index": index, "delta": fields, "finish_reason": finish}


def pieces(text, size=3):
    return [text[start : start + size] for start in range(0, len(text), size)]


def played(events=None, end="done", **play):
    play = play or {"events": events, "end": end}
    return {"play": base64.b64encode(json.dumps(play).encode()).decode()}


def question(text="hi"):
    return [{"role": "user", "content": text}]


def streamed(client, model, events, text="hi", **options):
    """What the official client puts together, and the receipt's id."""
    answer = client.chat.completions.with_raw_response.create(
        model=model, messages=question(text), stream=True, extra_body=played(events), **options
    )
    chunks = list(answer.parse())
    return chunks, answer.headers["x-sekisho-receipt"]


def text_of(chunks, field="content"):
    return "".join(getattr(c.choices[0].delta, field, None) or "" for c in chunks if c.choices)


def entries(running, receipt):
    """The bodies of the request's decision and outcome."""
    found = [entry["entry"] for entry in json.loads(running.receipt(receipt))["entries"]]
    return [next(one["body"] for one in found if one["kind"] == kind) for kind in ("decision", "outcome")]


def test_split_values_are_masked_for_the_official_client(running):
    text = f"番号は{NUMBER}です。連絡は {MAIL}、鍵は {KEY} です。"
    usage = {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}
    thought = [event(delta(reasoning_content=piece)) for piece in pieces(f"think of {MAIL}")]
    events = [event(delta(role="assistant", content="")), *thought, *(event(delta(content=p)) for p in pieces(text, 2))]
    events += [event(delta("stop")), event(usage=usage)]
    with openai_client(running) as client:
        chunks, receipt = streamed(client, "masked", events, stream_options={"include_usage": True})
    assert text_of(chunks) == "番号は[jp.my_number]です。連絡は [email]、鍵は [secret.api_key] です。"
    assert text_of(chunks, "reasoning_content") == "think of [email]"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens == 6
    decision, outcome = entries(running, receipt)
    assert decision["rewrite"]["mask"] == sorted(MASKED)
    assert [decision["policies"][str(index)] for index in decision["rewrite"]["reasons"]] == ["answers.masked"]
    assert outcome["rewritten"] == {
        "masked": {"email": 2, "jp.my_number": 1, "secret.api_key": 1}, "restored": {},
    }  # fmt: skip


def test_tool_calls_through_the_azure_client(running):
    arguments = json.dumps({"to": MAIL, "個人番号": int("123456789018"), "body": "一行目\n二行目"})
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "send", "arguments": ""}}
    second = call | {"index": 1, "id": "call_2"}
    events = [event(delta(role="assistant", content=None, tool_calls=[call]))]
    events += [event(delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}])) for piece in pieces(arguments)]
    events += [event(delta(tool_calls=[second]))]
    events += [event(delta(tool_calls=[{"index": 1, "function": {"arguments": piece}}])) for piece in pieces('{"a":1}')]
    verdict = {"content_filter_results": {"hate": {"filtered": False, "severity": "safe"}}}
    events = [one | {"choices": [choice | verdict for choice in one["choices"]]} for one in events]
    events += [event(delta("tool_calls", content="") | verdict)]  # as Azure does: a text of nothing, and a verdict each

    with httpx.Client(trust_env=False, timeout=30) as http:
        client = openai.AzureOpenAI(
            azure_endpoint=running.base, api_version="2024-10-21", api_key=running.key, http_client=http, max_retries=0
        )
        with client.chat.completions.stream(
            model="masked", messages=question(), extra_body=played(events)
        ) as stream:  # fmt: skip
            kinds = [one.type for one in stream]
            final = stream.get_final_completion()
    first, other = final.choices[0].message.tool_calls
    assert json.loads(first.function.arguments) == {
        "to": "[email]", "個人番号": "[jp.my_number]", "body": "一行目\n二行目",
    }  # fmt: skip
    assert (first.function.name, first.id, other.id, other.function.arguments) == (
        "send",
        "call_1",
        "call_2",
        '{"a":1}',
    )
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.choices[0].model_extra == verdict
    assert kinds.count("tool_calls.function.arguments.done") == 2


def test_whole_answers_and_completions(running):
    message = {"role": "assistant", "content": f"to {MAIL}", "refusal": ""}
    whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": message, "finish_reason": "stop"}
    ]}  # fmt: skip
    with openai_client(running) as client:
        answer = client.chat.completions.create(model="masked", messages=question(), extra_body=played(whole=whole))
        assert answer.choices[0].message.content == "to [email]"
        texts = [
            {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [
                {"index": 0, "text": piece, "finish_reason": None, "logprobs": None}
            ]}
            for piece in pieces(f"to {MAIL}")
        ]  # fmt: skip
        stream = client.completions.create(model="masked", prompt="hi", stream=True, extra_body=played(texts))
        assert "".join(chunk.choices[0].text for chunk in stream) == "to [email]"


def test_the_receipt_is_of_what_the_caller_got(running, tmp_path):
    document = {"model": "masked", "messages": question(), "stream": True}
    document |= played([event(delta(content=piece)) for piece in pieces(f"to {MAIL}")])
    got = asyncio.run(ask(running.gateway_port, running.key, document))
    assert got.whole
    file, content = tmp_path / "receipt.json", tmp_path / "answer"
    file.write_bytes(running.receipt(got.receipt))
    content.write_bytes(got.body)
    words = ("--trust", running.root / "site.vkey", "--content", f"answer={content}")
    assert "VERIFIED" in sekisho("verify", file, *words).stdout.upper()


def test_a_stream_that_breaks_in_the_middle_of_a_value_tells_none_of_it(running):
    events = [event(delta(content="call 1234-")), event(delta(content="5678-90"))]
    document = {"model": "masked", "messages": question(), "stream": True} | played(events, "cut")
    got = asyncio.run(ask(running.gateway_port, running.key, document))
    assert b"1234" not in got.body
    assert b'"code":"upstream_incomplete"' in got.body
    assert not got.whole
    assert entries(running, got.receipt)[1]["ended"] == "upstream_failed"


def test_a_value_that_never_ends_is_withheld(running):
    endless = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQ0a" * (HOLD_MAX // 8 + 8)
    events = [event(delta(content=piece)) for piece in ("Your key: ", *pieces(endless, 4_000))]
    document = {"model": "masked", "messages": question(), "stream": True} | played(events, "wait")
    got = asyncio.run(ask(running.gateway_port, running.key, document))
    assert b"MIIE" not in got.body
    assert b'"code":"answer_withheld"' in got.body
    assert not got.whole
    outcome = entries(running, got.receipt)[1]
    assert (outcome["ended"], outcome["error"]) == ("withheld", "answer_withheld")


def test_a_caller_that_leaves_while_something_is_held(running, upstream):
    before = len(upstream.of("plays"))

    async def leave():
        document = {"model": "masked", "messages": question(), "stream": True}
        document |= played([event(delta(content="go ")), event(delta(content="1234-5678-"))], "wait")
        reader, writer = await asyncio.open_connection("127.0.0.1", running.gateway_port)
        body = json.dumps(document).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {running.key}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        await reader.readuntil(b"go ")
        writer.close()
        return next(line.split(": ")[1] for line in head.split("\r\n") if line.startswith("x-sekisho-receipt"))

    receipt = asyncio.run(leave())
    until(lambda: upstream.of("plays")[before].left.is_set(), 10, "the end of the upstream's connection")
    assert entries(running, receipt)[1]["ended"] == "caller_left"


def test_the_model_sees_placeholders_and_the_caller_gets_its_values_back(running, upstream):
    arguments = json.dumps({"to": "[email#1]", "cc": "[email#2]"})
    events = [event(delta(content=piece)) for piece in pieces("I wrote to [email#1], not [email#7].", 4)]
    events += [
        event(delta(tool_calls=[{"index": 0, "function": {"arguments": piece}}])) for piece in pieces(arguments, 5)
    ]
    with openai_client(running) as client:
        chunks, receipt = streamed(client, "back", [*events, event(delta("stop"))], f"{MAIL} and hanako@example.jp")
    sent = upstream.of("plays")[-1].document
    assert sent["messages"][0]["content"] == "[email#1] and [email#2]"
    assert MAIL not in json.dumps(sent)
    assert text_of(chunks) == f"I wrote to {MAIL}, not [email#7]."
    calls = [call for c in chunks if c.choices for call in c.choices[0].delta.tool_calls or ()]
    assert json.loads("".join(call.function.arguments for call in calls)) == {"to": MAIL, "cc": "hanako@example.jp"}
    decision, outcome = entries(running, receipt)
    assert decision["chosen"]["action"] == "sendRedacted"
    assert decision["rewrite"]["restore"] == ["email"]
    assert outcome["rewritten"] == {"masked": {}, "restored": {"email": 3}}


def test_a_forged_placeholder_names_nothing(running, upstream):
    events = [event(delta(content="[email#1] [email#2]")), event(delta("stop"))]
    with openai_client(running) as client:
        chunks, _ = streamed(client, "back", events, f"[email#1] {MAIL}")
    assert upstream.of("plays")[-1].document["messages"][0]["content"] == "[email#1] [email#2]"
    assert text_of(chunks) == f"[email#1] {MAIL}"


def test_where_no_policy_masks_nothing_changes(running):
    events = [event(delta(content=piece)) for piece in pieces(f"to {MAIL}")]
    with openai_client(running) as client:
        chunks, receipt = streamed(client, "plain", events)
    assert [c.choices[0].delta.content for c in chunks] == pieces(f"to {MAIL}")
    decision, outcome = entries(running, receipt)
    assert "rewrite" not in decision
    assert "rewritten" not in outcome


def test_explain_tells_what_would_be_done(running):
    told = sekisho("explain", running.root, "--model", "masked", "--text", "hi").stdout
    assert "answers.masked" in told


def test_at_last_nothing_of_it_was_kept_and_an_audit_finds_nothing_wrong(running):
    assert running.stop() == 0
    require_well_formed(require_log_holds(running.root))
    audited = sekisho("audit", running.root, check=False)
    assert audited.returncode == 0, audited.stdout
    kept = b"".join(path.read_bytes() for path in running.root.rglob("*") if path.is_file()) + running.log.read_bytes()
    for value in (MAIL, "hanako@example.jp", NUMBER, KEY, "1234-5678", "MIIEvQ0a"):
        assert value.encode() not in kept
