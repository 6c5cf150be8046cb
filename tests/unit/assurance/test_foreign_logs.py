"""Logs of other gateways, in the forms that those gateways write."""

import itertools
import json
import os
import threading

import pytest

from sekisho.assurance import apim, foreign_rows
from sekisho.assurance.apim import CALLS_HELD_MAX, apim_rows
from sekisho.assurance.errors import AssuranceError
from sekisho.assurance.foreign import ForeignRequest, foreign_requests, read_mapping
from sekisho.assurance.foreign_rows import Row, read_rows
from sekisho.kernel.errors import UsageError

# As a diagnostic setting writes to a storage account: the common schema, and the category's properties.
GATEWAY = {
    "time": "2026-11-20T01:02:03.4567890Z",
    "operationName": "Microsoft.ApiManagement/GatewayLogs",
    "category": "GatewayLogs",
    "correlationId": "c-1",
    "callerIpAddress": "192.0.2.1",
    "properties": {
        "method": "POST",
        "url": "https://apim.example/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "responseCode": 200,
        "backendResponseCode": 200,
        "apimSubscriptionId": "team-a",
        "productId": "ai",
    },
}
LLM = {
    "time": "2026-11-20T01:02:04Z",
    "category": "GatewayLlmLogs",
    "correlationId": "c-1",
    "properties": {
        "sequenceNumber": 0,
        "modelName": "gpt-4o-2024-11-20",
        "deploymentName": "gpt-4o",
        "promptTokens": 30,
        "completionTokens": 12,
        "totalTokens": 42,
    },
}
MESSAGES = {
    "category": "GatewayLlmLogs",
    "correlationId": "c-1",
    "properties": {
        "sequenceNumber": 1,
        "promptTokens": 0,
        "requestMessages": json.dumps([{"role": "user", "content": "個人番号は123456789018です"}]),
    },
}
SPEND = {
    "request_id": "chatcmpl-1",
    "call_type": "acompletion",
    "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
    "spend": 0.002,
    "total_tokens": 42,
    "prompt_tokens": 30,
    "completion_tokens": 12,
    "startTime": "2026-11-20T01:02:03.456000Z",
    "endTime": "2026-11-20T01:02:04Z",
    "model": "azure/gpt-4o-2024-11-20",
    "model_group": "gpt-4o",
    "api_base": "https://x.openai.azure.com",
    "team_id": "team-a",
    "metadata": json.dumps({"user_api_key_team_id": "team-a", "requester_metadata": {"class": "confidential"}}),
    "messages": "{}",
    "response": "{}",
    "proxy_server_request": "{}",
    "status": "success",
}


