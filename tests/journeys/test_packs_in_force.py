"""The pack for My Numbers in force: a real gateway, and an upstream that shows what reached it."""

import base64
import json

import openai
import pytest

from journeys.installation import Installation, openai_client, sekisho
from journeys.playing_upstream import PlayingUpstream

NUMBER = "1234-5678-9018"
TEXT = f"個人番号は{NUMBER}です"
SERVICE = """
model = "{name}"
provider = "{name}"
type = "openai-compatible"
url = "http://127.0.0.1:{port}/plays"
[facts]
processing = {{ value = ["JP"], grade = "contractual", source = "contract 7" }}
storage = ["JP"]
abuse_review = ["JP"]
support_staff = ["JP"]
"""
CONTRACT = """
[facts]
legal_entity = { value = ["Example"], grade = "contractual", source = "contract 7" }
subprocessors = { value = ["none"], grade = "contractual", source = "contract 7" }
"""
STATED = '[facts]\nlegal_entity = ["Example"]\nsubprocessors = ["none"]\n'


@pytest.fixture(scope="module")
def upstream():
    with PlayingUpstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(tmp_path_factory, upstream):
    with Installation(tmp_path_factory.mktemp("packs") / "site") as installation:
        boundary = installation.root / "declarations" / "boundary.toml"
        as_it_was = boundary.read_text(encoding="utf-8")
        in_force = 'packs = ["jp-residency", "jp-my-number"]'
        boundary.write_text(as_it_was.replace('packs = ["jp-residency"]', in_force), encoding="utf-8")
        for name, facts in (("bound", CONTRACT), ("stated", STATED)):
            installation.declare("models", name, f'title = "{name}"\n')
            installation.declare("providers", name, facts)
            installation.declare("deployments", name, SERVICE.format(name=name, port=upstream.port))
        roles = ("--role", "caller", "--role", "my-number-handler")
        created = sekisho("keys", "create", installation.root, "--name", "year-end adjustment", *roles)
        installation.handler = created.stdout.strip()
        installation.start()
        yield installation


@pytest.fixture(scope="module")
def handler(running):
    """The key of a person in charge."""
    return running.handler


def asked(running, upstream, model, key=None, text=TEXT, **body):
    """What reached the upstream, what the caller got of an answer that holds a My Number, and why."""
    message = {"role": "assistant", "content": f"お答え：{TEXT}"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    play = base64.b64encode(json.dumps({"whole": answer}).encode()).decode()
    with openai_client(running, key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": text}], extra_body={"play": play, **body}
        )
        got = raw.parse().choices[0].message.content
    receipt = json.loads(running.receipt(raw.headers["x-sekisho-receipt"], key))
    decision = next(one["entry"]["body"] for one in receipt["entries"] if one["entry"]["kind"] == "decision")
    return upstream.of("plays")[-1].document["messages"][0]["content"], got, decision


def forbids(decision):
    return {policy for policy in decision["policies"].values() if policy.startswith("jp-my-number.")}


def test_a_person_in_charge_sends_a_my_number_to_whom_a_contract_binds_and_sees_those_in_answers(
    running, upstream, handler
):
    reached, got, decision = asked(running, upstream, "bound", handler)
    assert reached == TEXT
    assert NUMBER in got
    assert decision["chosen"]["action"] == "sendRaw"
    assert forbids(decision) == set()


def test_everybody_else_s_leaves_masked_and_answers_come_masked(running, upstream):
    reached, got, decision = asked(running, upstream, "bound")
    assert reached == "個人番号は[jp.my_number]です"
    assert got == "お答え：個人番号は[jp.my_number]です"
    assert decision["chosen"]["action"] == "sendRedacted"
    assert forbids(decision) == {"jp-my-number.handler", "jp-my-number.answer"}


def test_a_person_in_charge_does_not_send_one_to_whom_no_contract_binds(running, upstream, handler):
    reached, _, decision = asked(running, upstream, "stated", handler)
    assert reached == "個人番号は[jp.my_number]です"
    assert forbids(decision) == {"jp-my-number.contract", "jp-my-number.subprocessors"}


def test_where_it_can_t_be_masked_the_refusal_names_the_rule(running, upstream):
    before = len(upstream.seen)
    with pytest.raises(openai.PermissionDeniedError, match="you do not have the role my-number-handler"):
        asked(running, upstream, "bound", text="x", metadata={TEXT: "an object's key can't be masked"})
    assert len(upstream.seen) == before
