"""Where values are found in a body, and what can't be read or reaches out."""

import copy

import pytest

from sekisho.inspection.body import DEPTH_MAX
from sekisho.inspection.interfaces import BodyInspection

PHONE = "090-1234-5678"


def chat(content, **more):
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


def part(text):
    return {"type": "text", "text": text}


def image(url):
    return chat([{"type": "image_url", "image_url": {"url": url}}])


READABLE = [
    chat(PHONE),
    chat([part(PHONE)]),
    chat([part("ask "), part(PHONE), part(" now")]),
    chat("x", user=PHONE),
    chat("x", vendor={"deep": [{"er": PHONE}]}),
    {"model": "m", "messages": [{"role": PHONE, "content": "x"}]},
    {"model": PHONE, "messages": []},
    {"messages": [{"type": PHONE}], "object": PHONE},
    chat("x", tool_choice=PHONE, stop=["a", PHONE]),
    chat("x", tools=[{"type": "function", "function": {"name": "f", "description": PHONE}}]),
    {
        "messages": [
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": f'{{"a":"{PHONE}"}}'}}]}
        ]
    },
    {"model": "m", "prompt": PHONE},
    {"model": "m", "prompt": ["one", PHONE]},
    {"model": "m", "input": ["one", PHONE], "encoding_format": "base64"},
    PHONE,
    [PHONE],
]


@pytest.mark.parametrize("body", READABLE)
def test_every_string_is_read_and_can_be_redacted(inspector, body):
    before = copy.deepcopy(body)
    assert inspector.inspect(body) == BodyInspection(("phone",), True)
    redaction = inspector.redact(body)
    assert body == before
    assert redaction.labels == ()
    assert PHONE not in str(redaction.body)
    assert "[phone]" in str(redaction.body)
    assert inspector.redact(redaction.body) == redaction


@pytest.mark.parametrize(
    ("body", "label"),
    [
        (chat("x", vendor={PHONE: 1}), "phone"),
        (chat("x", 個人番号=123456789018), "jp.my_number"),
        (chat("x", 口座番号=7654321), "jp.bank_account"),
        (chat("x", 保険者番号=138016), "jp.insurer_number"),
        (chat("x", card=4111111111111111), "payment_card"),
        (chat("x", card=[4111111111111111.0]), "payment_card"),
        (chat([part("my number 12345"), part("6789018")]), "jp.my_number"),
        (chat([part("090-1234"), {"type": "image_url"}, part("-5678")]), "phone"),
        (chat([part("taro@"), part("example.jp")]), "email"),
        (chat(["090-1234", "-5678"]), "phone"),
    ],
)
def test_what_no_text_can_replace_makes_a_body_not_redactable(inspector, body, label):
    assert inspector.inspect(body) == BodyInspection((label,), False)


def test_a_value_within_one_part_stays_redactable_though_the_joined_text_runs_on(inspector):
    body = chat([part("mail taro@example.com"), part("please")])
    assert inspector.inspect(body) == BodyInspection(("email",), True)
    assert inspector.redact(body).labels == ()


def test_a_key_gives_context_to_its_value(inspector):
    assert inspector.inspect(chat("x", form={"個人番号": "123456789018"})).labels == ("jp.my_number",)
    assert inspector.inspect(chat("x", form={"注文番号": "123456789018"})).labels == ()


