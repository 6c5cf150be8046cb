"""What is done to an answer: masked where a forbid of `relayRaw` says so, restored where a permit of `restore` does."""

import re
from pathlib import Path

import pytest

from sekisho.catalog.interfaces import PolicyText
from sekisho.policy.answering import named_actions
from sekisho.policy.check import check_policies, compile_policies
from sekisho.policy.engine import CedarDecider
from sekisho.policy.interfaces import RELAY_RAW, SEND_RAW, SEND_REDACTED, Answering, PrincipalInput
from support_decide import ANYWHERE, DIGEST, LABELS, catalogue, decision_input, declared, deployment

TOKYO = deployment("tokyo", processing=declared("JP"), storage=declared("JP"))
WORLD = deployment("world", processing=declared(*ANYWHERE), storage=declared("JP"))
IN_ANSWERS = tuple(label for label in LABELS if not label.startswith("egress."))
NO_NUMBERS = (
    'forbid (principal, action == Action::"relayRaw", resource) when { context.label == Label::"jp.my_number" };'
)
BACK = 'permit (principal, action == Action::"restore", resource) when { context.label == Label::"jp.my_number" };'
MASKED = {"labels_raw": ("jp.my_number", "secret.api_key")}


def rule(identifier, text):
    return f'@id("{identifier}") @title("t") @title_ja("題") {text}\n'


def decider(*texts, packs=("jp-residency",)):
    policies = tuple(PolicyText(f"policies/{number}.cedar", text) for number, text in enumerate(texts))
    parts = compile_policies(catalogue(TOKYO, WORLD, packs=packs), policies, LABELS)
    return CedarDecider(parts, snapshot=DIGEST, epoch_from=0)


def answering(found, deployment="tokyo", action=SEND_RAW, **changes):
    return found.answering(decision_input(**changes), deployment, action)


def index(found, identifier):
    return next(number for number, title in enumerate(found.policies) if title.id == identifier)


def test_by_default_answers_go_as_they_come():
    assert answering(decider()) is None
    assert answering(decider(), action=SEND_REDACTED, **MASKED) is None


def test_where_no_policy_names_it_nobody_is_asked():
    assert not decider(rule("wide", "permit (principal, action, resource);")).answers


def test_a_forbid_masks_its_label_and_no_other():
    found = decider(rule("answers", NO_NUMBERS))
    assert answering(found) == Answering(("jp.my_number",), (), (index(found, "answers"),))


@pytest.mark.parametrize("action", ["relayRaw", "relay\\u{52}aw"])
@pytest.mark.parametrize("label", ["context.label", '{"a": context}.a.label', 'context["l\\u{61}bel"]'])
def test_however_a_forbid_writes_what_it_reads(action, label):
    forbid = f'forbid (principal, action == Action::"{action}", resource) when {{ {label} == Label::"jp.my_number" }};'
    assert answering(decider(rule("answers", forbid))).mask == ("jp.my_number",)


def test_a_forbid_that_reads_no_label_masks_all():
    forbid = 'forbid (principal in Organisation::"other", action == Action::"relayRaw", resource);'
    found = decider(rule("answers", forbid))
    other = PrincipalInput("key-2", "other", ("caller",))
    assert answering(found) is None
    assert answering(found, principal=other) == Answering(IN_ANSWERS, (), (index(found, "answers"),))


def test_forbids_of_sending_say_nothing_of_answers():
    """The packs' forbids name no action: what they forbid was not sent, or monitor mode lifted it."""
    found = decider(rule("answers", NO_NUMBERS))
    everywhere = {"residency": ANYWHERE, "labels_raw": ("jp.my_number",)}
    assert answering(found, "world", **everywhere).mask == ("jp.my_number",)
    assert answering(found, "world").mask == ("jp.my_number",)