def write(tmp_path, *rows, name="log"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def mapping(tmp_path, text="", form=None):
    path = tmp_path / "mapping.toml"
    path.write_text(text)
    return read_mapping(path, form)


def read(tmp_path, rows, form, text=""):
    return list(foreign_requests(write(tmp_path, *rows), mapping(tmp_path, text, form)))


# Azure API Management


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_apim_joins_the_rows_of_a_call_in_whatever_order(tmp_path, order):
    rows = [(GATEWAY, LLM, MESSAGES)[place] for place in order]
    (request,) = read(tmp_path, rows, "apim")
    assert request == ForeignRequest(
        request="c-1",
        at=request.at,
        model="gpt-4o",
        organisation="team-a",
        principal="replay",
        roles=("caller",),
        data_class=None,
        residency=None,
        labels=None,
        redactable=False,
        body={"messages": [{"role": "user", "content": "個人番号は123456789018です"}]},
        served=True,
        prompt=30,
        completion=12,
    )
    assert request.at // 1_000_000 in (1_795_136_523, 1_795_136_524)


def test_apim_columns_of_log_analytics_say_the_same(tmp_path):
    """An export of the two tables: PascalCase columns; or the answer of the query API, with named columns."""
    gateway = {"TimeGenerated": "2026-11-20T01:02:03Z", "Type": "ApiManagementGatewayLogs", "CorrelationId": "c-1"}
    gateway |= {"ApimSubscriptionId": "team-a", "ResponseCode": 429, "Url": "https://apim.example/x"}
    llm = {"CorrelationId": "c-1", "DeploymentName": "gpt-4o", "PromptTokens": "30", "CompletionTokens": 12}
    (request,) = read(tmp_path, [[gateway, llm]], "apim")
    assert (request.model, request.organisation, request.served, request.prompt) == ("gpt-4o", "team-a", False, 30)
    table = {"tables": [{"columns": [{"name": name} for name in llm], "rows": [list(llm.values())]}]}
    path = write(tmp_path, table)
    (alone,) = foreign_requests(path, mapping(tmp_path, '[organisation]\ndefault = "bank"\n', "apim"))
    assert (alone.model, alone.organisation, alone.prompt) == ("gpt-4o", "bank", 30)


def test_apim_calls_of_other_apis_are_passed_over_and_event_hub_records_are_unpacked(tmp_path):
    other = GATEWAY | {
        "correlationId": "c-2",
        "properties": {"url": "https://apim.example/orders", "responseCode": 200},
    }
    found = read(tmp_path, [{"records": [GATEWAY, other]}], "apim")
    assert [type(one) for one in found] == [ForeignRequest, Row]
    assert found[1].problem == ""
    assert found[0].model == "gpt-4o"  # out of the path: there is no LLM row


def test_apim_messages_that_were_split_are_put_together_again(tmp_path):
    text = json.dumps([{"role": "user", "content": "個人番号は123456789018です"}], ensure_ascii=False)
    pieces = [
        {"correlationId": "c-1", "properties": {"sequenceNumber": place, "requestMessages": piece}}
        for place, piece in ((2, text[20:]), (1, text[:20]))
    ]
    (request,) = read(tmp_path, [GATEWAY, LLM, *pieces], "apim")
    assert request.body == {"messages": json.loads(text)}
    (cut,) = read(tmp_path, [GATEWAY, LLM, pieces[1]], "apim")  # the rest was not logged: what is there is read
    assert cut.body == {"messages": [{"role": "user", "content": text[:20]}]}
    assert (request.cut, cut.cut) == (False, True)
    body = {"correlationId": "c-1", "properties": {"requestBody": text[:20]}}
    assert [one.cut for one in read(tmp_path, [GATEWAY, LLM, body], "apim")] == [True]
    body = {"correlationId": "c-1", "properties": {"requestBody": json.dumps({"messages": json.loads(text)})}}
    assert [(one.cut, one.body) for one in read(tmp_path, [GATEWAY, LLM, body], "apim")] == [(False, request.body)]


def test_apim_holds_a_bounded_number_of_calls():
    rows = [Row("", {"correlationId": f"c-{number}", "deploymentName": "m"}) for number in range(CALLS_HELD_MAX + 3)]
    taken = []

    def source():
        for number, row in enumerate(rows):
            taken.append(number)
            yield row

    first = next(apim_rows(source()))
    assert first.value["correlationid"] == "c-0"
    assert len(taken) == CALLS_HELD_MAX + 1


def test_apim_holds_a_bounded_amount_whatever_stands_in_a_row(monkeypatch):
    """Fields that nobody asks for are held with their call: small values count by the memory that they take."""
    monkeypatch.setattr(apim, "BYTES_HELD_MAX", 10_000)
    for field in ("x" * 6_000, [[]] * 90, {str(number): number for number in range(45)}):
        rows = (Row("", {"correlationId": f"c-{number}", "trace": field}) for number in itertools.count())
        assert next(apim_rows(rows)).value["correlationid"] == "c-0"
        assert next(rows).value["correlationId"] == "c-2"


def test_apim_without_a_correlation_id_is_a_problem(tmp_path):
    (row,) = read(tmp_path, [{"properties": {"deploymentName": "m"}}], "apim")
    assert "correlationId" in row.problem


# LiteLLM


def test_litellm_spend_logs(tmp_path):
    text = """
    [model.values]
    "gpt-4o" = "gpt-4o-tokyo"
    [organisation.values]
    team-a = "bank"
    [class]
    field = "metadata.requester_metadata.class"
    [residency]
    default = "JP"
    """
    (request,) = read(tmp_path, [SPEND], "litellm", text)
    assert (request.model, request.organisation, request.data_class) == ("gpt-4o-tokyo", "bank", "confidential")
    assert (request.residency, request.served, request.body) == (("JP",), True, None)
    assert (request.prompt, request.completion, request.at) == (30, 12, 1_795_136_523_456_000)


def test_litellm_content_wherever_it_stands(tmp_path):
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "tools": [{"type": "web_search"}]}
    standard = {
        "id": "x",
        "startTime": 1_795_136_523.456,
        "model": "gpt-4o",
        "metadata": {"user_api_key_org_id": "team-a"},
        "messages": body["messages"],
        "model_parameters": {"tools": body["tools"]},
        "status": "failure",
    }
    rows = [
        SPEND | {"proxy_server_request": json.dumps(body)},
        SPEND | {"messages": json.dumps(body["messages"])},
        standard,
        {"standard_logging_object": standard},
        standard | {"messages": "just text", "model_parameters": {}},
        standard | {"messages": [{"role": "user", "content": "redacted-by-litellm"}]},
    ]
    found = read(tmp_path, rows, "litellm")
    assert [one.body for one in found] == [
        body,
        {"messages": body["messages"]},
        {"messages": body["messages"], "tools": body["tools"]},
        {"messages": body["messages"], "tools": body["tools"]},
        {"messages": [{"role": "user", "content": "just text"}]},
        None,
    ]
    assert [one.served for one in found] == [True, True, False, False, False, False]
    assert found[2].at == 1_795_136_523_456_000


