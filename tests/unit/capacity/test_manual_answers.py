"""The built-in engine finds the right section, quotes it, and says so when there is none."""

import json

import pytest

from sekisho.capacity.errors import BadChatRequest
from sekisho.capacity.manual.answers import Library, language_of
from sekisho.capacity.manual.chat import parse, tokens
from sekisho.capacity.manual.corpus import LANGUAGES, load_sections

QUESTIONS = [
    ("What is Sekisho?", "01-what-is-sekisho"),
    ("How do I start it with init and up?", "02-first-steps"),
    ("Which port does the gateway listen on?", "02-first-steps"),
    ("How do I point the OpenAI SDK at it?", "03-pointing-an-sdk"),
    ("How do I declare a deployment?", "04-declaring-a-deployment"),
    ("what is x-sekisho-residency", "05-data-class-and-residency"),
    ("How can I state the data class of a request?", "05-data-class-and-residency"),
    ("How do I verify a receipt?", "06-receipts"),
    ("What labels are there and how does redaction work?", "07-labels-and-redaction"),
    ("Why was my request refused with 403?", "08-refused-403"),
    ("How do I revoke an API key?", "09-api-keys"),
    ("What is a witness?", "10-ledger"),
    ("What happens when the disk is full?", "11-disk-full-503"),
    ("What should I back up?", "12-files"),
    ("Where do I put my own Cedar policies?", "13-policies"),
    ("What does 413 mean?", "14-errors"),
    ("Are you a language model?", "15-the-model-manual"),
    ("How do I run my own GGUF file?", "16-local-engines"),
    ("How do I stop a provider in an emergency?", "17-operating"),
    ("What is wrong with my installation? Is there a doctor?", "17-operating"),
    ("How do I audit a whole log?", "18-auditing"),
    ("What does the role auditor do?", "18-auditing"),
    ("Sekishoとは何ですか", "01-what-is-sekisho"),
    ("initの使い方は？", "02-first-steps"),
    ("OpenAI SDKの接続方法は？", "03-pointing-an-sdk"),
    ("デプロイメントの宣言方法", "04-declaring-a-deployment"),
    ("データ区分はどう指定しますか", "05-data-class-and-residency"),
    ("受領証の検証方法は？", "06-receipts"),
    ("個人番号はどう扱われますか", "07-labels-and-redaction"),
    ("墨消しとは", "07-labels-and-redaction"),
    ("403で拒否された理由は？", "08-refused-403"),
    ("APIキーを失効させるには？", "09-api-keys"),
    ("台帳とは", "10-ledger"),
    ("ディスクがいっぱいになったら？", "11-disk-full-503"),
    ("バックアップは何を取ればいい？", "12-files"),
    ("ポリシーはどこに置きますか", "13-policies"),
    ("自前のモデルを動かすには", "16-local-engines"),
    ("事業者を緊急停止するには", "17-operating"),
    ("監視モードとは何ですか", "17-operating"),
    ("台帳全体を監査するには", "18-auditing"),
    ("あなたは言語モデルですか", "15-the-model-manual"),
]


@pytest.fixture(scope="module")
def library():
    return Library()


@pytest.mark.parametrize(("question", "name"), QUESTIONS)
def test_the_best_section_comes_first_in_the_language_of_the_question(library, question, name):
    expected = next(section for section in load_sections(language_of(question)) if section.name == name)
    text, sources = library.answer(question)
    assert sources[0] == expected.title
    assert any(paragraph in text for paragraph in expected.paragraphs)


@pytest.mark.parametrize(
    "question", ["What is the weather in Tokyo tomorrow?", "今日の天気は？", "おすすめの料理", "zzz", "?"]
)
def test_where_nothing_fits_it_says_so(library, question):
    text, sources = library.answer(question)
    assert sources == []
    assert "手引きにありません" in text or "no passage" in text


def test_both_languages_have_the_same_sections():
    names = [[section.name for section in load_sections(language)] for language in LANGUAGES]
    assert names[0] == names[1]
    assert len(names[0]) >= 12
    assert all(section.paragraphs for language in LANGUAGES for section in load_sections(language))


def chat(question="What is a witness?", **more):
    return parse({"model": "manual", "messages": [{"role": "user", "content": question}], **more})


def test_the_last_user_message_is_the_question():
    messages = [
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": "answer"},
        {"role": "user", "content": [{"type": "text", "text": "last"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None},
    ]
    assert parse({"model": "manual", "messages": messages}).question == "last"


def test_tokens_lose_nothing():
    text = "What is  a 受領証?\n\nx-sekisho-receipt "
    assert "".join(tokens(text)) == text


def test_a_token_limit_cuts_and_says_length(library):
    reply = library.reply(chat(max_completion_tokens=5))
    assert (len(reply.pieces), reply.completion_tokens, reply.finish_reason) == (5, 5, "length")


def test_a_stop_sequence_ends_the_answer_before_it(library):
    whole = "".join(library.reply(chat()).pieces)
    assert "".join(library.reply(chat(stop=["\n\n", "never"])).pieces) == whole.split("\n\n")[0]


def test_json_mode_gives_answer_and_sources(library):
    answer = json.loads("".join(library.reply(chat(response_format={"type": "json_object"})).pieces))
    assert answer["sources"] == ["The ledger and witnesses"]
    assert "witness" in answer["answer"]


SCHEMA = {"properties": {"query": {"type": "string"}, "count": {"type": "integer"}}, "required": ["query", "count"]}
TOOLS = [{"type": "function", "function": {"name": "search", "parameters": SCHEMA}}]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "search"}}])
def test_a_forced_function_is_called_with_the_question(library, choice):
    reply = library.reply(chat("台帳とは", tools=TOOLS, tool_choice=choice))
    assert reply.tool_call == ("search", '{"query": "台帳とは"}')
    assert reply.finish_reason == "tool_calls"


def test_a_function_that_is_only_offered_is_not_called(library):
    assert library.reply(chat(tools=TOOLS)).tool_call is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ([], None),
        ({"messages": []}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": ["x"]}, "messages[0]"),
        ({"model": "m", "messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
    ],
)
def test_a_request_that_is_off_names_its_field(body, param):
    with pytest.raises(BadChatRequest) as caught:
        parse(body)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("stream", "yes"),
        ("stream_options", []),
        ("max_tokens", 0),
        ("max_tokens", True),
        ("stop", 1),
        ("stop", [1]),
        ("response_format", {"type": "xml"}),
        ("response_format", "json"),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "none such"}}),
        ("tool_choice", 3),
    ],
)
def test_an_option_that_is_off_names_itself(name, value):
    with pytest.raises(BadChatRequest) as caught:
        chat(**{name: value})
    assert caught.value.param == name
