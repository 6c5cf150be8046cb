"""What a trial makes of what an upstream says; the upstream is a port that answers by script."""

import datetime
import json

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sekisho.gateway.http1.errors import UpstreamClosed, UpstreamProxyError, UpstreamTlsError
from sekisho.gateway.http1.interfaces import ClientTls, Endpoint, Peer, Proxy, ResponseHead
from sekisho.gateway.trials import MODELS_MAX, TEXT_SHOWN_MAX, Plan, try_deployment

NOW = datetime.datetime(2026, 11, 25, tzinfo=datetime.UTC)
SECRET = "not-a-real-key-77"
ENDPOINT = Endpoint("127.0.0.1", 443, ClientTls("provider.test"))
ANSWER = {"model": "m", "choices": [], "usage": {"prompt_tokens": 1}}


class Client:
    """Answers in order: a pair of status and document, or an error; what it sent is kept."""

    def __init__(self, *script, certificate=None, reused=()):
        self.script = list(script)
        self.sent = []
        self.peer = Peer("127.0.0.1", 443, certificate, "TLSv1.3")
        self.reused_at = reused

    def exchange(self, endpoint):
        return Exchange(self, len(self.sent) in self.reused_at)

    async def close(self): ...


class Exchange:
    def __init__(self, client, reused):
        self.client, self.reused, self.written, self.peer = client, reused, False, None

    async def send(self, method, target, headers, body):
        self.client.sent.append((method, target, json.loads(body) if body else None))
        self.peer = self.client.peer
        self.next = self.client.script.pop(0)
        if isinstance(self.next, Exception):
            raise self.next
        return ResponseHead(self.next[0], {b"content-type": b"text/event-stream"})

    async def read(self, bytes_max):
        content = self.next[1]
        return content if isinstance(content, bytes) else json.dumps(content).encode()

    def abort(self): ...


def plan(**changes):
    base = {
        "upstream_model": "m",
        "endpoint": ENDPOINT,
        "headers": ((b"authorization", f"Bearer {SECRET}".encode()), (b"x-request-id", b"0199")),
        "models_target": None,
        "chat_target": "/v1/chat/completions",
        "stream": False,
    }
    return Plan(**(base | changes))


async def learn(client, **changes):
    return await try_deployment(client, plan(**changes), NOW)


def certificate(days: float) -> bytes:
    """One that ends `days` after NOW."""
    issued = trustme.CA().issue_cert("provider.test", not_after=NOW + datetime.timedelta(days=days))
    return x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(("days", "codes"), [(5, ["certificate_ends"]), (30, [])])
async def test_a_certificate_that_ends_soon_is_a_warning(days, codes):
    learned = await learn(Client((200, ANSWER), certificate=certificate(days)))
    assert [finding.code for finding in learned.findings] == codes
    assert learned.answers
    assert learned.certificate.expires.date() == (NOW + datetime.timedelta(days=days)).date()


async def test_a_certificate_that_cannot_be_told_of_is_a_note():
    learned = await learn(Client((200, ANSWER), certificate=b"not DER"))
    assert learned.answers
    assert learned.certificate is None
    assert "certificate_unreadable" in [finding.code for finding in learned.findings]


async def test_what_a_provider_says_is_one_short_line_without_our_secret():
    said = f"bad key {SECRET}\x1b[31m\n" + "x" * 1000
    learned = await learn(Client((401, {"error": {"message": said}})))
    message = learned.findings[0].message
    assert not learned.answers
    assert SECRET not in message
    assert message.isprintable()
    assert len(message) < TEXT_SHOWN_MAX + 100


async def test_a_connection_that_had_gone_stale_is_no_fault_of_the_provider():
    stale = UpstreamClosed("gone", phase="head")
    client = Client((200, {"data": []}), stale, (200, ANSWER), reused=(1,))
    learned = await learn(client, models_target="/v1/models")
    assert learned.answers
    assert len(client.sent) == 3


async def test_a_connection_that_breaks_anew_is():
    client = Client(UpstreamClosed("gone", phase="head"))
    learned = await learn(client)
    assert [finding.code for finding in learned.findings] == ["broken"]
    assert len(client.sent) == 1


async def test_a_failed_handshake_ends_the_trial():
    learned = await learn(Client(UpstreamTlsError("no", phase="connect")), models_target="/v1/models")
    assert [finding.code for finding in learned.findings] == ["tls"]
    assert learned.calls == ["models"]


async def test_a_list_of_models_is_bounded_and_read_with_care():
    names = [{"id": f"m{number}"} for number in range(MODELS_MAX + 5)]
    odd = ["x", {"id": 7}, {}, {"id": "\x1b[2J"}]
    learned = await learn(Client((200, {"data": odd + names}), (200, ANSWER)), models_target="/v1/models")
    assert len(learned.models) == MODELS_MAX
    assert all(name.isprintable() for name in learned.models)
    assert [finding.code for finding in learned.findings] == ["model_not_offered"]


@pytest.mark.parametrize("body", [b"", b"[]", b'"choices"', b"{", b'{"choices": 1}'])
async def test_what_is_no_answer_is_no_answer(body):
    learned = await learn(Client((200, body)))
    assert [finding.code for finding in learned.findings] == ["not_openai"]


@pytest.mark.parametrize(
    ("body", "works"),
    [
        (b'data: {"choices": []}\n\ndata: [DONE]\n\n', True),
        (b'data: {"choices": []}\r\n\r\ndata: [DONE]\r\n\r\n', True),
        (b": ping\n\ndata: {}\n\ndata: [DONE]\n\n", True),
        (b'data: {"choices": []}\n\n', False),
        (b"data: [DONE]\n\n", False),
        (b'{"choices": []}', False),
        (b"", False),
    ],
)
async def test_a_stream_works_when_it_says_something_and_ends_properly(body, works):
    learned = await learn(Client((200, ANSWER), (200, body)), stream=True)
    assert learned.streams is works
    assert learned.answers
    assert [finding.code for finding in learned.findings] == ([] if works else ["no_stream"])


async def test_a_model_that_wants_another_bound_is_asked_once_more():
    refusal = (400, {"error": {"message": "use max_completion_tokens"}})
    client = Client(refusal, (200, ANSWER))
    learned = await learn(client)
    assert learned.answers
    assert [set(document) & {"max_tokens", "max_completion_tokens"} for _, _, document in client.sent] == [
        {"max_tokens"},
        {"max_completion_tokens"},
    ]
    learned = await learn(Client(refusal, refusal))
    assert [finding.code for finding in learned.findings] == ["max_completion_tokens", "refused"]


async def test_behind_an_egress_proxy_no_name_is_looked_up_here():
    behind = Endpoint("engine.example.invalid", 443, None, proxy=Proxy("proxy.example", 3128))
    client = Client((200, ANSWER))
    client.peer = Peer("192.0.2.7", 3128, None, None, "egress_proxy")
    learned = await try_deployment(client, plan(endpoint=behind), NOW)
    assert learned.answers
    assert (learned.addresses, learned.peer.via) == ((), "egress_proxy")
    refused = Client(UpstreamProxyError("the egress proxy proxy.example:3128 answered 407"))
    (finding,) = (await try_deployment(refused, plan(endpoint=behind), NOW)).findings
    assert (finding.severity, finding.code) == ("failure", "egress_proxy")
    assert "[egress_proxy]" in finding.remedy
