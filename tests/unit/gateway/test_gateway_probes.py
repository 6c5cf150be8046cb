"""The quickest answer: who is asked before each request, and what counts as one."""

import json

import pytest

from sekisho.gateway.http1.errors import UpstreamInvalid
from sekisho.gateway.http1.interfaces import ResponseHead
from sekisho.gateway.probes import ANSWERS, least_answer
from sekisho.gateway.trials import REASONING_TOKENS_MAX
from sekisho.kernel.errors import SekishoError

ANSWER = json.dumps({"choices": [{"message": {"role": "assistant", "content": "p"}}]}).encode()
REASONING = b'{"error":{"message":"use max_completion_tokens"}}'


class Upstream:
    """Gives the answers one after the other, the last again and again."""

    reused = False

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []

    def exchange(self, _):
        return self

    async def send(self, method, target, headers, body):
        self.sent.append(json.loads(body))
        self.answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return ResponseHead(self.answer[0], {})

    async def read(self, _):
        return self.answer[1]

    def abort(self): ...


async def ask(upstream, before=lambda sent: None):
    async def before_each():
        before(len(upstream.sent))

    return await least_answer(upstream, None, (), "/chat/completions", "m", before_each)


async def test_each_request_is_for_one_token_and_comes_after_the_question_whether_it_may_leave():
    upstream, asked = Upstream((200, ANSWER)), []
    count, least_us = await ask(upstream, asked.append)
    assert (count, asked) == (ANSWERS, [0, 1, 2])
    assert least_us >= 0
    assert all(document["max_tokens"] == 1 for document in upstream.sent)


async def test_what_forbids_it_in_between_ends_it():
    upstream = Upstream((200, ANSWER))

    def stopped(sent):
        if sent == 1:
            raise SekishoError("stopped")

    with pytest.raises(SekishoError, match="stopped"):
        await ask(upstream, stopped)
    assert len(upstream.sent) == 1


async def test_a_model_that_reasons_gets_the_tokens_it_asks_for_once():
    upstream = Upstream((400, REASONING), (200, ANSWER))
    assert (await ask(upstream))[0] == ANSWERS
    assert [one.get("max_completion_tokens") for one in upstream.sent] == [None] + [REASONING_TOKENS_MAX] * ANSWERS
    with pytest.raises(UpstreamInvalid, match="answers 400"):
        await ask(Upstream((400, REASONING)))


@pytest.mark.parametrize(
    "answer", [(200, b"<html>sign in</html>"), (200, b"{}"), (200, b""), (429, ANSWER), (302, b"")]
)
async def test_what_no_model_said_is_no_answer(answer):
    """A page of something near by would contradict a far claim that is true."""
    upstream = Upstream(answer)
    with pytest.raises(UpstreamInvalid):
        await ask(upstream)
    assert len(upstream.sent) == 1
