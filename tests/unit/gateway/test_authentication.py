import pytest

from sekisho.gateway.authentication import authenticated
from sekisho.gateway.dialects.surfaces import AZURE, OPENAI
from sekisho.gateway.errors import Unauthenticated, Unavailable
from sekisho.gateway.http1.interfaces import InboundRequest, Peer
from sekisho.gateway.metrics import Metrics
from sekisho.identity.errors import IssuerKeysUnavailable, TokenExpired
from sekisho.identity.interfaces import Principal


class Keys:
    """Answers with what it is given; an exception is raised. `asked` is what it was asked with."""

    def __init__(self, answer):
        self.answer = answer

    def authenticate(self, authorization, api_key, certificate):
        self.asked = authorization, api_key, certificate
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


HEADERS = {b"authorization": b"Bearer a.b.c", b"api-key": b"sk-1"}
REQUEST = InboundRequest("POST", "/v1/chat/completions", "", HEADERS, b"", Peer("127.0.0.1", 1, b"DER"))


@pytest.mark.parametrize(("prefix", "kind"), [("key-", "key"), ("oidc-", "token"), ("cert-", "certificate")])
def test_who_is_let_in_is_counted_by_kind(prefix, kind):
    keys, metrics = Keys(Principal(prefix + "x", "default", ("caller",), None, None)), Metrics()
    assert authenticated(keys, REQUEST, metrics) == keys.answer
    assert keys.asked == (b"Bearer a.b.c", b"sk-1", b"DER")
    assert metrics.authentications == {kind: 1}


def test_who_is_not_let_in_is_told_why_in_both_dialects():
    metrics = Metrics()
    with pytest.raises(Unauthenticated) as raised:
        authenticated(Keys(TokenExpired("The token has expired", remedy="Get a new one")), REQUEST, metrics)
    assert raised.value.status == 401
    assert b'"code":"token_expired"' in OPENAI.error_body(raised.value)
    assert b'"innererror":{"code":"token_expired"}' in AZURE.error_body(raised.value)
    assert not metrics.authentications


def test_keys_that_were_never_read_are_a_matter_of_waiting():
    with pytest.raises(Unavailable) as raised:
        authenticated(Keys(IssuerKeysUnavailable("not read yet")), REQUEST, Metrics())
    assert (raised.value.status, raised.value.code) == (503, "issuer_keys_unavailable")
    assert raised.value.retry_after_s