@pytest.mark.parametrize(
    "body",
    [
        image("https://example.com/a.png"),
        image("HTTP://example.com/a.png"),
        image("ftp://example.com/a.png"),
        image("//example.com/a.png"),
        chat([{"type": "input_image", "image_url": "https://example.com/a.png"}]),
        chat([{"type": "file", "file_url": "https://example.com/a.pdf"}]),
        chat([{"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}]),
    ],
)
def test_a_remote_address_is_egress(inspector, body):
    assert inspector.inspect(body) == BodyInspection(("egress.url",), False)


@pytest.mark.parametrize(
    "body",
    [
        image("data:image/png;base64,iVBORw0KGgo="),
        image("DATA:image/png;base64,iVBORw0KGgo="),
        chat([{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]),
        chat([{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}}]),
        chat([{"type": "file", "file": {"file_id": "file-1"}}]),
        {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
        {"prompt": [1, 2, 3]},
        {"input": [[1, 2], [3]]},
        {"prompt": "x", "prompt_embeds": "gAJjdG9yY2gu"},
        {"prompt": "x", "prompt_embeds": ["gAJjdG9yY2gu"]},
        {"input": "x", "previous_response_id": "resp_1"},
    ],
)
def test_what_cannot_be_read_is_opaque(inspector, body):
    assert inspector.inspect(body) == BodyInspection(("opaque",), False)


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "mcp", "server_url": "https://mcp.example.com"}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": ["function"]}]},
        {"tools": [{"google_search": {}}]},
        {"web_search_options": {}},
        {"data_sources": [{"type": "azure_search"}]},
        {"mcp_servers": ["x"]},
    ],
)
def test_tools_that_the_provider_runs_are_egress(inspector, more):
    assert inspector.inspect(chat("x", **more)) == BodyInspection(("egress.tool",), False)


def test_functions_of_the_caller_are_none(inspector):
    schema = {"type": "object", "properties": {"url": {"type": "string"}, "server_url": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "fetch", "parameters": schema}}, {"type": "custom", "name": "c"}]
    assert inspector.inspect(chat("x", tools=tools, web_search_options=None)) == BodyInspection((), True)


def test_nesting_beyond_the_bound_is_opaque_and_not_followed(inspector):
    body = deepest = {}
    for _ in range(DEPTH_MAX + 10_000):
        deepest["a"] = [{}]
        deepest = deepest["a"][0]
    assert inspector.inspect(body) == BodyInspection(("opaque",), False)
    assert "opaque" in inspector.redact(body).labels


@pytest.mark.parametrize(
    ("unit", "label"),
    [(PHONE + " ", "phone"), ("taro@example.jp,", "email"), ("AKIAIOSFODNN7EXAMPLE\n", "secret.api_key")],
)
def test_a_flood_of_matches_is_opaque_and_keeps_its_label(inspector, unit, label):
    inspection = inspector.inspect(chat(unit * 3000))
    assert {label, "opaque"} <= set(inspection.labels)
    assert not inspection.redactable


def test_a_flood_of_one_rule_does_not_hide_another_value(inspector):
    inspection = inspector.inspect(chat("a@b.c " * 5000 + "1234-5678-9018"))
    assert {"jp.my_number", "opaque"} <= set(inspection.labels)


def test_a_flood_does_not_keep_folding_from_happening(inspector):
    inspection = inspector.inspect(chat("a@b.c " * 5000 + "１２３４－５６７８－９０１８"))
    assert {"jp.my_number", "opaque"} <= set(inspection.labels)


def test_some_hundred_rows_are_no_flood(inspector):
    rows = "\n".join(f"{n},user{n}@example.jp,090-1234-{n:04}" for n in range(400))
    assert inspector.inspect(chat(rows)) == BodyInspection(("email", "phone"), True)
    assert inspector.redact(chat(rows)).labels == ()


def test_our_own_separator_in_a_text_changes_nothing(inspector):
    body = chat("\x1e090-12\x1e34-5678\x1e", note="\x1e")
    assert inspector.inspect(body) == BodyInspection(("phone",), True)
    assert "5678" not in str(inspector.redact(body).body)


def test_numbers_out_of_range_are_no_obstacle(inspector):
    numbers = [float("nan"), float("inf"), 1e308, -(10**5000), 10**5000, 0, 1.5, True]
    assert inspector.inspect(chat("x", numbers=numbers)) == BodyInspection((), True)


@pytest.mark.parametrize(
    "text",
    [
        "[jp.my_number] 123456789018",
        "[jp.my_number#1] 123456789018",
        "123456789018 [jp.my_number]",
        "[passport_mrz] TK1234567",
        "[jp.drivers_licence] 301234567810",
    ],
)
def test_a_mark_gives_no_context(inspector, text):
    assert inspector.spans(text) == ()


@pytest.mark.parametrize("text", ["[個人番号] 123456789018", "[my number] 123456789018", "123456789018 [my_number]"])
def test_words_in_brackets_of_their_own_do(inspector, text):
    assert [span.label for span in inspector.spans(text)] == ["jp.my_number"]