def test_litellm_texts_that_were_cut_are_told_of(tmp_path):
    """As a proxy stores long prompts by default: their beginning, a mark, their end."""
    text = "a" * 717 + "... (litellm_truncated skipped 5000 chars) ..." + "b" * 1331
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}
    rows = [SPEND | {"proxy_server_request": json.dumps(body)}, SPEND | {"messages": json.dumps([{"content": "a"}])}]
    assert [one.cut for one in read(tmp_path, rows, "litellm")] == [True, False]
    deep = json.loads('{"messages":' + '{"a":' * 500 + "1" + "}" * 501)
    assert [one.cut for one in read(tmp_path, [SPEND | {"proxy_server_request": deep}], "litellm")] == [False]


# Ours


def test_our_own_lines_say_everything_themselves(tmp_path):
    row = {
        "request": "r-1",
        "at": "2026-11-20T10:02:03+09:00",
        "model": "m",
        "organisation": "bank",
        "principal": "key-7",
        "roles": ["auditor", "caller"],
        "class": "confidential",
        "residency": ["US", "JP"],
        "labels": ["jp.my_number"],
        "redactable": True,
        "served": False,
        "prompt_tokens": 3,
        "completion_tokens": 4,
    }
    (request,) = read(tmp_path, [row], "jsonl")
    assert request == ForeignRequest(
        "r-1", 1_795_136_523_000_000, "m", "bank", "key-7", ("auditor", "caller"), "confidential", ("JP", "US"),
        ("jp.my_number",), True, None, False, 3, 4,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"organisation": "bank"}, "says no model"),
        ({"model": "m"}, "says no organisation"),
        ({"model": "a text with spaces", "organisation": "bank"}, "its model is no name"),
        ({"model": "m", "organisation": "bank", "residency": 5}, "its residency is no list"),
        ({"model": "m", "organisation": "bank", "at": "soon"}, "its time can't be read"),
        ({"model": "m", "organisation": "bank", "prompt_tokens": -1}, "out of range"),
        ({"model": "m", "organisation": "bank", "prompt_tokens": "many"}, "no number"),
        ({"model": "m", "organisation": "bank", "served": "yes"}, "true or false"),
        (7, "not a JSON object"),
    ],
)
def test_a_row_that_cannot_be_read_says_why_and_where_and_quotes_nothing(tmp_path, row, words):
    (found,) = read(tmp_path, [row], "jsonl")
    assert words in found.problem
    assert found.place == "line 1"
    assert "a text with spaces" not in found.problem