def test_an_error_masks_everything():
    found = decider(rule("answers", NO_NUMBERS))
    assert answering(found, residency=()).mask == IN_ANSWERS
    assert answering(found, data_class="nonsense").mask == IN_ANSWERS
    assert answering(found, "nowhere").mask == IN_ANSWERS


def test_a_permit_that_names_it_restores_what_was_masked():
    found = decider(rule("back", BACK))
    assert answering(found, action=SEND_REDACTED, **MASKED) == Answering((), ("jp.my_number",), (index(found, "back"),))
    assert answering(found, action=SEND_RAW, **MASKED) is None
    assert answering(found, action=SEND_REDACTED, labels_raw=("secret.api_key",)) is None
    assert answering(found, action=SEND_REDACTED, **MASKED, labels_redacted=("jp.my_number",)) is None


def test_a_permit_of_everything_restores_nothing():
    found = decider(rule("wide", "permit (principal, action, resource);"))
    assert answering(found, action=SEND_REDACTED, **MASKED) is None


def test_a_forbid_keeps_from_restoring():
    forbid = 'forbid (principal, action == Action::"restore", resource) when { context.class_rank > 0 };'
    found = decider(rule("back", BACK), rule("not", forbid))
    assert answering(found, action=SEND_REDACTED, **MASKED) is None
    assert answering(found, action=SEND_REDACTED, **MASKED, data_class="public").restore == ("jp.my_number",)
    assert answering(found, action=SEND_REDACTED, **MASKED, data_class="public", residency=()) is None


def test_answers_change_no_decision():
    ruled, plain = decider(rule("answers", NO_NUMBERS), rule("back", BACK)), decider()
    for value in (decision_input(), decision_input(residency=ANYWHERE, labels_raw=("jp.my_number",))):
        assert ruled.decide(value).candidates_bytes == plain.decide(value).candidates_bytes


def test_they_are_remembered_within_bounds(monkeypatch):
    monkeypatch.setattr("sekisho.policy.engine.ANSWERINGS_MAX", 2)
    found = decider(rule("answers", NO_NUMBERS))
    for number in range(4):
        assert answering(found, principal=PrincipalInput(f"key-{number}", "default", ("caller",))).mask
    assert len(found._answerings) == 2


@pytest.mark.parametrize(
    ("text", "packs", "says"),
    [
        (NO_NUMBERS.replace("jp.my_number", "jp.mynumber"), ("jp-residency",), "jp.mynumber"),
        (NO_NUMBERS.replace("relayRaw", "sendRaw"), ("jp-residency",), "label"),
        ('permit (principal, action == Action::"relayRaw", resource);', (), "which every permit of sending covers"),
        ('permit (principal, action in [Action::"sendRaw", Action::"relayRaw"], resource);', (), "covers"),
    ],
)
def test_mistakes_are_told(text, packs, says):
    texts = [rule("own", text), rule("send", 'permit (principal, action == Action::"sendRaw", resource);')]
    policies = tuple(PolicyText(f"policies/{number}.cedar", text) for number, text in enumerate(texts))
    checked = check_policies(catalogue(TOKYO, packs=packs), policies, LABELS)
    assert any(says in mistake.problem for mistake in checked.mistakes), checked.mistakes


@pytest.mark.parametrize("page", ["redaction.md", "redaction.ja.md"])
def test_the_examples_of_the_page_are_policies(page):
    text = (Path(__file__).parents[3] / "docs" / page).read_text(encoding="utf-8")
    examples = re.findall(r"```\n(@id.*?)```", text.replace('"claims"', '"other"'), re.DOTALL)
    assert len(examples) == 2
    policies = tuple(PolicyText(f"policies/{number}.cedar", example) for number, example in enumerate(examples))
    assert check_policies(catalogue(TOKYO), policies, (*LABELS, "email")).mistakes == ()


def test_an_action_that_is_spelled_with_escapes_is_named():
    assert named_actions(r'forbid (principal, action == Action::"relay\u{52}aw", resource);') == {RELAY_RAW}