@pytest.mark.parametrize("identifier", ["resp_" + "a" * 200 + "==", 7, "an id with spaces", None, ""])
def test_a_request_whose_id_is_none_is_named_by_its_place(tmp_path, identifier):
    """LiteLLM's ids of responses are long base64, for one; and nothing that could be a text is told (G6)."""
    row = {"model": "m", "organisation": "bank", "request": identifier}
    assert [one.request for one in read(tmp_path, [row, row | {"request": "r-1"}], "jsonl")] == ["line 1", "r-1"]


# Files


def test_lines_and_documents_are_told_apart(tmp_path):
    path = tmp_path / "log"
    for data in (b'{"a":1}\n\n{"a":2}\n', b'[{"a":1},\n{"a":2}]', b'{"records":\n[{"a":1},{"a":2}]}'):
        for begin in (b"", b"\xef\xbb\xbf"):
            path.write_bytes(begin + data)
            assert [row.value for row in read_rows(path)] == [{"a": 1}, {"a": 2}], data
    path.write_bytes(b"")
    assert list(read_rows(path)) == []
    path.write_bytes(b'{"a":1}\nnonsense\n{"a":2}')
    assert [row.problem for row in read_rows(path)] == ["", "not JSON", ""]
    path.write_bytes(b'{"a":\n{"a":2}\n')
    assert [row.problem for row in read_rows(path)] == ["not JSON", ""]
    path.write_bytes(b'[{"a":1}')
    with pytest.raises(AssuranceError, match="neither"):
        list(read_rows(path))


@pytest.mark.parametrize(
    "data", [b'{"a":1}\n{"a":2}\n', b'\n[{"a":1},\n{"a":2}]', b'[{"a":1},\n{"a":2}]', b'{"a":\n{"a":2}']
)
def test_a_pipe_is_read_as_a_file_is(tmp_path, data):
    """Logs are large: they come out of zcat or jq."""
    path, fifo = tmp_path / "log", tmp_path / "fifo"
    path.write_bytes(data)
    os.mkfifo(fifo)
    writing = threading.Thread(target=fifo.write_bytes, args=(data,))
    writing.start()
    assert list(read_rows(fifo)) == list(read_rows(path))
    writing.join()


def test_a_line_without_end_is_one_problem_and_the_next_is_read(tmp_path):
    path = tmp_path / "log"
    size = foreign_rows.LINE_BYTES_MAX
    with path.open("wb") as file:
        file.write(b'{"a":"' + b"x" * size + b'"}\n{"a":2}\n')
    first, second = read_rows(path)
    assert "longer than" in first.problem
    assert second.value == {"a": 2}


# Mappings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not said which gateway"),
        ('format = "nginx"', "not said which gateway"),
        ('format = "apim"\n[modle]\nfield = "x"', "modle"),
        ('format = "apim"\n[model]\nfeild = "x"', r"\[model\]"),
        ('format = "apim"\n[model]\nfield = 3', r"\[model\]"),
        ('format = "apim"\n[model.values]\na = 3', r"\[model\]"),
        ("format =", "not TOML"),
    ],
)
def test_a_mapping_that_is_off_is_refused(tmp_path, text, words):
    with pytest.raises(UsageError, match=words):
        mapping(tmp_path, text)


def test_the_paths_of_a_mapping_reach_into_json_as_text_and_keys_with_dots(tmp_path):
    text = '[organisation]\nfield = ["metadata.a.b", "metadata.who"]\n'
    row = SPEND | {"metadata": json.dumps({"a.b": "", "who": "bank"})}
    (request,) = read(tmp_path, [row], "litellm", text)
    assert request.organisation == "bank"
    row = SPEND | {"metadata": json.dumps({"a.b": "dotted"})}
    (request,) = read(tmp_path, [row], "litellm", text)
    assert request.organisation == "dotted"
